"""Forced alignment: which frames of a recording each token of a known sequence has.

    alignment = align_tokens(log_probabilities_TV, ids)
    times_U2 = boundaries(alignment.spans_U2, len(log_probabilities_TV))    # in frames

The best path (Viterbi) through a chain of states: a blank, a token, a blank, a token, ..., a blank.
Every frame has one state. The next frame has the same state, the next one, or the one after that if
it is another token. Where words may be left out, the path may also jump from the blank before a
word to the blank behind it, at a cost.

A recording may have hours. A band of states around the best one is computed, wide while the text
fits badly and narrow while it fits, and one bit for each choice is kept. When the memory for these
is full, the older half of the best path is final; paths that were elsewhere at its end are given
up. So memory depends on neither the length of the recording nor that of the text, but for the
result.

    T frames · V = blank and tokens, the blank first · X columns of scores · U tokens
    S states, 2 U + 1 · K blanks between which words may be left out
    W states of the band · H frames kept · B bytes with a bit for each state · N paths
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from speechx.errors import UserError
from speechx.text.vocabulary import BLANK

BAND = 16_384  # states
NARROW = 4096  # states, while the text fits
FITS = 0.15  # cost of the best path per frame, below which it does
RISE, FALL = 0.5, 0.1  # how fast that cost follows the cost of the last MOVE_FRAMES
HISTORY_BYTES = 1 << 27  # of the choices of frames, of which half are made final at once
LONGEST_HISTORY = 180_000  # frames
BEHIND = 3  # a third of the band lies behind the best state
MOVE_FRAMES = 32  # after which the band moves
LOWEST = -1e4  # a score that stands for the logarithm of 0
REACH = 8  # frames that a token lasts at most before its first and behind its last one


class Alignment(NamedTuple):
    spans_U2: np.ndarray
    """(U, 2) int64: the first and the last frame of each token; -1 if it was left out."""
    probabilities_U: np.ndarray
    """(U,) float32: the mean probability of each token over its frames; 0 if it was left out."""


@dataclass(frozen=True)
class Chain:
    """The states of a text."""

    columns_S: np.ndarray
    """(S,) int: the column of scores of each state; blanks and tokens take turns."""
    leap_S: np.ndarray
    """(S,) bool: whether the state may follow the one two before it."""
    stops_K: np.ndarray
    """(K,) int, rising: the blanks between which words may be left out."""
    costs_K: np.ndarray
    """(K,) float: what it costs to leave out all words before each of them."""


def align_tokens(
    log_probabilities: np.ndarray | Iterable[np.ndarray], ids_U: Sequence[int] | np.ndarray
) -> Alignment:
    """The most probable alignment of token ids (U,), none of them the blank, to log-probabilities
    (T, V), or to blocks of these in time order.

    The topology is that of CTC: blanks may lie between tokens, and must between equal ones. With
    more than 8,000 tokens the search is limited to a band. UserError if the frames are too few.
    """
    ids_U = np.asarray(ids_U, np.int64)
    if ids_U.ndim != 1 or (ids_U == BLANK).any():
        raise ValueError(f"ids (U,) without the blank {BLANK} were expected, not {ids_U[:10]}")
    if isinstance(log_probabilities, np.ndarray):
        log_probabilities = [log_probabilities]
    return align_chain(chain_of(ids_U), log_probabilities)


def chain_of(columns_U: np.ndarray) -> Chain:
    """The chain of CTC, in which no word is left out."""
    columns_S = np.full(2 * len(columns_U) + 1, BLANK, np.int64)
    columns_S[1::2] = columns_U
    leap_S = np.zeros(len(columns_S), bool)
    leap_S[3::2] = columns_U[1:] != columns_U[:-1]
    return Chain(columns_S, leap_S, np.zeros(0, np.int64), np.zeros(0))


def align_chain(
    chain: Chain, blocks: Iterable[np.ndarray], band: int = BAND, history: int | None = None
) -> Alignment:
    """The alignment of the tokens of a chain to scores (T, X) in blocks. `history` is the number of
    frames whose choices are kept; by default as many as HISTORY_BYTES hold, an hour at most."""
    tokens = len(chain.columns_S) // 2
    spans_U2 = np.full((tokens, 2), -1, np.int64)
    sums_U, frames = np.zeros(tokens), 0
    for states_T, scores_T in best_path(chain, blocks, band, history):
        here_T = np.flatnonzero(states_T % 2)
        token_T = states_T[here_T] // 2
        np.add.at(sums_U, token_T, np.exp(scores_T[here_T]))
        spans_U2[token_T, 1] = here_T + frames
        new_T = np.flatnonzero(np.diff(token_T, prepend=-1) != 0)
        new_T = new_T[spans_U2[token_T[new_T], 0] < 0]
        spans_U2[token_T[new_T], 0] = here_T[new_T] + frames
        frames += len(states_T)
    lengths_U = spans_U2[:, 1] - spans_U2[:, 0] + 1
    probabilities_U = np.where(spans_U2[:, 0] < 0, 0, np.minimum(sums_U / lengths_U, 1))
    return Alignment(spans_U2, probabilities_U.astype(np.float32))


def boundaries(
    spans_U2: np.ndarray,
    frames: int,
    method: Literal["midpoint", "peaks"] = "midpoint",
    reach: int = REACH,
) -> np.ndarray:
    """Where tokens begin and end, (U, 2) float, in frames: time t is the beginning of frame t.

    `peaks`: the frames of the span, and no others; the ends of a CTC model are early. `midpoint`:
    a boundary lies halfway between the spans of neighbours, but at most `reach` frames from either
    span: what is longer is a pause. Rows of -1, tokens that were left out, stay.
    """
    times_U2 = spans_U2 + np.array([0.0, 1.0])
    there_U = spans_U2[:, 0] >= 0
    if method == "midpoint" and there_U.any():
        first_U, last_U = times_U2[there_U].T
        half_U = (first_U[1:] - last_U[:-1]) / 2
        half_U = np.concatenate(([first_U[0]], half_U, [frames - last_U[-1]]))
        half_U = np.clip(half_U, 0, reach)
        times_U2[there_U] = np.stack((first_U - half_U[:-1], last_U + half_U[1:]), 1)
    times_U2[~there_U] = -1
    return times_U2


def best_path(
    chain: Chain, blocks: Iterable[np.ndarray], band: int = BAND, history: int | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The states (T,) of the best path and their scores (T,), in parts, as they become final."""
    search = _Search(chain, band, history)
    for block_TX in blocks:
        block_TX = np.maximum(np.asarray(block_TX, np.float32), LOWEST)
        if np.isnan(block_TX).any():
            raise ValueError("the log-probabilities are not numbers")
        for begin in range(0, len(block_TX), MOVE_FRAMES):
            if search.filled + MOVE_FRAMES > len(search.low_H):
                yield search.commit()
            search.advance(block_TX[begin : begin + MOVE_FRAMES])
    yield search.finish()


