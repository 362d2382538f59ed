"""Shards hold exactly the utterances of their manifest."""

from __future__ import annotations

import json
import logging
import os
import resource
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechx.audio.files import SAMPLE_RATE, read_audio
from speechx.data.exclusion import Exclusion, write_exclusions
from speechx.data.manifest import read_manifest, write_manifest
from speechx.data.shard_files import write_shard
from speechx.data.shards import check_shards, pack
from speechx.errors import UserError
from speechx.log import logger

SMALL = 0.1  # MB: about six seconds in a shard


@pytest.fixture
def corpus(tones, tmp_path):
    """Two languages, three manifests, unknown keys."""
    folder = tmp_path / "data"
    rich = [replace(u, extra={"release": "v1", "gender": "f"}) for u in tones]
    write_manifest(folder / "xx" / "train.jsonl", rich[:9])
    write_manifest(folder / "xx" / "dev.jsonl", rich[9:12])
    write_manifest(folder / "yy" / "train.jsonl", rich[12:])
    return folder


class Messages(logging.Handler):
    """Collects the messages in `lines` and calls `at` for each."""

    def __init__(self, at=lambda line: None):
        super().__init__()
        self.lines, self.at = [], at

    def emit(self, record):
        self.lines.append(record.getMessage())
        self.at(self.lines[-1])


def packed(*arguments, at=lambda line: None, **options):
    messages = Messages(at)
    logger.addHandler(messages)
    try:
        return pack(*arguments, shard_mb=SMALL, processes=2, **options), messages.lines
    finally:
        logger.removeHandler(messages)


def state(folder):
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


def changed(before, after):
    """New and changed files."""
    return {str(name) for name in after if name not in before or before[name][1] != after[name][1]}


@pytest.mark.parametrize("format", ["flac", "int16"])
def test_every_line_comes_back_with_the_same_audio(corpus, tmp_path, format):
    counts, _ = packed(corpus, tmp_path / "shards", format)
    assert counts == {"xx/dev.jsonl": 3, "xx/train.jsonl": 9, "yy/train.jsonl": 8}
    for name in counts:
        before, after = read_manifest(corpus / name), read_manifest(tmp_path / "shards" / name)
        for old, new in zip(before, after, strict=True):
            assert replace(new, audio=old.audio, bytes=None, duration=old.duration) == old
            assert new.extra == old.extra
            assert new.duration == pytest.approx(old.duration, abs=1e-6)
            assert new.audio.suffix == ".tar"
            np.testing.assert_array_equal(
                read_audio(new.audio, new.start, new.duration, part=new.bytes),
                read_audio(old.audio),
            )
    assert len({u.audio for u in read_manifest(tmp_path / "shards" / "xx" / "train.jsonl")}) > 1


