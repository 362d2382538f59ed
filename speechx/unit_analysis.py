"""Which units of k-means each language uses, and how they agree with phones: the analysis of
`diagnostics/codebook.py` for units that `speechx features --units K` fitted.

    T frames · G groups, of which units have one · V values of a frame, here (L, D)
"""

from collections.abc import Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import numpy as np

from speechx.data.phone_times import timed_phones
from speechx.data.utterance import Utterance
from speechx.diagnostics.code_sharing import Sharing
from speechx.diagnostics.codebook import compare, read_utterances, sample
from speechx.errors import UserError
from speechx.models.units import UnitCodebook
from speechx.training.progress import Bar
from speechx.transcription.feature_model import FeatureModel, load_encoder
from speechx.transcription.recording import Recording


def analyze_units(
    model: Path | str,
    units: Path,
    manifests: Sequence[Path],
    out: Path | None = None,
    minutes: float = 5.0,
    seed: int = 1,
    device: str = "auto",
    alignments: Path | None = None,
    language: str | None = None,
) -> Sharing:
    """As `analyze_codebook`, for the units in the folder `units`, which were fitted on `model`."""
    if not minutes > 0:
        raise UserError(f"--minutes must be more than 0, not {minutes:g}")
    if seed < 0:
        raise UserError(f"--seed must be 0 or more, not {seed}")
    if out is not None and not (find_spec("matplotlib") and find_spec("scipy")):
        raise UserError("figures need matplotlib and scipy: pip install 'speechx[figures]'")
    codebook, opened = UnitCodebook.load(units), load_encoder(model, device, language)
    opened.require_own(codebook)
    utterances = read_utterances(manifests)
    known, sampled = timed_phones(utterances, alignments), sample(utterances, minutes, seed)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    codes = _units(opened, codebook, list(chain.from_iterable(sampled.values())))
    about = {"model": str(model), "units": str(units), "manifests": [str(m) for m in manifests]}
    return compare(
        sampled, codes, known, opened.config.features, (1, codebook.config.num_units), seed, out,
        {**about, "minutes": minutes},
    )  # fmt: skip


def _units(
    model: FeatureModel, codebook: UnitCodebook, pieces: Sequence[Utterance]
) -> dict[Utterance, np.ndarray]:
    """The units (T, G) of each piece."""
    bar = Bar("units", sum(piece.duration for piece in pieces))
    codes, done, found = dict[Utterance, np.ndarray](), 0.0, [np.zeros(0, np.int64)]
    layers, convention = (codebook.config.layer,), codebook.config.convention
    for part in model.parts(map(Recording.of_utterance, pieces), layers, convention):
        if part.outputs_TV is not None:
            found.append(codebook.assign(part.outputs_TV[:, 0]))
            continue
        if part.error is not None:
            raise part.error
        piece = pieces[part.number]
        codes[piece], found = np.concatenate(found)[:, None], [np.zeros(0, np.int64)]
        done += piece.duration
        bar.reach(done)
    bar.close()
    return codes
