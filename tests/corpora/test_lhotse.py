"""Lhotse's manifests: those of the real package are read exactly, and ours are opened by it."""

import errno
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from speechx.audio.files import read_audio
from speechx.corpora import lhotse
from speechx.corpora.engine.write import Output
from speechx.corpora.lhotse import export
from speechx.data.manifest import Utterance, write_manifest
from speechx.errors import UserError
from tests.corpora.corpus_trees import lines, of_own_data, read, sound

prepare = of_own_data(lhotse.prepare)


def recording(path: Path | str, seconds: float = 2.0, **changes: Any) -> dict[str, Any]:
    source = {"type": "file", "channels": [0], "source": str(path)}
    return {
        "id": "r", "sources": [source], "sampling_rate": 16_000, "duration": seconds,
        "num_samples": round(seconds * 16_000), "channel_ids": [0], **changes,
    }  # fmt: skip


def cut(path: Path | str, id: str = "c", **changes: Any) -> dict[str, Any]:
    said = {"id": f"{id}-1", "recording_id": "r", "start": 0.0, "duration": 1.0, "text": "due"}
    return {
        "id": id, "start": 0.0, "duration": 2.0, "channel": 0, "supervisions": [said],
        "recording": recording(path), "type": "MonoCut", **changes,
    }  # fmt: skip


def test_every_supervision_is_an_utterance(tmp_path: Path) -> None:
    audio = sound(tmp_path / "a.wav", 4.0)
    said = {
        "id": "s1", "recording_id": "r", "start": 0.25, "duration": 1.0, "channel": 0,
        "text": "due", "language": "Italian", "speaker": "ann", "gender": "female",
        "custom": {"phones": ["d", "u", "e"], "mood": "gay", "id": "not ours"},
    }  # fmt: skip
    told = [
        said,
        {**said, "id": "s2", "start": 1.5, "duration": 0.5, "text": ""} | {"custom": None},
    ]
    cuts = [cut(audio, start=1.0, supervisions=told), cut(audio, "bare", supervisions=[])]
    path = tmp_path / "x_cuts_train.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, cuts)).encode()))
    counts = prepare(tmp_path, Output(tmp_path / "out"), "it")
    assert counts == {"it": {"train": 1, "unlabelled": 2}}
    (s1,) = read(tmp_path / "out", "it", "train").values()
    assert (s1.id, s1.start, s1.duration, s1.text) == ("s1", 1.25, 1.0, "due")
    assert (s1.phones, s1.speaker, s1.corpus) == (("d", "u", "e"), "ann", tmp_path.name)
    assert s1.extra == {"mood": "gay", "gender": "female"}
    unlabelled = read(tmp_path / "out", "it", "unlabelled")
    assert [(u.id, u.start, u.duration) for u in unlabelled.values()] == [
        ("s2", 2.5, 0.5), ("bare", 0.0, 2.0),
    ]  # fmt: skip


def test_recordings_and_supervisions_apart(tmp_path: Path, messages: list[str]) -> None:
    call = sound(tmp_path / "call.wav", 2.0, channels=2)
    source = {"type": "file", "channels": [0, 1], "source": str(call)}
    two = recording(call, sources=[source], channel_ids=[0, 1])
    lone = recording(sound(tmp_path / "b.wav", 2.0), id="lone")
    first = {
        "id": "A",
        "recording_id": "r",
        "start": 0.5,
        "duration": 1.0,
        "channel": 0,
        "text": "a",
    }
    other, lost = {"id": "B", "channel": 1, "text": "b"}, {"recording_id": "no"}
    sides = [first, {**first, **other}, {**first, **lost}]
    lines(tmp_path / "x_recordings_dev.jsonl", *map(json.dumps, (two, lone)))
    lines(tmp_path / "x_supervisions_dev.jsonl", *map(json.dumps, sides))
    counts = prepare(tmp_path, Output(tmp_path / "out", convert=True), "en")
    assert counts == {"en": {"dev": 3}}
    assert "left out: 1 supervisions without a recording" in messages[-1]
    dev = read(tmp_path / "out", "en", "dev")
    assert [(u.text, u.duration) for u in dev.values()] == [("a", 1.0), ("b", 1.0), (None, 2.0)]
    for channel, id in enumerate("AB"):
        expected = read_audio(call, 0.5, 1.0, channel)
        assert np.abs(read_audio(dev[id].audio) - expected).max() < 1e-3
    with pytest.raises(UserError, match="it is one channel of"):
        prepare(tmp_path, Output(tmp_path / "out2"), "en")