def test_members_are_named_as_in_webdataset(corpus, tmp_path):
    packed(corpus, tmp_path / "shards")
    lines = read_manifest(tmp_path / "shards" / "yy" / "train.jsonl")
    for path in sorted((tmp_path / "shards" / "yy").glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        keys = [name.split(".")[0] for name in members]
        assert keys[::2] == keys[1::2]  # the files of a sample follow each other
        assert {name.split(".", 1)[1] for name in members} == {"flac", "json"}
        for key in set(keys):
            about = json.loads(members[f"{key}.json"])
            line = lines[int(key)]
            assert (about["id"], about["text"], about["speaker"], about["release"]) == (
                line.id, line.text, line.speaker, "v1",
            )  # fmt: skip


def test_segments_of_8_khz_stereo_become_files_of_16_khz_mono(tones, tmp_path):
    random = np.random.default_rng(0)
    soundfile.write(tmp_path / "long.wav", random.normal(0, 0.1, (5 * 8000, 2)), 8000)
    lines = [
        replace(tones[0], id=f"s{i}", audio=tmp_path / "long.wav", start=i * 1.25, duration=1.25)
        for i in range(4)
    ]
    write_manifest(tmp_path / "a.jsonl", lines)
    packed(tmp_path / "a.jsonl", tmp_path / "shards")
    for old, new in zip(lines, read_manifest(tmp_path / "shards" / "a.jsonl"), strict=True):
        assert (new.start, new.duration) == (0.0, 1.25)
        np.testing.assert_allclose(
            read_audio(new.audio, part=new.bytes),
            read_audio(old.audio, old.start, old.duration),
            atol=2**-16,
        )


def test_loud_faint_and_wide_sound_is_packed_as_it_is(tones, tmp_path):
    random, lines = np.random.default_rng(0), []
    waves = {"loud": 2.7, "faint": 1e-4, "resampled": 0.1, "usual": 0.1}
    for name, level in waves.items():
        rate = 44_100 if name == "resampled" else SAMPLE_RATE
        subtype = "PCM_16" if name == "usual" else "FLOAT"
        path = tmp_path / f"{name}.wav"
        wave_S = level * random.standard_normal(2 * rate) / 4
        soundfile.write(path, wave_S, rate, subtype=subtype)
        lines.append(replace(tones[0], id=name, audio=path, start=0.0, duration=2.0))
    write_manifest(tmp_path / "a.jsonl", lines)
    for format, least in (("flac", 90), ("int16", 40)):
        _, logged = packed(tmp_path / "a.jsonl", tmp_path / format, format)
        for u in read_manifest(tmp_path / format / "a.jsonl"):
            source_S = read_audio(tmp_path / f"{u.id}.wav").astype(np.float64)
            error_S = read_audio(u.audio, part=u.bytes) - source_S
            assert np.square(source_S).sum() >= 10 ** (least / 10) * np.square(error_S).sum()
            assert u.id != "usual" or not error_S.any()
        assert any("in 1 of 4 utterances" in line for line in logged) == (format == "int16")


def test_lines_can_name_a_url(corpus, tmp_path):
    import fsspec

    packed(corpus, tmp_path / "shards", url="memory://bucket/packed/")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "shards"), "/bucket/packed", recursive=True)
    for old, new in zip(
        read_manifest(corpus / "xx" / "dev.jsonl"),
        read_manifest(tmp_path / "shards" / "xx" / "dev.jsonl"),
        strict=True,
    ):
        (shard,) = (tmp_path / "shards" / "xx").glob("dev-00000-*.tar")
        assert new.audio == f"memory://bucket/packed/xx/{shard.name}"
        np.testing.assert_array_equal(read_audio(new.audio, part=new.bytes), read_audio(old.audio))


def test_packing_again_does_nothing_and_the_bytes_depend_on_the_data_only(corpus, tmp_path):
    packed(corpus, tmp_path / "a")
    before = state(tmp_path / "a")
    _, logged = packed(corpus, tmp_path / "a")
    after = state(tmp_path / "a")
    assert before.keys() == after.keys()
    for name in before:
        assert before[name][1] == after[name][1], name
        if name.suffix == ".tar":
            assert before[name][0] == after[name][0]
    assert any("shards exist already" in line for line in logged)
    packed(corpus, tmp_path / "b")
    for name, (_, data) in state(tmp_path / "b").items():
        if name.suffix == ".tar":
            assert before[name][1] == data


def test_an_interrupted_packing_continues(corpus, tmp_path):
    packed(corpus, tmp_path / "whole")
    out = tmp_path / "shards"

    def interrupt(line):
        if ": 2 of " in line:
            part = out / "xx" / ".train-00002.tar.99.part"
            part.write_bytes(b"half")
            os.utime(part, (1.7e9, 1.7e9))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packed(corpus / "xx" / "train.jsonl", out / "xx", at=interrupt)
    assert not (out / "xx" / "train.jsonl").exists()
    before = state(out)
    _, logged = packed(corpus / "xx" / "train.jsonl", out / "xx")
    assert any(": 2 of " in line and line.endswith("shards exist already") for line in logged)
    kept = json.loads(before[Path("xx/train.shards.json")][1])
    assert len(kept) == 2
    for name in kept:
        assert state(out)[Path("xx") / name] == before[Path("xx") / name]
    assert not list(out.rglob("*.part"))
    expected = state(tmp_path / "whole")
    for name, (_, data) in state(out).items():
        if name.suffix in (".tar", ".jsonl"):
            assert data == expected[name][1]


