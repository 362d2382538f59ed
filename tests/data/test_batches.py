"""Batches: what the model gets is what the manifest says, cropped or padded."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from speechx.audio.files import read_audio
from speechx.data.augmentation import Augment, Noise, Rooms, load_augmentation
from speechx.data.batches import Batches, crop, load, normalize, read_utterance
from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance, write_manifest
from speechx.data.sampling import Plan, Position, Row, every_row, padded_batches, stream
from speechx.errors import UserError
from tests.conftest import write_wav


def plan(number, *rows):
    """Of utterances by their places in the corpus."""
    return Plan(Position(0, number, number), tuple(Row(tuple(row), 1.0) for row in rows))


def test_padding_holds_every_sample_and_zeros_behind_it(tones):
    targets = [[ord(letter) for letter in u.text] for u in tones]
    some = tones[:3]
    batch = Batches(Corpus.of(tones), False, None, targets, seed=1)[plan(4, [0], [1], [2])]
    assert batch.number == 4
    assert batch.ids == tuple(u.id for u in some)
    assert batch.languages == tuple(u.language for u in some)
    assert batch.wave_BS.shape == (3, int(batch.lengths_B.max()))
    for row, utterance in enumerate(some):
        wave_S, length = read_audio(utterance.audio), int(batch.lengths_B[row])
        assert length == len(wave_S) == round(utterance.duration * 16_000)
        assert np.array_equal(batch.wave_BS[row, :length].numpy(), wave_S)
        assert not batch.wave_BS[row, length:].any()
        units = int(batch.units_B[row])
        assert "".join(map(chr, batch.targets_BU[row, :units].tolist())) == utterance.text
        assert not batch.targets_BU[row, units:].any()
    assert batch.seconds == pytest.approx(sum(u.duration for u in some))


def test_crops_are_stretches_of_the_recordings_as_long_as_the_shortest(tones):
    reader = Batches(Corpus.of(tones), False, 20.0, None, seed=1)
    batch = reader[plan(0, *([i] for i in range(4)))]
    shortest = min(len(read_audio(u.audio)) for u in tones[:4])
    assert batch.lengths_B.tolist() == [shortest] * 4
    for row, utterance in enumerate(tones[:4]):
        whole_S, part_S = read_audio(utterance.audio), batch.wave_BS[row].numpy()
        places = [
            start
            for start in range(len(whole_S) - shortest + 1)
            if whole_S[start] == part_S[0]
            and np.array_equal(whole_S[start : start + shortest], part_S)
        ]
        assert len(places) == 1
    reader = Batches(Corpus.of(tones), False, 0.5, None, seed=1)
    assert reader[plan(0, [0])].wave_BS.shape == (1, 8000)


def test_crops_depend_on_the_seed_and_the_number_of_the_batch_only(tones):
    def wave(seed, number):
        reader = Batches(Corpus.of(tones), False, 0.5, None, seed)
        return reader[plan(number, [0], [1])].wave_BS

    assert torch.equal(wave(1, 5), wave(1, 5))
    assert not torch.equal(wave(1, 5), wave(1, 6))
    assert not torch.equal(wave(1, 5), wave(2, 5))


def test_crop_starts_are_spread_over_the_whole_recording():
    random = np.random.default_rng(0)
    ramp = np.arange(1000, dtype=np.float32)
    starts = [int(crop([ramp, ramp[:900]], 900, random)[0][0]) for _ in range(2000)]
    assert min(starts) == 0
    assert max(starts) == 100
    assert np.mean(starts) == pytest.approx(50, abs=3)


def test_normalised_is_the_whole_recording_before_the_crop(tones):
    whole_S = read_utterance(tones[0], normalized=True)
    assert whole_S.mean() == pytest.approx(0, abs=1e-5)
    assert whole_S.std() == pytest.approx(1, abs=1e-3)
    part = Batches(Corpus.of(tones), True, 0.4, None, seed=1)[plan(0, [0])].wave_BS[0].numpy()
    starts = np.flatnonzero(whole_S == part[0])
    assert any(np.array_equal(whole_S[s : s + len(part)], part) for s in starts)


def test_normalise_equals_layer_norm_and_survives_silence():
    wave_S = np.random.default_rng(0).normal(0.3, 0.02, 4000).astype(np.float32)
    expected = torch.nn.functional.layer_norm(torch.from_numpy(wave_S), (4000,))
    torch.testing.assert_close(torch.from_numpy(normalize(wave_S)), expected, atol=1e-4, rtol=0)
    assert np.isfinite(normalize(np.zeros(100, dtype=np.float32))).all()


def test_joined_utterances_follow_each_other(tones):
    batch = Batches(Corpus.of(tones), False, 20.0, None, seed=1)[plan(0, [0, 1])]
    expected = np.concatenate([read_audio(u.audio) for u in tones[:2]])
    assert np.array_equal(batch.wave_BS[0].numpy(), expected)


def test_a_segment_of_a_recording(tones):
    segment = replace(tones[0], start=0.25, duration=0.5)
    batch = Batches(Corpus.of([segment]), False, None, None, seed=1)[plan(0, [0])]
    assert np.array_equal(batch.wave_BS[0].numpy(), read_audio(tones[0].audio)[4000:12_000])


def test_two_utterances_of_one_id_keep_their_own_labels(tones):
    """Manifests of two languages may number their utterances alike."""
    one, other = replace(tones[0], id="1"), replace(tones[13], id="1")
    corpus = Corpus.of([one, other])
    batch = Batches(corpus, False, None, [[1, 2], [3]], 1)[plan(0, [0], [1])]
    assert batch.targets_BU.tolist() == [[1, 2], [3, 0]]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_the_order_of_the_plans(tones, workers):
    corpus = Corpus.of(tones)
    rows = every_row(corpus)
    plans = list(islice(stream(lambda random: padded_batches(rows, 6.0, random), 1), 9))
    reader = Batches(corpus, True, None, None, seed=1)
    batches = list(load(reader, plans, workers))
    assert [batch.number for batch in batches] == list(range(9))
    assert [batch.ids for batch in batches] == [
        tuple(tones[row.utterances[0]].id for row in plan.rows) for plan in plans
    ]
    for batch, plan_ in zip(batches, plans, strict=True):
        assert torch.equal(batch.wave_BS, reader[plan_].wave_BS)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_file_is_one_line_through_the_loader(tones, tmp_path, workers):
    lost = replace(tones[0], audio=tmp_path / "lost.wav")
    with pytest.raises(UserError) as caught:
        list(load(Batches(Corpus.of([lost]), False, None, None, 1), [plan(0, [0])], workers))
    with pytest.raises(UserError) as plain:
        read_audio(lost.audio)
    assert str(caught.value) == str(plain.value)
    assert "lost.wav" in str(plain.value)


@pytest.fixture
def hissing(tmp_path):
    """Noise, rooms and a telephone, each of them for half of what is heard."""
    random = np.random.default_rng(0)
    for name, wave_S in (
        ("hiss", 0.05 * random.standard_normal(3 * 16_000)),
        ("hall", random.standard_normal(4000) * np.exp(-np.arange(4000) / 500) / 5),
    ):
        write_wav(tmp_path / f"{name}.wav", wave_S)
        sound = Utterance(
            id=name, audio=tmp_path / f"{name}.wav", duration=len(wave_S) / 16_000, language="und"
        )
        write_manifest(tmp_path / f"{name}.jsonl", [sound])
    noise = Noise(manifests=(tmp_path / "hiss.jsonl",), probability=0.5)
    rooms = Rooms(manifests=(tmp_path / "hall.jsonl",), probability=0.5)
    return load_augmentation(Augment(noise=noise, rooms=rooms, telephone=0.5))


def test_augmentation_changes_what_is_heard_and_not_how_long_it_is(tones, hissing):
    corpus, some = Corpus.of(tones), plan(3, *([i] for i in range(8)))
    clean = Batches(corpus, False, None, [[1]] * len(tones), 1)[some]
    heard = Batches(corpus, False, None, [[1]] * len(tones), 1, hissing)[some]
    assert torch.equal(heard.lengths_B, clean.lengths_B)
    assert torch.equal(heard.targets_BU, clean.targets_BU)
    same = [torch.equal(a, b) for a, b in zip(heard.wave_BS, clean.wave_BS, strict=True)]
    assert len(same) - sum(same) > 0
    for row, length in enumerate(heard.lengths_B):
        assert not heard.wave_BS[row, length:].any()
    normal = Batches(corpus, True, None, None, 1, hissing)[some]
    for row, length in enumerate(normal.lengths_B):
        wave_S = normal.wave_BS[row, :length]
        assert float(wave_S.mean()) == pytest.approx(0, abs=1e-4)
        assert float(wave_S.var()) == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("workers", [0, 2])
def test_augmented_batches_are_the_same_after_a_resume_and_with_any_workers(
    tones, hissing, workers
):
    corpus = Corpus.of(tones)

    def plans(start):
        return islice(
            stream(lambda random: padded_batches(every_row(corpus), 4.0, random), 7, start), 12
        )

    reader = Batches(corpus, False, None, None, 7, hissing)
    whole = [reader[p] for p in plans(Position())]
    resumed = list(load(reader, plans(whole[5].position), workers))
    overlap = [b for b in resumed if b.number in {w.number for w in whole}]
    assert len(overlap) >= 6
    for batch in overlap:
        [before] = [w for w in whole if w.number == batch.number]
        assert batch.ids == before.ids
        assert torch.equal(batch.wave_BS, before.wave_BS)
    twice = {w.ids[0]: [x.wave_BS[0] for x in whole if x.ids[0] == w.ids[0]] for w in whole}
    heard = [pair for pair in twice.values() if len(pair) > 1 and pair[0].shape == pair[1].shape]
    assert any(not torch.equal(a, b) for a, b, *_ in heard)  # another draw in the next epoch
