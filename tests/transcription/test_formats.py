"""Every format is read back by another program's reader, with texts that break careless writers."""

from __future__ import annotations

import html
import json
import random
import re
import warnings
from pathlib import Path

import pytest

from speechx.errors import UserError
from speechx.transcription.formats import FORMATS
from speechx.transcription.result import Phone, Segment, Transcript, Word

TEXTS = [
    'she said "no"',
    '"""',
    "00:01 --> 00:02 is later",
    "a < b & c > d &amp; <i>e</i>",
    "{laughs} C:\\new \\N \\h {\\i1}",
    "שלום עולם, مرحبا",
    "e\u0301 a\u0303\u0330 n\u0325 t\u0361ʃ",
    "7",
    "NOTE this",
    "!comment <exists> [1]: text = \"x\"",
    "\U0001f600 नमस्ते ไทย",
    ";; 'quoted'",
]  # fmt: skip
LINES = "one line\nand another"


def word(text: str, start: float, end: float, phones: tuple[Phone, ...] = ()) -> Word:
    return Word(text, start, end, 0.75, phones)


def transcript(segments: list[Segment], seconds: float, **about: object) -> Transcript:
    text = " ".join(segment.text for segment in segments)
    about = {"token_type": "characters", "audio": "tapes/tape 1.wav", **about}
    return Transcript(
        text, tuple(segments), audio_duration=seconds, covered_duration=seconds, model="m", **about
    )


def spoken(texts: list[str]) -> Transcript:
    """A segment of two seconds for each text, and a second of silence before each."""
    segments = []
    for number, text in enumerate(texts):
        start = 3.0 * number + 1
        words = text.split()
        step = 2 / max(1, len(words))
        pieces = (word(w, start + i * step, start + (i + 1) * step) for i, w in enumerate(words))
        segments.append(Segment(text, start, start + 2, tuple(pieces)))
    return transcript(segments, 3.0 * len(texts) + 1)


def phones(text: str) -> Transcript:
    tokens = tuple(Phone(p, 0.5 * i, 0.5 * i + 0.5, 0.9) for i, p in enumerate(text.split()))
    segment = Segment(text, 0.0, 0.5 * len(tokens), phones=tokens)
    return transcript([segment], 10.0, token_type="phonemes")


def broken_times() -> list[Transcript]:
    """Zero length, overlaps, wrong order, beyond the end, more tokens than milliseconds."""
    draw = random.Random(1)
    made = [
        transcript([Segment("a", 1, 1), Segment("b", 1, 1), Segment("c", 1, 3)], 3),
        transcript([Segment("a", 0, 5), Segment("b", 1, 2), Segment("c", 2, 9)], 8),
        transcript([Segment("a", 3, 3, tuple(word(str(i), 3, 3) for i in range(9)))], 3),
        transcript([Segment("a", 0, 0, (word("a", 0, 0, (Phone("p", 0, 0, 1.0),) * 5),))], 0),
        transcript([Segment("b", 2, 3), Segment("a", 0, 2.5, (word("a", 2, 4),))], 3),
    ]
    for _ in range(30):
        segments = []
        for _ in range(draw.randrange(1, 6)):
            times = [round(draw.uniform(0, 0.05), 3) for _ in range(12)]
            words = tuple(
                word("w", times[i], times[i + 1], (Phone("p", times[i], times[i], 0.5),) * (i % 3))
                for i in range(draw.randrange(0, 10))
            )
            segments.append(Segment("s", times[10], times[11], words))
        made.append(transcript(segments, draw.choice([0, 0.03, 0.05])))
    return made


def saved(of: Transcript, folder: Path, suffix: str) -> Path:
    path = folder / f"x.{suffix}"
    of.save(path)
    return path


def is_chain(intervals: list[tuple[float, float]]) -> bool:
    times = [time for interval in intervals for time in interval]
    return times == sorted(times) and all(end - start > 5e-4 for start, end in intervals)


# --- subtitles ---------------------------------------------------------------------------------


