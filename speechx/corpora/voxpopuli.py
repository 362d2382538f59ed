"""VoxPopuli to manifests: the European Parliament, 400,000 hours without and 1,800 with text.

    transcribed_data/{lang}/asr_{train,dev,test}.tsv      id, raw_text, normalized_text, speaker_id,
    transcribed_data/{lang}/{year}/{id}.ogg               gender, is_gold_transcript, accent
    raw_audios/{lang}/{year}/{session}_{lang}.ogg         whole sessions, up to many hours each
    unlabelled_data/unlabelled_v2.tsv.gz                  event_id, segment_no, start, end: speech

The sessions become `unlabelled.jsonl`: the speech that the table of segments finds in them or,
without that table, all of them in stretches of equal length. Either way a line is a start and a
duration in the session's file, which is not cut and not copied unless `convert` asks for it.
`raw_audios/original` is what the transcribed data were cut from, and is not read. Sessions hold the
recordings of dev and test too, heard without their text.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

from speechx.corpora.folders import asked_for, language_code
from speechx.corpora.lines import read_rows
from speechx.corpora.preparation import SPLITS, UNLABELLED, Preparation, finish
from speechx.data.manifest import Utterance
from speechx.errors import UserError

Text = Literal["normalised", "raw"]

LONGEST = 20.0  # seconds of a stretch
COLUMN: dict[Text, str] = {"normalised": "normalized_text", "raw": "raw_text"}
KEPT_COLUMNS = ("gender", "is_gold_transcript", "accent")
# The second is that of the 10,000 hours with speakers told apart.
SEGMENTS = {
    "unlabelled_v2.tsv.gz": ("\t", "event_id", "segment_no", "start", "end"),
    "unlabelled_sd.tsv.gz": ("|", "session_id", "id_", "start_time", "end_time"),
}
Segments = dict[str, list[tuple[str, float, float]]]  # of a session: number, start, end


def prepare(
    root: Path,
    languages: Sequence[str] | None,
    out: Path,
    allow_missing: bool = False,
    convert: bool = False,
    log: Callable[[str], object] = print,
    text: Text = "normalised",
    longest: float = LONGEST,
) -> dict[str, dict[str, int]]:
    """Writes `out/<language>/<split>.jsonl`; returns how many utterances of each split there are.

    `root` holds `transcribed_data`, `raw_audios` or both; `languages` None for all. `text` is as
    VoxPopuli normalised it or as it was written; `longest` is of a stretch without text, in
    seconds. `allow_missing` and `convert` as in `preparation.finish`.
    """
    if text not in COLUMN:
        raise UserError(f"text is {' or '.join(get_args(Text))}, but {text!r} was given.")
    root = Path(root)
    labelled = {f.name for f in _folders(root / "transcribed_data") if _tables(f)}
    sessions = {f.name for f in _folders(root / "raw_audios") if f.name != "original"}
    names = sorted(labelled | sessions)
    if not names:
        raise UserError(
            f"{root}: not VoxPopuli: neither transcribed_data/LANGUAGE with asr_train.tsv nor "
            "raw_audios/LANGUAGE is there."
        )
    there = {word: name for name in names for word in (name, language_code(name))}
    chosen = dict.fromkeys(there[word] for word in asked_for(languages, there, root))
    return finish(
        (_read_language(root, name, text) for name in chosen),
        out, f"VoxPopuli, {text} text", allow_missing, convert, log, longest,
    )  # fmt: skip


def _folders(parent: Path) -> list[Path]:
    return sorted(f for f in parent.iterdir() if f.is_dir()) if parent.is_dir() else []


def _tables(folder: Path) -> dict[str, Path]:
    """The tables of a language by split."""
    tables = {split: folder / f"asr_{split}.tsv" for split in SPLITS}
    return {split: table for split, table in tables.items() if table.is_file()}


def _read_language(root: Path, name: str, text: Text) -> Preparation:
    some = Preparation(language_code(name), corpus="voxpopuli", named=name)
    folder = root / "transcribed_data" / name
    for split, table in _tables(folder).items():
        for line, row in read_rows(table, ("id", "speaker_id", COLUMN[text]), some.corrupt):
            audio = some.file(folder, f"{row['id'][:4]}/{row['id']}.ogg", f"{table}:{line}")
            if audio is None:
                continue
            said = row[COLUMN[text]].strip()
            extra = {column: row.get(column, "") for column in KEPT_COLUMNS}
            utterance = Utterance(
                id=audio.stem,
                audio=audio,
                duration=0.0,
                language=some.language,
                text=said or None,
                speaker=None if row["speaker_id"] in ("", "None") else row["speaker_id"],
                extra={key: value for key, value in extra.items() if value}
                | {"text_policy": f"voxpopuli {text}"},
            )
            some.add(split if said else UNLABELLED, utterance)
    _read_sessions(root, name, some)
    return some


def _read_sessions(root: Path, name: str, some: Preparation) -> None:
    """Adds the speech in the whole sessions, without text."""
    folder = root / "raw_audios" / name
    recordings = sorted(folder.glob("*/*.ogg"))
    if not recordings:
        return
    segments = _segments(root / "unlabelled_data", name, some)
    for recording in recordings:
        audio = some.file(folder, str(recording.relative_to(folder)), str(folder))
        if audio is None:
            continue
        whole = Utterance(id=audio.stem, audio=audio, duration=0.0, language=some.language)
        if segments is None:
            some.add(UNLABELLED, whole)
            continue
        found = segments.pop(audio.stem, [])
        some.left_out["sessions without a segment"] += not found
        for number, start, end in found:
            segment = Utterance(
                id=f"{whole.id}_{number}",
                audio=audio,
                start=start,
                duration=end - start,
                language=whole.language,
            )
            some.add(UNLABELLED, segment, f"segment {number} of {audio.stem}")
    if segments:
        some.left_out["segments of sessions that are not here"] = sum(map(len, segments.values()))


def _segments(folder: Path, name: str, some: Preparation) -> Segments | None:
    """Where the language's sessions have speech; None where no table says it."""
    for file, (delimiter, session, number, start, end) in SEGMENTS.items():
        table = folder / file
        if not table.is_file():
            continue
        segments: Segments = {}
        needed = (session, number, start, end)
        for line, row in read_rows(table, needed, some.corrupt, delimiter=delimiter):
            if not row[session].endswith(f"_{name}"):
                continue
            try:
                times = float(row[start]), float(row[end])
            except ValueError:
                times = (0.0, 0.0)
            if not 0 <= times[0] < times[1] < float("inf"):
                some.refuse(f"{table}:{line}", f"no time: {row[start][:40]!r} to {row[end][:40]!r}")
                continue
            segments.setdefault(row[session], []).append((row[number], *times))
        return segments
    return None
