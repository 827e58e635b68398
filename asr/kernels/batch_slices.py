"""A batch cut into slices, for several threads to work on.

In: the lengths of its sequences. Out: which sequences go together, and where their rows begin.
NumPy only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Slice(NamedTuple):
    """Some sequences of a batch, longest first, worked on together."""

    sequences: np.ndarray  # (n,) int64, indices into the batch
    lengths: np.ndarray  # (n,) int64, descending
    offsets: np.ndarray  # (longest + 1,) int64, first row of every step
    first_row: int  # of this slice among all kept rows


def choose(batch: int, threads: int, num_directions: int) -> int:
    """How many slices: work for every thread, twice over where slices keep four sequences.

    Four rows fill a tile of the recurrent product nearly as well as eight, and two pieces per
    thread let one that is done early (shorter sequences, a busy machine) help out.
    """
    needed = -(-threads // num_directions)
    return max(1, min(batch, needed), min(batch // 4, 2 * needed))


def plan(lengths: np.ndarray, num_slices: int) -> list[Slice]:
    """Cut the sequences, longest first, into slices of nearly the same number of sequences.

    Neighbours in length share a slice, so that its rows stay live together.
    """
    order = np.argsort(-lengths, kind="stable")
    found, first_row = [], 0
    for mine in np.array_split(order, num_slices):
        own = np.ascontiguousarray(lengths[mine])
        longest = int(own.max(initial=0))
        live = np.searchsorted(-own, -np.arange(longest), side="left")  # own length > step
        offsets = np.concatenate([[0], np.cumsum(live)]).astype(np.int64)
        found.append(Slice(np.ascontiguousarray(mine), own, offsets, first_row))
        first_row += int(offsets[-1])
    return found
