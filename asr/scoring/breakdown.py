"""Break errors down by speaker, duration, speaking rate, SNR, and word.

In: the rows of a score. Out: groups with their own error rates and intervals; confusion pairs.
RapidFuzz and NumPy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from asr.scoring.bootstrap import Interval, bootstrap_rates
from asr.scoring.counts import Counts, Step
from asr.scoring.result import ScoreRow

MAX_GROUPS = 200
_GROUP_DRAWS = 1_000
_DURATIONS = (1, 2, 3, 5, 8, 12, 20, 30)         # seconds
_RATES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)          # reference words per second
_SNRS = (0, 10, 20, 30, 40, 50)                   # dB


@dataclass(frozen=True, slots=True)
class Group:
    """Some utterances that have something in common, with their own word error rate."""

    label: str
    utterances: int
    words: Counts
    interval: Interval | None

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {"label": self.label, "utterances": self.utterances, "words": self.words.to_dict(),
                "wer": self.words.rate, "wer_interval": self.interval and self.interval.to_dict()}


@dataclass(frozen=True)
class WordErrors:
    """Errors by word, the most frequent first.

    `confusions` are (reference, hypothesis, count), `missed` are (word, times missed or confused,
    times spoken), `invented` are (word, times inserted).
    """

    confusions: list[tuple[str, str, int]]
    missed: list[tuple[str, int, int]]
    invented: list[tuple[str, int]]


def by_speaker(rows: Sequence[ScoreRow]) -> list[Group]:
    """One group a speaker, the highest error rate first; [] where no speaker is known."""
    speakers: dict[str, list[ScoreRow]] = {}
    for row in rows:
        speakers.setdefault(row.speaker, []).append(row)
    if set(speakers) <= {""}:
        return []
    groups = [group_of(name or "(unknown)", members) for name, members in speakers.items()]
    groups.sort(key=lambda group: (-(group.words.rate or 0), group.label))
    return groups[:MAX_GROUPS]


def by_duration(rows: Sequence[ScoreRow]) -> list[Group]:
    """Groups of similar length in seconds; [] where no duration is known."""
    return _binned(rows, [row.duration for row in rows], _DURATIONS, "s")


def by_speaking_rate(rows: Sequence[ScoreRow]) -> list[Group]:
    """Groups of similar speaking rate, in reference words per second of recording."""
    return _binned(rows, [row.words.reference / row.duration if row.duration else None
                          for row in rows], _RATES, "words/s")


def by_snr(rows: Sequence[ScoreRow], snr: Mapping[str, float]) -> list[Group]:
    """Groups of similar signal-to-noise ratio; `snr` is dB by utterance id."""
    return _binned(rows, [snr.get(row.id) for row in rows], _SNRS, "dB")


def group_of(label: str, rows: Sequence[ScoreRow]) -> Group:
    """The error rate of some rows, with an interval (over speakers where there are several)."""
    errors = np.array([[row.words.errors] for row in rows], np.int64)
    totals = np.array([[row.words.reference] for row in rows], np.int64)
    interval = bootstrap_rates(errors, totals, draws=_GROUP_DRAWS,
                               speakers=[row.speaker for row in rows])[0] if rows else None
    counts = Counts(sum(row.words.substitutions for row in rows),
                    sum(row.words.deletions for row in rows),
                    sum(row.words.insertions for row in rows), int(totals.sum()))
    return Group(label, len(rows), counts, interval)


def word_errors(alignments: Iterable[Sequence[Step]], limit: int = 50) -> WordErrors:
    """Confusion pairs, most-missed and most-invented words over many alignments.

    Args:
        alignments: as from `asr.scoring.counts.align_many`.
        limit: entries a list at most.
    """
    confusions: Counter[tuple[str, str]] = Counter()
    spoken: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    invented: Counter[str] = Counter()
    for steps in alignments:
        for step in steps:
            if step.reference is None:
                invented[step.hypothesis or ""] += 1
                continue
            spoken[step.reference] += 1
            if step.kind != "equal":
                missed[step.reference] += 1
            if step.kind == "substitute":
                confusions[step.reference, step.hypothesis or ""] += 1
    return WordErrors(
        [(a, b, count) for (a, b), count in _most(confusions, limit)],
        [(word, count, spoken[word]) for word, count in _most(missed, limit)],
        _most(invented, limit))


def operations(steps: Sequence[Step]) -> str:
    """An alignment as run lengths, such as "3=1s2=1d" ("=", "s", "d", "i")."""
    runs: list[list] = []
    for step in steps:
        letter = "=" if step.kind == "equal" else step.kind[0]
        if runs and runs[-1][1] == letter:
            runs[-1][0] += 1
        else:
            runs.append([1, letter])
    return "".join(f"{count}{letter}" for count, letter in runs)


def _most(counter: Counter, limit: int) -> list:
    """The most frequent entries; equal counts in alphabetical order, so that reports repeat."""
    return sorted(counter.items(), key=lambda entry: (-entry[1], entry[0]))[:limit]


def _binned(rows: Sequence[ScoreRow], values: Sequence[float | None], edges: Sequence[float],
            unit: str) -> list[Group]:
    """One group a bin that has utterances, from the lowest to the highest value."""
    bins: dict[int, list[ScoreRow]] = {}
    for row, value in zip(rows, values, strict=True):
        if value is not None:
            bins.setdefault(int(np.searchsorted(edges, value, side="right")), []).append(row)
    groups = []
    for index in sorted(bins):
        if index == 0:
            label = f"below {edges[0]:g} {unit}"
        elif index == len(edges):
            label = f"{edges[-1]:g} {unit} and more"
        else:
            label = f"{edges[index - 1]:g} to {edges[index]:g} {unit}"
        groups.append(group_of(label, bins[index]))
    return groups
