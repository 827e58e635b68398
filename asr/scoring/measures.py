"""Error rates beside WER: MER, WIL, WIP, and the share of sentences with an error.

In: word and character errors of each utterance. Out: rates with intervals, from the same draws.
NumPy.

    WER  (S + D + I) / N               errors per reference word; may pass 1
    CER  the same of characters
    MER  (S + D + I) / (N + I)         match error rate: the share of the alignment that is wrong
    WIP  H / N * H / (H + S + I)       word information preserved; H = N - S - D words are right
    WIL  1 - WIP                       word information lost
    SER  utterances with an error / utterances

MER, WIL and WIP are those of Morris, Maier and Green (2004, "From WER and RIL to MER and WIL:
improved evaluation measures for connected speech recognition", Interspeech), as in jiwer; SER is
Kaldi's and sclite's (there S.Err).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr.scoring.bootstrap import CONFIDENCE, DRAWS, Interval, resample

NAMES = {"wer": "WER", "cer": "CER", "mer": "MER", "wil": "WIL", "wip": "WIP", "ser": "SER"}
"""Key in JSON: name for people."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A rate as a fraction, None where it is undefined, with its interval."""

    rate: float | None
    interval: Interval | None


def measure(words: np.ndarray, characters: np.ndarray, *, speakers: Sequence[str] | None = None,
            draws: int = DRAWS, confidence: float = CONFIDENCE, seed: int = 0
            ) -> dict[str, Measure]:
    """Every measure of a test set.

    Args:
        words, characters: (num_utterances, 4) substitutions, deletions, insertions and reference
            length of each utterance, as from `asr.scoring.counts.count_words`.
        speakers, draws, confidence, seed: as in `asr.scoring.bootstrap.bootstrap_rates`.

    Returns:
        `NAMES` to measures.

    Raises:
        UsageError: draws or confidence out of range.

    Example:
        >>> one = np.array([[1, 0, 1, 4]])  # "a b c d" became "a b x d e"
        >>> {name: round(found.rate, 3) for name, found in measure(one, one, draws=100).items()}
        {'wer': 0.5, 'cer': 0.5, 'mer': 0.4, 'wil': 0.55, 'wip': 0.45, 'ser': 1.0}
    """
    wrong, inserted, spoken = words[:, :3].sum(1), words[:, 2], words[:, 3]
    right = spoken - words[:, 0] - words[:, 1]
    columns = np.stack([wrong, spoken, characters[:, :3].sum(1), characters[:, 3],
                        spoken + inserted, right, right + words[:, 0] + inserted, wrong > 0,
                        np.ones_like(wrong)], 1).astype(np.int64)
    drawn = resample(columns, speakers=speakers, draws=draws, confidence=confidence, seed=seed)
    sums = drawn.whole.tolist()
    pairs = {"wer": (0, 1), "cer": (2, 3), "mer": (0, 4), "ser": (7, 8)}
    found = {name: Measure(sums[top] / sums[below] if sums[below] else None,
                           drawn.rate(top, below)) for name, (top, below) in pairs.items()}
    preserved, kept, lost, wer = None, None, None, found["wer"].interval
    if wer:
        preserved = sums[5] / sums[1] * (sums[5] / sums[6]) if sums[6] else 0.0
        _, spoken, _, _, _, right, found_words, _, _ = drawn.drawn.T.astype(np.float64)
        # a draw without a recognised word preserves nothing
        kept = drawn.ratio(right * right, np.where(found_words > 0, spoken * found_words,
                                                   spoken))
        lost = replace(kept, low=1 - kept.high, high=1 - kept.low, mean=1 - kept.mean)
        if not sums[0]:  # as if the errors that the rule of three allows were substitutions
            high = 1 - (1 - wer.high) ** 2
            lost = replace(wer, high=high)
            kept = replace(lost, low=1 - high, high=1.0, mean=1.0)
    found["wip"] = Measure(preserved, kept)
    found["wil"] = Measure(None if preserved is None else 1 - preserved, lost)
    return {name: found[name] for name in NAMES}
