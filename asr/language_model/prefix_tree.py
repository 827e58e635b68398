"""Prefix trees in flat arrays, built level by level without a Python object per node.

In: integer sequences. Out: breadth-first arrays, and the node of each sequence. NumPy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Tree(NamedTuple):
    """N nodes in breadth-first order; node 0 is the root.

    The children of node k are first_child[k] up to first_child[k + 1], by symbol.
    """

    first_child: np.ndarray  # (N + 1,) int32
    symbols: np.ndarray  # (N,) int32, on the way into the node; 0 for the root
    parents: np.ndarray  # (N,) int32, -1 for the root
    depths: np.ndarray  # (N,) int32
    nodes: np.ndarray  # (number of sequences,) int32, where each sequence ends


def build_tree(sequences: np.ndarray, lengths: np.ndarray) -> Tree:
    """The tree of all prefixes of the sequences.

    Args:
        sequences: (n, L) non-negative integers, right-padded with anything.
        lengths: (n,) integers, 0 .. L.
    """
    sequences = np.asarray(sequences, dtype=np.int64)
    lengths = np.asarray(lengths, dtype=np.int64)
    span = int(sequences.max(initial=0)) + 1
    nodes = np.zeros(len(sequences), dtype=np.int64)
    symbols, parents, depths = [np.zeros(1, np.int64)], [np.full(1, -1)], [np.zeros(1, np.int64)]
    num_nodes = 1
    for depth in range(1, int(lengths.max(initial=0)) + 1):
        deep = np.flatnonzero(lengths >= depth)
        keys, place = np.unique(nodes[deep] * span + sequences[deep, depth - 1],
                                return_inverse=True)
        nodes[deep] = num_nodes + place
        symbols.append(keys % span)
        parents.append(keys // span)
        depths.append(np.full(len(keys), depth))
        num_nodes += len(keys)
    all_parents = np.concatenate(parents)
    # Parents come in rising order, so the first child of k follows the children of 0 .. k - 1.
    first_child = np.searchsorted(all_parents[1:], np.arange(num_nodes + 1)) + 1
    return Tree(first_child.astype(np.int32), np.concatenate(symbols).astype(np.int32),
                all_parents.astype(np.int32), np.concatenate(depths).astype(np.int32),
                nodes.astype(np.int32))


def best_below(tree: Tree, values: np.ndarray) -> np.ndarray:
    """For each node the highest value of the node itself and of everything below it.

    Args:
        tree: N nodes.
        values: (N,) floating point; minus infinity where a node has no value of its own.
    """
    best = values.copy()
    edges = np.searchsorted(tree.depths, np.arange(tree.depths[-1] + 2))
    for depth in range(int(tree.depths[-1]), 0, -1):
        level = slice(edges[depth], edges[depth + 1])
        np.maximum.at(best, tree.parents[level], best[level])
    return best
