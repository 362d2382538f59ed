"""What is where in a BABEL language pack: its releases, recordings and transcripts.

Wrapper folders differ from pack to pack, and one download may hold several, so the folders named
`conversational` are searched below the root. In each of them, and (training alone) in `scripted`
beside it:

    {training,dev,eval}/audio/BABEL_BP_101_37210_20111102_170037_inLine.sph    (or .wav)
    {training,dev,eval}/{transcription,transcript_roman}/BABEL_..._inLine.txt
    sub-train/{transcription,transcript_roman}/     the ten-hour condition; its audio is training's
    untranscribed-training/audio/
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechx.corpora.babel.lexicon import Spelling
from speechx.corpora.engine.measure import measure_files
from speechx.corpora.engine.paths import inside, name_links
from speechx.corpora.engine.preparation import Preparation
from speechx.corpora.engine.problems import Problem
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.languages import find
from speechx.text.languages import languages as known_languages

TELEPHONE_RATE = 8000
TRAINING = ("training", "sub-train", "untranscribed-training")
AUDIO_SUFFIXES = frozenset((".sph", ".wav", ".flac"))
TRANSCRIPTS: dict[Spelling, str] = {"plain": "transcription", "roman": "transcript_roman"}

_NAME = re.compile(
    r"BABEL_(?P<phase>[^_]+)_(?P<code>[^_]+)_(?P<call>[^_]+)_(?P<when>\d{8}_\d{6}"
    r"(?:_[^_]+(?=_scripted))?)_(?P<channel>inLine|outLine|scripted)"
)


@dataclass(frozen=True, slots=True)
class Pack:
    """The release of one language."""

    code: str
    conversational: Path

    @property
    def language(self) -> str:
        """As CommonVoice names it; the code where it is not one of BABEL's."""
        for language in known_languages():
            if language.babel == self.code:
                return language.iso639_1 or language.iso639_3
        return self.code

    @property
    def release(self) -> str:
        """The folder's name; before it, where it does not name the language (`release-current`),
        that of the folder above, or the code. Of a link, what it leads to goes first."""
        code = re.compile(rf"(?<!\d){re.escape(self.code)}(?!\d)")
        away = self.conversational.resolve().parent
        for folder in (away, Path(os.path.abspath(self.conversational)).parent):
            for named in (folder.name, f"{folder.parent.name}/{folder.name}"):
                if code.search(named):
                    return named
        return f"{self.code}/{away.name}"


@dataclass(frozen=True, slots=True)
class Recording:
    """One side of a call, or one prompt that was read."""

    audio: Path
    part: str
    """training, dev, eval, ... or scripted."""
    code: str
    """The language's, as in the file's name."""
    call: str
    """The number of the caller, which is in the names of both sides of his calls."""
    side: str
    when: str
    """Date and time, and of a prompt its number."""
    transcript: Path | None

    @property
    def speaker(self) -> str:
        return f"{self.code}_{self.call}_{self.side}"

    def id(self, start: float) -> str:
        """As Kaldi makes it, down to the rounding of the hundredths, with the language before."""
        return f"{self.speaker}_{self.when}_{int(100 * start):06d}"


def find_packs(root: Path, languages: Sequence[str] | None) -> list[Pack]:
    """The releases below `root`, by code; all of them, or those asked for by code or name."""
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; a BABEL language pack was expected")
    found: dict[str, list[Pack]] = {}
    for folder in _folders(root, "conversational"):
        code = _code(folder)
        if code is None:
            logger.info(f"{folder}: no recording is named BABEL_..., so it is not read")
        else:
            found.setdefault(code, []).append(Pack(code, folder))
    if not found:
        holds = ", ".join(sorted(f.name for f in root.iterdir())[:8]) or "nothing"
        raise UserError(
            f"{root}: no folder `conversational` with recordings BABEL_*.sph or .wav is in it or "
            f"below it; it holds {holds}"
        )
    packs = _chosen(root, [found[code][0] for code in sorted(found)], languages)
    tops = (pack.conversational.relative_to(root).parts[:1] for pack in packs)
    name_links(root, dict.fromkeys(root.joinpath(*top) for top in tops))
    for pack in packs:
        if len(found[pack.code]) > 1:
            folders = " and ".join(str(one.conversational.parent) for one in found[pack.code])
            raise UserError(
                f"{root} holds {len(found[pack.code])} releases of {pack.code}: {folders}; give "
                "the one that you want, or move the others away"
            )
    return packs