@pytest.mark.parametrize("apart", [False, True])
def test_a_bad_supervision_takes_no_others_with_it(tmp_path: Path, apart: bool) -> None:
    call = sound(tmp_path / "call.wav", 2.0, channels=2)
    source = {"type": "file", "channels": [0, 1], "source": str(call)}
    two = recording(call, sources=[source], channel_ids=[0, 1])
    said = {"recording_id": "r", "start": 0.0, "duration": 1.0, "text": "due"}
    told = [
        {**said, "id": "A", "channel": 0}, {**said, "id": "AB", "channel": [0, 1]},
        {**said, "id": "late", "channel": 0, "start": 1.5}, {**said, "id": "B", "channel": 1},
        {**said, "id": "", "channel": 0, "start": None},
    ]  # fmt: skip
    if apart:
        lines(tmp_path / "recordings_dev.jsonl", json.dumps(two))
        lines(tmp_path / "supervisions_dev.jsonl", *map(json.dumps, told))
    else:
        whole = {"recording": two, "supervisions": told}
        sides = [{**cut(call), **whole, "id": "c0"}, {**cut(call), **whole, "id": "c1"}]
        sides[0]["supervisions"] = [s for s in told if s["id"] != "B"]
        sides[1] |= {"channel": 1, "supervisions": told[3:4]}
        lines(tmp_path / "cuts_dev.jsonl", *map(json.dumps, sides))
    out = Output(tmp_path / "out", allow_missing=True, convert=True)
    assert prepare(tmp_path, out, "it") == {"it": {"dev": 2}}
    assert list(read(tmp_path / "out", "it", "dev")) == ["A", "B"]
    corrupt = (tmp_path / "out" / "it" / "corrupt.txt").read_text().splitlines()
    assert len(corrupt) == 3
    for why in (
        "supervision 'AB' is not of one channel", "supervision 'late' reaches out of the cut",
        "not as Lhotse writes it",
    ):  # fmt: skip
        assert sum(why in line for line in corrupt) == 1


def test_a_recording_that_is_listed_twice_is_read_once(tmp_path: Path) -> None:
    said = {"id": "s", "recording_id": "r", "start": 0.0, "duration": 1.0, "channel": 0}
    one = recording(sound(tmp_path / "a.wav", 2.0))
    table = lines(tmp_path / "recordings_train.jsonl", *map(json.dumps, (one, one)))
    lines(tmp_path / "supervisions_train.jsonl", json.dumps(said | {"text": "due"}))
    with pytest.raises(UserError, match=f"{table}:2: recording 'r' is there twice"):
        prepare(tmp_path, Output(tmp_path / "out"), "it")
    out = Output(tmp_path / "out", allow_missing=True)
    assert prepare(tmp_path, out, "it") == {"it": {"train": 1}}


def test_a_recording_whose_supervisions_are_refused_is_not_unlabelled(tmp_path: Path) -> None:
    both = {"id": "s", "recording_id": "r", "start": 0.0, "duration": 1.0, "channel": [0, 1]}
    lone = recording(sound(tmp_path / "b.wav", 2.0), id="lone")
    lines(
        tmp_path / "recordings_train.jsonl",
        *map(json.dumps, (recording(sound(tmp_path / "a.wav", 2.0)), lone)),
    )
    lines(tmp_path / "supervisions_train.jsonl", json.dumps(both))
    out = Output(tmp_path / "out", allow_missing=True)
    assert prepare(tmp_path, out, "it") == {"it": {"unlabelled": 1}}
    assert list(read(tmp_path / "out", "it", "unlabelled")) == ["lone"]


