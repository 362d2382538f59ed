"""Filling touches empty segments of one tier and nothing else, in files as people have them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechx.audio.files import write_flac
from speechx.cli.main import main
from speechx.errors import UserError
from speechx.transcription.annotation import Filling, fill
from speechx.transcription.result import Transcript

FILES = Path(__file__).parent / "files"
SECONDS = 10


def transcribe(wave_S: np.ndarray) -> Transcript:
    """A transcript of the loudness, which is the second of the recording, and of the length."""
    seconds = len(wave_S) / 16_000
    covered = seconds if seconds > 0.025 else 0.0
    second = round(100 * float(np.abs(wave_S).max()), 1) if covered else 0
    text = f'<{second:.0f} "&">' if covered and second >= 1 else ""
    return Transcript(text, (), "characters", seconds, covered, "m")


def filled(second: int) -> str:
    return f'<{second} "&">'


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """With session.wav, in which second n has loudness n percent; its first second is silent."""
    wave_S = np.repeat(np.arange(SECONDS), 16_000).astype(np.float32) / 100
    write_wav(tmp_path / "session.wav", wave_S)
    return tmp_path


def write_wav(path: Path, wave_S: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, wave_S, 16_000)


# --- ELAN --------------------------------------------------------------------------------------

EAF = (FILES / "session.eaf").read_text(encoding="utf-8")
VALUE = re.compile(r"<ANNOTATION_VALUE */>|<ANNOTATION_VALUE *>(.*?)</ANNOTATION_VALUE>", re.DOTALL)


def eaf_values(path: Path) -> dict[str, list[str]]:
    """The texts of each tier, as pympi reads them."""
    from pympi.Elan import Eaf

    eaf = Eaf(str(path), suppress_version_warning=True)
    return {
        name: [a[2] or "" for a in aligned.values()] + [r[1] or "" for r in references.values()]
        for name, (aligned, references, *_) in eaf.tiers.items()
    }


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("encoding", "name"),
    [("utf-8", "UTF-8"), ("utf-8-sig", "UTF-8"), ("utf-16", "UTF-16"), ("latin-1", "ISO-8859-1")],
)
def test_only_empty_annotations_of_the_tier_change(
    encoding: str, name: str, ends: str, place: Path
) -> None:
    path, output = place / "session.eaf", place / "new.eaf"
    text = EAF.replace("UTF-8", name).replace("\n", ends)
    path.write_bytes(text.encode(encoding))
    done = fill(path, output, transcribe, "utt@A")
    assert (done.filled, done.silent, done.short, done.failed) == (4, 0, 0, ())
    new = output.read_bytes().decode(encoding)
    assert VALUE.sub("", new) == VALUE.sub("", text)
    assert new.encode(encoding) == output.read_bytes()
    assert path.read_bytes() == text.encode(encoding)
    assert "<!-- why? -->" in new
    values = eaf_values(output)
    old = "kept & é\u0301 'old'"
    assert values["utt@A"] == [filled(1), old, filled(3), filled(4), filled(5)]
    assert values["ft@A"] == ["", "old"]
    assert values["mb@A"] == ["", ""]


def test_a_reference_annotation_has_the_sound_of_its_parent(place: Path) -> None:
    path = place / "session.eaf"
    path.write_text(EAF, encoding="utf-8")
    assert fill(path, place / "new.eaf", transcribe, "ft@A").filled == 1
    assert eaf_values(place / "new.eaf")["ft@A"] == [filled(1), "old"]
    done = fill(path, place / "morph.eaf", transcribe, "mb@A")
    assert done.filled == 0
    assert "2 empty segments have no times" in done.failed[0]
    assert (place / "morph.eaf").read_text(encoding="utf-8") == EAF


def test_letters_beyond_the_encoding_become_references(place: Path) -> None:
    text = EAF.replace("UTF-8", "ISO-8859-1")
    (place / "session.eaf").write_bytes(text.encode("latin-1"))

    def russian(wave_S: np.ndarray) -> Transcript:
        return Transcript("да \x00]]>", (), "characters", 1, 1, "m")

    fill(place / "session.eaf", place / "new.eaf", russian, "utt@A")
    assert eaf_values(place / "new.eaf")["utt@A"][0] == "да ]]>"


def test_tiers_are_listed_where_the_choice_is_not_clear(place: Path) -> None:
    path, output = place / "session.eaf", place / "new.eaf"
    path.write_text(EAF, encoding="utf-8")
    listed = r"utt@A \(4 empty segments\), ft@A \(1 empty segment\), mb@A \(0 empty .*2 more"
    with pytest.raises(UserError, match=f"2 tiers have empty segments.*--tier: {listed}"):
        fill(path, output, transcribe)
    with pytest.raises(UserError, match=f"no tier 'utt@B'; its tiers are: {listed}"):
        fill(path, output, transcribe, "utt@B")
    assert not output.exists()
    one = EAF.replace("<ANNOTATION_VALUE/></REF", "<ANNOTATION_VALUE>x</ANNOTATION_VALUE></REF")
    path.write_text(one, encoding="utf-8")
    assert fill(path, output, transcribe).tier == "utt@A"
    assert fill(output, place / "again.eaf", transcribe) == Filling(None)
    assert (place / "again.eaf").read_bytes() == output.read_bytes()


def test_a_tier_name_may_be_typed_with_composed_letters(place: Path) -> None:
    path = place / "session.eaf"
    path.write_text(EAF.replace("utt@A", "e\u0301"), encoding="utf-8")
    assert fill(path, place / "new.eaf", transcribe, "\u00e9").filled == 4


@pytest.mark.parametrize(
    ("relative", "absolute", "where"),
    [
        ("./session.wav", "file:///nowhere/session.wav", "session.wav"),
        ("../session.wav", "file:///D:/tapes/x.wav", "../session.wav"),
        ("./my%20tape%C3%A9.wav", "", "my tapeé.wav"),
        ("./my tapeé.wav", "", "my tapeé.wav"),
        ("./100%25.wav", "", "100%25.wav"),
        ("", "file://{place}/media/a b.wav", "media/a b.wav"),
        ("", "file://{place}/media/a%20b.wav", "media/a b.wav"),
        ("", "file:{place}/media/x.wav", "media/x.wav"),
        ("media\\\\x.wav", "file:///C:/Users/A/x.wav", "x.wav"),
        ("file:./session.wav", "", "session.wav"),
    ],
)
def test_the_linked_recording_is_found(
    relative: str, absolute: str, where: str, place: Path
) -> None:
    home = place / "elan"
    home.mkdir()
    absolute = absolute.replace("{place}", str(home))
    text = EAF.replace("./session.wav", relative).replace("file:///nowhere/session.wav", absolute)
    (home / "talk.eaf").write_text(text, encoding="utf-8")
    if not (home / where).exists():
        write_wav(home / where, np.full(16_000 * SECONDS, 0.07, np.float32))
    assert fill(home / "talk.eaf", home / "new.eaf", transcribe, "utt@A").filled == 4


def test_a_sound_file_goes_before_a_film_and_the_offset_counts(place: Path) -> None:
    film = '<MEDIA_DESCRIPTOR MEDIA_URL="file:///film.mp4" RELATIVE_MEDIA_URL="./film.mp4"/>'
    film += '<MEDIA_DESCRIPTOR TIME_ORIGIN="2000" '
    (place / "film.mp4").write_bytes(b"no film")
    text = EAF.replace("<MEDIA_DESCRIPTOR ", film, 1)
    (place / "x.eaf").write_text(text, encoding="utf-8")
    fill(place / "x.eaf", place / "new.eaf", transcribe, "utt@A")
    values = eaf_values(place / "new.eaf")["utt@A"]
    assert [values[i] for i in (0, 2, 3, 4)] == [filled(3), filled(5), filled(6), filled(7)]


def test_a_missing_recording_is_an_error_that_names_what_was_searched(place: Path) -> None:
    path = place / "session.eaf"
    path.write_text(EAF.replace("session.wav", "gone.wav"), encoding="utf-8")
    with pytest.raises(UserError, match=r"gone\.wav.*/nowhere/gone\.wav.*--audio"):
        fill(path, place / "new.eaf", transcribe, "utt@A")
    assert fill(path, place / "new.eaf", transcribe, "utt@A", place / "session.wav").filled == 4
    unlinked = re.sub(r"<MEDIA_DESCRIPTOR.*?/>", "", EAF, flags=re.DOTALL)
    (place / "other.eaf").write_text(unlinked, encoding="utf-8")
    with pytest.raises(UserError, match=r"no recording.*other\.wav"):
        fill(place / "other.eaf", place / "new.eaf", transcribe, "utt@A")
    (place / "session.eaf").write_text(unlinked, encoding="utf-8")
    assert fill(path, place / "new.eaf", transcribe, "utt@A").filled == 4


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"\0\1\2\3" * 100, "not the XML of ELAN"),
        (EAF.encode()[:1500], "not the XML of ELAN: line.*take its backup"),
        (b"<html><body/></html>", "html"),
        (EAF.replace('ANNOTATION_ID="a3" ', "").encode(), "ANNOTATION_ID"),
        (b'File type = "ooTextFile"', "not the XML of ELAN"),
    ],
)
def test_what_is_no_eaf_is_an_error(data: bytes, said: str, place: Path) -> None:
    path = place / "session.eaf"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"session\.eaf.*{said}"):
        fill(path, place / "new.eaf", transcribe)
    assert not (place / "new.eaf").exists()


# --- Praat -------------------------------------------------------------------------------------

LONG = (FILES / "session.TextGrid").read_text(encoding="utf-8")
SHORT = re.sub(r"(?m)^ *(?:item|intervals|points) ?\[\d*\]: *\n|^.*?(?:=|\?) (?=[^ ])", "", LONG)
SHORT = SHORT.replace('"ooTextFile"\n"TextGrid"', 'File type = "ooTextFile short"\n"TextGrid"')


GAP = """intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 10
            text = ""
    item [3]"""


def marks(path: Path) -> dict[str, list[str]]:
    """The texts of each tier, as Praat reads them."""
    parselmouth = pytest.importorskip("parselmouth")
    from parselmouth.praat import call

    grid = parselmouth.read(str(path))
    found = {}
    for tier in range(1, call(grid, "Get number of tiers") + 1):
        kind = "interval" if call(grid, "Is interval tier", tier) else "point"
        count = call(grid, f"Get number of {kind}s", tier)
        of = call(grid, "Get tier name", tier)
        found[of] = [call(grid, f"Get label of {kind}", tier, n + 1) for n in range(count)]
    return found


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "latin-1"])
@pytest.mark.parametrize("text", [LONG, SHORT], ids=["long", "short"])
def test_only_empty_intervals_change(text: str, encoding: str, ends: str, place: Path) -> None:
    path, output = place / "session.TextGrid", place / "new.TextGrid"
    text = text.replace("\n", ends)
    marked = "\ufeff" + text if encoding == "utf-16-be" else text
    path.write_bytes(marked.encode(encoding))
    done = fill(path, output, transcribe)
    assert (done.tier, done.filled, done.silent) == ('say "hi"', 2, 1)
    new = output.read_bytes().decode(encoding)
    back = new.replace('<1 ""&"">', "").replace('"<3 ""&"">"', '" \t"')
    assert back == marked
    assert len(new) > len(back)
    assert output.read_bytes() == new.encode(encoding)
    found = marks(output)
    assert list(found) == ["bell", 'say "hi"', "full"]
    assert found['say "hi"'][:2] == ["", filled(1)]
    assert found['say "hi"'][3:] == [filled(3), "old"]
    assert found["bell"] == ["", "5 é"]


def test_a_latin_1_file_becomes_utf_8_if_the_text_needs_it(place: Path) -> None:
    path, output = place / "session.TextGrid", place / "new.TextGrid"
    path.write_bytes(LONG.encode("latin-1"))
    fill(path, output, lambda _: Transcript("да", (), "characters", 1, 1, "m"))
    assert output.read_text(encoding="utf-8").count("да") == 3
    assert "! é" in output.read_text(encoding="utf-8")


def test_times_beyond_the_recording(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, output = place / "session.TextGrid", place / "new.TextGrid"
    late = LONG.replace('"old"', '""').replace("xmax = 10", "xmax = 30")
    write_flac(place / "short.flac", np.full(16_000 * 5, 0.04, np.float32))
    path.write_text(late, encoding="utf-8")
    with caplog.at_level("INFO", "speechx"):
        done = fill(path, output, transcribe, audio=place / "short.flac")
    assert "1 empty segment ends behind the end" in caplog.text
    assert done.filled == 4
    write_flac(place / "shorter.flac", np.full(16_000 * 2, 0.04, np.float32))
    done = fill(path, output, transcribe, audio=place / "shorter.flac")
    assert done.filled == 2
    assert re.search(r"2 of 4 empty segments begin behind .*2\.00 s.*at 3\.00 s", done.failed[0])
    wrong = LONG.replace("xmin = 0 \n            xmax = 1 ", "xmin = 60 \n            xmax = 61 ")
    wrong = wrong.replace("xmin = 1 ", "xmin = 61 ").replace("xmin = 3 ", "xmin = 63 ")
    path.write_text(wrong.replace("xmax = 2 ", "xmax = 62 ").replace("xmax = 4 ", "xmax = 64 "))
    with pytest.raises(UserError, match=r"3 of 3 empty segments begin behind.*--audio"):
        fill(path, place / "none.TextGrid", transcribe)


def test_a_long_recording_that_is_one_segment_is_not_read_into_memory(place: Path) -> None:
    path, asked = place / "long.TextGrid", []
    text = re.sub(r"(?s)intervals: size = 5.*?item \[3\]", GAP, LONG)
    path.write_text(text.replace("xmax = 10", "xmax = 700"))
    write_wav(place / "long.wav", np.zeros(16_000 * 700, np.int16))

    def stream(audio: object) -> Transcript:
        asked.append(audio)
        return Transcript("all", (), "characters", 700, 700, "m")

    assert fill(path, place / "new.TextGrid", stream).filled == 1
    assert asked == [place / "long.wav"]


def test_segments_shorter_than_a_frame_stay_empty(place: Path) -> None:
    path, output = place / "session.TextGrid", place / "new.TextGrid"
    path.write_text(LONG.replace("xmax = 2 ", "xmax = 1.001 ").replace("xmax = 4 ", "xmax = 3 "))
    done = fill(path, output, transcribe)
    assert (done.filled, done.short, done.failed) == (0, 2, ())
    assert output.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (LONG.encode()[:700], "line 3.*(ends too early|closing quote)"),
        (LONG.encode("utf-16")[:-101], "UTF-16"),
        (b"ooBinaryFile\x08TextGrid\0\0", "no TextGrid in a text format"),
        (LONG.replace("xmax = 3 ", "xmax = three ").encode(), "line 38: a number was expected"),
        (LONG.replace('"IntervalTier"', '"PitchTier"').encode(), "line 22: IntervalTier or"),
    ],
)
def test_what_is_no_textgrid_is_an_error(data: bytes, said: str, place: Path) -> None:
    path = place / "session.TextGrid"
    path.write_bytes(data)
    with pytest.raises(UserError, match=rf"(?s)session\.TextGrid.*{said}"):
        fill(path, place / "new.TextGrid", transcribe)


def test_point_tiers_and_equal_names_are_refused(place: Path) -> None:
    path, output = place / "session.TextGrid", place / "new.TextGrid"
    path.write_text(LONG)
    with pytest.raises(UserError, match=r"'bell' has points.*bell \(points\)"):
        fill(path, output, transcribe, "bell")
    twice = LONG.replace('"full"', '"say ""hi"""').replace('"x"', '""')
    path.write_text(twice)
    with pytest.raises(UserError, match="2 tiers have the name"):
        fill(path, output, transcribe, 'say "hi"')