class _Search:
    """The band, and what is needed to go back."""

    def __init__(self, chain: Chain, band: int, history: int | None) -> None:
        self.chain = chain
        self.widest = min(band, len(chain.columns_S))
        self.narrow = min(NARROW, self.widest)
        self.low, self.filled, self.cost = 0, 0, 2 * FITS  # of the band; frames kept; per frame
        self.padded_W = np.full(self.widest + 2, -np.inf, np.float32)  # two states before the band
        self.padded_W[2] = 0
        row = -(-self.widest // 8)
        # A short text has a longer history: minutes of other speech may lie before its first word.
        history = history or min(HISTORY_BYTES // (2 * row + 16), LONGEST_HISTORY)
        self.one_HB = np.zeros((history, row), np.uint8)
        self.two_HB = np.zeros_like(self.one_HB)
        self.low_H, self.high_H = np.zeros(history, np.int64), np.zeros(history, np.int64)
        self.scores_H: list[np.ndarray] = []
        self._slice()

    def _slice(self) -> None:
        """The part of the chain that the band covers."""
        self.high = self.low + len(self.padded_W) - 2
        self.columns_W = self.chain.columns_S[self.low : self.high]
        leap_W = self.chain.leap_S[self.low : self.high]
        self.leap_W = np.where(leap_W, 0, -np.inf).astype(np.float32)
        first, last = np.searchsorted(self.chain.stops_K, (self.low, self.high))
        self.stops_K = self.chain.stops_K[first:last] - self.low
        costs_K = self.chain.costs_K[first:last]
        self.costs_K = (costs_K - costs_K[:1]).astype(np.float32)

    def advance(self, scores_TX: np.ndarray) -> None:
        """Takes some frames."""
        stay_W, one_W, two_W = self.padded_W[2:], self.padded_W[1:-1], self.padded_W[:-2]
        stops_K, costs_K, used = self.stops_K, self.costs_K, -(-len(stay_W) // 8)
        best_W, leap_W = np.empty_like(stay_W), np.empty_like(stay_W)
        for scores_X in scores_TX:
            by_one_W = one_W > stay_W
            np.maximum(stay_W, one_W, out=best_W)
            np.add(two_W, self.leap_W, out=leap_W)
            by_two_W = leap_W > best_W
            np.maximum(best_W, leap_W, out=best_W)
            np.take(scores_X, self.columns_W, out=leap_W, mode="clip")
            np.add(best_W, leap_W, out=stay_W)
            if len(stops_K):
                here_K = stay_W[stops_K]
                from_start_K = here_K + costs_K
                best_K = np.maximum.accumulate(from_start_K)
                jumps_K = best_K > from_start_K
                by_two_W[stops_K] = jumps_K  # no blank is reached over two states
                stay_W[stops_K] = np.where(jumps_K, best_K - costs_K, here_K)
            self.one_HB[self.filled, :used] = np.packbits(by_one_W)
            self.two_HB[self.filled, :used] = np.packbits(by_two_W)
            self.low_H[self.filled], self.high_H[self.filled] = self.low, self.high
            self.scores_H.append(scores_X)
            self.filled += 1
        best = int(stay_W.argmax())
        if stay_W[best] == -np.inf:
            raise UserError(LOST)
        change = -stay_W[best] / len(scores_TX) - self.cost
        self.cost += change * (RISE if change > 0 else FALL)
        stay_W -= stay_W[best]
        self._move(self.low + best)

    def _move(self, best: int) -> None:
        """Puts the band around a state."""
        width = self.narrow if self.cost < FITS else self.widest
        low = min(best - width // BEHIND, len(self.chain.columns_S) - width)
        low = max(low, self.low)
        high = min(low + width, len(self.chain.columns_S))
        if (low, high) == (self.low, self.high):
            return
        moved_W = np.full(high - low + 2, -np.inf, np.float32)
        both = min(high, self.high)
        moved_W[2 : 2 + both - low] = self.padded_W[2 + low - self.low : 2 + both - self.low]
        self.padded_W, self.low = moved_W, low
        self._slice()

    def commit(self) -> tuple[np.ndarray, np.ndarray]:
        """The older half of the best path."""
        half, stay_W = self.filled // 2, self.padded_W[2:]
        states_N = np.flatnonzero(stay_W > -np.inf) + self.low
        origin_N, index_N = states_N, np.arange(len(states_N))
        for frame in range(self.filled - 1, half, -1):
            origin_N = self._before(frame, origin_N)
            if frame % 16 == 0 and len(origin_N) > 1:
                origin_N, same_N = np.unique(origin_N, return_inverse=True)
                index_N = same_N.reshape(-1)[index_N]
        best = int(stay_W.argmax()) + self.low
        origin = origin_N[index_N[np.searchsorted(states_N, best)]]
        stay_W[states_N[origin_N[index_N] != origin] - self.low] = -np.inf
        path = self._back(half, int(origin))
        kept = slice(half + 1, self.filled)
        self.filled -= half + 1
        for each in (self.one_HB, self.two_HB, self.low_H, self.high_H):
            each[: self.filled] = each[kept].copy()
        self.scores_H = self.scores_H[half + 1 :]
        return path

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """The rest of the best path, which ends at the end of the text."""
        if not self.filled:
            if len(self.chain.columns_S) > 1:
                raise UserError(LOST)
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        chain, total_W = self.chain, self.padded_W[2:].copy()
        costs_K = chain.costs_K[np.searchsorted(chain.stops_K, self.stops_K + self.low)]
        rest_W = np.full(len(total_W), np.inf)  # what it costs to leave out the words that follow
        rest_W[self.stops_K] = chain.costs_K[-1:] - costs_K
        rest_W[max(0, len(chain.columns_S) - 2 - self.low) :] = 0
        total_W -= rest_W
        best = int(total_W.argmax())
        if total_W[best] == -np.inf:
            raise UserError(LOST)
        return self._back(self.filled - 1, best + self.low)

    def _back(self, frame: int, state: int) -> tuple[np.ndarray, np.ndarray]:
        """The path that ends in a state, from the first frame kept."""
        states_T = np.empty(frame + 1, np.int64)
        for t in range(frame, -1, -1):
            place = state - self.low_H[t]
            byte, bit = place >> 3, 7 - (place & 7)
            two = self.two_HB[t, byte] >> bit & 1
            if two and not state % 2:
                state = int(self._jump(t, np.array([state]))[0])
                states_T[t] = state
                place = state - self.low_H[t]
                byte, bit, two = place >> 3, 7 - (place & 7), 0
            states_T[t] = state
            state -= 2 if two else int(self.one_HB[t, byte] >> bit & 1)
        columns_T = self.chain.columns_S[states_T]
        scores = (self.scores_H[t][column] for t, column in enumerate(columns_T))
        return states_T, np.fromiter(scores, np.float32, len(states_T))

    def _before(self, frame: int, states_N: np.ndarray) -> np.ndarray:
        """The states of the frame before."""
        two_N = self._bits(self.two_HB, frame, states_N)
        jump_N = two_N & (states_N % 2 == 0)
        if jump_N.any():
            states_N = np.where(jump_N, self._jump(frame, states_N), states_N)
            two_N = two_N & ~jump_N
        return states_N - np.where(two_N, 2, self._bits(self.one_HB, frame, states_N))

    def _jump(self, frame: int, states_N: np.ndarray) -> np.ndarray:
        """Where the paths in these states came from within the frame: the nearest blank before
        that was not itself jumped to."""
        low = self.low_H[frame]
        first, last = np.searchsorted(self.chain.stops_K, (low, self.high_H[frame]))
        stops_K = self.chain.stops_K[first:last]
        stayed_K = ~self._bits(self.two_HB, frame, stops_K)
        source_K = np.maximum.accumulate(np.where(stayed_K, np.arange(len(stops_K)), 0))
        last_N = np.searchsorted(stops_K, states_N, side="right") - 1
        return stops_K[source_K[np.maximum(last_N, 0)]]

    def _bits(self, bits_HB: np.ndarray, frame: int, states_N: np.ndarray) -> np.ndarray:
        place_N = states_N - self.low_H[frame]
        return (bits_HB[frame, place_N >> 3] >> (7 - (place_N & 7)).astype(np.uint8) & 1) == 1


LOST = (
    "The text does not fit: it is longer than the audio can hold, or not the text of this audio. "
    "Expected the words of this recording, and none of another one."
)
