"""Calibration of word confidences: is a confidence of 0.9 right nine times of ten?

In: rows of a score, and words with confidences by utterance. Out: which words are right; expected
calibration error with its interval, Brier score, normalised cross entropy, bins to draw.
NumPy.

A word is right if the alignment that the word error rate is counted from pairs it with an equal
word. Missing words have no confidence, so that no confidence can warn of a deletion.

ECE is the mean distance between confidence and share of right words over 15 bins of equally many
words (Naeini et al. 2015, AAAI, with equal masses as in Nguyen and O'Connor 2015, EMNLP: no bin
rests on three words). It is never 0 on few words, however good the confidences: `chance` is what
confidences that are exact would show on as many words, and the number to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np

from asr.errors import DataError, UsageError
from asr.scoring.bootstrap import (
    CONFIDENCE,
    Interval,
    cluster_sums,
    clusters_of,
    draw_sums,
    interval_of,
)
from asr.scoring.counts import align_many
from asr.scoring.result import ScoreRow
from asr.terminal import plural
from asr.text import normalize

BINS = 15
DRAWS = 1_000
CHANCE_DRAWS = 200
SMALLEST = 1e-7  # a confidence of 0 or 1 that errs would cost infinitely many bits


class ConfidentWord(Protocol):
    """A word with its confidence, such as `asr.transcript.Word`."""

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def confidence(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Bin:
    """Words of like confidence: their mean confidence, the share that is right, how many."""

    confidence: float
    right: float
    words: int


@dataclass(frozen=True)
class Reliability:
    """What the confidences of words are worth; rates are fractions.

    Attributes:
        words: that were judged.
        right: share of them that is right.
        confidence: their mean confidence.
        ece: expected calibration error.
        interval: confidence interval of `ece`, over drawn speakers or utterances; see `_interval`.
        chance: the ECE that exact confidences would show on as many words.
        brier: mean square of confidence - right; 0 is perfect.
        nce: normalised cross entropy, NIST's: 1 is perfect, 0 is as good as saying `right` for
            every word; None where all words are right, or all wrong.
        auc: probability that a right word is surer than a wrong one; None likewise.
        bins: to draw.
    """

    words: int
    right: float
    confidence: float
    ece: float
    interval: Interval
    chance: float
    brier: float
    nce: float | None
    auc: float | None
    bins: tuple[Bin, ...]

    def line(self) -> str:
        """All of it, for people."""
        parts = [f"ECE {100 * self.ece:.1f} % ({100 * self.interval.low:.1f} to "
                 f"{100 * self.interval.high:.1f}; exact confidences would show "
                 f"{100 * self.chance:.1f})", f"Brier {self.brier:.3f}"]
        if self.nce is not None and self.auc is not None:
            parts += [f"NCE {self.nce:.2f}", f"AUC {self.auc:.2f}"]
        return f"word confidence: {', '.join(parts)}, over {plural(self.words, 'word')}"

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {"words": self.words, "right": self.right, "confidence": self.confidence,
                "ece": self.ece, "interval": self.interval.to_dict(), "chance": self.chance,
                "brier": self.brier, "nce": self.nce, "auc": self.auc,
                "bins": [[b.confidence, b.right, b.words] for b in self.bins]}


def judge_words(references: Sequence[str], hypotheses: Sequence[str],
                words: Sequence[Sequence[str]], normalizer: str) -> list[np.ndarray | None]:
    """Which recognised words are right.

    Args:
        references, hypotheses: normalised, single spaces, one an utterance.
        words: the recognised words of each utterance as the recogniser wrote them.
        normalizer: that was applied to the whole texts.

    Returns:
        For each utterance (num_words,) int8: 1 right, 0 wrong, -1 the normaliser removes the word;
        None where normalising word by word gives another text than normalising the whole, so that
        no word of the text belongs to one of the recogniser.

    Example:
        >>> judge_words(["one two"], ["one too three"], [["one", "too", "three"]], "none")[0]
        array([1, 0, 0], dtype=int8)
    """
    @lru_cache(maxsize=100_000)
    def tokens(word: str) -> tuple[str, ...]:
        return tuple(normalize(word, normalizer).split())

    found: list[np.ndarray | None] = []
    for heard, spoken, steps in zip(hypotheses, words, align_many(references, hypotheses),
                                    strict=True):
        pieces = [tokens(word) for word in spoken]
        if [token for piece in pieces for token in piece] != heard.split():
            found.append(None)
            continue
        equal = iter([step.kind == "equal" for step in steps if step.hypothesis is not None])
        found.append(np.array([all([next(equal) for _ in piece]) if piece else -1
                               for piece in pieces], dtype=np.int8))
    return found


def judge_rows(rows: Sequence[ScoreRow], words: Mapping[str, Sequence[ConfidentWord]],
               normalizer: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Confidences and verdicts of all words of a score.

    Args:
        rows: rows of the score.
        words: by utterance id, one entry for every row.
        normalizer: normaliser of the score.

    Returns:
        (N,) float64 confidences; (N,) bool right; (N,) int64 index of the row; and the number of
        utterances left out because the normaliser joins or splits words across each other.
    """
    verdicts = judge_words([row.normalized_reference for row in rows],
                           [row.normalized_hypothesis for row in rows],
                           [[word.text for word in words[row.id]] for row in rows], normalizer)
    confidences, right, index = [], [], []
    for number, (row, verdict) in enumerate(zip(rows, verdicts, strict=True)):
        for word, one in zip(words[row.id], [] if verdict is None else verdict.tolist(),
                             strict=verdict is not None):
            if one >= 0:
                confidences.append(word.confidence)
                right.append(one == 1)
                index.append(number)
    return (np.array(confidences, dtype=np.float64), np.array(right, dtype=bool),
            np.array(index, dtype=np.int64), sum(verdict is None for verdict in verdicts))


