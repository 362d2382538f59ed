"""How well discrete codes agree with phones: purity, normalised mutual information and boundaries.

Every frame inside a phone has a code and a phone (HuBERT, Hsu et al. 2021):

- phone purity: how often the phone is the most frequent phone of its code;
- cluster purity: how often the code is the most frequent code of its phone;
- PNMI: the mutual information of codes and phones, divided by the entropy of phones.

Purity and PNMI grow with the number of codes and fall with the number of frames, also where codes
mean nothing; `pnmi_of_chance`, of the same codes in random order, shows how much of it is that.

A boundary is where the code changes, and where a phone begins or ends. Each of one kind is matched
with at most one of the other kind, if they are at most 20 ms apart (the tolerance of Räsänen 2009).

    N frames · G groups · K codes · P phones · E boundaries
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from speechx.data.phone_times import TimedPhone

TOLERANCE = 0.020  # seconds
NO_PHONE = ""
MOST_ENTRIES = 1 << 20  # of a group
SAME = 1e-3  # seconds: boundaries of neighbours that are one


@dataclass(frozen=True, slots=True)
class UnitQuality:
    frames: int
    phones: int
    codes: int
    """Different codes in these frames."""
    phone_purity: float
    cluster_purity: float
    pnmi: float
    pnmi_of_chance: float
    boundary_precision: float
    boundary_recall: float
    boundary_f1: float


@dataclass(frozen=True, slots=True)
class CodedSpeech:
    """The codes of an utterance, its phones, and the centre of each frame in seconds."""

    codes_N: np.ndarray
    centres_N: np.ndarray
    phones: Sequence[TimedPhone]


def joined(codes_NG: np.ndarray) -> np.ndarray:
    """(N,) one number for the codes of all groups of a frame."""
    joint_N = np.zeros(len(codes_NG), np.int64)
    for code_N in codes_NG.T:
        joint_N = joint_N * MOST_ENTRIES + code_N
    return joint_N


def phone_of_frames(centres_N: np.ndarray, phones: Sequence[TimedPhone]) -> np.ndarray:
    """(N,) the phone in which the centre of each frame lies, or NO_PHONE."""
    label_N = np.full(len(centres_N), NO_PHONE, dtype=object)
    for phone in phones:
        label_N[(centres_N >= phone.start) & (centres_N < phone.end)] = phone.text
    return label_N


def unit_quality(speech: Sequence[CodedSpeech], seed: int = 1) -> UnitQuality | None:
    """Of all utterances together; None if no frame lies in a phone."""
    codes, labels = [], []
    matched = found = true = 0
    for one in speech:
        label_N = phone_of_frames(one.centres_N, one.phones)
        inside_N = label_N != NO_PHONE
        codes.append(one.codes_N[inside_N])
        labels.append(label_N[inside_N])
        changes = _changes(one)
        edges = _edges(one.phones)
        matched += matches(changes, edges)
        found, true = found + len(changes), true + len(edges)
    names, phone_N = np.unique(np.concatenate(labels).astype(str), return_inverse=True)
    if not len(names):
        return None
    different, code_N = np.unique(np.concatenate(codes), return_inverse=True)
    count_KP = _counts(code_N, phone_N, len(different), len(names))
    shuffled_N = np.random.default_rng(seed).permutation(code_N)
    precision, recall = matched / max(found, 1), matched / max(true, 1)
    return UnitQuality(
        frames=len(phone_N),
        phones=len(names),
        codes=len(different),
        phone_purity=float(count_KP.max(1).sum() / len(phone_N)),
        cluster_purity=float(count_KP.max(0).sum() / len(phone_N)),
        pnmi=pnmi(count_KP),
        pnmi_of_chance=pnmi(_counts(shuffled_N, phone_N, len(different), len(names))),
        boundary_precision=precision,
        boundary_recall=recall,
        boundary_f1=2 * precision * recall / max(precision + recall, 1e-12),
    )


def pnmi(count_KP: np.ndarray) -> float:
    """Mutual information of rows and columns, divided by the entropy of the columns; 0 if there is
    one column only."""
    share_KP = count_KP / count_KP.sum()
    entropy = _entropy(share_KP.sum(0))
    mutual = _entropy(share_KP.sum(1)) + entropy - _entropy(share_KP.ravel())
    return float(max(mutual, 0.0) / entropy) if entropy > 0 else 0.0


def matches(found: np.ndarray, true: np.ndarray, tolerance: float = TOLERANCE) -> int:
    """The most pairs of two rows of sorted times that are at most `tolerance` apart."""
    count = i = j = 0
    while i < len(found) and j < len(true):
        apart = found[i] - true[j]
        if abs(apart) <= tolerance + 1e-9:
            count, i, j = count + 1, i + 1, j + 1
        elif apart < 0:
            i += 1
        else:
            j += 1
    return count


def _changes(one: CodedSpeech) -> np.ndarray:
    """Times halfway between neighbouring frames of different codes."""
    at = np.flatnonzero(one.codes_N[1:] != one.codes_N[:-1])
    return (one.centres_N[at] + one.centres_N[at + 1]) / 2


def _edges(phones: Sequence[TimedPhone]) -> np.ndarray:
    """Where phones begin and end; the end of one is the beginning of the next."""
    edges_E = np.sort([time for phone in phones for time in (phone.start, phone.end)])
    return edges_E[np.diff(edges_E, prepend=-1.0) > SAME]


def _counts(code_N: np.ndarray, phone_N: np.ndarray, codes: int, phones: int) -> np.ndarray:
    return np.bincount(code_N * phones + phone_N, minlength=codes * phones).reshape(codes, phones)


def _entropy(share: np.ndarray) -> float:
    share = share[share > 0]
    return float(-(share * np.log2(share)).sum())
