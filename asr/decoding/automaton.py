"""Find the best alignment path through an automaton over labels, exactly, without a beam.

In: log-probabilities and a `GrammarPart`. Out: path and score. NumPy, numba.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.decoding.fusion import GrammarPart
from asr.kernels.jit import compiled


class Arcs(NamedTuple):
    """The arcs of an automaton; arcs with one label and one target share an entry."""

    sources: np.ndarray  # (A,) automaton state
    entries: np.ndarray  # (A,)
    labels: np.ndarray  # (E,) label of each entry
    targets: np.ndarray  # (E,) automaton state of each entry
    accepting: np.ndarray  # (S,) bool


def arcs_of(grammar: GrammarPart) -> Arcs:
    """The arcs of a grammar, for `best_path`."""
    sources, labels = np.nonzero(grammar.targets >= 0)
    targets = grammar.targets[sources, labels].astype(np.int64)
    keys, entries = np.unique(targets * grammar.targets.shape[1] + labels, return_inverse=True)
    return Arcs(sources, entries, keys % grammar.targets.shape[1],
                keys // grammar.targets.shape[1], grammar.accepting)


def num_cells(log_probs: np.ndarray, arcs: Arcs) -> int:
    """How many steps `best_path` remembers, 4 bytes each."""
    return len(log_probs) * (len(arcs.accepting) + len(arcs.labels))


@compiled
def best_path(log_probs, arcs):
    """(path, score): one label a frame, 0 = blank; score minus infinity if no sentence fits.

    Viterbi. Automaton state s has a place s "the last frame was a blank", entry e has a place
    S + e "the last frame was its label". Leaving a state with the label that was just written
    needs a blank in between, so for each state the two best entries of different labels are kept.
    """
    num_frames = log_probs.shape[0]
    num_states, num_entries = len(arcs.accepting), len(arcs.labels)
    before = np.full(num_states + num_entries, -np.inf)
    after = np.empty(num_states + num_entries)
    came_from = np.zeros((num_frames, num_states + num_entries), dtype=np.int32)
    first = np.empty(num_states, dtype=np.int64)  # place of the best entry, -1: none
    second = np.empty(num_states, dtype=np.int64)  # of the best with another label
    before[0] = 0.0
    for t in range(num_frames):
        row = log_probs[t]
        first[:] = -1
        second[:] = -1
        for entry in range(num_entries):
            place, state = num_states + entry, arcs.targets[entry]
            if before[place] == -np.inf:
                continue
            best = first[state]
            if best < 0 or before[place] > before[best]:
                first[state] = place
                if best >= 0 and arcs.labels[best - num_states] != arcs.labels[entry]:
                    second[state] = best
            elif arcs.labels[best - num_states] != arcs.labels[entry] and (
                    second[state] < 0 or before[place] > before[second[state]]):
                second[state] = place
        for state in range(num_states):
            origin = state
            if first[state] >= 0 and before[first[state]] > before[state]:
                origin = first[state]
            after[state] = before[origin] + row[0]
            came_from[t, state] = origin
        for entry in range(num_entries):
            place = num_states + entry
            after[place] = before[place]
            came_from[t, place] = place
        for arc in range(len(arcs.sources)):
            state, entry = arcs.sources[arc], arcs.entries[arc]
            place, origin = num_states + entry, state
            other = first[state]
            if other >= 0 and arcs.labels[other - num_states] == arcs.labels[entry]:
                other = second[state]
            if other >= 0 and before[other] > before[origin]:
                origin = other
            if before[origin] > after[place]:
                after[place] = before[origin]
                came_from[t, place] = origin
        for entry in range(num_entries):
            after[num_states + entry] += row[arcs.labels[entry]]
        before, after = after, before
    place, score = 0, -np.inf
    for candidate in range(num_states + num_entries):
        state = candidate
        if candidate >= num_states:
            state = arcs.targets[candidate - num_states]
        if arcs.accepting[state] and before[candidate] > score:
            place, score = candidate, before[candidate]
    path = np.zeros(num_frames, dtype=np.int64)
    for t in range(num_frames - 1, -1, -1):
        if place >= num_states:
            path[t] = arcs.labels[place - num_states]
        place = came_from[t, place]
    return path, score
