"""Kaldi's data directories: what commands mean is understood, and none is ever run."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechx.audio.files import read_audio
from speechx.corpora import kaldi
from speechx.corpora.engine.write import Output
from speechx.corpora.kaldi import source_of
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


@pytest.mark.parametrize(
    ("entry", "source"),
    [
        ("/a b/c.wav", ("/a b/c.wav", None)),
        ("sph2pipe -f wav a.sph |", ("a.sph", None)),
        ("sph2pipe -c 2 -p -f wav 'a b.sph' |", ("a b.sph", 1)),
        ("flac -c -d -s x.flac |", ("x.flac", None)),
        ("flac --decode --stdout --silent x.flac|", ("x.flac", None)),
        ("flac -cds x.flac |", ("x.flac", None)),
        ("sox a.wav -t wav - |", ("a.wav", None)),
        ("sox -t mp3 a.mp3 -r 16k -c 1 -b 16 -e signed -t wav - |", ("a.mp3", None)),
        ("sox a.wav -t wav - remix 2 |", ("a.wav", 1)),
        ("/usr/bin/ffmpeg -v error -i a.m4a -ac 1 -ar 16000 -f wav - |", ("a.m4a", None)),
        ("ffmpeg -i a.mp4 -f wav -acodec pcm_s16le pipe:1 |", ("a.mp4", None)),
    ],
)
def test_entries_that_are_understood(entry: str, source: tuple[str, int | None]) -> None:
    assert source_of(entry) == source


@pytest.mark.parametrize(
    "entry",
    [
        "cat a.wav |", "rm -rf / |", "| cat", "-", "data/raw.ark:123",
        "sph2pipe -f wav -p -c 3 a.sph |", "sph2pipe -t 1:2 a.sph |", "sph2pipe a.sph b.sph |",
        "sph2pipe -f wav $(touch x) |", "sph2pipe -f wav a.sph; touch x |", "sph2pipe 'a.sph |",
        "sph2pipe -f wav a.sph | sox - -t wav - |", "sox a.wav -t wav - speed 1.1 |",
        "sox a.wav -r 8000 -t wav - |", "sox a.wav b.wav |", "sox -m a.wav b.wav -t wav - |",
        "sox --effects-file x a.wav - |", "sox \"|touch x\" -t wav - |",
        "ffmpeg -i a.wav -af atempo=2 -f wav - |", "ffmpeg -i http://x/a.wav -f wav - |",
        "ffmpeg -i a.wav out.wav |", "ffmpeg -i a.wav -ar 8000 - |", "flac a.wav |", "flac -d x |",
        "flac -cd --skip=9 x.flac |", "|", " |", "sox |", "ffmpeg |", "sph2pipe |",
    ],
)  # fmt: skip
def test_entries_that_are_refused_by_name(entry: str) -> None:
    with pytest.raises(ValueError, match=r"is not run|is no file|in an archive"):
        source_of(entry)


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
