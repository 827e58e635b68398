"""Warp the frequency axis of log-mel features: a voice with a vocal tract of another length.

In: where the mel filters peak, and factors. Out: matrices that multiply features. NumPy.
Training draws factors at random (`augment.warp`), decoding chooses among a few (`decoder.warps`).
"""

from __future__ import annotations

import numpy as np


def warped_positions(mel_frequencies: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """From which bin each bin of a voice with another vocal tract length comes.

    The frequency axis is multiplied by the factor up to 0.6 of the band, and from there brought
    linearly to the upper edge, so that no bin comes from outside of it (Jaitly and Hinton 2013,
    ICML workshop, equation 1).

    Args:
        mel_frequencies: (F,) centre of each filter, Hz, ascending.
        factor: (N,) > 0; 1 leaves everything in place.

    Returns:
        (N, F) float32 positions on the mel axis, 0 .. F - 1, fractional.
    """
    centres = np.asarray(mel_frequencies, np.float64)
    factor = np.asarray(factor, np.float64)[:, np.newaxis]
    top = centres[-1]
    knee = 0.6 * top * np.minimum(factor, 1.0)
    slope = (top - knee) / (top - knee / factor)
    source = np.where(centres <= knee / factor, centres * factor, top - slope * (top - centres))
    return np.interp(source, centres, np.arange(len(centres))).astype(np.float32)


def warp_matrices(mel_frequencies: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """(N, F, F) float32: features @ matrix n is the frequency axis warped by factor n."""
    places = warped_positions(mel_frequencies, factors)  # (N, F)
    bins = np.arange(places.shape[1], dtype=np.float32)
    return np.maximum(0.0, 1.0 - np.abs(places[:, np.newaxis, :] - bins[:, np.newaxis]))