def _chosen(root: Path, packs: Sequence[Pack], languages: Sequence[str] | None) -> list[Pack]:
    """Those that are asked for by code or name; None means all."""
    if languages is None:
        return list(packs)
    there = {word: pack for pack in packs for word in (pack.code, pack.language)}
    chosen = [there.get(word) or there.get(_babel_code(word)) for word in languages]
    unknown = [word for word, pack in zip(languages, chosen, strict=True) if pack is None]
    if unknown:
        have = ", ".join(f"{p.language} ({p.code})" for p in packs)
        raise UserError(f"{root}: no language {', '.join(unknown)}; there are {have}")
    return list(dict.fromkeys(pack for pack in chosen if pack is not None))


def recordings(
    pack: Pack, transcript: Spelling, sub_train: bool, scripted: bool, some: Preparation
) -> list[Recording]:
    """All recordings of a release, in the order of their names; what is amiss goes to `some`.

    With `sub_train`, only the transcripts of sub-train are those of training recordings.
    """
    here, beside = pack.conversational, pack.conversational.parent / "scripted"
    folders = _parts(here)
    if sub_train and "sub-train" not in folders:
        raise UserError(f"{here}: has no folder sub-train, so leave out --sub-train")
    texts = TRANSCRIPTS[transcript]
    there = {kind for kind, name in TRANSCRIPTS.items() if any(here.glob(f"*/{name}"))}
    if transcript not in there and (there or transcript == "roman"):
        have = ", ".join(TRANSCRIPTS[kind] for kind in there) or "no transcripts"
        raise UserError(f"{here}: has no {texts}, it has {have}: choose with --transcript")
    if sub_train and not (folders["sub-train"] / texts).is_dir():
        raise UserError(f"{folders['sub-train']}: has no {texts}, so leave out --sub-train")
    found: dict[str, Recording | None] = {}
    _list_training(folders, texts, sub_train, "training", pack, some, found)
    for name in ("dev", *sorted(set(folders) - {*TRAINING, "dev"})):
        if name in folders:
            _list([folders[name]], folders[name] / texts, name, pack, some, found)
    prompts = _parts(beside)
    if scripted:
        _list_training(prompts, texts, sub_train, "scripted", pack, some, found)
    for name, folder in prompts.items():
        if not (scripted and name in TRAINING) and (number := _recordings_in(folder)):
            some.left_out[f"recordings of scripted/{name}"] += number
    return [one for _, one in sorted(found.items()) if one is not None]


def measure(found: Sequence[Recording], some: Preparation) -> dict[Path, float]:
    """Seconds of each recording, from headers; says once what is not of the telephone's rate."""
    paths = [recording.audio for recording in found]
    rates: Counter[int] = Counter()
    lengths: dict[Path, float] = {}
    results = measure_files(paths, f"{some.language}: measured", some.measured)
    for path, info in zip(paths, results, strict=True):
        if isinstance(info, Problem):
            some.corrupt.append(info)
        else:
            lengths[path] = info.duration
            rates[info.rate] += 1
    if rates[TELEPHONE_RATE]:
        logger.info(
            f"{some.language}: {rates.pop(TELEPHONE_RATE)} recordings are at 8 kHz: they are "
            "brought to 16 kHz when read, with nothing above 4 kHz in them"
        )
    if rates:
        others = ", ".join(f"{number} at {rate} Hz" for rate, number in sorted(rates.items()))
        logger.info(f"{some.language}: {others} (not by telephone) keep their wider band")
    return lengths


