"""Confidence intervals of error rates by resampling.

In: errors and words of each utterance, and who spoke it. Out: a 95 % interval. NumPy.

The method is the bootstrap of Bisani and Ney (2004, "Bootstrap estimates for confidence intervals
in ASR performance evaluation", ICASSP), which Kaldi ships as compute-wer-bootci: draw as many
utterances as there are, with replacement, 10,000 times; each draw has the error rate
sum(errors) / sum(words); Kaldi prints their mean ± 1.96 standard deviations
(src/bin/compute-wer-bootci.cc, GetBootstrapWERInterval). `Interval.kaldi` is that; `low` and
`high` are the percentiles of the same draws, which stay right when the rates are skewed.

Utterances of one speaker are alike, so that intervals over utterances are too narrow. Where
speakers are known, whole speakers are drawn instead (the blockwise bootstrap: Liu et al. 2019,
"Statistical testing on ASR performance via blockwise bootstrap").

Of very many utterances the sums are drawn from their limit, the normal distribution: see
`draw_sums`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import UsageError

DRAWS = 10_000
CONFIDENCE = 0.95
FEW_CLUSTERS = 10
"""Below so many speakers the bootstrap over speakers is known to be too narrow."""
_MOST_PICKS = 2 * 10**8  # draws times clusters: about three seconds
_MOST_SKEW = 0.04


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval of a rate (or of a difference of rates), as fractions, not percent.

    `low` and `high` are percentiles of the draws, `mean` and `deviation` their mean and standard
    deviation; `unit` says what was drawn ("speaker" or "utterance") and `clusters` how many.
    """

    low: float
    high: float
    mean: float
    deviation: float
    confidence: float
    draws: int
    unit: str
    clusters: int
    method: str = "bootstrap percentiles"

    @property
    def half_width(self) -> float:
        """1.96 standard deviations: the number after ±."""
        return 1.96 * self.deviation

    @property
    def above_zero(self) -> bool:
        """Whether a difference is more than chance: all of the interval is positive.

        One utterance, or one speaker, has no interval.
        """
        return self.clusters > 1 and self.low > 0

    @property
    def kaldi(self) -> tuple[float, float]:
        """Mean - 1.96 sd, mean + 1.96 sd: what Kaldi's compute-wer-bootci prints."""
        return self.mean - self.half_width, self.mean + self.half_width

    def __str__(self) -> str:
        """What follows the rate in percent: "± 0.6", "(at most 1.00)", "" from one cluster."""
        if self.method == "rule of three":
            return (f"(at least {100 * self.low:.2f})" if self.low
                    else f"(at most {100 * self.high:.2f})")
        return f"± {100 * self.half_width:.1f}" if self.clusters > 1 else ""

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {"low": self.low, "high": self.high, "half_width": self.half_width,
                "mean": self.mean, "deviation": self.deviation, "confidence": self.confidence,
                "draws": self.draws, "unit": self.unit, "clusters": self.clusters,
                "method": self.method}


def bootstrap_rates(errors: np.ndarray, totals: np.ndarray, *,
                    speakers: Sequence[str] | None = None, draws: int = DRAWS,
                    confidence: float = CONFIDENCE, seed: int = 0) -> list[Interval | None]:
    """Intervals of several error rates from the same draws.

    Args:
        errors: (num_utterances, num_rates) counts of errors.
        totals: (num_utterances, num_rates) counts of reference words or characters.
        speakers: one name an utterance; "" is unknown and its own cluster. With at
            least two speakers whole speakers are drawn, otherwise utterances.
        draws: how often the test set is resampled.
        confidence: between 0 and 1.
        seed: the draws are the same for the same seed.

    Returns:
        One interval a rate; None where the reference is empty. Where no error was seen at all the
        bootstrap would say ± 0: the upper end is then 3 / N, the rule of three (Hanley and
        Lippman-Hand 1983), which takes the N words as independent.

    Raises:
        UsageError: draws or confidence out of range.
    """
    drawn = resample(np.hstack([errors, totals]), speakers=speakers, draws=draws,
                     confidence=confidence, seed=seed)
    return [drawn.rate(rate, errors.shape[1] + rate) for rate in range(errors.shape[1])]


@dataclass(frozen=True)
class Resampled:
    """Sums of K counts: `whole` (K,) over the test set, `drawn` (draws, K) over each draw."""

    whole: np.ndarray
    drawn: np.ndarray
    confidence: float
    unit: str
    clusters: int

    def rate(self, numerator: int, denominator: int) -> Interval | None:
        """The interval of one column over another; None where the other is 0."""
        if self.whole[denominator] == 0:
            return None
        if self.whole[numerator] == 0:
            high = min(1.0, -np.log(1 - self.confidence) / int(self.whole[denominator]))
            return Interval(0.0, float(high), 0.0, 0.0, self.confidence, len(self.drawn),
                            self.unit, self.clusters, "rule of three")
        return self.ratio(self.drawn[:, numerator], self.drawn[:, denominator])

    def ratio(self, numerators: np.ndarray, denominators: np.ndarray) -> Interval:
        """The interval of what was computed from `drawn`: two arrays of (draws,)."""
        return interval_of(numerators, denominators, self.confidence, self.unit, self.clusters)


