"""What a manifest is for, by its name."""

from pathlib import Path

import pytest

from speechx.doctor.manifests import describe_use, find_manifests, use_of


@pytest.mark.parametrize(
    ("use", "names"),
    [
        ("training", "train train_phones es-train es.train train-clean-100 Train train2"),
        ("evaluation", "test dev eval valid validation es_test librispeech-test-clean dev93 "
         "train_dev"),
        ("neither", "validated developers unlabelled trainer testimony evaluated other no-speech"),
    ],
)  # fmt: skip
def test_whole_words_decide_the_use_of_a_split(use, names):
    for name in names.split():
        assert use_of(name) == use, name


def test_evaluation_comes_first(tmp_path):
    for name in ("es-train", "validated", "es_test", "x-dev"):
        (tmp_path / f"{name}.jsonl").touch()
    assert [manifest.stem for manifest in find_manifests([tmp_path])] == [
        "es_test",
        "x-dev",
        "es-train",
        "validated",
    ]


def test_the_use_of_each_manifest_is_described():
    paths = [f"{i}/{name}.jsonl" for i in "ab" for name in ("train", "x_dev")]
    use = describe_use(map(Path, [*paths, "validated.jsonl"]))
    for fact in ("training: train (2);", "evaluation: x_dev (2);", "neither: validated."):
        assert fact in use
