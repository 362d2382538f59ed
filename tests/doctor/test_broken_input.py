"""Broken manifests and files cause no crash and no hang, and each is named."""

import json
import os
import struct
import time
from dataclasses import replace

import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechx.corpora.engine.problems import Problem
from speechx.data.manifest import Utterance
from speechx.doctor import sound
from speechx.doctor.examination import DoctorOptions, examine
from speechx.doctor.page import page
from speechx.doctor.sound import measure, read_header
from tests.doctor.broken_corpora import RATE, clip, examined, found, problems, speech

FORMATS = ("wav", "flac", "mp3", "ogg")
quick = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
values = (
    plain | st.lists(plain, max_size=3) | st.dictionaries(st.text(max_size=3), plain, max_size=2)
)
places = ("a.wav", "gone.wav", "../..", "a.wav/x", "\0", "nul\0l", "/", "é\ud800")
keys = ("id", "audio", "duration", "language", "start", "text", "phones", "speaker", "corpus")
sane = st.fixed_dictionaries(
    {
        "id": st.text(min_size=1, max_size=5),
        "audio": st.sampled_from(
            ["a.wav", "gone.wav", "../..", "a.wav/x", "\0", "nul\0l", "/", "é\ud800"]
        ),
        "duration": st.floats(1e-6, 1e9),
        "language": st.sampled_from(["es", "zz", "tr", "<b>"]),
    },
    optional={
        "start": st.floats(0, 1e9),
        "text": st.text(max_size=40),
        "phones": st.lists(st.text(min_size=1, max_size=3), max_size=4),
        "speaker": st.text(max_size=3),
    },
)
odd = st.dictionaries(st.sampled_from(keys), values, max_size=7)
lines = st.lists(sane | odd | values, max_size=6)


@quick
@given(lines)
def test_any_manifest(tmp_path, some):
    soundfile.write(tmp_path / "a.wav", speech(), RATE)
    text = "\n".join(json.dumps(record) for record in some)
    (tmp_path / "train.jsonl").write_text(text + "\n", encoding="utf-8")
    diagnosis = examine([tmp_path], options=DoctorOptions(decode="all"), processes=1)
    assert "<script" not in page(diagnosis)
    json.loads(diagnosis.to_json())
    assert diagnosis.text()
    named = {e.id for e in diagnosis.exclusions()}
    for case in diagnosis.cases:
        assert case.check != "absent" or case.subject in named


@quick
@given(st.binary(max_size=300), st.sampled_from(["wav", "flac", "mp3", "ogg", "sph", "opus"]))
def test_any_bytes_as_audio(tmp_path, data, suffix):
    heads = {"wav": b"RIFF\x00\x00\x00\x7fWAVE", "flac": b"fLaC", "mp3": b"\xff\xfb\x90\x64",
             "ogg": b"OggS", "sph": b"NIST_1A\n   1024\n", "opus": b"OggS"}  # fmt: skip
    for i, content in enumerate((data, heads[suffix] + data)):
        path = tmp_path / f"{i}.{suffix}"
        path.write_bytes(content)
        u = Utterance(id="u", audio=path, duration=1.0, language="es")
        assert isinstance(read_header(u), Problem) or read_header(u).seconds > 0
        found = measure(u)
        assert isinstance(found, Problem) or found.seconds > 0


@quick
@given(
    st.integers(0, 20_000), st.sampled_from(["wav", "flac", "mp3", "ogg"]), st.binary(max_size=40)
)
def test_audio_that_is_damaged_or_cut_off(tmp_path, at, suffix, hole):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, speech(1.0), RATE)
    data = path.read_bytes()
    at %= len(data)
    for content in (data[:at], data[:at] + hole + data[at + len(hole) :]):
        path.write_bytes(content)
        u = Utterance(id="u", audio=path, duration=1.0, language="es")
        read_header(u)
        found = measure(u)
        assert isinstance(found, Problem) or 0 < found.seconds < 100


def wav_claiming(seconds):
    size = min(int(seconds * RATE) * 2, 2**32 - 1)
    return (
        b"RIFF" + struct.pack("<I", min(size + 36, 2**32 - 1)) + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16)
        + b"data" + struct.pack("<I", size) + (speech(1.0) * 32767).astype("<i2").tobytes()
    )  # fmt: skip


def sphere_claiming(samples):
    head = (
        "NIST_1A\n   1024\n"
        f"sample_count -i {samples}\nsample_rate -i 8000\nchannel_count -i 1\n"
        "sample_n_bytes -i 2\nsample_byte_format -s2 01\nsample_coding -s3 pcm\nend_head\n"
    )
    samples = (speech(1.0, rate=8000) * 32767).astype("<i2").tobytes()
    return head.encode().ljust(1024) + samples


@pytest.mark.parametrize(
    ("name", "content"),
    [("lie.wav", wav_claiming(100_000)), ("lie.sph", sphere_claiming(5_000_000_000))],
)
def test_a_header_that_claims_ten_gigabytes(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    liar = clip(tmp_path, "liar", duration=30_000.0, text=None)
    liar = replace(liar, audio=tmp_path / name)
    some = found(examined(tmp_path, train=[liar, clip(tmp_path, "x")], decode="all"))
    some.pop("low_rate", None)
    assert set(some) <= {"past_end", "unreadable"}
    assert set(map(tuple, some.values())) == {("liar",)}


def deadly(u):
    if "bad" in str(u.audio):
        os._exit(9)
    return read_header(u)


def test_a_file_that_crashes_the_decoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sound, "read_header", deadly)
    train = [clip(tmp_path, name, speech(1, i)) for i, name in enumerate(("one", "bad", "two"))]
    diagnosis = examined(tmp_path, train=train, decode="none")
    assert found(diagnosis) == {"unreadable": ["bad"]}
    assert "reading it crashes the decoder" in diagnosis.cases[0].detail


def endless(u):
    if "bad" in str(u.audio):
        time.sleep(60)
    return read_header(u)


def test_a_file_that_hangs_the_decoder_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sound, "read_header", endless)
    train = [clip(tmp_path, name, speech(1, i)) for i, name in enumerate(("one", "bad", "two"))]
    diagnosis = examined(tmp_path, train=train, decode="none", seconds_per_file=1.0)
    assert found(diagnosis) == {"unreadable": ["bad"]}
    assert "reading it never ends" in diagnosis.cases[0].detail


def test_folders_and_files_whose_names_are_not_utf8(tmp_path, capsys):
    folder = tmp_path / os.fsdecode(b"f\xff")
    good, gone = (clip(tmp_path / "f", name) for name in ("good", "gone"))
    gone.audio.unlink()
    (tmp_path / "f").rename(folder)
    rows = [{"id": u.id, "audio": f"{u.id}.wav", "duration": 2.0, "language": "es"}
            for u in (good, gone)]  # fmt: skip
    manifest = folder / os.fsdecode(b"train\xfe.jsonl")
    manifest.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    diagnosis = examine([tmp_path], tmp_path / "out", processes=1)
    assert found(diagnosis) == {"absent": ["gone"]}
    report = json.loads((tmp_path / "out" / "doctor.json").read_text(encoding="utf-8"))
    assert report["manifests"] == [f"{tmp_path}/f\\xff/train\\xfe.jsonl"]
    for name in ("doctor.html", "exclude.tsv"):
        assert "f\\xff/gone.wav" in (tmp_path / "out" / name).read_text(encoding="utf-8")
    assert "f\\xff/gone.wav" in diagnosis.text()
    diagnosis.text().encode()
    (capsys.readouterr().err + "".join(problems([tmp_path]))).encode()
