"""Normalise features: mean and variance of an utterance, or of all of them.

In: (T, F) float32 from `asr.features`. Out: the same shape, normalised.
The graph of `asr.augment.graph` computes the same for batches in training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from asr.errors import DataError, UsageError

if TYPE_CHECKING:
    from asr.recipe import FeatureSettings

VARIANCE_FLOOR = 1e-4  # squared natural logs: a band that varies less is left near 0, not blown up
LEVEL_FLOOR = -12.0  # natural log: 52 dB below the mean power of an utterance (cmvn = "map")

STATISTICS_NEEDED = ("global", "map")  # values of features.cmvn


def cmvn(features: np.ndarray, mean: np.ndarray | None = None,
         std: np.ndarray | None = None) -> np.ndarray:
    """Mean and variance normalisation: per utterance, or with given statistics.

    Args:
        features: (T, F) float32, T >= 1.
        mean, std: (F,), both or neither; None: those of this utterance. A standard deviation
            below sqrt(VARIANCE_FLOOR) counts as that, so silence becomes 0, not NaN.

    Returns:
        (T, F) float32.

    Raises:
        UsageError: one of mean and std without the other.
    """
    if (mean is None) != (std is None):
        raise UsageError("cmvn needs both mean and std, or neither.")
    center = features.mean(axis=0, dtype=np.float64) if mean is None else mean
    spread = features.std(axis=0, dtype=np.float64) if std is None else std
    scale = 1.0 / np.maximum(spread, math.sqrt(VARIANCE_FLOOR))
    return ((features - center) * scale).astype(np.float32, copy=False)


def level(features: np.ndarray, mean_power: float | None = None) -> np.ndarray:
    """Log-mel energies relative to the utterance's mean power, at most 52 dB below it.

    Takes the recording level and digital silence away: whatever lies below LEVEL_FLOOR, a
    difference between microphones rather than sounds, becomes LEVEL_FLOOR.

    Args:
        features: (T, F) float32, natural log of power.
        mean_power: natural log, of the whole utterance where `features` are a piece of it; None:
            that of `features`.

    Returns:
        (T, F) float32.
    """
    if mean_power is None:
        mean_power = log_mean_power([features])
    return np.maximum(features - np.float32(mean_power), np.float32(LEVEL_FLOOR))


def log_mean_power(features: Iterable[np.ndarray]) -> float:
    """Natural log of the mean of exp(features) over all frames and bands of an utterance.

    Args:
        features: (T, F) float32 blocks, at least one frame in all.
    """
    total, count = -math.inf, 0
    for block in features:
        peak = float(block.max())
        power = peak + math.log(float(np.sum(np.exp(block - peak), dtype=np.float64)))
        total, count = float(np.logaddexp(total, power)), count + block.size
    return total - math.log(count)


def map_cmvn(features: np.ndarray, mean: np.ndarray, std: np.ndarray, prior: int,
             mean_power: float | None = None) -> np.ndarray:
    """CMVN whose statistics are those of the utterance, with the training set as a prior.

    Mean and variance of a clip of half a second depend on the word that is said; counting the
    training set as `prior` more frames keeps them steady. An hour is normalised by itself, as with
    `cmvn`; a single word nearly as with global statistics. Applied after `level`.

    Args:
        features: (T, F) float32, T >= 1, before any normalisation.
        mean, std: (F,), of the training set after `level`.
        prior: frames that they count for.
        mean_power: see `level`.

    Returns:
        (T, F) float32.

    Reference: maximum a posteriori estimation of a Gaussian's parameters, Gauvain and Lee 1994.
    """
    x = level(features, mean_power).astype(np.float64)
    center, spread = map_statistics(len(x), x.mean(axis=0), x.std(axis=0), mean, std, prior)
    return ((x - center) / spread).astype(np.float32)


def map_statistics(count: int, own_mean: np.ndarray, own_std: np.ndarray, mean: np.ndarray,
                    std: np.ndarray, prior: int) -> tuple[np.ndarray, np.ndarray]:
    """Center and spread, (F,) float64, of `count` frames with the training set as a prior."""
    share = count / (count + prior)
    center = share * own_mean + (1.0 - share) * mean
    around_center = np.square(own_std, dtype=np.float64) + (own_mean - center) ** 2
    variance = share * around_center + (1.0 - share) * np.square(std, dtype=np.float64)
    return center, np.sqrt(np.maximum(variance, VARIANCE_FLOOR))


def normalize_features(features: np.ndarray, settings: FeatureSettings,
                       statistics: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """Features as the network sees them, by `settings.cmvn`.

    Args:
        features: (T, F) float32, from `FeatureExtractor.extract`.
        settings: the [features] section.
        statistics: (mean, std) of the training set, for "global" and "map".

    Raises:
        UsageError: the statistics are missing, or given where none are used.
    """
    if (statistics is not None) != (settings.cmvn in STATISTICS_NEEDED):
        raise UsageError(f"features.cmvn = {settings.cmvn!r} goes with"
                         f"{'out' if statistics is not None else ''} training statistics.")
    if settings.cmvn == "none":
        return features
    if settings.cmvn == "map" and statistics is not None:
        return map_cmvn(features, *statistics, settings.cmvn_prior)
    return cmvn(features, *(statistics or ()))


def fit_normalization(passes: Callable[[], Iterable[np.ndarray]], settings: FeatureSettings,
                      statistics: tuple[np.ndarray, np.ndarray] | None = None
                      ) -> Callable[[np.ndarray], np.ndarray]:
    """`normalize_features` of an utterance that is too long to be held: fitted first, then applied.

    The statistics are those of the whole utterance, so a piece is normalised as it would be within
    the whole.

    Args:
        passes: starts a pass over the utterance: (T, F) float32 blocks, T >= 1. Called once for
            "utterance", twice for "map", else never.
        settings, statistics: as for `normalize_features`.

    Returns:
        (T, F) float32 of any piece -> the same shape, normalised.

    Raises:
        DataError: no frames at all.
        UsageError: as `normalize_features`.
    """
    if settings.cmvn == "utterance" and statistics is None:
        mean, std, _ = _mean_std_count(passes())
        return lambda features: cmvn(features, mean, std)
    if settings.cmvn != "map" or statistics is None:
        return lambda features: normalize_features(features, settings, statistics)
    power = log_mean_power(passes())
    own_mean, own_std, count = _mean_std_count(level(block, power) for block in passes())
    center, spread = map_statistics(count, own_mean, own_std, *statistics, settings.cmvn_prior)
    return lambda features: ((level(features, power) - center) / spread).astype(np.float32)


def training_statistics(features: Iterable[np.ndarray], settings: FeatureSettings
                        ) -> tuple[np.ndarray, np.ndarray] | None:
    """(mean, std) of the training set that `settings.cmvn` needs; None if it needs none.

    Raises:
        DataError: no frames at all.
    """
    if settings.cmvn not in STATISTICS_NEEDED:
        return None
    return global_cmvn_statistics(map(level, features) if settings.cmvn == "map" else features)


def global_cmvn_statistics(features: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over all frames of many utterances, in one pass.

    Args:
        features: arrays of (T, F), before CMVN; training set only.

    Returns:
        mean (F,), std (F,), float32.

    Raises:
        DataError: no frames at all.
    """
    mean, std, _ = _mean_std_count(features)
    return mean.astype(np.float32), std.astype(np.float32)


def _mean_std_count(features: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean (F,) and standard deviation (F,), float64, and number of frames, in one pass.

    Reference: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm".
    """
    count, mean, squares = 0, np.zeros(0), np.zeros(0)
    for array in features:
        if not len(array):
            continue
        block = np.asarray(array, np.float64)
        block_mean = block.mean(axis=0)
        block_squares = ((block - block_mean) ** 2).sum(axis=0)
        if not count:
            mean, squares = np.zeros_like(block_mean), np.zeros_like(block_mean)
        total = count + len(block)
        shift = block_mean - mean
        mean = mean + shift * (len(block) / total)
        squares = squares + block_squares + shift ** 2 * (count * len(block) / total)
        count = total
    if not count:
        raise DataError("Global CMVN needs at least one frame, got none. Check the training "
                        "manifest, or set features.cmvn = \"utterance\".", code="features.empty")
    return mean, np.sqrt(squares / count), count
