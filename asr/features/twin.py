"""The same features without librosa: what transcribing uses, so that it starts in a second.

In: (num_samples,) float32, mono, checked. Out: (T, F) float32. NumPy alone. Importing librosa takes
3 s a process, and a new machine compiles for half a minute before its first feature; a command that
transcribes one recording must not wait for either. So `log_mel` and `mfcc` exist twice: with
librosa in `asr.features.kinds`, which training uses, and here. Both compute in float64, and the
tests compare them to 1e-5 over random settings; `asr doctor --bundle` compares them on the clip
in a bundle, so that another version of librosa cannot make a difference that goes unseen.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from asr.features.lengths import feature_length
from asr.kernels.matmul import serial_matmul
from asr.recipe import FeatureSettings

POWER_FLOOR = 1e-10  # of a mel band: 100 dB below a full-scale tone's bin, under 16-bit rounding
DELTA_WIDTH = 9  # frames of the regression, librosa's default
TRIM_FRAME, TRIM_HOP = 2_048, 512  # samples; the defaults of librosa.effects.trim

# Of complex spectrum at once, 24 frames by default: arrays of this size stay in a core's cache, and
# malloc keeps them; larger ones go back to the system and cost a page fault every 4 KiB.
_BLOCK_BYTES = 24 * 16 * 257

# Weights of the cosines of each window (Harris 1978).
WINDOWS = {"hann": (0.5, 0.5), "hamming": (0.54, 0.46), "blackman": (0.42, 0.5, 0.08),
           "boxcar": (1.0,)}


def log_mel(audio: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """(T, n_mels) float32, natural log of power: `asr.features.kinds.log_mel`."""
    s = settings
    filters = _transposed_filters(s.sample_rate, s.n_fft, s.n_mels, s.f_min,
                                  s.f_max or s.sample_rate / 2, s.htk, s.norm)
    frame = window(s.window, s.win_length)
    # librosa centres the window in n_fft zeros; starting at its first sample instead turns
    # phases only, so the power is the same and the zeros cost nothing.
    before = s.n_fft // 2 - (s.n_fft - s.win_length) // 2
    count = feature_length(len(audio), s.hop_length, s.n_fft)
    padded = np.zeros((count - 1) * s.hop_length + s.win_length, np.float32)
    stop = min(len(audio), len(padded) - before)
    padded[before:before + stop] = audio[:stop]
    frames = np.lib.stride_tricks.as_strided(  # sliding_window_view takes 20 us to say the same
        padded, (count, s.win_length), (s.hop_length * padded.itemsize, padded.itemsize),
        writeable=False)
    energies = np.empty((count, s.n_mels), np.float32)
    block = max(1, _BLOCK_BYTES // (16 * (1 + s.n_fft // 2)))
    for start in range(0, count, block):
        spectrum = np.fft.rfft(frames[start:start + block] * frame, n=s.n_fft)
        power = (spectrum.real ** 2 + spectrum.imag ** 2).astype(np.float32)
        energies[start:start + block] = serial_matmul(power, filters)
    return np.log(np.maximum(energies, POWER_FLOOR, out=energies), out=energies)


def mfcc(audio: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """(T, n_mfcc) float32: `asr.features.kinds.mfcc`, the orthonormal DCT-II of `log_mel`."""
    spectrum = log_mel(audio, settings).astype(np.float64)
    return serial_matmul(spectrum, cosines(settings.n_mels, settings.n_mfcc)).astype(np.float32)


TWINS: dict[str, Callable[[np.ndarray, FeatureSettings], np.ndarray]] = {
    "log_mel": log_mel, "mfcc": mfcc}


def delta_kernels(order: int) -> list[np.ndarray]:
    """Weights of 9 frames for the slope and, with order 2, the curvature: (9,) float64 each."""
    half = DELTA_WIDTH // 2
    offsets = np.arange(-half, half + 1)
    squares = offsets ** 2 - np.mean(offsets ** 2)
    return [offsets / np.sum(offsets ** 2), 2 * squares / np.sum(squares ** 2)][:order]


def add_deltas(features: np.ndarray, order: int) -> np.ndarray:
    """`asr.features.kinds.add_deltas`: least-squares line and parabola over 9 frames."""
    if not order:
        return features
    half = DELTA_WIDTH // 2
    padded = np.pad(features, ((half, half), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, DELTA_WIDTH, axis=0)
    slopes = [windows @ kernel.astype(np.float32) for kernel in delta_kernels(order)]
    return np.concatenate([features, *slopes], axis=1)


def preemphasize(audio: np.ndarray, coefficient: float) -> np.ndarray:
    """`asr.features.kinds.preemphasize`: each sample less a share of the one before it."""
    before = np.concatenate([audio[:1], audio[:-1]])
    return audio - np.float32(coefficient) * before


def loud_part(audio: np.ndarray, top_db: float) -> tuple[int, int]:
    """`asr.features.kinds.loud_part`: start and stop, samples, of what `trim_db` leaves."""
    count = 1 + len(audio) // TRIM_HOP
    padded = np.zeros(TRIM_FRAME + (count - 1) * TRIM_HOP, np.float32)
    stop = min(len(audio), len(padded) - TRIM_FRAME // 2)
    padded[TRIM_FRAME // 2:TRIM_FRAME // 2 + stop] = audio[:stop]
    frames = np.lib.stride_tricks.sliding_window_view(padded, TRIM_FRAME)[::TRIM_HOP]
    power = np.maximum(np.mean(np.square(frames), axis=1, dtype=np.float64), POWER_FLOOR)
    loud = np.flatnonzero(10 * np.log10(power / power.max()) > -top_db)
    return int(loud[0]) * TRIM_HOP, min(len(audio), int(loud[-1] + 1) * TRIM_HOP)


def mel_frequencies(count: int, f_min: float, f_max: float, htk: bool = False) -> np.ndarray:
    """`count` frequencies in Hz, equally spaced on a mel scale from f_min to f_max.

    Slaney's scale is linear below 1 kHz (200/3 Hz a mel) and logarithmic above (27 mels a factor
    of 6.4); HTK's is 2595 log10(1 + f / 700). Reference: Slaney 1998, "Auditory Toolbox", technical
    report 1998-010; Young et al., "The HTK Book".
    """
    if htk:
        low, high = (2_595.0 * math.log10(1.0 + f / 700.0) for f in (f_min, f_max))
        return 700.0 * (10.0 ** (np.linspace(low, high, count) / 2_595.0) - 1.0)
    hertz, knee, step = 200.0 / 3, 1_000.0, math.log(6.4) / 27

    def to_mel(frequency: float) -> float:
        if frequency < knee:
            return frequency / hertz
        return knee / hertz + math.log(frequency / knee) / step

    mels = np.linspace(to_mel(f_min), to_mel(f_max), count)
    above = knee * np.exp(step * (mels - knee / hertz))
    return np.where(mels < knee / hertz, mels * hertz, above)


@lru_cache(maxsize=16)
def mel_filters(sample_rate: int, n_fft: int, n_mels: int, f_min: float, f_max: float,
                htk: bool = False, norm: str = "slaney") -> np.ndarray:
    """(n_mels, 1 + n_fft // 2) float32, read-only: `librosa.filters.mel`.

    Triangles, of unit area with norm "slaney", of height 1 with "none".
    """
    edges = mel_frequencies(n_mels + 2, f_min, f_max, htk)
    bins = np.arange(1 + n_fft // 2) * (sample_rate / n_fft)
    ramps = edges[:, None] - bins
    widths = np.diff(edges)[:, None]
    rising, falling = -ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    if norm == "slaney":
        triangles = triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return _frozen(triangles)


@lru_cache(maxsize=16)
def _transposed_filters(*arguments) -> np.ndarray:
    return _frozen(mel_filters(*arguments).T)


@lru_cache(maxsize=16)
def window(name: str, length: int) -> np.ndarray:
    """(length,) float64, read-only: `asr.features.kinds.window`, one period."""
    angles = 2 * np.pi * np.arange(length) / length
    values = np.sum([(-1) ** k * weight * np.cos(k * angles)
                     for k, weight in enumerate(WINDOWS[name])], axis=0)
    values.setflags(write=False)
    return values


@lru_cache(maxsize=16)
def cosines(n_mels: int, n_mfcc: int) -> np.ndarray:
    """(n_mels, n_mfcc) float64: the orthonormal DCT-II as a matrix."""
    angles = np.outer(np.arange(n_mels) + 0.5, np.arange(n_mfcc)) * (np.pi / n_mels)
    matrix = np.cos(angles) * math.sqrt(2.0 / n_mels)
    matrix[:, 0] /= math.sqrt(2.0)
    matrix.setflags(write=False)
    return matrix


def _frozen(array: np.ndarray) -> np.ndarray:
    """A contiguous float32 copy that cannot change while it is cached."""
    array = np.array(array, np.float32, order="C")
    array.setflags(write=False)
    return array
