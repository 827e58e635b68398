"""Risk against coverage: which transcripts a person should check, by confidence.

In: rows of a score and a confidence an utterance. Out: the word error rate of what stays with the
machine when the least sure utterances go to a person; how many must go to reach a target.
NumPy.

Utterances are sorted by confidence. The word error rate at a threshold is that of the utterances at
or above it, and of nothing else: what the reader of machine transcripts gets. The threshold is
chosen on the same utterances that it is measured on; on others the rate is a little higher.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import DataError, UsageError
from asr.scoring.result import ScoreRow

LADDER = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)  # word error rates worth aiming at
MOST_SENT = 0.9  # of the utterances, for a target that was not asked for
STORED_POINTS = 200


@dataclass(frozen=True, slots=True)
class RiskPoint:
    """Keeping the utterances whose confidence is `threshold` or more.

    Attributes:
        threshold: the lowest confidence kept.
        kept: utterances.
        sent: share of the utterances that goes to a person, a fraction.
        sent_audio: share of the seconds of audio that goes, or None where durations are unknown.
        wer: word error rate of what is kept, a fraction.
    """

    threshold: float
    kept: int
    sent: float
    sent_audio: float | None
    wer: float


@dataclass(frozen=True)
class RiskCoverage:
    """The curve, from the surest utterances alone to all of them, and targets on it.

    Attributes:
        points: one a distinct confidence, thresholds falling; the last one keeps everything.
        ideal: word error rates at the same numbers of utterances if they were sorted by their
            true error rates: no confidence can do better.
        targets: word error rate wanted -> the point that sends fewest; None: out of reach.
    """

    points: tuple[RiskPoint, ...]
    ideal: tuple[float, ...]
    targets: Mapping[float, RiskPoint | None]

    def lines(self) -> list[str]:
        """One sentence a target."""
        found = []
        for target, point in self.targets.items():
            wanted = f"WER {100 * target:g} %"
            if point is None:
                best = min(self.points, key=lambda p: p.wer)
                found.append(f"risk-coverage: {wanted} is out of reach by confidence; the surest "
                             f"{share(1 - best.sent)} of the utterances have {100 * best.wer:.1f} "
                             "%")
            elif point.sent == 0:
                found.append(f"risk-coverage: {wanted} is reached without a person")
            else:
                audio = "" if point.sent_audio is None else f" ({share(point.sent_audio)} of the " \
                    "audio)"
                found.append(f"risk-coverage: send {share(point.sent)} of the utterances{audio} to "
                             f"a person to reach {wanted}: those below confidence "
                             f"{point.threshold:.3f}")
        return found

    def to_dict(self) -> dict:
        """JSON-ready; at most 200 points of the curve."""
        step = np.unique(np.linspace(0, len(self.points) - 1, STORED_POINTS).round().astype(int))
        return {"targets": [{"wer": target, "reached": point is not None,
                             **({} if point is None else _table(point))}
                            for target, point in self.targets.items()],
                "points": [_table(self.points[i]) | {"ideal": self.ideal[i]} for i in step]}


def risk_coverage(rows: Sequence[ScoreRow], confidences: Mapping[str, float],
                  targets: Sequence[float] = ()) -> RiskCoverage:
    """Sort the utterances by confidence and count.

    Args:
        rows: rows of a score.
        confidences: by utterance id, 0 .. 1, one for every row.
        targets: word error rates, fractions; (): two round ones below that of all rows that
            sending nine of ten utterances at most can reach, or the highest round one.

    Raises:
        UsageError: a target that is not a fraction from 0 to 1.
        DataError: a row without a confidence, or one that is no number.
    """
    check_targets(targets)
    missing = [row.id for row in rows if not math.isfinite(confidences.get(row.id, math.nan))]
    if missing:
        raise DataError(f"Utterance {missing[0]!r} has no confidence; each needs one.",
                        code="score.confidence")
    sure = np.array([confidences[row.id] for row in rows])
    counts = np.array([[row.words.errors, row.words.reference] for row in rows], np.int64)
    seconds = None
    if all(row.duration is not None for row in rows):
        seconds = np.array([row.duration for row in rows], dtype=np.float64)
    order = np.argsort(-sure, kind="stable")
    sums = np.cumsum(counts[order], axis=0)
    rates = counts[:, 0] / np.maximum(counts[:, 1], 0.5)
    best = np.cumsum(counts[np.argsort(rates, kind="stable")], axis=0)
    last_of_its_confidence = np.append(np.flatnonzero(np.diff(sure[order])), len(rows) - 1)
    points, ideal = [], []
    for place in last_of_its_confidence[sums[last_of_its_confidence, 1] > 0].tolist():
        audio = None
        if seconds is not None:
            audio = float(1 - seconds[order][:place + 1].sum() / max(seconds.sum(), 1e-9))
        points.append(RiskPoint(float(sure[order[place]]), place + 1, 1 - (place + 1) / len(rows),
                                None if audio is None else min(1.0, max(0.0, audio)),
                                float(sums[place, 0] / sums[place, 1])))
        ideal.append(float(best[place, 0] / max(best[place, 1], 1)))
    found = {target: next((point for point in reversed(points) if point.wer <= target), None)
             for target in tuple(targets) or round_rates(points[-1].wer)}
    if not targets:
        near = [target for target, point in found.items() if point and point.sent <= MOST_SENT]
        found = {target: found[target] for target in near[:2] or list(found)[:1]}
    return RiskCoverage(tuple(points), tuple(ideal), found)


def check_targets(targets: Sequence[float]) -> None:
    """Refuse a target word error rate that is no fraction, before any work is done."""
    if not all(0 <= target <= 1 for target in targets):
        raise UsageError(f"Target word error rates {', '.join(f'{t:g}' for t in targets)} must be "
                         "fractions from 0 to 1; 0.02 is 2 %.")


def round_rates(wer: float) -> list[float]:
    """The round rates that are at least a sixth below a rate, highest first.

    Example:
        >>> round_rates(0.07), round_rates(0.004)
        ([0.05, 0.02, 0.01, 0.005], [])
    """
    return [rate for rate in reversed(LADDER) if 1.2 * rate <= wer + 1e-9]


def share(fraction: float) -> str:
    """A share for a sentence: "12 %", and what is below one percent to the tenth."""
    percent = 100 * fraction
    return f"{percent:.0f} %" if percent >= 1 or percent == 0 else f"{percent:.1f} %"


def _table(point: RiskPoint) -> dict:
    return {"threshold": point.threshold, "kept": point.kept, "sent": point.sent,
            "sent_audio": point.sent_audio, "point_wer": point.wer}
