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
WEIGHT_RAMP_DB = 10.0  # above -cmvn_range_db: there frames go from quiet to loud
NEPERS_PER_DB = math.log(10.0) / 10.0  # natural log of power

Weighted = tuple[np.ndarray, np.ndarray | None]  # (T, F) and `frame_weights` of it

STATISTICS_NEEDED = ("global", "map")  # values of features.cmvn


def cmvn(features: np.ndarray, mean: np.ndarray | None = None, std: np.ndarray | None = None, *,
         range_db: float = 0.0) -> np.ndarray:
    """Mean and variance normalisation: per utterance, or with given statistics.

    Args:
        features: (T, F) float32, T >= 1.
        mean, std: (F,), both or neither; None: those of this utterance. A standard deviation
            below sqrt(VARIANCE_FLOOR) counts as that, so silence becomes 0, not NaN.
        range_db: of `frame_weights`, for the statistics of this utterance.

    Returns:
        (T, F) float32.

    Raises:
        UsageError: one of mean and std without the other.
    """
    if (mean is None) != (std is None):
        raise UsageError("cmvn needs both mean and std, or neither.")
    if mean is None or std is None:
        mean, std, _ = moments(features, frame_weights(features, range_db))
    center, spread = mean, std
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
        mean_power = log_mean_power(features)
    return np.maximum(features - np.float32(mean_power), np.float32(LEVEL_FLOOR))


