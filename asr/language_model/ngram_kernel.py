"""The n-gram model as the kernels see it: a tree in flat arrays, with links to shorter contexts.

In: a state and a word. Out: its log-probability and the next state. NumPy, numba.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.kernels.jit import compiled


class NgramArrays(NamedTuple):
    """A back-off n-gram model (Katz 1987) of order N as a tree of its n-grams, oldest word first.

    Node 0 is the empty context, node 1 + w the unigram w. Nodes are in breadth-first order, the
    children of node k are first_child[k] up to first_child[k + 1], by word. Only contexts (nodes
    of fewer than N words) have children and a back-off weight: C of them. A state is the node of
    the longest context that the model knows, so it forgets what it cannot use.
    """

    words: np.ndarray  # (M,) int32, last word of the n-gram
    log_probs: np.ndarray  # (M,) float32, natural log
    suffixes: np.ndarray  # (M,) int32, longest known context that is a proper suffix
    first_child: np.ndarray  # (C + 1,) int32
    backoffs: np.ndarray  # (C,) float32, natural log


@compiled
def find_child(model, node, word):
    """The node of context + word, or -1."""
    if node == 0:
        return word + 1
    low, high = model.first_child[node], model.first_child[node + 1]
    while low < high:
        middle = (low + high) // 2
        if model.words[middle] < word:
            low = middle + 1
        else:
            high = middle
    if low < model.first_child[node + 1] and model.words[low] == word:
        return low
    return -1


@compiled
def ngram_step(model, state, word):
    """Natural log of P(word | state), and the state after it.

    The longest known n-gram decides; each word of context that is dropped on the way costs its
    back-off weight.
    """
    score = 0.0
    node = state
    while True:
        child = find_child(model, node, word)
        if child >= 0:
            break
        score += model.backoffs[node]
        node = model.suffixes[node]
    score += model.log_probs[child]
    if child >= len(model.backoffs):  # of the highest order: not a context
        child = model.suffixes[child]
    return score, child
