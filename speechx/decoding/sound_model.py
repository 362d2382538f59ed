"""When each token of a transcript begins and ends, by how the tokens sound.

CTC learns the order of tokens. Its output for a token is a peak of a frame or two, somewhere in the
sound or near it, so boundaries cannot be read from peaks. A second, small model therefore knows how
each token sounds. It is a hidden Markov model as in forced aligners of phonetics: three states in a
row (beginning, middle, end) of at least 10 ms each, each state a Gaussian over cepstra and their
changes, and one state for pauses. It is learned in seconds from the model's own forced alignment of
its training data, without labelled times:

    sounds = SoundModel.learn(spoken, tokens=len(vocabulary))
    times_U2 = sounds.times(Spoken(cepstra(wave_S), ids_U, spans_U2))

Learning begins at the peaks with one state per token and the cepstra without changes. That fixes
where the boundaries are: a model of changes alone would fit as well when all of them come late.
Then the three states are learned. Both are a few rounds of the best division (Viterbi) and of means
and covariances.

Changes reach 40 ms to both sides, so beside a pause they show a token before it begins and after it
has ended. There the boundary is searched again by the cepstra alone. If words are known, short
pauses are only between words: the silence in a plosive is not a pause.

    N steps of 10 ms · C = 13 cepstra · F = C or 39 values of a step · U tokens · X states of the
    tokens and pauses of a recording · K states of the model · I covariances
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from speechx.audio.cepstra import CEPSTRA, STEP, with_changes
from speechx.decoding.segmentation import best_paths
from speechx.errors import UserError
from speechx.whole_file import whole_file

STATES = 3
ROUNDS = 4
PAUSE = 0  # the state of pauses; token v has the states 1 + (v - 1) * states ...
REACH = 0.05  # seconds that a token may reach beyond the peaks of its neighbours
FAR = 0.16  # seconds from all peaks, where only a pause can be
TIED = 100.0  # steps for which the covariance of all states counts in that of each
TOGETHER = 16  # recordings that are divided at once
OUTSIDE = -1e4  # score of a token where it cannot be


@dataclass(frozen=True, slots=True)
class Spoken:
    """A recording, or a part of one, with its tokens and their peaks."""

    cepstra_NC: np.ndarray
    ids_U: np.ndarray
    """Tokens as outputs of the model; none is the blank, 0."""
    spans_U2: np.ndarray
    """Seconds: where the model's peaks for the tokens begin and end."""
    pauses_U: np.ndarray | None = None
    """bool: whether a short pause may be before each token; by default before all. Long pauses may
    be anywhere."""


