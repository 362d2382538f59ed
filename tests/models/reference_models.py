"""What the parity tests share: small models, one batch for both sides, and how far apart they are.

The other side is always the other package's own code: transformers, fairseq2 or torchaudio. It
gets random weights, ours gets the same ones through the tables of `speechx convert`, both get the
same noise, and everything that has a name on both sides is compared in float32. A difference is
given relative to the largest value of what is compared.

    B utterances · S samples · T frames · M masked frames · K negatives · U labels
    · D = embed_dim · C feature channels · N real frames of all rows · G groups · Q quantized width
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from speechx.data.batches import Batch
from speechx.data.sampling import Position
from speechx.interchange.names import Table, our_name, to_ours
from speechx.models.encoder import EncoderConfig, EncoderOutput
from speechx.models.features.convolutional import seven_convolutions
from speechx.models.lengths import frame_mask
from speechx.models.quantizer import GumbelTemperature, Quantized, QuantizerConfig
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.masking import Masking, span_mask
from speechx.objectives.model import SpeechModel
from speechx.objectives.negatives import sample_negatives
from speechx.objectives.objective import Loss
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from speechx.text.vocabulary import Vocabulary
from tests.conftest import small_convolutional

KINDS = ("base", "large")
BATCHES = ("equal", "padded")
TOLERANCE = 1e-5
# The backward of CTC takes exponentials of sums near the loss, about 100 nats, of which float32
# keeps the fifth decimal.
CTC_GRADIENTS = 5e-5
NEGATIVES, TEMPERATURE, OUTPUTS = 12, 1.5, 7
QUANTIZER = QuantizerConfig(num_groups=2, num_entries=12, dim=16)


def small(kind: str, gradient_scale: float = 1.0) -> EncoderConfig:
    """base: group norm, post-norm; large: layer norm, biases, pre-norm. The positional convolution
    has the published 128 taps."""
    config = small_convolutional({"base": "group", "large": "layer"}[kind], num_layers=3)
    return replace(
        config,
        features=replace(
            config.features, layers=seven_convolutions(24), gradient_scale=gradient_scale
        ),
        context=replace(
            config.context, embed_dim=32, ffn_dim=48, num_heads=4, position_kernel=128,
            position_groups=8,
        ),
    )  # fmt: skip


def pretraining_model(encoder: EncoderConfig, **changes: Any) -> SpeechModel:
    """An encoder with a quantizer, by default of 2 x 12 entries and at one Gumbel temperature."""
    settings: dict[str, Any] = {
        "quantizer": QUANTIZER,
        "num_negatives": NEGATIVES,
        "gumbel_temperature": GumbelTemperature(start=TEMPERATURE),
        "target_dropout": 0.0,
        **changes,
    }
    return SpeechModel(encoder, {"wav2vec2": Wav2Vec2Config(**settings)}, {})


def ctc_model(encoder: EncoderConfig, outputs: int = OUTPUTS) -> SpeechModel:
    """An encoder with a CTC head to the blank and letters."""
    vocabulary = Vocabulary("characters", tuple(map(chr, range(97, 96 + outputs))))
    return SpeechModel(encoder, {"ctc": CTCConfig(tokens="characters")}, {"ctc": vocabulary})


def roughen(module: nn.Module) -> nn.Module:
    """Moves every parameter, so that no bias is 0 and no norm's weight is 1."""
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
    labels_BU: Tensor
    label_lengths_B: Tensor

    def batch(self) -> Batch:
        """The case as the loader would give it."""
        rows, samples = self.wave_BS.shape
        lengths_B = torch.full((rows,), samples) if self.lengths_B is None else self.lengths_B
        return Batch(
            position=Position(),
            wave_BS=self.wave_BS,
            lengths_B=lengths_B,
            padded=self.lengths_B is not None,
            ids=("",) * rows,
            languages=("",) * rows,
            labels_BU=self.labels_BU,
            label_lengths_B=self.label_lengths_B,
            draws={"mask_BT": self.mask_BT, "negatives_BMK": self.negatives_BMK},
            counts={
                "masked frames": int(self.mask_BT.sum()),
                "frames": int(self.frames_B.sum()),
                "utterances": rows,
            },
        )

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
                self.labels_BU[row : row + 1, : int(self.label_lengths_B[row])],
                self.label_lengths_B[row : row + 1],
            )
            for row in range(len(self.wave_BS))
        ]

    def true(self, x_BTD: Tensor) -> Tensor:
        """The real frames of all rows, (N, D)."""
        return x_BTD[frame_mask(self.frames_B, x_BTD.shape[1])]


