"""Loudness of a recording in steps of 25 ms: silence check, and where it is quiet.

In: (num_samples,) float32, whole or in blocks. Out: mean power of cells of 25 ms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

SILENCE_DB = -70.0  # dB of full scale; a recording that never gets louder holds no speech
CELL_SECONDS = 0.025  # the stretch over which loudness is measured


def is_silent(audio: np.ndarray, sample_rate: int) -> bool:
    """Whether a recording never gets louder than -70 dB of full scale over 25 ms.

    Normalisation would blow up the noise of such a recording to the level of speech, and the
    network would find words in it.

    Args:
        audio: (num_samples,) float32.
        sample_rate: Hz.
    """
    meter = LoudnessMeter(sample_rate)
    for _ in meter.listen([audio]):
        pass
    return meter.silent


def all_silent(powers: np.ndarray) -> bool:
    """Whether no cell is louder than `SILENCE_DB`; NaN is not silent.

    Args:
        powers: (cells,) mean square.
    """
    return bool(np.all(powers < 10 ** (SILENCE_DB / 10)))


class LoudnessMeter:
    """The mean power of every 25 ms of a recording that is read in blocks.

    Args:
        sample_rate: Hz.

    Attributes:
        num_samples: that have passed.
        cell: samples of one cell.
    """

    def __init__(self, sample_rate: int):
        self.num_samples = 0
        self.cell = max(1, int(CELL_SECONDS * sample_rate))
        self._powers: list[np.ndarray] = []

    def listen(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The same blocks, measured; once all have passed, `powers` is complete."""
        rest = np.empty(0, np.float32)
        for block in blocks:
            self.num_samples += len(block)
            audio = np.concatenate([rest, block]) if len(rest) else block
            whole = len(audio) // self.cell * self.cell
            cells = audio[:whole].reshape(-1, self.cell)
            with np.errstate(over="ignore"):  # 1e30 is infinitely loud; who uses it will refuse it
                self._powers.append(np.square(cells, dtype=np.float32).mean(axis=1))
            rest = audio[whole:].copy()
            yield block
        if len(rest):
            with np.errstate(over="ignore"):
                self._powers.append(np.square(rest, dtype=np.float32).mean(keepdims=True))

    @property
    def powers(self) -> np.ndarray:
        """(cells,) float32, mean square; the last cell may be shorter than the others."""
        self._powers = [np.concatenate([np.empty(0, np.float32), *self._powers])]
        return self._powers[0]

    @property
    def silent(self) -> bool:
        """Whether no cell is louder than `SILENCE_DB`; NaN is not silent."""
        return all_silent(self.powers)
