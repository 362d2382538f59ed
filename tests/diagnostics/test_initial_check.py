"""A loaded model is tried on the audio before step 1: a mistake in loading shows at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from speechx.data.corpus import Corpus
from speechx.data.manifest import read_manifest
from speechx.diagnostics.initial_check import check_restored
from speechx.errors import UserError
from speechx.models.folder import open_folder
from speechx.objectives.model import SpeechModel
from speechx.pretraining import pretrain
from speechx.training.streams import TaskData
from tests.conftest import pretrain_config, read_log
from tests.failing_runs import failing_config


@pytest.fixture(scope="module")
def parent(tmp_path_factory, manifests):
    """A model that has learned something, and the last bits of each language in its log."""
    out = tmp_path_factory.mktemp("parent") / "run"
    dev = {"data": {"dev": [str(manifests[1])]}, "objective": {"num_negatives": 10}}
    pretrain(failing_config(out, manifests, "healthy", **dev))
    return out / "final", read_log(out)[-1]


def loaded(parent):
    model, _ = SpeechModel.from_saved(open_folder(parent[0]))
    return model


def check(model, parent, manifests, dev=True, utterances=lambda some: some, **changes):
    """Runs the check as a child of `parent` does."""
    out = parent[0].parent / "child"
    config = pretrain_config(out, manifests, init=str(parent[0]), **changes)
    train, validation = (utterances(list(read_manifest(path))) for path in manifests)
    check_restored(
        model, "wav2vec2", config, TaskData(Corpus.of(train), dev=validation if dev else ()),
        config.run.seed,
    )  # fmt: skip


def table(err):
    """Rows of the table by their first word."""
    return {words[0]: words[1:] for line in err.splitlines() if (words := line.split())}


def test_a_restored_model_has_the_metrics_it_was_saved_with(parent, manifests, capsys):
    model = loaded(parent)
    capsys.readouterr()
    seed = failing_config(parent[0], manifests, "healthy").run.seed
    check(model, parent, manifests, run={"seed": seed})
    rows = table(capsys.readouterr().err)
    assert list(rows) == ["before", "xx", "yy", "overall"]
    assert rows["before"] == ["step", "1", "bits", "chance_bits", "accuracy", "code_perplexity"]
    for row, key in (("xx", "dev_bits/xx"), ("yy", "dev_bits/yy"), ("overall", "dev_bits")):
        assert float(rows[row][0]) == pytest.approx(parent[1][key], abs=6e-4)


def test_without_dev_some_of_the_training_data_is_tried(parent, manifests, capsys):
    check(loaded(parent), parent, manifests, dev=False)
    assert list(table(capsys.readouterr().err)) == ["before", "xx", "yy", "overall"]


def test_the_check_leaves_the_model_as_it_was(parent, manifests):
    model = loaded(parent).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    check(model, parent, manifests)
    assert model.training
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())


def fresh_projections(model):
    torch.manual_seed(0)
    model.objectives["wav2vec2"].project_hid.reset_parameters()
    model.objectives["wav2vec2"].project_q.reset_parameters()


def one_code(model):
    logits = model.objectives["wav2vec2"].quantizer.weight_proj
    with torch.no_grad():
        logits.weight.zero_()
        logits.bias.copy_(torch.arange(len(logits.bias)))


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (fresh_projections, r"is at chance on this audio \(\d\.\d+ of \d\.\d+ bits\)"),
        (one_code, "(is at chance|has a collapsed quantizer)"),
    ],
)
def test_a_model_that_was_not_restored_is_refused(spoil, problem, parent, manifests, capsys):
    """Otherwise it would be taken for a hard corpus, after thousands of steps at chance."""
    model = loaded(parent)
    spoil(model)
    with pytest.raises(UserError, match=problem) as caught:
        check(model, parent, manifests)
    assert f"init={parent[0]} " in str(caught.value)
    assert "allow_chance_level=true" in str(caught.value)
    capsys.readouterr()
    check(model, parent, manifests, allow_chance_level=True)
    assert f"init={parent[0]} " in capsys.readouterr().err.splitlines()[-1]


def test_languages_without_rows_long_enough_are_named(parent, manifests, capsys):
    def cut(utterances):
        return [replace(u, duration=0.4) if u.language == "yy" else u for u in utterances]

    check(loaded(parent), parent, manifests, utterances=cut)
    err = capsys.readouterr().err
    assert list(table(err)) == ["before", "xx", "overall", "yy:"]
    assert "yy: not tried, no row of 0.5 s" in err
