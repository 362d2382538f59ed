"""The inner loops of `speechx.decoding.beam`: prefix search, and the times of its result.

The functions are plain Python over arrays. numba compiles them if it is installed, once for each
machine: the compiled code is kept beside this file or in the user's cache. Without numba they run
as they stand, with the same results, hundreds of times slower. Only `speechx.decoding.beam`
imports this module, and only when something is decoded.

A prefix is a row of `rows_N9` and of `scores_N2`. All prefixes are one tree, each once,
so the probabilities of its alignments add up in one place. An entry of the beam is a prefix that
ends in a blank, or one that ends in its last token: only after a blank does the same token again
make the prefix longer (Hannun et al. 2014, algorithm 1; Graves 2012, section 7.5).

    T frames · V = blank and tokens, the blank first · U tokens of a result · N prefixes
    B prefixes in the beam · E entries for the next beam · S states · A arcs of an n-gram model
    X states of an alignment, 2 U + 1 · R arcs of a trie · W its spellings
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from speechx.decoding.trie import UNLISTED

numba: Any
try:
    import numba
except ImportError:
    numba = None

NO_LM, OF_TOKENS, OF_WORDS = 0, 1, 2
# Columns of prefixes.
PARENT, TOKEN, WORD, STATE, TRIE_NODE, LENGTH, CHILD, SIBLING, SLOT = range(9)
NODE = 6  # the last column of entries; those before are the same
FIXED, PART, ACOUSTIC, TOTAL = range(4)  # scores: of what is complete, of the unfinished word, ...
NO_WORD, UNKNOWN_WORD = -1, -2
OUTSIDE = -1  # of the trie
LONG = 6  # tokens of an unfinished unknown word, beyond which its score grows with its length
LOWEST = math.log(1e-15)  # a log-probability that stands for all lower ones
NEVER = -math.inf


class Grammar(NamedTuple):
    """An n-gram model as `speechx.decoding.ngram.NGram` has it."""

    first_S: np.ndarray
    token_A: np.ndarray
    score_A: np.ndarray
    target_A: np.ndarray
    backoff_S: np.ndarray
    fallback_S: np.ndarray
    lm_id_V: np.ndarray
    """int32: the id in the language model of each output, where `level` is OF_TOKENS."""
    start: int
    end: int
    unknown: int
    level: int


class Weights(NamedTuple):
    """Scores are natural logarithms."""

    beam_size: int
    lm: float
    bonus: float
    hot: float
    unknown_word: float
    unknown_part: float
    token_min: float
    beam_prune: float
    delimiter: int
    """The output that divides words; 0 if there is none, and the trie divides them."""
    has_trie: bool
    """Whether there is a trie."""
    scores_words: bool
    """Whether each word has a score; otherwise only hot words have one."""


class Prefixes(NamedTuple):
    rows_N9: np.ndarray
    """int32: PARENT, TOKEN, WORD, STATE, TRIE_NODE, LENGTH, CHILD, SIBLING, SLOT."""
    scores_N2: np.ndarray
    """FIXED, PART"""


class Beam(NamedTuple):
    node_B: np.ndarray
    blank_B: np.ndarray
    """The log-probability of a prefix with a blank behind it."""
    token_B: np.ndarray
    """The same, with its last token at the end."""
    both_B: np.ndarray


class Entries(NamedTuple):
    """The first 2 B are those of the prefixes in the beam, with a blank and with a token."""

    rows_E7: np.ndarray
    """int32: PARENT, TOKEN, WORD, STATE, TRIE_NODE, LENGTH, NODE; of prefixes that have a row in
    Prefixes only NODE counts, of others it is -1."""
    values_E4: np.ndarray
    """FIXED, PART, ACOUSTIC, TOTAL"""


class Found(NamedTuple):
    ids_U: np.ndarray
    word_U: np.ndarray
    """The spelling that each token completes, NO_WORD or UNKNOWN_WORD."""
    last: int
    """The spelling that the end completes."""
    score: float
    acoustic: float


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    if numba is None:
        return function
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder can be written, so each process compiles
        return numba.njit(nogil=True)(function)


@_compiled
def search(log_TV, grammar, trie, weights):
    """The best text of log-probabilities (T, V)."""
    frames = len(log_TV)
    prefixes = Prefixes(np.zeros((1024, 9), np.int32), np.zeros((1024, 2)))
    root = prefixes.rows_N9[0]
    root[:] = -1
    root[TOKEN], root[STATE] = weights.delimiter, grammar.start
    root[TRIE_NODE] = root[LENGTH] = root[SLOT] = 0
    entries = Entries(np.zeros((1024, 7), np.int32), np.zeros((1024, 4)))
    beam = Beam(
        np.zeros(weights.beam_size, np.int32),
        np.full(weights.beam_size, NEVER),
        np.full(weights.beam_size, NEVER),
        np.zeros(weights.beam_size),
    )
    beam.blank_B[0] = 0.0
    width, size = 1, 1
    most_choices = 1 + np.diff(trie.word_N).max()  # entries that a token of a prefix can make
    for t in range(frames):
        frame_V = _frame(log_TV[t], weights)
        allowed = np.flatnonzero(frame_V > NEVER)
        while len(entries.rows_E7) < width * (2 + len(allowed) * most_choices):
            entries = Entries(_grown(entries.rows_E7), _grown(entries.values_E4))
        while len(prefixes.rows_N9) < size + weights.beam_size:
            prefixes = Prefixes(_grown(prefixes.rows_N9), _grown(prefixes.scores_N2))
        _stay(beam, width, frame_V, prefixes, entries, weights)
        count = _extend(beam, width, frame_V, allowed, prefixes, entries, grammar, trie, weights)
        width, size = _keep(beam, width, size, prefixes, entries, count, weights)
    return _best(beam, width, prefixes, grammar, trie, weights)


@_compiled
def _frame(log_V, weights):
    """The log-probabilities of a frame, NEVER for outputs that are left out."""
    best = np.argmax(log_V)
    frame_V = np.full(len(log_V), NEVER)
    for v in range(len(log_V)):
        value = max(log_V[v], LOWEST)
        if value >= weights.token_min or v == best or (v == 0 and _closed(weights)):
            frame_V[v] = value
    return frame_V


@_compiled
def _closed(weights):
    """Whether no other words than those of the trie are written."""
    no_others = weights.delimiter == 0 or weights.unknown_word == NEVER
    return weights.has_trie and weights.scores_words and no_others


@_compiled
def _stay(beam, width, frame_V, prefixes, entries, weights):
    """The entries of prefixes that do not get longer."""
    rows_E7, values_E4 = entries
    for b in range(width):
        node = beam.node_B[b]
        last = prefixes.rows_N9[node, TOKEN]
        blank, token = 2 * b, 2 * b + 1
        beam.both_B[b] = _log_add(beam.blank_B[b], beam.token_B[b])
        rows_E7[blank, NODE] = rows_E7[token, NODE] = node
        values_E4[blank, : PART + 1] = values_E4[token, : PART + 1] = prefixes.scores_N2[node]
        values_E4[blank, ACOUSTIC] = beam.both_B[b] + frame_V[0]
        values_E4[token, ACOUSTIC] = NEVER
        if last > 0:
            # Spaces in a row are one, and one at the beginning is none.
            again = beam.both_B[b] if last == weights.delimiter else beam.token_B[b]
            values_E4[token, ACOUSTIC] = again + frame_V[last]


@_compiled
def _extend(beam, width, frame_V, allowed, prefixes, entries, grammar, trie, weights):
    """Adds the entries of prefixes that get longer by a token; their number with the others."""
    rows_N9, scores_N2 = prefixes
    rows_E7, values_E4 = entries
    count = 2 * width
    for b in range(width):
        node = beam.node_B[b]
        for v in allowed:
            again = v == rows_N9[node, TOKEN]
            acoustic = frame_V[v] + (beam.blank_B[b] if again else beam.both_B[b])
            if v == 0 or acoustic == NEVER or (again and v == weights.delimiter):
                continue
            onward, trie_node, low, high = _choices(trie, weights, rows_N9[node, TRIE_NODE], v)
            for choice in range(low - onward, high):
                word = choice if choice >= low else NO_WORD
                child = _child(rows_N9, node, v, word)
                if child >= 0 and rows_N9[child, SLOT] >= 0:
                    token = 2 * rows_N9[child, SLOT] + 1
                    values_E4[token, ACOUSTIC] = _log_add(values_E4[token, ACOUSTIC], acoustic)
                    continue
                rows_E7[count, NODE] = child
                values_E4[count, ACOUSTIC] = acoustic
                if child >= 0:
                    values_E4[count, : PART + 1] = scores_N2[child]
                else:
                    rows_E7[count, PARENT], rows_E7[count, TOKEN] = node, v
                    rows_E7[count, WORD], rows_E7[count, TRIE_NODE] = word, trie_node
                    rows_E7[count, LENGTH] = rows_N9[node, LENGTH] + 1
                    _score(rows_E7[count], values_E4[count], prefixes, grammar, trie, weights)
                count += 1
    return count


@_compiled
def _choices(trie, weights, trie_node, token):
    """What a token does to an unfinished word: 1 if the word may go on, the trie node behind the
    token, and the first and the end of the range of spellings that the token may complete."""
    if not weights.has_trie:
        return 1, OUTSIDE, 0, 0
    if token == weights.delimiter:
        low, high = _endings(trie, weights, trie_node)
        return 0, 0, low, high
    behind = _step(trie, trie_node, token)
    if weights.delimiter > 0 or behind == OUTSIDE:
        return 0 if behind == OUTSIDE and _closed(weights) else 1, behind, 0, 0
    longer = trie.first_N[behind] < trie.first_N[behind + 1]
    return 1 if longer else 0, behind, trie.word_N[behind], trie.word_N[behind + 1]


@_compiled
def _endings(trie, weights, trie_node):
    """The range of spellings that an unfinished word may be: first, end."""
    if trie_node != OUTSIDE and trie.word_N[trie_node] < trie.word_N[trie_node + 1]:
        return trie.word_N[trie_node], trie.word_N[trie_node + 1]
    if _closed(weights):
        return 0, 0
    return UNKNOWN_WORD, UNKNOWN_WORD + 1


@_compiled
def _score(row_7, value_4, prefixes, grammar, trie, weights):
    """Sets the state and the scores of an entry."""
    state = prefixes.rows_N9[row_7[PARENT], STATE]
    fixed, part = prefixes.scores_N2[row_7[PARENT], FIXED], 0.0
    if grammar.level == OF_TOKENS:
        score, state = _lm_score(grammar, state, grammar.lm_id_V[row_7[TOKEN]])
        fixed += weights.lm * score
        if not weights.scores_words:
            fixed += weights.bonus
    if row_7[WORD] != NO_WORD:
        score, state = _word_score(grammar, trie, weights, row_7[WORD], state)
        fixed += score
        row_7[TRIE_NODE] = row_7[LENGTH] = 0
    elif weights.has_trie:
        part = _part_score(trie, weights, row_7[TRIE_NODE], row_7[LENGTH])
    row_7[STATE] = state
    value_4[FIXED], value_4[PART] = fixed, part


@_compiled
def _part_score(trie, weights, trie_node, length):
    """Of an unfinished word."""
    if trie_node != OUTSIDE and trie.hot_N[trie_node] > 0:
        return weights.hot * length / trie.hot_N[trie_node]
    if not weights.scores_words or (trie_node != OUTSIDE and trie.listed_N[trie_node]):
        return 0.0
    return weights.unknown_part * max(length / LONG, 1.0)


@_compiled
def _word_score(grammar, trie, weights, word, state):
    """Of a complete word after a state of the language model, and the state behind it."""
    score = 0.0
    hot = word >= 0 and trie.hot_W[word]
    known = word >= 0 and trie.known_W[word]
    if hot:
        score += weights.hot
    if weights.scores_words:
        score += weights.bonus
        if not known and not (hot and weights.unknown_word == NEVER):
            score += weights.unknown_word
        if grammar.level == OF_WORDS:
            token = trie.lm_id_W[word] if word >= 0 else UNLISTED
            lm_score, state = _lm_score(
                grammar, state, token if token != UNLISTED else grammar.unknown
            )
            score += weights.lm * lm_score
    return score, state


@_compiled
def _lm_score(grammar, state, token):
    """The n-gram score of a token after a state, and the state behind it."""
    score = 0.0
    while state != 0:
        arc = _find(grammar.token_A, grammar.first_S[state], grammar.first_S[state + 1], token)
        if arc >= 0:
            return score + grammar.score_A[arc], grammar.target_A[arc]
        score += grammar.backoff_S[state]
        state = grammar.fallback_S[state]
    return score + grammar.score_A[token], grammar.target_A[token]  # state 0 has all tokens


@_compiled
def _step(trie, trie_node, token):
    """The trie node behind a token, or OUTSIDE."""
    if trie_node == OUTSIDE:
        return OUTSIDE
    arc = _find(trie.token_R, trie.first_N[trie_node], trie.first_N[trie_node + 1], token)
    return trie.target_R[arc] if arc >= 0 else OUTSIDE


@_compiled
def _keep(beam, width, size, prefixes, entries, count, weights):
    """Makes the best entries the new beam; its width, and the number of prefixes. Of equal scores
    the first entry is better."""
    rows_N9, scores_N2 = prefixes
    rows_E7, values_E4 = entries
    stays = 2 * width
    total_E = values_E4[:count, TOTAL]
    total_E[:] = values_E4[:count, ACOUSTIC] + values_E4[:count, FIXED] + values_E4[:count, PART]
    near = np.flatnonzero((total_E >= total_E.max() + weights.beam_prune) & (total_E > NEVER))
    order = np.argsort(-total_E[near], kind="mergesort")[: weights.beam_size]
    for b in range(width):
        rows_N9[beam.node_B[b], SLOT] = -1
    width = 0
    for e in near[order]:
        node = rows_E7[e, NODE]
        if node < 0:
            node, parent = size, rows_E7[e, PARENT]
            size += 1
            rows_N9[node, : LENGTH + 1] = rows_E7[e, : LENGTH + 1]
            rows_N9[node, CHILD], rows_N9[node, SLOT] = -1, -1
            rows_N9[node, SIBLING], rows_N9[parent, CHILD] = rows_N9[parent, CHILD], node
            scores_N2[node] = values_E4[e, : PART + 1]
        b = rows_N9[node, SLOT]
        if b < 0:
            b = rows_N9[node, SLOT] = width
            beam.node_B[b] = node
            beam.blank_B[b] = beam.token_B[b] = NEVER
            width += 1
        if e < stays and e % 2 == 0:
            beam.blank_B[b] = values_E4[e, ACOUSTIC]
        else:
            beam.token_B[b] = values_E4[e, ACOUSTIC]
    return width, size


@_compiled
def _best(beam, width, prefixes, grammar, trie, weights):
    """The best prefix in the beam, with its last word and the end of the sentence."""
    rows_N9 = prefixes.rows_N9
    # A space at the end makes no other text, unless a model of tokens has a score for it.
    merged = weights.delimiter > 0 and grammar.level != OF_TOKENS
    node_found, word_found, score_found, acoustic_found = 0, NO_WORD, NEVER, NEVER
    for cut in range(2):  # where no word of a closed vocabulary ends, the unfinished one is kept
        for b in range(width):
            node = beam.node_B[b]
            parent = rows_N9[node, PARENT]
            spaced = merged and parent >= 0 and rows_N9[node, TOKEN] == weights.delimiter
            if spaced and rows_N9[parent, SLOT] >= 0:
                continue  # counted with its parent
            low, high = NO_WORD, NO_WORD + 1
            if weights.has_trie and rows_N9[node, LENGTH] > 0:
                low, high = _endings(trie, weights, rows_N9[node, TRIE_NODE])
                if cut == 1:
                    low, high = UNKNOWN_WORD, UNKNOWN_WORD + 1
            for word in range(low, high):
                acoustic = _log_add(beam.blank_B[b], beam.token_B[b])
                child = _child(rows_N9, node, weights.delimiter, word)
                if merged and child >= 0 and rows_N9[child, SLOT] >= 0:
                    slot = rows_N9[child, SLOT]
                    acoustic = _log_add(acoustic, beam.blank_B[slot])
                    acoustic = _log_add(acoustic, beam.token_B[slot])
                score, state = prefixes.scores_N2[node, FIXED], rows_N9[node, STATE]
                if word != NO_WORD and cut == 0:
                    more, state = _word_score(grammar, trie, weights, word, state)
                    score += more
                if grammar.level != NO_LM:
                    more, state = _lm_score(grammar, state, grammar.end)
                    score += weights.lm * more
                if score + acoustic > score_found:
                    node_found, word_found = node, word
                    score_found, acoustic_found = score + acoustic, acoustic
        if score_found > NEVER:
            break
    length = 0
    node = node_found
    while node > 0:
        length += 1
        node = rows_N9[node, PARENT]
    ids_U, word_U = np.zeros(length, np.int32), np.zeros(length, np.int32)
    node = node_found
    for u in range(length - 1, -1, -1):
        ids_U[u], word_U[u] = rows_N9[node, TOKEN], rows_N9[node, WORD]
        node = rows_N9[node, PARENT]
    return Found(ids_U, word_U, word_found, score_found, acoustic_found)


@_compiled
def align(log_TV, ids_U):
    """(U, 2): the first and the last frame of each token in the best alignment (Viterbi)."""
    frames, tokens = len(log_TV), len(ids_U)
    states = 2 * tokens + 1
    score_X, before_X = np.full(states, NEVER), np.full(states, NEVER)
    before_X[0] = 0.0
    back_TX = np.zeros((frames, states), np.uint8)
    for t in range(frames):
        low = max(0, states - 2 * (frames - t))  # earlier states do not reach the end
        for x in range(low, min(states, 2 * t + 2)):
            token = 0 if x % 2 == 0 else ids_U[x // 2]
            best, step = before_X[x], 0
            if t == 0:
                best = 0.0
            elif x > 0:
                if before_X[x - 1] > best:
                    best, step = before_X[x - 1], 1
                other = x % 2 == 1 and x > 1 and token != ids_U[x // 2 - 1]
                if other and before_X[x - 2] > best:
                    best, step = before_X[x - 2], 2
            score_X[x] = best + max(log_TV[t, token], LOWEST)
            back_TX[t, x] = step
        score_X, before_X = before_X, score_X
        score_X[:] = NEVER
    spans_U2 = np.zeros((tokens, 2), np.int64)
    x = states - 1
    last = -1
    if tokens > 0 and before_X[x - 1] >= before_X[x]:
        x -= 1
    for t in range(frames - 1, -1, -1):
        if x % 2 == 1:
            spans_U2[x // 2, 0] = t
            if x != last:
                spans_U2[x // 2, 1] = t
        last = x
        x -= back_TX[t, x]
    return spans_U2


@_compiled
def _child(rows_N9, node, token, word):
    """The prefix that is longer than `node` by a token that completes `word`; -1 if there is
    none."""
    child = rows_N9[node, CHILD]
    while child >= 0 and (rows_N9[child, TOKEN] != token or rows_N9[child, WORD] != word):
        child = rows_N9[child, SIBLING]
    return child


@_compiled
def _find(values, low, high, value):
    """The index of a value in values[low:high], which ascend; -1 if it is not there."""
    end = high
    while low < high:
        middle = (low + high) // 2
        if values[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low if low < end and values[low] == value else -1


@_compiled
def _grown(table):
    """The table with twice as many rows."""
    larger = np.zeros((2 * table.shape[0], table.shape[1]), table.dtype)
    larger[: table.shape[0]] = table
    return larger


@_compiled
def _log_add(a, b):
    if a < b:
        a, b = b, a
    return a if b == NEVER else a + math.log1p(math.exp(b - a))
