"""The constants of log-mel and MFCC that every exported graph holds.

In: the [features] section. Out: windowed cosines and sines, filters, and the transform of MFCC, as
`asr.features.twin` uses them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr.errors import UsageError
from asr.features import twin
from asr.recipe import FeatureSettings


@dataclass(frozen=True)
class Spectrum:
    """Attributes.

    before: zeros in front of the samples, so that frames are centred.
    window: (win_length,) float64.
    waves: cosines and sines under the window, each (win_length, bins) float64: the power of a frame
        is the sum of the squares of both products.
    filters: (n_mels, bins) float32.
    cosines: (n_mels, n_mfcc) float64 for mfcc, else None.
    """

    before: int
    window: np.ndarray
    waves: tuple[np.ndarray, np.ndarray]
    filters: np.ndarray
    cosines: np.ndarray | None


def not_computed(settings: FeatureSettings) -> str:
    """What an exported file cannot compute of these features, by name; "": it can."""
    return settings.kind if settings.kind not in twin.TWINS else \
        "preemphasis" if settings.preemphasis else "trim_db" if settings.trim_db else ""


def spectrum(settings: FeatureSettings) -> Spectrum:
    """The constants of these settings.

    Raises:
        UsageError: features that exported graphs do not compute.
    """
    s, odd = settings, not_computed(settings)
    if odd:
        raise UsageError(f"An exported graph computes log_mel and mfcc from samples, not {odd}: "
                         "only the entry for features is written.")
    window = twin.window(s.window, s.win_length)
    angles = 2 * np.pi * np.outer(np.arange(s.win_length), np.arange(1 + s.n_fft // 2)) / s.n_fft
    return Spectrum(
        s.n_fft // 2 - (s.n_fft - s.win_length) // 2, window,
        (window[:, np.newaxis] * np.cos(angles), window[:, np.newaxis] * np.sin(angles)),
        twin.mel_filters(s.sample_rate, s.n_fft, s.n_mels, s.f_min, s.f_max or s.sample_rate / 2,
                         s.htk, s.norm),
        twin.cosines(s.n_mels, s.n_mfcc) if s.kind == "mfcc" else None)
