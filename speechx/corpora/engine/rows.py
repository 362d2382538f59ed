"""Rows of any table to utterances: the part that tables, Kaldi, Lhotse and Hugging Face share.

A row is a mapping with some of the names in `KNOWN` (and `corpus`), its values as text or of their
own types. A row that cannot be used is listed with its place, as `corrupt`; nothing is guessed.

Without an id, the id is the file stem plus the start in hundredths of a second, because NeMo lists
segments of one recording this way.

Other names of splits are understood (Training, valid, testing). Train without text or phones is for
pretraining, and becomes `unlabelled`.
"""

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechx.audio.sources import is_url
from speechx.corpora.engine.paths import AudioNames, check_name, is_file
from speechx.corpora.engine.preparation import UNLABELLED, Preparation
from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.tables import shown
from speechx.corpora.engine.write import Counts, Output, finish
from speechx.data.manifest import Utterance
from speechx.errors import UserError
from speechx.text.languages import language_code

KNOWN = (
    "id", "path", "split", "duration", "start", "end", "text", "phones", "speaker", "language"
)  # fmt: skip
TIMES = ("duration", "start", "end")
# Names of the same elsewhere.
ALSO = {
    "audio": "path", "audio_filepath": "path", "utt_id": "id", "offset": "start",
    "sentence": "text", "transcription": "text", "speaker_id": "speaker",
}  # fmt: skip
# What other people call them; used where a table has none of the names above for it.
COMMON = {
    "id": "key utt uttid utterance_id segment_id sample_id uid",
    "path":
        "file filename file_name filepath file_path audio_file audio_path audio_filename audiofile "
        "audio_file_path wav wavfile wav_file wav_path wav_filename wav_filepath sound sound_file",
    "text":
        "transcript transcripts txt wrd transcription_text transcript_text orthography "
        "normalized normalised normalized_text normalised_text normalized_transcription",
    "speaker": "spk spkr spk_id speakerid speaker_name client_id",
    "language": "lang locale lang_code language_code",
    "split": "subset partition",
    "start": "start_time starttime begin begin_time onset segment_start",
    "end": "end_time endtime stop stop_time segment_end",
    "duration": "dur length_in_seconds audio_duration segment_duration",
}  # fmt: skip
OURS_OF = {theirs: ours for ours, names in COMMON.items() for theirs in names.split()}
SECONDS = re.compile(r"_(in_)?(s|secs?|seconds?)$")
MILLISECONDS = re.compile(r"_(in_)?(ms|msecs?|millis|milliseconds?)$")
SPLIT_OF = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "dev": "dev", "valid": "dev", "validation": "dev",
}  # fmt: skip
SAME_WITHIN = 0.01  # seconds between a duration and end - start
OR_ELSE = ", unless --root names another"


@dataclass(frozen=True, slots=True)
class OwnData:
    """What a user tells about data in a general format."""

    language: str | None = None
    """Of rows that name none."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our names of columns to the table's, for tables and Hugging Face."""
    audio_root: Path | None = None
    """The only folder to read audio from (--root)."""
    corpus: str | None = None
    """Its name; the name of the folder by default."""


