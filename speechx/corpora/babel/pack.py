"""Where a BABEL language pack has its releases, recordings and transcripts.

Wrapper folders differ from pack to pack, and one download may hold several, so the folders named
`conversational` are searched below the root. In each of them, and (training alone) in `scripted`
beside it:

    {training,dev,eval}/audio/BABEL_BP_101_37210_20111102_170037_inLine.sph    (or .wav)
    {training,dev,eval}/{transcription,transcript_roman}/BABEL_..._inLine.txt
    sub-train/{transcription,transcript_roman}/     the ten-hour condition; its audio is training's
    untranscribed-training/audio/
"""

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from speechx.corpora.babel.lexicon import Spelling
from speechx.corpora.engine.languages import choose, name_links, no_language
from speechx.corpora.engine.measure import header, measure_each
from speechx.corpora.engine.paths import check_folder, inside, subfolders
from speechx.corpora.engine.preparation import Preparation
from speechx.corpora.engine.problems import Problem
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.languages import language_code

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
    root: Path
    """The folder that holds `conversational`, and perhaps `scripted`."""

    @property
    def language(self) -> str:
        """As in manifests; the code where it is not one of BABEL's."""
        return language_code(self.code)

    @property
    def release(self) -> str:
        """The folder's name, after that of the folder above where it does not have the code."""
        folder = Path(os.path.abspath(self.root))
        return folder.name if self.code in folder.name else f"{folder.parent.name}/{folder.name}"


@dataclass(frozen=True, slots=True)
class BabelRecording:
    """One side of a call, or one prompt that was read."""

    audio: Path
    part: str
    """training, dev, eval, ... or scripted."""
    code: str
    """The language's, as in the file's name."""
    call: str
    """The number of the caller, which is in the names of both sides of a call."""
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
    check_folder(root, "a BABEL language pack")
    found: dict[str, list[Pack]] = {}
    for folder in _conversational(root):
        names = (_NAME.fullmatch(audio.stem) for audio in sorted(folder.glob("*/audio/BABEL_*")))
        if name := next(filter(None, names), None):
            found.setdefault(name["code"], []).append(Pack(name["code"], folder.parent))
        else:
            logger.info(f"{folder}: no recording is named BABEL_..., so it is not read")
    if not found:
        raise no_language(root, "a BABEL pack", "`conversational` and recordings BABEL_* below it")
    chosen = choose(sorted(found), languages, root).values()
    for code in chosen:
        if len(found[code]) > 1:
            folders = " and ".join(str(pack.root) for pack in found[code])
            raise UserError(
                f"{root} holds {len(found[code])} releases of {code}: {folders}; give the one that "
                "you want, or move the others away"
            )
    packs = [found[code][0] for code in chosen]
    tops = (pack.root.relative_to(root).parts[:1] for pack in packs)
    name_links(root, dict.fromkeys(root.joinpath(*top) for top in tops))
    return packs


def _conversational(root: Path, follow: bool = True) -> Iterator[Path]:
    """Folders of that name below `root`. Links out of it are followed right below `root` only,
    where languages are."""
    inner = root.resolve()
    for here, folders, _ in os.walk(root):
        folders.sort()
        if Path(here).name == "conversational":
            folders.clear()
            yield Path(here)
        for link in (Path(here, name) for name in folders):
            away = link.resolve()
            if link.is_symlink() and not away.is_relative_to(inner):
                may = follow and link.parent == root and not inner.is_relative_to(away)
                may &= link.name != "conversational"
                below = list(_conversational(link, follow=False)) if may else []
                yield from below
                if not below:
                    logger.info(f"{link}: a link to a folder outside of {root} is not followed")


