"""Which of the languages that a model offers does a word mean?

Models name their languages by ISO 639-3, some with a script or a dialect behind it, as MMS does:
`yor`, `uzb-script_cyrillic`, `mam-dialect_central`. A user may write the name itself, another code
or the English name; a script may stand behind a code.

    choose("de", ["deu", "yor"], "mms")                  # deu
    choose("uz-Cyrl", ["uzb-script_cyrillic", ...], "mms")   # uzb-script_cyrillic
"""

import difflib
from collections.abc import Sequence

from speechx.errors import UserError
from speechx.text.languages import find, iso639_3

SHOWN = 10
SCRIPTS = {
    "arab": "arabic", "beng": "bengali", "cyrl": "cyrillic", "deva": "devanagari",
    "ethi": "ethiopic", "hans": "simplified", "hant": "traditional", "hebr": "hebrew",
    "khmr": "khmer", "latn": "latin", "mlym": "malayalam", "mymr": "myanmar", "orya": "odia",
    "telu": "telugu", "thai": "thai", "tibt": "tibetan",
}  # fmt: skip
"""Codes of ISO 15924, and what models write behind `script_`."""


def choose(word: str, offered: Sequence[str], source: str) -> str:
    """The name in `offered` that `word` means; `source` stands in errors.

    UserError if it means none of them, or several (a language in two scripts).
    """
    exact = [name for name in offered if name == word] or [
        name for name in offered if _key(name) == _key(word)
    ]
    if exact:
        return exact[0]
    code, script = iso639_3(word), _tag(word, "script")
    found = [name for name in offered if iso639_3(name) == code]
    if script is not None:
        of_script = [name for name in found if _tag(name, "script") == script]
        plain = [name for name in found if _tag(name, "script") is None]
        found = of_script or ([] if "script" in _key(word).split("-") else plain)
    if _tag(word, "dialect") is not None:
        found = []
    if len(found) == 1:
        return found[0]
    if script is None and code in found:
        return code
    if found:
        raise UserError(
            f"{source} has {_english(code)} in {len(found)} ways: instead of {word!r} give one of "
            f"{', '.join(found)}"
        )
    if len(offered) == 1:
        raise UserError(
            f"{source} has no language {word!r}, only {listed(offered)}; leave the language out, "
            "or choose another model"
        )
    near = _near(word, offered)
    some = f"similar: {', '.join(near)}" if near else f"it has {listed(offered)}"
    raise UserError(
        f"{source} has no language {word!r} among its {len(offered)}; {some}. Expected one of "
        "their names, a code of ISO 639 or an English name"
    )


def listed(offered: Sequence[str]) -> str:
    """Some of the names, and how many there are besides."""
    rest = len(offered) - SHOWN
    some = ", ".join(map(_english, offered[:SHOWN]))
    return f"{some} and {rest} others" if rest > 0 else some


def _near(word: str, offered: Sequence[str]) -> list[str]:
    """Offered languages with a name like this one."""
    by_word = {_key(name): name for name in offered}
    for name in offered:
        try:
            by_word.setdefault(_key(find(name).name), name)
        except UserError:
            continue
    try:
        wanted = [_key(word), _key(find(word).name)]
    except UserError:
        wanted = [_key(word)]
    found = [by_word[k] for w in wanted for k in difflib.get_close_matches(w, by_word, 5, 0.6)]
    return [_english(name) for name in dict.fromkeys(found)]


def _english(name: str) -> str:
    """A name of a model with the English name of its language, where that is known."""
    try:
        return f"{name} ({find(name).name})"
    except UserError:
        return name


def _tag(name: str, kind: str) -> str | None:
    """The script or the dialect in a name: cyrillic of uzb-script_cyrillic and of uz-Cyrl."""
    tags = _key(name).split("-")[1:]
    if kind in tags[:-1]:
        return tags[tags.index(kind) + 1]
    codes = [SCRIPTS[tag] for tag in tags if tag in SCRIPTS] if kind == "script" else []
    return codes[0] if codes else None


def _key(word: str) -> str:
    return word.strip().casefold().replace("_", "-")
