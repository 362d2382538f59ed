"""The best division of recordings into known tokens: Viterbi over several recordings at once.

The states of a recording are: a pause, the states of the first token, a pause, the states of the
second, ..., a pause. A token has every one of its states, for one step at least; a pause may be
left out.

    B recordings · N steps · U tokens · X states, U (states + 1) + 1
"""

from collections.abc import Iterator, Sequence

import numpy as np

LOWEST = -1e9
LARGEST = 8_000_000  # scores that are searched at once


def best_paths(scores: Sequence[np.ndarray], states: int) -> list[np.ndarray]:
    """The state (N,) of every step, from scores (N, X) of each recording; `states` of a token.

    N must be at least the number of states without pauses.
    """
    paths: list[np.ndarray] = [np.zeros(0, int)] * len(scores)
    for rows in _batches([score_NX.shape for score_NX in scores]):
        for row, path_N in zip(rows, _search([scores[r] for r in rows], states), strict=True):
            paths[row] = path_N
    return paths


def _batches(shapes: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
    """Rows of similar length, not too many."""
    rows: list[int] = []
    steps = width = 0
    for row in sorted(range(len(shapes)), key=lambda r: shapes[r]):
        steps, width = max(steps, shapes[row][0]), max(width, shapes[row][1])
        if rows and steps * width * (len(rows) + 1) > LARGEST:
            yield rows
            rows, (steps, width) = [], shapes[row]
        rows.append(row)
    if rows:
        yield rows


def _search(scores: Sequence[np.ndarray], states: int) -> list[np.ndarray]:
    steps, width = (max(s.shape[axis] for s in scores) for axis in (0, 1))
    scores_NBX = np.full((steps, len(scores), width), LOWEST, np.float32)
    for row, score_NX in enumerate(scores):
        scores_NBX[: len(score_NX), row, : score_NX.shape[1]] = score_NX
    leap_X = np.zeros(width, bool)
    leap_X[states + 2 :: states + 1] = True  # a first state may follow the last of another token
    barred_X = np.where(leap_X, 0, LOWEST).astype(np.float32)
    best_BX = np.full((len(scores), width), LOWEST, np.float32)
    best_BX[:, :2] = scores_NBX[0, :, :2]
    one_BX, two_BX = np.full_like(best_BX, LOWEST), np.full_like(best_BX, LOWEST)
    back_NBX = np.zeros(scores_NBX.shape, np.int8)
    for step in range(1, steps):
        one_BX[:, 1:] = best_BX[:, :-1]
        np.add(best_BX[:, :-2], barred_X[2:], out=two_BX[:, 2:])
        back_NBX[step] = one_BX > best_BX
        np.maximum(best_BX, one_BX, out=best_BX)
        back_NBX[step][two_BX > best_BX] = 2
        np.maximum(best_BX, two_BX, out=best_BX)
        best_BX += scores_NBX[step]
        scores_NBX[step] = best_BX
    return [
        _trace(back_NBX[: len(s), row], scores_NBX[len(s) - 1, row], s.shape[1])
        for row, s in enumerate(scores)
    ]


def _trace(back_NX: np.ndarray, last_X: np.ndarray, width: int) -> np.ndarray:
    """Back from the better one of the last two states."""
    state = width - 1 if last_X[width - 1] > last_X[width - 2] else width - 2
    path_N = np.zeros(len(back_NX), int)
    for step in range(len(back_NX) - 1, -1, -1):
        path_N[step] = state
        state -= back_NX[step, state]
    return path_N
