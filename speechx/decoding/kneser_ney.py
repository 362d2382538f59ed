"""N-gram models from text: interpolated modified Kneser-Ney (Chen and Goodman 1998, section 4.1.6;
Heafield et al. 2013, section 2).

An n-gram of the highest order has its count; a shorter one the number of different tokens before
it, or its count if it begins with <s>, before which there is nothing. These adjusted counts `a` are
discounted, and what they lose goes to the model of the order below, which sees one token less:

    p(w | context) = (a - D(a)) / sum of a of the context + backoff(context) p(w | shorter context)

D(1), D(2) and D(3 and more) of an order follow from how many of its n-grams have a = 1, 2, 3, 4.
Below the unigrams all tokens are equally probable: <unk> has its probability from there alone.
Words, <unk> and </s> share the probability; <s> has none.

    T tokens of the text · N n-grams of one order · C n-grams of the order below, their contexts
    D = 4 discounts, of the counts 0, 1, 2, 3+
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from speechx.decoding.ngram import BEGIN, END, SPECIAL, UNKNOWN, Level, NGram
from speechx.errors import UserError
from speechx.log import logger

ORDERS = range(1, 7)
FALLBACK = (0.5, 1.0, 1.5)
"""Discounts of the counts 1, 2, 3+ where the text gives none, as KenLM's --discount_fallback."""
SMALLEST = 1e-100  # probability whose logarithm stands for that of 0
NEVER = -99 * np.log(10)
"""The score of <s>, which no text holds: 10^-99, as SRILM writes."""


@dataclass(slots=True)
class _Counts:
    """The different n-grams of one order, sorted by context and token."""

    context_N: np.ndarray
    token_N: np.ndarray
    count_N: np.ndarray
    """How often each occurs."""
    suffix_N: np.ndarray
    """The index of the n-gram without its first token, in the order below."""
    begins_N: np.ndarray
    """bool: whether <s> is its first token."""


def train(
    sentences: Iterable[Sequence[str]],
    order: int,
    prune: Sequence[int] = (),
    fallback: Sequence[float] = FALLBACK,
) -> NGram:
    """The model of these sentences, without <s> and </s>, which are added.

    prune: for each order the greatest count of n-grams that are left out, as KenLM's --prune; the
    first is 0, and the last holds for all higher orders. fallback: discounts of the counts 1, 2, 3+
    for orders whose counts give none (tiny texts, or few different tokens); their use is logged.
    The order is lower if no sentence is long enough; this is logged. UserError if there are no
    sentences, or if they contain <s>, </s> or <unk>.
    """
    if order not in ORDERS:
        raise UserError(f"an order from {ORDERS[0]} to {ORDERS[-1]} was expected, not {order}")
    thresholds = _thresholds(prune, order)
    tokens, id_T = _numbered(sentences)
    counts = _count(id_T, len(tokens), order)
    if len(counts) < order:
        logger.info(
            f"the order is {len(counts)} instead of {order}: no sentence has more than "
            f"{len(counts) - 2} tokens"
        )
    levels: list[Level] = []
    kept_N = np.ones(1, bool)
    lower_N = np.full(1, 1 / (len(tokens) - 1))  # <s> has no part
    by_fallback = []
    for n, each in enumerate(counts, start=1):
        adjusted_N = _adjusted(counts, n)
        discount_D, why = _discounts(adjusted_N, fallback)
        if why:
            by_fallback.append(f"{n}-grams: {why}")
        keep_N = (each.count_N > thresholds[n - 1]) | (n == 1)
        discount_N = np.where(keep_N, discount_D[np.minimum(adjusted_N, 3)], adjusted_N)
        probability_N, backoff_C = _interpolated(each, adjusted_N, discount_N, lower_N, len(kept_N))
        if levels:
            levels[-1] = levels[-1]._replace(backoff_N=np.log(backoff_C[kept_N]))
        place_N = np.cumsum(kept_N) - 1  # among what is kept
        levels.append(
            Level(
                place_N[each.context_N[keep_N]],
                each.token_N[keep_N],
                np.log(np.maximum(probability_N[keep_N], SMALLEST)),
                np.zeros(keep_N.sum()),
            )
        )
        kept_N, lower_N = keep_N, probability_N
    levels[0].score_N[tokens.index(BEGIN)] = NEVER
    if by_fallback:
        listed = ", ".join(f"{value:g}" for value in fallback)
        logger.info(
            f"the text is too small or too regular for Kneser-Ney discounts "
            f"({'; '.join(by_fallback)}): {listed} are used there, as with KenLM's "
            "--discount_fallback"
        )
    while len(levels) > 1 and not len(levels[-1].token_N):  # all pruned
        levels.pop()
    return NGram.of(tokens, levels)


