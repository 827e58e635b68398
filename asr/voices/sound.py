"""What is done to every synthesised recording: trimmed, levelled, a faint room behind it.

In: samples of an engine. Out: samples for a file. NumPy and soxr only.
"""

from __future__ import annotations

import io

import numpy as np

SAMPLE_RATE = 16_000  # Hz, of all that `asr.voices` returns
NOISE_BED = (25.0, 55.0)  # dB below the speech; no recording of a person has digital silence


def trimmed(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """Without leading and trailing silence beyond 0.1 s (below 1 % of the peak)."""
    peak = np.abs(audio).max(initial=0.0)
    loud = np.flatnonzero(np.abs(audio) > 0.01 * peak) if peak > 1e-4 else np.zeros(0, int)
    if not len(loud):
        return audio[:0]
    margin = sample_rate // 10
    return audio[max(0, loud[0] - margin):loud[-1] + margin]


def resampled(audio: np.ndarray, sample_rate: int, warp: float) -> np.ndarray:
    """At `SAMPLE_RATE`, with peak 0.5 and all frequencies times `warp` (so it is shorter by it).

    Args:
        audio: (num_samples,) float32, not silent.
        sample_rate: Hz.
        warp: above 0.
    """
    import soxr

    # Played faster, everything is higher; an integer rate is exact to 1 in 10,000.
    audio = soxr.resample(audio, round(sample_rate * warp), SAMPLE_RATE)
    return (0.5 / np.abs(audio).max() * audio).astype(np.float32)


def with_noise_bed(audio: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Speech over the faint noise of a room and a microphone.

    Args:
        audio: (num_samples,) float32, not silent.
        rng: chooses the noise, its level (`NOISE_BED` below the speech) and its colour, from white
            to brown.

    Returns:
        (num_samples,) float32.
    """
    spectrum = np.fft.rfft(rng.standard_normal(len(audio)))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** -rng.uniform(0, 1)
    noise = np.fft.irfft(spectrum, len(audio))
    wanted = np.sqrt(np.mean(audio ** 2)) * 10 ** (-rng.uniform(*NOISE_BED) / 20)
    return (audio + noise * (wanted / np.sqrt(np.mean(noise ** 2)))).astype(np.float32)


def flac_bytes(audio: np.ndarray) -> bytes:
    """A FLAC file at `SAMPLE_RATE`, 16 bits."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, audio, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
