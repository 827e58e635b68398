"""Samples become features: log-mel energies, MFCC, and their deltas.

In: (num_samples,) float32, mono, in [-1, 1]. Out: (T, F) float32, T = 1 + num_samples // hop. The
numbers are librosa's (the tests compare with it to 1e-5); the code is NumPy only,
because librosa's first feature costs 1 - 20 s of imports and compilation, and ours 1 ms.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from asr.errors import AudioError, UsageError
from asr.features.lengths import feature_length
from asr.features.normalization import (
    LEVEL_FLOOR,
    STATISTICS_NEEDED,
    VARIANCE_FLOOR,
    cmvn,
    global_cmvn_statistics,
    level,
    map_cmvn,
    normalize_features,
    training_statistics,
)
from asr.kernels.matmul import serial_matmul

if TYPE_CHECKING:
    from asr.recipe import FeatureSettings

__all__ = ["FEATURES_VERSION", "LEVEL_FLOOR", "LOG_FLOOR", "STATISTICS_NEEDED", "VARIANCE_FLOOR",
           "FeatureExtractor", "add_deltas", "cmvn", "global_cmvn_statistics", "level", "log_mel",
           "map_cmvn", "mel_filters", "mel_frequencies", "mfcc", "normalize_features",
           "training_statistics"]

FEATURES_VERSION = 2  # raised when the same audio and settings give other numbers: caches go stale
POWER_FLOOR = 1e-10  # of a mel band: 100 dB below a full-scale tone's bin, under 16-bit rounding
LOG_FLOOR = math.log(POWER_FLOOR)  # natural log: -23.03, the value of digital silence
MAX_AMPLITUDE = 8.0  # the limit of asr.audio; more is no audio, and 1e30 squared is infinite
DELTA_WIDTH = 9  # frames of the regression, librosa's default

# Of complex spectrum at once, 24 frames by default: arrays of this size stay in a core's cache, and
# malloc keeps them; larger ones go back to the system and cost a page fault every 4 KiB.
_BLOCK_BYTES = 24 * 16 * 257


class FeatureExtractor:
    """Features as one `[features]` section of a recipe asks for them, before CMVN.

    Args:
        settings: every number; its `cmvn` is applied by the caller with `cmvn`.

    Raises:
        UsageError: settings that contradict each other.

    Example:
        >>> from asr.recipe import FeatureSettings
        >>> extractor = FeatureExtractor(FeatureSettings(n_mels=40, deltas=1))
        >>> extractor.extract(np.zeros(16_000, np.float32)).shape, extractor.num_features
        ((101, 80), 80)
    """

    def __init__(self, settings: FeatureSettings):
        self.settings = settings
        self._spectrum = {
            "sample_rate": settings.sample_rate, "n_fft": settings.n_fft,
            "win_length": settings.win_length, "hop_length": settings.hop_length,
            "n_mels": settings.n_mels, "f_min": settings.f_min, "f_max": settings.f_max}
        _check_settings(**self._spectrum)
        if settings.kind == "mfcc":
            _check_n_mfcc(settings.n_mfcc, settings.n_mels)

    @property
    def num_features(self) -> int:
        """F, the columns of a feature array."""
        s = self.settings
        return (s.n_mfcc if s.kind == "mfcc" else s.n_mels) * (1 + s.deltas)

    @property
    def mel_frequencies(self) -> np.ndarray:
        """(n_mels,) float64, Hz: where each filter peaks."""
        s = self.settings
        return mel_frequencies(s.n_mels + 2, s.f_min, s.f_max or s.sample_rate / 2)[1:-1]

    def num_frames(self, num_samples: int) -> int:
        """T of a recording of so many samples."""
        return feature_length(num_samples, self.settings.hop_length, self.settings.n_fft)

    def extract(self, audio: np.ndarray) -> np.ndarray:
        """Features of one utterance, before CMVN.

        Args:
            audio: (num_samples,) float, mono, in [-1, 1].

        Returns:
            (num_frames, num_features) float32; depends on nothing but `audio` and the settings.

        Raises:
            AudioError: as `log_mel`.
        """
        if self.settings.kind == "mfcc":
            features = mfcc(audio, n_mfcc=self.settings.n_mfcc, **self._spectrum)
        else:
            features = log_mel(audio, **self._spectrum)
        return add_deltas(features, self.settings.deltas)


def log_mel(audio: np.ndarray, *, sample_rate: int, n_fft: int = 512, win_length: int = 400,
            hop_length: int = 160, n_mels: int = 80, f_min: float = 0.0,
            f_max: float | None = None) -> np.ndarray:
    """Log-mel filterbank energies of one utterance.

    The power spectrum of Hann windows, centred, the signal continued with zeros, through
    triangular filters of unit area on Slaney's mel scale; natural log, not below `LOG_FLOOR`.

    Args:
        audio: (num_samples,) float, mono, in [-1, 1].
        sample_rate: Hz.
        n_fft, win_length, hop_length: samples; hop_length <= win_length <= n_fft.
        n_mels: number of filters. One that is narrower than a bin, sample_rate / n_fft, stays
            empty and its feature constant.
        f_min: Hz, lower edge of the first filter.
        f_max: Hz, upper edge of the last; None or 0: sample_rate / 2.

    Returns:
        (num_frames, n_mels) float32, natural log of power;
        num_frames = 1 + num_samples // hop_length, as `lengths.feature_length`.

    Raises:
        AudioError: audio is empty, not one-dimensional, not floating point, not finite, or far
            outside [-1, 1].
        UsageError: settings that contradict each other.

    Example:
        >>> log_mel(np.zeros(16_000, "float32"), sample_rate=16_000).shape
        (101, 80)

    Reference: Davis and Mermelstein 1980, IEEE TASSP 28(4); `librosa.feature.melspectrogram`.
    """
    _check_settings(sample_rate, n_fft, win_length, hop_length, n_mels, f_min, f_max)
    audio = _check_audio(audio)
    filters = _transposed_filters(sample_rate, n_fft, n_mels, f_min, f_max or sample_rate / 2)
    window = _hann(win_length)
    # librosa centres the window in n_fft zeros; starting at its first sample instead turns
    # phases only, so the power is the same and the zeros cost nothing.
    before = n_fft // 2 - (n_fft - win_length) // 2
    count = feature_length(len(audio), hop_length, n_fft)
    padded = np.zeros((count - 1) * hop_length + win_length, np.float32)
    stop = min(len(audio), len(padded) - before)
    padded[before:before + stop] = audio[:stop]
    frames = np.lib.stride_tricks.as_strided(  # sliding_window_view takes 20 us to say the same
        padded, (count, win_length), (hop_length * padded.itemsize, padded.itemsize),
        writeable=False)
    energies = np.empty((count, n_mels), np.float32)
    block = max(1, _BLOCK_BYTES // (16 * (1 + n_fft // 2)))
    for start in range(0, count, block):
        # NumPy transforms float64 about five times faster than float32.
        spectrum = np.fft.rfft(frames[start:start + block] * window, n=n_fft)
        power = (spectrum.real ** 2 + spectrum.imag ** 2).astype(np.float32)
        energies[start:start + block] = serial_matmul(power, filters)
    return np.log(np.maximum(energies, POWER_FLOOR, out=energies), out=energies)


def mfcc(audio: np.ndarray, *, n_mfcc: int = 13, n_mels: int = 80, **spectrum) -> np.ndarray:
    """Mel-frequency cepstral coefficients: the orthonormal DCT-II of `log_mel`.

    librosa's default uses decibels, clipped 80 dB below the loudest frame of the recording;
    ours is `librosa.feature.mfcc(S=log_mel(...).T)`, so no frame depends on another.

    Args:
        audio, n_mels, **spectrum: as for `log_mel`.
        n_mfcc: coefficients, the zeroth (level) included; at most n_mels.

    Returns:
        (num_frames, n_mfcc) float32.

    Raises:
        AudioError, UsageError: as `log_mel`; n_mfcc above n_mels.
    """
    _check_n_mfcc(n_mfcc, n_mels)
    return serial_matmul(log_mel(audio, n_mels=n_mels, **spectrum), _cosines(n_mels, n_mfcc))


def add_deltas(features: np.ndarray, order: int) -> np.ndarray:
    """Append the slope, and the curvature, of each feature over 9 frames.

    Least-squares line and parabola, the edges continued with the first and last frame (as
    `librosa.feature.delta(..., mode="nearest")`), so one frame is enough.

    Args:
        features: (T, F) float32.
        order: 0 nothing, 1 deltas, 2 deltas and delta-deltas.

    Returns:
        (T, F * (1 + order)) float32.

    Raises:
        UsageError: another order.
    """
    if order not in (0, 1, 2):
        raise UsageError(f"deltas must be 0, 1 or 2, got {order!r}.")
    if not order:
        return features
    half = DELTA_WIDTH // 2
    offsets = np.arange(-half, half + 1)
    squares = offsets ** 2 - np.mean(offsets ** 2)
    kernels = [offsets / np.sum(offsets ** 2), 2 * squares / np.sum(squares ** 2)][:order]
    padded = np.pad(features, ((half, half), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, DELTA_WIDTH, axis=0)
    slopes = [windows @ kernel.astype(np.float32) for kernel in kernels]
    return np.concatenate([features, *slopes], axis=1)


def mel_frequencies(count: int, f_min: float, f_max: float) -> np.ndarray:
    """`count` frequencies in Hz, equally spaced on Slaney's mel scale from f_min to f_max.

    The scale is linear below 1 kHz (200/3 Hz a mel) and logarithmic above (27 mels a factor of
    6.4). Reference: Slaney 1998, "Auditory Toolbox", technical report 1998-010.
    """
    hertz, knee, step = 200.0 / 3, 1_000.0, math.log(6.4) / 27

    def to_mel(frequency: float) -> float:
        if frequency < knee:
            return frequency / hertz
        return knee / hertz + math.log(frequency / knee) / step

    mels = np.linspace(to_mel(f_min), to_mel(f_max), count)
    above = knee * np.exp(step * (mels - knee / hertz))
    return np.where(mels < knee / hertz, mels * hertz, above)


@lru_cache(maxsize=16)
def mel_filters(sample_rate: int, n_fft: int, n_mels: int, f_min: float,
                f_max: float) -> np.ndarray:
    """(n_mels, 1 + n_fft // 2) float32, read-only: `librosa.filters.mel`, triangles of area 1."""
    edges = mel_frequencies(n_mels + 2, f_min, f_max)
    bins = np.arange(1 + n_fft // 2) * (sample_rate / n_fft)
    ramps = edges[:, None] - bins
    widths = np.diff(edges)[:, None]
    rising, falling = -ramps[:-2] / widths[:-1], ramps[2:] / widths[1:]
    triangles = np.maximum(0, np.minimum(rising, falling))
    return _frozen(triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None])


@lru_cache(maxsize=16)
def _transposed_filters(sample_rate: int, n_fft: int, n_mels: int, f_min: float,
                        f_max: float) -> np.ndarray:
    return _frozen(mel_filters(sample_rate, n_fft, n_mels, f_min, f_max).T)


@lru_cache(maxsize=16)
def _hann(length: int) -> np.ndarray:
    """(length,) float64: a period of the raised cosine."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    window.setflags(write=False)
    return window


@lru_cache(maxsize=16)
def _cosines(n_mels: int, n_mfcc: int) -> np.ndarray:
    """(n_mels, n_mfcc): the orthonormal DCT-II as a matrix."""
    angles = np.outer(np.arange(n_mels) + 0.5, np.arange(n_mfcc)) * (np.pi / n_mels)
    matrix = np.cos(angles) * math.sqrt(2.0 / n_mels)
    matrix[:, 0] /= math.sqrt(2.0)
    return _frozen(matrix)


def _frozen(array: np.ndarray) -> np.ndarray:
    """A contiguous float32 copy that cannot change while it is cached."""
    array = np.array(array, np.float32, order="C")
    array.setflags(write=False)
    return array


def _check_settings(sample_rate: int, n_fft: int, win_length: int, hop_length: int, n_mels: int,
                    f_min: float, f_max: float | None) -> None:
    top = f_max or sample_rate / 2
    if not 1 <= hop_length <= win_length <= n_fft:
        raise UsageError(f"hop_length {hop_length}, win_length {win_length} and n_fft {n_fft} must "
                         "be in ascending order, from 1: a frame fits the transform, and frames "
                         "leave no gap.")
    if n_mels < 1 or not 0 <= f_min < top <= sample_rate / 2:
        raise UsageError(f"{n_mels} filters from {f_min} to {top} Hz cannot be: at least 1, within "
                         f"0 .. {sample_rate / 2:g} Hz, which is half of sample_rate.")


def _check_n_mfcc(n_mfcc: int, n_mels: int) -> None:
    if not 1 <= n_mfcc <= n_mels:
        raise UsageError(f"n_mfcc must be 1 .. n_mels = {n_mels}, got {n_mfcc}.")


def _check_audio(audio: np.ndarray) -> np.ndarray:
    """The same samples as float32, if they are samples."""
    audio = np.asarray(audio)
    if audio.ndim != 1 or not len(audio):
        raise AudioError(f"Audio must be one channel, (num_samples,), not empty; got the shape "
                         f"{audio.shape}. Average the channels first.", code="audio.shape")
    if audio.dtype.kind != "f":
        raise AudioError(f"Audio must be floating point in [-1, 1], got {audio.dtype}. Divide "
                         "16-bit integers by 32_768.", code="audio.dtype")
    peak = max(float(audio.max()), -float(audio.min()))
    if not peak <= MAX_AMPLITUDE:
        code = "audio.range" if np.isfinite(audio).all() else "audio.nonfinite"
        raise AudioError(f"Audio must lie in [-1, 1], got a peak of {peak:g}. Scale it, or remove "
                         "what is not finite.", code=code)
    return audio.astype(np.float32, copy=False)
