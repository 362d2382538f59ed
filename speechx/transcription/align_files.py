"""Many recordings and their texts to files with times.

S samples
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from speechx.audio.files import AUDIO_SUFFIXES, audio_info, read_audio
from speechx.data.manifest import first_few, read_manifest
from speechx.data.utterance import Utterance
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.vocabulary import TokenType
from speechx.text_encoding import decoded
from speechx.training.progress import Bar
from speechx.transcription.formats import render
from speechx.transcription.recording import what_is_cut
from speechx.transcription.result import Transcript

TEXT_SUFFIX = ".txt"
Align: TypeAlias = Callable[[Any, str, "Pair", Callable[[float], object]], Transcript]
"""Audio, its text, and a function that gets the seconds done."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A recording and its text."""

    name: str
    """Of its results: a path without suffix, below the output folder."""
    audio: Path | Utterance
    text: Path | str
    """A file, or the text itself."""
    phones: bool = False
    language: str | None = None

    def read(self) -> str:
        """The text; UserError if its file is no text."""
        if isinstance(self.text, str):
            return self.text
        try:
            return decoded(self.text.read_bytes())
        except OSError as error:
            raise UserError(f"{self.text}: the text cannot be read: {error.strerror}") from None
        except ValueError as error:
            raise UserError(f"{self.text}: the text cannot be read: {error}") from None


def pair_of(audio: Path, text: str) -> Pair:
    """`text` is the name of a file, or the text itself."""
    if not text.strip():
        raise UserError("the text has no words; expected the words that are spoken in the audio")
    try:
        is_file = Path(text).is_file()
    except (OSError, ValueError):  # a text, too long for a name
        is_file = False
    if not is_file and text.endswith(TEXT_SUFFIX) and len(text.split()) == 1:
        raise UserError(f"{text}: there is no such file; give the text itself or a file with it")
    return Pair(audio.stem, audio, Path(text) if is_file else text)


def pairs_in(places: Sequence[Path], texts: Path | None = None) -> tuple[list[Pair], list[str]]:
    """Recordings, also in folders, with the .txt of the same name beside them or in the folder
    `texts`; and a message for each recording without a text."""
    pairs, alone, used = [], [], set()
    for place in places:
        if not place.exists():
            raise UserError(f"{place}: there is no such file or folder")
        for audio, name in _recordings(place):
            beside = audio.with_suffix(TEXT_SUFFIX)
            found = [beside] if texts is None else [
                texts / f"{name}{TEXT_SUFFIX}", texts / f"{audio.stem}{TEXT_SUFFIX}"
            ]  # fmt: skip
            text = next((file for file in found if file.is_file()), None)
            if text is None:
                alone.append(f"{audio}: there is no text; expected {found[0]}")
            else:
                used.add(text)
                pairs.append(Pair(name, audio, text))
    folders = [place for place in places if place.is_dir()] if texts is None else [texts]
    spare = [str(t) for f in folders for t in sorted(f.rglob(f"*{TEXT_SUFFIX}")) if t not in used]
    if spare:
        logger.info(f"{len(spare)} texts have no recording and are left out ({first_few(spare)})")
    if not pairs and not alone:
        raise UserError(f"there are no recordings in {', '.join(map(str, places))}")
    return pairs, alone


def pairs_of(manifests: Sequence[Path], token_type: TokenType) -> tuple[list[Pair], list[str]]:
    """The utterances of manifests with their texts, or with their phones for a model of phones;
    and a message for each that has neither. Times count from the beginning of the utterance."""
    pairs, alone = [], []
    for manifest in manifests:
        for utterance in read_manifest(manifest):
            name = re.sub(r'[/\\:*?"<>|\0]', "_", utterance.id)
            phones = token_type == "phonemes" and bool(utterance.phones)
            text = " ".join(utterance.phones or ()) if phones else utterance.text or ""
            if text.strip():
                pairs.append(Pair(name, utterance, text, phones, utterance.language))
            else:
                alone.append(f"{manifest}: utterance {utterance.id} has no text")
    return pairs, alone


def align_files(
    align: Align,
    pairs: Sequence[Pair],
    forms: Sequence[str],
    folder: Path | None,
    write: Callable[[str], object],
    alone: Sequence[str] = (),
    overwrite: bool = False,
) -> int:
    """Aligns each text and writes `folder/<name>.<form>`, or to `write`; returns 2 if some failed,
    or if there are recordings that are `alone`.

    Finished files are skipped, unless `overwrite` is set; each is written whole or not at all, and
    a bad one is reported and does not stop the others.
    """
    if folder is None and len(forms) > 1:
        raise UserError("several formats need a folder for their files: give -o FOLDER")
    if folder is not None:
        _refuse_equal_names(pairs, folder)
    failed, aligned = list(alone), 0
    for pair in pairs:
        targets = {} if folder is None else {f: folder / f"{pair.name}.{f}" for f in forms}
        if targets and not overwrite and all(target.exists() for target in targets.values()):
            logger.info(
                f"{pair.name}: its results are in {folder} already, skipped (--overwrite makes "
                "them again)"
            )
            aligned += 1
            continue
        try:
            transcript = _aligned(align, pair)
        except UserError as error:
            failed.append(str(error))
            continue
        aligned += 1
        if message := what_is_cut(pair.audio):
            failed.append(message)
        for target in targets.values():
            transcript.save(target)
        if folder is None:
            write(render(transcript, forms[0]))
    failed = list(dict.fromkeys(failed))  # such as a language that no text can be read in
    if len(failed) == 1 and not aligned:
        raise UserError(failed[0])
    for message in failed:
        logger.info(f"speechx: {message}")
    return 2 if failed else 0


def _aligned(align: Align, pair: Pair) -> Transcript:
    text = pair.read()
    if isinstance(pair.audio, Path):
        bar = Bar(pair.audio.name, audio_info(pair.audio, exact=False).duration)
        try:
            return align(pair.audio, text, pair, bar.reach)
        finally:
            bar.close()
    u = pair.audio
    try:
        wave_S = read_audio(u.audio, u.start, u.duration, part=u.bytes)
        return replace(align(wave_S, text, pair, lambda _: None), audio=str(u.audio))
    except UserError as error:
        raise UserError(f"utterance {u.id}: {error}") from None


def _recordings(place: Path) -> Iterator[tuple[Path, str]]:
    """The recordings of a folder, and their names below it; a file is itself."""
    if not place.is_dir():
        yield place, place.stem
        return
    for file in sorted(place.rglob("*")):
        if file.suffix.lower() in AUDIO_SUFFIXES and file.is_file() and file.name[0] != ".":
            yield file, str(file.relative_to(place).with_suffix(""))


def _refuse_equal_names(pairs: Sequence[Pair], folder: Path) -> None:
    """a.wav and a.mp3 would be one file of the folder, and the second would be lost."""
    of: dict[str, Pair] = {}
    for pair in pairs:
        if pair.name.casefold() in of:
            both = [
                p.audio if isinstance(p.audio, Path) else p.audio.id
                for p in (of[pair.name.casefold()], pair)
            ]
            raise UserError(
                f"{both[0]} and {both[1]} have the same name, so one would replace the other in "
                f"{folder}; rename one, or give them in two calls with two output folders"
            )
        of[pair.name.casefold()] = pair
