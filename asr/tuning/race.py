"""Many settings on one development set, with little time for those that fall behind.

In: a `DevSet`, settings to try and a decoder for each. Out: word errors of each, an utterance.

All settings read a sixteenth of the utterances, the better half of them an eighth, and so on; a few
read everything. All read the same utterances, so that they are compared where they differ.
Reference: Karnin, Koren, Somekh 2013, ICML (sequential halving).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from asr.decoding import Decoder
from asr.tuning.dev_set import DevSet, word_errors

SMALL = 100  # utterances; fewer are read by every setting
FINALISTS = 3
SEED = 0


class Key(NamedTuple):
    """One setting: a place of the error surface."""

    lm_weight: float
    word_bonus: float
    beam_width: int


class Race:
    """Reads utterances in a random order, the same for every setting.

    Args:
        dev: the utterances.
        decoder_of: builds the decoder of a setting.
        progress: called with (utterances read, utterances to be read, about).
        planned: how many settings will enter each `run`.
    """

    def __init__(self, dev: DevSet, decoder_of: Callable[[Key], Decoder],
                 progress: Callable[[int, int], None] | None, planned: Sequence[int]):
        self.dev, self._decoder_of, self._progress = dev, decoder_of, progress
        self.order = np.random.default_rng(SEED).permutation(len(dev.ids))
        self.errors: dict[Key, np.ndarray] = {}  # (utterances read, 2), in `order`
        self._read, self._most = 0, sum(sum(field * (size - before) for field, before, size in
                                            self._rungs(count)) for count in planned)

    def run(self, keys: Sequence[Key]) -> None:
        """Let settings race; those that were in a race before are left out."""
        field = [key for key in dict.fromkeys(keys) if key not in self.errors]
        for count, _, size in self._rungs(len(field)):
            field = sorted(field, key=lambda key: (
                self.errors[key][:, 0].sum() if key in self.errors else 0))[:count]
            for key in field:
                self._extend(key, size)

    @property
    def winner(self) -> Key:
        """The setting with the fewest errors of those that have read everything.

        Of equals, the one with the smaller numbers.
        """
        return min((key for key, errors in self.errors.items() if len(errors) == len(self.order)),
                   key=lambda key: (self.errors[key][:, 0].sum(), key.beam_width, key.lm_weight,
                                    abs(key.word_bonus)))

    def wer(self, key: Key) -> float:
        """Word error rate; of a setting that fell behind, the winner's and how far it was behind
        on the utterances that both have read.
        """
        best, own = self.errors[self.winner], self.errors[key]
        behind = (own[:, 0] - best[:len(own), 0]).sum() / max(1, own[:, 1].sum())
        return float(best[:, 0].sum() / best[:, 1].sum() + behind)

    def in_order(self, key: Key) -> np.ndarray:
        """(N, 2) errors and words of a setting that has read everything, in the set's order."""
        found = np.empty_like(self.errors[key])
        found[self.order] = self.errors[key]
        return found

    def _rungs(self, count: int) -> list[tuple[int, int, int]]:
        """(settings that read on, utterances read before, utterances read then)."""
        total = len(self.order)
        sizes = [total] if total < SMALL else [math.ceil(total / part) for part in (16, 8, 4, 2, 1)]
        rungs, before = [], 0
        for size in sizes:
            rungs.append((count, before, size))
            before, count = size, min(count, max(FINALISTS, math.ceil(count / 2)))
        return rungs

    def _extend(self, key: Key, size: int) -> None:
        known = self.errors.get(key, np.empty((0, 2), np.int64))
        rows = self.order[len(known):size]
        if len(rows):
            found = word_errors(self.dev, self._decoder_of(key), rows)
            self.errors[key] = np.concatenate([known, found])
        self._read += len(rows)
        if self._progress:
            self._progress(self._read, max(self._read, self._most))
