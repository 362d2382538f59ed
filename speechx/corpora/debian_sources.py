"""Where recordings and their texts lie in some openly licensed Debian packages.

One reader per package. A reader yields every recording of speech it finds, whatever its language;
it reads lists and names, never audio. `text` is what the package says is spoken, unchanged, or None
where it does not say. `drop` gives the reason why a recording is no speech at all.
"""

import gzip
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from speechx.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRecording:
    """One recording inside a package."""

    id: str  # <package>/<name inside the package>
    language: str
    speaker: str  # <package>/<voice>; a package that names none may hide several people in one
    path: Path
    text: str | None = None
    phones: tuple[str, ...] | None = None
    drop: str | None = None


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Packages that are read together; `read` gets the usr/share folder of each, in order."""

    packages: tuple[str, ...]
    languages: tuple[str, ...]
    read: Callable[..., Iterator[PackageRecording]]


# Debian's folder names where CommonVoice calls the language otherwise.
LOCALES = {"nb": "nb-NO", "nn": "nn-NO", "ga": "ga-IE", "sv": "sv-SE"}


def language_of(code: str) -> str:
    """CommonVoice's name for a KDE or gettext locale: pt_BR -> pt, sr@latin -> sr, nb -> nb-NO."""
    code = re.split("[_@]", code)[0]
    return LOCALES.get(code, code)


# --- asterisk-core-sounds: prompts of a telephone exchange, one professional speaker per language

NOT_SPEECH = re.compile(
    r"silence/.*|beep|beeperr|(ascending|descending)-2tone|confbridge-(join|leave)|tt-monkeys"
)


def read_asterisk(language: str, texts: Path, sounds: Path) -> Iterator[PackageRecording]:
    """Read `sounds/asterisk/sounds/<voice>/**.wav` and the list `core-sounds-xx.txt.gz`."""
    name = f"asterisk-core-sounds-{language}"
    listed: dict[str, str | None] = {}
    lines = gzip.decompress((texts / f"doc/{name}/core-sounds-{language}.txt.gz").read_bytes())
    for line in lines.decode("utf-8-sig", errors="replace").splitlines():
        key, colon, text = line.partition(":")
        key, text = key.strip(), text.strip().removeprefix(f"{key}:").strip()
        if colon and not key.startswith(";"):
            # A name listed twice with different texts: which one is right cannot be known.
            listed[key] = text if listed.get(key, text) == text else None
    for voice in sorted((sounds / "asterisk/sounds").glob(f"{language}_*")):
        for path in sorted(voice.rglob("*.wav")):
            key = path.relative_to(voice).with_suffix("").as_posix()
            yield PackageRecording(
                id=f"{name}-wav/{key}",
                language=language,
                speaker=f"{name}-wav/{voice.name}",
                path=path,
                text=listed.get(key),
                drop="a tone or a noise" if NOT_SPEECH.fullmatch(key) else None,
            )


# --- fillets-ng: the dialogues of a game, actors (cs) and volunteers (nl)

LUA_DIALOG = re.compile(
    r'dialogId\(\s*"([^"]+)"\s*,\s*"(?:font_)?([^"]*)"(?:(?!dialogId).)*?'
    r'dialogStr\(\s*"((?:[^"\\]|\\.)*)"',
    re.DOTALL,
)


def read_fillets(language: str, scripts: Path, sounds: Path) -> Iterator[PackageRecording]:
    """Read `sound/<level>/xx/<id>.ogg`; `script/<level>/dialogs_xx.lua` has texts and speakers."""
    package = f"fillets-ng-data-{language}"
    for folder in sorted((sounds / "games/fillets-ng/sound").glob(f"*/{language}")):
        level = folder.parent.name
        script = scripts / f"games/fillets-ng/script/{level}/dialogs_{language}.lua"
        lua = script.read_text(encoding="utf-8") if script.is_file() else ""
        dialogs = {key: (font, text) for key, font, text in LUA_DIALOG.findall(lua)}
        for path in sorted(folder.glob("*.ogg")):
            font, text = dialogs.get(path.stem, ("other", ""))
            yield PackageRecording(
                id=f"{package}/{level}/{path.stem}",
                language=language,
                speaker=f"{package}/{font}",
                path=path,
                text=re.sub(r"\\(.)", r"\1", text),
                drop=None if text.strip() else "no line of the dialogue, most likely a noise",
            )


# --- festvox-ru: one man reads prose; phones in time from a forced alignment. They are what rules
# of pronunciation predict, so their finest grades are merged. Spelled as text/ipa.py spells them.

HARD = {letter: letter for letter in "pbtdkfvszmnlr"} | {"g": "ɡ", "h": "x"}
MSU_IPA = {
    **HARD,
    **{2 * letter: f"{ipa}ʲ" for letter, ipa in HARD.items()},  # a doubled letter is soft
    **{"c": "ts", "ch": "tɕ", "sh": "ʂ", "zh": "ʐ", "sch": "ɕː", "j": "j"},
    **{"aa": "a", "ee": "ɛ", "ii": "i", "oo": "o", "uu": "u", "yy": "ɨ"},  # stressed
    **{"a": "ɐ", "e": "e", "i": "ɪ", "u": "ʊ", "y": "ɨ"},  # before the stress
    # Elsewhere. The comments on ae and ay are swapped in the voice's own phone set: in its labels
    # ae always follows a soft consonant and ay a hard one.
    **{"ae": "ɪ", "ay": "ə", "ur": "ʊ"},
}


