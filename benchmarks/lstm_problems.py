"""Three problems that ask for a memory, as in Hochreiter and Schmidhuber 1997.

In: a random generator. Out: batches of sequences with one answer each, due at the last frame.
Used by `benchmarks/lstm_requirements.py` and by the first notebook.

All are sampled afresh for every training step, so no network can learn a sequence by heart, and
what a training batch scores before its update is an honest test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SYMBOLS = "abcdXYEB"  # of the temporal-order problem: distractors, what matters, start, trigger
ORDERS = ("XX", "XY", "YX", "YY")


class Batch(NamedTuple):
    """Right-padded sequences with one answer each."""

    inputs: np.ndarray  # (B, T, F) float32
    num_frames: np.ndarray  # (B,) int64
    targets: np.ndarray  # (B,) float32 for a number, int64 for a class


class Problem(NamedTuple):
    """Something to learn, and when it counts as learnt."""

    name: str
    length: int  # the paper's T: sequences have T .. 1.1 T frames
    minimal_lag: int  # steps from the last frame that matters to the answer, at least
    minimal_hold: int  # steps from the first frame that matters to the answer, at least
    features: int
    classes: int  # 1: the answer is a number
    sample: Callable[[np.random.Generator, int], Batch]

    def correct(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(B,) booleans by the paper's rules.

        A number may be wrong by 0.04 (of a range from 0 to 1), each class probability by 0.3.

        Args:
            outputs: (B, 1) numbers, or (B, classes) probabilities.
            targets: (B,) as in a batch.
        """
        if self.classes == 1:
            return np.abs(outputs[:, 0] - targets) < 0.04
        return np.abs(outputs - np.eye(self.classes)[targets]).max(axis=1) < 0.3


def adding(length: int) -> Problem:
    """Experiment 4: add the two marked numbers among hundreds.

    Frame: (number from [-1, 1], marker). Marker 1 is at one of the first ten frames and at
    another one of the first T / 2 - 1 that are still unmarked; -1 at the first and the last frame,
    where a number that would have been marked counts as 0. Answer: 0.5 + (sum of the two) / 4.
    """

    def sample(rng: np.random.Generator, size: int) -> Batch:
        num_frames = rng.integers(length, length + length // 10 + 1, size)
        inputs = np.zeros((size, length + length // 10, 2), np.float32)
        inputs[..., 0] = rng.uniform(-1, 1, inputs.shape[:2])
        rows = np.arange(size)
        first = rng.integers(0, 10, size)
        second = rng.integers(0, length // 2 - 2, size)
        second += second >= first  # any of the first T / 2 - 1 but the one that is taken
        inputs[rows, first, 1] = inputs[rows, second, 1] = 1
        inputs[:, 0, 1] = inputs[rows, num_frames - 1, 1] = -1
        values = np.where(inputs[..., 1] == 1, inputs[..., 0], 0).sum(axis=1)
        return Batch(_blank(inputs, num_frames), num_frames, (0.5 + values / 4).astype("f4"))

    return Problem("adding", length, length // 2, length - 10, 2, 1, sample)


def temporal_order(length: int) -> Problem:
    """Experiment 6a: in which order did the two symbols come?

    One-hot symbols: E first, B last, X or Y as symbol number T/10 .. T/5 and again as number
    T/2 .. 6T/10, elsewhere a, b, c or d at random. Answer: XX, XY, YX or YY. With T = 100 this is
    the paper's problem; longer ones are stretched, as its adding problem is.
    """
    tenth = length // 10

    def sample(rng: np.random.Generator, size: int) -> Batch:
        num_frames = rng.integers(length, length + tenth + 1, size)
        rows = np.arange(size)
        symbols = rng.integers(0, 4, (size, length + tenth))
        pair = rng.integers(0, 2, (2, size))
        symbols[rows, rng.integers(tenth - 1, 2 * tenth, size)] = SYMBOLS.index("X") + pair[0]
        symbols[rows, rng.integers(5 * tenth - 1, 6 * tenth, size)] = (
            SYMBOLS.index("X") + pair[1])
        symbols[:, 0] = SYMBOLS.index("E")
        symbols[rows, num_frames - 1] = SYMBOLS.index("B")
        inputs = np.eye(len(SYMBOLS), dtype=np.float32)[symbols]
        return Batch(_blank(inputs, num_frames), num_frames, 2 * pair[0] + pair[1])

    return Problem("temporal order", length, length - 6 * tenth, length - 2 * tenth,
                   len(SYMBOLS), len(ORDERS), sample)


def noisy_message(length: int, repeats: int, snr_db: tuple[float, float], *,
                  same_channel: bool) -> Problem:
    """Which of two messages was sent, while something irrelevant is louder?

    The message is +1 or -1, said at `repeats` random frames, which a marker shows. Gaussian noise
    fills every frame. Frame: (message, marker, noise); with `same_channel` (message + noise,
    marker, 0), and the noise cannot be ignored by a weight of zero: only a gate that opens at
    the marked frames keeps the rest out.

    Args:
        length: frames of every sequence.
        repeats: frames that carry the message.
        snr_db: lowest and highest power of the message (at its frames) over that of the noise,
            in decibels; every sequence draws its own.
        same_channel: see above.
    """

    def sample(rng: np.random.Generator, size: int) -> Batch:
        noise = rng.standard_normal((size, length)) * 10 ** (-rng.uniform(*snr_db, (size, 1)) / 20)
        marked = rng.random((size, length)).argsort(axis=1) < repeats
        sent = rng.integers(0, 2, size)
        message = marked * (2 * sent[:, None] - 1)
        frames = ((message + noise, marked, 0 * noise) if same_channel
                  else (message, marked, noise))
        return Batch(np.stack(frames, axis=-1).astype("f4"), np.full(size, length), sent)

    return Problem("noisy message", length, 0, repeats - 1, 3, 2, sample)


def _blank(inputs: np.ndarray, num_frames: np.ndarray) -> np.ndarray:
    """Zeros beyond the end of each sequence."""
    inputs[np.arange(inputs.shape[1]) >= num_frames[:, None]] = 0
    return inputs
