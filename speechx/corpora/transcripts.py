"""Transcripts on their own, of any source: what was said, and what a system wrote.

    references, hypotheses = read_pair(Path("data/test.jsonl"), Path("hyp.ctm"))

A path is

- a manifest, or any JSON lines: `text` or `phones`, by `id`; of the hypotheses rather `pred_text`;
- a table (.csv, .tsv) whose first line names its columns;
- Kaldi text, an id and the text a line; a Kaldi data directory with its utt2spk and utt2lang, where
  text.good has phones and text.lang languages;
- CTM and STM of NIST: compared by the segments of an STM if the other side has the times of its
  tokens, else by recording and channel;
- .trn of NIST: the text, then the id in brackets;
- a folder of results, one file for each recording: JSON as `speechx transcribe` writes it, or .txt;
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
from speechx.data.manifest import SUFFIXES, first_few, read_lines
from speechx.data.utterance import Utterance
from speechx.errors import UserError
from speechx.log import logger
from speechx.text.languages import language_code

HYPOTHESIS_KEYS = ("pred_text", "hypothesis", "hyp", "prediction", "predicted", "pred")
REFERENCE_KEYS = ("reference", "ref", "target", "ground_truth")
PHONE_KEYS = ("phones", "phonemes", "ipa")
FORMATS = ("auto", "kaldi", "lines")
PLAIN_LINES = (
    "The first word of a line of text was taken for its id; lines without ids can only be compared "
    "with lines."
)


@dataclass(frozen=True, slots=True)
class Said:
    """What was said or written in one utterance. `text` is None if only phones are known."""

    id: str
    text: str | None
    phones: tuple[str, ...] | None = None
    language: str | None = None
    speaker: str | None = None
    utterance: Utterance | None = None
    """With its audio, of a manifest."""


@dataclass(slots=True)
class Transcripts:
    """What a file holds: `said`, or before it is known how to read it `lines`, `tokens` or
    `segments`."""

    path: Path
    said: list[Said] | None = None
    lines: list[str] | None = None
    tokens: list[TimedToken] | None = None
    segments: list[TimedText] | None = None


def read_pair(
    reference: Path, hypothesis: Path, format: str = "auto"
) -> tuple[list[Said], list[Said]]:
    """Both sides with ids that can be compared. `format` decides how text files are read: `kaldi`
    (an id and the text), `lines`, or `auto`."""
    if format not in FORMATS:
        raise UserError(f"--format must be one of {', '.join(FORMATS)}, not {format!r}")
    ref, hyp = _open(reference, REFERENCE_KEYS), _open(hypothesis, HYPOTHESIS_KEYS)
    _read_times(ref, hyp)
    _read_lines(ref, hyp, format)
    for each in (ref, hyp):
        assert each.said is not None
        if not each.said:
            raise UserError(f"{each.path}: no transcript is in it")
        times = Counter(said.id for said in each.said)
        if twice := [id for id, number in times.items() if number > 1]:
            hint = "" if each.lines is None else f". {PLAIN_LINES}"
            raise UserError(
                f"{each.path}: {len(twice)} ids stand there twice: {first_few(twice)}{hint}"
            )
    assert ref.said is not None
    assert hyp.said is not None
    return ref.said, _by_audio(ref.said, hyp.said)


def _by_audio(ref: list[Said], hyp: list[Said]) -> list[Said]:
    """The hypotheses under the ids of the references; where no id is shared, but all hypotheses
    have the names of audio files of a manifest, by these."""
    if {said.id for said in ref} & {said.id for said in hyp}:
        return hyp
    stems = [(Path(str(said.utterance.audio)).stem, said.id) for said in ref if said.utterance]
    id_of = dict(stems)
    if len(id_of) < len(stems) or not id_of.keys() >= {said.id for said in hyp}:
        return hyp
    logger.info("hypotheses are named by the audio files of the references")
    return [replace(said, id=id_of[said.id]) for said in hyp]


def _open(path: Path, keys: Sequence[str]) -> Transcripts:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_dir():
        return Transcripts(path, said=_folder(path, keys))
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    if suffix == ".ctm":
        return Transcripts(path, tokens=list(read_ctm(path)))
    if suffix == ".stm":
        return Transcripts(path, segments=list(read_stm(path)))
    if suffix == ".trn":
        return Transcripts(path, said=[Said(id, text) for id, text in read_trn(path)])
    if suffix == ".parquet":
        return Transcripts(
            path, said=[_of_utterance(line.utterance(path)) for line in read_lines(path)]
        )
    if suffix in (".jsonl", ".json", ".ndjson") or _is_json(path):
        return Transcripts(path, said=list(_json(path, keys)))
    if suffix in (".csv", ".tsv"):
        table = _table(path, keys)
        if table is not None:
            return Transcripts(path, said=table)
    with open_text(path) as file:
        lines = [line.rstrip("\r\n") for line in bounded_lines(file, path)]
    return Transcripts(path, lines=lines)


def _is_json(path: Path) -> bool:
    """By the first line of a file whose name does not show it."""
    try:
        return isinstance(json.loads(next((line for _, line in text_lines(path)), "")), dict)
    except (ValueError, RecursionError):
        return False


def _of_utterance(u: Utterance) -> Said:
    return Said(u.id, u.text, u.phones, u.language, u.speaker, u)


def _json(path: Path, keys: Sequence[str], name: str = "") -> Iterator[Said]:
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
        yield _said(record, place, keys)


def _said(record: Mapping[str, Any], place: str, keys: Sequence[str]) -> Said:
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
    return Said(
        str(id),
        text,
        None if phones is None else tuple(phones.split() if isinstance(phones, str) else phones),
        language_code(language) if isinstance(language, str) and language else None,
        str(speaker) if speaker not in (None, "") else None,
    )


def _table(path: Path, keys: Sequence[str]) -> list[Said] | None:
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
    said = []
    for number, cells in rows:
        if len(cells) != len(header):
            raise UserError(f"{path}:{number}: {len(cells)} cells, but {len(header)} columns")
        said.append(_said(dict(zip(header, cells, strict=True)), f"{path}:{number}", keys))
    return said


def _folder(path: Path, keys: Sequence[str]) -> list[Said]:
    """A Kaldi data directory, or one file for each recording."""
    phones, text = path / "text.good", path / "text"
    if phones.is_file() or text.is_file():
        rows = _pairs(phones if phones.is_file() else text)
        if phones.is_file():
            said = [Said(id, None, tuple(phones_in(rest))) for id, rest in rows]
        else:
            said = [Said(id, rest) for id, rest in rows]
        return _with_tables(said, path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name[0] != ".")
    results = [file for file in files if file.suffix == ".json"]
    if results:
        return [one for file in results for one in _json(file, keys, _name_in(path, file))]
    texts = [file for file in files if file.suffix == ".txt"]
    if not texts:
        raise UserError(
            f"{path}: neither text of a Kaldi directory, nor .json or .txt files are in it"
        )
    return [
        Said(_name_in(path, file), " ".join(line for _, line in text_lines(file))) for file in texts
    ]


def _name_in(folder: Path, file: Path) -> str:
    return file.relative_to(folder).with_suffix("").as_posix()


def _with_tables(said: list[Said], folder: Path) -> list[Said]:
    """With the speakers and languages that the tables of a data directory have."""
    speakers = dict(_pairs(folder / "utt2spk")) if (folder / "utt2spk").is_file() else {}
    languages: dict[str, str] = {}
    for name in ("utt2lang", "text.lang"):
        if (folder / name).is_file():
            languages |= {id: language_in(rest) for id, rest in _pairs(folder / name)}
    return [
        replace(each, speaker=speakers.get(each.id) or None, language=languages.get(each.id))
        for each in said
    ]


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    for _, line in text_lines(path):
        key, *rest = line.split(None, 1)[:2] or [""]
        if key:
            yield key, rest[0].strip() if rest else ""


def _read_lines(ref: Transcripts, hyp: Transcripts, format: str) -> None:
    """Text files as ids and texts, or as plain lines."""
    texts = [each for each in (ref, hyp) if each.lines is not None]
    if not texts:
        return
    heads = [_heads(each) for each in (ref, hyp)]
    for each, (ids, distinct) in zip((ref, hyp), heads, strict=True):
        if each.lines is not None and each.said is None and format == "kaldi" and not distinct:
            twice = first_few([id for id, n in Counter(ids).items() if n > 1])
            raise UserError(
                f"{each.path}: the first word of a line is its id, but some stand there twice "
                f"({twice}); plain lines are read with --format lines"
            )
    if format == "auto":
        format = _format(ref, hyp, heads)
    if format == "kaldi":
        for each in texts:
            each.said = _kaldi(each)
        return
    if len(texts) == 1:
        raise UserError(f"{texts[0].path}: lines without the ids of the other side. {PLAIN_LINES}")
    for each in texts:
        assert each.lines is not None
        each.said = [Said(str(n), line.strip()) for n, line in enumerate(each.lines, start=1)]
    if len(ref.lines or ()) != len(hyp.lines or ()):
        raise UserError(
            f"{ref.path} has {len(ref.lines or ())} lines and {hyp.path} {len(hyp.lines or ())}: "
            "plain lines are compared one by one, so give both as many, or an id at the beginning "
            "of each line"
        )


def _kaldi(file: Transcripts) -> list[Said]:
    said = []
    for line in file.lines or ():
        key, *rest = line.split(None, 1)[:2] or [""]
        if key:
            said.append(Said(key, rest[0].strip() if rest else ""))
    return _with_tables(said, file.path.parent) if file.path.name.startswith("text") else said


def _heads(file: Transcripts) -> tuple[list[str], bool]:
    """The ids, or the first words of all lines, and whether all differ."""
    if file.said is not None:
        ids = [said.id for said in file.said]
    else:
        ids = [line.split(None, 1)[0] for line in file.lines or () if line.strip()]
    return ids, len(set(ids)) == len(ids)


def _format(ref: Transcripts, hyp: Transcripts, heads: Sequence[tuple[list[str], bool]]) -> str:
    """How text files are meant."""
    (ref_ids, ref_distinct), (hyp_ids, hyp_distinct) = heads
    if ref.said is not None or hyp.said is not None:  # the other side has ids
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
        ref.said = [Said(id, text, speaker=speaker) for id, text, speaker in wanted]
        hyp.said = [Said(id, text) for id, text in written]
        return
    for each in (ref, hyp):
        if each.tokens is None and each.segments is None:
            continue
        other = hyp if each is ref else ref
        texts = by_side(each.tokens or each.segments or ())
        sides = Counter(side.rpartition(" ")[0] for side in texts)
        if other.tokens is None and other.segments is None and max(sides.values(), default=1) == 1:
            texts = {side.rpartition(" ")[0]: text for side, text in texts.items()}
        each.said = [Said(side, text) for side, text in texts.items()]
