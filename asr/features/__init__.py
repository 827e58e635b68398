"""Samples become features: log-mel energies, MFCC, PCEN, and their deltas.

In: (num_samples,) float32, mono, in [-1, 1]. Out: (T, F) float32, T = 1 + num_samples // hop.
librosa computes them (`kinds.py`); where a command must start at once, NumPy does (`twin.py`, which
says why). `normalization.py` has what comes after, `warping.py` vocal tracts of other lengths,
`lengths.py` how long everything is.
"""

from __future__ import annotations

import math
import sys
from functools import cache

import numpy as np

from asr.errors import AudioError, UsageError
from asr.feature_kinds import FEATURE_KINDS
from asr.features import kinds, twin
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
from asr.features.twin import DELTA_WIDTH, POWER_FLOOR, mel_frequencies
from asr.recipe import FeatureSettings

__all__ = ["DELTA_WIDTH", "FEATURES_VERSION", "LEVEL_FLOOR", "LOG_FLOOR", "STATISTICS_NEEDED",
           "VARIANCE_FLOOR", "FeatureExtractor", "cmvn", "global_cmvn_statistics", "level",
           "log_mel", "map_cmvn", "mel_frequencies", "mfcc", "normalize_features",
           "training_statistics"]

FEATURES_VERSION = 2  # raised when the same audio and settings give other numbers: caches go stale
LOG_FLOOR = math.log(POWER_FLOOR)  # natural log: -23.03, the value of digital silence
MAX_AMPLITUDE = 8.0  # the limit of asr.audio; more is no audio, and 1e30 squared is infinite


class FeatureExtractor:
    """Features as one `[features]` section of a recipe asks for them, before CMVN.

    Args:
        settings: every number; its `cmvn` is applied by the caller with `cmvn`.
        quick_start: compute with `asr.features.twin`, which equals librosa to 1e-5 and needs no
            import. A kind that has no twin is computed by librosa; a line on stderr says once that
            the start takes longer.

    Raises:
        UsageError: settings that contradict each other.

    Example:
        >>> extractor = FeatureExtractor(FeatureSettings(n_mels=40, deltas=1))
        >>> extractor.extract(np.zeros(16_000, np.float32)).shape, extractor.num_features
        ((101, 80), 80)
    """

    def __init__(self, settings: FeatureSettings, *, quick_start: bool = False):
        self.settings = settings
        _check_settings(settings)
        if quick_start and settings.kind not in twin.TWINS:
            _say_slow_start(settings.kind)
        has_twin = quick_start and settings.kind in twin.TWINS
        self._compute = twin.TWINS[settings.kind] if has_twin else getattr(kinds, settings.kind)
        self._library = twin if has_twin else kinds

    @property
    def num_features(self) -> int:
        """F, the columns of a feature array."""
        return self.settings.num_features

    @property
    def mel_frequencies(self) -> np.ndarray:
        """(n_mels,) float64, Hz: where each filter peaks."""
        s = self.settings
        return mel_frequencies(s.n_mels + 2, s.f_min, s.f_max or s.sample_rate / 2, s.htk)[1:-1]

    def num_frames(self, num_samples: int) -> int:
        """T of a recording of so many samples, of which nothing is trimmed."""
        return feature_length(num_samples, self.settings.hop_length, self.settings.n_fft)

    def loud_part(self, audio: np.ndarray) -> tuple[int, int]:
        """Start and stop, samples, of what `extract` uses: all of it without `trim_db`.

        Raises:
            AudioError: as `extract`.
        """
        if not self.settings.trim_db:
            return 0, len(audio)
        return self._library.loud_part(_check_audio(audio), self.settings.trim_db)

    def extract(self, audio: np.ndarray) -> np.ndarray:
        """Features of one utterance, before CMVN.

        Args:
            audio: (num_samples,) float, mono, in [-1, 1].

        Returns:
            (num_frames, num_features) float32; depends on nothing but `audio` and the settings.

        Raises:
            AudioError: audio is empty, not one-dimensional, not floating point, not finite, or far
                outside [-1, 1].
        """
        audio = _check_audio(audio)
        start, stop = self.loud_part(audio)
        audio = audio[start:stop]
        if self.settings.preemphasis:
            audio = self._library.preemphasize(audio, self.settings.preemphasis)
        features = self._compute(audio, self.settings)
        features = self._library.add_deltas(features, self.settings.deltas)
        return np.ascontiguousarray(features, np.float32)


