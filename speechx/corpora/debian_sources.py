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
from speechx.text.languages import language_code


@dataclass(frozen=True, slots=True)
class PackageRecording:
    """One recording inside a package."""

    package: str
    name: str  # inside the package
    language: str
    voice: str  # a package that names none may hide several people in one
    path: Path
    text: str | None = None
    phones: tuple[str, ...] | None = None
    drop: str | None = None

    @property
    def id(self) -> str:
        return f"{self.package}/{self.name}"

    @property
    def speaker(self) -> str:
        return f"{self.package}/{self.voice}"


@dataclass(frozen=True, slots=True)
class PackageSource:
    """Packages that are read together; `read` gets the usr/share folder of each, in order."""

    packages: tuple[str, ...]
    languages: tuple[str, ...]
    read: Callable[..., Iterator[PackageRecording]]


def language_of(code: str) -> str:
    """CommonVoice's name for a KDE or gettext locale: pt_BR -> pt, sr@latin -> sr, nb -> nb-NO."""
    return language_code(re.split("[_@]", code)[0])


# --- asterisk-core-sounds: prompts of a telephone exchange, one professional speaker per language

NOT_SPEECH = re.compile(
    r"silence/.*|beep|beeperr|(ascending|descending)-2tone|confbridge-(join|leave)|tt-monkeys"
)


def read_asterisk(language: str, texts: Path, sounds: Path) -> Iterator[PackageRecording]:
    """Read `sounds/asterisk/sounds/<voice>/**.wav` and the list `core-sounds-xx.txt.gz`."""
    name = f"{ASTERISK}-{language}"
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
            drop = "a tone or a noise" if NOT_SPEECH.fullmatch(key) else None
            words = listed.get(key)
            yield PackageRecording(f"{name}-wav", key, language, voice.name, path, words, drop=drop)


# --- fillets-ng: the dialogues of a game, actors (cs) and volunteers (nl)

LUA_DIALOG = re.compile(
    r'dialogId\(\s*"([^"]+)"\s*,\s*"(?:font_)?([^"]*)"(?:(?!dialogId).)*?'
    r'dialogStr\(\s*"((?:[^"\\]|\\.)*)"',
    re.DOTALL,
)


def read_fillets(language: str, scripts: Path, sounds: Path) -> Iterator[PackageRecording]:
    """Read `sound/<level>/xx/<id>.ogg`; `script/<level>/dialogs_xx.lua` has texts and speakers."""
    package = f"{FILLETS}-{language}"
    for folder in sorted((sounds / "games/fillets-ng/sound").glob(f"*/{language}")):
        level = folder.parent.name
        script = scripts / f"games/fillets-ng/script/{level}/dialogs_{language}.lua"
        lua = script.read_text(encoding="utf-8") if script.is_file() else ""
        dialogs = {key: (font, text) for key, font, text in LUA_DIALOG.findall(lua)}
        for path in sorted(folder.glob("*.ogg")):
            font, text = dialogs.get(path.stem, ("other", ""))
            drop = None if text.strip() else "no line of the dialogue, most likely a noise"
            text = re.sub(r"\\(.)", r"\1", text)
            name = f"{level}/{path.stem}"
            yield PackageRecording(package, name, language, font, path, text, drop=drop)


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
            name, text = entry[1], entry[2].replace("+", "")
            phones = read_lab(voice / f"lab/{name}.lab")
            path = voice / f"wav/{name}.wav"
            yield PackageRecording("festvox-ru", name, "ru", "nsh", path, text, phones)


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
                text = None if spelled else sound.get("name")
                name = f"{code}/{path.parent.name}/{path.stem}"
                yield PackageRecording("klettres-data", name, language, code, path, text)


def read_ktuberling(share: Path) -> Iterator[PackageRecording]:
    """Read `<code>/*`: names of things; what they are called in the language is not written."""
    for path in sorted((share / "ktuberling/sounds").glob("*/*")):
        if path.suffix in (".ogg", ".opus", ".wav"):
            code = path.parent.name
            name, language = f"{code}/{path.stem}", language_of(code)
            yield PackageRecording("ktuberling-data", name, language, code, path)


def read_tuxpaint(share: Path) -> Iterator[PackageRecording]:
    """Read `X_desc_xx.ogg` (English: `X_desc.ogg`), the `xx.utf8=` lines of `X.txt`.

    The readers are unnamed volunteers. Some texts were extended after they had been read. Nobody
    reads texts of the alphabets ("the letter q") in full, so those are left out.
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
        name, language = path.relative_to(stamps).with_suffix("").as_posix(), language_of(code)
        text = None if "alphabets" in path.parts else texts.get(code)
        yield PackageRecording("tuxpaint-stamps-default", name, language, code, path, text)


ASTERISK, FILLETS = "asterisk-core-sounds", "fillets-ng-data"
KLETTRES = "ar cs da de en es fr he hu it lt ml nb-NO nds nl pt ru tn uk"
KTUBERLING = "ca da de el en es fi fr ga-IE gl it lt nds nl nn-NO pt ro ru sl sr sv-SE uk wa"
TUXPAINT = "be bg ca da el en es fr lt ml nl ro ru"
SOURCES = (
    *(
        PackageSource((f"{ASTERISK}-{x}", f"{ASTERISK}-{x}-wav"), (x,), partial(read_asterisk, x))
        for x in ("en", "es", "fr", "it", "ru")
    ),
    *(
        PackageSource((FILLETS, f"{FILLETS}-{x}"), (x,), partial(read_fillets, x))
        for x in ("cs", "nl")
    ),
    PackageSource(("festvox-ru",), ("ru",), read_festvox_ru),
    PackageSource(("klettres-data",), tuple(KLETTRES.split()), read_klettres),
    PackageSource(("ktuberling-data",), tuple(KTUBERLING.split()), read_ktuberling),
    PackageSource(("tuxpaint-stamps-default",), tuple(TUXPAINT.split()), read_tuxpaint),
)
