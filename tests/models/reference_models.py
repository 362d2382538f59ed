"""What the parity tests share: small models, one batch for both sides, and how far apart they are.

The other side is always the other package's own code: transformers, fairseq2 or torchaudio. It
gets random weights, ours gets the same ones through the tables of `speechx convert`, both hear the
same noise, and everything that has a name on both sides is compared in float32. A difference is
given relative to the largest value of what is compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.interchange.names import Table, our_name, to_ours
from speechx.models.ctc import CTC, Emissions
from speechx.models.wav2vec2 import Predictions, Trunk, Wav2Vec2Config, Wav2Vec2Pretraining
from speechx.models.waveform import frame_mask, seven_convolutions
from speechx.objectives.contrastive import (
    Contrastive,
    ContrastiveConfig,
    pretraining_loss,
    sample_negatives,
)
from speechx.objectives.ctc import ctc_loss
from speechx.objectives.masking import Masking, span_mask
from tests.conftest import small_convolutional

KINDS = ("base", "large")
BATCHES = ("equal", "padded")
TOLERANCE = 1e-5
# The backward of CTC takes exponentials of sums near the loss, about 100 nats, of which float32
# keeps the fifth decimal.
CTC_GRADIENTS = 5e-5
NEGATIVES, TEMPERATURE, OUTPUTS = 12, 1.5, 7


def small(kind: str, gradient_scale: float = 1.0) -> Wav2Vec2Config:
    """base: group norm, post-norm; large: layer norm, biases, pre-norm. The positional convolution
    has the published 128 taps."""
    config = small_convolutional({"base": "group", "large": "layer"}[kind], blocks=3)
    return replace(
        config,
        encoder=replace(
            config.encoder, layers=seven_convolutions(24), gradient_scale=gradient_scale
        ),
        transformer=replace(
            config.transformer, width=32, inner=48, heads=4, position_kernel=128, position_groups=8
        ),
        quantizer=replace(config.quantizer, entries=12, width=16),
    )


def roughen(module: nn.Module) -> nn.Module:
    """Moves every parameter, so that no bias is 0 and no gain is 1."""
    for parameter in module.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return module


def adopt(ours: nn.Module, theirs: nn.Module, table: Table, without: tuple[str, ...] = ()) -> None:
    """Copies every tensor of `theirs` to its place in `ours`; `without` names what only one side
    has, in the words of that side."""
    given = {name: t for name, t in theirs.state_dict().items() if name not in without}
    absent = ours.load_state_dict(to_ours(given, table, type(theirs).__name__), strict=False)
    assert not absent.unexpected_keys
    assert set(absent.missing_keys) <= set(without), absent.missing_keys


@dataclass(frozen=True, slots=True)
class Case:
    """A batch with what pretraining and CTC need to know of it."""

    wave_BS: Tensor
    lengths_B: Tensor | None
    frames_B: Tensor
    mask_BT: Tensor
    negatives_BMK: Tensor
    targets_BU: Tensor
    units_B: Tensor

    def rows(self) -> list[Case]:
        """Every utterance as a batch of its own without padding."""
        whole = [self.wave_BS.shape[1]] * len(self.wave_BS)
        samples = whole if self.lengths_B is None else self.lengths_B.tolist()
        return [
            Case(
                self.wave_BS[row : row + 1, : samples[row]],
                None,
                self.frames_B[row : row + 1],
                self.mask_BT[row : row + 1, : int(self.frames_B[row])],
                self.negatives_BMK[row : row + 1],
                self.targets_BU[row : row + 1, : int(self.units_B[row])],
                self.units_B[row : row + 1],
            )
            for row in range(len(self.wave_BS))
        ]

    def true(self, x_BTD: Tensor) -> Tensor:
        """The true frames of all rows, (N, D)."""
        return x_BTD[frame_mask(self.frames_B, x_BTD.shape[1])]


def case(config: Wav2Vec2Config, batch: str) -> Case:
    """Three utterances of noise; padded ones are 16000, 11111 and 7000 samples long, and the
    padding is silence, as the collators of all packages make it."""
    torch.manual_seed(1)
    random = np.random.default_rng(0)
    samples = {"equal": [16_000] * 3, "padded": [16_000, 11_111, 7000]}[batch]
    wave_BS = torch.randn(3, max(samples))
    lengths_B = torch.tensor(samples) if batch == "padded" else None
    for row, length in enumerate(samples):
        wave_BS[row, length:] = 0
    frames = [config.encoder.frames(length) for length in samples]
    mask_BT = span_mask(frames, max(frames), Masking(), random, same_count=True)
    masked = int(mask_BT[0].sum())
    return Case(
        wave_BS,
        lengths_B,
        torch.tensor(frames),
        torch.from_numpy(mask_BT),
        torch.from_numpy(sample_negatives(3, masked, NEGATIVES, random)),
        torch.tensor([[3, 4, 4, 1, 6], [2, 2, 5, 0, 0], [6, 1, 0, 0, 0]]),
        torch.tensor([5, 3, 2]),
    )


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What our pretraining model computes of a case."""

    trunk: Trunk
    predictions: Predictions
    term: Contrastive
    gradients: dict[str, Tensor]


def pretrain(
    ours: Wav2Vec2Pretraining,
    given: Case,
    diversity: float,
    penalty: float = 0.0,
    temperature: float | None = TEMPERATURE,
    seed: int = 7,
) -> Pretrained:
    """One backward pass of the loss per masked frame, drawing its Gumbel noise from `seed`."""
    ours.zero_grad()
    trunk = ours.trunk(given.wave_BS, given.lengths_B, given.mask_BT)
    torch.manual_seed(seed)
    predictions = ours(given.wave_BS, given.mask_BT, temperature, lengths_B=given.lengths_B)
    quantizer = ours.config.quantizer
    term = pretraining_loss(
        predictions,
        given.negatives_BMK,
        quantizer.groups * quantizer.entries,
        ContrastiveConfig(negatives=NEGATIVES, diversity=diversity, penalty=penalty),
    )
    (term.loss / given.mask_BT.sum()).backward()
    return Pretrained(trunk, predictions, term, gradients(ours))