def read_festvox_ru(share: Path) -> Iterator[PackageRecording]:
    """Read `wav/`, `lab/` and `etc/txt.done.data`; '+' before a stressed vowel is not text."""
    voice = share / "festival/voices/russian/msu_ru_nsh_clunits"
    for line in (voice / "etc/txt.done.data").read_text(encoding="utf-8").splitlines():
        entry = re.fullmatch(r'\(\s*(\S+)\s+"(.*)"\s*\)', line.strip())
        if entry:
            yield PackageRecording(
                id=f"festvox-ru/{entry[1]}",
                language="ru",
                speaker="festvox-ru/nsh",
                path=voice / f"wav/{entry[1]}.wav",
                text=entry[2].replace("+", ""),
                phones=read_lab(voice / f"lab/{entry[1]}.lab"),
            )


def read_lab(path: Path) -> tuple[str, ...]:
    """IPA of a Festival label file (`<end> <colour> <phone>` after a '#'), pauses left out."""
    body = path.read_text(encoding="utf-8").partition("#\n")[2]
    names = [line.split()[2] for line in body.splitlines() if line.strip()]
    unknown = sorted(set(names) - MSU_IPA.keys() - {"pau"})
    if unknown:
        raise UserError(f"{path}: phones {' '.join(unknown)} are not of the set msu_ru")
    return tuple(MSU_IPA[name] for name in names if name != "pau")


# --- children's programs: letters, syllables, names of things, short sentences; volunteers


def read_klettres(share: Path) -> Iterator[PackageRecording]:
    """Read `<code>/sounds.xml`: letters and syllables.

    The text of a letter is its sign and not its name ("be"), except in Malayalam, where the two
    are one; so only there do letters have a text.
    """
    for listing in sorted((share / "klettres").glob("*/sounds.xml")):
        code, language = listing.parent.name, language_of(listing.parent.name)
        seen = set()
        for section in ElementTree.parse(listing).getroot().iter():
            for sound in section.findall("sound"):
                path = share / "klettres" / sound.get("file", "")
                if not path.is_file() or path in seen:
                    continue
                seen.add(path)
                spelled = section.tag == "alphabet" and language != "ml"
                yield PackageRecording(
                    id=f"klettres-data/{code}/{path.parent.name}/{path.stem}",
                    language=language,
                    speaker=f"klettres-data/{code}",
                    path=path,
                    text=None if spelled else sound.get("name"),
                )


def read_ktuberling(share: Path) -> Iterator[PackageRecording]:
    """Read `<code>/*`: names of things; what they are called in the language is not written."""
    for path in sorted((share / "ktuberling/sounds").glob("*/*")):
        if path.suffix in (".ogg", ".opus", ".wav"):
            code = path.parent.name
            yield PackageRecording(
                id=f"ktuberling-data/{code}/{path.stem}",
                language=language_of(code),
                speaker=f"ktuberling-data/{code}",
                path=path,
            )


def read_tuxpaint(share: Path) -> Iterator[PackageRecording]:
    """Read `X_desc_xx.ogg` (English: `X_desc.ogg`), the `xx.utf8=` lines of `X.txt`.

    Volunteers over many years, unnamed. Some texts were made longer after they had been read, and
    those of the alphabets ("the letter q") never were read in full: they are left out.
    """
    stamps = share / "tuxpaint/stamps"
    for path in sorted(stamps.rglob("*_desc*.ogg")):
        stem, _, code = path.name.split(".")[0].rpartition("_desc")  # some end in .ogg.ogg
        code = code.lstrip("_") or "en"
        listing = path.with_name(f"{stem}.txt")
        lines = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
        texts = dict(line.split(".utf8=", 1) for line in lines if ".utf8=" in line)
        if lines and ".utf8=" not in lines[0]:
            texts["en"] = lines[0]
        yield PackageRecording(
            id=f"tuxpaint-stamps-default/{path.relative_to(stamps).with_suffix('').as_posix()}",
            language=language_of(code),
            speaker=f"tuxpaint-stamps-default/{code}",
            path=path,
            text=None if "alphabets" in path.parts else texts.get(code),
        )


KLETTRES = "ar cs da de en es fr he hu it lt ml nb-NO nds nl pt ru tn uk"
KTUBERLING = "ca da de el en es fi fr ga-IE gl it lt nds nl nn-NO pt ro ru sl sr sv-SE uk wa"
TUXPAINT = "be bg ca da el en es fr lt ml nl ro ru"
SOURCES = (
    *(
        PackageSource(
            (f"asterisk-core-sounds-{language}", f"asterisk-core-sounds-{language}-wav"),
            (language,),
            partial(read_asterisk, language),
        )
        for language in ("en", "es", "fr", "it", "ru")
    ),
    *(
        PackageSource(
            ("fillets-ng-data", f"fillets-ng-data-{language}"),
            (language,),
            partial(read_fillets, language),
        )
        for language in ("cs", "nl")
    ),
    PackageSource(("festvox-ru",), ("ru",), read_festvox_ru),
    PackageSource(("klettres-data",), tuple(KLETTRES.split()), read_klettres),
    PackageSource(("ktuberling-data",), tuple(KTUBERLING.split()), read_ktuberling),
    PackageSource(("tuxpaint-stamps-default",), tuple(TUXPAINT.split()), read_tuxpaint),
)
