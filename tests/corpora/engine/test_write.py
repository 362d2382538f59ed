"""What all corpora share: one look at each file, segments within it, copies of their own."""

import os
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechx.audio.files import read_audio
from speechx.corpora.engine import processes, write
from speechx.corpora.engine.paths import inside
from speechx.corpora.engine.preparation import ChannelChoice, Preparation
from speechx.corpora.engine.problems import Problem
from speechx.corpora.engine.processes import spread
from speechx.corpora.engine.write import Output, finish
from speechx.data.manifest import Utterance
from speechx.errors import UserError
from tests.corpora.corpus_trees import opened, read, sound


def said(id: str, audio: Path, duration: float = 0.0, start: float = 0.0, text: str = "due"):
    return Utterance(
        id=id, audio=audio, duration=duration, start=start, language="it", text=text or None
    )


def test_only_what_lies_inside_is_a_path(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", sound(tmp_path / "outside" / "a.wav")
    sound(root / "a.wav")
    (root / "link.wav").symlink_to(outside)
    (root / "folder").symlink_to(outside.parent)
    (root / "same.wav").symlink_to(root / "a.wav")
    (root / "loop").symlink_to(root / "loop")
    (tmp_path / "alias").symlink_to(root)
    for good in ("a.wav", "same.wav", "x/../a.wav", str(root / "a.wav"), "not there.wav"):
        assert inside(root, good) == root / good
    assert inside(tmp_path / "alias", "a.wav") == tmp_path / "alias" / "a.wav"
    for bad in ("../outside/a.wav", "link.wav", "folder/a.wav", "/etc/passwd", "../root2/a.wav"):
        with pytest.raises(UserError, match=r"t\.tsv:3: .* leads out of"):
            inside(root, bad, "t.tsv:3")
    link = root / "link.wav"
    with pytest.raises(UserError, match=rf"^{link}: leads out of {root}, so it is not read; "):
        inside(root, "link.wav", str(link))  # which is said once
    for bad in ("", "a\0b", "a\nb", "x" * 5000, "\udcff.wav", "loop/a.wav"):
        with pytest.raises(UserError, match=r"t\.tsv:3: .* cannot be a path") as raised:
            inside(root, bad, "t.tsv:3")
        assert len(str(raised.value)) < 600


def test_a_file_is_opened_once_for_all_its_segments(tmp_path: Path) -> None:
    audio = sound(tmp_path / "long.wav", 3.0)
    some = Preparation("it")
    for i in range(6):
        some.add("train", said(f"u{i}", audio, 0.5, i / 2), f"segments:{i}")
    some.add("train", said("late", audio, 1.0, 2.5), "segments:6")
    some.add("train", said("rest", audio, 0.0, 2.75), "segments:7")
    with opened(audio) as opens:
        counts = finish([some], Output(tmp_path / "out", allow_missing=True), "toy")
    assert counts == {"it": {"train": 7}}
    assert len(opens) <= 2  # for libsndfile, and to see that the end of the wav is there
    assert read(tmp_path / "out", "it", "train")["rest"].duration == 0.25
    assert (tmp_path / "out" / "it" / "corrupt.txt").read_text().startswith("segments:6\tthe segm")


def test_a_copy_of_the_first_segment_is_of_that_alone(tmp_path: Path) -> None:
    audio = sound(tmp_path / "long.wav", 3.0)
    some = Preparation("it")
    some.add("train", said("first", audio, 0.5, 0.0))
    some.add("train", said("second", audio, 0.5, 0.5))
    some.add("train", said("alone", sound(tmp_path / "b.wav", 1.0), 0.9))
    some.add("train", said("mp3", sound(tmp_path / "c.mp3", 3.0), 0.5))
    some.add("train", said("whole", sound(tmp_path / "d.mp3", 1.0)))
    finish([some], Output(tmp_path / "out", convert=True), "toy")
    found = read(tmp_path / "out", "it", "train")
    assert [u.duration for u in found.values()] == [0.5, 0.5, 0.9, 0.5, 1.0]
    for id, start in (("first", 0.0), ("second", 0.5)):
        assert np.allclose(read_audio(found[id].audio), read_audio(audio, start, 0.5), atol=1e-4)


@pytest.mark.parametrize("level", [2.7, 1e-4, 0.1])
def test_copies_of_floats_are_the_same_sound(tmp_path: Path, level: float) -> None:
    wave_S = level * np.random.default_rng(0).standard_normal(32_000) / 4
    soundfile.write(tmp_path / "a.wav", wave_S, 16_000, subtype="FLOAT")
    for _ in range(2):  # the second time the copy is there
        some = Preparation("it")
        some.add("train", said("a", tmp_path / "a.wav"))
        finish([some], Output(tmp_path / "out", convert=True), "toy")
        u = read(tmp_path / "out", "it", "train")["a"]
        error_S = read_audio(u.audio) - wave_S
        assert np.square(wave_S).sum() > 1e9 * np.square(error_S).sum()
    assert len(list((tmp_path / "out" / "it").rglob("*.flac"))) == (level == 0.1)
    assert len(list((tmp_path / "out" / "it").rglob("*.wav"))) == (level != 0.1)


def test_one_id_in_two_splits_has_two_copies(tmp_path: Path) -> None:
    some = Preparation("it")
    for split, seconds in (("train", 0.5), ("test", 1.0)):
        some.add(split, said("same", sound(tmp_path / split / "a.wav", seconds)))
    some.add("train", said("a/b", sound(tmp_path / "x.wav", 0.25)))
    some.add("train", said("a_b", sound(tmp_path / "y.wav", 0.75)))
    finish([some], Output(tmp_path / "out", convert=True), "toy")
    train = read(tmp_path / "out", "it", "train")
    assert {id: u.duration for id, u in train.items()} == {"same": 0.5, "a/b": 0.25, "a_b": 0.75}
    assert read(tmp_path / "out", "it", "test")["same"].duration == 1.0


def test_ids_that_a_file_system_takes_for_the_same_have_copies_of_their_own(
    tmp_path: Path,
) -> None:
    some = Preparation("it")
    for i, id in enumerate(("a/b/c", "a_b/c", "a/b_c", "A/B/C", "a_b_c")):
        some.add("train", said(id, sound(tmp_path / f"{i}.wav", (i + 1) / 4)))
    finish([some], Output(tmp_path / "out", convert=True), "toy")
    found = read(tmp_path / "out", "it", "train")
    assert [u.duration for u in found.values()] == [0.25, 0.5, 0.75, 1.0, 1.25]
    for i, u in enumerate(found.values()):
        assert np.allclose(read_audio(u.audio), read_audio(tmp_path / f"{i}.wav"), atol=1e-4)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_copy_follows_the_current_table(tmp_path: Path, stopped: bool) -> None:
    both = sound(tmp_path / "both.wav", 3.0, channels=2)
    other = sound(tmp_path / "another.wav", 3.0, channels=2)
    for audio, start, duration, channel in (
        (both, 0.0, 0.0, 0), (both, 0.0, 0.0, 1), (other, 0.0, 0.0, 1), (other, 1.0, 0.5, 1),
        (other, 1.1, 0.5, 1), (other, 1.1, 0.6, 1), (both, 0.0, 0.0, 0),
    ):  # fmt: skip
        u = said("u", audio, duration, start)
        some = Preparation("it")
        some.add("train", u, channel=ChannelChoice(channel))
        finish([some], Output(tmp_path / "out", convert=True), "toy")
        found = read(tmp_path / "out", "it", "train")["u"]
        expected = read_audio(audio, start, duration or None, channel)
        assert np.allclose(read_audio(found.audio), expected, atol=1e-4)
        if stopped:  # before the manifest was written
            (tmp_path / "out" / "it" / "train.jsonl").unlink()


def test_another_file_of_the_same_name_is_copied_anew_even_if_it_is_older(tmp_path: Path) -> None:
    audio, other = sound(tmp_path / "a.wav", 1.0), sound(tmp_path / "other.wav", 1.0)
    os.utime(other, (1, 1))
    for _ in range(2):
        some = Preparation("it")
        some.add("train", said("u", audio))
        finish([some], Output(tmp_path / "out", convert=True), "toy")
        u = read(tmp_path / "out", "it", "train")["u"]
        assert np.allclose(read_audio(u.audio), read_audio(audio), atol=1e-4)
        if other.exists():
            other.rename(audio)


def test_manifests_of_splits_that_are_no_more_go_and_those_of_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "it"
    for splits in (("train", "extra", "no-speech", "dev"), ("train", "test")):
        some = Preparation("it")
        for split in splits:
            some.add(split, said(split, sound(tmp_path / f"{split}.wav")))
        finish([some], Output(tmp_path / "out"), "toy")
        assert {f.stem for f in folder.glob("*.jsonl")} - {"train_phones"} == set(splits)
        for name in ("train_phones.jsonl", "train.parquet", "extra.txt"):
            (folder / name).write_bytes((folder / "train.jsonl").read_bytes())
    assert {f.name for f in folder.iterdir()} == {
        *("train.jsonl", "test.jsonl", "train_phones.jsonl", "train.parquet", "extra.txt"),
        *("source.txt", "manifests.txt", ".measured.cache"),
    }
    (folder / "manifests.txt").write_text("../../train.wav\n../x.jsonl\ntrain.jsonl\n")
    (tmp_path / "out" / "x.jsonl").touch()
    finish([some], Output(tmp_path / "out"), "toy")
    assert (tmp_path / "out" / "x.jsonl").exists()


def test_a_table_does_not_lengthen_an_mp3(tmp_path: Path) -> None:
    """Nor decoded for a claim that its header bears out."""
    some = Preparation("it")
    for n, claim in enumerate((0.5, 1.2, 1.5)):
        some.add("train", said(f"u{n}", sound(tmp_path / f"{n}.mp3", 1.0), claim))
    with pytest.raises(UserError, match=r"2\.mp3: .*2\.mp3, which is 1\.\d\d s long; --allow"):
        finish([some], Output(tmp_path / "out"), "toy")


@pytest.mark.parametrize("claim", [0.0, 5.0])
def test_half_an_mp3_does_not_keep_the_whole_text(tmp_path: Path, claim: float) -> None:
    half = sound(tmp_path / "half.mp3", 5.0)
    half.write_bytes(half.read_bytes()[: half.stat().st_size // 7])
    some = Preparation("it", whole_files=True)
    some.add("train", said("half", half, claim))
    some.add("train", said("whole", sound(tmp_path / "whole.mp3", 5.0), claim))
    for _ in range(2):
        again = replace(some, splits={"train": dict(some.splits["train"])}, corrupt=[])
        with pytest.raises(
            UserError, match=r"half\.mp3: .*cut off: .*promises 5\.00 s, but it has 0\."
        ):
            finish([again], Output(tmp_path / "out", convert=True), "a test")
    finish([some], Output(tmp_path / "out", True, True), "a test")
    assert list(read(tmp_path / "out", "it", "train")) == ["whole"]


def test_a_long_mp3_is_cut_in_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = sound(tmp_path / "long.mp3", 20.0)
    decoded = 0
    decode = soundfile.SoundFile.read

    def count(*arguments: Any) -> Any:
        nonlocal decoded
        result = decode(*arguments)
        decoded += len(result)
        return result

    monkeypatch.setattr(soundfile.SoundFile, "read", count)
    some = Preparation("it")
    some.add("train", said("u", audio, text=""))
    finish([some], Output(tmp_path / "out", convert=True), "toy", longest=1.0)
    found = read(tmp_path / "out", "it", "train")
    assert len(found) >= 20
    assert decoded < 1.2 * 20 * 16_000
    monkeypatch.undo()
    pieces = np.concatenate([read_audio(u.audio) for u in found.values()])
    assert np.allclose(pieces, read_audio(audio)[: len(pieces)], atol=1e-4)


def test_a_stretch_does_not_take_the_place_of_an_utterance_with_its_id(
    tmp_path: Path, messages: list[str]
) -> None:
    some = Preparation("it")
    some.add("train", said("u", sound(tmp_path / "a.wav", 2.0), text=""))
    some.add("train", said("u_0000000", sound(tmp_path / "b.wav", 0.5)))
    finish([some], Output(tmp_path / "out"), "toy", longest=1.0)
    found = read(tmp_path / "out", "it", "train")
    assert found["u_0000000"].text == "due"
    assert set(found) == {"u_0000000", "u_0000100"}
    assert "1 stretches with the id of another utterance" in messages[-1]


def test_work_is_handed_out_as_it_is_done() -> None:
    taken = 0

    def numbers() -> Iterator[tuple[int]]:
        nonlocal taken
        for taken in range(20_000):
            yield (taken,)

    results = spread(abs, numbers(), turn=1)
    assert [next(results) for _ in range(100)] == list(range(100))
    assert taken < 2000
    results.close()


def peaks(folder: Path, number: int) -> list[int]:
    """Bytes that two preparations of so many clips need, the second of what is known."""
    # What processes have in hand depends on how busy the machine is, not on the number of clips.
    processes.TURNS_AHEAD = 4
    root = folder / "corpus" / "clips"
    first = sound(root / "0.wav", 0.1)
    for i in range(1, number):
        os.link(first, root / f"{i}.wav")
    found = []
    for _ in range(2):
        tracemalloc.start()
        some = Preparation("it", corpus="toy", release="toy-1")
        for i in range(number):
            u = said(f"clip_{i:08d}", root / f"{i}.wav", text=f"sentence number {i}")
            some.add("train", replace(u, speaker=f"{i % 50:064d}", extra={"age": f"{i % 5} years"}))
        finish([some], Output(folder / "out"), "toy")
        found.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    return found


def test_a_clip_takes_little_memory(tmp_path: Path) -> None:
    # In a new process: tables of Python's own, which double now and then, are as large as the sum
    # of all tests before.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        found = pool.submit(peaks, tmp_path, 10_000).result()
    assert max(found) < 1500 * 10_000


def test_labelled_recordings_are_never_cut(tmp_path: Path) -> None:
    some = Preparation("it")
    some.add("train", said("told", sound(tmp_path / "a.wav", 2.0)))
    some.add("train", said("bare", sound(tmp_path / "b.wav", 2.0), text=""))
    counts = finish([some], Output(tmp_path / "out"), "toy", longest=0.7)
    assert counts == {"it": {"train": 4}}
    assert read(tmp_path / "out", "it", "train")["told"].duration == 2.0


def test_corpus_release_and_the_corpus_own_name_are_in_every_line(tmp_path: Path) -> None:
    some = Preparation("sv-SE", corpus="toy", release="toy-2", named="sv_se")
    some.add("train", said("u", sound(tmp_path / "a.wav")))
    finish([some], Output(tmp_path / "out"), "toy")
    (u,) = read(tmp_path / "out", "sv-SE", "train").values()
    assert (u.corpus, u.extra) == ("toy", {"release": "toy-2", "locale": "sv_se"})


def test_another_corpus_is_not_mixed_in(tmp_path: Path) -> None:
    for source in ("toy", "toy"):
        some = Preparation("it")
        some.add("train", said("u", sound(tmp_path / "a.wav")))
        finish([some], Output(tmp_path / "out"), source)
    with pytest.raises(UserError, match="holds the manifests of toy; give other another -o"):
        finish([Preparation("it")], Output(tmp_path / "out"), "other")


@pytest.mark.parametrize("convert", [False, True])
@pytest.mark.parametrize("start", [0.0, 0.5])
def test_a_segment_that_changed_is_measured_and_copied_anew(
    tmp_path: Path, convert: bool, start: float
) -> None:
    audio = sound(tmp_path / "long.wav", 3.0)
    for seconds in (1.0, 2.0, 0.5):
        some = Preparation("it")
        some.add("train", said("u", audio, seconds, start))
        finish([some], Output(tmp_path / "out", convert=convert), "toy")
        u = read(tmp_path / "out", "it", "train")["u"]
        assert u.duration == seconds
        assert np.allclose(
            read_audio(u.audio, u.start, u.duration), read_audio(audio, start, seconds), atol=1e-4
        )


def spoil(*paths: Path) -> None:
    """Takes the sound away and leaves size and time: whoever opens the file finds no audio."""
    for path in paths:
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("convert", [False, True])
@pytest.mark.parametrize("claim", [0.0, 1.0, 1.4, 0.7])  # as the tables say; it is 1 s
def test_preparing_again_opens_only_what_has_changed(
    tmp_path: Path, claim: float, convert: bool
) -> None:
    one, two = sound(tmp_path / "1.mp3", 1.0), sound(tmp_path / "2.mp3", 1.0)
    folder = tmp_path / "out" / "it"

    def prepare(claim: float = claim) -> tuple[dict[str, float], dict[Path, int], bytes]:
        some = Preparation("it", whole_files=True)
        some.add("train", said("one", one, claim))
        some.add("dev", said("two", two))
        some.missing.append(Problem(str(tmp_path / "3.mp3"), "listed"))
        some.refuse("t.tsv:4", "no text")
        finish([some], Output(tmp_path / "out", True, convert), "toy")
        times = {f: f.stat().st_mtime_ns for f in folder.rglob("*.*") if f.suffix != ".flac"}
        found = read(tmp_path / "out", "it", "train") | read(tmp_path / "out", "it", "dev")
        corrupt = (folder / "corrupt.txt").read_bytes()
        return {id: u.duration for id, u in found.items()}, times, corrupt

    first = prepare()
    assert first[0].keys() == {"one", "two"}
    spoil(one, two, *folder.rglob("*.flac"))
    for _ in range(2):
        assert prepare() == first
    if claim == 1.4:  # another claim that is wrong leads to the same length
        assert prepare(1.3)[0] == first[0]
    sound(one, 1.35)  # only this is opened: the other is still spoilt
    changed, _, _ = prepare(1.35)
    assert abs(changed["one"] - 1.35) < 0.1
    assert changed["two"] == first[0]["two"]
    two.touch()
    with pytest.raises(UserError, match=r"dev\.jsonl"):  # nothing is left of dev
        prepare(1.35)
    assert b"2.mp3" in (folder / "corrupt.txt").read_bytes()


def test_a_recording_that_is_cut_is_not_opened_again(tmp_path: Path) -> None:
    audio = sound(tmp_path / "long.wav", 3.0, channels=2)
    for convert in (False, True):
        for again in range(2):
            some = Preparation("it")
            some.add(
                "train", said("u", audio, 0.5, 1.0), channel=ChannelChoice(1) if convert else None
            )
            some.add("unlabelled", said("v", audio, text=""))
            out = Output(tmp_path / f"out{convert}", convert=convert)
            assert finish([some], out, "toy", 1.0) == {"it": {"train": 1, "unlabelled": 3}}
            if not again:
                spoil(audio)
        sound(audio, 3.0, channels=2)


@pytest.mark.parametrize("content", ["", "{}\n", "[1]\n", "[[], 1, 2, 3, 4, 5, 6]\n", "\xff\n"])
def test_an_unreadable_cache_is_ignored(tmp_path: Path, content: str) -> None:
    for _ in range(2):
        some = Preparation("it")
        some.add("train", said("u", sound(tmp_path / "a.wav", 1.0)))
        assert finish([some], Output(tmp_path / "out"), "toy") == {"it": {"train": 1}}
        (tmp_path / "out" / "it" / ".measured.cache").write_text(content, encoding="latin-1")


def test_what_was_stopped_while_manifests_were_written_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = sound(tmp_path / "1.wav", 1.0)

    def prepare(*splits: str) -> None:
        some = Preparation("it")
        for split in splits:
            some.add(split, said(split, audio))
        finish([some], Output(tmp_path / "out"), "toy")

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    for splits in (("train",), ("train", "dev")):  # as before, and others
        prepare("train")
        sound(audio, 2.0)
        with monkeypatch.context() as killed:
            killed.setattr(write, "write_manifest", stop)
            with pytest.raises(KeyboardInterrupt):
                prepare(*splits)
        prepare("train")
        assert read(tmp_path / "out", "it", "train")["train"].duration == 2.0
        sound(audio, 1.0)


def test_one_channel_of_what_was_measured_is_refused_as_if_it_had_not_been(tmp_path: Path) -> None:
    audio = sound(tmp_path / "both.wav", 1.0, channels=2)
    u = said("u", audio)
    for channel in (None, ChannelChoice(0, if_several=True)):
        some = Preparation("it")
        some.add("train", u, channel=channel)
        if channel:
            with pytest.raises(
                UserError, match=r"it is one channel of .*, which has 2; with --con"
            ):
                finish([some], Output(tmp_path / "out"), "toy")
        else:
            finish([some], Output(tmp_path / "out"), "toy")


@pytest.mark.parametrize("convert", [False, True])
def test_recordings_that_are_too_long_now_are_cut(tmp_path: Path, convert: bool) -> None:
    audio = sound(tmp_path / "long.wav", 3.0)
    out = Output(tmp_path / "out", convert=convert)
    for text, longest, number in (("", 3.0, 1), ("", 2.0, 2), ("due", 2.0, 1), ("", 2.0, 2)):
        some = Preparation("it")
        some.add("train", said("u", audio, text=text))
        assert finish([some], out, "toy", longest) == {"it": {"train": number}}


def test_segments_of_one_id_in_two_splits_keep_their_lengths(tmp_path: Path) -> None:
    audio = sound(tmp_path / "long.wav", 3.0)
    for _ in range(3):
        some = Preparation("it")
        for split, seconds in (("train", 0.5), ("dev", 1.0), ("test", 0.0)):
            some.add(split, said("same", audio, seconds))
        finish([some], Output(tmp_path / "out"), "toy")
        found = [read(tmp_path / "out", "it", s)["same"] for s in ("train", "dev", "test")]
        assert [u.duration for u in found] == [0.5, 1.0, 3.0]


def test_the_folder_can_be_a_string(tmp_path: Path) -> None:
    some = Preparation("it")
    some.add("train", said("u", sound(tmp_path / "a.wav")))
    finish([some], Output(str(tmp_path / "out")), "toy")  # type: ignore[arg-type]
    assert len(read(tmp_path / "out", "it", "train")) == 1


def test_a_length_that_is_no_longer_listed_is_measured(tmp_path: Path) -> None:
    one, two = sound(tmp_path / "1.wav", 1.0), sound(tmp_path / "2.wav", 2.0)
    for listed, found in ((0.5, 0.5), (0.5, 0.5), (0.0, 1.0), (0.0, 1.0), (0.5, 0.5), (0.0, 1.0)):
        some = Preparation("it")
        some.add("train", said("one", one, listed))
        some.add("dev", said("two", two))
        finish([some], Output(tmp_path / "out"), "toy")
        assert read(tmp_path / "out", "it", "train")["one"].duration == found
        assert read(tmp_path / "out", "it", "dev")["two"].duration == 2.0
        spoil(one, two)  # both are known from the first time on


def test_a_copy_of_a_stretch_has_the_current_channel(tmp_path: Path) -> None:
    audio = sound(tmp_path / "long.wav", 3.0, channels=2)
    for channel in (0, 1):
        some = Preparation("it")
        some.add("unlabelled", said("u", audio, text=""), channel=ChannelChoice(channel))
        finish([some], Output(tmp_path / "out", convert=True), "toy", 2.0)
        found = read(tmp_path / "out", "it", "unlabelled")
        assert np.allclose(
            np.concatenate([read_audio(u.audio) for u in found.values()]),
            read_audio(audio, channel=channel),
            atol=1e-4,
        )


@pytest.mark.parametrize("convert", [False, True])
def test_what_has_nothing_to_write_makes_and_claims_no_folder(
    tmp_path: Path, convert: bool, messages: list[str]
) -> None:
    some = Preparation("it")
    some.add("train", said("u", sound(tmp_path / "a.wav")))
    out = Output(tmp_path / "out", convert=convert)
    assert finish([Preparation("es"), some], out, "toy") == {"es": {}, "it": {"train": 1}}
    assert messages[0] == "es: nothing"
    assert [folder.name for folder in out.folder.iterdir()] == ["it"]
    with pytest.raises(UserError, match="no usable utterance is listed for es"):
        finish([Preparation("es")], out, "a wrong name of a corpus")
    right = Preparation("es")
    right.add("train", said("u", tmp_path / "a.wav"))
    finish([right], out, "the right one")


def test_a_killed_conversion_leaves_nothing_for_ever(tmp_path: Path) -> None:
    some = Preparation("it")
    some.add("train", said("u", sound(tmp_path / "a.wav")))
    left = tmp_path / "out" / "it" / "audio" / ".u.0123456789ab.flac.abcd0123.flac"
    manifest = tmp_path / "out" / "it" / ".train.jsonl.abcd0123.jsonl"
    for path in (sound(left), manifest):
        path.touch()
        os.utime(path, (0, 0))
    finish([some], Output(tmp_path / "out"), "toy")
    assert left.exists()
    assert not manifest.exists()
    finish([some], Output(tmp_path / "out", convert=True), "toy")
    assert not left.exists()
    assert len(list(left.parent.iterdir())) == 1
