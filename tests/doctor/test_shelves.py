"""What a manifest is for, by its name."""

from pathlib import Path

import pytest

from speechx.doctor.shelves import Shelf, for_evaluation, for_training, shelves, uses


@pytest.mark.parametrize(
    ("use", "names"),
    [
        ("training", "train train_phones es-train es.train train-clean-100 Train train2"),
        ("evaluation", "test dev eval valid validation es_test librispeech-test-clean dev93 "
         "train_dev"),
        ("neither", "validated developers unlabelled trainer testimony evaluated other no-speech"),
    ],
)  # fmt: skip
def test_whole_words_say_what_a_split_is_for(use, names):
    for name in names.split():
        assert for_training(name) == (use == "training"), name
        assert for_evaluation(name) == (use == "evaluation"), name


def test_what_is_tested_on_comes_first(tmp_path):
    for name in ("es-train", "validated", "es_test", "x-dev"):
        (tmp_path / f"{name}.jsonl").touch()
    some = shelves([tmp_path])
    assert [shelf.split for shelf in some] == ["es_test", "x-dev", "es-train", "validated"]


def test_what_each_was_taken_for_is_said():
    some = [Shelf(Path(f"{i}/{name}.jsonl"), name) for i in "ab" for name in ("train", "x_dev")]
    assert uses([*some, Shelf(Path("validated.jsonl"), "validated")]) == (
        "By their names manifests are taken for training: train (2); for evaluation: x_dev (2); "
        "for neither: validated."
    )
