"""Kaldi's data directories: what commands mean is understood, and none is ever run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechx.audio.files import read_audio
from speechx.corpora import kaldi
from speechx.corpora.engine import archives
from speechx.corpora.engine.write import Output
from speechx.data.manifest import read_manifest
from speechx.errors import UserError
from tests.corpora.corpus_trees import lines, of_own_data, read, sound

prepare = of_own_data(kaldi.prepare)


def test_a_plain_directory_with_relative_and_absolute_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    sound(tmp_path / "wav" / "a b.wav")
    sound(tmp_path / "wav" / "2.flac", 0.75)
    sound(tmp_path / "wav" / "3.wav")
    data = tmp_path / "data" / "train_clean"
    lines(data / "wav.scp", "u1 wav/a b.wav", f"u2\t{tmp_path}/wav/2.flac", "u3 wav/3.wav")
    lines(data / "text", 'u1 due  "parole', "u2 tre", "u3", "u9 nessuno")
    lines(data / "utt2spk", "u1 ann", "u2 bob", "u3 bob")
    lines(data / "utt2lang", "u1 it", "u2 it", "u3 it")
    lines(data / "spk2gender", "ann f", "bob m")
    lines(data / "utt2dur", "u1 99", "u2 99")
    assert prepare(tmp_path / "data", Output(tmp_path / "out")) == {
        "it": {"train_clean": 2, "unlabelled": 1}
    }
    assert messages[0].endswith("; left out: 1 transcripts without an utterance")
    train = read(tmp_path / "out", "it", "train_clean")
    u1, u2 = train["u1"], train["u2"]
    assert (u1.text, u1.speaker, u1.extra) == ('due  "parole', "ann", {"gender": "female"})
    assert (u1.audio, u1.duration, u1.corpus) == (tmp_path / "wav" / "a b.wav", 0.5, "data")
    assert (u2.audio.name, u2.duration, u2.extra["gender"]) == ("2.flac", 0.75, "male")


def test_segments_are_parts_of_recordings(tmp_path: Path) -> None:
    data = tmp_path / "test"
    audio = sound(tmp_path / "long.wav", 4.0)
    lines(data / "wav.scp", f"r1 {audio}")
    lines(data / "segments", "u1 r1 0 1.5", "u2 r1 1.5 2.25", "u3 r1 3 -1")
    lines(data / "text", "u1 a", "u2 b")
    assert prepare(data, Output(tmp_path / "out"), "it") == {"it": {"test": 3}}
    found = read(tmp_path / "out", "it", "test").values()
    assert [(u.id, u.start, u.duration, u.text) for u in found] == [
        ("u1", 0.0, 1.5, "a"), ("u2", 1.5, 0.75, "b"), ("u3", 3.0, 1.0, None),
    ]  # fmt: skip
    lines(data / "segments", "u1 r1 3 5", "u2 r2 1 2", "u3 r1 2 1", "u4 r1 x 1", "u5 r1 nan 2")
    with pytest.raises(UserError, match=r"segments:2: recording 'r2' is not in wav\.scp \(and 3"):
        prepare(data, Output(tmp_path / "out"), "it")
    with pytest.raises(UserError, match="no usable utterance"):
        prepare(data, Output(tmp_path / "out", allow_missing=True), "it")
    listed = (tmp_path / "out" / "it" / "corrupt.txt").read_text()
    assert "segments:1\tthe segment starts at 3 s and ends after the end of" in listed


def test_each_channel_of_a_call_is_an_utterance(tmp_path: Path) -> None:
    call = tmp_path / "call.sph"
    times = np.arange(8000) / 8000
    both = np.stack([0.5 * np.sin(2 * np.pi * 440 * times), 0.1 * np.sin(880 * times)], axis=1)
    soundfile.write(call, both, 8000, format="NIST", subtype="PCM_16")
    data = tmp_path / "train"
    pipe = f"/opt/kaldi/tools/sph2pipe_v2.5/sph2pipe -f wav -p -c {{}} {call} |"
    lines(data / "wav.scp", f"c-A {pipe.format(1)}", f"c-B {call}")
    lines(data / "reco2file_and_channel", "c-A call A", "c-B call B")
    lines(data / "text", "c-A hello", "c-B hi")
    with pytest.raises(UserError, match=r"one channel of .*call\.sph, which has 2; with --convert"):
        prepare(data, Output(tmp_path / "out"), "en")
    prepare(data, Output(tmp_path / "out", convert=True), "en")
    train = read(tmp_path / "out", "en", "train")
    assert {u.text: u.audio.name[:3] for u in train.values()} == {"hello": "c-A", "hi": "c-B"}
    for channel, u in enumerate(train.values()):
        assert "channel" not in u.extra
        expected = read_audio(call, channel=channel)
        assert np.abs(read_audio(u.audio) - expected).max() < 1e-3


def test_segments_name_channels(tmp_path: Path) -> None:
    call, mono = sound(tmp_path / "call.wav", 2.0, channels=2), sound(tmp_path / "mono.wav", 2.0)
    data = tmp_path / "train"
    lines(data / "wav.scp", f"c {call}", f"m {mono}", f"p sph2pipe -f wav -c 2 {call} |")
    segments = ("c0 c 0 1 0", "c1 c 0 1 1", "m0 m 0 -1 0", "m1 m 0 1 -1", "p0 p 0 1 0", "cb c 0 1")
    lines(data / "segments", *segments)
    lines(data / "reco2file_and_channel", "c call B")  # what segments say goes before it
    out = Output(tmp_path / "out", convert=True)
    assert prepare(data, out, "it") == {"it": {"unlabelled": 6}}
    found = read(tmp_path / "out", "it", "unlabelled")
    expected = {"c0": 0, "c1": 1, "p0": 1, "cb": 1}
    for id, channel in expected.items():
        assert np.abs(read_audio(found[id].audio) - read_audio(call, 0, 1, channel)).max() < 1e-3
    assert found["m0"].duration == 2.0
    assert all(u.extra == {} for u in found.values())
    bad = {
        "x m 0 1 A": "its channel is 'A', not a number from 0, or -1 for none",
        "x m 0 1 -2": "its channel is '-2'",
        "x m 0 1 0 9": "its channel is '0 9'",
        "x m 0 1 1": "channel 2 of .* was asked for, which has 1",
        "x p 0 1 1": "channel 1 of 'p'.*wav.scp",
    }
    for segment, why in bad.items():
        lines(data / "segments", segment)
        with pytest.raises(UserError, match=f"segments:1: .*{why}"):
            prepare(data, out, "it")


def test_sides_in_files_of_their_own_are_those_files(tmp_path: Path) -> None:
    data = tmp_path / "train"
    sides = [sound(tmp_path / f"call-{side}.wav", len(side)) for side in ("A", "BB")]
    lines(data / "wav.scp", *(f"{audio.stem} {audio}" for audio in sides))
    lines(data / "reco2file_and_channel", "call-A call A", "call-BB call B")
    lines(data / "text", "call-A hello", "call-BB hi")
    for convert in (False, True):
        for _ in range(2):  # the second time from what the first one left
            out = Output(tmp_path / f"out-{convert}", convert=convert)
            assert prepare(data, out, "en") == {"en": {"train": 2}}
            train = read(out.folder, "en", "train")
            for side, u in zip(sides, train.values(), strict=True):
                assert u.extra == {}
                assert np.abs(read_audio(u.audio) - read_audio(side)).max() < 1e-3
    assert [u.audio for u in read(tmp_path / "out-False", "en", "train").values()] == sides


def ark(path: Path, *sounds: bytes, audio: bool = False) -> list[int]:
    """An archive of sound files, as Kaldi writes it, or kaldiio with `audio`; their offsets."""
    data, offsets = b"", []
    for number, content in enumerate(sounds):
        data += f"u{number} ".encode()
        offsets.append(len(data))
        size = len(content).to_bytes((len(content).bit_length() + 7) // 8, "little")
        data += (b"AUDIO" + bytes([len(size)]) + size if audio else b"") + content
    path.write_bytes(data)
    return offsets


def test_what_recipes_write_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CommonVoice as ESPnet prepares it: paths are below the working directory."""
    monkeypatch.chdir(tmp_path)
    for number in range(4):
        sound(Path("clips") / f"c{number}.mp3", 1.0 + number / 4)
    wave = sound(Path("clips/w.wav"), 2.0)
    (offset,) = ark(Path("clips/wav.ark"), sound(Path("clips/x.wav"), 1.5).read_bytes())
    data = tmp_path / "data" / "train"
    lines(
        data / "wav.scp",
        "u0 ffmpeg -i clips/c0.mp3 -f wav -ar 16000 -ab 16 -ac 1 - |",
        'u1 ffmpeg -i "clips/c1.mp3" -f wav -ar 16000 -ab 16 - |',
        "u2 sox clips/c2.mp3 -t wav -r 16k -b 16 -e signed - |",
        "u3 cat clips/w.wav |",
        "u4 sox clips/c3.mp3 -t wav - rate 16k |",
        f"u5 clips/wav.ark:{offset}",
    )
    lines(data / "text", *(f"u{number} hello" for number in range(6)))
    for convert in (False, True):
        out = Output(tmp_path / f"out-{convert}", convert=convert)
        assert prepare(Path("data"), out, "en") == {"en": {"train": 6}}
        found = read(out.folder, "en", "train")
        seconds = [u.duration for u in found.values()]
        assert seconds == pytest.approx([1.0, 1.25, 1.5, 2.0, 1.75, 1.5], abs=0.1)
        assert (found["u5"].bytes is None) == convert
        for u, source in (("u3", wave), ("u5", Path("clips/x.wav"))):
            wave_S = read_audio(found[u].audio, part=found[u].bytes)
            assert np.abs(wave_S - read_audio(source)).max() < 1e-3
        assert not list(out.folder.rglob("*.part"))


