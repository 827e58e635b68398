"""Pieces of audio of any size become blocks of one size, at the rate of the model.

In: (n,) float32 pieces at any rate. Out: blocks of 0.1 s. What comes after depends on the blocks
alone, so the text does not depend on how the audio was cut into pieces.
"""

from __future__ import annotations

import math

import numpy as np

from asr.errors import AudioError, UsageError

BLOCK_SECONDS = 0.1
MAX_AMPLITUDE = 8.0  # the limit of asr.audio


class Blocks:
    """Cuts a stream into blocks, and resamples it.

    Args:
        sample_rate: Hz, of the stream.
        model_rate: Hz, of the blocks.

    Raises:
        UsageError: a sample rate that cannot be.
    """

    def __init__(self, sample_rate: float, model_rate: int):
        if isinstance(sample_rate, bool) or not isinstance(sample_rate, (int, float, np.number)) \
                or not 1_000 <= sample_rate <= 1_000_000 or not math.isfinite(sample_rate):
            raise UsageError(f"sample_rate is {sample_rate!r}; expected 1,000 to 1,000,000 Hz.")
        self.size = round(BLOCK_SECONDS * model_rate)
        self._input = round(BLOCK_SECONDS * sample_rate)
        self._pieces: list[np.ndarray] = []
        self._held = 0
        self._resampled = np.empty(0, np.float32)
        self._resampler = None
        if sample_rate != model_rate:
            import soxr

            self._resampler = soxr.ResampleStream(sample_rate, model_rate, 1, dtype="float32",
                                                  quality="HQ")

    def feed(self, samples: np.ndarray) -> list[np.ndarray]:
        """The blocks that are complete, (size,) float32 each.

        Args:
            samples: (n,) floating point, mono, in [-1, 1]; n may be 0.

        Raises:
            UsageError: not one-dimensional floating point.
            AudioError: not finite, or far outside [-1, 1]; the stream stays as it was.
        """
        samples = _checked(samples)
        self._pieces.append(samples)
        self._held += len(samples)
        if self._held < self._input:
            return []
        held = np.concatenate(self._pieces)
        whole = len(held) // self._input * self._input
        self._pieces, self._held = [held[whole:].copy()], len(held) - whole
        blocks = held[:whole].reshape(-1, self._input)
        if self._resampler is None:
            return list(blocks)
        self._resampled = np.concatenate(
            [self._resampled, *(self._resampler.resample_chunk(block) for block in blocks)])
        return self._cut()

    def finish(self) -> list[np.ndarray]:
        """What is left; the last block may be shorter."""
        rest = np.concatenate([np.empty(0, np.float32), *self._pieces])
        if self._resampler is not None:
            self._resampled = np.concatenate(
                [self._resampled, self._resampler.resample_chunk(rest, last=True)])
            blocks, rest = self._cut(), self._resampled
        else:
            blocks = []
        return [*blocks, rest] if len(rest) else blocks

    def _cut(self) -> list[np.ndarray]:
        whole = len(self._resampled) // self.size * self.size
        blocks = list(self._resampled[:whole].reshape(-1, self.size))
        self._resampled = self._resampled[whole:].copy()
        return blocks


def _checked(samples: np.ndarray) -> np.ndarray:
    if not isinstance(samples, np.ndarray) or samples.ndim != 1 or samples.dtype.kind != "f":
        shape = getattr(samples, "shape", type(samples).__name__)
        raise UsageError(f"A piece of shape {shape} and type {getattr(samples, 'dtype', '?')} is "
                         "not mono audio; expected (n,) floating point in [-1, 1].")
    samples = samples.astype(np.float32)
    if len(samples) and not np.abs(samples).max() <= MAX_AMPLITUDE:
        raise AudioError("A piece of the stream holds samples that are not finite or far outside "
                         "[-1, 1]; scale 16-bit samples by 1 / 32768.", code="audio.range")
    return samples
