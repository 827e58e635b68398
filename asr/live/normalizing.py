"""Normalise an utterance of which only the beginning is known.

In: the features so far. Out: the same, normalised. What a recording says of itself offline is not
known yet: mean and variance ("utterance") or the mean power ("map"). The utterances before in the
stream are the prior of its estimate, as many frames as `PRIOR_FRAMES`; the first one has none.
Training statistics ("map", "global") are used as offline. NumPy.

Reference: maximum a posteriori estimation of a Gaussian's parameters, Gauvain and Lee 1994.
"""

from __future__ import annotations

import numpy as np

from asr.features import normalize_features
from asr.features.normalization import (
    cmvn,
    frame_weights,
    log_mean_power,
    map_cmvn,
    map_statistics,
    moments,
)
from asr.recipe import FeatureSettings

PRIOR_FRAMES = 300  # that the utterances before count for


class OnlineNormalizer:
    """Normalises the utterances of one stream, one after the other.

    Args:
        settings: the [features] section.
        statistics: (mean, std) of the bundle, each (F,), or None.
    """

    def __init__(self, settings: FeatureSettings,
                 statistics: tuple[np.ndarray, np.ndarray] | None):
        self._settings, self._statistics = settings, statistics
        self._before: tuple[np.ndarray, np.ndarray] | None = None
        self._power: float | None = None  # natural log

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(T, F) float32 of the utterance so far, T >= 1 -> the same shape, normalised."""
        if self._settings.cmvn == "utterance" and self._before is not None:
            return cmvn(features, *self._mixed(features))
        if self._settings.cmvn == "map" and self._power is not None and self._statistics:
            return map_cmvn(features, *self._statistics, self._settings.cmvn_prior,
                            self._mixed_power(features),
                            range_db=self._settings.cmvn_range_db)
        return normalize_features(features, self._settings, self._statistics)

    def remember(self, features: np.ndarray) -> None:
        """An utterance with words has ended."""
        if not len(features):
            return
        before, power = self._before, self._power
        if self._settings.cmvn == "utterance":
            before = self._mixed(features)
        if self._settings.cmvn == "map" or self._settings.cmvn_range_db:
            power = self._mixed_power(features)
        self._before, self._power = before, power

    def _weights(self, features: np.ndarray) -> np.ndarray | None:
        """A quiet beginning does not count if it was louder in the utterances before."""
        if not self._settings.cmvn_range_db:
            return None
        power = log_mean_power(features)
        return frame_weights(features, self._settings.cmvn_range_db,
                             power if self._power is None else max(power, self._power))

    def _mixed_power(self, features: np.ndarray) -> float:
        weights = self._weights(features)
        count = float(len(features) if weights is None else weights.sum())
        if self._power is not None and not count:
            return self._power
        own = log_mean_power(features, weights)
        if self._power is None:
            return own
        return float(np.logaddexp(own + np.log(count), self._power + np.log(PRIOR_FRAMES))
                     - np.log(count + PRIOR_FRAMES))

    def _mixed(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean, std, count = moments(features, self._weights(features))
        return (mean, std) if self._before is None else map_statistics(
            count, mean, std, *self._before, PRIOR_FRAMES)
