"""Linear probes: how well a linear classifier reads a label from the features of a layer (as in
Pasad et al. 2021; scikit-learn's logistic regression).

Accuracy is measured on speech that the classifier has not seen: of other speakers where there are
several, else of other utterances.

    N examples · D values of an example · G groups that stay together
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechx.errors import UserError

HELD_OUT = 0.25  # of the groups of a class
LEAST = 2  # examples of a class in training
STRENGTH = 0.1  # inverse of the regularisation of standardised features
STEPS = 200


@dataclass(frozen=True, slots=True)
class ProbeTask:
    """Examples with their labels, and which of them are held out."""

    label_N: np.ndarray
    test_N: np.ndarray
    """True where held out; examples of classes that one side lacks are in neither, `used_N`."""
    used_N: np.ndarray

    @property
    def chance(self) -> float:
        """The share of the most frequent class of training in the held-out examples."""
        train = self.label_N[self.used_N & ~self.test_N]
        names, counts = np.unique(train, return_counts=True)
        return float((self.label_N[self.used_N & self.test_N] == names[counts.argmax()]).mean())

    @property
    def classes(self) -> int:
        return len(np.unique(self.label_N[self.used_N]))


def make_task(label_N: Sequence[str], test_N: np.ndarray) -> ProbeTask | None:
    """None if fewer than two classes are on both sides."""
    names_N = np.asarray(label_N, dtype=str)
    used_N = np.zeros(len(names_N), dtype=bool)
    for label in np.unique(names_N):
        own_N = names_N == label
        if (own_N & test_N).any() and (own_N & ~test_N).sum() >= LEAST:
            used_N |= own_N
    task = ProbeTask(names_N, np.asarray(test_N, dtype=bool), used_N)
    return task if used_N.any() and task.classes > 1 else None


def hold_out(
    class_N: Sequence[str], group_N: Sequence[str], random: np.random.Generator
) -> np.ndarray:
    """(N,) true for the groups that are held out: a quarter of the groups of each class, at least
    one if there are two."""
    classes, groups = np.asarray(class_N, dtype=str), np.asarray(group_N, dtype=str)
    test_N = np.zeros(len(groups), dtype=bool)
    for label in np.unique(classes):
        own = random.permutation(np.unique(groups[classes == label]))
        if len(own) > 1:
            chosen = own[: max(1, round(HELD_OUT * len(own)))]
            test_N |= (classes == label) & np.isin(groups, chosen)
    return test_N


def accuracy(features_ND: np.ndarray, task: ProbeTask) -> float:
    """The share of the held-out examples whose label a linear classifier finds."""
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise UserError("probes need scikit-learn: pip install 'speechx[units]'") from None
    train_N, test_N = task.used_N & ~task.test_N, task.used_N & task.test_N
    features_ND = features_ND.astype(np.float32)
    mean_D, deviation_D = features_ND[train_N].mean(0), features_ND[train_N].std(0)
    features_ND = (features_ND - mean_D) / np.maximum(deviation_D, 1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # STEPS is enough for an accuracy
        probe = LogisticRegression(C=STRENGTH, max_iter=STEPS, tol=1e-3)
        probe.fit(features_ND[train_N], task.label_N[train_N])
    return float(probe.score(features_ND[test_N], task.label_N[test_N]))
