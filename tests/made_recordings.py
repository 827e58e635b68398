"""Made recordings, and pieces of arrays, for the tests of long recordings."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import soundfile
from tiny_bundle import FEATURES

RATE = FEATURES.sample_rate


def speech(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Noise whose colour changes, with pauses; the random network writes words."""
    rng = np.random.default_rng(seed)
    audio = rng.normal(size=round(seconds * rate)) * 0.1
    time = np.arange(len(audio)) / rate
    audio *= (1 + np.sin(11 * time)) * (np.sin(2.3 * time) > -0.7)
    return np.clip(audio, -1, 1).astype(np.float32)


def encode(audio: np.ndarray, rate: int = RATE, container: str = "WAV", subtype: str = "PCM_16"
           ) -> bytes:
    """The bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, audio, rate, format=container, subtype=subtype)
    return file.getvalue()


def pieces_of(array: np.ndarray, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """The array in pieces of these sizes, over and over."""
    start = 0
    for size in itertools.cycle(sizes):
        if start >= len(array):
            return
        yield array[start:start + size]
        start += size