class Listing:
    """The preparations of all languages that rows name."""

    def __init__(self, corpus: str, own: OwnData, base: Path | None = None) -> None:
        """`base` is the folder of all audio without --root; without both, see `base_of`."""
        if own.audio_root is not None and not own.audio_root.is_dir():
            raise UserError(f"--root {own.audio_root}: no such folder")
        self.corpus, self.language, self.base = corpus, own.language, own.audio_root or base
        self.or_else = "" if own.audio_root else OR_ELSE
        self.languages: dict[str, Preparation] = {}
        self.broken: list[Problem] = []
        """Rows that cannot be used, whose language may not be known."""
        self.left_out: Counter[str] = Counter()
        self.names = AudioNames()

    def has_file(self, name: str) -> bool:
        """Whether a name as a row may have it is that of a file below the folder of the audio."""
        if self.base is None or not name.strip():
            return False
        return is_file(self.base, self.names.find(self.base, name.strip()))

    def refuse(self, place: str, why: str) -> None:
        self.broken.append(Problem(place, why))

    def add(
        self,
        row: Mapping[str, Any],
        place: str,
        extra: Mapping[str, Any] | None = None,
        listed_in: str = "",
        find: Callable[[Preparation], Path | None] | None = None,
    ) -> None:
        """Lists the utterance of a row; `place` names the row, and `listed_in` the row that names
        the file, if that is another. `find` finds the file where it is not at `path`. A row may
        also have a `ChannelChoice` as `channel`."""
        try:
            named = _text(row, "language") or self.language
            if not named:
                raise ValueError("no language column, so give one with --language")
            language = language_code(named)
            start = _seconds(row, "start")
            duration = _duration(row, start or 0.0)
            text, speaker = _text(row, "text"), _text(row, "speaker")
            id, corpus = _text(row, "id"), _text(row, "corpus")
            phones = _phones(row.get("phones"))
            split = split_named(_text(row, "split") or "train")
            if split.startswith("train") and not (text or phones):
                split = UNLABELLED
            check_name(language)
            check_name(split)
        except (UserError, ValueError) as error:
            self.refuse(place, str(error))
            return
        found = self.languages.get(language)
        if found is None:
            found = Preparation(language, self.corpus, named=named, or_else=self.or_else)
            self.languages[language] = found
        if find is None and is_url(row["path"]) and not row["path"].startswith("file://"):
            self.refuse(place, f"{row['path'][:200]!r} is no file but a URL; fetch it first")
            return
        if find is None:
            base = base_of(row["path"], self.base)
            path = self.names.find(base, row["path"]) if self.base else row["path"]
            audio = found.file(base, path, listed_in or place)
        else:
            audio = find(found)
        if audio is None:
            return
        utterance = Utterance(
            id=id or (audio.stem if start is None else f"{audio.stem}_{round(100 * start):07d}"),
            audio=audio,
            start=start or 0.0,
            duration=duration or 0.0,
            language=language,
            text=text or None,
            phones=phones,
            speaker=speaker or None,
            corpus=corpus or None,
            bytes=row.get("bytes"),
            extra=dict(extra or {}),
        )
        if earlier := found.places.get(split, {}).get(utterance.id):
            self.refuse(
                place,
                f"id {utterance.id[:200]!r} is already on {earlier}; ids must be unique in a "
                "split, and without an id it is the name of the file and the start, if given",
            )
        else:
            found.add(split, utterance, place, row.get("channel"))

    def finish(self, out: Output, source: str) -> Counts:
        """As `write.finish`; problems count for the first language."""
        if not self.languages:
            if not self.broken:
                raise UserError(f"{source} lists no utterance.")
            raise UserError(f"{self.broken[0].where}: {self.broken[0].why}")
        first = next(iter(self.languages.values()))
        first.corrupt = self.broken + first.corrupt
        first.left_out.update(self.left_out)
        return finish(self.languages.values(), out, source)


def given(cell: Any) -> bool:
    """Whether a cell has a value, as 0 is."""
    return cell is not None and cell != ""


def _text(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"{key} must be text, not {str(value)[:60]!r}")
    return str(value).strip()


