"""Intermediate and self-conditioned CTC: the loss written out, the condition in every way that a
model is computed, and what goes on from a saved head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import speechx
from speechx.cli.main import main
from speechx.config import to_dict
from speechx.data.batches import Batch
from speechx.data.sampling import Position
from speechx.errors import UserError
from speechx.finetuning import finetune
from speechx.interchange.conversion import convert
from speechx.models.compute import prepare_for_inference
from speechx.models.context.conformer import ConformerConfig
from speechx.models.folder import open_folder
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.intermediate_ctc import IntermediateCTC
from speechx.objectives.masking import Masking
from speechx.objectives.model import SpeechModel, start_from
from speechx.text.vocabulary import Vocabulary
from tests.conftest import (
    finetune_config,
    finish,
    read_log,
    run_job,
    small_convolutional,
    small_filterbank,
    start,
)
from tests.models.reference_models import roughen

TRANSFORMER = replace(
    small_filterbank(), context=replace(small_filterbank().context, num_layers=3), input_dropout=0.0
)
CONFORMER = replace(
    TRANSFORMER,
    context=ConformerConfig(
        num_layers=3, embed_dim=16, ffn_dim=24, num_heads=2, conv_kernel=5, dropout=0.0
    ),
)
ENCODERS = {"transformer": TRANSFORMER, "conformer": CONFORMER}
WHOLE = Masking(probability=0.0, min_spans=0)
PLAIN = CTCConfig(tokens="characters", time_masking=WHOLE, channel_masking=WHOLE)
BETWEEN = IntermediateCTC(layers=(1, 2), weight=0.3)
CONDITIONED = replace(BETWEEN, self_conditioned=True)


def model_of(intermediate, encoder=TRANSFORMER, tokens="abc"):
    torch.manual_seed(0)
    config = replace(PLAIN, intermediate=intermediate)
    vocabulary = Vocabulary("characters", tuple(tokens))
    return roughen(SpeechModel(encoder, {"ctc": config}, {"ctc": vocabulary})).eval()


def batch_of():
    wave_BS = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(1))
    return Batch(
        Position(), wave_BS, torch.tensor([16_000, 11_000]), True, ("a", "b"), ("xx", "xx"),
        labels_BU=torch.tensor([[1, 2, 1], [3, 2, 0]]), label_lengths_B=torch.tensor([3, 2]),
    )  # fmt: skip


def written_out(model, wave_S):
    """Scores of the layers in between and of the last one, of one recording without padding."""
    encoder, head = model.encoder, model.objectives["ctc"]
    between, norm, back = [], head.intermediate.norm, head.intermediate.back
    features = encoder.extract(wave_S[None])
    x_BTD = encoder.post_extract_proj(features.features_BTC)
    context = encoder.context
    if isinstance(context.config, ConformerConfig):
        output, hidden = context(x_BTD)  # of layers that are not conditioned
        layers = [(1, hidden[1]), (2, hidden[2])]
        assert back is None
        between = [head.head(norm(x)) for _, x in layers]
        return between, head.head(output)
    x_BTD = x_BTD + context.position(x_BTD)
    for number, layer in enumerate(context.layers, start=1):
        x_BTD = layer(x_BTD, None)
        if number in (1, 2):
            scores_BTV = head.head(norm(x_BTD))
            between.append(scores_BTV)
            if back is not None:
                x_BTD = x_BTD + back(scores_BTV.softmax(2))
    return between, head.head(context.norm(x_BTD))


@pytest.mark.parametrize(
    ("intermediate", "kind"),
    [(BETWEEN, "transformer"), (CONDITIONED, "transformer"), (BETWEEN, "conformer")],
)
def test_the_loss_is_that_of_the_formula_written_out(intermediate, kind):
    model, batch = model_of(intermediate, ENCODERS[kind]), batch_of()
    last = lower = 0.0
    for row, (length, labels) in enumerate(((16_000, [1, 2, 1]), (11_000, [3, 2]))):
        between, final = written_out(model, batch.wave_BS[row, :length])
        losses = [
            F.ctc_loss(
                scores_1TV.log_softmax(2).transpose(0, 1), torch.tensor([labels]),
                [scores_1TV.shape[1]], [len(labels)], reduction="sum",
            )
            for scores_1TV in (*between, final)
        ]  # fmt: skip
        lower += sum(losses[:-1]) / 2
        last += losses[-1]
    loss = model({"ctc": batch}, None)["ctc"]
    torch.testing.assert_close(loss.terms[0].sum, 0.7 * last + 0.3 * lower, rtol=1e-4, atol=1e-4)
    values = model.objectives["ctc"].metrics({n: float(t) for n, t in loss.totals.items()})
    assert values["loss"] == pytest.approx(float(last.detach()) / 5, rel=1e-4)
    assert values["intermediate_loss"] == pytest.approx(float(lower.detach()) / 5, rel=1e-4)


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_condition_changes_what_is_written_and_stays_in_a_saved_model(tmp_path, kind):
    model, batch = model_of(CONDITIONED, ENCODERS[kind]), batch_of()
    head = model.objectives["ctc"]
    with torch.inference_mode():
        outputs_BTV, frames_B = head.log_probabilities(
            model.encoder, batch.wave_BS, batch.lengths_B
        )
        plain_BTV, _ = head.logits(model.encoder(batch.wave_BS, batch.lengths_B))
        assert not torch.allclose(outputs_BTV, plain_BTV.log_softmax(2))
        model.save(tmp_path / "model", ["xx"])
        again, _ = SpeechModel.from_saved(open_folder(tmp_path / "model"))
        saved_BTV, _ = (
            again.eval()
            .objectives["ctc"]
            .log_probabilities(again.encoder, batch.wave_BS, batch.lengths_B)
        )
    assert torch.equal(saved_BTV, outputs_BTV)
    # As it is computed for transcription, in each type.
    for compute_type, tolerance in (("float32", 1e-4), ("bfloat16", 0.3), ("int8", 0.5)):
        fast, _ = SpeechModel.from_saved(open_folder(tmp_path / "model"))
        prepare_for_inference(fast.eval(), compute_type)
        with torch.inference_mode():
            fast_BTV, _ = fast.objectives["ctc"].log_probabilities(
                fast.encoder, batch.wave_BS, batch.lengths_B
            )
        for row, frames in enumerate(frames_B.tolist()):
            apart = (fast_BTV[row, :frames] - outputs_BTV[row, :frames]).abs().max()
            assert apart < tolerance, compute_type


def test_padding_changes_nothing():
    model, batch = model_of(CONDITIONED, CONFORMER), batch_of()
    head = model.objectives["ctc"]
    with torch.inference_mode():
        both_BTV, frames_B = head.log_probabilities(model.encoder, batch.wave_BS, batch.lengths_B)
        alone_BTV, _ = head.log_probabilities(
            model.encoder, batch.wave_BS[1:, :11_000], torch.tensor([11_000])
        )
    torch.testing.assert_close(both_BTV[1, : frames_B[1]], alone_BTV[0], rtol=1e-4, atol=1e-4)


def test_a_run_learns_resumes_to_the_bit_and_is_transcribed(tmp_path, manifests, capsys):
    """SIGKILL at step 5 of 8, the last state at step 4."""

    def config(name):
        return finetune_config(
            tmp_path / name, manifests, encoder=to_dict(TRANSFORMER),
            objective={"intermediate": {"layers": [1, 2], "self_conditioned": True}},
            run={"steps": 8, "eval_steps": 4, "save_steps": 2},
        )  # fmt: skip

    killed = start(run_job, "finetune", config("killed"), False, 5, True)
    best = finetune(config("whole"))
    assert finish(killed) == [-9]
    finetune(config("killed"), resume=True)
    whole, resumed = (read_log(tmp_path / name) for name in ("whole", "killed"))
    assert resumed == whole
    assert "intermediate_loss" in whole[-2] or "intermediate_loss" in whole[-1]
    model = speechx.load(best)
    assert model.head.intermediate.back is not None
    command = ["evaluate", "--model", str(best), "--manifest", str(manifests[1]), "--allow-leaks"]
    assert main(command) == 0
    assert "overall" in capsys.readouterr().out


def test_a_run_goes_on_from_a_head_with_other_tokens(tmp_path):
    parent, child = model_of(CONDITIONED), model_of(CONDITIONED, tokens="xcb")
    parent.save(tmp_path / "parent", ["xx"])
    start_from(child, open_folder(tmp_path / "parent"))
    old, new = parent.objectives["ctc"], child.objectives["ctc"]
    for ours, theirs in ((0, 0), (2, 3), (3, 2)):  # the blank, c and b
        assert torch.equal(new.head.weight[ours], old.head.weight[theirs])
        back = new.intermediate.back.weight[:, ours], old.intermediate.back.weight[:, theirs]
        assert torch.equal(*back)
    assert torch.equal(new.intermediate.norm.weight, old.intermediate.norm.weight)


def test_other_formats_hold_the_head_but_not_the_condition(tmp_path):
    encoder = small_convolutional("layer", num_layers=3)
    for name, intermediate in (("between", BETWEEN), ("conditioned", CONDITIONED)):
        model_of(intermediate, encoder).save(tmp_path / name, ["xx"])
    convert(tmp_path / "between", tmp_path / "theirs", "hugging_face")
    theirs, ours = speechx.load(tmp_path / "theirs"), speechx.load(tmp_path / "between")
    wave_S = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    np.testing.assert_allclose(
        theirs.log_probabilities(wave_S), ours.log_probabilities(wave_S), atol=1e-4
    )
    with pytest.raises(UserError, match="self_conditioned"):
        convert(tmp_path / "conditioned", tmp_path / "refused", "hugging_face")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layers": ()}, "layers"),
        ({"layers": (0,)}, "from 1 on"),
        ({"layers": (1, 1)}, "different"),
        ({"layers": (1,), "weight": 1.5}, "weight"),
    ],
)
def test_impossible_settings_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        IntermediateCTC(**change)


def test_layers_that_the_encoder_lacks_are_refused():
    with pytest.raises(ValueError, match="last layer"):
        replace(PLAIN, intermediate=IntermediateCTC(layers=(3,))).require(TRANSFORMER, 1.0)
    windows = replace(PLAIN, intermediate=CONDITIONED, kernel=8, stride=4)
    with pytest.raises(ValueError, match="every frame"):
        windows.require(TRANSFORMER, 1.0)
