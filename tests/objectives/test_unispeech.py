"""UniSpeech: its parts are those of transformers and of the house, and its stages are runs that
start from one another."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import speechx
from speechx.cli.main import main
from speechx.config import dump, merge
from speechx.data.batches import Batch
from speechx.data.sampling import Position
from speechx.finetuning import finetune
from speechx.models.folder import open_folder
from speechx.models.quantizer import QuantizerConfig
from speechx.objectives.ctc_loss import ctc_loss
from speechx.objectives.model import SpeechModel
from speechx.objectives.unispeech import UniSpeechConfig
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from speechx.pretraining import pretrain
from speechx.text.vocabulary import Vocabulary
from tests.conftest import (
    SMALL_QUANTIZER,
    finetune_config,
    finish,
    pretrain_config,
    read_log,
    run_job,
    small_filterbank,
    start,
)
from tests.failing_runs import CHIRP_S, copies
from tests.models.reference_models import roughen

ENCODER = replace(
    small_filterbank(),
    context=replace(small_filterbank().context, dropout=0.0, attention_dropout=0.0),
    input_dropout=0.0,
)
CONTRASTIVE = replace(
    UniSpeechConfig().contrastive, num_negatives=10, target_dropout=0.0,
    quantizer=QuantizerConfig(**SMALL_QUANTIZER),
)  # fmt: skip
SMALL = UniSpeechConfig(contrastive=CONTRASTIVE, ctc_weight=0.3)
SETTINGS: dict[str, Any] = {
    "kind": "unispeech",
    "contrastive": {
        "quantizer": SMALL_QUANTIZER, "num_negatives": 10, "target_dropout": 0.0,
        "masking": {"probability": 0.4, "span": 4},
    },
}  # fmt: skip


def model_of(config=SMALL):
    torch.manual_seed(0)
    vocabulary = Vocabulary("phonemes", ("a", "b", "c"))
    return roughen(SpeechModel(ENCODER, {"unispeech": config}, {"unispeech": vocabulary}))


def batch_of(config=SMALL):
    wave_BS = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(1))
    batch = Batch(
        Position(), wave_BS, torch.tensor([16_000, 11_000]), True, ("a", "b"), ("xx", "xx"),
        labels_BU=torch.tensor([[1, 2, 1], [3, 2, 0]]), label_lengths_B=torch.tensor([3, 2]),
    )  # fmt: skip
    draws, counts = config.draw(batch, np.random.default_rng(0), ENCODER)
    return replace(batch, draws=draws, counts=counts)


def without_noise(logits, tau, hard):
    return torch.nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).float()


def reference():
    """transformers' model with small random weights, and ours with the same ones."""
    from transformers import UniSpeechConfig as TheirConfig
    from transformers import UniSpeechForPreTraining

    torch.manual_seed(3)
    theirs = UniSpeechForPreTraining(
        TheirConfig(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=24,
            conv_dim=[12] * 7, num_codevectors_per_group=10, num_codevector_groups=2,
            codevector_dim=8, proj_codevector_dim=8, num_ctc_classes=4,
            num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        )
    ).eval()  # fmt: skip
    ours = model_of().eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    objective = ours.objectives["unispeech"]
    contrastive = replace(CONTRASTIVE)
    quantizer = objective.contrastive.quantizer
    weights = {
        "ctc.head": theirs.ctc_proj, "project_back": theirs.project_hid,
        "contrastive.project_q": theirs.project_q,
    }  # fmt: skip
    for name, layer in weights.items():
        objective.get_submodule(name).load_state_dict(layer.state_dict())
    assert contrastive.quantizer.num_entries == 10
    return theirs, objective, quantizer


def test_quantized_features_and_contrastive_logits_are_those_of_transformers():
    """Its quantizer on our features, both projections, and the logits of the contrastive loss,
    which transformers computes for one set of negatives at a time."""
    from speechx.objectives.wav2vec2 import contrastive

    theirs, objective, quantizer = reference()
    features_BTC = torch.randn(2, 20, ENCODER.features.dim)
    theirs.quantizer.weight_proj = quantizer.weight_proj  # another width of features
    theirs.quantizer.codevectors.data = quantizer.codebook.data.flatten(0, 1)[None]
    with torch.inference_mode():
        vectors_BTQ, perplexity = theirs.quantizer(features_BTC)
        expected_BTD = theirs.project_hid(theirs.project_q(vectors_BTQ))
        torch.testing.assert_close(
            objective.latents(features_BTC, None), expected_BTD, rtol=1e-5, atol=1e-5
        )
        quantized = quantizer(features_BTC, None)
        torch.testing.assert_close(quantized.code_perplexity, perplexity, rtol=1e-5, atol=1e-5)
        # The loss over negatives that are not the positive.
        context_BMQ, target_BMQ = torch.randn(2, 20, 8), theirs.project_q(vectors_BTQ)
        codes_BMG = torch.arange(40).view(2, 20, 1)
        random = np.random.default_rng(0)
        negatives_BMK = torch.from_numpy(
            (np.arange(20)[None, :, None] + random.integers(1, 20, (2, 20, 5))) % 20
        )
        ours = contrastive(context_BMQ, target_BMQ, codes_BMG, negatives_BMK, 0.1)
        rows_B11 = torch.arange(2)[:, None, None]
        negatives_KBMQ = target_BMQ[rows_B11, negatives_BMK].permute(2, 0, 1, 3)
        logits_JBM = theirs.compute_contrastive_logits(
            target_BMQ[None], negatives_KBMQ, context_BMQ[None], 0.1
        )
        loss = -logits_JBM.log_softmax(0)[0].sum()
    torch.testing.assert_close(ours.sum, loss, rtol=1e-5, atol=1e-5)