# --- the command -------------------------------------------------------------------------------


class Model:
    transcribe = staticmethod(transcribe)

    @staticmethod
    def compute_with(batch_size: int | None, threads: int | None) -> None:
        """There is nothing to compute."""


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("speechx.transcription.loading.load", lambda *_, **__: Model)
    return lambda *words: main(["fill", *map(str, words), "--model", "m"])


def test_a_language_chooses_the_adapter(place: Path, monkeypatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(
        "speechx.transcription.loading.load", lambda *words: given.extend(words) or Model
    )
    (place / "session.TextGrid").write_text(LONG)
    words = ["fill", str(place / "session.TextGrid"), "--model", "m", "--language", "yor"]
    assert main([*words, "--compute-type", "int8"]) == 0
    assert given[3:5] == ["yor", "int8"]


def test_a_segment_that_fails_does_not_stop_the_others(place: Path) -> None:
    def some(wave_S: np.ndarray) -> Transcript:
        transcript = transcribe(wave_S)
        if transcript.text == filled(1):
            raise UserError("no adapter for this language")
        return transcript

    (place / "session.TextGrid").write_text(LONG)
    done = fill(place / "session.TextGrid", place / "new.TextGrid", some)
    whole = fill(place / "session.TextGrid", place / "whole.TextGrid", transcribe)
    assert done.filled == whole.filled - 1 > 0
    assert [message.partition(": ")[2] for message in done.failed] == [
        "no adapter for this language"
    ]


def test_a_new_file_stands_beside_the_original(place: Path, call, capsys) -> None:
    path, new = place / "session.TextGrid", place / "session.filled.TextGrid"
    path.write_text(LONG)
    assert call(path) == 0
    assert path.read_text() == LONG
    assert filled(1).replace('"', '""') in new.read_text()
    assert capsys.readouterr().out == f"{new}\n"
    new.write_text("mine")
    assert call(path, new) == 0  # as the shell makes of *.TextGrid
    assert new.read_text() == "mine"
    assert call(path, "--overwrite") == 0
    assert new.read_text() != "mine"
    assert set(place.glob("*.TextGrid")) == {new, path}


def test_originals_are_replaced_only_on_request(place: Path, call, capsys) -> None:
    path, link = place / "session.TextGrid", place / "link.TextGrid"
    path.write_text(LONG)
    os.chmod(path, 0o640)
    link.symlink_to(path)
    for words in ((path, "-o", path), (path, "-o", place), (path, "-o", link, "--overwrite")):
        assert call(*words) == 1
        assert "is the original" in capsys.readouterr().err
    assert path.read_text() == LONG
    assert call(link, "--in_place", "--audio", place / "session.wav") == 0
    assert link.is_symlink()
    assert path.read_text() != LONG
    assert path.stat().st_mode & 0o777 == 0o640
    assert call(path, "--in-place", "-o", "x") == 1


def test_folders_are_filled_and_a_bad_file_stops_no_other(place: Path, call, capsys) -> None:
    (place / "a").mkdir()
    (place / "a" / "session.eaf").write_text(EAF.replace("./session", "../session"))
    (place / "a" / "empty.eaf").touch()
    (place / "session.TextGrid").write_text(LONG)
    assert call(place, "--tier", "utt@A", "-o", place / "out") == 2
    err = capsys.readouterr().err
    assert "empty.eaf: the file is empty" in err
    assert "no tier 'utt@A'" in err
    assert (place / "out" / "a" / "session.eaf").is_file()
    assert call(place / "a" / "session.eaf", "--tier", "utt@A", "-o", place / "one.eaf") == 0
    assert (place / "one.eaf").is_file()
    assert call(place / "out", place / "a", "--audio", "x.wav") == 1


def test_mistakes_are_one_line(place: Path, call, capsys) -> None:
    (place / "session.TextGrid").write_text(LONG)
    (place / "file").touch()
    for words, said in (
        ((place / "gone.eaf",), "gone.eaf: cannot be read: No such file"),
        ((place / "gone",), "there is no such file or folder"),
        ((place / "session.TextGrid", "-o", place / "new.eaf"), "the suffix .TextGrid"),
        ((place / "session.wav",), "an .eaf file of ELAN or a .TextGrid of Praat was expected"),
        ((place / "session.TextGrid", "--tier", "x"), "no tier 'x'"),
        ((place / "session.TextGrid", "-o", place / "file" / "x"), "a folder is needed"),
        ((place / "session.TextGrid", "-o", place / "file"), "a folder is needed"),
        ((place / "session.TextGrid", "--channels", "split"), "mix or a number"),
        ((place / "session.TextGrid", "--channels", "1"), "channel 1 was requested"),
        ((place / "session.TextGrid", "-o", "/proc/x"), "cannot be written"),
        ((place / "session.TextGrid", "--audio", place / "gone.wav"), "gone.wav"),
        ((place / "session.TextGrid", "--inventory", "zzz"), "zzz"),
        ((place / "session.TextGrid", "--inventory", "gone.txt"), "gone.txt"),
        ((place / "session.TextGrid", "--mapping", "gone.tsv"), "gone.tsv"),
    ):
        assert call(*words) == 1
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1


def test_one_channel_is_heard(place: Path, call) -> None:
    wave_S, rate = soundfile.read(place / "session.wav")
    soundfile.write(place / "session.wav", np.stack([0 * wave_S, wave_S], 1), rate)
    (place / "session.TextGrid").write_text(LONG)
    for channel, output in ((0, "none"), (1, "all"), ("mix", "half")):
        name = place / f"{output}.TextGrid"
        assert call(place / "session.TextGrid", "--channels", channel, "-o", name) == 0
    assert filled(1).replace('"', '""') in (place / "all.TextGrid").read_text()
    texts = {(place / f"{name}.TextGrid").read_text() for name in ("none", "all", "half")}
    assert len(texts) == 3


@pytest.mark.parametrize("wrong", ["empty", "tier", "recording"])
def test_a_file_that_is_wrong_costs_no_loading(place: Path, capsys, wrong) -> None:
    """The model does not exist, and the file is what is wrong."""
    path = place / "session.eaf"
    path.write_text("" if wrong == "empty" else EAF)
    options = ["--tier", "x" if wrong == "tier" else "utt@A"]
    options += ["--audio", str(place / "gone.wav")] if wrong == "recording" else []
    assert main(["fill", str(path), *options, "--model", str(place / "no model")]) == 1
    said = {"empty": "the file is empty", "tier": "no tier 'x'", "recording": "gone.wav"}
    assert said[wrong] in capsys.readouterr().err


def test_what_failed_is_listed_when_the_model_does_not_open(place: Path, capsys) -> None:
    (place / "a.eaf").touch()
    (place / "b.TextGrid").write_text(LONG)
    (place / "session.wav").rename(place / "b.wav")
    words = ["fill", str(place / "a.eaf"), str(place / "b.TextGrid")]
    assert main([*words, "--model", str(place / "no model")]) == 1
    err = capsys.readouterr().err
    assert "a.eaf: the file is empty" in err
    assert "no model does not exist" in err
