"""VoxPopuli: transcribed clips, and sessions that are listed in segments and never cut."""

import gzip
from pathlib import Path
from typing import Any

import pytest

from speechx.corpora import voxpopuli
from speechx.corpora.engine.tables import read_rows
from speechx.corpora.engine.write import Output
from speechx.corpora.voxpopuli import prepare
from speechx.errors import UserError
from tests.corpora.corpus_trees import lines, read, sound

OLD = "id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender"
NEW = f"{OLD}\tis_gold_transcript\taccent"
CLIP = "20180313-0900-PLENARY-3-hr_20180313-16:07:22_1"


def transcribed(root: Path) -> None:
    folder = root / "transcribed_data" / "hr"
    rows = (
        f'{CLIP}\tHvala "lijepa.\thvala lijepa\t124747\ttrain\tfemale\tTrue\tNone',
        f"{CLIP}2\tNe.\t\tNone\ttrain\tmale\tFalse\tNone",
    )
    lines(folder / "asr_train.tsv", NEW, *rows)
    lines(folder / "asr_dev.tsv", OLD, f"{CLIP}3\tDa.\tda\t9\tdev\tmale")
    for number in ("", "2", "3"):
        sound(folder / "2018" / f"{CLIP}{number}.ogg")


def sessions(root: Path) -> None:
    for name, seconds in (("20180313-0900-PLENARY_hr", 3.0), ("20190101-0900-PLENARY_hr", 1.0)):
        sound(root / "raw_audios" / "hr" / name[:4] / f"{name}.ogg", seconds)
    sound(root / "raw_audios" / "original" / "2018" / "20180313-0900-PLENARY_original.ogg")


def segments(root: Path, file: str, *rows: str) -> None:
    (root / "unlabelled_data").mkdir(parents=True)
    with gzip.open(root / "unlabelled_data" / file, "wt") as table:
        table.writelines(f"{row}\n" for row in rows)


def test_transcribed_clips_are_read_exactly(tmp_path: Path) -> None:
    transcribed(tmp_path)
    out = tmp_path / "out"
    assert prepare(tmp_path, Output(out)) == {"hr": {"train": 1, "dev": 1, "unlabelled": 1}}
    u = read(out, "hr", "train")[CLIP]
    assert (u.text, u.speaker, u.corpus) == ("hvala lijepa", "124747", "voxpopuli")
    assert u.audio == tmp_path / "transcribed_data" / "hr" / "2018" / f"{CLIP}.ogg"
    assert u.duration == pytest.approx(0.5, abs=0.01)
    assert u.extra == {
        "gender": "female", "is_gold_transcript": "True", "accent": "None",
        "text_policy": "voxpopuli normalised",
    }  # fmt: skip
    assert read(out, "hr", "unlabelled")[f"{CLIP}2"].speaker is None
    counts = prepare(tmp_path, Output(tmp_path / "raw"), ["Croatian"], text="raw")
    assert counts == {"hr": {"train": 2, "dev": 1}}
    assert read(tmp_path / "raw", "hr", "train")[CLIP].text == 'Hvala "lijepa.'


def test_sessions_are_listed_in_equal_stretches(tmp_path: Path) -> None:
    sessions(tmp_path)
    assert prepare(tmp_path, Output(tmp_path / "out"), longest=1.2) == {"hr": {"unlabelled": 4}}
    found = list(read(tmp_path / "out", "hr", "unlabelled").values())
    assert [(u.id[:8], u.id[24:], u.start) for u in found] == [
        ("20190101", "", 0.0), ("20180313", "_0000000", 0.0), ("20180313", "_0000100", 1.0),
        ("20180313", "_0000200", 2.0),
    ]  # fmt: skip
    assert all(u.duration == pytest.approx(1.0, abs=0.01) for u in found)
    assert {u.audio.name for u in found[1:]} == {"20180313-0900-PLENARY_hr.ogg"}
    again = prepare(tmp_path, Output(tmp_path / "out"), longest=1.2)
    assert again == {"hr": {"unlabelled": 4}}


