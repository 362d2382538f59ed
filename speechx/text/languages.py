"""Languages and their codes in every corpus: the rows of `languages.tsv`.

Swahili is `swa` (ISO 639-3), `sw` (ISO 639-1, CommonVoice, VoxLingua107), `sw_ke` (FLEURS) and 202
(BABEL). An empty cell means that the corpus lacks the language or that its code is unknown.
CommonVoice has two codes for some languages, so its cell may hold several.

    find("sw_ke").name            # Swahili
    find("Javanese").babel        # 402
    find("jw").iso639_1           # jv: VoxLingua107 still uses the codes of 1988
    find("tr_CY.UTF-8").name      # Turkish: regions, scripts and encodings are left out
    language_code("Turkish")      # tr, as manifests name it
    iso639_3("tr-Latn")           # tur, by which rules of a language are looked up
"""

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from speechx.errors import UserError


@dataclass(frozen=True, slots=True)
class Language:
    """One row; an unknown code is an empty string."""

    iso639_3: str
    name: str
    iso639_1: str
    babel: str
    """Number of the IARPA BABEL language pack, as in BABEL_BP_101_..."""
    commonvoice: tuple[str, ...]
    """Locales; each is a folder of a release."""
    fleurs: str
    mls: str
    voxlingua107: str
    voxpopuli: str
    also: tuple[str, ...]
    """Other names, and codes that are withdrawn or imprecise (zh for Mandarin)."""

    @property
    def words(self) -> tuple[str, ...]:
        """All its names and codes."""
        corpora = (self.babel, *self.commonvoice, self.fleurs, self.mls)
        others = (self.voxlingua107, self.voxpopuli, *self.also)
        return tuple(w for w in (self.iso639_3, self.iso639_1, self.name, *corpora, *others) if w)


@cache
def languages() -> tuple[Language, ...]:
    """All rows, in the order of ISO 639-3."""
    table = resources.files("speechx.text") / "languages.tsv"
    header, *rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
    read = []
    for row in rows:
        cell = dict(zip(header, row, strict=True))
        commonvoice = tuple(cell.pop("commonvoice").split())
        also = tuple(word for word in cell.pop("also").split("; ") if word)
        read.append(Language(commonvoice=commonvoice, also=also, **cell))
    return tuple(read)


# A region or a script at the end of a code, or what MMS puts there (uzb-script_cyrillic).
_REGION = re.compile(
    "([a-z]{2,3}(?:-.+)?)-(?:[a-z]{2}|[0-9]{3}|(?:script|dialect)-[a-z]+|adlm|arab|armn|beng|cans|"
    "cher|cyrl|deva|ethi|geor|grek|gujr|guru|hang|hans|hant|hebr|jpan|khmr|knda|kore|laoo|latn|"
    "mlym|mong|mtei|mymr|nkoo|olck|orya|sinh|syrc|taml|telu|tfng|thaa|thai|tibt)"
)


_REGION_OF = {"hans": "cn", "hant": "tw"}
"""Of a script, where a language has a locale for each."""


def find(word: str) -> Language:
    """The language with this code or English name. Case does not matter, nor - or _, except where
    a name is like a code: `Laz` is a name, `laz` the code of another language. Regions and scripts
    that no corpus names are left out."""
    found = _short_names().get(word.strip()) or next(
        (_index()[key] for key in _keys(word) if key in _index()), None
    )
    if found is None:
        near = [_index()[k] for k in difflib.get_close_matches(_key(word), _index(), 3, 0.7)]
        near = [x for x in _short_names().values() if _key(x.name) == _key(word)] + near
        hint = ", ".join(dict.fromkeys(f"{x.name} ({x.iso639_3})" for x in near))
        raise UserError(
            f"no language {word!r} is known{f'; similar: {hint}' if hint else ''}. Expected an "
            "English name, an ISO 639 code, or a corpus code from data_manifests/languages.tsv."
        )
    return found


def language_code(word: str) -> str:
    """A language's name in manifests, from any of its names: as CommonVoice has it (`sv-SE`), else
    the shortest code of ISO 639 (`jv`, `ceb`). An unknown name stays as it is."""
    try:
        found = find(word)
    except UserError:
        return word
    subtags = _key(word).split("-")
    regions = {*subtags[1:]} | {_REGION_OF[tag] for tag in subtags[1:] if tag in _REGION_OF}
    own = [  # one of several; zh-hant-tw and zh-hant are zh-tw
        locale
        for locale in found.commonvoice
        if _key(locale) in _keys(word) or {*_key(locale).split("-")[1:]} & regions
    ]
    return next(filter(None, (*own, *found.commonvoice, found.iso639_1, found.iso639_3)))


@cache
def iso639_3(word: str) -> str:
    """The code by which rules of a language are looked up, from any of its names. Of an unknown one
    the part that names the language: `xyz` of `xyz-Latn`."""
    try:
        return find(word).iso639_3
    except UserError:
        return list(_keys(word))[-1]


@cache
def _index() -> dict[str, Language]:
    """By all words but names like codes."""
    return {
        _key(word): language
        for language in languages()
        for word in language.words
        if word not in _short_names()
    }


@cache
def _short_names() -> dict[str, Language]:
    """Languages whose name is like a code of another language, by that name."""
    return {
        language.name: language
        for language in languages()
        if len(language.name) <= 3 and language.name.casefold() != language.iso639_3
    }


def _keys(word: str) -> Iterator[str]:
    """The code, and what it is without regions and scripts, the longest first."""
    key = _key(word)
    yield key
    key = re.split("[.@]", key)[0]  # the encoding of tr_TR.UTF-8
    yield key
    while match := _REGION.fullmatch(key):
        key = match[1]
        yield key


def _key(word: str) -> str:
    return word.strip().casefold().replace("_", "-")
