"""K-means on the features of a layer, with scikit-learn's MiniBatchKMeans (Sculley 2010).

It sees a random sample of the frames of random utterances. Memory is bounded: a sample has at most
`SAMPLE_BYTES`, and of more frames each has the same chance to be in it (Vitter's algorithm R).

    T frames · D = embed_dim · K units · N frames of the sample · V values of a frame, here (L, D)
"""

import warnings
from collections.abc import Iterable

import numpy as np

from speechx.errors import UserError
from speechx.log import logger
from speechx.models.units import UnitCodebook, UnitConfig
from speechx.transcription.feature_model import FeatureModel
from speechx.transcription.layers import Convention
from speechx.transcription.recording import Recording

SAMPLE_BYTES = 1 << 29
BATCH_FRAMES = 10_000  # of a step of k-means, as in HuBERT


class FrameSample:
    """A uniform sample of frames that come in blocks."""

    def __init__(self, dim: int, seed: int) -> None:
        self.most = max(1, SAMPLE_BYTES // (4 * dim))
        self.random = np.random.default_rng([seed, 11])
        self.seen = 0
        self._blocks: list[np.ndarray] = []
        self._kept_ND: np.ndarray | None = None

    def add(self, features_TD: np.ndarray) -> None:
        if self._kept_ND is None:
            room = self.most - self.seen
            self._blocks.append(features_TD[:room].astype(np.float32))
            self.seen += len(features_TD[:room])
            features_TD = features_TD[room:]
            if self.seen < self.most:
                return
            self._kept_ND, self._blocks = np.concatenate(self._blocks), []
        places = self.random.integers(0, self.seen + 1 + np.arange(len(features_TD)))
        chosen = places < self.most
        self._kept_ND[places[chosen]] = features_TD[chosen]  # of equal places the last one stays
        self.seen += len(features_TD)

    def frames(self) -> np.ndarray:
        """(N, D)"""
        if self._kept_ND is None:
            self._kept_ND = np.concatenate(self._blocks) if self._blocks else np.zeros((0, 1))
        return self._kept_ND


def fit_units(
    model: FeatureModel,
    recordings: Iterable[Recording],
    layer: int,
    num_units: int,
    seed: int = 1,
    convention: Convention = "hugging_face",
) -> UnitCodebook:
    """A codebook of `num_units` units from the features of one layer of these recordings; those
    that cannot be read are logged. The same recordings and seed give the same codebook."""
    if num_units < 2:
        raise UserError(f"units are {num_units}; at least 2 are needed")
    if seed < 0:
        raise UserError(f"seed must be 0 or more, not {seed}")
    try:
        from sklearn.cluster import MiniBatchKMeans
        from sklearn.exceptions import ConvergenceWarning
    except ImportError:
        raise UserError("units need scikit-learn: pip install 'speechx[units]'") from None

    sample, unreadable = FrameSample(model.dim, seed), 0
    for part in model.parts(recordings, (layer,), convention):
        if part.outputs_TV is not None:
            sample.add(part.outputs_TV[:, 0])
        unreadable += part.error is not None
    if unreadable:
        logger.info(f"units: {unreadable} of the drawn utterances cannot be read and are left out")
    frames_ND = sample.frames()
    if len(frames_ND) < num_units:
        raise UserError(
            f"{num_units} units need as many frames, but k-means has {len(frames_ND)}: give more "
            "audio, more --fit-minutes, or fewer units"
        )
    fitted = MiniBatchKMeans(
        num_units, batch_size=BATCH_FRAMES, random_state=seed, n_init=3, max_no_improvement=50
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # checked below
        fitted.fit(frames_ND)
    different = len(np.unique(fitted.cluster_centers_, axis=0))
    if different < num_units:
        logger.warning(f"units: only {different} of {num_units} differ; give fewer units")
    about = UnitConfig(
        model=model.source,
        encoder=model.mark,
        layer=layer,
        convention=convention,
        num_units=num_units,
        dim=model.dim,
        seed=seed,
        fitted_frames=sample.seen,
    )
    return UnitCodebook(about, fitted.cluster_centers_.astype(np.float32))