def test_each_channel_without_supervisions_is_an_utterance(tmp_path: Path) -> None:
    call = sound(tmp_path / "call.wav", 2.0, channels=2)
    source = {"type": "file", "channels": [0, 1], "source": str(call)}
    two = recording(call, id="call", sources=[source], channel_ids=[0, 1])
    lines(tmp_path / "recordings_train.jsonl", json.dumps(two))
    counts = prepare(tmp_path, Output(tmp_path / "out", convert=True), "en")
    assert counts == {"en": {"unlabelled": 2}}
    found = read(tmp_path / "out", "en", "unlabelled")
    assert list(found) == ["call-0", "call-1"]
    for channel, u in enumerate(found.values()):
        assert np.abs(read_audio(u.audio) - read_audio(call, channel=channel)).max() < 1e-3


@pytest.mark.parametrize("channel", ["far-field", 1, None])
def test_a_channel_that_people_note_is_not_that_of_the_file(tmp_path: Path, channel: Any) -> None:
    one = cut(sound(tmp_path / "a.wav", 2.0))
    one["supervisions"][0]["custom"] = {"channel": channel, "mood": "gay"}
    path = lines(tmp_path / "cuts.jsonl", json.dumps(one))
    prepare(path, Output(tmp_path / "out"), "it")
    (u,) = read(tmp_path / "out", "it", "train").values()
    assert u.extra == {"mood": "gay"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"type": "MixedCut"}, "a MixedCut is no stretch of one recording"),
        ({"type": "PaddingCut"}, "a PaddingCut is no stretch"),
        ({"recording": None, "features": {}}, "it has no recording; features alone"),
        ({"recording": recording("x", transforms=[{"name": "Speed"}])}, "it is changed by Speed"),
        ({"recording": recording("x", sources=[{"type": "command", "channels": [0],
          "source": "touch ran"}])}, "a source of type 'command' is not read"),
        ({"recording": recording("x", sources=[{"type": "command", "channels": [0],
          "source": "sox x.wav -t wav - trim 1"}])}, "its command cuts or changes the file"),
        ({"recording": recording("x", sources=[{"type": "url", "channels": [0],
          "source": "http://x/y.wav"}])}, "a source of type 'url' is not read"),
        ({"channel": 3, "supervisions": []}, "its recording has no channel 3"),
        ({"channel": [0, 1]}, "its recording has no channel [0, 1]"),
        ({"supervisions": [{"id": "s", "start": 1.5, "duration": 9, "text": "x"}]},
         "supervision 's' reaches out of the cut"),
        ({"supervisions": [{"id": "s", "start": 0.5, "duration": 0, "text": "x"}]},
         "supervision 's' lasts 0 s, but must last longer than 0 s"),
        ({"duration": None}, "not as Lhotse writes it"),
        ({"supervisions": 7}, "not as Lhotse writes it"),
        ({"supervisions": [7]}, "not as Lhotse writes it"),
        ({"recording": {"id": "r"}}, "not as Lhotse writes it"),
        ({"start": 1.9, "supervisions": []}, "the segment starts at 1.9 s and ends after the end"),
    ],
)  # fmt: skip
def test_what_is_no_stretch_of_a_file_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    audio = sound(tmp_path / "a.wav", 2.0)
    bad = cut(audio, "bad") | changes
    path = lines(tmp_path / "cuts.jsonl", json.dumps(bad), json.dumps(cut(audio, "good")))
    with pytest.raises(UserError) as raised:
        prepare(path, Output(tmp_path / "out"), "it")
    assert str(raised.value).startswith(f"{path}:1: ")
    assert why in str(raised.value)
    counts = prepare(path, Output(tmp_path / "out", allow_missing=True), "it")
    assert counts == {"it": {"train": 1}}


def test_the_file_of_a_command_is_read(tmp_path: Path) -> None:
    """As Lhotse imports a wav.scp."""
    audio = sound(tmp_path / "a.wav", 2.0, channels=2)
    source = {"type": "command", "channels": [0], "source": f"sph2pipe -f wav -c 2 {audio} "}
    path = lines(
        tmp_path / "cuts.jsonl", json.dumps(cut("x", recording=recording("x", sources=[source])))
    )
    prepare(path, Output(tmp_path / "out", convert=True), "it")
    (u,) = read(tmp_path / "out", "it", "train").values()
    assert np.abs(read_audio(u.audio) - read_audio(audio, 0, 1, channel=1)).max() < 1e-3