def test_only_shards_whose_sources_changed_are_packed_again(corpus, tmp_path):
    out = tmp_path / "shards"
    packed(corpus, out)
    before = state(out)
    lines = read_manifest(corpus / "xx" / "train.jsonl")
    lines[3] = replace(lines[3], text="other words")
    write_manifest(corpus / "xx" / "train.jsonl", lines)
    packed(corpus, out)
    new = read_manifest(out / "xx" / "train.jsonl")
    assert new[3].text == "other words"
    assert changed(before, state(out)) == {
        f"xx/{new[3].audio.name}", "xx/train.jsonl", "xx/train.shards.json",
    }  # fmt: skip
    assert len(state(out)) == len(before)  # its old shard is removed
    # With fewer utterances, the other shards are removed.
    write_manifest(corpus / "xx" / "train.jsonl", lines[:2])
    packed(corpus, out)
    (shard,) = {u.audio.name for u in read_manifest(out / "xx" / "train.jsonl")}
    assert sorted(p.name for p in (out / "xx").glob("train*")) == [
        shard, "train.jsonl", "train.shards.json",
    ]  # fmt: skip


def texts_and_audio(manifest):
    return [(u.text, read_audio(u.audio, part=u.bytes)) for u in read_manifest(manifest)]


@pytest.mark.parametrize("end", ["killed", "refused"])
def test_the_old_manifest_stays_valid_until_a_corrected_corpus_is_packed(corpus, tmp_path, end):
    out = tmp_path / "shards"
    packed(corpus / "xx", out)
    before = texts_and_audio(out / "train.jsonl")
    lines = read_manifest(corpus / "xx" / "train.jsonl")
    for line, other in zip(lines, lines[::-1], strict=True):  # the same size, other audio
        wave_S = read_audio(other.audio, duration=line.duration, tolerance=9)
        soundfile.write(tmp_path / f"{line.id}.wav", wave_S, SAMPLE_RATE)
    new = [replace(u, audio=tmp_path / f"{u.id}.wav", text=f"not {u.text}") for u in lines]
    good = [*new]
    if end == "refused":
        new[3:6] = [replace(u, audio=tmp_path / "absent.wav") for u in new[3:6]]
    write_manifest(corpus / "xx" / "train.jsonl", new)

    def interrupt(line):
        if end == "killed" and "3 of 3 shards," in line:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, UserError)):
        packed(corpus / "xx" / "train.jsonl", out, at=interrupt)
    for (text, wave_S), (old_text, old_S) in zip(
        texts_and_audio(out / "train.jsonl"), before, strict=True
    ):
        assert text == old_text
        np.testing.assert_array_equal(wave_S, old_S)
    assert check_shards(out) == []
    write_manifest(corpus / "xx" / "train.jsonl", good)
    packed(corpus / "xx" / "train.jsonl", out)
    for (text, wave_S), u in zip(texts_and_audio(out / "train.jsonl"), good, strict=True):
        assert text == u.text
        np.testing.assert_array_equal(wave_S, read_audio(u.audio))
    assert check_shards(out) == []
    named = {u.audio.name for n in ("dev", "train") for u in read_manifest(out / f"{n}.jsonl")}
    assert {path.name for path in out.glob("*.tar")} == named


@pytest.mark.parametrize("hurt", ["cut", "flip", "gone"])
def test_a_damaged_shard_is_named_and_packed_again(corpus, tmp_path, hurt):
    out = tmp_path / "shards"
    packed(corpus, out)
    assert check_shards(out) == []
    before = state(out)
    (path,) = (out / "xx").glob("train-00001-*.tar")
    data = path.read_bytes()
    if hurt == "gone":
        path.unlink()
    elif hurt == "cut":
        path.write_bytes(data[:-1000])
    else:
        path.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    problems = check_shards(out)
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}: the shard is ")
    _, logged = packed(corpus, out)
    assert any(str(path) in line and line.endswith("packing it again") for line in logged)
    assert check_shards(out) == []
    assert {n: data for n, (_, data) in state(out).items()} == {
        n: data for n, (_, data) in before.items()
    }


