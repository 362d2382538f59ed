"""VoxPopuli to manifests: the European Parliament, 400,000 hours without and 1,800 with text.

    transcribed_data/{lang}/asr_{train,dev,test}.tsv      id, raw_text, normalized_text, speaker_id,
    transcribed_data/{lang}/{year}/{id}.ogg               gender, is_gold_transcript, accent
    raw_audios/{lang}/{year}/{session}_{lang}.ogg         whole sessions, up to many hours each
    unlabelled_data/unlabelled_v2.tsv.gz                  event_id, segment_no, start, end: speech

The sessions become `unlabelled.jsonl`: the speech that the table of segments finds in them or,
without that table, all of them in stretches of equal length. Either way a line is a start and a
duration in the session's file, which is not cut and not copied unless `convert` asks for it.
`raw_audios/original` is the source of the transcribed data, and is not read. Sessions also hold the
recordings of dev and test, without their text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from speechx.corpora.engine.languages import choose, holds_any, name_links
from speechx.corpora.engine.paths import subfolders
from speechx.corpora.engine.preparation import SPLITS, UNLABELLED, Preparation
from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.tables import read_rows, rows_in, table_in
from speechx.corpora.engine.write import Counts, Output, finish
from speechx.corpora.fleurs import Text, check_text
from speechx.data.manifest import Utterance
from speechx.errors import UserError
from speechx.text.languages import language_code

LONGEST = 20.0  # seconds of a stretch
COLUMN: dict[Text, str] = {"normalised": "normalized_text", "raw": "raw_text"}
KEPT_COLUMNS = ("gender", "is_gold_transcript", "accent")
# The second is of the 10,000 hours with speaker diarization.
SEGMENTS = {
    "unlabelled_v2.tsv.gz": ("\t", "event_id", "segment_no", "start", "end"),
    "unlabelled_sd.tsv.gz": ("|", "session_id", "id_", "start_time", "end_time"),
}


@dataclass(slots=True)
class Speech:
    """The stretches of speech in the sessions of a language."""

    segments: dict[str, bytearray] = field(default_factory=dict)
    """By session: number, start and end of every segment, a line each. There are tens of millions,
    and text takes a tenth of the memory of Python objects."""
    broken: list[Problem] = field(default_factory=list)
    """Rows without a time."""


def prepare(
    root: Path,
    out: Output,
    languages: Sequence[str] | None = None,
    *,
    text: Text = "normalised",
    longest: float = LONGEST,
) -> Counts:
    """`root` holds `transcribed_data`, `raw_audios` or both; `languages` None for all. `text` is
    the normalised or the raw spelling; `longest` is the maximum length of a stretch without text,
    in seconds.
    """
    check_text(text)
    tables = [f"asr_{split}.tsv" for split in SPLITS]
    labelled = {f.name for f in subfolders(root / "transcribed_data") if holds_any(f, tables)}
    sessions = {f.name for f in subfolders(root / "raw_audios") if f.name != "original"}
    names = labelled | sessions
    if not names:
        raise UserError(
            f"{root}: not VoxPopuli: neither transcribed_data/LANGUAGE with asr_train.tsv nor "
            "raw_audios/LANGUAGE is there."
        )
    chosen = list(choose(sorted(names), languages, root).values())
    both = (root / part / name for name in chosen for part in ("transcribed_data", "raw_audios"))
    name_links(root, both)
    speech = _read_segments(root, [x for x in chosen if x in sessions])
    return finish(
        (_read_language(root, name, text, speech.pop(name, None)) for name in chosen),
        out,
        f"VoxPopuli, {text} text",
        longest,
    )


def _read_language(root: Path, name: str, text: Text, speech: Speech | None) -> Preparation:
    found = Preparation(language_code(name), corpus="voxpopuli", named=name)
    folder = root / "transcribed_data" / name
    needed = ("id", "speaker_id", COLUMN[text])
    for split in SPLITS:
        for place, row in rows_in(folder, f"asr_{split}.tsv", needed, found.corrupt):
            audio = f"{row['id'][:4]}/{row['id']}.ogg"
            speaker = "" if row["speaker_id"] == "None" else row["speaker_id"]
            extra = {column: row.get(column, "") for column in KEPT_COLUMNS}
            extra["text_policy"] = f"voxpopuli {text}"
            found.add_file(split, folder, audio, place, row[COLUMN[text]].strip(), speaker, extra)
    _read_sessions(root, name, found, speech)
    return found


def _read_sessions(root: Path, name: str, found: Preparation, speech: Speech | None) -> None:
    found.corrupt += speech.broken if speech else []
    folder = root / "raw_audios" / name
    recordings = sorted(folder.glob("*/*.ogg"))
    if not recordings:
        return
    segments = speech.segments if speech else {}
    for recording in recordings:
        audio = found.file(folder, str(recording.relative_to(folder)), str(folder))
        if audio is None:
            continue
        whole = Utterance(id=audio.stem, audio=audio, duration=0.0, language=found.language)
        if speech is None:
            found.add(UNLABELLED, whole)
            continue
        parts = _unpacked(segments.pop(audio.stem, bytearray()))
        found.left_out["sessions without a segment"] += not parts
        for number, start, end in parts:
            part = replace(whole, id=f"{whole.id}_{number}", start=start, duration=end - start)
            found.add(UNLABELLED, part, f"segment {number} of {audio.stem}")
    if segments:
        elsewhere = sum(packed.count(b"\n") for packed in segments.values()) // 3
        found.left_out["segments of sessions that are not here"] = elsewhere


def _read_segments(root: Path, names: Sequence[str]) -> dict[str, Speech]:
    """The segments of all these languages, in one pass of the table; nothing without a table."""
    tables = (table_in(root, f"unlabelled_data/{file}") for file in SEGMENTS)
    table = next(filter(None, tables), None)
    if table is None or not names:
        return {}
    delimiter, *needed = SEGMENTS[table.name]
    session, number, start, end = needed
    speech = {name: Speech() for name in names}
    of_no_language = speech[names[0]].broken
    before, name = "", None
    for place, row in read_rows(table, needed, of_no_language, delimiter=delimiter):
        if row[session] != before:
            before = row[session]
            name = next((x for x in names if before.endswith(f"_{x}")), None)
        if name is None:
            continue
        try:
            good = 0 <= float(row[start]) < float(row[end]) < float("inf")
        except ValueError:
            good = False
        if good:
            packed = f"{row[number]}\n{row[start]}\n{row[end]}\n".encode()
            speech[name].segments.setdefault(before, bytearray()).extend(packed)
        else:
            why = f"no time: {row[start][:40]!r} to {row[end][:40]!r}"
            speech[name].broken.append(Problem(place, why))
    return speech


def _unpacked(packed: bytearray) -> list[tuple[str, float, float]]:
    cells = packed.decode().split("\n")[:-1]
    rows = zip(cells[::3], cells[1::3], cells[2::3], strict=True)
    return [(number, float(start), float(end)) for number, start, end in rows]