def reliability(confidences: np.ndarray, right: np.ndarray, *,
                utterances: np.ndarray | None = None, speakers: Sequence[str] | None = None,
                bins: int = BINS, draws: int = DRAWS, seed: int = 0) -> Reliability:
    """Measure the confidences of words.

    Args:
        confidences: (N,) float64, 0 .. 1.
        right: (N,) bool.
        utterances: (N,) int64, number of the utterance of each word, from 0; None: each word is
            drawn alone.
        speakers: one name an utterance, see `asr.scoring.bootstrap.clusters_of`.
        bins: groups of equal mass; words of equal confidence stay together, so there may be fewer.
        draws, seed: number of draws, seed of the bootstrap over speakers or utterances.

    Raises:
        DataError: no word, or a confidence that is not a number from 0 to 1.
        UsageError: arrays of different length, fewer than one bin.

    Example:
        >>> confidences, right = np.array([0.9, 0.9, 0.9]), np.array([True, False, False])
        >>> round(reliability(confidences, right).ece, 3)
        0.567
    """
    if bins < 1 or len(confidences) != len(right):
        raise UsageError(f"{plural(len(confidences), 'confidence')}, "
                         f"{plural(len(right), 'verdict')} and {bins} bins; "
                         "expected as many verdicts as confidences, and one bin or more.")
    if not len(confidences):
        raise DataError("No word to measure confidences on.", code="score.no_words")
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise DataError("A confidence is not a number from 0 to 1.", code="score.confidence")
    place = bins_of(confidences, bins)
    number = np.arange(len(right)) if utterances is None else utterances
    size = int(number.max()) + 1
    unit, group = clusters_of(size, speakers)
    # Sums of whole numbers, because the bootstrap counts: millionths of a word.
    table = np.zeros((len(right), bins + 1), np.int64)
    table[np.arange(len(right)), place] = np.round(1e6 * (confidences - right)).astype(np.int64)
    table[:, -1] = 1
    per_cluster = cluster_sums(table, group[number])
    per_cluster = per_cluster[per_cluster[:, -1] > 0]
    sums = draw_sums(per_cluster, draws, seed)
    ece = calibration_error(confidences, right, place)
    interval = _interval(ece, interval_of(np.abs(sums[:, :-1]).sum(axis=1) / 1e6, sums[:, -1],
                                          CONFIDENCE, unit, len(per_cluster)))
    counts = np.bincount(place, minlength=bins)
    mean, share = (np.bincount(place, values, minlength=bins) / np.maximum(counts, 1)
                   for values in (confidences, right.astype(np.float64)))
    return Reliability(
        words=len(right), right=float(right.mean()), confidence=float(confidences.mean()),
        ece=ece, interval=interval,
        chance=_chance(confidences, place, seed), brier=float(((confidences - right) ** 2).mean()),
        nce=normalized_cross_entropy(confidences, right), auc=area_under_curve(confidences, right),
        bins=tuple(Bin(float(mean[b]), float(share[b]), int(counts[b]))
                   for b in np.flatnonzero(counts)))


