"""In training an unreadable utterance is replaced by one of similar length; elsewhere it is an
error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechx.audio.files import read_audio
from speechx.data.batches import Batches, load
from speechx.data.corpus import Corpus
from speechx.data.reading import AudioLimits
from speechx.data.sampling import Plan, Position, Row
from speechx.data.utterance import Utterance
from speechx.errors import UserError


def plan(corpus, number, *numbers, speed=1.0):
    rows = tuple(Row((i,), float(corpus.seconds_N[i]) / speed, speed) for i in numbers)
    return Plan(Position(0, number, number), rows)


@pytest.fixture
def broken(tones, tmp_path):
    """The corpus with utterances 2 (xx) and 15 (yy) gone."""
    lost = [replace(tones[i], audio=tmp_path / f"lost{i}.wav") for i in (2, 15)]
    return Corpus.of([*tones[:2], lost[0], *tones[3:15], lost[1], *tones[16:]])


def batches(corpus, seed=1, **limits):
    labels = [[ord(letter) for letter in u.text or "a"] for u in corpus]
    return Batches(corpus, False, seed, labels=labels, limits=AudioLimits(**limits))


def test_a_replacement_has_its_own_labels(broken, tones):
    reader = batches(broken)
    plain = reader[plan(broken, 3, 0, 1, 16)]
    assert (plain.tried, plain.errors) == (3, ())
    used = set()
    for number in range(12):
        batch = reader[plan(broken, number, 0, 2, 15)]
        assert batch.tried == 5
        assert batch.languages == ("xx", "xx", "yy")
        assert [error.id for error in batch.errors] == [tones[2].id, tones[15].id]
        for row, error in ((1, batch.errors[0]), (2, batch.errors[1])):
            assert error.failed
            assert error.replacement == batch.ids[row]
            assert "lost" in error.audio
            assert "No such file" in error.why
            u = next(u for u in tones if u.id == batch.ids[row])
            length, count = int(batch.lengths_B[row]), int(batch.label_lengths_B[row])
            assert np.array_equal(batch.wave_BS[row, :length].numpy(), read_audio(u.audio))
            assert "".join(map(chr, batch.labels_BU[row, :count].tolist())) == u.text
            used.add(u.id)
    assert len(used) > 4  # not the same one each time
    assert not used & {tones[2].id, tones[15].id}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_replacement_depends_on_seed_batch_and_row_only(broken, workers):
    def read(seed, numbers):
        plans = [plan(broken, number, 2, 2, 15) for number in numbers]
        return {b.number: b for b in load(batches(broken, seed), plans, workers)}

    whole, resumed = read(1, range(8)), read(1, range(5, 8))
    for number, batch in resumed.items():
        assert batch.ids == whole[number].ids
        assert torch.equal(batch.wave_BS, whole[number].wave_BS)
        assert batch.errors == whole[number].errors
    assert [b.ids for b in whole.values()] != [b.ids for b in read(2, range(8)).values()]


@pytest.fixture(scope="module")
def half_a_minute(tmp_path_factory):
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(30 * 16_000), 16_000)
    return path


def corpus_of(audio, lost, *lengths):
    """Utterances of these languages and seconds; the audio of those in `lost` does not exist."""
    return Corpus.of(
        [
            Utterance(
                id=f"{i}", audio=audio.with_name("lost.wav") if i in lost else audio, duration=s,
                language=language,
            )
            for i, (language, s) in enumerate(lengths)
        ]
    )  # fmt: skip


def test_a_replacement_is_of_similar_length_and_of_the_same_language(half_a_minute):
    seconds = np.random.default_rng(0).uniform(1, 20, 400)
    lost = set(range(0, 400, 8))
    corpus = corpus_of(half_a_minute, lost, *(("xy"[i % 2], s) for i, s in enumerate(seconds)))
    for i in sorted(lost)[::5]:
        batch = batches(corpus, seed=i)[plan(corpus, 0, i)]
        assert batch.languages == (corpus[i].language,)
        ratio = corpus[int(batch.ids[0])].duration / seconds[i]
        assert 0.8 <= ratio <= 1.1


def candidates(corpus, speed=1.0, seed=1, beside=(), **limits):
    """Numbers of the utterances that are tried for the first, in their order."""
    rows = tuple(Row((i,), float(corpus.seconds_N[i])) for i in beside)
    first = Row((0,), float(corpus.seconds_N[0]) / speed, speed)
    batch = batches(corpus, seed, **limits)[Plan(Position(), (first, *rows))]
    return [int(error.id) for error in batch.errors] + [int(batch.ids[0])]


def test_a_replacement_fits_the_row_in_small_languages_too(half_a_minute):
    five, tiny, big = ("x", 5.0), ("x", 0.02), ("x", 30.0)
    others = [*[tiny] * 15, big, ("x", 2.5), ("x", 3.0), ("y", 5.4), ("y", 5.6)]
    corpus = corpus_of(half_a_minute, (0, 18, 19), five, *others)
    for seed in range(10):
        # One of similar length in any language, then the longest ones that fit.
        assert candidates(corpus, seed=seed, least_seconds=2.0) == [0, 19, 18, 17]
    similar = corpus_of(half_a_minute, (0, 1), five, five, *[tiny] * 15, big, ("y", 5.0))
    assert candidates(similar, least_seconds=2.0) == [0, 1, 18]
    with pytest.raises(UserError, match=r"lost\.wav.*2\.5 s"):  # at twice the speed
        candidates(similar, speed=2.0, least_seconds=2.0)
    # Another row of the batch is as long.
    assert candidates(similar, speed=2.0, beside=(18,), least_seconds=2.0) == [0, 1, 18]


def test_where_nothing_fits_the_error_names_the_file_and_the_length(tones, tmp_path):
    lost = replace(tones[0], audio=tmp_path / "lost.wav")
    corpus = Corpus.of([lost, *(replace(u, duration=60.0) for u in tones[1:])])
    with pytest.raises(UserError, match=r"lost\.wav.*1\.6 s.*data\.exclude"):
        batches(corpus)[plan(corpus, 0, 0)]


def test_a_row_of_several_is_as_long_as_a_row_must_be(broken, tones):
    """Utterance 2 is lost: its replacement must leave 3.2 s with the other, of 1.62 s."""
    reader = batches(broken, least_seconds=3.2)
    for number in range(10):
        batch = reader[Plan(Position(0, number, number), (Row((0, 2), 3.24),))]
        assert len(batch.errors) == 1
        assert int(batch.lengths_B[0]) >= 3.2 * 16000


def test_without_limits_it_is_an_error_and_without_any_other_too(broken, tones, tmp_path):
    with pytest.raises(UserError, match=r"lost2\.wav"):
        Batches(broken, False)[plan(broken, 0, 2)]
    gone = [replace(u, audio=tmp_path / f"{u.id}.wav") for u in tones]
    with pytest.raises(UserError, match=r"xx_0\.wav.* 8 replacements"):
        batches(Corpus.of(gone))[plan(Corpus.of(gone), 0, 0)]


def test_one_shorter_than_its_manifest_is_used_at_its_true_length(tones):
    true = len(read_audio(tones[0].audio))
    corpus = Corpus.of([replace(tones[0], duration=tones[0].duration + 2.0), *tones[1:]])
    reader = batches(corpus, frames=lambda samples: samples // 320, frames_needed=len)
    batch = reader[plan(corpus, 0, 0, 1)]
    assert batch.ids == (tones[0].id, tones[1].id)
    assert int(batch.lengths_B[0]) == true
    (error,) = batch.errors
    assert (error.id, error.failed) == (tones[0].id, False)
    assert error.why == f"{true / 16000:.3f} s of the {corpus[0].duration:.3f} s in the manifest"
    nothing = Corpus.of([replace(tones[0], duration=tones[0].duration + 0.2), *tones[1:]])
    assert batches(nothing)[plan(nothing, 0, 0)].errors == ()
    cut = Corpus.of([replace(tones[0], duration=tones[0].duration - 0.1), *tones[1:]])
    batch = batches(cut)[plan(cut, 0, 0)]
    assert int(batch.lengths_B[0]) == true - 1600
    assert batch.errors == ()


@pytest.mark.parametrize(
    "rule", [{"least_seconds": 2.0}, {"frames": lambda samples: 3, "frames_needed": len}]
)
def test_one_too_short_for_a_row_or_its_labels_is_replaced(tones, tmp_path, rule):
    long = 0.1 * np.random.default_rng(0).standard_normal(56_000)
    soundfile.write(tmp_path / "long.wav", long, 16_000)
    other = replace(tones[1], audio=tmp_path / "long.wav", duration=3.5, text="a")
    corpus = Corpus.of([replace(tones[0], duration=tones[0].duration + 2.0), other, *tones[2:]])
    batch = batches(corpus, **rule)[plan(corpus, 0, 0)]
    assert batch.ids == (other.id,)
    assert batch.errors[0].failed
    assert "too short to train on" in batch.errors[0].why


def frames(samples):
    return max(0, (samples - 400) // 320 + 1)


@pytest.mark.parametrize(
    ("seconds", "labels", "speed", "used"),
    [
        (5.0, 190, 1.25, 4.0),
        (4.0, 190, 1.25, 4.0),  # at that speed 3.2 s are left, 159 frames
        (4.0, 150, 1.25, 3.2),
        (4.0, 210, 1.0, None),
        (4.8, 240, 1.0, None),  # as long as the manifest says but for the rounding of tables
        (4.8, 240, 1.25, None),
    ],
)
def test_the_labels_fit_in_the_frames_that_are_there(tones, tmp_path, seconds, labels, speed, used):
    """The manifest says 5 s, 249 frames."""
    for name, length in (("a", seconds), ("b", 4.9)):
        wave_S = 0.1 * np.random.default_rng(0).standard_normal(round(length * 16_000))
        soundfile.write(tmp_path / f"{name}.wav", wave_S, 16_000)
    a = replace(tones[0], audio=tmp_path / "a.wav", duration=5.0)
    b = replace(tones[1], audio=tmp_path / "b.wav", duration=4.4 if speed > 1 else 4.9)
    corpus, ids = Corpus.of([a, b]), [[1, 2] * (labels // 2), [1, 2]]
    limits = AudioLimits(frames=frames, frames_needed=len)
    reader = Batches(corpus, False, 1, labels=ids, limits=limits)
    batch = reader[plan(corpus, 0, 0, speed=speed)]
    if used is None:
        assert batch.ids == (b.id,)
        assert batch.errors[0].failed
        assert "too short to train on with its labels" in batch.errors[0].why
    else:
        assert batch.ids == (a.id,)
        assert int(batch.lengths_B[0]) == round(used * 16_000)
        assert not any(error.failed for error in batch.errors)
    assert frames(int(batch.lengths_B[0])) >= int(batch.label_lengths_B[0])


def test_a_replacement_keeps_its_own_speed(broken, tones):
    rows = (Row((2,), 0.81, 2.0), Row((1,), 0.9))
    batch = batches(broken)[Plan(Position(), rows)]
    u = next(u for u in tones if u.id == batch.ids[0])
    assert np.array_equal(batch.wave_BS[0].numpy(), read_audio(u.audio))  # 0.9 s too


def test_seconds_are_accounted_for(tones, tmp_path):
    random = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.mp3", 0.1 * random.standard_normal(48_000), 48_000)
    corpus = Corpus.of([replace(tones[0], audio=tmp_path / "a.mp3", duration=1.0), *tones[1:]])
    spent = batches(corpus)[plan(corpus, 0, 0, 1)].spent
    assert set(spent) == {"decoding mp3", "decoding wav", "resampling", "the rest"}
    assert all(seconds > 0 for seconds in spent.values())
    assert spent["decoding mp3"] > spent["decoding wav"]


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    """The bytes of the same second of sound in three containers."""
    folder = tmp_path_factory.mktemp("coded")
    wave_S = 0.1 * np.random.default_rng(0).standard_normal(16_000)
    for suffix in ("mp3", "flac", "wav"):
        soundfile.write(folder / f"a.{suffix}", wave_S, 16_000)
    return {suffix: (folder / f"a.{suffix}").read_bytes() for suffix in ("mp3", "flac", "wav")}


@given(
    suffix=st.sampled_from(("mp3", "flac", "wav")),
    end=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
)
@settings(
    max_examples=120, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_whatever_the_bytes_there_is_a_batch_and_a_name(
    coded, tones, tmp_path, suffix, end, changes
):
    data = bytearray(coded[suffix])
    for place, value in changes:
        if place > 0.5:  # anywhere, or in the header
            data[int(place * len(data))] = value
        else:
            data[int(place * 100)] = value
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(data[: int(end * len(data)) if end < 0.8 else len(data)])
    corpus = Corpus.of([replace(tones[0], audio=path, duration=1.0), *tones[1:]])
    batch = batches(corpus)[plan(corpus, 0, 0, 1)]
    assert batch.wave_BS.isfinite().all()
    assert (batch.lengths_B > 0).all()
    if batch.ids[0] != tones[0].id:
        assert batch.errors[0].id == tones[0].id
        assert batch.errors[0].failed
        assert batch.errors[0].replacement == batch.ids[0]
        assert str(path) in batch.errors[0].why