def test_paths_lead_nowhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    secret = sound(tmp_path / "secret.wav", 2.0)
    path = lines(tmp_path / "work" / "cuts.jsonl", json.dumps(cut("../secret.wav")))
    with pytest.raises(UserError, match=r"'\.\./secret\.wav' leads out of"):
        prepare(path, Output(tmp_path / "out"), "it")
    lines(path, json.dumps(cut(secret)))
    prepare(path, Output(tmp_path / "out"), "it")
    with pytest.raises(UserError, match=r"secret\.wav' leads out of"):
        prepare(path, Output(tmp_path / "out"), "it", audio_root=tmp_path / "work")


def test_a_folder_without_manifests_and_twice_the_same(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no cuts\*\.jsonl"):
        prepare(tmp_path, Output(tmp_path / "out"), "it")
    lines(tmp_path / "cuts_train.jsonl", "{}")
    lines(tmp_path / "cuts_train.jsonl.gz", "{}")
    with pytest.raises(UserError, match=r"are cuts of train"):
        prepare(tmp_path, Output(tmp_path / "out"), "it")
    with pytest.raises(UserError, match="not a complete gzip file"):
        prepare(tmp_path / "cuts_train.jsonl.gz", Output(tmp_path / "out"), "it")


def corpus(folder: Path) -> list[Utterance]:
    """A whole file, and two segments of another at 8 kHz."""
    common = {"language": "it", "corpus": "toy"}
    long = sound(folder / "b" / "long.wav", 3.0, rate=8000)
    whole = sound(folder / "a" / "one.flac", 1.0)
    return [
        Utterance(id="w", audio=whole, duration=1.0, text='due "è', speaker="ann", **common),
        Utterance(id="s1", audio=long, duration=1.25, start=0.5, phones=("d", "u"), **common),
        Utterance(id="s2", audio=long, duration=1.0, start=2.0, extra={"mood": "gay"}, **common),
    ]


@pytest.mark.interop
def test_lhotse_opens_what_is_exported_and_it_comes_back(tmp_path: Path) -> None:
    import lhotse

    utterances = corpus(tmp_path)
    write_manifest(tmp_path / "train.jsonl", utterances)
    counts = export(tmp_path / "train.jsonl", tmp_path / "lhotse")
    assert counts == {"recordings": 2, "supervisions": 3, "cuts": 3}
    cuts = lhotse.CutSet.from_file(tmp_path / "lhotse" / "cuts_train.jsonl.gz")
    lhotse.validate(cuts, read_data=True)
    for u, theirs in zip(utterances, cuts, strict=True):
        expected = read_audio(u.audio, u.start, u.duration)
        heard = theirs.resample(16_000).load_audio()[0]
        assert theirs.sampling_rate == (8000 if u.start else 16_000)
        assert abs(len(heard) - len(expected)) <= 2
        if not u.start:
            assert np.allclose(heard, expected, atol=1e-6)
    recordings = lhotse.load_manifest(tmp_path / "lhotse" / "recordings_train.jsonl.gz")
    supervisions = lhotse.load_manifest(tmp_path / "lhotse" / "supervisions_train.jsonl.gz")
    lhotse.qa.validate_recordings_and_supervisions(recordings, supervisions)
    assert next(iter(supervisions)).text == 'due "è'

    labelled, bare = [utterances[0], utterances[1]], [utterances[2]]
    for name in ("cuts", "recordings"):
        out = tmp_path / name
        source = tmp_path / "lhotse" / f"{name}_train.jsonl.gz"
        prepare(source, Output(out), corpus="toy")
        assert list(read(out, "it", "train").values()) == labelled
        assert list(read(out, "it", "unlabelled").values()) == bare


def test_every_utterance_keeps_its_corpus(tmp_path: Path) -> None:
    audio = sound(tmp_path / "a.wav", 1.0)
    common = {"audio": audio, "duration": 1.0, "language": "it", "text": "due"}
    of = {"a": "mls", "b": "fleurs", "c": None}
    utterances = [Utterance(id=id, corpus=corpus, **common) for id, corpus in of.items()]
    write_manifest(tmp_path / "train.jsonl", utterances)
    export(tmp_path / "train.jsonl", tmp_path / "lhotse")
    prepare(tmp_path / "lhotse", Output(tmp_path / "out"))
    back = read(tmp_path / "out", "it", "train")
    assert {id: u.corpus for id, u in back.items()} == {**of, "c": "lhotse"}
    assert [u.extra for u in back.values()] == [{}, {}, {}]


@pytest.mark.interop
def test_what_lhotse_writes_is_read(tmp_path: Path, messages: list[str]) -> None:
    import lhotse

    whole = lhotse.Recording.from_file(sound(tmp_path / "a.wav", 2.0, rate=8000))
    part = lhotse.SupervisionSegment("s", whole.id, 0.25, 0.5, text="due", language="it")
    mono = lhotse.MonoCut("c", 0.5, 1.0, 0, supervisions=[part], recording=whole)
    cuts = [mono, mono.pad(3.0).with_id("p"), mono.perturb_speed(1.1).with_id("f")]
    lhotse.CutSet.from_cuts(cuts).to_file(tmp_path / "cuts_dev.jsonl.gz")
    out = tmp_path / "out"
    counts = prepare(tmp_path, Output(out, allow_missing=True))
    assert counts == {"it": {"dev": 1}}
    assert "2 corrupt" in messages[0]
    (u,) = read(out, "it", "dev").values()
    assert (u.id, u.start, u.duration, u.text) == ("s", 0.75, 0.5, "due")
    resampled = lhotse.CutSet.from_cuts([mono.resample(16_000)])
    (tmp_path / "r").mkdir()
    resampled.to_file(tmp_path / "r" / "cuts_dev.jsonl")
    prepare(tmp_path / "r", Output(tmp_path / "out2"), corpus=u.corpus)
    assert read(tmp_path / "out2", "it", "dev") == {"s": u}


def test_every_manifest_is_exported_under_its_whole_name(tmp_path: Path) -> None:
    u = Utterance(id="u", audio=sound(tmp_path / "a.wav", 1.0), duration=1.0, language="it")
    names = ("train.clean.100", "train.clean.360")
    for name in names:
        write_manifest(tmp_path / f"{name}.jsonl", [replace(u, id=name, text="due")])
        export(tmp_path / f"{name}.jsonl", tmp_path / "lhotse")
    counts = prepare(tmp_path / "lhotse", Output(tmp_path / "out"))
    assert counts == {"it": dict.fromkeys(names, 1)}
    assert [list(read(tmp_path / "out", "it", name)) for name in names] == [[n] for n in names]


def test_an_export_appears_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    u = Utterance(id="u", audio=sound(tmp_path / "a.wav", 1.0), duration=1.0, language="it")
    write_manifest(tmp_path / "train.jsonl", [replace(u, extra={"half a letter": "\ud800"})])
    out, full = tmp_path / "lhotse", OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patched:
        patched.setattr(gzip.GzipFile, "write", Mock(side_effect=full))
        with pytest.raises(OSError, match="No space left"):
            export(tmp_path / "train.jsonl", out)
    assert list(out.iterdir()) == []
    assert export(tmp_path / "train.jsonl", out)["cuts"] == 1
    assert len(list(out.iterdir())) == 3


def test_an_utterance_that_a_file_no_longer_holds_is_not_exported(tmp_path: Path) -> None:
    audio = sound(tmp_path / "a.wav", 2.0)
    u = Utterance(id="a", audio=str(audio), duration=2.0, language="it")
    write_manifest(tmp_path / "m.jsonl", [u])
    audio.write_bytes(audio.read_bytes()[:32_044])
    with pytest.raises(UserError, match=r"a ends 1\.00 s behind its end\. the file is cut off"):
        export(tmp_path / "m.jsonl", tmp_path / "out")


def test_several_channels_and_shards_are_not_exported(tmp_path: Path) -> None:
    u = Utterance(id="u", audio=tmp_path / "a.wav", duration=1.0, language="it")
    sound(tmp_path / "a.wav", 1.0, channels=2)
    write_manifest(tmp_path / "train.jsonl", [u])
    with pytest.raises(UserError, match="has 2 channels"):
        export(tmp_path / "train.jsonl", tmp_path / "out")
    write_manifest(tmp_path / "shard.jsonl", [replace(u, bytes=(0, 9))])
    with pytest.raises(UserError, match="u is in a shard"):
        export(tmp_path / "shard.jsonl", tmp_path / "out")