def resample(counts: np.ndarray, *, speakers: Sequence[str] | None = None, draws: int = DRAWS,
             confidence: float = CONFIDENCE, seed: int = 0) -> Resampled:
    """Sums of counts over draws of the test set.

    Args:
        counts: (num_utterances, K) counts.
        speakers, draws, confidence, seed: as in `bootstrap_rates`.

    Raises:
        UsageError: draws or confidence out of range.
    """
    check_settings(draws, confidence)
    unit, group = clusters_of(len(counts), speakers)
    return Resampled(counts.sum(0), draw_sums(cluster_sums(counts, group), draws, seed),
                     confidence, unit, int(group.max()) + 1)


def interval_of(numerators: np.ndarray, denominators: np.ndarray, confidence: float, unit: str,
                clusters: int) -> Interval:
    """The interval of a ratio from its drawn sums; draws without reference words are left out."""
    kept = denominators > 0
    rates = numerators[kept] / denominators[kept]
    tail = (1 - confidence) / 2
    low, high = np.quantile(rates, [tail, 1 - tail])
    return Interval(float(low), float(high), float(rates.mean()), float(rates.std()), confidence,
                    len(rates), unit, clusters)


def draw_sums(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Sums over resampled rows.

    Args:
        values: (num_clusters, K) int64 counts.
        draws: number of resamplings, each of num_clusters rows with replacement.
        seed: seed of NumPy's default generator.

    Returns:
        (draws, K) int64. Each draw is a histogram of the rows times `values`, in blocks of
        about 4 MB, so that memory does not grow with draws x clusters. (einsum, not BLAS: its
        threads would wait for each other on a busy machine.)

        Where that would pick more than `_MOST_PICKS` rows (seconds) and every sum is as good as
        normal, the draws come from the normal distribution with the mean and the covariance that
        the sums have: its quantiles are nearer to the true ones than those of 10,000 draws.
    """
    generator = np.random.default_rng(seed)
    clusters = len(values)
    if draws * clusters > _MOST_PICKS and _nearly_normal(values):
        return np.rint(generator.multivariate_normal(
            values.sum(0), clusters * np.atleast_2d(np.cov(values.T, bias=True)), draws,
            method="eigh", check_valid="ignore")).astype(np.int64)  # eigenvalues of -1e-9 are 0
    columns = np.ascontiguousarray(values.T)
    block = max(1, 500_000 // clusters)
    sums = np.empty((draws, len(columns)), np.int64)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        picks = generator.integers(0, clusters, size=(rows, clusters))
        picks += np.arange(rows)[:, None] * clusters
        histogram = np.bincount(picks.ravel(), minlength=rows * clusters)
        np.einsum("rn,kn->rk", histogram.reshape(rows, clusters), columns,
                  out=sums[start:start + rows])
    return sums


def _nearly_normal(values: np.ndarray) -> bool:
    """Whether no sum over resampled rows is skewed: |skewness| at most `_MOST_SKEW`.

    The quantiles of such a sum are off by less than 2 % of its deviation (Cornish and Fisher 1938),
    where 10,000 draws are off by 2.7 %.
    """
    centred = values - values.mean(0)
    variance = (centred ** 2).mean(0)
    moment = (centred ** 3).mean(0)[variance > 0]
    skewness = moment / variance[variance > 0] ** 1.5 / np.sqrt(len(values))
    return bool((np.abs(skewness) <= _MOST_SKEW).all())


def clusters_of(num_utterances: int, speakers: Sequence[str] | None) -> tuple[str, np.ndarray]:
    """What is drawn ("speaker" or "utterance"), and the (num_utterances,) group of each."""
    alone = np.arange(num_utterances)
    if speakers is None or len(set(speakers) - {""}) < 2:
        return "utterance", alone
    names = [speaker or f"\0{index}" for index, speaker in enumerate(speakers)]
    return "speaker", np.unique(names, return_inverse=True)[1].reshape(-1)


def cluster_sums(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """(num_utterances, K) counts summed to (num_clusters, K)."""
    sums = np.zeros((int(group.max()) + 1, values.shape[1]), np.int64)
    np.add.at(sums, group, values)
    return sums


def check_settings(draws: int, confidence: float) -> None:
    """Refuse a number of draws or a confidence that cannot give an interval."""
    if not isinstance(draws, int) or not 100 <= draws <= 10_000_000:
        raise UsageError(f"draws is {draws!r}; expected a whole number from 100 to 10,000,000.")
    if not 0.5 <= confidence < 1:
        raise UsageError(f"confidence is {confidence!r}; expected 0.5 or more and below 1.")