def log_mel(audio: np.ndarray, *, sample_rate: int, n_fft: int = 512, win_length: int = 400,
            hop_length: int = 160, n_mels: int = 80, f_min: float = 0.0,
            f_max: float | None = None, htk: bool = False, norm: str = "slaney",
            window: str = "hann", preemphasis: float = 0.0) -> np.ndarray:
    """Log-mel filterbank energies of one utterance, computed by librosa.

    The power spectrum of centred windows, the signal continued with zeros, through triangular
    filters on a mel scale; natural log, not below `LOG_FLOOR`. The first call in a process imports
    librosa (3 s); the first one on a machine also compiles a part of it (half a minute).

    Args:
        audio: (num_samples,) float, mono, in [-1, 1].
        sample_rate: Hz.
        n_fft, win_length, hop_length: samples; hop_length <= win_length <= n_fft.
        n_mels: number of filters. One that is narrower than a bin, sample_rate / n_fft, stays
            empty and its feature constant.
        f_min: Hz, lower edge of the first filter.
        f_max: Hz, upper edge of the last; None or 0: sample_rate / 2.
        htk: HTK's mel scale instead of Slaney's.
        norm: "slaney" for filters of unit area, "none" for height 1.
        window: "hann", "hamming", "blackman" or "boxcar".
        preemphasis: share of each sample that is taken from the next; 0: none.

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
    settings = FeatureSettings(
        "log_mel", sample_rate, n_fft, win_length, hop_length, n_mels, f_min, f_max or 0.0,
        htk=htk, norm=norm, window=window, preemphasis=preemphasis)
    return FeatureExtractor(settings).extract(audio)


def mfcc(audio: np.ndarray, *, sample_rate: int, n_mfcc: int = 13, n_fft: int = 512,
         win_length: int = 400, hop_length: int = 160, n_mels: int = 80, f_min: float = 0.0,
         f_max: float | None = None, htk: bool = False, norm: str = "slaney",
         window: str = "hann", preemphasis: float = 0.0) -> np.ndarray:
    """Mel-frequency cepstral coefficients: the orthonormal DCT-II of `log_mel`, by librosa.

    librosa's default uses decibels, clipped 80 dB below the loudest frame of the recording;
    this is `librosa.feature.mfcc(S=log_mel(...).T)`, so no frame depends on another.

    Args:
        n_mfcc: coefficients, the zeroth (level) included; at most n_mels.
        audio, sample_rate, ...: as for `log_mel`.

    Returns:
        (num_frames, n_mfcc) float32.

    Raises:
        AudioError, UsageError: as `log_mel`; n_mfcc above n_mels.
    """
    settings = FeatureSettings(
        "mfcc", sample_rate, n_fft, win_length, hop_length, n_mels, f_min, f_max or 0.0, n_mfcc,
        htk=htk, norm=norm, window=window, preemphasis=preemphasis)
    return FeatureExtractor(settings).extract(audio)


@cache
def _say_slow_start(kind: str) -> None:
    print(f"Features of the kind {kind!r} are computed by librosa: the start takes some seconds "
          "longer.", file=sys.stderr)


def _check_settings(s: FeatureSettings) -> None:
    """What the bounds in `asr.recipe` check for recipes, for settings made by a program."""
    top = s.f_max or s.sample_rate / 2
    if s.kind not in FEATURE_KINDS:
        raise UsageError(f"{s.kind!r} is no kind of features; choose one of "
                         f"{', '.join(FEATURE_KINDS)}.")
    if not 1 <= s.hop_length <= s.win_length <= s.n_fft:
        raise UsageError(f"hop_length {s.hop_length}, win_length {s.win_length} and n_fft "
                         f"{s.n_fft} must be in ascending order, from 1: a frame fits the "
                         "transform, and frames leave no gap.")
    if s.n_mels < 1 or not 0 <= s.f_min < top <= s.sample_rate / 2:
        raise UsageError(f"{s.n_mels} filters from {s.f_min} to {top} Hz cannot be: at least 1, "
                         f"within 0 .. {s.sample_rate / 2:g} Hz, which is half of sample_rate.")
    if s.kind == "mfcc" and not 1 <= s.n_mfcc <= s.n_mels:
        raise UsageError(f"n_mfcc must be 1 .. n_mels = {s.n_mels}, got {s.n_mfcc}.")
    if s.deltas not in (0, 1, 2):
        raise UsageError(f"deltas must be 0, 1 or 2, got {s.deltas!r}.")
    if s.window not in twin.WINDOWS:
        raise UsageError(f"window must be one of {', '.join(twin.WINDOWS)}, got {s.window!r}.")
    if s.norm not in ("slaney", "none"):
        raise UsageError(f"norm must be 'slaney' or 'none', got {s.norm!r}.")
    if not 0 <= s.preemphasis <= 1 or not s.trim_db >= 0:
        raise UsageError(f"preemphasis must be 0 .. 1 and trim_db 0 or more, got "
                         f"{s.preemphasis!r} and {s.trim_db!r}.")


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