def _seconds(row: Mapping[str, Any], key: str) -> float | None:
    """A time of the row, None if the cell is empty or absent. `start_ms` is in milliseconds."""
    value: Any = row.get(key)
    if not given(value):
        milliseconds = _seconds(row, f"{key}_ms") if f"{key}_ms" in row else None
        return None if milliseconds is None else milliseconds / 1000
    try:
        seconds = math.nan if isinstance(value, bool) else _number(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        unit = "milliseconds" if key.endswith("_ms") else "seconds"
        raise ValueError(f"{key} must be {unit}, not {str(value)[:60]!r}")
    return seconds


def _number(value: Any) -> float:
    """Also of 0,5 and of 1:02.5, but not of 1,500, which may be one or many."""
    if not isinstance(value, str):
        return float(value)
    if re.fullmatch(r"\s*(0,\d+|\d+,(\d{1,2}|\d{4,}))\s*", value, re.ASCII):
        return float(value.replace(",", "."))
    clock = re.fullmatch(r"\s*(?:(\d{1,3}):)?(\d{1,3}):(\d{1,2}(?:[.,]\d+)?)\s*", value, re.ASCII)
    if clock:
        hours, minutes = int(clock[1] or 0), int(clock[2])
        return 3600 * hours + 60 * minutes + float(clock[3].replace(",", "."))
    return float(value)


def _duration(row: Mapping[str, Any], start: float) -> float | None:
    duration, end = _seconds(row, "duration"), _seconds(row, "end")
    if duration == 0:  # which is not known, in a Preparation
        raise ValueError("duration must be more than 0 seconds, or not given")
    if end is None:
        return duration
    length = round(end - start, 9)  # 0.3 - 0.1 is 0.2
    if length <= 0:
        raise ValueError(f"end, {end} s, must be after start, {start} s")
    if duration is not None and round(abs(duration - length), 9) > SAME_WITHIN:
        raise ValueError(
            f"duration, {duration} s, must be end - start, {length} s; correct one, or leave it out"
        )
    return length if duration is None else duration


def _phones(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str):
        return tuple(value.split()) or None
    if isinstance(value, list | tuple) and all(isinstance(p, str) and p.strip() for p in value):
        return tuple(value) or None
    raise ValueError(f"phones must be symbols, not {str(value)[:60]!r}")


def split_named(name: str) -> str:
    """Our name of a split, in capitals or not; any other name stays as it is."""
    return SPLIT_OF.get(name.lower(), name)


def base_of(path: str, root: Path | None) -> Path:
    """The folder that a path of Kaldi or Lhotse must lie in: `root` if given. Otherwise an absolute
    path, as theirs often are, may lie anywhere, and a relative one is below the working directory.
    """
    return root or (Path("/") if path.startswith("/") else Path.cwd())


def common_name(name: str) -> str | None:
    """Our name for what many people call a column, in any case and with any signs between words.
    Times in milliseconds are `start_ms` and so on."""
    plain = re.sub(r"[\W_]+", "_", name.lower()).strip("_")
    for unit, ending in ((SECONDS, ""), (MILLISECONDS, "_ms")):
        base = unit.sub("", plain)
        ours = ALSO.get(base, OURS_OF.get(base, base if base in KNOWN else None))
        if base != plain:
            return f"{ours}{ending}" if ours in TIMES else None
    return ours


def ours_of_name(name: str, columns: Mapping[str, str]) -> str | None:
    """Our name of a column, alone: mapped by `columns`, or known."""
    mapped = {theirs: ALSO.get(ours, ours) for ours, theirs in columns.items()}
    return mapped.get(name) or common_name(name)


def renamed(
    names: Sequence[str],
    columns: Mapping[str, str],
    table: object,
    all_known: bool = True,
    header: bool = False,
) -> dict[str, str | None]:
    """Our name of each column of a table, None for unused ones.

    `columns` maps some of our names to the table's. Unless `all_known`, other rows may have more
    names, as in JSON. With `header` the names are a first line, which may be no header.
    """
    allowed = (*KNOWN, *ALSO, *(f"{time}_ms" for time in TIMES))
    if strange := [ours for ours in columns if ours not in allowed]:
        raise UserError(
            f"no column {shown(strange)} is known; a table's own names go to one of "
            f"{', '.join(KNOWN)}, as in --column text=transcription"
        )
    absent = [theirs for theirs in columns.values() if theirs not in names]
    if absent and all_known:
        raise UserError(f"table {table} has no column {shown(absent)}; it has {shown(names)}")
    mapped = {theirs: ALSO.get(ours, ours) for ours, theirs in columns.items()}
    ours_of: dict[str, str | None] = {}
    for name in names:
        ours = ALSO.get(name, name)
        free = ours in KNOWN and ours not in mapped.values()
        ours_of[name] = mapped.get(name, ours if free else None)
    taken = {ours for ours in ours_of.values() if ours}
    for name in names:
        common = common_name(name)
        if ours_of[name] is None and common and common.removesuffix("_ms") not in taken:
            ours_of[name] = common
    used = [ours for ours in ours_of.values() if ours]
    if twice := next((ours for ours in used if used.count(ours) > 1), None):
        both = [name for name, ours in ours_of.items() if ours == twice]
        raise UserError(
            f"table {table} has {' and '.join(both)}, which are both {twice} here; choose one, as "
            f"in --column {twice}={both[0]}"
        )
    if "path" not in used and all_known:
        theirs = next((name for name in names if name and not ours_of[name]), (*names, "NAME")[0])
        option = shlex.quote(f"path={theirs[:60]}")
        absent_header = ", or give it a line of column names if its first line is none"
        raise UserError(
            f"table {table} has no column `path`; it has {shown(names)}; name it with "
            f"--column {option}{absent_header if header and not used else ''}"
        )
    return ours_of