@pytest.mark.parametrize("diarised", [False, True])
def test_segments_come_from_the_table(tmp_path: Path, diarised: bool, messages: list[str]) -> None:
    sessions(tmp_path)
    rows = [
        ("20180313-0900-PLENARY_hr", "0", "0.5", "1.25"),
        ("20180313-0900-PLENARY_hr", "1", "2", "2.5"),
        ("20180313-0900-PLENARY_en", "0", "2", "2.5"),
        ("20100101-0900-PLENARY_hr", "0", "2", "2.5"),
    ]
    header = ("event_id", "segment_no", "start", "end")
    if diarised:
        header = ("session_id", "id_", "start_time", "end_time")
    between = "|" if diarised else "\t"
    file = "unlabelled_sd.tsv.gz" if diarised else "unlabelled_v2.tsv.gz"
    segments(tmp_path, file, *(between.join(row) for row in (header, *rows)))
    messages.clear()
    prepare(tmp_path, Output(tmp_path / "out"))
    assert messages == [
        "hr: unlabelled 2 (0.00035 h); left out: 1 sessions without a segment, "
        "1 segments of sessions that are not here"
    ]
    first, second = read(tmp_path / "out", "hr", "unlabelled").values()
    assert (first.id, first.start, first.duration) == ("20180313-0900-PLENARY_hr_0", 0.5, 0.75)
    assert (second.start, second.duration) == (2.0, 0.5)


def test_the_table_of_segments_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has tens of millions of rows of 23 languages."""
    names = ("de", "hr", "it")
    rows = ["event_id\tsegment_no\tstart\tend", "x"]
    for number, name in enumerate(names):
        sound(tmp_path / "raw_audios" / name / "2018" / f"s_{name}.ogg", 3.0)
        rows += [f"s_{name}\t{i}\t{i}.{number}\t{i + 1}" for i in range(2)]
    segments(tmp_path, "unlabelled_v2.tsv.gz", *rows, "s_it\t9\tsoon\tlater")
    opened: list[Path] = []

    def counted(path: Path, *more: Any, **how: Any) -> Any:
        opened.append(path)
        return read_rows(path, *more, **how)

    monkeypatch.setattr(voxpopuli, "read_rows", counted)
    out = tmp_path / "out"
    counts = prepare(tmp_path, Output(out, allow_missing=True), ["it", "hr"])
    assert counts == {"it": {"unlabelled": 2}, "hr": {"unlabelled": 2}}
    assert len(opened) == 1
    found = {u.id: (u.start, u.duration) for u in read(out, "it", "unlabelled").values()}
    assert found == {"s_it_0": (0.2, 0.8), "s_it_1": (1.2, 0.8)}
    corrupt = (out / "it" / "corrupt.txt").read_text().splitlines()
    assert len(corrupt) == 2
    assert "line 2 has 1 fields" in corrupt[0]
    assert "v2.tsv.gz:9\tno time: 'soon' to 'later'" in corrupt[1]
    assert not (out / "hr" / "corrupt.txt").exists()


def test_impossible_segments_are_named(tmp_path: Path) -> None:
    sessions(tmp_path)
    rows = ("event_id\tsegment_no\tstart\tend", *(
        f"20180313-0900-PLENARY_hr\t{i}\t{start}\t{end}"
        for i, (start, end) in enumerate((("2", "9"), ("x", "1"), ("2", "1"), ("nan", "1")))
    ))  # fmt: skip
    segments(tmp_path, "unlabelled_v2.tsv.gz", *rows)
    out = tmp_path / "out"
    with pytest.raises(UserError, match=r"unlabelled_v2\.tsv\.gz:3: no time: 'x' to '1'"):
        prepare(tmp_path, Output(out))
    with pytest.raises(UserError, match="no usable utterance"):
        prepare(tmp_path, Output(out, allow_missing=True))
    assert (
        "segment 0 of 20180313-0900-PLENARY_hr\tthe segment starts at 2 s and ends after"
        in (out / "hr" / "corrupt.txt").read_text()
    )
    broken = tmp_path / "unlabelled_data" / "unlabelled_v2.tsv.gz"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(UserError, match="not a complete gzip file"):
        prepare(tmp_path, Output(out))


def test_two_folders_of_one_language_are_not_written_over_each_other(tmp_path: Path) -> None:
    for name in ("hr", "hrv"):
        sound(tmp_path / "raw_audios" / name / "2018" / f"s_{name}.ogg")
    with pytest.raises(UserError, match=r"hr and hrv are both hr, and would be written over"):
        prepare(tmp_path, Output(tmp_path / "out"))


def test_what_is_not_voxpopuli(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not VoxPopuli: neither transcribed_data/LANGUAGE"):
        prepare(tmp_path, Output(tmp_path / "out"))
