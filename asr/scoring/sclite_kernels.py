"""sclite's alignment: a substitution costs 4, an insertion or deletion 3, ties as in its program.

In: words as numbers. Out: substitutions, deletions and insertions, or the path. Two kernels: one
for plain sequences (whole numbers, little memory), one for word graphs (single precision as in
sclite, because the order of its additions decides between equal readings). Imports numba: import
this module only where an alignment is wanted. Reference: NIST's SCTK 2.4.10, src/sclite/net_dp.c
and word.c.
"""

from __future__ import annotations

import numpy as np

from asr.kernels.jit import compiled

SUBSTITUTE, DELETE, INSERT, EQUAL = 0, 1, 2, 3
WORD, NOTHING, OPTIONAL = 0, 1, 2  # kinds of arcs: NOTHING is sclite's @


@compiled
def count_sequences(references: np.ndarray, reference_ends: np.ndarray, hypotheses: np.ndarray,
                    hypothesis_ends: np.ndarray) -> np.ndarray:
    """Errors of many pairs.

    Args:
        references, hypotheses: int64, the words of all texts one after the other.
        reference_ends, hypothesis_ends: (num_pairs,) int64, where each text ends.

    Returns:
        (num_pairs, 4) int64: substitutions, deletions, insertions, reference words.
    """
    counts = np.zeros((len(reference_ends), 4), np.int64)
    reference_start = hypothesis_start = 0
    for pair in range(len(reference_ends)):
        reference = references[reference_start:reference_ends[pair]]
        hypothesis = hypotheses[hypothesis_start:hypothesis_ends[pair]]
        for kind in trace_sequences(reference, hypothesis):
            if kind != 3:
                counts[pair, kind] += 1
        counts[pair, 3] = len(reference)
        reference_start = reference_ends[pair]
        hypothesis_start = hypothesis_ends[pair]
    return counts