def log_mean_power(features: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Natural log of the mean of exp(features) over frames and bands.

    Args:
        features: (T, F) float32, T >= 1.
        weights: (T,), of `frame_weights`, not all 0.
    """
    peak = float(features.max())
    powers = np.exp(features - peak)
    if weights is None:
        return peak + math.log(float(np.sum(powers, dtype=np.float64))) - math.log(features.size)
    power = float(weights @ powers.sum(axis=1, dtype=np.float64))
    return peak + math.log(power) - math.log(float(weights.sum()) * features.shape[1])


def _log_mean_power(blocks: Iterable[Weighted]) -> float:
    """`log_mean_power` of many blocks in one pass."""
    total, count = -math.inf, 0.0
    for block, weights in blocks:
        frames = float(len(block) if weights is None else weights.sum())
        if frames:
            total = float(np.logaddexp(total, log_mean_power(block, weights) + math.log(frames)))
            count += frames
    return total - math.log(count) if count else total


def frame_weights(features: np.ndarray, range_db: float, mean_power: float | None = None,
                  quiet: float | None = None) -> np.ndarray | None:
    """How much each frame counts in the statistics of an utterance, so that long pauses do not.

    A frame is loud, 1, from `WEIGHT_RAMP_DB` above `-range_db` on, relative to the mean power of
    the utterance; quiet, 0, from `-range_db` down; between them linear in decibels, so that a
    rounding error moves no frame in or out. Quiet frames count as well, but all of them together
    at most as much as the loud ones: clips that are cut close stay as they are, and minutes of
    silence change no more than a pause does.

    Args:
        features: (T, F) float32, natural log of power, before any normalisation.
        range_db: features.cmvn_range_db; 0: all frames count.
        mean_power: natural log, of the whole utterance where `features` are a piece of it.
        quiet: `quiet_weight` of the whole utterance, likewise.

    Returns:
        (T,) float64 in 0 .. 1, at least one of a whole utterance 1; None if all frames count.
    """
    if not range_db:
        return None
    loud = _loudness(features, range_db,
                     log_mean_power(features) if mean_power is None else mean_power)
    return loud + (1.0 - loud) * (quiet_weight([loud]) if quiet is None else quiet)


def _loudness(features: np.ndarray, range_db: float, mean_power: float) -> np.ndarray:
    """(T,) float64: 1 loud, 0 quiet."""
    power = np.log(np.exp(features - np.float32(mean_power)).mean(axis=1, dtype=np.float64))
    return np.clip((power / NEPERS_PER_DB + range_db) / WEIGHT_RAMP_DB, 0.0, 1.0)


def quiet_weight(loudness: Iterable[np.ndarray]) -> float:
    """What a quiet frame counts, 0 .. 1: together they are at most as many as the loud ones."""
    loud = total = 0.0
    for block in loudness:
        loud, total = loud + float(block.sum()), total + len(block)
    return min(1.0, loud / (total - loud)) if total > loud else 1.0


def moments(features: np.ndarray, weights: np.ndarray | None = None
            ) -> tuple[np.ndarray, np.ndarray, float]:
    """Mean (F,) and standard deviation (F,), float64, and how many frames they are of.

    Args:
        features: (T, F), T >= 1.
        weights: (T,), of `frame_weights`; if all are 0, so is everything here.
    """
    if weights is None:
        return (features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64),
                float(len(features)))
    count = float(weights.sum())
    share = weights / max(count, 1e-9)
    mean = share @ features
    return mean, np.sqrt(share @ np.square(features - mean)), count


def map_cmvn(features: np.ndarray, mean: np.ndarray, std: np.ndarray, prior: int,
             mean_power: float | None = None, *, range_db: float = 0.0) -> np.ndarray:
    """CMVN whose statistics are those of the utterance, with the training set as a prior.

    Mean and variance of a clip of half a second depend on the word that is said; counting the
    training set as `prior` more frames keeps them steady. An hour is normalised by itself, as with
    `cmvn`; a single word nearly as with global statistics. Applied after `level`.

    Args:
        features: (T, F) float32, T >= 1, before any normalisation.
        mean, std: (F,), of the training set after `level`.
        prior: frames that they count for.
        mean_power: see `level`.
        range_db: of `frame_weights`; frames that do not count are not of the mean power either.

    Returns:
        (T, F) float32.

    Reference: maximum a posteriori estimation of a Gaussian's parameters, Gauvain and Lee 1994.
    """
    weights = frame_weights(features, range_db, mean_power)
    if mean_power is None:
        mean_power = log_mean_power(features, weights)
    x = level(features, mean_power).astype(np.float64)
    own_mean, own_std, count = moments(x, weights)
    center, spread = map_statistics(count, own_mean, own_std, mean, std, prior)
    return ((x - center) / spread).astype(np.float32)


def map_statistics(count: float, own_mean: np.ndarray, own_std: np.ndarray, mean: np.ndarray,
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
        return map_cmvn(features, *statistics, settings.cmvn_prior,
                        range_db=settings.cmvn_range_db)
    return cmvn(features, *(statistics or ()), range_db=settings.cmvn_range_db)


def fit_normalization(passes: Callable[[], Iterable[np.ndarray]], settings: FeatureSettings,
                      statistics: tuple[np.ndarray, np.ndarray] | None = None
                      ) -> Callable[[np.ndarray], np.ndarray]:
    """`normalize_features` of an utterance that is too long to be held: fitted first, then applied.

    The statistics are those of the whole utterance, so a piece is normalised as it would be within
    the whole.

    Args:
        passes: starts a pass over the utterance: (T, F) float32 blocks, T >= 1. Called once for
            "utterance", twice for "map", twice more with cmvn_range_db, else never.
        settings, statistics: as for `normalize_features`.

    Returns:
        (T, F) float32 of any piece -> the same shape, normalised.

    Raises:
        DataError: no frames at all.
        UsageError: as `normalize_features`.
    """
    range_db = settings.cmvn_range_db
    own = {"utterance": statistics is None, "map": statistics is not None}
    if not own.get(settings.cmvn):  # nothing of the utterance itself is needed, or it is an error
        return lambda features: normalize_features(features, settings, statistics)
    mean_power, quiet = 0.0, 1.0
    if range_db:
        mean_power = _log_mean_power((block, None) for block in passes())
        quiet = quiet_weight(_loudness(block, range_db, mean_power) for block in passes())

    def weigh(block: np.ndarray) -> np.ndarray | None:
        return frame_weights(block, range_db, mean_power, quiet)

    if statistics is None:
        mean, std, _ = _mean_std_count((block, weigh(block)) for block in passes())
        return lambda features: cmvn(features, mean, std)
    power = _log_mean_power((block, weigh(block)) for block in passes())
    own_mean, own_std, count = _mean_std_count(
        (level(block, power), weigh(block)) for block in passes())
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
    if settings.cmvn == "global":
        return global_cmvn_statistics(features)

    def leveled(block: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        weights = frame_weights(block, settings.cmvn_range_db)
        return level(block, log_mean_power(block, weights)), weights

    return _as_statistics(map(leveled, filter(len, features)))


def global_cmvn_statistics(features: Iterable[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over all frames of many utterances, in one pass.

    Args:
        features: arrays of (T, F), before CMVN; training set only.

    Returns:
        mean (F,), std (F,), float32.

    Raises:
        DataError: no frames at all.
    """
    return _as_statistics((block, None) for block in features)


def _as_statistics(blocks: Iterable[Weighted]) -> tuple[np.ndarray, np.ndarray]:
    mean, std, _ = _mean_std_count(blocks)
    return mean.astype(np.float32), std.astype(np.float32)


def _mean_std_count(blocks: Iterable[Weighted]) -> tuple[np.ndarray, np.ndarray, float]:
    """`moments` of many blocks in one pass.

    Reference: Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm".
    """
    count, mean, squares = 0.0, np.zeros(0), np.zeros(0)
    for block, weights in blocks:
        if not len(block):
            continue
        block_mean, block_std, block_count = moments(np.asarray(block, np.float64), weights)
        if not block_count:
            continue
        if not count:
            mean, squares = np.zeros_like(block_mean), np.zeros_like(block_mean)
        total = count + block_count
        shift = block_mean - mean
        mean = mean + shift * (block_count / total)
        squares = squares + np.square(block_std) * block_count \
            + shift ** 2 * (count * block_count / total)
        count = total
    if not count:
        raise DataError("Global CMVN needs at least one frame, got none. Check the training "
                        "manifest, or set features.cmvn = \"utterance\".", code="features.empty")
    return mean, np.sqrt(squares / count), count
