"""Three significance tests for two systems on the same utterances.

In: the rows of two scores with the same references. Out: an interval of the difference and two
p-values. RapidFuzz and NumPy.

- Paired bootstrap (Bisani and Ney 2004; Kaldi's compute-wer-bootci with two systems): both systems
  are scored on the same drawn utterances, or speakers; the difference of WER gets an interval.
- Matched pairs, MAPSSWE (Gillick and Cox 1989, "Some statistical issues in the comparison of
  speech recognition algorithms", ICASSP; NIST's sc_stats): utterances are cut where both systems
  are right for two words in a row, and the errors of the stretches between are compared.
- McNemar on utterances: of those that only one system got entirely right, how many were whose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.scoring.bootstrap import (
    CONFIDENCE,
    DRAWS,
    Interval,
    check_settings,
    cluster_sums,
    clusters_of,
    draw_sums,
    interval_of,
)
from asr.scoring.counts import Step
from asr.scoring.result import ScoreRow, align_rows

GOOD_WORDS = 2
"""So many words in a row right in both systems end a MAPSSWE segment, as in NIST's sc_stats."""


@dataclass(frozen=True, slots=True)
class MatchedPairs:
    """MAPSSWE: errors of A minus errors of B over `segments`; `p` is two-sided."""

    segments: int
    mean: float
    z: float
    p: float


@dataclass(frozen=True, slots=True)
class McNemar:
    """Utterances that only A, or only B, got entirely right; `p` is exact and two-sided."""

    only_a: int
    only_b: int
    p: float


@dataclass(frozen=True, slots=True)
class Paired:
    """WER of A minus WER of B: `interval` as fractions; `improved`: share of draws with B ahead."""

    interval: Interval
    improved: float


def paired_bootstrap(rows_a: Sequence[ScoreRow], rows_b: Sequence[ScoreRow], *, draws: int = DRAWS,
                     confidence: float = CONFIDENCE, seed: int = 0) -> Paired:
    """The difference of two word error rates on the same drawn utterances (or speakers).

    Args:
        rows_a, rows_b: the same utterances in the same order.
        draws, confidence, seed: as in `asr.scoring.bootstrap.bootstrap_rates`.

    Raises:
        UsageError: draws or confidence out of range.
    """
    check_settings(draws, confidence)
    speakers = [row.speaker for row in rows_a]
    values = np.array([[a.words.errors, b.words.errors, a.words.reference, b.words.reference]
                       for a, b in zip(rows_a, rows_b, strict=True)], np.int64)
    unit, group = clusters_of(len(rows_a), speakers if any(speakers) else None)
    sums = draw_sums(cluster_sums(values, group), draws, seed)
    # over a common denominator: a reference with alternatives may be read as more words by one
    errors_a, errors_b = sums[:, 0] * sums[:, 3], sums[:, 1] * sums[:, 2]
    interval = interval_of(errors_a - errors_b, sums[:, 2] * sums[:, 3], confidence, unit,
                           int(group.max()) + 1)
    return Paired(interval, float((errors_a > errors_b).mean()))


def matched_pairs(rows_a: Sequence[ScoreRow], rows_b: Sequence[ScoreRow],
                  alignment: str = "unit") -> MatchedPairs:
    """MAPSSWE over all utterances.

    Args:
        rows_a, rows_b: the same utterances in the same order. One whose reference was read in two
            ways (alternatives) is a segment as a whole.
        alignment: that of the scores.
    """
    differences = []
    alignments = (align_rows(rows, alignment) for rows in (rows_a, rows_b))
    for a, b, steps_a, steps_b in zip(rows_a, rows_b, *alignments, strict=True):
        if a.normalized_reference == b.normalized_reference:
            segments = error_segments(steps_a, steps_b)
        else:
            both = a.words.errors, b.words.errors
            segments = [both] * any(both)
        differences += [first - second for first, second in segments]
    return _test_mean(np.array(differences, np.float64))


def error_segments(steps_a: Sequence[Step], steps_b: Sequence[Step]) -> list[tuple[int, int]]:
    """Errors of A and B in each stretch between words that both got right.

    A stretch ends after `GOOD_WORDS` correct words in a row (and no insertion between them) or
    with the utterance; stretches without an error are not listed.
    """
    segments: list[tuple[int, int]] = []
    errors = [0, 0]
    run = 0
    for (inserted_a, wrong_a), (inserted_b, wrong_b) in zip(
            _by_word(steps_a), _by_word(steps_b), strict=True):
        if inserted_a or inserted_b:
            run = 0
        run = 0 if wrong_a or wrong_b else run + 1
        errors[0] += inserted_a + wrong_a
        errors[1] += inserted_b + wrong_b
        if run >= GOOD_WORDS and any(errors):
            segments.append((errors[0], errors[1]))
            errors = [0, 0]
    if any(errors):
        segments.append((errors[0], errors[1]))
    return segments


def mcnemar(rows_a: Sequence[ScoreRow], rows_b: Sequence[ScoreRow]) -> McNemar:
    """McNemar's exact test on utterances without an error."""
    right = [(a.words.errors == 0, b.words.errors == 0)
             for a, b in zip(rows_a, rows_b, strict=True)]
    only_a = sum(a and not b for a, b in right)
    only_b = sum(b and not a for a, b in right)
    return McNemar(only_a, only_b, binomial_p(only_a, only_b))


def binomial_p(first: int, second: int) -> float:
    """Two-sided p of a split that uneven or more if both sides are as likely; 1 without any.

    Example:
        >>> round(binomial_p(10, 2), 5)
        0.03857
    """
    trials, low = first + second, min(first, second)
    if trials == 0:
        return 1.0
    if trials > 1_000:  # the normal approximation with continuity correction is exact enough
        z = max(0.0, abs(first - second) - 1) / math.sqrt(trials)
        return math.erfc(z / math.sqrt(2))
    tail = sum(math.comb(trials, k) for k in range(low + 1))
    return min(1.0, 2 * tail / 2**trials)


def _by_word(steps: Sequence[Step]) -> list[tuple[int, int]]:
    """(insertions before, wrong 0 or 1) of each reference word, and a last entry for the end."""
    words, inserted = [], 0
    for step in steps:
        if step.kind == "insert":
            inserted += 1
        else:
            words.append((inserted, int(step.kind != "equal")))
            inserted = 0
    return [*words, (inserted, 0)]


def _test_mean(differences: np.ndarray) -> MatchedPairs:
    """Is the mean of the differences 0? Normal, as in the paper; a sign test without spread."""
    number = len(differences)
    if number == 0 or not differences.any():
        return MatchedPairs(number, 0.0, 0.0, 1.0)
    mean = float(differences.mean())
    deviation = float(differences.std(ddof=1)) if number > 1 else 0.0
    if deviation == 0:
        return MatchedPairs(number, mean, math.copysign(math.inf, mean), binomial_p(number, 0))
    z = mean / (deviation / math.sqrt(number))
    return MatchedPairs(number, mean, z, math.erfc(abs(z) / math.sqrt(2)))