def test_frames_are_replaced_as_in_transformers(monkeypatch):
    """The input of its CTC layer, with the same draws."""
    theirs, objective, _ = reference()
    context_BTD, latent_BTD = torch.randn(2, 20, 16), torch.randn(2, 20, 16)
    replaced_BT = torch.rand(2, 20) < 0.5
    seen = context_BTD.masked_fill(replaced_BT[:, :, None], 0.0) + latent_BTD.masked_fill(
        ~replaced_BT[:, :, None], 0.0
    )
    expected_BTV = theirs.ctc_proj(seen)
    mixed_BTD = torch.where(replaced_BT[:, :, None], latent_BTD, context_BTD)
    torch.testing.assert_close(objective.ctc.scores(mixed_BTD), expected_BTV)


def test_the_loss_is_that_of_the_formula_written_out(monkeypatch):
    monkeypatch.setattr(torch.nn.functional, "gumbel_softmax", without_noise)
    model, batch = model_of().eval(), batch_of()
    objective = model.objectives["unispeech"]
    mask_BT, replaced_BT = batch.draws["mask_BT"], batch.draws["replaced_BT"]
    output = model.encoder(batch.wave_BS, batch.lengths_B, mask_BT)
    lower, _ = objective.contrastive.contrast(output, output.context_BTD, batch, 0)
    latent_BTD = objective.latents(output.features.features_BTC, 0)
    mixed_BTD = output.context_BTD.clone()
    for row, t in replaced_BT.nonzero().tolist():
        mixed_BTD[row, t] = latent_BTD[row, t]
    losses_B, _ = ctc_loss(
        objective.ctc.head(mixed_BTD), output.frames_B, batch.labels_BU, batch.label_lengths_B
    )
    loss = model({"unispeech": batch}, 0)["unispeech"]
    expected = [0.7 * term.sum for term in lower.terms] + [0.3 * losses_B.sum()]
    for term, value in zip(loss.terms, expected, strict=True):
        torch.testing.assert_close(term.sum, value)
        assert term.count in batch.counts
    assert {term.count for term in loss.terms} == {"masked frames"}
    # Written text depends on the context alone, and a validation replaces nothing.
    plain = model({"unispeech": batch}, None)["unispeech"]
    losses_B, _ = ctc_loss(
        objective.ctc.head(output.context_BTD), output.frames_B, batch.labels_BU,
        batch.label_lengths_B,
    )  # fmt: skip
    torch.testing.assert_close(plain.totals["ctc_loss"], losses_B.sum().detach())


def test_the_share_of_replaced_frames_is_the_probability():
    shares = [
        float(batch_of(replace(SMALL, replacement=p)).draws["replaced_BT"].float().mean())
        for p in (0.0, 0.5, 1.0)
    ]
    assert shares[0] == 0
    assert shares[2] == 1
    assert shares[1] == pytest.approx(0.5, abs=0.15)


def test_codes_learn_from_the_labels():
    """The gradient of CTC reaches the quantizer through replaced frames, and only there."""
    for share in (0.0, 1.0):
        model = model_of(replace(SMALL, replacement=share))
        loss = model({"unispeech": batch_of(replace(SMALL, replacement=share))}, 0)["unispeech"]
        loss.terms[-1].sum.backward()
        weight = model.objectives["unispeech"].contrastive.quantizer.codebook
        assert (weight.grad is not None and bool(weight.grad.any())) == (share == 1.0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ctc_weight": 2.0}, "ctc_weight"),
        ({"replacement": -0.1}, "replacement"),
        ({"ctc": {"tokens": "phonemes", "intermediate": {"layers": [1]}}}, "intermediate"),
    ],
)
def test_impossible_settings_are_refused(change, says):
    from speechx.config import parse
    from speechx.errors import UserError

    with pytest.raises(UserError, match=says):
        parse(UniSpeechConfig, change, "test")


