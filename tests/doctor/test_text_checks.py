"""Labels that are empty, do not fit their frames, or have an unusual pace."""

import json
from dataclasses import replace

import numpy as np
import pytest

from speechx.doctor.text_checks import outliers, usual_frames
from speechx.errors import UserError
from speechx.models.features.convolutional import ConvolutionalConfig
from speechx.text.vocabulary import Vocabulary, save_vocabularies
from tests.conftest import small_filterbank
from tests.doctor.broken_corpora import clip, examined, found, sound_corpus, speech
from tests.toy_models import toy_model


def test_the_usual_frames_are_those_of_the_seven_convolutions():
    exact = ConvolutionalConfig()
    for samples in (0, 1, 399, 400, 719, 720, 16_000, 479_999, *range(12_345, 13_000)):
        assert usual_frames(samples) == exact.frames(samples)


def test_empty_texts_and_phones(tmp_path):
    blank = clip(tmp_path, "blank", text="  ")
    marks = clip(tmp_path, "marks", text="...?!")
    phones = clip(tmp_path, "phones", text=None, phones=())
    unlabelled = clip(tmp_path, "unlabelled", text=None)
    train = [blank, marks, phones, unlabelled, *sound_corpus(tmp_path, 2)]
    diagnosis = examined(tmp_path, train=train, decode="none")
    assert found(diagnosis) == {"empty_text": ["blank", "marks", "phones"]}
    assert [c.detail for c in diagnosis.cases][1:] == [
        "the text is '...?!'", "the list of phones is empty",
    ]  # fmt: skip


def test_labels_without_a_path_in_ctc(tmp_path):
    second = 16_000  # 49 frames
    fits = clip(tmp_path, "fits", speech(1.0), text="ab" * 24 + "a")
    repeats = clip(tmp_path, "repeats", speech(1.0, 1), text="a" * 26)
    phones = clip(tmp_path, "phones", speech(1.0, 2), text=None, phones=("a", "o") * 25)
    assert usual_frames(second) == 49
    diagnosis = examined(tmp_path, train=[fits, repeats, phones], decode="none")
    assert found(diagnosis) == {"infeasible": ["repeats", "phones"]}
    assert [n for n in diagnosis.cases[0].detail.split() if n.isdigit()] == ["51", "49"]
    assert [e.reason for e in diagnosis.exclusions()] == ["infeasible"] * 2


