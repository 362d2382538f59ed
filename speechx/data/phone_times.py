"""When the phones of utterances are spoken: in the manifest, or in a folder of alignments.

    "phone_times": [[0.15, 0.24, "s"], [0.24, 0.31, "a"]]      # a key of a manifest, in seconds

A folder of alignments has a file for each utterance or recording: ID.json as `speechx align -f
json` writes it, or a TextGrid with a tier of phones, as the Montreal Forced Aligner writes it. A
file with the name of an utterance counts from the beginning of the utterance, one with the name of
its recording from the beginning of the recording.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from speechx.data.manifest import first_few
from speechx.data.utterance import Utterance
from speechx.errors import UserError
from speechx.log import logger

KEY = "phone_times"
SILENCES = frozenset({"", "sil", "sp", "spn", "<eps>", "<sil>", "<p>", "#"})
TIERS = ("phones", "phone", "phonemes", "phoneme", "segments", "mau")
"""Names of tiers with phones; `SPEAKER - phones` is one too."""
BEHIND = 0.1  # seconds that a phone may reach behind its utterance


class TimedPhone(NamedTuple):
    """Seconds from the beginning of the utterance."""

    start: float
    end: float
    text: str


TimedPhones = Mapping[tuple[str, str], tuple[float, Sequence[TimedPhone]]]
"""By id and audio of an utterance: its start in the audio, and its phones in order."""


def timed_phones(utterances: Iterable[Utterance], alignments: Path | None = None) -> TimedPhones:
    """The phones of the utterances that have some with times; silence is no phone. Logs how many
    have none; a UserError names a file or an utterance whose times cannot be right."""
    files = None if alignments is None else _files(alignments)
    found: dict[tuple[str, str], tuple[float, Sequence[TimedPhone]]] = {}
    without, listed = list[str](), 0
    for u in utterances:
        listed += 1
        phones = _of(u, files)
        if phones:
            found[u.id, str(u.audio)] = u.start, phones
        else:
            without.append(u.id)
    if alignments is not None and not found:
        raise UserError(
            f"{alignments} has phones with times for none of the {listed} utterances: expected "
            "ID.json as `speechx align -f json` writes it with a phone model, or ID.TextGrid"
        )
    if found and without:
        logger.info(
            f"{len(without)} of {listed} utterances have no times of phones ({first_few(without)})"
        )
    return found


def phones_of(piece: Utterance, known: TimedPhones) -> list[TimedPhone]:
    """The phones that lie in an utterance, or in a piece of one."""
    start, phones = known.get((piece.id, str(piece.audio)), (piece.start, ()))
    later, end = piece.start - start, piece.duration + BEHIND
    moved = (TimedPhone(p.start - later, p.end - later, p.text) for p in phones)
    return [p for p in moved if p.start > -1e-6 and p.end <= end]


def _of(u: Utterance, files: dict[str, Path] | None) -> Sequence[TimedPhone]:
    if files is None:
        return _checked(u.extra.get(KEY) or (), f"{u.id}: {KEY}")
    names = u.id, u.id.rpartition("/")[2], Path(str(u.audio)).stem
    for name in names:
        if file := files.get(name):
            break
    else:
        return ()
    phones = _read(file)
    if name not in names[:2]:
        phones = [p for p in phones if u.start <= p[0] and p[1] <= u.start + u.duration + BEHIND]
        phones = [(begin - u.start, end - u.start, text) for begin, end, text in phones]
    return _checked(phones, str(file))


def _files(folder: Path) -> dict[str, Path]:
    """By their paths in the folder and by their names, both without suffix."""
    if not folder.is_dir():
        raise UserError(f"{folder}: a folder of alignments is needed, but this is none")
    found: dict[str, Path] = {}
    for suffix in (".TextGrid", ".textgrid", ".json"):  # of two the last
        for file in sorted(folder.rglob(f"*{suffix}")):
            found[file.stem] = file
            found[file.relative_to(folder).with_suffix("").as_posix()] = file
    return found


def _read(file: Path) -> list[Any]:
    try:
        if file.suffix == ".json":
            segments = json.loads(file.read_bytes())["segments"]
            phones = [phone for segment in segments for phone in segment.get("phones", ())]
            return [[phone["start"], phone["end"], phone["phone"]] for phone in phones]
        return _tier(file)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(
            f"{file} cannot be read as an alignment ({type(error).__name__}: {error}); expected "
            "what `speechx align` writes, or a TextGrid with a tier of phones"
        ) from None


def _tier(file: Path) -> list[Any]:
    from praatio import textgrid

    grid = textgrid.openTextgrid(str(file), includeEmptyIntervals=False)
    tiers = [t for t in grid.tierNames if t.rpartition(" - ")[2].strip().lower() in TIERS]
    if not tiers:
        raise ValueError(f"none of its tiers {', '.join(grid.tierNames)} is called phones")
    return [[e.start, e.end, e.label] for t in tiers for e in grid.getTier(t).entries]


def _checked(phones: Iterable[Any], source: str) -> list[TimedPhone]:
    found = []
    for one in phones:
        match one:
            case [int() | float() as start, int() | float() as end, str(text)] if 0 <= start <= end:
                if text.strip().lower() not in SILENCES:
                    found.append(TimedPhone(float(start), float(end), text.strip()))
            case _:
                raise UserError(
                    f"{source} has {json.dumps(one, default=str, ensure_ascii=False)[:60]}; "
                    "expected [start, end, phone] with times in seconds"
                )
    found.sort()
    for before, after in pairwise(found):
        if after.start < before.end - 0.05:
            raise UserError(
                f"{source}: {before.text} at {before.start:g} s and {after.text} at "
                f"{after.start:g} s overlap"
            )
    return found