def test_srt_is_read_by_srt_and_pysubs2(tmp_path: Path) -> None:
    import pysubs2
    import srt

    path = saved(spoken([*TEXTS, LINES]), tmp_path, "srt")
    entries = list(srt.parse(path.read_text(encoding="utf-8")))
    assert [entry.content for entry in entries] == [*TEXTS, LINES]
    assert [entry.index for entry in entries] == list(range(1, len(entries) + 1))
    assert [entry.start.total_seconds() for entry in entries][:3] == [1.0, 4.0, 7.0]
    assert entries[1].end.total_seconds() == 6.0
    events = pysubs2.load(str(path), keep_html_tags=True)
    assert [event.text for event in events] == [*TEXTS, LINES.replace("\n", "\\N")]


def test_vtt_is_read_by_webvtt(tmp_path: Path) -> None:
    import webvtt

    path = saved(spoken([*TEXTS, LINES]), tmp_path, "vtt")
    captions = webvtt.read(path)
    assert [html.unescape(caption.raw_text) for caption in captions] == [*TEXTS, LINES]
    assert (captions[1].start, captions[1].end) == ("00:00:04.000", "00:00:06.000")


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_empty_lines_do_not_end_a_subtitle(form: str) -> None:
    text = FORMATS[form](transcript([Segment("a\n\n\r\nb", 0, 1), Segment(" \n", 1, 2)], 2))
    assert "a\nb\n" in text
    assert text.count(" --> ") == 1


# --- tables ------------------------------------------------------------------------------------


def test_tsv_has_whispers_shape() -> None:
    rows = [
        line.split("\t") for line in FORMATS["tsv"](spoken([*TEXTS, LINES, "a\tb"])).split("\n")
    ]
    assert rows[0] == ["start", "end", "text"]
    assert rows[-1] == [""]
    assert [text for _, _, text in rows[1:-1]] == [*TEXTS, LINES.replace("\n", " "), "a b"]
    assert rows[2][:2] == ["4000", "6000"]


def test_txt_has_a_segment_on_each_line() -> None:
    assert FORMATS["txt"](spoken([*TEXTS, LINES])) == "\n".join(
        [*TEXTS, "one line and another", ""]
    )


def test_json_has_whispers_shape_and_phones() -> None:
    held = (Phone("e", 0, 0.5, 0.5),)
    one = transcript(
        [Segment("é b", 0, 2, (word("é", 0, 1, held), word("b", 1, 2)), held)], 2, language="fra"
    )
    phone = {"phone": "e", "start": 0, "end": 0.5, "probability": 0.5}
    assert json.loads(FORMATS["json"](one)) == {
        "text": "é b",
        "segments": [
            {
                "id": 0, "start": 0, "end": 2, "text": "é b", "phones": [phone],
                "words": [
                    {"word": "é", "start": 0, "end": 1, "probability": 0.75, "phones": [phone]},
                    {"word": "b", "start": 1, "end": 2, "probability": 0.75},
                ],
            }
        ],
        "audio_duration": 2, "covered_duration": 2, "model": "m", "audio": "tapes/tape 1.wav",
        "audio_start": 0, "channel": None, "language": "fra", "adapter": None, "inventory": None,
        "unaligned": [],
    }  # fmt: skip
    assert json.loads(FORMATS["json"](phones("a b")))["segments"][0]["phones"][1]["phone"] == "b"


def test_ctm_has_six_fields() -> None:
    rows = [line.split() for line in FORMATS["ctm"](spoken(TEXTS)).splitlines()]
    assert {len(row) for row in rows} == {6}
    assert rows[0] == ["tape_1", "1", "1.000", "0.667", "she", "0.7500"]
    assert [row[4] for row in rows] == " ".join(TEXTS).split()
    right = transcript([Segment("a b", 0, 1, (word("a\u00a0b", 0, 1),))], 1, channel=1, audio=None)
    assert FORMATS["ctm"](right) == "audio 2 0.000 1.000 a_b 0.7500\n"
    assert FORMATS["ctm"](phones("a b")).split()[10] == "b"
    for broken in broken_times():
        assert all(float(line.split()[3]) > 0 for line in FORMATS["ctm"](broken).splitlines())


def test_times_of_a_part_of_a_file_lead_to_it(tmp_path: Path) -> None:
    pympi = pytest.importorskip("pympi")
    part = transcript([Segment("a", 0.25, 1, (word("a", 0.25, 1),))], 1, audio_start=61.5)
    assert FORMATS["ctm"](part).split()[2:4] == ["61.750", "0.750"]
    eaf = pympi.Eaf(str(saved(part, tmp_path, "eaf")))
    assert eaf.media_descriptors[0]["TIME_ORIGIN"] == "61500"