def test_a_model_gives_its_frames_and_its_tokens(tmp_path):
    toy_model(tmp_path / "model", tuple(" abcdefghijklmnopqrstuvxyzáéíóú"))
    frames = small_filterbank().features.frames(16_000)
    fits = clip(tmp_path, "fits", speech(1.0), text="ab" * (frames // 2), phones=("ʃ",) * 500)
    over = clip(tmp_path, "over", speech(1.0), text="ab" * (frames // 2 + 1), phones=("ʃ",))
    other = clip(tmp_path, "other", text="año wiki")
    options = {"decode": "none", "model": tmp_path / "model"}
    (tmp_path / "data").mkdir()
    diagnosis = examined(tmp_path / "data", train=[fits, over, other], **options)
    assert found(diagnosis)["infeasible"] == ["over"]
    unknown = found(diagnosis)["unknown_token"]
    assert [u[0] for u in unknown] == ["w", "ñ"]
    assert f"the frames of {tmp_path / 'model'}" in diagnosis.text()


def test_tokens_outside_a_vocabulary_or_of_another_manifest(tmp_path):
    train = [*sound_corpus(tmp_path, 2), clip(tmp_path, "odd", text="ñandú", phones=("ɲ", "a"))]
    letters = tuple(" abcdefghijlmnoprstuvdíúñ".replace("dí", "í"))
    save_vocabularies(tmp_path / "tokens.json", {"ctc": Vocabulary("characters", letters)})
    options = {"decode": "none", "vocabulary": tmp_path / "tokens.json"}
    (tmp_path / "a").mkdir()
    assert found(examined(tmp_path / "a", train=train, **options)) == {}
    (tmp_path / "b").mkdir()
    examined(tmp_path / "b", train=train[:2], decode="none")
    options["vocabulary"] = tmp_path / "b" / "train.jsonl"
    some = found(examined(tmp_path / "a", train=train, **options))["unknown_token"]
    assert [u[0] for u in some] == ["a", "ñ", "ú", "ɲ"][1:] or [u[0] for u in some] == [
        "ñ",
        "ú",
        "ɲ",
    ]
    (tmp_path / "c").mkdir()
    examined(tmp_path / "c", train=[replace(train[0], text=None)], decode="none")
    options["vocabulary"] = tmp_path / "c" / "train.jsonl"
    with pytest.raises(UserError, match="no utterance of this manifest has a text"):
        examined(tmp_path / "a", train=train, **options)


def test_letters_and_phones_that_only_dev_and_test_have(tmp_path):
    train = [replace(u, phones=("a", "e")) for u in sound_corpus(tmp_path, 4)]
    dev = [clip(tmp_path, "d", text="kilo", phones=("a", "k"))]
    test = [clip(tmp_path, "t", text="pan", phones=("a",))]
    diagnosis = examined(tmp_path, train=train, dev=dev, test=test, decode="none")
    assert set(found(diagnosis)) == {"unknown_token"}
    details = [(c.subject[0], c.split, c.detail) for c in diagnosis.cases]
    assert ("k", "dev", "in dev, not in train; first in d") in details
    assert ("k", "dev", "in dev, not in train") in details
    assert {split for _, split, _ in details} == {"dev"}


def test_paces_unlike_the_others(tmp_path):
    train = sound_corpus(tmp_path)
    fast = clip(tmp_path, "fast", speech(0.6), text=" ".join(["abcdefg"] * 8))
    slow = clip(tmp_path, "slow", speech(9.0), text="ab")
    pause = clip(tmp_path, "pause", speech(3.5), text="casa verde amigo pan")
    diagnosis = examined(tmp_path, train=[*train, fast, slow, pause], decode="none")
    some = found(diagnosis)
    assert some["fast"] == ["fast"]
    assert some["slow"] == ["slow"]
    assert set(some) == {"fast", "slow", "infeasible"}
    assert "the language's median is" in diagnosis.text()


def test_a_pace_is_compared_within_a_language_of_enough_utterances(tmp_path):
    train = sound_corpus(tmp_path, 49)
    slow = [clip(tmp_path, f"slow{i}", speech(9.0, i), text="ab", language="zz") for i in range(3)]
    diagnosis = examined(tmp_path, train=[*train, *slow], decode="none", most_seconds=60)
    assert found(diagnosis) == {}
    assert "Too few labelled utterances to check the pace of es, zz" in diagnosis.text()


def test_a_few_bad_utterances_do_not_change_the_limit():
    random = np.random.default_rng(0)
    rates = np.log(14) + 0.2 * random.standard_normal(1000)
    assert outliers(rates)[0] == []
    rates[:100] = np.log(200)
    odd, median = outliers(rates)
    assert odd == list(range(100))
    assert median == pytest.approx(np.log(14), abs=0.05)
    assert outliers(np.full(60, 2.0))[0] == []


def test_a_model_that_does_not_exist(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        examined(tmp_path, train=sound_corpus(tmp_path, 2), model=tmp_path / "none")


def test_phones_written_in_two_ways(tmp_path):
    train = [clip(tmp_path, f"p{i}", text=None, phones=("ɡ", "a", "tʃ")) for i in range(3)]
    train.append(clip(tmp_path, "other", text=None, phones=("g", "a", "t͡ʃ")))
    diagnosis = examined(tmp_path, train=train, decode="none")
    assert found(diagnosis) == {"look_alike": ["t͡ʃ", "g"]}
    assert json.dumps(diagnosis.to_dict())
