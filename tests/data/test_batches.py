"""Batches: what the model gets is what the manifest says, cropped or padded."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch

from speechx.audio.files import read_audio
from speechx.data.augmentation import Augment, Noise, Rooms, load_augmentation
from speechx.data.batches import Batches, crop, load, normalize
from speechx.data.corpus import Corpus
from speechx.data.manifest import Utterance, write_manifest
from speechx.data.sampling import Plan, Position, Row, every_row, padded_batches, stream
from speechx.errors import UserError
from tests.conftest import write_wav


def plan(number, *rows):
    """A plan of one row for each list of utterances, given by their numbers in the corpus."""
    return Plan(Position(0, number, number), tuple(Row(tuple(row), 1.0) for row in rows))


def test_padding_holds_every_sample_and_zeros_behind_it(tones):
    labels = [[ord(letter) for letter in u.text] for u in tones]
    some = tones[:3]
    batch = Batches(Corpus.of(tones), False, labels=labels)[plan(4, [0], [1], [2])]
    assert batch.number == 4
    assert batch.ids == tuple(u.id for u in some)
    assert batch.languages == tuple(u.language for u in some)
    assert batch.wave_BS.shape == (3, int(batch.lengths_B.max()))
    for row, utterance in enumerate(some):
        wave_S, length = read_audio(utterance.audio), int(batch.lengths_B[row])
        assert length == len(wave_S) == round(utterance.duration * 16_000)
        assert np.array_equal(batch.wave_BS[row, :length].numpy(), wave_S)
        assert not batch.wave_BS[row, length:].any()
        count = int(batch.label_lengths_B[row])
        assert "".join(map(chr, batch.labels_BU[row, :count].tolist())) == utterance.text
        assert not batch.labels_BU[row, count:].any()
    assert batch.seconds == pytest.approx(sum(u.duration for u in some))
    assert torch.equal(batch.padded_lengths_B, batch.lengths_B)


def test_crops_are_stretches_of_the_recordings_as_long_as_the_shortest(tones):
    reader = Batches(Corpus.of(tones), False, crop_seconds=20.0)
    batch = reader[plan(0, *([i] for i in range(4)))]
    assert batch.padded_lengths_B is None  # nothing is padded
    shortest = min(len(read_audio(u.audio)) for u in tones[:4])
    assert batch.lengths_B.tolist() == [shortest] * 4
    for row, utterance in enumerate(tones[:4]):
        whole_S, part_S = read_audio(utterance.audio), batch.wave_BS[row].numpy()
        found = [
            start
            for start in range(len(whole_S) - shortest + 1)
            if whole_S[start] == part_S[0]
            and np.array_equal(whole_S[start : start + shortest], part_S)
        ]
        assert len(found) == 1
    reader = Batches(Corpus.of(tones), False, crop_seconds=0.5)
    assert reader[plan(0, [0])].wave_BS.shape == (1, 8000)


def test_crops_depend_on_the_seed_and_the_number_of_the_batch_only(tones):
    def wave(seed, number):
        reader = Batches(Corpus.of(tones), False, seed, crop_seconds=0.5)
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
    corpus = Corpus.of(tones)
    whole_S = Batches(corpus, True)[plan(0, [0])].wave_BS[0].numpy()
    assert whole_S.mean() == pytest.approx(0, abs=1e-5)
    assert whole_S.std() == pytest.approx(1, abs=1e-3)
    part = Batches(corpus, True, crop_seconds=0.4)[plan(0, [0])].wave_BS[0].numpy()
    starts = np.flatnonzero(whole_S == part[0])
    assert any(np.array_equal(whole_S[s : s + len(part)], part) for s in starts)


def test_normalise_equals_layer_norm_and_survives_silence():
    wave_S = np.random.default_rng(0).normal(0.3, 0.02, 4000).astype(np.float32)
    expected = torch.nn.functional.layer_norm(torch.from_numpy(wave_S), (4000,))
    torch.testing.assert_close(torch.from_numpy(normalize(wave_S)), expected, atol=1e-4, rtol=0)
    assert np.isfinite(normalize(np.zeros(100, dtype=np.float32))).all()


def test_joined_utterances_follow_each_other(tones):
    batch = Batches(Corpus.of(tones), False, crop_seconds=20.0)[plan(0, [0, 1])]
    expected = np.concatenate([read_audio(u.audio) for u in tones[:2]])
    assert np.array_equal(batch.wave_BS[0].numpy(), expected)


def test_a_segment_of_a_recording(tones):
    segment = replace(tones[0], start=0.25, duration=0.5)
    batch = Batches(Corpus.of([segment]), False)[plan(0, [0])]
    assert np.array_equal(batch.wave_BS[0].numpy(), read_audio(tones[0].audio)[4000:12_000])


def test_two_utterances_of_one_id_keep_their_own_labels(tones):
    """Manifests of two languages may number their utterances alike."""
    one, other = replace(tones[0], id="1"), replace(tones[13], id="1")
    corpus = Corpus.of([one, other])
    batch = Batches(corpus, False, labels=[[1, 2], [3]])[plan(0, [0], [1])]
    assert batch.labels_BU.tolist() == [[1, 2], [3, 0]]


def draw(batch, random):
    """What an objective draws: a number for each row, and a count."""
    return {"noise_B": torch.from_numpy(random.random(len(batch.ids)))}, {"rows": len(batch.ids)}


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_come_in_the_order_of_the_plans(tones, workers):
    corpus = Corpus.of(tones)
    rows = every_row(corpus)
    plans = list(islice(stream(lambda random: padded_batches(rows, 6.0, random), 1), 9))
    reader = Batches(corpus, True, draw=draw)
    batches = list(load(reader, plans, workers))
    assert [batch.number for batch in batches] == list(range(9))
    assert [batch.ids for batch in batches] == [
        tuple(tones[row.utterances[0]].id for row in plan.rows) for plan in plans
    ]
    for batch, plan_ in zip(batches, plans, strict=True):
        again = reader[plan_]
        assert torch.equal(batch.wave_BS, again.wave_BS)
        assert torch.equal(batch.draws["noise_B"], again.draws["noise_B"])
        assert batch.counts == again.counts == {"rows": len(plan_.rows)}


def test_what_is_drawn_depends_on_the_seed_and_the_number_of_the_batch_only(tones):
    def noise(seed, number):
        reader = Batches(Corpus.of(tones), False, seed, draw=draw)
        return reader[plan(number, [0], [1])].draws["noise_B"]

    assert torch.equal(noise(1, 5), noise(1, 5))
    assert not torch.equal(noise(1, 5), noise(1, 6))
    assert not torch.equal(noise(1, 5), noise(2, 5))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_file_is_one_line_through_the_loader(tones, tmp_path, workers):
    lost = replace(tones[0], audio=tmp_path / "lost.wav")
    with pytest.raises(UserError) as caught:
        list(load(Batches(Corpus.of([lost]), False), [plan(0, [0])], workers))
    with pytest.raises(UserError) as plain:
        read_audio(lost.audio)
    assert str(caught.value) == str(plain.value)
    assert "lost.wav" in str(plain.value)


@pytest.fixture
def hissing(tmp_path):
    """Noise, rooms and a telephone, each for half of the utterances."""
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


def test_augmentation_changes_samples_and_not_lengths_or_labels(tones, hissing):
    corpus, some = Corpus.of(tones), plan(3, *([i] for i in range(8)))
    labels = [[1]] * len(tones)
    clean = Batches(corpus, False, 1, labels=labels)[some]
    changed = Batches(corpus, False, 1, labels=labels, augment=hissing)[some]
    assert torch.equal(changed.lengths_B, clean.lengths_B)
    assert torch.equal(changed.labels_BU, clean.labels_BU)
    same = [torch.equal(a, b) for a, b in zip(changed.wave_BS, clean.wave_BS, strict=True)]
    assert len(same) - sum(same) > 0
    for row, length in enumerate(changed.lengths_B):
        assert not changed.wave_BS[row, length:].any()
    normal = Batches(corpus, True, 1, augment=hissing)[some]
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

    reader = Batches(corpus, False, 7, augment=hissing)
    whole = [reader[p] for p in plans(Position())]
    resumed = list(load(reader, plans(whole[5].position), workers))
    overlap = [b for b in resumed if b.number in {w.number for w in whole}]
    assert len(overlap) >= 6
    for batch in overlap:
        [before] = [w for w in whole if w.number == batch.number]
        assert batch.ids == before.ids
        assert torch.equal(batch.wave_BS, before.wave_BS)
    twice = {w.ids[0]: [x.wave_BS[0] for x in whole if x.ids[0] == w.ids[0]] for w in whole}
    pairs = [pair for pair in twice.values() if len(pair) > 1 and pair[0].shape == pair[1].shape]
    assert any(not torch.equal(a, b) for a, b, *_ in pairs)  # another draw in the next epoch
