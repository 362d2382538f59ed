"""Transcripts of any source: references, and hypotheses that a system wrote.

    references, hypotheses = read_pair(Path("data/test.jsonl"), Path("hyp.ctm"))

A path is

- a manifest, or any JSON lines: `text` or `phones`, by `id`; of the hypotheses rather `pred_text`;
- a table (.csv, .tsv) whose first line names its columns;
- Kaldi text, an id and the text a line; a Kaldi data directory with its utt2spk and utt2lang, where
  text.good has phones and text.lang languages;
- CTM and STM of NIST: compared by the segments of an STM if the other side has the times of its
  tokens, else by recording and channel;
- .trn of NIST: the text, then the id in brackets;
- a folder of results, one file for each recording: JSON as `speechx transcribe` writes it, .txt,
  subtitles or TextGrid;
- subtitles (.srt, .vtt) or a TextGrid: one recording, whose id is the name of the file, or that of
  the other side if that is one recording too;
- plain lines, as many on both sides.

Any of them may be gzipped. Only a text file may be two things: ids and texts, or plain lines. It
holds ids if the first words of its lines differ, are those of the other side, and are like ids:
with digits or signs, in another order on the other side, or sorted and of one length.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.rows import ours_of_name
from speechx.corpora.engine.separators import find_layout, rows_of
from speechx.corpora.engine.tables import bounded_lines, json_lines, open_text, shown, text_lines
from speechx.corpora.kaldi_text import language_in, phones_in
from speechx.corpora.nist import (
    TimedText,
    TimedToken,
    by_segment,
    by_side,
    read_ctm,
    read_stm,
    read_trn,
)
from speechx.corpora.recording_text import is_recording, read_recording
from speechx.data.manifest import SUFFIXES, first_few, read_lines
from speechx.data.utterance import Utterance
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.languages import language_code

HYPOTHESIS_KEYS = ("pred_text", "hypothesis", "hyp", "prediction", "predicted", "pred")
REFERENCE_KEYS = ("reference", "ref", "target", "ground_truth")
PHONE_KEYS = ("phones", "phonemes", "ipa")
RESULTS = (".json", ".txt", ".srt", ".vtt", ".textgrid")
"""Files of a folder with one for each recording; the first kind that is there is read."""
OTHERS = (".eaf", ".ass", ".ssa", ".sbv")
"""Files of recordings that are not read."""
FORMATS = ("auto", "kaldi", "lines")


@dataclass(frozen=True, slots=True)
class TextEntry:
    """The transcript of an utterance. `text` is None if only phones are known."""

    id: str
    text: str | None
    phones: tuple[str, ...] | None = None
    language: str | None = None
    speaker: str | None = None
    utterance: Utterance | None = None
    """With its audio, if it is from a manifest."""


@dataclass(slots=True)
class Transcripts:
    """The content of a file: `entries`; or `lines`, `tokens` or `segments` that become entries when
    the other side is known."""

    path: Path
    entries: list[TextEntry] | None = None
    lines: list[str] | None = None
    tokens: list[TimedToken] | None = None
    segments: list[TimedText] | None = None
    is_recording: bool = False
    """Whether it is about one recording, whose id is only the name of the file."""


def read_pair(
    reference: Path, hypothesis: Path, format: str = "auto"
) -> tuple[list[TextEntry], list[TextEntry]]:
    """The entries of both sides, under the ids of the references. `format` decides how text files
    are read: `kaldi` (an id and the text), `lines`, or `auto`. UserError for files that cannot be
    read or compared, and for ids that are there twice."""
    if format not in FORMATS:
        raise UserError(f"--format must be one of {', '.join(FORMATS)}, not {format!r}")
    ref, hyp = _open(reference, REFERENCE_KEYS), _open(hypothesis, HYPOTHESIS_KEYS)
    _read_times(ref, hyp)
    _read_recordings(ref, hyp, format)
    _read_lines(ref, hyp, format)
    for each in (ref, hyp):
        assert each.entries is not None
        if not each.entries:
            raise UserError(f"{each.path}: no transcript is in it")
        times = Counter(entry.id for entry in each.entries)
        if twice := [id for id, number in times.items() if number > 1]:
            raise UserError(f"{each.path}: {len(twice)} ids stand there twice: {first_few(twice)}")
    assert ref.entries is not None
    assert hyp.entries is not None
    return ref.entries, _by_audio(ref.entries, hyp.entries)


def _by_audio(ref: list[TextEntry], hyp: list[TextEntry]) -> list[TextEntry]:
    """The hypotheses under the ids of the references; where no id is shared, but all hypotheses
    have the names of audio files of a manifest, by these."""
    if {entry.id for entry in ref} & {entry.id for entry in hyp}:
        return hyp
    stems = [(Path(str(entry.utterance.audio)).stem, entry.id) for entry in ref if entry.utterance]
    id_of = dict(stems)
    if len(id_of) < len(stems) or not id_of.keys() >= {entry.id for entry in hyp}:
        return hyp
    logger.info("hypotheses are named by the audio files of the references")
    return [replace(entry, id=id_of[entry.id]) for entry in hyp]


def _open(path: Path, keys: Sequence[str]) -> Transcripts:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_dir():
        return Transcripts(path, entries=_folder(path, keys))
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix == ".ctm":
        return Transcripts(path, tokens=list(read_ctm(path)))
    if suffix == ".stm":
        return Transcripts(path, segments=list(read_stm(path)))
    if suffix == ".trn":
        return Transcripts(path, entries=[TextEntry(id, text) for id, text in read_trn(path)])
    if is_recording(path):
        name = Path(path.name.removesuffix(".gz")).stem
        return Transcripts(path, entries=[_recording(path, name)], is_recording=True)
    if suffix in OTHERS:
        raise UserError(
            f"{path}: {suffix} files are not read; export the text, or a TextGrid or subtitles"
        )
    if suffix == ".parquet":
        return Transcripts(
            path, entries=[_of_utterance(line.utterance(path)) for line in read_lines(path)]
        )
    if suffix in (".jsonl", ".json", ".ndjson") or _is_json(path):
        return Transcripts(path, entries=list(_json(path, keys)))
    if suffix in (".csv", ".tsv"):
        table = _table(path, keys)
        if table is not None:
            return Transcripts(path, entries=table)
    with open_text(path) as file:
        lines = [line.rstrip("\r\n") for line in bounded_lines(file, path)]
    return Transcripts(path, lines=lines)


def _is_json(path: Path) -> bool:
    """By the first line of a file whose name does not show it."""
    try:
        return isinstance(json.loads(next((line for _, line in text_lines(path)), "")), dict)
    except (ValueError, RecursionError):
        return False


def _of_utterance(u: Utterance) -> TextEntry:
    return TextEntry(u.id, u.text, u.phones, u.language, u.speaker, u)


def _json(path: Path, keys: Sequence[str], name: str = "") -> Iterator[TextEntry]:
    """JSON lines or a JSON document; `name` is the id of its only record."""
    if path.suffix.lower() in SUFFIXES and keys is REFERENCE_KEYS:
        found = [line.found for line in read_lines(path)]
        if found and all(isinstance(u, Utterance) for u in found):
            yield from (_of_utterance(u) for u in found if isinstance(u, Utterance))
            return
    broken: list[Problem] = []
    records = list(json_lines(path, broken))
    if broken:
        raise UserError(f"{path}: {broken[0].why}")
    if len(records) == 1:
        (_, only), texts = records[0], [v for v in records[0][1].values()]
        if len(texts) > 1 and "text" not in only and all(isinstance(v, str) for v in texts):
            records = [(str(path), {"id": id, "text": text}) for id, text in only.items()]
        elif "segments" in only:
            only.setdefault("id", name or path.name.removesuffix(".gz").removesuffix(".json"))
    for place, record in records:
        yield _entry(record, place, keys)


def _entry(record: Mapping[str, Any], place: str, keys: Sequence[str]) -> TextEntry:
    """Of a record with names as people give them."""
    ours: dict[str, Any] = {}
    for name, value in record.items():
        known = ours_of_name(str(name), {})
        if known and known not in ours and value is not None:
            ours[known] = value
    named = {str(name).lower(): value for name, value in record.items() if value is not None}
    text = next((named[key] for key in keys if key in named), ours.get("text"))
    phones = next((named[key] for key in PHONE_KEYS if key in named), None)
    if "segments" in record and isinstance(record["segments"], list):
        parts = [s.get("phones") for s in record["segments"] if isinstance(s, dict)]
        if parts and any(parts):
            phones = [p["phone"] for part in parts for p in part or () if "phone" in p]
    id = ours.get("id")
    if id is None and isinstance(ours.get("path"), str):
        start = ours.get("start")
        id = Path(ours["path"]).stem + (f"_{start}" if start else "")
    if id is None:
        raise UserError(
            f"{place}: no id; it has {shown(list(map(str, record))) or 'no keys'}, and an id, or "
            "the path of the audio, was expected"
        )
    if text is None and phones is None:
        raise UserError(f"{place}: neither text nor phones; it has {shown(list(map(str, record)))}")
    if not isinstance(text, str | None) or not isinstance(phones, str | list | None):
        raise UserError(f"{place}: text and phones must be text, or phones a list of symbols")
    if isinstance(phones, list) and not all(isinstance(phone, str) for phone in phones):
        raise UserError(f"{place}: phones must be a list of symbols")
    language, speaker = ours.get("language"), ours.get("speaker")
    return TextEntry(
        str(id),
        text,
        None if phones is None else tuple(phones.split() if isinstance(phones, str) else phones),
        language_code(language) if isinstance(language, str) and language else None,
        str(speaker) if speaker not in (None, "") else None,
    )


def _table(path: Path, keys: Sequence[str]) -> list[TextEntry] | None:
    """None if the first line does not name columns."""

    def known(name: str) -> bool:
        return ours_of_name(name, {}) is not None or name.lower() in (*keys, *PHONE_KEYS)

    default = "," if ".csv" in path.name.lower() else "\t"
    layout = find_layout(path, known, lambda _: False, default)
    if layout is None:
        raise UserError(f"{path}: no transcript is in it")
    if sum(map(known, layout.first)) < 2:
        if default == ",":
            raise UserError(
                f"{path}: the first line must name the columns, such as id and text; it is "
                f"{shown(layout.first)!r}"
            )
        return None
    rows = rows_of(path, layout)
    header = [cell.strip() for cell in next(rows)[1]]
    entries = []
    for number, cells in rows:
        if len(cells) != len(header):
            raise UserError(f"{path}:{number}: {len(cells)} cells, but {len(header)} columns")
        entries.append(_entry(dict(zip(header, cells, strict=True)), f"{path}:{number}", keys))
    return entries


def _folder(path: Path, keys: Sequence[str]) -> list[TextEntry]:
    """A Kaldi data directory, or one file for each recording."""
    phones, text = path / "text.good", path / "text"
    if phones.is_file() or text.is_file():
        rows = _pairs(phones if phones.is_file() else text)
        if phones.is_file():
            entries = [TextEntry(id, None, tuple(phones_in(rest))) for id, rest in rows]
        else:
            entries = [TextEntry(id, rest) for id, rest in rows]
        return _with_tables(entries, path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name[0] != ".")
    kinds = {kind: [f for f in files if f.suffix.lower() == kind] for kind in RESULTS}
    chosen = next((kind for kind in RESULTS if kinds[kind]), "")
    if not chosen:
        raise UserError(
            f"{path}: neither text of a Kaldi directory, nor {', '.join(RESULTS)} files are in it"
        )
    if others := [f"{len(found)} {k}" for k, found in kinds.items() if found and k != chosen]:
        logger.info(
            f"{path}: its {len(kinds[chosen])} {chosen} files are read, not its "
            f"{', '.join(others)} files"
        )
    named = [(file, _name_in(path, file)) for file in kinds[chosen]]
    if chosen == ".json":
        return [one for file, name in named for one in _json(file, keys, name)]
    if chosen == ".txt":
        return [
            TextEntry(name, " ".join(line for _, line in text_lines(file))) for file, name in named
        ]
    return [_recording(file, name) for file, name in named]


def _recording(path: Path, id: str) -> TextEntry:
    text, phones = read_recording(path)
    return TextEntry(id, text, phones)


def _name_in(folder: Path, file: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _with_tables(entries: list[TextEntry], folder: Path) -> list[TextEntry]:
    """With the speakers and languages that the tables of a data directory have."""
    speakers = dict(_pairs(folder / "utt2spk")) if (folder / "utt2spk").is_file() else {}
    languages: dict[str, str] = {}
    for name in ("utt2lang", "text.lang"):
        if (folder / name).is_file():
            languages |= {id: language_in(rest) for id, rest in _pairs(folder / name)}
    return [
        replace(each, speaker=speakers.get(each.id) or None, language=languages.get(each.id))
        for each in entries
    ]


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    for _, line in text_lines(path):
        key, *rest = line.split(None, 1)[:2] or [""]
        if key:
            yield key, rest[0].strip() if rest else ""


def _read_recordings(ref: Transcripts, hyp: Transcripts, format: str) -> None:
    """One recording against one: both get the id of the reference. The other side may be plain
    text."""
    if not (ref.is_recording or hyp.is_recording):
        return
    for each, other in ((ref, hyp), (hyp, ref)):
        if each.lines is not None and format != "kaldi":
            assert other.entries is not None
            ids, _ = _heads(each)
            if format == "lines" or other.entries[0].id not in ids:
                text = " ".join(line.strip() for line in each.lines)
                each.entries, each.lines = [TextEntry(other.entries[0].id, text)], None
                logger.info(f"{each.path} is read as the text of one recording")
    if ref.is_recording and hyp.is_recording:
        assert ref.entries is not None
        assert hyp.entries is not None
        hyp.entries = [replace(hyp.entries[0], id=ref.entries[0].id)]


def _read_lines(ref: Transcripts, hyp: Transcripts, format: str) -> None:
    """Text files as ids and texts, or as plain lines."""
    texts = [each for each in (ref, hyp) if each.lines is not None]
    if not texts:
        return
    heads = [_heads(each) for each in (ref, hyp)]
    for each, (ids, distinct) in zip((ref, hyp), heads, strict=True):
        if each.lines is not None and each.entries is None and format == "kaldi" and not distinct:
            twice = first_few([id for id, n in Counter(ids).items() if n > 1])
            raise UserError(
                f"{each.path}: the first word of a line is its id, but some stand there twice "
                f"({twice}); plain lines are read with --format lines"
            )
    if format == "auto":
        format = _format(ref, hyp, heads)
    if format == "kaldi":
        for each in texts:
            each.entries = _kaldi(each)
        return
    if len(texts) == 1:
        raise UserError(
            f"{texts[0].path}: lines without the ids of the other side; plain lines can only be "
            "compared with plain lines"
        )
    for each in texts:
        assert each.lines is not None
        each.entries = [
            TextEntry(str(n), line.strip()) for n, line in enumerate(each.lines, start=1)
        ]
    if len(ref.lines or ()) != len(hyp.lines or ()):
        raise UserError(
            f"{ref.path} has {len(ref.lines or ())} lines and {hyp.path} {len(hyp.lines or ())}: "
            "plain lines are compared one by one, so give both as many, or an id at the beginning "
            "of each line"
        )


def _kaldi(file: Transcripts) -> list[TextEntry]:
    entries = []
    for line in file.lines or ():
        key, *rest = line.split(None, 1)[:2] or [""]
        if key:
            entries.append(TextEntry(key, rest[0].strip() if rest else ""))
    return _with_tables(entries, file.path.parent) if file.path.name.startswith("text") else entries


def _heads(file: Transcripts) -> tuple[list[str], bool]:
    """The ids, or the first words of all lines, and whether all differ."""
    if file.entries is not None:
        ids = [entry.id for entry in file.entries]
    else:
        ids = [line.split(None, 1)[0] for line in file.lines or () if line.strip()]
    return ids, len(set(ids)) == len(ids)


def _format(ref: Transcripts, hyp: Transcripts, heads: Sequence[tuple[list[str], bool]]) -> str:
    """How text files are meant."""
    (ref_ids, ref_distinct), (hyp_ids, hyp_distinct) = heads
    if ref.entries is not None or hyp.entries is not None:  # the other side has ids
        return "kaldi"
    shared = len({*ref_ids} & {*hyp_ids})
    if not (ref_distinct and hyp_distinct and 2 * shared > min(len(ref_ids), len(hyp_ids))):
        return "lines"
    like_ids = sum(bool(re.search(r"[\d_]|\w-\w", id)) for id in ref_ids)
    if 2 * like_ids > len(ref_ids):
        return "kaldi"
    reordered = ref_ids != hyp_ids and sorted(ref_ids) == sorted(hyp_ids)
    one_length = len({len(id) for id in ref_ids}) == 1 and ref_ids == sorted(ref_ids)
    meant, other = "ids and texts", "lines"
    if not (reordered or one_length):
        meant, other = "plain lines", "kaldi"
    logger.info(f"{ref.path} and {hyp.path} are read as {meant} (if not: --format {other})")
    return "lines" if other == "kaldi" else "kaldi"


def _read_times(ref: Transcripts, hyp: Transcripts) -> None:
    """CTM and STM by segments of the reference, or else by recording and channel."""
    if ref.segments is not None and hyp.tokens is not None:
        wanted, written = by_segment(ref.segments, hyp.tokens, hyp.path)
        ref.entries = [TextEntry(id, text, speaker=speaker) for id, text, speaker in wanted]
        hyp.entries = [TextEntry(id, text) for id, text in written]
        return
    for each in (ref, hyp):
        if each.tokens is None and each.segments is None:
            continue
        other = hyp if each is ref else ref
        texts = by_side(each.tokens or each.segments or ())
        sides = Counter(side.rpartition(" ")[0] for side in texts)
        if other.tokens is None and other.segments is None and max(sides.values(), default=1) == 1:
            texts = {side.rpartition(" ")[0]: text for side, text in texts.items()}
        each.entries = [TextEntry(side, text) for side, text in texts.items()]