@dataclass(frozen=True, slots=True)
class Recognised:
    emissions: Emissions
    loss: Tensor
    gradients: dict[str, Tensor]


def recognise(ours: CTC, given: Case) -> Recognised:
    ours.zero_grad()
    lengths_B = given.lengths_B
    if lengths_B is None:
        lengths_B = torch.full((len(given.wave_BS),), given.wave_BS.shape[1])
    emissions = ours(given.wave_BS, lengths_B)
    loss = ctc_loss(emissions, given.targets_BU, given.units_B).loss
    loss.backward()
    return Recognised(emissions, loss, gradients(ours))


def gradients(module: nn.Module, table: Table | None = None) -> dict[str, Tensor]:
    """Of all parameters that have one; `table` gives theirs our names."""
    return {
        our_name(name, table) if table else name: parameter.grad.clone()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def summed(parts: list[dict[str, Tensor]], share: float = 1.0) -> dict[str, Tensor]:
    return {name: share * torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]}


@dataclass(frozen=True, slots=True)
class Theirs:
    """What their pretraining model computes of a case; N true frames, M masked ones of all rows."""

    hidden: list[Tensor]
    """The input of the first block and every block's output, (N, D)."""
    output_ND: Tensor
    targets_MQ: Tensor
    contrastive: Tensor
    gradients: dict[str, Tensor]
    codes_MG: Tensor
    perplexities: dict[str, Tensor]
    loss: Tensor


def joined(parts: list[Theirs]) -> Theirs:
    """Utterances that went through one by one, as if they had been a batch. Every row masks
    equally many frames, so gradients per frame are averaged; perplexities cannot be joined."""
    hidden = zip(*(part.hidden for part in parts), strict=True)
    return Theirs(
        hidden=[torch.cat(states) for states in hidden],
        output_ND=torch.cat([part.output_ND for part in parts]),
        targets_MQ=torch.cat([part.targets_MQ for part in parts]),
        contrastive=torch.stack([part.contrastive for part in parts]).sum(),
        gradients=summed([part.gradients for part in parts], 1 / len(parts)),
        codes_MG=torch.cat([part.codes_MG for part in parts]),
        perplexities={},
        loss=torch.stack([part.loss for part in parts]).sum(),
    )


def without_noise(
    logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Gumbel-softmax without its noise: the best entry forward, the softmax backward. For where
    both sides cannot draw the same noise, because one draws for more frames."""
    assert hard
    soft = (logits / tau).softmax(dim)
    best = F.one_hot(soft.argmax(dim), soft.shape[dim]).to(soft.dtype)
    return best + (soft - soft.detach())


def check_pretraining(title: str, given: Case, our: Pretrained, their: Theirs) -> None:
    quantized = our.predictions.quantized
    assert torch.equal(quantized.codes_BMG.flatten(0, 1), their.codes_MG)
    assert len(their.codes_MG.unique()) > 4
    assert len(our.trunk.hidden) == len(their.hidden) == 4
    rows: dict[str, tuple[Tensor, Tensor]] = {
        f"hidden {index}": (given.true(state_BTD), their.hidden[index])
        for index, state_BTD in enumerate(our.trunk.hidden)
    }
    rows["output"] = (given.true(our.trunk.context_BTD), their.output_ND)
    rows["targets"] = (our.predictions.targets_BMQ.flatten(0, 1), their.targets_MQ)
    for name, perplexity in their.perplexities.items():
        rows[name] = (getattr(quantized, name), perplexity)
    rows["contrastive loss"] = (our.term.contrastive, their.contrastive)
    rows["loss"] = (our.term.loss, their.loss)
    check(title, rows)
    # Some negatives had the positive's codes, so the rule for them was at work.
    assert our.term.negatives_equal_positive > 0


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, relative to the largest value."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    worst, largest = (ours - theirs).detach().abs().max(), theirs.detach().abs().max()
    return float(worst / largest.clamp(min=1e-12))


def check(title: str, rows: Mapping[str, tuple[Any, Any]]) -> None:
    """Prints how far apart every row is; none may be further apart than the tolerance."""
    figures = {what: apart(ours, theirs) for what, (ours, theirs) in rows.items()}
    for what, figure in figures.items():
        print(f"{title} {what}: {figure:.1e}")
    assert all(figure < TOLERANCE for figure in figures.values()), figures


def check_gradients(
    title: str, ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float = TOLERANCE
) -> None:
    """All that learns, relative to the largest gradient of the model, and each to its own."""
    assert set(ours) == set(theirs)
    largest = max(float(gradient.abs().max()) for gradient in theirs.values())
    assert largest > 1e-3
    whole = own = 0.0
    for name, gradient in theirs.items():
        ours_, theirs_ = ours[name], gradient.view_as(ours[name])
        whole = max(whole, float((ours_ - theirs_).abs().max()) / largest)
        # A bias of the keys moves all scores of a query alike: its gradient is 0 but for rounding.
        if not name.endswith("key.bias"):
            assert theirs_.abs().max() > 0, name
            own = max(own, apart(ours_, theirs_))
    print(f"{title} gradients of {len(ours)} tensors: {whole:.1e}, each to its own: {own:.1e}")
    assert whole < tolerance
    assert own < 10 * tolerance
