"""Checks a conversion: runs the other package on its file, speechx on the result, and compares the
outputs.

Both get the same recordings and prepare them on their own, by the settings that each has: five
clips, and two of them once more at -60 dBFS, where it shows whether a model was normalised.
Compared are the outputs of the encoder, the CTC logits if there is a head, and the contrastive loss
if there is a quantizer; each as the largest difference relative to the largest value. Up to
float32's rounding they are equal, or the conversion is wrong. Where the package has a tokenizer,
its text for each clip must be ours too.

    B = 1 utterance · S samples · T frames · D = embed_dim · V outputs of a head
    · M masked frames · K negatives
"""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from speechx.audio.files import SAMPLE_RATE
from speechx.data.batches import Batch, normalize
from speechx.data.sampling import Position
from speechx.decoding.decoder import GreedyDecoder
from speechx.errors import UserError
from speechx.interchange.opening import without_weights
from speechx.interchange.pickles import checkpoint_file
from speechx.interchange.preprocessing import epsilon_of
from speechx.interchange.reference_packages import PACKAGES, READERS, ReferenceOutputs
from speechx.models.encoder import EncoderConfig
from speechx.models.folder import SavedModel
from speechx.objectives.ctc import CTC
from speechx.objectives.masking import Masking, span_mask
from speechx.objectives.negatives import sample_negatives
from speechx.objectives.wav2vec2 import Wav2Vec2

SECONDS = (0.5, 0.9, 1.4, 2.1, 3.0)
QUIET = 0.01
"""Of the level of the clips, for the shortest two once more."""
LIMIT = 1e-4


class Unproved(UserError):
    """No package could run the file: nothing is known, neither for the conversion nor against."""


@dataclass(frozen=True, slots=True)
class Comparison:
    by: str
    """The package and its version."""
    what: str
    difference: float
    """The largest over all clips, relative to the largest value."""


@dataclass(frozen=True, slots=True)
class Proof:
    rows: tuple[Comparison, ...]
    unread: tuple[str, ...] = ()
    """Errors of packages that could not read the file, if another could."""
    read: tuple[str, ...] = ()
    """Packages whose tokenizer writes the same texts."""

    def __str__(self) -> str:
        wide = max(len(row.by) for row in self.rows)
        lines = [f"{row.by:<{wide}}  {row.what:<16}  {row.difference:.1e}" for row in self.rows]
        lines += [f"{by:<{wide}}  texts             equal" for by in self.read]
        return "\n".join([*lines, *self.unread])


def available(format: str) -> bool:
    """Whether a package that reads this format can be imported."""
    return any(_importable(package) for package in PACKAGES[format])


def prove(saved: SavedModel, foreign: Path | str, format: str) -> Proof:
    """Compares `saved` with the file or folder `foreign` of that format.

    Raises UserError if they differ by more than 1e-4 or write another text, Unproved if no package
    is here that reads the format, or none of them can read this file.
    """
    packages = [package for package in PACKAGES[format] if _importable(package)]
    if not packages:
        raise Unproved(
            f"a proof of {foreign} needs {' or '.join(PACKAGES[format])}, which cannot be imported "
            "here: install it, or convert without --prove"
        )
    place = Path(foreign).absolute()
    if format != "hugging_face":  # whose models are folders
        place = checkpoint_file(place)
    # Its own constant is a note of the conversion.
    encoder = replace(saved.encoder, normalize_epsilon=epsilon_of(format))
    given = [*clips(encoder), *clips(encoder, QUIET)[:2]]
    raw = replace(encoder, normalize=False)
    recordings = [*clips(raw), *clips(raw, QUIET)[:2]]
    theirs: list[ReferenceOutputs] = []
    unread: list[str] = []
    with torch.inference_mode():
        for package in packages:
            try:
                theirs.append(READERS[format, package](saved, place, recordings))
            except UserError:
                raise
            except Exception as error:  # whatever another package raises over a file
                reason = " ".join((str(error) or type(error).__name__).split())
                unread.append(f"{package} cannot read {foreign}: {reason[:300]}")
        if not theirs:
            raise Unproved(f"nothing is proved: {'; '.join(unread)}")
        ours = our_outputs(saved, given)
    rows = [row for their in theirs for row in compare(ours, their)]
    for row in rows:
        if not row.difference < LIMIT:  # written so that NaN is a difference too
            raise UserError(
                f"{foreign} and its conversion are not the same model: {row.what} differ by "
                f"{row.difference:.1e} of the largest value according to {row.by}; expected less "
                f"than {LIMIT:g}. Do not use the result, and please report this"
            )
    for their in theirs:
        _require_texts(saved, their, foreign)
    read = tuple(their.by for their in theirs if their.texts)
    return Proof(tuple(rows), tuple(unread), read)