def _list_training(
    folders: dict[str, Path],
    texts: str,
    sub_train: bool,
    part: str,
    pack: Pack,
    some: Preparation,
    found: dict[str, Recording | None],
) -> None:
    """As `_list`, of all folders of training, which share transcripts."""
    shared = [folders[name] for name in TRAINING if name in folders]
    # The packs of the ten-hour condition have only those of sub-train.
    given = ("sub-train",) if sub_train else ("training", "sub-train")
    labels = [folders[name] / texts for name in given if name in folders]
    if shared:
        labelled = next((folder for folder in labels if folder.is_dir()), None)
        _list(shared, labelled, part, pack, some, found)


def _list(
    folders: Sequence[Path],
    texts: Path | None,
    part: str,
    pack: Pack,
    some: Preparation,
    found: dict[str, Recording | None],
) -> None:
    """Adds the recordings of folders, each with its transcript if it has one; None for those that
    are refused, which are then not said to be missing."""
    transcripts = dict(_files(texts, {".txt"}, some, {}))
    for folder in folders:
        for stem, path in _files(folder / "audio", AUDIO_SUFFIXES, some, found):
            name = _NAME.fullmatch(stem)
            if name is None:
                some.refuse(str(path), "not named BABEL_<phase>_<language>_<speaker>_<date>_...")
            elif name["code"] != pack.code:
                some.refuse(str(path), f"named as language {name['code']} among {pack.code}")
            elif found.get(stem):
                some.left_out["recordings that are there twice"] += 1
            else:
                found[stem] = Recording(
                    audio=path,
                    part=part,
                    code=name["code"],
                    call=name["call"],
                    side="B" if name["channel"] == "outLine" else "A",
                    when=name["when"],
                    transcript=transcripts.get(stem),
                )
            found.setdefault(stem, None)
    for stem, path in transcripts.items():
        if stem not in found:
            absent = folders[0] / "audio" / f"{stem}.sph"
            some.missing.append(Problem(str(absent), f"named by the transcript {path}"))


def _files(
    folder: Path | None,
    suffixes: frozenset[str] | set[str],
    some: Preparation,
    refused: dict[str, Recording | None],
) -> Iterator[tuple[str, Path]]:
    """Stem and path of each file of these kinds, in order; stems of links out of the pack become
    `refused`."""
    if folder is None or not folder.is_dir():
        return
    pack = folder.parent.parent.parent
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            try:
                yield path.stem, inside(pack, str(path.relative_to(pack)), str(path))
            except UserError as error:
                some.refuse(str(path), str(error).removeprefix(f"{path}: "))
                refused.setdefault(path.stem, None)


def _parts(folder: Path) -> dict[str, Path]:
    """Folders by name: training, dev, eval, ..."""
    if not folder.is_dir():
        return {}
    return {part.name: part for part in sorted(folder.iterdir()) if part.is_dir()}


def _recordings_in(part: Path) -> int:
    audio = part / "audio"
    files = audio.iterdir() if audio.is_dir() else ()
    return sum(path.suffix.lower() in AUDIO_SUFFIXES for path in files)


def _babel_code(word: str) -> str:
    try:
        return find(word).babel
    except UserError:
        return ""


def _folders(root: Path, name: str, follow: bool = True) -> Iterator[Path]:
    """Folders of that name, however deep; not below one another, and through links only right below
    `root`, where languages are, if they are to `follow`."""
    inner = root.resolve()
    for here, folders, _ in os.walk(root):
        folders.sort()
        if Path(here).name == name:
            folders.clear()
            yield Path(here)
            continue
        for folder in folders:
            link = Path(here, folder)
            away = link.resolve()
            if not link.is_symlink() or away.is_relative_to(inner):
                continue
            below: list[Path] = []
            if follow and Path(here) == root and folder != name and not inner.is_relative_to(away):
                below = list(_folders(link, name, follow=False))
            yield from below
            if not below:
                logger.info(f"{link}: a link to a folder outside of {root} is not followed")


def _code(conversational: Path) -> str | None:
    for audio in sorted(conversational.glob("*/audio/BABEL_*")):
        if name := _NAME.fullmatch(audio.stem):
            return name["code"]
    return None
