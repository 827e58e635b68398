"""The kinds of features, computed by librosa: one function each, with the name of its kind.

In: (num_samples,) float32, mono, checked, after trimming and pre-emphasis; the [features] section.
Out: (T, F) float32, T = 1 + num_samples // hop_length. librosa is imported by the first call.

To add a kind, write its function here and add its line to `FEATURE_KINDS` of `asr.feature_kinds`.
"""

from __future__ import annotations

import warnings
from functools import lru_cache

import numpy as np

from asr.features.lengths import feature_length
from asr.features.twin import DELTA_WIDTH, POWER_FLOOR, TRIM_FRAME, TRIM_HOP
from asr.kernels.matmul import serial_matmul
from asr.recipe import FeatureSettings

# Frames that are transformed at once: librosa.stft keeps the complex spectrum of all of its input,
# and a larger one leaves a core's cache (1,900 x real time for 20 s at once, 3,400 x in pieces).
BLOCK_FRAMES = 200

PCEN_SCALE = 2.0 ** 31  # what librosa.pcen expects: amplitudes of 32-bit samples


def log_mel(audio: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """(T, n_mels): the natural log of `librosa.feature.melspectrogram`, not below LOG_FLOOR."""
    energies = mel_energies(audio, settings)
    return np.log(np.maximum(energies, POWER_FLOOR, out=energies), out=energies)


def mfcc(audio: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """(T, n_mfcc): `librosa.feature.mfcc` of `log_mel`, without decibels and their clipping."""
    import librosa

    spectrum = log_mel(audio, settings).T.astype(np.float64)
    return librosa.feature.mfcc(S=spectrum, n_mfcc=settings.n_mfcc).T


def pcen(audio: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    """(T, n_mels): `librosa.pcen` of mel amplitudes, with its default gain, bias and power.

    Each band is divided by its own mean over the past 0.4 s, which takes level and microphone away.
    Reference: Wang, Getreuer, Hughes, Lyon, Saurous 2017, ICASSP.
    """
    import librosa

    amplitudes = mel_energies(audio, settings, power=1)
    return librosa.pcen(amplitudes.T * PCEN_SCALE, sr=settings.sample_rate,
                        hop_length=settings.hop_length).T


def mel_energies(audio: np.ndarray, settings: FeatureSettings, power: int = 2) -> np.ndarray:
    """(T, n_mels) float32: `librosa.feature.melspectrogram(..., pad_mode="constant")`.

    The filters are made once, where `melspectrogram` makes them for every recording, which takes
    as long as half a second of audio; float64, because in float32 a band beside one that is
    a million times louder keeps two digits.

    Args:
        audio, settings: as for every kind.
        power: 2 for power, 1 for amplitude.
    """
    import librosa

    s = settings
    filters, frame = mel_basis(s).T, window(s.window, s.win_length)
    count, before = feature_length(len(audio), s.hop_length, s.n_fft), s.n_fft // 2
    padded = np.zeros((count - 1) * s.hop_length + s.n_fft)
    stop = min(len(audio), len(padded) - before)
    padded[before:before + stop] = audio[:stop]
    energies = np.empty((count, s.n_mels), np.float32)
    for first in range(0, count, BLOCK_FRAMES):
        last = min(first + BLOCK_FRAMES, count)
        part = padded[first * s.hop_length:(last - 1) * s.hop_length + s.n_fft]
        spectrum = librosa.stft(part, n_fft=s.n_fft, hop_length=s.hop_length,
                                win_length=s.win_length, window=frame, center=False)
        # Not abs2(..., dtype=float32): NumPy 2.5 then casts what it has not written yet, and warns.
        magnitudes = librosa.util.abs2(spectrum).astype(np.float32)
        if power == 1:
            magnitudes = np.sqrt(magnitudes)
        energies[first:last] = serial_matmul(np.ascontiguousarray(magnitudes.T), filters)
    return energies


@lru_cache(maxsize=16)
def window(name: str, length: int) -> np.ndarray:
    """(length,) float64: `librosa.filters.get_window`."""
    import librosa

    return librosa.filters.get_window(name, length)


def mel_basis(settings: FeatureSettings) -> np.ndarray:
    """(n_mels, 1 + n_fft // 2) float32, read-only: `librosa.filters.mel` of some settings."""
    s = settings
    return _mel_basis(s.sample_rate, s.n_fft, s.n_mels, s.f_min, s.f_max or None, s.htk, s.norm)


@lru_cache(maxsize=16)
def _mel_basis(sample_rate: int, n_fft: int, n_mels: int, f_min: float, f_max: float | None,
               htk: bool, norm: str) -> np.ndarray:
    import librosa

    with warnings.catch_warnings():  # a filter narrower than a bin is empty, as documented
        warnings.filterwarnings("ignore", "Empty filters detected")
        basis = librosa.filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=f_min,
                                    fmax=f_max, htk=htk, norm=None if norm == "none" else "slaney")
    basis.setflags(write=False)
    return basis


def add_deltas(features: np.ndarray, order: int) -> np.ndarray:
    """Append `librosa.feature.delta` of order 1, and 2.

    The edges continue with the first and last frame (mode="nearest"), so one frame is enough.

    Args:
        features: (T, F) float32.
        order: 0 nothing, 1 deltas, 2 deltas and delta-deltas.

    Returns:
        (T, F * (1 + order)) float32.
    """
    if not order:
        return features
    import librosa

    slopes = [librosa.feature.delta(features, width=DELTA_WIDTH, order=n, axis=0, mode="nearest")
              for n in range(1, order + 1)]
    return np.concatenate([features, *slopes], axis=1)


def preemphasize(audio: np.ndarray, coefficient: float) -> np.ndarray:
    """`librosa.effects.preemphasis`, with the first sample standing before itself.

    librosa's own start, 2 y[0] - y[1] added to the first sample, would be a click at the start of
    every piece of a long recording.
    """
    import librosa

    return librosa.effects.preemphasis(audio, coef=coefficient, zi=[-coefficient * audio[0]])


def loud_part(audio: np.ndarray, top_db: float) -> tuple[int, int]:
    """Start and stop, samples, of what `librosa.effects.trim` leaves."""
    import librosa

    start, stop = librosa.effects.trim(audio, top_db=top_db, frame_length=TRIM_FRAME,
                                       hop_length=TRIM_HOP)[1]
    return int(start), int(stop)