@dataclass(frozen=True)
class SoundModel:
    """How the tokens of a head sound."""

    mean_KF: np.ndarray
    whitening_IFF: np.ndarray
    """Of the covariances: `whitening.T @ whitening` is their inverse. The first is shared by the
    states with few steps."""
    covariance_K: np.ndarray
    """Which covariance each state has."""
    states: int = STATES

    @classmethod
    def learn(cls, spoken: Sequence[Spoken], tokens: int) -> "SoundModel":
        """From alignments of speech; `tokens` counts the blank too."""
        values = [_values(each)[:, :CEPSTRA] for each in spoken]
        labels = [_at_peaks(each) for each in spoken]
        for _ in range(ROUNDS):
            model = cls._of(values, labels, tokens, 1)
            labels, steps = model._divide(spoken, values)
        values = [_values(each) for each in spoken]
        labels = [_in_states(*pair) for pair in zip(spoken, steps, strict=True)]
        for _ in range(ROUNDS):
            model = cls._of(values, labels, tokens, STATES)
            labels, _ = model._divide(spoken, values)
        return cls._of(values, labels, tokens, STATES)

    def times(self, spoken: Spoken) -> np.ndarray:
        """(U, 2) float: seconds where the tokens begin and end, in steps of 10 ms."""
        if not len(spoken.ids_U):
            return np.zeros((0, 2))
        return self._divide([spoken], [_values(spoken)])[1][0] * STEP

    @cached_property
    def still(self) -> "SoundModel":
        """The same model of the cepstra alone, without their changes."""
        whitening_IFF = self.whitening_IFF.astype(np.float64)
        covariance_IFF = np.linalg.inv(whitening_IFF.transpose(0, 2, 1) @ whitening_IFF)
        return SoundModel(
            self.mean_KF[:, :CEPSTRA],
            _whitening(covariance_IFF[:, :CEPSTRA, :CEPSTRA]),
            self.covariance_K,
            self.states,
        )

    def save(self, path: Path) -> None:
        """Writes a file of tensors."""
        tensors = {
            "mean_KF": self.mean_KF,
            "whitening_IFF": self.whitening_IFF,
            "covariance_K": self.covariance_K,
        }
        with whole_file(path) as new:
            save_file(tensors, new)

    @classmethod
    def load(cls, path: Path) -> "SoundModel":
        """Reads a file of `save`. UserError for other files."""
        try:
            tensors = load_file(path)
            return cls(tensors["mean_KF"], tensors["whitening_IFF"], tensors["covariance_K"])
        except (SafetensorError, OSError, KeyError) as error:
            raise UserError(
                f"{path} is not a sound model ({error}); fine-tune again, or remove the file: then "
                "times are midpoints between peaks"
            ) from None

    @classmethod
    def _of(
        cls, values: Sequence[np.ndarray], labels: Sequence[np.ndarray], tokens: int, states: int
    ) -> "SoundModel":
        """The Gaussians of labelled steps; -1 is no label."""
        label_N = np.concatenate(labels)
        value_NF = np.concatenate(values)[label_N >= 0].astype(np.float64)
        label_N = label_N[label_N >= 0]
        value_NF = value_NF[np.argsort(label_N, kind="stable")]
        count_K = np.bincount(label_N, minlength=1 + (tokens - 1) * states)
        ends_K = np.cumsum(count_K)
        # A token that was not learned sounds like any.
        mean_KF = np.tile(value_NF.mean(0), (len(count_K), 1))
        scatters = {}
        tied_FF = np.zeros((value_NF.shape[1], value_NF.shape[1]))
        for k in np.flatnonzero(count_K):
            own_NF = value_NF[ends_K[k] - count_K[k] : ends_K[k]]
            mean_KF[k] = own_NF.mean(0)
            scatter_FF = (own_NF - mean_KF[k]).T @ (own_NF - mean_KF[k])
            tied_FF += scatter_FF
            if count_K[k] >= own_NF.shape[1]:
                scatters[k] = scatter_FF
        tied_FF = tied_FF / len(value_NF) + 1e-4 * np.eye(len(tied_FF))
        covariance_K = np.zeros(len(count_K), np.int32)
        covariances = [tied_FF]
        for k, scatter_FF in scatters.items():
            covariance_K[k] = len(covariances)
            covariances.append((scatter_FF + TIED * tied_FF) / (count_K[k] + TIED))
        whitening_IFF = _whitening(np.stack(covariances))
        return cls(mean_KF.astype(np.float32), whitening_IFF, covariance_K, states)

    def _divide(
        self, spoken: Sequence[Spoken], values: Sequence[np.ndarray]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Of each recording the state of the model at every step (N,), and the steps (U, 2) where
        the tokens begin and end."""
        labels, steps = [], []
        for first in range(0, len(spoken), TOGETHER):
            part = slice(first, first + TOGETHER)
            chains = [self._chain(each.ids_U) for each in spoken[part]]
            # Too short for its tokens: every step counts several times.
            times = [
                -(-len(each.ids_U) * self.states // max(len(value_NF), 1))
                for each, value_NF in zip(spoken[part], values[part], strict=True)
            ]
            scores = [
                np.repeat(self._scores(each, value_NF, chain_X), n, 0)
                for each, value_NF, chain_X, n in zip(
                    spoken[part], values[part], chains, times, strict=True
                )
            ]
            found = best_paths(scores, self.states)
            if self.states > 1:
                found = [
                    self._at_pauses(each, value_NF, chain_X, path_N, n)
                    for each, value_NF, chain_X, path_N, n in zip(
                        spoken[part], values[part], chains, found, times, strict=True
                    )
                ]
            for each, chain_X, path_N, n in zip(spoken[part], chains, found, times, strict=True):
                labels.append(chain_X[path_N[::n]])
                begin_U = 1 + np.arange(len(each.ids_U)) * (self.states + 1)
                first_U = np.searchsorted(path_N, begin_U)
                behind_U = np.searchsorted(path_N, begin_U + self.states)
                steps.append(np.stack((first_U, behind_U), 1) / n)
        return labels, steps

    def _at_pauses(
        self,
        spoken: Spoken,
        value_NF: np.ndarray,
        chain_X: np.ndarray,
        path_N: np.ndarray,
        times: int,
    ) -> np.ndarray:
        """The path (N,) with the two ends of every pause where the cepstra alone divide it best
        from the state beside it; every step of the recording counts several times."""
        pauses = np.unique(path_N[path_N % (self.states + 1) == 0])
        if not len(pauses):
            return path_N
        score_NX = self.still._scores(spoken, value_NF[:, :CEPSTRA], chain_X).repeat(times, 0)
        path_N = path_N.copy()
        for pause in pauses:
            for before, behind in ((pause - 1, pause), (pause, pause + 1)):
                first, last = np.searchsorted(path_N, (before, behind + 1))
                if before >= 0 and behind < len(chain_X):
                    better_N = score_NX[first:last, before] - score_NX[first:last, behind]
                    middle = first + 1 + better_N.cumsum()[:-1].argmax()
                    path_N[first:middle], path_N[middle:last] = before, behind
        return path_N

    def _chain(self, ids_U: np.ndarray) -> np.ndarray:
        """The states (X,) of the model that a recording goes through."""
        chain_UX = np.full((len(ids_U), self.states + 1), PAUSE)
        chain_UX[:, 1:] = 1 + (ids_U[:, None] - 1) * self.states + np.arange(self.states)
        return np.append(chain_UX.ravel(), PAUSE)

    def _scores(self, spoken: Spoken, value_NF: np.ndarray, chain_X: np.ndarray) -> np.ndarray:
        """Log-likelihoods (N, X), up to a constant; tokens stay between the peaks of their
        neighbours."""
        used, where_X = np.unique(chain_X, return_inverse=True)
        whitening = self.whitening_IFF[self.covariance_K[used]]
        volume = np.log(np.diagonal(whitening, axis1=1, axis2=2)).sum(1)
        each = [
            volume[k] - 0.5 * np.square((value_NF - self.mean_KF[state]) @ whitening[k].T).sum(1)
            for k, state in enumerate(used)
        ]
        score_NX = np.stack(each, 1)[:, where_X]
        low_U = np.append(-np.inf, spoken.spans_U2[:-1, 0] - REACH)
        high_U = np.append(spoken.spans_U2[1:, 1] + REACH, np.inf)
        middle_N1 = (np.arange(len(value_NF))[:, None] + 0.5) * STEP
        outside_NU = (middle_N1 < low_U) | (middle_N1 > high_U)
        for state in range(1, self.states + 1):
            score_NX[:, state :: self.states + 1][outside_NU] += OUTSIDE
        if spoken.pauses_U is not None:
            near_U = spoken.spans_U2[1:, 0] - spoken.spans_U2[:-1, 1] < 2 * FAR
            within_U = 1 + np.flatnonzero(near_U & ~spoken.pauses_U[1:])
            score_NX[:, within_U * (self.states + 1)] += OUTSIDE
        return score_NX


def _whitening(covariance_IFF: np.ndarray) -> np.ndarray:
    factor_IFF = np.linalg.cholesky(np.linalg.inv(covariance_IFF))
    return np.ascontiguousarray(factor_IFF.transpose(0, 2, 1)).astype(np.float32)


def _values(spoken: Spoken) -> np.ndarray:
    """(N, 39) cepstra and changes, less the mean of the speech without long pauses."""
    near_N = ~_far(spoken)
    speech_NC = spoken.cepstra_NC[near_N] if near_N.any() else spoken.cepstra_NC
    return with_changes(spoken.cepstra_NC, speech_NC.mean(0))


def _far(spoken: Spoken) -> np.ndarray:
    """(N,) booleans: the steps far from all peaks."""
    middle_N = (np.arange(len(spoken.cepstra_NC)) + 0.5) * STEP
    begun_N = np.searchsorted(spoken.spans_U2[:, 0] - FAR, middle_N)
    ended_N = np.searchsorted(spoken.spans_U2[:, 1] + FAR, middle_N)
    return begun_N == ended_N


def _at_peaks(spoken: Spoken) -> np.ndarray:
    """(N,): one state per token at its peak, pauses far from all, and no label elsewhere."""
    label_N = np.where(_far(spoken), PAUSE, -1)
    first_U, last_U = (spoken.spans_U2 / STEP).astype(int).T
    for token, first, last in zip(spoken.ids_U, first_U, last_U, strict=True):
        label_N[first : last + 1] = token
    return label_N


def _in_states(spoken: Spoken, steps_U2: np.ndarray) -> np.ndarray:
    """(N,): every token in as many equal parts as it has states."""
    label_N = np.full(len(spoken.cepstra_NC), PAUSE)
    for token, (first, behind) in zip(spoken.ids_U, steps_U2.astype(int), strict=True):
        part_N = np.arange(behind - first) * STATES // max(behind - first, 1)
        label_N[first:behind] = 1 + (token - 1) * STATES + part_N
    return label_N