def _thresholds(prune: Sequence[int], order: int) -> list[int]:
    """One for each order."""
    if any(n < 0 for n in prune) or list(prune) != sorted(prune) or (prune and prune[0] != 0):
        raise UserError(
            f"prune {' '.join(map(str, prune))}: numbers that do not fall were expected, one for "
            "each order, the first of them 0 (0 0 1: trigrams and longer n-grams that occur once)"
        )
    if len(prune) > order:
        raise UserError(
            f"prune has {len(prune)} numbers for a model of order {order}; give at most one "
            "per order"
        )
    given = list(prune) or [0]
    return given + given[-1:] * (order - len(given))


def _numbered(sentences: Iterable[Sequence[str]]) -> tuple[list[str], np.ndarray]:
    """All different tokens, and the ids of the text with <s> and </s>."""
    id_of: defaultdict[str, int] = defaultdict()
    id_of.default_factory = id_of.__len__
    unknown, begin, end = (id_of[token] for token in (UNKNOWN, BEGIN, END))
    ids, count, number = array("i"), 0, id_of.__getitem__
    for sentence in sentences:
        ids.append(begin)
        ids.extend(map(number, sentence))
        ids.append(end)
        count += 1
    if len(id_of) == len(SPECIAL):
        raise UserError("the text of the language model is empty; expected a sentence in each line")
    id_T = np.frombuffer(ids, np.int32)
    times = np.bincount(id_T, minlength=len(id_of))
    if times[unknown] or times[begin] > count or times[end] > count:
        raise UserError(
            f"the text holds {', '.join(SPECIAL[:2])} or {UNKNOWN}, which mean the beginning, the "
            "end and unknown tokens in a language model; remove them"
        )
    return list(id_of), id_T


def _count(id_T: np.ndarray, size: int, order: int) -> list[_Counts]:
    """The n-grams of each order, as long as there are any."""
    begin = 1
    gram_T = id_T.astype(np.int64)  # the place of the n-gram that ends at each token; or -1
    unigram_N = np.arange(size)
    nothing_N = np.zeros(size, np.int64)
    counts = [
        _Counts(
            nothing_N, unigram_N, np.bincount(id_T, minlength=size), nothing_N, unigram_N == begin
        )
    ]
    for _ in range(1, order):
        there = 1 + np.flatnonzero((gram_T[:-1] >= 0) & (id_T[1:] != begin))
        if not len(there):
            break
        key_N, place, count_N = np.unique(
            gram_T[there - 1] * size + id_T[there], return_inverse=True, return_counts=True
        )
        suffix_N = np.empty(len(key_N), np.int64)
        suffix_N[place] = gram_T[there]
        gram_T = np.full(len(id_T), -1)
        gram_T[there] = place
        context_N, token_N = np.divmod(key_N, size)
        begins_N = counts[-1].begins_N[context_N]
        counts.append(_Counts(context_N, token_N, count_N, suffix_N, begins_N))
    return counts


def _adjusted(counts: Sequence[_Counts], n: int) -> np.ndarray:
    """The adjusted counts of order n."""
    own = counts[n - 1]
    adjusted_N = own.count_N.copy()
    if n < len(counts):
        before_N = np.bincount(counts[n].suffix_N, minlength=len(adjusted_N))
        adjusted_N = np.where(own.begins_N, own.count_N, before_N)
    if n == 1:
        adjusted_N[own.begins_N] = 0
    return adjusted_N


def _interpolated(
    own: _Counts,
    adjusted_N: np.ndarray,
    discount_N: np.ndarray,
    lower_N: np.ndarray,
    contexts: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The probability of each n-gram, and the share of each context that backs off, from what the
    counts lose and from the probabilities of the order below."""
    sum_C = np.bincount(own.context_N, adjusted_N, contexts)
    share_C = np.bincount(own.context_N, discount_N, contexts) / np.maximum(sum_C, 1)
    probability_N = (adjusted_N - discount_N) / sum_C[own.context_N]
    probability_N += share_C[own.context_N] * lower_N[own.suffix_N]
    return probability_N, np.where(sum_C > 0, np.maximum(share_C, SMALLEST), 1)


def _discounts(adjusted_N: np.ndarray, fallback: Sequence[float]) -> tuple[np.ndarray, str]:
    """D(0), D(1), D(2), D(3+) of an order (Chen and Goodman 1998, equation 26), and why they are
    the fallback, if they are."""
    times = np.bincount(np.minimum(adjusted_N, 5), minlength=6)[1:5].astype(float)
    if times[:3].all():
        ratio = times[0] / (times[0] + 2 * times[1])
        k = np.arange(1, 4)
        own = k - (k + 1) * ratio * times[1:] / times[:3]
        if ((own >= 0) & (own <= k)).all():
            return np.append(0, own), ""
        why = f"D = {', '.join(f'{value:.3g}' for value in own)}"
    else:
        none = " or ".join(str(k) for k in (1, 2, 3) if not times[k - 1])
        why = f"none has the count {none}"
    return np.append(0, np.asarray(fallback, float)), why
