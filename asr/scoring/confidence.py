"""Assess the confidences of a recogniser.

In: a score, words and utterances with confidences. Out: `ConfidenceReport`: calibration of the
words, risk against coverage of the utterances. NumPy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from asr.scoring.reliability import ConfidentWord, Reliability, judge_rows, reliability
from asr.scoring.result import Score
from asr.scoring.risk import RiskCoverage, risk_coverage
from asr.terminal import plural


class ConfidentTranscript(Protocol):
    """Words with confidences and one for the whole, such as `asr.transcript.Transcript`."""

    @property
    def words(self) -> Sequence[ConfidentWord]: ...  # noqa: D102
    @property
    def confidence(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class ConfidenceReport:
    """Both views of confidence.

    Attributes:
        words: calibration of the words; None where not one was recognised.
        utterances: risk against coverage.
        left_out: utterances whose words were not judged, because the normaliser joins them.
    """

    words: Reliability | None
    utterances: RiskCoverage
    left_out: int

    def lines(self) -> list[str]:
        """For a terminal."""
        found = [] if self.words is None else [self.words.line()]
        if self.left_out:
            found.append(f"word confidence: {plural(self.left_out, 'utterance')} left out, whose "
                         "words the normaliser joins or splits")
        return found + self.utterances.lines()

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {"words": self.words and self.words.to_dict(), "left_out": self.left_out,
                "risk_coverage": self.utterances.to_dict()}


def assess_confidence(result: Score, transcripts: Mapping[str, ConfidentTranscript],
                      normalizer: str, targets: Sequence[float] = ()) -> ConfidenceReport:
    """Measure confidences against a score.

    Args:
        result: result of the transcripts' texts.
        transcripts: by utterance id, one for every row of the score.
        normalizer: normaliser of the score.
        targets: word error rates to reach with a person's help, fractions.

    Raises:
        DataError: a confidence that is not a number from 0 to 1.
        UsageError: a target that is not a fraction.
    """
    rows = result.rows
    confidences, right, utterances, left_out = judge_rows(
        rows, {row.id: transcripts[row.id].words for row in rows}, normalizer)
    words = None
    if len(right):
        words = reliability(confidences, right, utterances=utterances,
                            speakers=[row.speaker for row in rows])
    risk = risk_coverage(rows, {row.id: transcripts[row.id].confidence for row in rows}, targets)
    return ConfidenceReport(words, risk, left_out)