@pytest.mark.parametrize("audio", [False, True])
def test_parts_of_an_archive_have_segments_and_channels(tmp_path: Path, audio: bool) -> None:
    call = sound(tmp_path / f"call.{'flac' if audio else 'wav'}", 2.0, channels=2)
    data = tmp_path / "train"
    data.mkdir()
    first, second = ark(data / "w.ark", call.read_bytes(), call.read_bytes(), audio=audio)
    lines(data / "wav.scp", f"a w.ark:{first}", f"b wav-copy w.ark:{second} - |")
    lines(data / "segments", "a1 a 0.5 1.5 1", "b0 b 1 -1 0")  # relative to the data directory
    with pytest.raises(UserError, match=r"one channel of .*w\.ark.*, which has 2; with --convert"):
        prepare(data, Output(tmp_path / "out"), "it")
    for _ in range(2):
        prepare(data, Output(tmp_path / "out", convert=True), "it")
        found = read(tmp_path / "out", "it", "unlabelled")
        for id, times in (("a1", (0.5, 1.0, 1)), ("b0", (1.0, None, 0))):
            expected = read_audio(call, *times)
            assert np.abs(read_audio(found[id].audio) - expected).max() < 1e-3
            assert found[id].bytes is None


def test_two_runs_may_convert_one_archive_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second begins and ends while the first one reads its part."""
    audio = sound(tmp_path / "a.wav", 1.0)
    (offset,) = ark(tmp_path / "w.ark", audio.read_bytes())
    lines(tmp_path / "train/wav.scp", f"u {tmp_path}/w.ark:{offset}")
    out, begun, examine = Output(tmp_path / "out", convert=True), [], archives.examine

    def interrupted(*given: Any) -> Any:
        begun.append(None)
        if len(begun) == 1:
            prepare(tmp_path / "train", out, "it")
        return examine(*given)

    monkeypatch.setattr(archives, "examine", interrupted)
    assert prepare(tmp_path / "train", out, "it") == {"it": {"unlabelled": 1}}
    assert len(begun) == 2
    assert len(list(out.folder.rglob("*.flac"))) == 1
    assert not list(out.folder.rglob("*.part"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"\0BFM \4", "holds a matrix"),
        (b"no sound at all", "no sound begins there"),
        (b"RIFF\xff\xff\xff\x7fWAVE", "its header promises"),
        (b"AUDIO\x02\xff\xff", "its header promises"),
        (b"RIFF\x08\0\0\0WAVEfmt ", "damaged"),
    ],
)
def test_an_archive_without_sound_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "w.ark").write_bytes(b"u " + content)
    lines(tmp_path / "wav.scp", f"u {tmp_path}/w.ark:2")
    with pytest.raises(UserError, match=rf"w\.ark(:2|\[2\+\d+\]): [^\[]*({why})"):
        prepare(tmp_path, Output(tmp_path / "out"), "it")


def test_the_name_of_a_file_may_end_like_an_offset(tmp_path: Path) -> None:
    data = tmp_path / "train"
    data.mkdir()
    sound(tmp_path / "a.wav", 1.0).rename(data / "talk_10:05")
    lines(
        data / "wav.scp",
        "u talk_10:05",
        f"v {data}/talk_10:05",
        f"w wav-copy {data}/talk_10:05 - |",
    )
    prepare(data, Output(tmp_path / "out"), "it")
    found = read(tmp_path / "out", "it", "unlabelled")
    assert {id: Path(u.audio).name for id, u in found.items()} == dict.fromkeys("uvw", "talk_10:05")


@pytest.mark.parametrize("option", ["-ac 1", "-af aformat=channel_layouts=mono"])
def test_ffmpeg_averages_two_channels_and_no_more(tmp_path: Path, option: str) -> None:
    for channels in (2, 6):
        audio = sound(tmp_path / f"{channels}.wav", 1.0, channels=channels)
        lines(tmp_path / f"{channels}/wav.scp", f"a ffmpeg -i {audio} {option} -f wav - |")
    assert prepare(tmp_path / "2", Output(tmp_path / "out"), "it") == {"it": {"2": 1}}
    with pytest.raises(UserError, match=r"6\.wav has 6 channels, of which .* not take the mean"):
        prepare(tmp_path / "6", Output(tmp_path / "out"), "it")


def test_a_stretch_that_a_command_cuts_is_the_recording(tmp_path: Path) -> None:
    audio = sound(tmp_path / "a.wav", 4.0)
    data = tmp_path / "test"
    lines(data / "wav.scp", f"a sox {audio} -t wav - trim 1 2.5 |")
    prepare(data, Output(tmp_path / "whole"), "it")
    (whole,) = read(tmp_path / "whole", "it", "test").values()
    assert (whole.start, whole.duration) == (1.0, 2.5)
    lines(data / "segments", "s a 0.5 1.5", "t a 2 -1")
    prepare(data, Output(tmp_path / "parts"), "it")
    found = read(tmp_path / "parts", "it", "test")
    assert (found["s"].start, found["s"].duration) == (1.5, 1.0)
    assert (found["t"].start, found["t"].duration) == (3.0, 0.5)
    lines(data / "segments", "s a 2 3")
    with pytest.raises(UserError, match=r"segments:1: its times are outside the stretch"):
        prepare(data, Output(tmp_path / "bad"), "it")


def test_what_a_command_assumes_of_its_file_must_be_true(tmp_path: Path) -> None:
    low, high = sound(tmp_path / "low.wav", rate=8000), sound(tmp_path / "high.wav")
    two = sound(tmp_path / "two.wav", channels=2)
    good = (
        f"ffmpeg -i {low} -ar 8000 -f wav - |", f"sox -r 8k {low} -t wav - |",
        f"sox {two} -c 2 -t wav - |",
    )  # fmt: skip
    data = tmp_path / "train"
    lines(data / "wav.scp", *(f"u{n} {entry}" for n, entry in enumerate(good)))
    assert prepare(data, Output(tmp_path / "out"), "it") == {"it": {"unlabelled": 3}}
    for entry, why in (
        (f"ffmpeg -i {high} -ar 8000 -f wav - |", "a rate of 16000 Hz, and its command makes 8000"),
        (f"sox -r 8k {high} -t wav - |", "but its command takes it for 8000 Hz"),
        (f"sox {high} -c 2 -t wav - |", "has 1 channels, but its command has 2"),
    ):
        lines(data / "wav.scp", f"u {entry}")
        with pytest.raises(UserError, match=rf"wav\.scp:1: .*{why}"):
            prepare(data, Output(tmp_path / "out"), "it")


def test_line_ends_of_windows_tabs_and_utf_16(tmp_path: Path) -> None:
    audio = sound(tmp_path / "a b.wav", 3.0)
    tables = {
        "wav.scp": f"r\tcat '{audio}' |",
        "segments": "u\tr\t0.5\t2",
        "text": "u\tžluťoučký  kůň",
        "utt2spk": "u\tann",
    }
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        for name, row in tables.items():
            (tmp_path / name).write_bytes(f"{row}\r\n\r\n".encode(encoding))
        prepare(tmp_path, Output(tmp_path / encoding), "cs", corpus="x")
        (u,) = read_manifest(next((tmp_path / encoding).rglob("*.jsonl")))
        assert (u.text, u.speaker, u.start, u.duration) == ("žluťoučký  kůň", "ann", 0.5, 1.5)


def test_nothing_is_run_and_nothing_outside_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    secret = sound(tmp_path / "secret.wav")
    data = tmp_path / "work" / "train"
    good = sound(tmp_path / "work" / "good.wav")
    lines(data / "wav.scp", "u1 ../secret.wav", f"u2 touch {tmp_path}/ran |", f"u3 {good}", "u4")
    lines(data / "text", "u1 a", "u2 b", "u3 c")
    prepare(data, Output(tmp_path / "out", allow_missing=True), "it")
    assert messages == [
        "it: train 1 (0.00014 h); left out: 3 corrupt (corrupt.txt), "
        "1 transcripts without an utterance"
    ]
    corrupt = (tmp_path / "out" / "it" / "corrupt.txt").read_text()
    assert "'../secret.wav' leads out of" in corrupt
    assert f"wav.scp:2\tthe command 'touch {tmp_path}/ran' is not run" in corrupt
    assert not (tmp_path / "ran").exists()
    lines(data / "wav.scp", f"u3 {secret}")
    prepare(data, Output(tmp_path / "out", allow_missing=True), "it")  # as Kaldi has it
    with pytest.raises(UserError, match=r"secret\.wav' leads out of") as raised:
        prepare(data, Output(tmp_path / "out"), "it", audio_root=tmp_path / "work")
    assert "--root" not in str(raised.value)
    with pytest.raises(UserError, match=r"--root .*nowhere: no such folder"):
        prepare(data, Output(tmp_path / "out"), "it", audio_root=tmp_path / "nowhere")


def test_tables_may_be_links_to_other_data_and_to_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    audio = sound(tmp_path / "a.wav")
    secret = lines(tmp_path / "secret" / "text", "u1 secret")
    data, other = tmp_path / "data" / "train", tmp_path / "data" / "other"
    lines(data / "wav.scp", f"u1 {audio}")
    lines(other / "text", "u1 due")
    (data / "text").symlink_to("../other/text")
    for root in (data, tmp_path / "data"):
        assert prepare(root, Output(tmp_path / root.name), "it")["it"]["train"] == 1
    (data / "text").unlink()
    (data / "text").symlink_to(secret)
    out = Output(tmp_path / "out", allow_missing=True)
    with pytest.raises(UserError, match=r"train/text: leads out of .*data and of the working dir"):
        prepare(data, out, "it", audio_root=tmp_path)
    assert not out.folder.exists()
    monkeypatch.chdir(tmp_path)
    assert prepare(data, out, "it") == {"it": {"train": 1}}
    away = tmp_path / "disk" / "train"
    away.parent.mkdir()
    data.rename(away)
    data.symlink_to(away)
    messages.clear()
    prepare(tmp_path / "data", Output(tmp_path / "data-out"), "it")
    assert messages[0] == f"{data} is a link, and is read from {away}"


def test_what_is_not_kaldi(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no wav\.scp is in it"):
        prepare(tmp_path, Output(tmp_path / "out"), "it")
    lines(tmp_path / "wav.scp", "u1 x.wav", "u1 y.wav")
    with pytest.raises(UserError, match=r"wav\.scp:2: 'u1' is there twice"):
        prepare(tmp_path, Output(tmp_path / "out"))