class RecordingList:
    """The recordings of a release, by the stems of their files; problems go to `found`."""

    def __init__(self, pack: Pack, spelling: Spelling, sub_train: bool, found: Preparation) -> None:
        """With `sub_train`, only the transcripts of sub-train are those of training recordings."""
        self.pack, self.found = pack, found
        self.texts = TRANSCRIPTS[spelling]
        self.of_training = ("sub-train",) if sub_train else ("training", "sub-train")
        self.by_stem: dict[str, BabelRecording | None] = {}
        """None for a recording that is refused, and so is not missing."""
        here = pack.root / "conversational"
        there = [name for name in TRANSCRIPTS.values() if any(here.glob(f"*/{name}"))]
        if self.texts not in there and (there or spelling == "roman"):
            have = ", ".join(there) or "no transcripts"
            raise UserError(f"{here}: has no {self.texts}, it has {have}: choose with --transcript")
        if sub_train and not (here / "sub-train" / self.texts).is_dir():
            where = f"{here / 'sub-train'}: has no {self.texts}"
            raise UserError(f"{where}, so leave out --sub-train")

    def read(self, scripted: bool) -> list[BabelRecording]:
        """All recordings, in the order of their names; prompts only with `scripted`."""
        here, beside = self.pack.root / "conversational", self.pack.root / "scripted"
        self._add("training", here, TRAINING, self.of_training)
        for name in ("dev", *sorted({f.name for f in subfolders(here)} - {*TRAINING, "dev"})):
            self._add(name, here, (name,), (name,))
        if scripted:
            self._add("scripted", beside, TRAINING, self.of_training)
        for name in (folder.name for folder in subfolders(beside)):
            if not (scripted and name in TRAINING) and (files := _files(beside / name / "audio")):
                self.found.left_out[f"recordings of scripted/{name}"] += len(files)
        return [one for _, one in sorted(self.by_stem.items()) if one is not None]

    def _add(self, part: str, portion: Path, audio: Sequence[str], texts: Sequence[str]) -> None:
        """Adds the recordings of some folders, which share the first transcripts there are."""
        labels = [portion / name / self.texts for name in texts]
        labelled = next((folder for folder in labels if folder.is_dir()), None)
        written = _files(labelled, {".txt"}) if labelled else ()
        transcripts = {path.stem: path for path in written if self._is_inside(path)}
        folders = [portion / name / "audio" for name in audio]
        for path in (path for folder in folders for path in _files(folder)):
            self._add_recording(part, path, transcripts.get(path.stem))
        for stem, path in transcripts.items():
            if stem not in self.by_stem:
                absent = next(f for f in folders if f.parent.is_dir()) / f"{stem}.sph"
                problem = Problem(str(absent), f"named by the transcript {path}")
                self.found.missing.append(problem)

    def _add_recording(self, part: str, path: Path, transcript: Path | None) -> None:
        stem = path.stem
        name = _NAME.fullmatch(stem)
        if not self._is_inside(path):
            pass
        elif name is None:
            why = "not named BABEL_<phase>_<language>_<speaker>_<date>_..."
            self.found.refuse(str(path), why)
        elif name["code"] != self.pack.code:
            why = f"named as language {name['code']} among {self.pack.code}"
            self.found.refuse(str(path), why)
        elif self.by_stem.get(stem):
            self.found.left_out["recordings that are there twice"] += 1
        else:
            side = "B" if name["channel"] == "outLine" else "A"
            self.by_stem[stem] = BabelRecording(
                path, part, name["code"], name["call"], side, name["when"], transcript
            )
        self.by_stem.setdefault(stem, None)

    def _is_inside(self, path: Path) -> bool:
        """Whether a file lies in the pack; a link out of it is listed."""
        try:
            inside(self.pack.root, str(path.relative_to(self.pack.root)), str(path))
        except UserError as error:
            self.found.corrupt.append(Problem.of(error, path))
            return False
        return True


def _files(folder: Path, suffixes: Collection[str] = AUDIO_SUFFIXES) -> list[Path]:
    return sorted(
        path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.suffix.lower() in suffixes and not path.name.startswith(".")
    )


def measure(recordings: Sequence[BabelRecording], found: Preparation) -> dict[Path, float]:
    """Seconds of each recording; logs how many have another rate than the telephone's."""
    rates: Counter[int] = Counter()
    lengths: dict[Path, float] = {}
    paths = [recording.audio for recording in recordings]
    what = f"{found.language}: measured"
    for path, info in measure_each(header, paths, lambda path: (path,), found.measured, what):
        if isinstance(info, Problem):
            found.corrupt.append(info)
        else:
            lengths[path] = info.duration
            rates[info.rate] += 1
    if rates[TELEPHONE_RATE]:
        logger.info(
            f"{found.language}: {rates.pop(TELEPHONE_RATE)} recordings are at 8 kHz: they are "
            "brought to 16 kHz when read, with nothing above 4 kHz in them"
        )
    if others := ", ".join(f"{n} at {rate} Hz" for rate, n in sorted(rates.items()) if n):
        logger.info(f"{found.language}: {others} (not by telephone) keep their wider band")
    return lengths