def run_config(out, manifests, **changes):
    settings = {
        "objective": SETTINGS, "freeze_feature_extractor": False, "optim": {"lr": 0.02},
        "run": {"steps": 100, "eval_steps": 50, "log_steps": 10, "batch_seconds": 6,
                "max_seconds_per_device": 6},
    }  # fmt: skip
    return finetune_config(out, manifests, **merge(settings, changes))


@pytest.fixture(scope="module")
def stage_one(tmp_path_factory, manifests):
    out = tmp_path_factory.mktemp("unispeech") / "run"
    finetune(run_config(out, manifests))
    return out


def test_both_parts_learn_and_the_model_is_read_out(stage_one, manifests, capsys):
    lines = [line for line in read_log(stage_one) if "bits" in line]
    assert lines[-1]["bits"] < 0.95 * lines[-1]["chance_bits"]
    assert lines[-1]["loss"] < 0.7 * lines[0]["loss"]
    assert {"dev_per", "dev_per/xx"} <= read_log(stage_one)[-1].keys()
    best = stage_one / "best"
    assert speechx.load(best).vocabulary.token_type == "phonemes"
    command = ["evaluate", "--model", str(best), "--manifest", str(manifests[1]), "--allow-leaks"]
    assert main(command) == 0
    assert "overall" in capsys.readouterr().out


def test_the_second_and_third_stage_take_the_part_that_they_need(stage_one, manifests, tmp_path):
    before = open_folder(stage_one / "best").weights
    init = str(stage_one / "best")
    second = pretrain(
        pretrain_config(
            tmp_path / "second", manifests, init=init, optim={"lr": 1e-9}, run={"steps": 1},
            objective={"kind": "wav2vec2", **SETTINGS["contrastive"]},
        )
    )  # fmt: skip
    weights = open_folder(second).weights
    for name in ("quantizer.codebook", "project_q.weight", "project_hid.weight"):
        theirs = before[f"objectives.unispeech.contrastive.{name}"]
        torch.testing.assert_close(weights[f"objectives.wav2vec2.{name}"], theirs)
    third = finetune(
        finetune_config(
            tmp_path / "third", manifests, init=init, optim={"lr": 1e-9}, run={"steps": 1},
            objective={"kind": "ctc", "tokens": "phonemes"},
        )
    )  # fmt: skip
    weights = open_folder(third).weights
    theirs = before["objectives.unispeech.ctc.head.weight"]
    torch.testing.assert_close(weights["objectives.ctc.head.weight"], theirs)


def test_its_codes_are_analysed(stage_one, manifests, capsys):
    command = ["analyze", "codebook", "--model", str(stage_one / "best")]
    assert main([*command, "--manifest", str(manifests[0])]) == 0
    assert "xx" in capsys.readouterr().out


def test_a_run_goes_on_from_the_whole_objective(stage_one, manifests, tmp_path):
    before = open_folder(stage_one / "best").weights
    changes = {"init": str(stage_one / "best"), "optim": {"lr": 1e-9}, "run": {"steps": 1}}
    weights = open_folder(finetune(run_config(tmp_path / "more", manifests, **changes))).weights
    for name, tensor in before.items():
        torch.testing.assert_close(weights[name], tensor, msg=name)


def test_a_killed_run_resumes_with_bit_equal_losses(tmp_path, manifests):
    """SIGKILL at step 5 of 8, the last state at step 4, two micro-batches a step."""

    def config(name):
        run = {"steps": 8, "eval_steps": 3, "save_steps": 2, "log_steps": 1}
        run |= {"max_seconds_per_device": 3}
        return run_config(tmp_path / name, manifests, run=run)

    killed = start(run_job, "finetune", config("killed"), False, 5, True)
    finetune(config("whole"))
    assert finish(killed) == [-9]
    finetune(config("killed"), resume=True)
    whole, resumed = (read_log(tmp_path / name) for name in ("whole", "killed"))
    assert resumed == whole


def test_silence_is_stopped_by_name_with_exit_code_3(tmp_path, manifests, capsys):
    import json

    silent = copies(tmp_path / "silence", 0 * CHIRP_S)
    for path in silent:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        labelled = [json.dumps({**line, "phones": ["a", "b"], "text": "ab"}) for line in lines]
        path.write_text("\n".join(labelled) + "\n")
    config = run_config(tmp_path / "run", silent, run={"log_steps": 5}, health={"window": 20})
    (tmp_path / "run.yaml").write_text(dump(config))
    assert main(["finetune", str(tmp_path / "run.yaml")]) == 3
    assert "E103 trivial solution at step " in capsys.readouterr().err
    assert main(["health", str(tmp_path / "run")]) == 3


def test_chance_is_that_of_wav2vec_2():
    assert SMALL.contrastive.chance_bits == pytest.approx(math.log2(11))
    assert isinstance(SMALL.contrastive, Wav2Vec2Config)