@compiled
def trace_sequences(reference: np.ndarray, hypothesis: np.ndarray) -> np.ndarray:
    """The alignment of two sequences.

    Of long ones every so often a row of costs is kept and the moves between two of them are found
    on the way back, so that memory grows with the length to the power of 1.5, not its square.

    Args:
        reference, hypothesis: (num_words,) int64.

    Returns:
        (num_steps,) int8 of SUBSTITUTE, DELETE, INSERT and EQUAL, from the first word on.
    """
    rows, columns = len(reference), len(hypothesis)
    every = rows + 1 if rows * columns < 1_000_000 else int(np.sqrt(rows)) + 1
    kept = np.empty((rows // every + 1, columns + 1), np.int64)
    costs = np.arange(columns + 1) * 3
    kept[0] = costs
    unused = np.empty((0, 0), np.int8)
    for row in range(1, rows // every * every + 1):
        _advance(reference[row - 1], hypothesis, costs, unused, 0)
        if row % every == 0:
            kept[row // every] = costs
    path = np.empty(rows + columns, np.int8)
    steps, column = 0, columns
    moves = np.empty((every, columns + 1), np.int8)
    for block in range(rows // every, -1, -1):
        start, end = block * every, min(rows, (block + 1) * every)
        costs[:] = kept[block]
        for row in range(start, end):
            _advance(reference[row], hypothesis, costs, moves, row - start)
        row = end
        while row > start:
            move = moves[row - 1 - start, column]
            path[steps] = move
            steps += 1
            if move != 2:
                row -= 1
            if move != 1:
                column -= 1
    path[steps:steps + column] = 2
    return path[:steps + column][::-1].copy()


@compiled
def _advance(word: int, hypothesis: np.ndarray, costs: np.ndarray, moves: np.ndarray,
             row: int) -> None:
    """One more reference word: `costs` becomes the next row; moves are kept where there is room."""
    keep = len(moves) > 0
    diagonal = costs[0]
    costs[0] += 3
    if keep:
        moves[row, 0] = 1
    for column in range(1, len(costs)):
        equal = hypothesis[column - 1] == word
        replaced = diagonal + (0 if equal else 4)
        deleted, inserted = costs[column] + 3, costs[column - 1] + 3
        diagonal = costs[column]
        if replaced <= deleted and replaced <= inserted:
            costs[column], move = replaced, 3 if equal else 0
        elif deleted < inserted:
            costs[column], move = deleted, 1
        else:
            costs[column], move = inserted, 2
        if keep:
            moves[row, column] = move


@compiled
def align_graphs(kinds_a: np.ndarray, starts_a: np.ndarray, before_a: np.ndarray,
                 last_a: np.ndarray, kinds_b: np.ndarray, starts_b: np.ndarray,
                 before_b: np.ndarray, last_b: np.ndarray,
                 same: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The best way through two word graphs at once.

    Arc 0 of each graph is before the first word and is none; an arc comes after all that lead
    to it. Where several ways cost the same, the one that is listed first is taken.

    Args:
        kinds_a, kinds_b: (num_arcs,) int8 of WORD, NOTHING and OPTIONAL, arc 0 included.
        starts_a, before_a: int64; `before_a[starts_a[i]:starts_a[i + 1]]` are the arcs that lead
            to arc `i`; so for b.
        last_a, last_b: int64, arcs that lead to the end.
        same: (num_arcs of a, num_arcs of b) bool, which words match.

    Returns:
        (num_steps,) int64 twice: the arc of a and of b in each step, -1 where there is none.
    """
    least = np.empty((len(kinds_a), len(kinds_b)), np.float32)
    back_a = np.empty(least.shape, np.int32)
    back_b = np.empty(least.shape, np.int32)
    least[0, 0] = 0
    for a in range(len(kinds_a)):
        deleted_cost = _left_out(kinds_a[a])
        for b in range(len(kinds_b)):
            if a == 0 and b == 0:
                continue
            inserted, from_b = np.float32(np.inf), -1
            if b:
                for i in range(starts_b[b], starts_b[b + 1]):
                    if least[a, before_b[i]] < inserted:
                        inserted, from_b = least[a, before_b[i]], before_b[i]
                inserted += _left_out(kinds_b[b])
            deleted, from_a = np.float32(np.inf), -1
            if a:
                for i in range(starts_a[a], starts_a[a + 1]):
                    if least[before_a[i], b] < deleted:
                        deleted, from_a = least[before_a[i], b], before_a[i]
                deleted += deleted_cost
            replaced, both_a, both_b = np.float32(np.inf), -1, -1
            if a and b:
                for i in range(starts_a[a], starts_a[a + 1]):
                    for j in range(starts_b[b], starts_b[b + 1]):
                        if least[before_a[i], before_b[j]] < replaced:
                            replaced = least[before_a[i], before_b[j]]
                            both_a, both_b = before_a[i], before_b[j]
                if kinds_a[a] == 1 and kinds_b[b] == 1:
                    replaced += np.float32(1)
                elif not same[a, b]:
                    replaced += np.float32(4)
            if replaced <= deleted and replaced <= inserted:
                least[a, b], back_a[a, b], back_b[a, b] = replaced, both_a, both_b
            elif deleted < inserted:
                least[a, b], back_a[a, b], back_b[a, b] = deleted, from_a, b
            else:
                least[a, b], back_a[a, b], back_b[a, b] = inserted, a, from_b
    best, a, b = np.float32(np.inf), 0, 0
    for i in last_a:
        for j in last_b:
            if least[i, j] < best:
                best, a, b = least[i, j], i, j
    path_a = np.empty(len(kinds_a) + len(kinds_b), np.int64)
    path_b = np.empty_like(path_a)
    steps = 0
    while a > 0 or b > 0:
        next_a, next_b = back_a[a, b], back_b[a, b]
        path_a[steps] = -1 if next_a == a else a
        path_b[steps] = -1 if next_b == b else b
        steps += 1
        a, b = next_a, next_b
    return path_a[:steps][::-1].copy(), path_b[:steps][::-1].copy()


@compiled
def _left_out(kind: int) -> np.float32:
    return np.float32(3) if kind == 0 else np.float32(0.001) if kind == 1 else np.float32(2)
