"""The words that a beam search may write, as a tree of their spellings in arrays.

A node is the beginning of spellings, the root the empty one. An arc leads to the beginning that is
longer by one token, so that a search follows a word while its tokens come.

    N nodes · R arcs, sorted by node and token · W spellings, sorted by node · L tokens of one
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

UNLISTED = -1  # `lm_id` of a word that the language model does not list


@dataclass(frozen=True, slots=True)
class WordSpelling:
    """A word, and one way to write or to pronounce it."""

    word: str
    ids: tuple[int, ...]
    """Outputs of the model, none of them the blank."""
    lm_id: int = UNLISTED
    """The word's id in the language model."""
    known: bool = True
    """Whether the word is in the language model, or without one, in the lexicon."""
    listed: bool = True
    """Whether the word is in the lexicon; otherwise it is a hot word only."""
    hot: bool = False


class Trie(NamedTuple):
    first_N: np.ndarray
    """(N + 1,) int64: the arcs of node n are first_N[n] to first_N[n + 1]."""
    token_R: np.ndarray
    """int32, ascending inside a node."""
    target_R: np.ndarray
    """int32"""
    word_N: np.ndarray
    """(N + 1,) int64: the spellings that end in node n are word_N[n] to word_N[n + 1]."""
    lm_id_W: np.ndarray
    """int32: as in WordSpelling, and so are the next two."""
    known_W: np.ndarray
    hot_W: np.ndarray
    listed_N: np.ndarray
    """bool: whether a spelling of a listed word begins so."""
    hot_N: np.ndarray
    """int32: the length of the shortest spelling of a hot word that begins so; 0 if none does."""


def build_trie(spellings: Sequence[WordSpelling]) -> tuple[Trie, list[WordSpelling]]:
    """The tree, and the spellings in its order; words that are spelled alike keep their order."""
    length_W = np.array([len(each.ids) for each in spellings], np.int64)
    ids_WL = np.zeros((len(spellings), max(length_W.max(initial=0), 1)), np.int32)
    ids_WL[np.arange(ids_WL.shape[1]) < length_W[:, None]] = [
        i for each in spellings for i in each.ids
    ]
    order_W = np.lexsort(ids_WL.T[::-1])
    ids_WL, length_W = ids_WL[order_W], length_W[order_W]
    ordered = [spellings[w] for w in order_W]
    listed_W, hot_W, known_W = (
        np.array([getattr(each, name) for each in ordered], bool)
        for name in ("listed", "hot", "known")
    )
    # A node is new where a row differs from the one before, there or earlier.
    differs_WL = np.ones(ids_WL.shape, bool)
    differs_WL[1:] = np.logical_or.accumulate(ids_WL[1:] != ids_WL[:-1], 1)
    new_WL = differs_WL & (ids_WL > 0)
    number_WL = np.where(new_WL, np.cumsum(new_WL).reshape(new_WL.shape), 0)
    node_WL = np.maximum.accumulate(number_WL, 0)
    parent_WL = np.concatenate((np.zeros((len(ordered), 1), np.int64), node_WL[:, :-1]), 1)
    count = int(new_WL.sum()) + 1
    parent_R, token_R, target_R = parent_WL[new_WL], ids_WL[new_WL], node_WL[new_WL]
    arcs_R = np.lexsort((token_R, parent_R))
    end_W = node_WL[np.arange(len(ordered)), length_W - 1]
    words_W = np.argsort(end_W, kind="stable")
    listed_N, hot_N = np.zeros(count, bool), np.zeros(count, np.int32)
    listed_N[node_WL[listed_W][ids_WL[listed_W] > 0]] = True
    listed_N[0] = listed_W.any()
    for w in np.flatnonzero(hot_W)[np.argsort(-length_W[hot_W], kind="stable")]:
        hot_N[node_WL[w, : length_W[w]]] = length_W[w]  # the shortest comes last
    trie = Trie(
        first_N=np.searchsorted(parent_R[arcs_R], np.arange(count + 1)),
        token_R=token_R[arcs_R].astype(np.int32),
        target_R=target_R[arcs_R].astype(np.int32),
        word_N=np.searchsorted(end_W[words_W], np.arange(count + 1)),
        lm_id_W=np.array([ordered[w].lm_id for w in words_W], np.int32),
        known_W=known_W[words_W],
        hot_W=hot_W[words_W],
        listed_N=listed_N,
        hot_N=hot_N,
    )
    return trie, [ordered[w] for w in words_W]