def test_unreadable_utterances_are_listed_and_too_many_are_an_error(corpus, tmp_path):
    lines = read_manifest(corpus / "xx" / "train.jsonl")
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    lines[4] = replace(lines[4], audio=tmp_path / "bad.wav")
    write_manifest(corpus / "xx" / "train.jsonl", lines)
    out = tmp_path / "shards"
    counts, logged = packed(corpus / "xx" / "train.jsonl", out)
    assert counts == {"train.jsonl": 8}
    assert any("1 of 9 utterances cannot be read" in line for line in logged)
    listed = (out / "train.unreadable.tsv").read_text().splitlines()
    assert listed[0] == "id\taudio\twhy"
    assert listed[1].startswith(f"{lines[4].id}\t{tmp_path / 'bad.wav'}\t")
    assert [u.id for u in read_manifest(out / "train.jsonl")] == [
        u.id for u in lines if u.id != lines[4].id
    ]
    lines[5] = replace(lines[5], audio=tmp_path / "absent.wav")
    write_manifest(corpus / "xx" / "train.jsonl", lines)
    with pytest.raises(UserError, match=r"2 of 9 utterances cannot be read, listed in .*tsv"):
        packed(corpus / "xx" / "train.jsonl", out)


def test_durations_are_decoded_durations(tones, tmp_path):
    longer = replace(tones[0], duration=tones[0].duration + 3.0)
    write_manifest(tmp_path / "a.jsonl", [longer, tones[1]])
    _, logged = packed(tmp_path / "a.jsonl", tmp_path / "shards")
    new = read_manifest(tmp_path / "shards" / "a.jsonl")
    assert new[0].duration == pytest.approx(len(read_audio(tones[0].audio)) / SAMPLE_RATE)
    assert any("1 of 2 utterances are shorter than" in line for line in logged)


def test_excluded_utterances_change_only_their_own_shards(corpus, tmp_path):
    out = tmp_path / "shards"
    packed(corpus, out)
    before = state(out)
    gone = read_manifest(out / "yy" / "train.jsonl")[2]
    write_exclusions(
        tmp_path / "exclude.tsv",
        [Exclusion("", "yy", gone.id, "silent"), Exclusion("", "zz", "nobody", "silent")],
    )
    counts, logged = packed(corpus, out, exclude=[tmp_path / "exclude.tsv"])
    assert counts["yy/train.jsonl"] == 7
    assert gone.id not in {u.id for u in read_manifest(out / "yy" / "train.jsonl")}
    index = gone.audio.name[: len("train-00000-")]
    (shard,) = (out / "yy").glob(f"{index}*")
    assert changed(before, state(out)) == {
        f"yy/{shard.name}", "yy/train.jsonl", "yy/train.shards.json",
    }  # fmt: skip
    assert not gone.audio.exists()
    assert any("leaves out 1 utterances" in line for line in logged)
    everything = [Exclusion("", "xx", u.id) for u in read_manifest(corpus / "xx" / "dev.jsonl")]
    write_exclusions(tmp_path / "all.tsv", everything)
    with pytest.raises(UserError, match=r"dev\.jsonl: every utterance is excluded"):
        packed(corpus / "xx" / "dev.jsonl", tmp_path / "b", exclude=[tmp_path / "all.tsv"])


def test_parquet_is_packed_to_parquet_and_shards_can_be_packed_again(corpus, tmp_path):
    write_manifest(tmp_path / "in" / "dev.parquet", read_manifest(corpus / "xx" / "dev.jsonl"))
    assert packed(tmp_path / "in", tmp_path / "a")[0] == {"dev.parquet": 3}
    packed(tmp_path / "a" / "dev.parquet", tmp_path / "b", "int16")
    for u, v in zip(
        read_manifest(corpus / "xx" / "dev.jsonl"),
        read_manifest(tmp_path / "b" / "dev.parquet"),
        strict=True,
    ):
        assert (u.id, u.text, u.extra) == (v.id, v.text, v.extra)
        np.testing.assert_array_equal(read_audio(v.audio, part=v.bytes), read_audio(u.audio))


