"""Two systems on the same test set, and a verdict in words.

In: two scores. Out: the difference with its interval, two more tests, what would be needed to
tell them apart, and which utterances changed. RapidFuzz and NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asr.errors import DataError
from asr.scoring.bootstrap import CONFIDENCE, DRAWS, FEW_CLUSTERS
from asr.scoring.result import Score, ScoreRow, percent
from asr.scoring.significance import (
    MatchedPairs,
    McNemar,
    Paired,
    matched_pairs,
    mcnemar,
    paired_bootstrap,
)
from asr.terminal import plural

_POWER = 1.96 + 0.8416  # 95 % two-sided, 80 % power: quantiles of the normal distribution
_FIELDS = {"reference_hash": "reference set", "normalizer": "normaliser",
           "alignment": "alignment", "rules": "scoring rules"}


@dataclass(frozen=True)
class Comparison:
    """A against B; `difference` is WER of A minus WER of B, so that above 0 B is better.

    `pairs` holds the rows of both systems for every utterance compared, in the order of A;
    `left_out` the ids that only one side has, or with different references (only when forced).
    """

    names: tuple[str, str]
    wers: tuple[float, float]
    words: int
    difference: float
    paired: Paired
    segments: MatchedPairs
    utterances: McNemar
    words_needed: int | None
    verdict: str
    notes: tuple[str, ...]
    pairs: tuple[tuple[ScoreRow, ScoreRow], ...]
    left_out: tuple[str, ...]

    @property
    def different(self) -> bool:
        """The interval of the difference does not hold 0."""
        return not self.paired.interval.low <= 0 <= self.paired.interval.high

    @property
    def changed(self) -> list[tuple[ScoreRow, ScoreRow]]:
        """The utterances whose hypotheses differ, the largest change in errors first."""
        rows = [pair for pair in self.pairs
                if pair[0].normalized_hypothesis != pair[1].normalized_hypothesis]
        return sorted(rows, key=lambda pair: -abs(pair[0].words.errors - pair[1].words.errors))

    def __str__(self) -> str:
        return self.verdict

    def lines(self) -> list[str]:
        """The verdict and the numbers behind it, for a terminal."""
        interval, (a, b) = self.paired.interval, self.names
        wide = max(map(len, self.names))
        return [
            self.verdict,
            *(f"{name:<{wide}}  WER {percent(wer)}"
              for name, wer in zip(self.names, self.wers, strict=True)),
            f"Difference {points(self.difference)} points, {100 * interval.confidence:g} % "
            f"interval {points(interval.low)} to {points(interval.high)} (paired bootstrap over "
            f"{plural(interval.clusters, interval.unit)}; {b} ahead in "
            f"{100 * self.paired.improved:.1f} % of {interval.draws:,} draws)",
            f"Matched pairs (MAPSSWE): {plural(self.segments.segments, 'segment')}, "
            f"z {self.segments.z:.2f}, p {p_value(self.segments.p)}",
            f"Utterances without an error (McNemar): only {a} {self.utterances.only_a:,}, only "
            f"{b} {self.utterances.only_b:,}, p {p_value(self.utterances.p)}",
            f"{len(self.changed):,} of {plural(len(self.pairs), 'utterance')} changed",
            *self.notes]

    def to_dict(self) -> dict:
        """JSON-ready, without the rows."""
        z = self.segments.z
        return {"names": list(self.names), "wer": list(self.wers), "words": self.words,
                "utterances": len(self.pairs), "changed": len(self.changed),
                "difference": self.difference, "interval": self.paired.interval.to_dict(),
                "improved": self.paired.improved, "different": self.different,
                "matched_pairs": {"segments": self.segments.segments, "mean": self.segments.mean,
                                  "z": z if math.isfinite(z) else None, "p": self.segments.p},
                "mcnemar": {"only_a": self.utterances.only_a, "only_b": self.utterances.only_b,
                            "p": self.utterances.p},
                "words_needed": self.words_needed, "verdict": self.verdict,
                "notes": list(self.notes), "left_out": list(self.left_out)}


def compare(a: Score, b: Score, *, names: tuple[str, str] = ("A", "B"), force: bool = False,
            draws: int = DRAWS, confidence: float = CONFIDENCE, seed: int = 0) -> Comparison:
    """Is B better than A, or can they not be told apart?

    Args:
        a, b: scores of the same references under the same normaliser.
        names: for the verdict.
        force: compare what both have in common although the receipts differ.
        draws, confidence, seed: number of draws, confidence, seed of the paired bootstrap.

    Returns:
        The comparison; `print()` gives the verdict.

    Raises:
        DataError: reference set or normaliser differ (the message names the fields), or nothing
            is left in common.
        UsageError: draws or confidence out of range.

    Example:
        >>> from asr.scoring import score
        >>> old = score(["one two"] * 30, ["one too"] * 20 + ["one two"] * 10, draws=100)
        >>> new = score(["one two"] * 30, ["one two"] * 30, draws=100)
        >>> print(compare(old, new, draws=1_000))
        B is better: 33.3 points, 95 % interval 25.0 to 41.7.
    """
    unlike = unlike_fields(a, b)
    if unlike and not force:
        raise DataError(f"{names[0]} and {names[1]} cannot be compared: {'; '.join(unlike)}. "
                        "Score both on the same references with the same normaliser, or force "
                        "the comparison of what they have in common.", code="compare.unlike")
    pairs, left_out = common_rows(a.rows, b.rows)
    rows_a, rows_b = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    words, words_b = (sum(row.words.reference for row in rows) for rows in (rows_a, rows_b))
    if words == 0 or words_b == 0:
        raise DataError(f"{names[0]} and {names[1]} have no reference word in common, so there "
                        "is nothing to compare.", code="compare.empty")
    wers = (sum(row.words.errors for row in rows_a) / words,
            sum(row.words.errors for row in rows_b) / words_b)
    paired = paired_bootstrap(rows_a, rows_b, draws=draws, confidence=confidence, seed=seed)
    difference = wers[0] - wers[1]
    needed = words_needed(words, difference, paired.interval.deviation)
    if needed is not None and paired.interval.low <= 0 <= paired.interval.high:
        needed = max(needed, 2 * words)  # what the formula gives for an interval that touches 0
    notes = [f"Forced although they differ: {'; '.join(unlike)}."] if unlike else []
    if left_out:
        notes.append(f"{plural(len(left_out), 'utterance')} left out: not the same on both sides.")
    if paired.interval.clusters < FEW_CLUSTERS:
        notes.append(f"Only {plural(paired.interval.clusters, paired.interval.unit)}: the "
                     "interval is likely too narrow.")
    return Comparison(names, (wers[0], wers[1]), words, difference, paired,
                      matched_pairs(rows_a, rows_b, a.receipt.alignment),
                      mcnemar(rows_a, rows_b), needed,
                      state_verdict(names, words, difference, paired, needed), tuple(notes),
                      tuple(pairs), tuple(left_out))


def unlike_fields(a: Score, b: Score) -> list[str]:
    """Why two scores must not be compared, one sentence a receipt field; empty when they may."""
    first, second = a.receipt.to_dict(), b.receipt.to_dict()
    reasons = []
    for key, name in _FIELDS.items():
        if first[key] != second[key]:
            detail = _reference_detail(a.rows, b.rows) if key == "reference_hash" else ""
            shown = [_shown(side[key]) for side in (first, second)]
            reasons.append(f"{name} ({key}) {shown[0]} against {shown[1]}{detail}")
    return reasons


def stored_unlike(receipts: tuple[Mapping, Mapping]) -> list[str]:
    """The same for receipts as they were written to disk; fields that one lacks do not count."""
    return [f"{name} ({key}) {_shown(receipts[0][key])} against {_shown(receipts[1][key])}"
            for key, name in _FIELDS.items()
            if all(receipt.get(key) for receipt in receipts)
            and receipts[0][key] != receipts[1][key]]


def common_rows(rows_a: Sequence[ScoreRow],
                rows_b: Sequence[ScoreRow]) -> tuple[list[tuple[ScoreRow, ScoreRow]], list[str]]:
    """Pairs with the same id and reference, and the ids left out.

    A reference with alternatives is the same where it is written the same, whatever each system
    had it read as; another where it is the same under the normaliser.
    """
    def compared(row: ScoreRow) -> tuple[str, str]:
        return row.reading.written, "" if row.reading.written else row.normalized_reference

    by_id = {row.id: row for row in rows_b}
    pairs = [(row, by_id[row.id]) for row in rows_a if row.id in by_id
             and compared(by_id[row.id]) == compared(row)]
    kept = {row.id for row, _ in pairs}
    everything = dict.fromkeys([row.id for row in rows_a] + [row.id for row in rows_b])
    return pairs, [name for name in everything if name not in kept]


def words_needed(words: int, difference: float, deviation: float) -> int | None:
    """Test words for an 80 % chance to see this difference at 95 %; None without a difference.

    The deviation of the difference shrinks with the root of the test set, so that
    N' = N ((1.96 + 0.84) deviation / difference) ** 2; rounded up to two digits.

    Example:
        >>> words_needed(773, 0.01, 0.00715)
        3200
    """
    if difference == 0 or deviation == 0:
        return None
    needed = words * (_POWER * deviation / abs(difference)) ** 2
    unit = 10 ** max(0, math.floor(math.log10(max(needed, 1))) - 1)
    return math.ceil(needed / unit) * unit


def state_verdict(names: tuple[str, str], words: int, difference: float, paired: Paired,
                  needed: int | None) -> str:
    """The result in one sentence."""
    interval = paired.interval
    if not interval.low <= 0 <= interval.high:
        better = names[1] if difference > 0 else names[0]
        low, high = sorted((abs(interval.low), abs(interval.high)))
        return (f"{better} is better: {points(abs(difference))} points, "
                f"{100 * interval.confidence:g} % interval {points(low)} to {points(high)}.")
    start = f"{names[0]} and {names[1]} cannot be told apart on {plural(words, 'word')}"
    if needed is None:
        return f"{start}: they made equally many errors."
    return (f"{start}; about {needed:,} would be needed to see a difference of "
            f"{points(abs(difference))} points (with 80 % chance).")


def points(fraction: float) -> str:
    """A difference of rates in percentage points, one decimal, two below 0.1."""
    value = 100 * fraction
    return f"{value:.2f}" if 0 < abs(value) < 0.1 else f"{value:.1f}"


def p_value(p: float) -> str:
    """A p-value as it is read: "0.031", "< 0.0001"."""
    return "< 0.0001" if p < 0.0001 else f"{p:.2g}"


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)[:24]


def _reference_detail(rows_a: Sequence[ScoreRow], rows_b: Sequence[ScoreRow]) -> str:
    first = {row.id: row.written for row in rows_a}
    second = {row.id: row.written for row in rows_b}
    common = first.keys() & second.keys()
    changed = sum(first[name] != second[name] for name in common)
    return (f": {plural(len(first) - len(common), 'utterance')} only in the first, "
            f"{len(second) - len(common):,} only in the second, {changed:,} with another text")
