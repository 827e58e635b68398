"""More than two systems on the same test set: who differs, corrected for the many tests.

In: three scores or more. Out: every pair with its difference, interval and corrected p-values.
NumPy.

Twenty tests of equal systems find a difference at 5 % once. The p-values of all pairs are therefore
corrected by Holm's step-down method (1979, "A simple sequentially rejective multiple test
procedure", Scandinavian Journal of Statistics 6): the chance that any of the differences called
real is luck stays at 5 % or below, whatever the tests have in common.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import UsageError
from asr.scoring.bootstrap import CONFIDENCE, DRAWS
from asr.scoring.comparison import Comparison, compare, p_value, points
from asr.scoring.result import Score, with_interval
from asr.scoring.significance import Paired, binomial_p
from asr.terminal import plural


@dataclass(frozen=True)
class PairOfSystems:
    """The better of two systems (`comparison.names[1]`) against the other.

    `p` is of the paired bootstrap, `matched_p` of MAPSSWE, both corrected by Holm over all pairs;
    `different` says that `p` is below 1 - confidence.
    """

    comparison: Comparison
    p: float
    matched_p: float
    different: bool

    @property
    def better(self) -> str:
        """The name of the system with the lower error rate."""
        return self.comparison.names[1]

    @property
    def other(self) -> str:
        """The name of the system with the higher error rate."""
        return self.comparison.names[0]


@dataclass(frozen=True)
class Ranking:
    """Systems by word error rate, the best first, and every pair of them."""

    names: tuple[str, ...]
    scores: tuple[Score, ...]
    pairs: tuple[PairOfSystems, ...]
    confidence: float
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """Systems, pairs, and what can be said of them, for a terminal."""
        wide = max(map(len, self.names))
        words = {score.words.reference for score in self.scores}
        on = plural(words.pop(), "word") if len(words) == 1 else "different words"
        systems = [f"{name:<{wide}}  {with_interval('WER', score.wer, score.wer_interval)}"
                   for name, score in zip(self.names, self.scores, strict=True)]
        first = self.pairs[0].comparison.paired.interval
        heads = ("better", "other", "points", "interval", "p", "MAPSSWE p")
        table = [heads, *(
            (pair.better, pair.other, points(pair.comparison.difference),
             f"{points(pair.comparison.paired.interval.low)} to "
             f"{points(pair.comparison.paired.interval.high)}", p_value(pair.p),
             p_value(pair.matched_p)) for pair in self.pairs)]
        sizes = [max(len(row[k]) for row in table) for k in range(len(heads))]
        return [f"{plural(len(self.names), 'system')} on {on}, the best first", *systems, "",
                f"{plural(len(self.pairs), 'pair')}: difference with its "
                f"{100 * self.confidence:g} % interval (paired bootstrap over "
                f"{plural(first.clusters, first.unit)}, each pair "
                "for itself); p of paired bootstrap and of matched pairs, both corrected for "
                f"{plural(len(self.pairs), 'test')} (Holm)",
                *("  ".join(cell.ljust(size) for cell, size in zip(row, sizes, strict=True))
                  .rstrip() for row in table), "", *self.verdicts(), *self.notes]

    def verdicts(self) -> list[str]:
        """One sentence a system that is better than others, one for the pairs left."""
        found = []
        for name in self.names:
            worse = [pair.other for pair in self.pairs if pair.better == name and pair.different]
            if worse:
                found.append(f"{name} is better than {_list(worse)}.")
        same = [f"{pair.better} and {pair.other}" for pair in self.pairs if not pair.different]
        return found + ([f"Cannot be told apart: {'; '.join(same)}."] if same else [])

    def to_dict(self) -> dict:
        """JSON-ready, without the rows."""
        return {"systems": [{"name": name, "wer": score.wer, "words": score.words.to_dict(),
                             "wer_interval": score.wer_interval and score.wer_interval.to_dict(),
                             "receipt": score.receipt.to_dict()}
                            for name, score in zip(self.names, self.scores, strict=True)],
                "correction": "Holm", "tests": len(self.pairs), "confidence": self.confidence,
                "pairs": [{"better": pair.better, "other": pair.other, "p_corrected": pair.p,
                           "matched_pairs_p_corrected": pair.matched_p,
                           "different": pair.different,
                           "p": bootstrap_p(pair.comparison.difference, pair.comparison.paired),
                           **{key: value for key, value in pair.comparison.to_dict().items()
                              if key not in ("different", "verdict", "notes", "words_needed")}}
                          for pair in self.pairs],
                "verdicts": self.verdicts(), "notes": list(self.notes)}


def compare_many(scores: Sequence[Score], names: Sequence[str], *, force: bool = False,
                 draws: int = DRAWS, confidence: float = CONFIDENCE, seed: int = 0) -> Ranking:
    """Every pair of three systems or more, with p-values corrected for the number of pairs.

    Args:
        scores: scores of the same references under the same normaliser.
        names: one a score, all different.
        force, draws, confidence, seed: as in `asr.scoring.compare`.

    Raises:
        DataError: as `asr.scoring.compare`.
        UsageError: fewer than three systems, names that repeat, draws or confidence out of range.
    """
    if len(scores) < 3 or len(set(names)) != len(scores) or len(names) != len(scores):
        raise UsageError(f"got {plural(len(scores), 'system')} named {', '.join(names)}; expected "
                         "three or more with different names. Two are for compare().")
    order = sorted(range(len(scores)), key=lambda k: (scores[k].wer, k))
    comparisons = [compare(scores[b], scores[a], names=(names[b], names[a]), force=force,
                           draws=draws, confidence=confidence, seed=seed)
                   for a, b in itertools.combinations(order, 2)]
    alone = [bootstrap_p(one.difference, one.paired) for one in comparisons]
    corrected, matched = holm(alone), holm([one.segments.p for one in comparisons])
    notes = dict.fromkeys(note for one in comparisons for note in one.notes)
    return Ranking(tuple(names[k] for k in order), tuple(scores[k] for k in order),
                   tuple(PairOfSystems(one, p, other, p < 1 - confidence) for one, p, other in
                         zip(comparisons, corrected, matched, strict=True)),
                   confidence, tuple(notes))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for how many they are, in the order given (R: p.adjust, "holm").

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    raised = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(raised, 1)
    return corrected.tolist()


def bootstrap_p(difference: float, paired: Paired) -> float:
    """Two-sided p of a difference: normal with the deviation of its draws (Bisani and Ney 2004).

    Where every draw shows the same difference, it is the chance that all speakers (or utterances)
    lean to one side.
    """
    if difference == 0:
        return 1.0
    if paired.interval.deviation == 0:
        return binomial_p(paired.interval.clusters, 0)
    return math.erfc(abs(difference) / paired.interval.deviation / math.sqrt(2))


def _list(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