def bins_of(confidences: np.ndarray, bins: int) -> np.ndarray:
    """(N,) int64: the bin of each word; equally many words each, equal confidences together."""
    positions = np.arange(1, bins) * len(confidences) // bins
    return np.searchsorted(np.unique(np.sort(confidences)[positions]), confidences, side="right")


def calibration_error(confidences: np.ndarray, right: np.ndarray, place: np.ndarray) -> float:
    """Expected calibration error: |sum of confidences - right words| over the bins, a word."""
    return float(np.abs(np.bincount(place, confidences - right)).sum() / len(right))


def squared_calibration_error(confidences: np.ndarray, right: np.ndarray,
                              place: np.ndarray) -> float:
    """Mean square of what ECE is the mean magnitude of, without what chance adds to it.

    From the square of each bin's distance the variance of its share of right words is taken, so
    that exact confidences give 0 on average, on few words too, and a single result may lie below.

    Args:
        confidences, right, place: (N,) as for `calibration_error`; a bin of one word has no
            variance to take away.

    Reference: Kumar, Liang and Ma 2019, "Verified uncertainty calibration", NeurIPS, section 5.
    """
    counts = np.bincount(place)
    distances, share = (np.bincount(place, values) / np.maximum(counts, 1)
                        for values in (confidences - right, right.astype(np.float64)))
    noise = share * (1 - share) / np.maximum(counts - 1, 1)
    return float((counts * (distances ** 2 - noise)).sum() / len(right))


def normalized_cross_entropy(confidences: np.ndarray, right: np.ndarray) -> float | None:
    """NIST's NCE: the part of the uncertainty about the words that the confidences remove.

    Reference: Siu, Gish and Richardson 1997, "Improved estimation, evaluation and applications of
    confidence measures for speech recognition", Eurospeech; sclite prints it.
    """
    share = right.mean()
    if share in (0.0, 1.0):
        return None
    without = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    p = np.clip(confidences, SMALLEST, 1 - SMALLEST)
    return float(1 + np.where(right, np.log(p), np.log1p(-p)).mean() / without)


def area_under_curve(confidences: np.ndarray, right: np.ndarray) -> float | None:
    """Probability that a right word has the higher confidence; ties count half."""
    wrong = np.sort(confidences[~right])
    if not len(wrong) or len(wrong) == len(right):
        return None
    ours = confidences[right]
    below = np.searchsorted(wrong, ours, "left") + np.searchsorted(wrong, ours, "right")
    return float(below.mean() / (2 * len(wrong)))


def _interval(ece: float, drawn: Interval) -> Interval:
    """The percentiles of the draws, moved so that the mean draw is the ECE that was measured.

    Resampling words adds noise to bins that are noisy already, and ECE counts noise as error: the
    draws are too high by about as much as the ECE itself is.
    """
    shift = ece - drawn.mean
    return replace(drawn, low=max(0.0, drawn.low + shift), high=drawn.high + shift, mean=ece,
                   method="bootstrap percentiles, shifted to the estimate")


def _chance(confidences: np.ndarray, place: np.ndarray, seed: int) -> float:
    """The mean ECE where each word is right with the very probability that is claimed."""
    generator = np.random.default_rng(seed)
    return float(np.mean([
        calibration_error(confidences, generator.random(len(confidences)) < confidences, place)
        for _ in range(CHANCE_DRAWS)]))
