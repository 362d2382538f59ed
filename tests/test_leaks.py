"""Test data that a model has met in training are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from speechx.data.manifest import Utterance, write_manifest
from speechx.errors import UserError
from speechx.leaks import check_leaks, find_leaks
from tests.toy_models import toy_model

TEXT = "a sentence that nobody says twice by chance"


def utterance(id, **settings):
    values = {"audio": Path(f"/a/{id}.wav"), "duration": 2.0, "language": "en", **settings}
    return Utterance(id=id, **values)


TEST = utterance("t", text=TEXT, speaker="s", corpus="c", start=10.0)


@pytest.mark.parametrize(
    ("train", "kinds"),
    [
        (utterance("x", audio=TEST.audio, start=11.0), {"recording"}),
        (utterance("x", audio=TEST.audio, start=12.0), set()),
        (utterance("t", corpus="c"), {"recording"}),
        (utterance("t", corpus="c", duration=2.5), set()),
        (utterance("t", corpus="d"), set()),
        (utterance("t"), set()),
        (utterance("x", speaker="s", corpus="c"), {"speaker"}),
        (utterance("x", speaker="s", corpus="d"), set()),
        (utterance("x", text=TEXT.upper() + "!"), {"sentence", "long_sentence"}),
        (utterance("x", text=TEXT, language="de"), set()),
        (utterance("x", text=TEXT, language="eng"), {"sentence", "long_sentence"}),
        (utterance("x", speaker="s", corpus="c", language="English"), {"speaker"}),
        (utterance("t", corpus="c", language="eng"), {"recording"}),
    ],
)
def test_what_is_shared(train, kinds):
    found = find_leaks([train], [TEST])
    names = ("recording", "speaker", "sentence", "long_sentence")
    assert {name for name in names if getattr(found, name)} == kinds
    assert all(getattr(found, name) == ["t"] for name in kinds)


@pytest.fixture
def run(tmp_path):
    """A model folder of a run on train.jsonl, without the weights of a training."""
    toy_model(tmp_path / "run/best")
    (tmp_path / "run/config.yaml").write_text(f"data: {{train: [{tmp_path / 'train.jsonl'}]}}\n")
    return tmp_path / "run/best"


def train_on(folder, *utterances):
    write_manifest(folder / "train.jsonl", utterances)


def test_recordings_and_sentences_of_the_run_are_refused(run, tmp_path):
    train_on(tmp_path, utterance("x", audio=TEST.audio, start=9.0))
    with pytest.raises(UserError, match=r"recordings.*--allow-leaks"):
        check_leaks(run, [TEST])
    assert check_leaks(run, [TEST], allow=True).recording == ["t"]
    train_on(tmp_path, utterance("x", text=TEXT))
    with pytest.raises(UserError, match="sentences"):
        check_leaks(run, [TEST])


def test_speakers_are_refused_where_the_training_data_are_given(run, tmp_path, caplog):
    train_on(tmp_path, utterance("x", speaker="s", corpus="c", text="yes"))
    assert check_leaks(run, [replace(TEST, text="yes")]).speaker == ["t"]
    assert "speakers" in caplog.text
    with pytest.raises(UserError, match="speakers"):
        check_leaks(run, [TEST], [tmp_path / "train.jsonl"])


def test_what_a_run_excludes_is_no_leak(run, tmp_path):
    train_on(tmp_path, utterance("x", audio=TEST.audio, start=9.0), utterance("y"))
    (tmp_path / "exclude.tsv").write_text("corpus\tlanguage\tid\n\ten\tx\n")
    (tmp_path / "run/config.yaml").write_text(
        f"tasks: {{ctc: {{data: {{train: [{tmp_path / 'train.jsonl'}], "
        f"exclude: [{tmp_path / 'exclude.tsv'}]}}}}}}\n"
    )
    assert not check_leaks(run, [TEST]).recording


def test_unknown_training_data_are_logged(run, tmp_path, caplog):
    assert check_leaks(run, [TEST]) is None  # train.jsonl is not there
    assert "--train" in caplog.text
    assert check_leaks(toy_model(tmp_path / "alone"), [TEST]) is None
