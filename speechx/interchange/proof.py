"""Proof of a conversion: the other package's own code on its file, ours on what we made of it.

Both hear the same five clips. Compared are the outputs of the trunk, the CTC logits if there is a
head, and the contrastive loss if there is a quantizer; each as the largest difference relative to
the largest value. Up to float32's rounding they are equal, or the conversion is wrong.

B = 1 utterance · S samples · T frames · D width · V outputs of a head · M masked · K negatives
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from speechx.audio.files import SAMPLE_RATE
from speechx.data.batches import normalize
from speechx.errors import UserError
from speechx.interchange.answers import Answers, Clip, part_of
from speechx.interchange.peers import PACKAGES, PEERS
from speechx.models.ctc import CTC
from speechx.models.wav2vec2 import Wav2Vec2, Wav2Vec2Config, Wav2Vec2Pretraining
from speechx.objectives.contrastive import ContrastiveConfig, contrastive, sample_negatives
from speechx.objectives.masking import Masking, span_mask
from speechx.training.checkpoint import SavedModel

SECONDS = (0.5, 0.9, 1.4, 2.1, 3.0)
LIMIT = 1e-4


class Unproved(UserError):
    """No package could run the file: nothing is shown, neither for the conversion nor against."""


@dataclass(frozen=True, slots=True)
class Row:
    by: str
    """The package and its version."""
    what: str
    difference: float
    """The largest over all clips, relative to the largest value."""


@dataclass(frozen=True, slots=True)
class Proof:
    rows: tuple[Row, ...]
    unread: tuple[str, ...] = ()
    """What packages said that could not take the file, where another could."""

    @property
    def worst(self) -> float:
        return max(row.difference for row in self.rows)

    def __str__(self) -> str:
        wide = max(len(row.by) for row in self.rows)
        lines = [f"{row.by:<{wide}}  {row.what:<16}  {row.difference:.1e}" for row in self.rows]
        return "\n".join([*lines, *self.unread])


def available(format: str) -> bool:
    """Whether a package that reads this format can be imported."""
    return any(_importable(package) for package in PACKAGES[format])


def prove(saved: SavedModel, foreign: Path | str, format: str) -> Proof:
    """Compares `saved` with the file or folder `foreign` of that format.

    Raises UserError if they differ by more than 1e-4, Unproved if no package is here that reads
    the format, or none of them can read this file.
    """
    packages = [package for package in PACKAGES[format] if _importable(package)]
    if not packages:
        raise Unproved(
            f"a proof of {foreign} needs {' or '.join(PACKAGES[format])}, which cannot be imported "
            "here: install it, or convert without --prove"
        )
    questions = clips(saved.config)
    theirs: list[Answers] = []
    unread: list[str] = []
    with torch.inference_mode():
        for package in packages:
            try:
                theirs.append(PEERS[format, package](saved, Path(foreign).absolute(), questions))
            except UserError:
                raise
            except Exception as error:  # whatever another package raises over a file
                reason = " ".join((str(error) or type(error).__name__).split())
                unread.append(f"{package} cannot read {foreign}: {reason[:300]}")
        if not theirs:
            raise Unproved(f"nothing is proved: {'; '.join(unread)}")
        ours = answer(saved, questions)
    rows = [row for their in theirs for row in compare(ours, their)]
    for row in rows:
        if not row.difference < LIMIT:  # written so that NaN is a difference too
            raise UserError(
                f"{foreign} and its conversion are not the same model: {row.what} differ by "
                f"{row.difference:.1e} of the largest value according to {row.by}; expected less "
                f"than {LIMIT:g}. Do not use the result, and please report this"
            )
    return Proof(tuple(rows), tuple(unread))


def clips(config: Wav2Vec2Config) -> list[Clip]:
    """Five clips, tones that slide and pause in noise, with masks and negatives; always the same.

    They are normalised here if the model asks for it: packages differ in the constant they add to
    the variance, which is not a matter of the model.
    """
    random = np.random.default_rng(0)
    result = []
    for seconds in SECONDS:
        time_S = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        low, high = random.uniform(100, 300), random.uniform(500, 3000)
        tone_S = np.sin(2 * np.pi * low * time_S) + np.sin(2 * np.pi * high * time_S * time_S)
        loud_S = np.sin(2 * np.pi * 2 * time_S) > -0.5
        wave_S = 0.1 * tone_S * loud_S + 0.01 * random.standard_normal(len(time_S))
        wave_S = wave_S.astype(np.float32)
        if config.normalize:
            wave_S = normalize(wave_S)
        frames = config.encoder.frames(len(wave_S))
        mask_1T = span_mask([frames], frames, Masking(), random, same_count=True)
        negatives_1MK = sample_negatives(1, int(mask_1T.sum()), 100, random)
        result.append(
            Clip(
                torch.from_numpy(wave_S)[None],
                torch.from_numpy(mask_1T),
                torch.from_numpy(negatives_1MK),
            )
        )
    return result


def answer(saved: SavedModel, questions: Sequence[Clip]) -> Answers:
    """What our model makes of the clips."""
    part = part_of(saved)
    model: nn.Module
    with torch.device("meta"):  # the tensors are taken as they are: no chance, no second copy
        if part == "head":
            model = CTC(saved.config, len(saved.weights["head.bias"]))
        elif part == "quantizer":
            model = Wav2Vec2Pretraining(saved.config)
        else:  # the names say `trunk.`, as where there are heads
            model = nn.ModuleDict({"trunk": Wav2Vec2(saved.config)})
    weights = dict(saved.weights)
    if part != "quantizer":
        # torchaudio has no mask vector, and nothing but the contrastive loss masks.
        weights.setdefault("trunk.mask_vector", torch.zeros(saved.config.transformer.width))
    model.load_state_dict(weights, assign=True)
    model.eval()
    trunk: nn.Module = model.get_submodule("trunk")
    outputs, logits, losses = [], [], []
    for clip in questions:
        outputs.append(trunk(clip.wave_1S).context_BTD[0])
        if isinstance(model, CTC):
            samples_B = torch.tensor([clip.wave_1S.shape[1]])
            logits.append(model(clip.wave_1S, samples_B).logits_BTV[0])
        if isinstance(model, Wav2Vec2Pretraining):
            losses.append(contrastive_loss(model, clip))
    return Answers("speechx", outputs, logits, losses)


def contrastive_loss(model: Wav2Vec2Pretraining, clip: Clip) -> Tensor:
    """Summed over the masked frames, in nats, with the best codes and no noise."""
    predictions = model(clip.wave_1S, clip.mask_1T, temperature=None)
    return contrastive(
        predictions.predicted_BMQ,
        predictions.targets_BMQ,
        predictions.quantized.codes_BMG,
        clip.negatives_1MK,
        ContrastiveConfig().temperature,
    ).loss


def compare(ours: Answers, theirs: Answers) -> list[Row]:
    """What both sides have; a head or a quantizer that one side lacks is no row."""
    pairs = {
        "outputs": (ours.outputs, theirs.outputs),
        "CTC logits": (ours.logits, theirs.logits),
        "contrastive loss": (ours.losses, theirs.losses),
    }
    return [
        Row(theirs.by, what, max(_apart(o, t) for o, t in zip(our, their, strict=True)))
        for what, (our, their) in pairs.items()
        if our and their
    ]


def _apart(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    difference = (ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12)
    return float(difference.nan_to_num(nan=float("inf")))


def _importable(package: str) -> bool:
    try:
        if package == "fairseq2":
            # fairseq2 needs libsndfile; soundfile brings one along and has it loaded.
            importlib.import_module("soundfile")
        importlib.import_module(package)
    except (ImportError, OSError, RuntimeError):  # or built for another torch
        return False
    return True
