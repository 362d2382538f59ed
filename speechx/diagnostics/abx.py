"""ABX discrimination of phones (Schatz et al. 2013; with cosine distances and dynamic time warping
as in Libri-light, Kahn et al. 2020).

A and X are tokens of one phone, B is a token of another one. The error is the share of triples in
which X is nearer to B than to A; of triples as near to both, half. 0.5 is chance. *Within*: all of
one speaker; *across*: X is another speaker's. A, B and X are of one language.

The benchmarks compare triphones that differ in the middle phone. Here a token is a phone in any
context, because minutes of speech have few equal contexts, so the errors are higher than theirs.
Triples are drawn at random: the language, the speaker, the pair of phones and the tokens, each of
them evenly. All layers get the same triples.

    N frames of all tokens · P pairs of tokens · I frames of the one · J frames of the other
    · D values of a frame · T triples
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PAIRS_AT_ONCE = 2000
TRIES = 20  # draws for each triple that is wanted


class Token(NamedTuple):
    """A spoken phone, and its frames among those of all tokens."""

    language: str
    speaker: str
    phone: str
    first: int
    frames: int


def draw_triples(
    tokens: Sequence[Token], count: int, across: bool, random: np.random.Generator
) -> np.ndarray:
    """(T, 3) numbers of tokens A, B, X; none if the tokens do not allow it. Tokens of unknown
    speakers ("") are used only if all are unknown, as if they were of one speaker."""
    known = any(token.speaker for token in tokens)
    by: dict[str, dict[str, dict[str, list[int]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for number, token in enumerate(tokens):
        if token.speaker or not known:
            by[token.language][token.speaker][token.phone].append(number)
    languages = [lang for lang, speakers in by.items() if len(speakers) > 1 or not across]
    triples: list[tuple[int, int, int]] = []
    for _ in range(TRIES * count if languages else 0):
        speakers = by[languages[random.integers(len(languages))]]
        speaker = list(speakers)[random.integers(len(speakers))]
        own = speakers[speaker]
        phone, other = (list(own)[i] for i in random.integers(len(own), size=2))
        source = own[phone]
        if across:
            others = [name for name in speakers if name != speaker]
            source = speakers[others[random.integers(len(others))]].get(phone, [])
        if phone == other or len(source) < (1 if across else 2):
            continue
        a, b = (int(some[random.integers(len(some))]) for some in (own[phone], own[other]))
        x = int(source[random.integers(len(source))])
        if x != a:
            triples.append((a, b, x))
        if len(triples) == count:
            break
    return np.array(triples, np.int64).reshape(-1, 3)


def abx_error(features_ND: np.ndarray, tokens: Sequence[Token], triples_T3: np.ndarray) -> float:
    """The error of these triples; `features_ND` has the frames of all tokens."""
    norm_N = np.linalg.norm(features_ND, axis=1, keepdims=True)
    unit_ND = (features_ND / np.maximum(norm_N, 1e-12)).astype(np.float32)
    near, far = (distances(unit_ND, tokens, triples_T3[:, (which, 2)]) for which in (0, 1))
    return float((near > far).mean() + 0.5 * (near == far).mean())


def distances(unit_ND: np.ndarray, tokens: Sequence[Token], pairs_P2: np.ndarray) -> np.ndarray:
    """(P,) angles between frames in half turns, averaged along the best path from the first frames
    of two tokens to the last ones; frames have length 1."""
    first, frames = (np.array(x) for x in ([t.first for t in tokens], [t.frames for t in tokens]))
    found_P = np.empty(len(pairs_P2))
    order_P = np.argsort(frames[pairs_P2].max(1), kind="stable")  # alike lengths together
    for begin in range(0, len(pairs_P2), PAIRS_AT_ONCE):
        some = order_P[begin : begin + PAIRS_AT_ONCE]
        one_P, other_P = pairs_P2[some].T
        sides = []
        for token_P in (one_P, other_P):
            longest = frames[token_P].max()
            at = np.minimum(np.arange(longest), frames[token_P][:, None] - 1)
            sides.append(unit_ND[first[token_P][:, None] + at])
        cosine_PIJ = np.matmul(sides[0], sides[1].transpose(0, 2, 1))
        angle_PIJ = np.arccos(np.clip(cosine_PIJ, -1, 1)) / np.pi
        found_P[some] = path_means(angle_PIJ, frames[one_P], frames[other_P])
    return found_P


def path_means(
    cost_PIJ: np.ndarray, frames_one_P: np.ndarray, frames_other_P: np.ndarray
) -> np.ndarray:
    """(P,) the mean cost along the path of the least sum, in the first frames of each side. Of
    sums as small, the shorter path counts."""
    pairs, height, width = cost_PIJ.shape
    sums_PIJ = np.full((pairs, height + 1, width + 1), np.inf)
    steps_PIJ = np.zeros((pairs, height + 1, width + 1))
    sums_PIJ[:, 0, 0] = 0
    every = np.arange(pairs)
    for i in range(1, height + 1):
        for j in range(1, width + 1):
            before = ((i - 1, j - 1), (i - 1, j), (i, j - 1))  # argmin takes the first of equals
            sums = np.stack([sums_PIJ[:, a, b] for a, b in before])
            steps = np.stack([steps_PIJ[:, a, b] for a, b in before])
            best_P = sums.argmin(0)
            sums_PIJ[:, i, j] = sums[best_P, every] + cost_PIJ[:, i - 1, j - 1]
            steps_PIJ[:, i, j] = steps[best_P, every] + 1
    ends = every, frames_one_P, frames_other_P
    return sums_PIJ[ends] / steps_PIJ[ends]
