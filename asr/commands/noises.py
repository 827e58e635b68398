"""Made noises for training, where no recordings of noise are given.

In: a folder and a seed. Out: FLAC files of 5 s: coloured noise, hum, knocks, murmur. NumPy.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asr.files import write_atomic
from asr.voices.sound import SAMPLE_RATE, flac_bytes

COUNT = 40
SECONDS = 5
KINDS = ("coloured", "hum", "knocks", "murmur")


def make_noises(folder: Path, seed: int) -> None:
    """Write the noises that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(COUNT):
        path = folder / f"{KINDS[number % len(KINDS)]}-{number:02d}.flac"
        if not path.exists():
            rng = np.random.default_rng([seed, number])
            write_atomic(path, flac_bytes(noise(KINDS[number % len(KINDS)], rng)))


def noise(kind: str, rng: np.random.Generator) -> np.ndarray:
    """(num_samples,) float32 with peak 0.5.

    Args:
        kind: one of KINDS. "murmur" is noise in syllables and bands of speech.
        rng: chooses colour, pitch, times.
    """
    size = SECONDS * SAMPLE_RATE
    time = np.arange(size) / SAMPLE_RATE
    audio = 0.05 * _coloured(size, rng)
    if kind == "coloured":
        audio = _coloured(size, rng) * (1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0, 1) * time))
    elif kind == "hum":
        pitch = rng.uniform(45, 400)
        audio += sum(rng.uniform(0, 1) / k * np.sin(2 * np.pi * k * pitch * time + k)
                     for k in range(1, 12) if k * pitch < SAMPLE_RATE / 2)
    elif kind == "knocks":
        for start in rng.integers(0, size - 4000, size=int(rng.integers(4, 25))):
            length = int(rng.integers(200, 4000))
            burst = _coloured(length, rng) * np.exp(-np.linspace(0, rng.uniform(3, 9), length))
            audio[start:start + length] += rng.uniform(0.3, 1) * burst
    else:
        for _ in range(5):
            carrier = np.sin(2 * np.pi * np.cumsum(
                rng.uniform(300, 2500) * (1 + 0.1 * _slow(size, rng))) / SAMPLE_RATE)
            audio += carrier * np.maximum(_slow(size, rng), 0) * _coloured(size, rng)
    return (0.5 / np.abs(audio).max() * audio).astype(np.float32)


def _coloured(size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise from white to brown with a root mean square of 1."""
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** -rng.uniform(0, 1)
    audio = np.fft.irfft(spectrum, size)
    return audio / np.sqrt(np.mean(audio ** 2))


def _slow(size: int, rng: np.random.Generator) -> np.ndarray:
    """A random curve with about four turns a second, root mean square 1."""
    points = rng.standard_normal(4 * SECONDS + 1)
    return np.interp(np.linspace(0, len(points) - 1, size), np.arange(len(points)), points)