def case(config: EncoderConfig, batch: str) -> Case:
    """Three utterances of noise; padded ones are 16000, 11111 and 7000 samples long, and the
    padding is silence, as the collators of all packages make it."""
    torch.manual_seed(1)
    random = np.random.default_rng(0)
    samples = {"equal": [16_000] * 3, "padded": [16_000, 11_111, 7000]}[batch]
    wave_BS = torch.randn(3, max(samples))
    lengths_B = torch.tensor(samples) if batch == "padded" else None
    for row, length in enumerate(samples):
        wave_BS[row, length:] = 0
    frames = [config.features.frames(length) for length in samples]
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


def total(loss: Loss, batch: Batch) -> Tensor:
    """The loss of an optimiser step: each term divided by its count."""
    return torch.stack([term.sum / batch.counts[term.count] for term in loss.terms]).sum()


@dataclass(frozen=True, slots=True)
class Pretrained:
    """What our pretraining model computes of a case."""

    output: EncoderOutput
    quantized: Quantized
    targets_BMQ: Tensor
    totals: dict[str, Tensor]
    loss: Tensor
    """Per masked frame."""
    gradients: dict[str, Tensor]


def pretrain(
    ours: SpeechModel,
    given: Case,
    diversity: float,
    penalty: float = 0.0,
    step: int | None = 0,
    seed: int = 7,
) -> Pretrained:
    """One backward pass of the loss per masked frame, drawing its Gumbel noise from `seed`."""
    ours.zero_grad()
    objective: Any = ours.objectives["wav2vec2"]
    objective.config = replace(objective.config, diversity=diversity, features_penalty=penalty)
    seen: dict[str, Any] = {}

    def keep(name: str) -> Any:
        return lambda _module, _given, output: seen.update({name: output})

    parts = {"output": ours.encoder, "quantized": objective.quantizer,
             "targets_BMQ": objective.project_q}  # fmt: skip
    hooks = [module.register_forward_hook(keep(name)) for name, module in parts.items()]
    torch.manual_seed(seed)
    batch = given.batch()
    loss = ours({"wav2vec2": batch}, step)["wav2vec2"]
    for hook in hooks:
        hook.remove()
    per_frame = total(loss, batch)
    per_frame.backward()
    return Pretrained(
        **seen, totals=loss.totals, loss=per_frame.detach(), gradients=gradients(ours)
    )


@dataclass(frozen=True, slots=True)
class Recognised:
    output: EncoderOutput
    logits_BTV: Tensor
    loss: Tensor
    """Summed over the sentences."""
    gradients: dict[str, Tensor]


def recognise(ours: SpeechModel, given: Case) -> Recognised:
    ours.zero_grad()
    batch, objective = given.batch(), ours.objectives["ctc"]
    output = ours.encoder(batch.wave_BS, batch.lengths_B)
    logits_BTV, _ = objective.logits(output)
    masks = replace(batch, draws={})
    (term,) = ours({"ctc": masks}, None)["ctc"].terms
    term.sum.backward()
    return Recognised(output, logits_BTV, term.sum.detach(), gradients(ours))


def gradients(module: nn.Module, table: Table | None = None) -> dict[str, Tensor]:
    """The gradients of all parameters that have one; `table` gives theirs our names."""
    return {
        our_name(name, table) if table else name: parameter.grad.clone()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def summed(parts: list[dict[str, Tensor]], share: float = 1.0) -> dict[str, Tensor]:
    return {name: share * torch.stack([part[name] for part in parts]).sum(0) for name in parts[0]}


@dataclass(frozen=True, slots=True)
class Theirs:
    """What their pretraining model computes of a case; N real frames, M masked ones of all rows."""

    hidden: list[Tensor]
    """The input of the first block and every block's output, (N, D)."""
    output_ND: Tensor
    targets_MQ: Tensor
    contrastive: Tensor
    gradients: dict[str, Tensor]
    codes_MG: Tensor
    perplexities: dict[str, Tensor]
    loss: Tensor
    """Per masked frame."""


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
        loss=torch.stack([part.loss for part in parts]).mean(),
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
    quantized = our.quantized
    assert torch.equal(quantized.codes_BMG.flatten(0, 1), their.codes_MG)
    assert len(their.codes_MG.unique()) > 4
    assert len(our.output.hidden) == len(their.hidden) == 4
    rows: dict[str, tuple[Tensor, Tensor]] = {
        f"hidden {index}": (given.true(state_BTD), their.hidden[index])
        for index, state_BTD in enumerate(our.output.hidden)
    }
    rows["output"] = (given.true(our.output.context_BTD), their.output_ND)
    rows["targets"] = (our.targets_BMQ.flatten(0, 1), their.targets_MQ)
    for name, perplexity in their.perplexities.items():
        rows[name] = (getattr(quantized, name), perplexity)
    rows["contrastive loss"] = (our.totals["contrastive"], their.contrastive)
    rows["loss"] = (our.loss, their.loss)
    check(title, rows)
    # Some negatives had the positive's codes, so the rule for them was at work.
    assert our.totals["negatives_equal_positive"] > 0


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
    """All gradients, relative to the largest gradient of the model, and each to its own."""
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