# --- TextGrid ----------------------------------------------------------------------------------


def test_textgrid_is_read_by_praat(tmp_path: Path) -> None:
    parselmouth = pytest.importorskip("parselmouth")
    from parselmouth.praat import call

    path = saved(spoken([*TEXTS, LINES]), tmp_path, "TextGrid")
    grid = parselmouth.read(str(path))
    assert call(grid, "Get number of tiers") == 2
    assert [call(grid, "Get tier name", n) for n in (1, 2)] == ["utterance", "word"]
    assert (grid.xmin, grid.xmax) == (0, 3 * (len(TEXTS) + 1) + 1)
    labels = [
        call(grid, "Get label of interval", 1, n + 1)
        for n in range(call(grid, "Get number of intervals", 1))
    ]
    assert labels[1::2] == [*TEXTS, LINES]
    assert set(labels[::2]) == {""}
    assert call(grid, "Get start time of interval", 1, 4) == 4


def test_textgrid_is_read_by_textgrid_and_praatio(tmp_path: Path) -> None:
    import praatio.textgrid
    import textgrid

    path = saved(spoken([*TEXTS, LINES]), tmp_path, "TextGrid")
    grid = textgrid.TextGrid.fromFile(str(path))
    assert [interval.mark for interval in grid[0] if interval.mark] == [*TEXTS, LINES]
    entries = praatio.textgrid.openTextgrid(str(path), False).getTier("utterance").entries
    assert [entry.label for entry in entries] == [*TEXTS, LINES]


@pytest.mark.parametrize("number", range(len(broken_times())))
def test_textgrid_intervals_follow_each_other(number: int, tmp_path: Path) -> None:
    import textgrid

    of = broken_times()[number]
    grid = textgrid.TextGrid.fromFile(str(saved(of, tmp_path, "TextGrid")))
    for tier in grid:
        assert is_chain([(i.minTime, i.maxTime) for i in tier])
        assert (tier[0].minTime, tier[-1].maxTime) == (0, grid.maxTime)
    marks = {tier.name: [i.mark for i in tier if i.mark] for tier in grid}
    assert len(marks["utterance"]) == len(of.segments)
    assert len(marks.get("word", [])) == len(of.words)
    assert len(marks.get("phone", [])) == sum(len(w.phones) for w in of.words)


# --- ELAN --------------------------------------------------------------------------------------


def read_eaf(path: Path):
    from pympi.Elan import Eaf

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Eaf(str(path))


def test_eaf_is_read_by_pympi(tmp_path: Path) -> None:
    eaf = read_eaf(saved(spoken([*TEXTS, LINES]), tmp_path, "eaf"))
    found = eaf.get_annotation_data_for_tier("utterance")
    assert [text for *_, text in found] == [*TEXTS, LINES]
    assert found[1][:2] == (4000, 6000)
    assert set(eaf.get_tier_names()) == {"utterance", "word"}
    assert eaf.get_parameters_for_tier("word")["PARENT_REF"] == "utterance"
    kind = eaf.get_parameters_for_tier("word")["LINGUISTIC_TYPE_REF"]
    kind = eaf.get_parameters_for_linguistic_type(kind)
    assert (kind["CONSTRAINTS"], kind["TIME_ALIGNABLE"]) == ("Included_In", "true")


@pytest.mark.parametrize("number", range(len(broken_times())))
def test_annotations_of_elan_lie_inside_their_parents(number: int, tmp_path: Path) -> None:
    of = broken_times()[number]
    eaf = read_eaf(saved(of, tmp_path, "eaf"))
    times = list(eaf.timeslots.values())
    assert times == sorted(times), "ELAN expects time slots in the order of time"
    tiers = {
        name: [(a, b) for a, b, *_ in sorted(eaf.get_annotation_data_for_tier(name))]
        for name in eaf.get_tier_names()
    }
    assert len(tiers["utterance"]) == len(of.segments)
    assert len(tiers.get("word", [])) == len(of.words)
    assert all(is_chain(tier) for tier in tiers.values())
    for name, tier in tiers.items():
        if parent := eaf.get_parameters_for_tier(name).get("PARENT_REF"):
            for begin, end in tier:
                assert any(a <= begin and end <= b for a, b in tiers[parent])