def test_shards_of_another_language_are_not_overwritten(corpus, tmp_path):
    for language in ("xx", "yy"):
        (corpus / language / "source.txt").write_text("CommonVoice 17.0\n", encoding="utf-8")
    packed(corpus / "xx", tmp_path / "shards")
    before = state(tmp_path / "shards")
    with pytest.raises(UserError, match=r"holds the manifests of flac shards of xx, CommonVoice"):
        packed(corpus / "yy", tmp_path / "shards")
    assert state(tmp_path / "shards") == before


def test_mistakes_are_user_errors(corpus, tmp_path):
    for arguments, why in (
        ((tmp_path / "nothing.jsonl", tmp_path / "s"), "cannot read the manifest"),
        ((tmp_path / "data" / "xx" / "train.jsonl", corpus / "xx"), "a folder of their own"),
        ((corpus, corpus), "a folder of their own"),
        ((corpus, tmp_path / "s", "mp3"), "flac or int16"),
    ):
        with pytest.raises(UserError, match=why):
            packed(*arguments)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no manifests"):
        packed(tmp_path / "empty", tmp_path / "s")
    with pytest.raises(UserError, match="no shards in"):
        check_shards(tmp_path / "empty")
    packed(corpus / "xx", tmp_path / "s")
    (tmp_path / "s" / "train.shards.json").write_text("[1")
    with pytest.raises(UserError, match="not a list of shards"):
        packed(corpus / "xx", tmp_path / "s")
    os.unlink(tmp_path / "s" / "train.shards.json")
    with pytest.raises(UserError, match="holds the manifests of"):
        packed(corpus / "yy", tmp_path / "s")
    packed(corpus, corpus / "shards")
    assert packed(corpus, corpus / "shards")[0].keys() == {
        "xx/dev.jsonl", "xx/train.jsonl", "yy/train.jsonl",
    }  # fmt: skip


def test_a_recent_partial_file_is_not_removed(corpus, tmp_path):
    part = tmp_path / "shards" / ".train-00002.tar.99.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    packed(corpus / "xx" / "train.jsonl", tmp_path / "shards")
    assert part.read_bytes() == b"half"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard_mb": 0}, "above 0 MB, not 0"),
        ({"shard_mb": float("nan")}, "above 0 MB, not nan"),
        ({"shard_mb": float("inf")}, "above 0 MB, not inf"),
        ({"processes": 0}, "at least 1 process, not 0"),
        ({"processes": -2}, "at least 1 process, not -2"),
    ],
)
def test_invalid_numbers_are_refused(corpus, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        pack(corpus, tmp_path / "shards", **options)
    assert not (tmp_path / "shards").exists()


def test_the_error_for_a_failed_write_names_the_file(corpus, tmp_path):
    some = dict(enumerate(read_manifest(corpus / "xx" / "dev.jsonl")))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*train-00000\.tar'"):
            write_shard(tmp_path / "train-00000.tar", "flac", some, "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob("*.part"))


def test_partial_files_of_a_killed_process_are_not_manifests(corpus, tmp_path):
    line = (corpus / "xx" / "dev.jsonl").read_bytes()
    (corpus / "xx" / ".dev.jsonl.k1ll3d.jsonl").write_bytes(line)
    counts, _ = packed(corpus, tmp_path / "shards")
    assert sorted(counts) == ["xx/dev.jsonl", "xx/train.jsonl", "yy/train.jsonl"]


def test_half_a_character_in_an_unknown_key_is_kept(corpus, tmp_path):
    some = read_manifest(corpus / "xx" / "dev.jsonl")
    write_manifest(tmp_path / "odd.jsonl", [replace(u, extra={"note": "\ud800"}) for u in some])
    packed(tmp_path / "odd.jsonl", tmp_path / "shards")
    after = read_manifest(tmp_path / "shards" / "odd.jsonl")
    assert [u.extra for u in after] == [{"note": "\ud800"}] * len(some)
    with tarfile.open(after[0].audio) as tar:
        lines = [json.load(tar.extractfile(m)) for m in tar if m.name.endswith(".json")]
    assert {line["note"] for line in lines} == {"\ud800"}