def clips(encoder: EncoderConfig, level: float = 1.0) -> list[Batch]:
    """Five clips, tones that slide and pause in noise, with masks and negatives; always the same.
    They are prepared as the model asks for it."""
    random = np.random.default_rng(0)
    result = []
    for seconds in SECONDS:
        time_S = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
        low, high = random.uniform(100, 300), random.uniform(500, 3000)
        tone_S = np.sin(2 * np.pi * low * time_S) + np.sin(2 * np.pi * high * time_S * time_S)
        loud_S = np.sin(2 * np.pi * 2 * time_S) > -0.5
        wave_S = 0.1 * tone_S * loud_S + 0.01 * random.standard_normal(len(time_S))
        wave_S = (level * wave_S).astype(np.float32)
        if encoder.normalize:
            wave_S = normalize(wave_S, encoder.normalize_epsilon)
        frames = encoder.features.frames(len(wave_S))
        mask_BT = span_mask([frames], frames, Masking(), random, same_count=True)
        negatives_BMK = sample_negatives(1, int(mask_BT.sum()), 100, random)
        result.append(
            Batch(
                position=Position(),
                wave_BS=torch.from_numpy(wave_S)[None],
                lengths_B=torch.tensor([len(wave_S)]),
                padded=False,
                ids=("clip",),
                languages=("",),
                draws={
                    "mask_BT": torch.from_numpy(mask_BT),
                    "negatives_BMK": torch.from_numpy(negatives_BMK),
                },
            )
        )
    return result


def our_outputs(saved: SavedModel, given: Sequence[Batch]) -> ReferenceOutputs:
    """What our model computes from the clips."""
    model = without_weights(saved)
    weights = dict(saved.weights)
    if not any(isinstance(each, Wav2Vec2) for each in model.objectives.values()):
        # torchaudio has no mask embedding, and nothing but the contrastive loss masks.
        mask_embedding = torch.zeros(saved.encoder.context.embed_dim)
        weights.setdefault("encoder.mask_embedding", mask_embedding)
    model.load_state_dict(weights, assign=True)  # no second copy
    model.eval()
    result = ReferenceOutputs("speechx")
    for batch in given:
        output = model.encoder(batch.wave_BS, batch.lengths_B)
        result.outputs.append(output.context_BTD[0])
        for objective in model.objectives.values():
            if isinstance(objective, CTC):
                result.logits.append(objective.logits(output)[0][0])
            if isinstance(objective, Wav2Vec2):  # the best codes, without noise
                result.losses.append(objective(model.encoder, batch, None).totals["contrastive"])
    return result


def compare(ours: ReferenceOutputs, theirs: ReferenceOutputs) -> list[Comparison]:
    """Compares the parts that both sides have."""
    pairs = {
        "outputs": (ours.outputs, theirs.outputs),
        "CTC logits": (ours.logits, theirs.logits),
        "contrastive loss": (ours.losses, theirs.losses),
    }
    return [
        Comparison(theirs.by, what, max(_apart(o, t) for o, t in zip(our, their, strict=True)))
        for what, (our, their) in pairs.items()
        if our and their
    ]


def _require_texts(saved: SavedModel, their: ReferenceOutputs, foreign: Path | str) -> None:
    """The texts of a package are what our decoder makes of its logits, which equal ours."""
    vocabulary = saved.vocabularies.get("ctc")
    if vocabulary is None:
        return
    decoder = GreedyDecoder(vocabulary.tokens)
    for logits_TV, text in zip(their.logits, their.texts, strict=False):
        (spans,) = decoder.decode([logits_TV.log_softmax(1).numpy()])
        ours = vocabulary.join([span.token for span in spans])
        if ours.split() != text.split():
            raise UserError(
                f"{foreign} and its conversion are not the same model: for one recording "
                f"{their.by} writes {text[:80]!r} and speechx {ours[:80]!r}. Do not use the "
                "result, and please report this"
            )


def _apart(ours: Tensor, theirs: Tensor) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    difference = (ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12)
    return float(difference.nan_to_num(nan=float("inf")))


def _importable(package: str) -> bool:
    try:
        importlib.import_module(package)  # fairseq2 finds the libsndfile that soundfile has loaded
    except (ImportError, OSError, RuntimeError):  # or built for another torch
        return False
    return True
