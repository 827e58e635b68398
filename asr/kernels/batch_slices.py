"""Cut a batch into slices for several threads.

In: the lengths of its sequences. Out: the sequences of each slice and the first row of every step.
NumPy only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Slice(NamedTuple):
    """Sequences of a batch that one thread processes together, longest first."""

    sequences: np.ndarray  # (n,) int64, indices into the batch
    lengths: np.ndarray  # (n,) int64, descending
    offsets: np.ndarray  # (longest + 1,) int64, first row of every step
    first_row: int  # where the rows of this slice begin among all kept rows


def choose(batch: int, threads: int, num_directions: int) -> int:
    """Number of slices: one piece per thread, or two if every slice has four sequences.

    Four rows use a tile of the recurrent product almost as well as eight. With two pieces per
    thread, a thread that finishes early can take work from the others.
    """
    needed = -(-threads // num_directions)
    return max(1, min(batch, needed), min(batch // 4, 2 * needed))


def plan(lengths: np.ndarray, num_slices: int) -> list[Slice]:
    """Cut the sequences, longest first, into slices of nearly the same number of sequences.

    Sequences of similar length share a slice, so that its rows end at about the same step.
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