def test_eaf_links_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for audio, there, relative, mime in (
        ("tapes/tape 1.wav", "tapes/x.eaf", "./tape 1.wav", "audio/x-wav"),
        ("tapes/öl.MP3", "out/x.eaf", "../tapes/öl.MP3", "audio/mpeg"),
        (str(tmp_path / "a.flac"), "x.eaf", "./a.flac", "audio/flac"),
        ("a.strange", "x.eaf", "./a.strange", "unknown"),
    ):
        transcript([], 1, audio=audio).save(there)
        (link,) = read_eaf(Path(there)).get_linked_files()
        assert link["RELATIVE_MEDIA_URL"] == relative
        assert link["MEDIA_URL"] == f"file://{tmp_path / audio}"
        assert link["MIME_TYPE"] == mime
    transcript([], 1, audio=None).save("x.eaf")
    assert read_eaf(Path("x.eaf")).get_linked_files() == []


def test_phones_lie_in_words_or_in_utterances(tmp_path: Path) -> None:
    eaf = read_eaf(saved(phones("t\u0361ʃ a"), tmp_path, "eaf"))
    assert eaf.get_parameters_for_tier("phone")["PARENT_REF"] == "utterance"
    assert "word" not in eaf.get_tier_names()
    assert [a[2] for a in eaf.get_annotation_data_for_tier("phone")] == ["t\u0361ʃ", "a"]
    held = (Phone("a", 0, 0.5, 1.0), Phone("b", 0.5, 1, 1.0))
    both = transcript([Segment("ab", 0, 1, (word("ab", 0, 1, held),), held)], 1)
    eaf = read_eaf(saved(both, tmp_path, "eaf"))
    assert eaf.get_parameters_for_tier("phone")["PARENT_REF"] == "word"
    assert len(eaf.get_annotation_data_for_tier("phone")) == 2
    flat = transcript([Segment("ab", 0, 1, (word("ab", 0, 1),), held)], 1)
    eaf = read_eaf(saved(flat, tmp_path, "eaf"))
    assert eaf.get_parameters_for_tier("phone")["PARENT_REF"] == "utterance"
    assert len(eaf.get_annotation_data_for_tier("phone")) == 2


def test_characters_that_xml_and_praat_cannot_hold_are_left_out(tmp_path: Path) -> None:
    import textgrid

    odd = transcript([Segment("a\x00\x1b\x0bb\ufffe", 0, 1)], 1)
    eaf = read_eaf(saved(odd, tmp_path, "eaf"))
    assert eaf.get_annotation_data_for_tier("utterance")[0][2] == "ab"
    grid = textgrid.TextGrid.fromFile(str(saved(odd, tmp_path, "TextGrid")))
    assert grid[0][0].mark.startswith("ab")


# --- all ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_an_empty_transcript_is_a_file_that_opens(form: str, tmp_path: Path) -> None:
    import textgrid

    for seconds in (0.0, 2.5):
        path = saved(transcript([], seconds), tmp_path, form)
        text = path.read_text(encoding="utf-8")
        if form == "TextGrid":
            (tier,) = textgrid.TextGrid.fromFile(str(path))
            assert (tier.name, [i.mark for i in tier]) == ("utterance", [""])
        elif form == "eaf":
            assert read_eaf(path).get_tier_names() == {"utterance": None}.keys()
        elif form == "json":
            assert json.loads(text)["segments"] == []
        else:
            assert text in ("", "\n", "WEBVTT\n\n", "start\tend\ttext\n")


@pytest.mark.parametrize("form", FORMATS)
def test_words_without_segments_text_and_segments_without_words(form: str, tmp_path: Path) -> None:
    """Whatever is there is written; what is not there does not stop it."""
    mixed = transcript([Segment("only text", 0, 1), Segment("", 1, 2, (word("w", 1, 2),))], 2)
    assert saved(mixed, tmp_path, form).stat().st_size > 0


def test_the_suffix_chooses_the_format(tmp_path: Path) -> None:
    for name in ("a.textgrid", "b.SRT", "c.Vtt"):
        spoken(["x"]).save(str(tmp_path / name))
    assert re.search("^WEBVTT", (tmp_path / "c.Vtt").read_text())
    for name in ("a.docx", "noformat"):
        with pytest.raises(UserError, match=r"txt, srt, vtt, tsv, json, ctm, TextGrid, eaf"):
            spoken(["x"]).save(tmp_path / name)
        assert not (tmp_path / name).exists()
