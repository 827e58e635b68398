"""Slow, obvious references for decoding: every alignment path is written out."""

from __future__ import annotations

import itertools
import math

import numpy as np


def collapse_path(path) -> tuple[int, ...]:
    """Repeats to one, then blanks (0) away: the definition of CTC (Graves et al. 2006, eq. 1)."""
    return tuple(label for label, _ in itertools.groupby(path) if label != 0)


def every_path(log_probs: np.ndarray):
    """(path, natural-log probability) of all V ** T' alignment paths."""
    num_frames, vocab_size = log_probs.shape
    rows = log_probs.astype(float).tolist()  # numbers of Python are added faster
    for path in itertools.product(range(vocab_size), repeat=num_frames):
        yield path, sum(map(list.__getitem__, rows, path), 0.0)


def label_string_scores(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """Log of the summed probability of every label string that the frames can write."""
    totals: dict[tuple[int, ...], float] = {}
    for path, score in every_path(log_probs):
        labels = collapse_path(path)
        totals[labels] = totals.get(labels, 0.0) + math.exp(score)
    return {labels: math.log(total) for labels, total in totals.items()}


def best_paths(log_probs: np.ndarray) -> dict[tuple[int, ...], float]:
    """The best single path of every label string."""
    best: dict[tuple[int, ...], float] = {}
    for path, score in every_path(log_probs):
        labels = collapse_path(path)
        best[labels] = max(best.get(labels, -math.inf), score)
    return best


def median_spans(log_probs: np.ndarray) -> dict[tuple[int, ...], list[tuple[int, int]]]:
    """For every label string and each of its labels, the first frame by which half of the
    probability of all its alignments has begun it, and the first by which half has left it (or the
    number of frames)."""
    sums: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
    for path, score in every_path(log_probs):
        labels = collapse_path(path)
        begun, left = sums.setdefault(labels, (np.zeros((len(path), len(labels))),
                                               np.zeros((len(path), len(labels)))))
        index, previous = -1, 0
        for t, label in enumerate(path):
            index += label not in (0, previous)
            previous = label
            begun[t, :index + 1] += math.exp(score)
            left[t, :index + (label == 0)] += math.exp(score)
    spans = {}
    for labels, (begun, left) in sums.items():
        half = begun[-1] * (0.5 - 1e-9)  # begun with the last frame: the same for all labels
        spans[labels] = [(int(np.argmax(begun[:, i] >= half[i])),
                          int(np.argmax(left[:, i] >= half[i])) if left[-1, i] >= half[i]
                          else len(log_probs)) for i in range(len(labels))]
    return spans


def is_word_string(text: str, words) -> bool:
    """Words of the list joined by single spaces; the empty text is one."""
    return text == "" or all(part in words for part in text.split(" "))


class ToyModel:
    """A back-off model read from ARPA text by the formula, dictionaries only, no speed."""

    def __init__(self, arpa: str):
        self.log_probs: dict[tuple[str, ...], float] = {}
        self.backoffs: dict[tuple[str, ...], float] = {}
        for line in arpa.splitlines():
            fields = line.split("\t")
            if len(fields) < 2:
                continue
            words = tuple(fields[1].split())
            self.log_probs[words] = float(fields[0])
            if len(fields) == 3:
                self.backoffs[words] = float(fields[2])

    def word(self, word: str, context: tuple[str, ...]) -> float:
        """log10 P(word | context)."""
        if (*context, word) in self.log_probs:
            return self.log_probs[(*context, word)]
        if not context:
            return self.log_probs[("<unk>",)]
        return self.backoffs.get(context, 0.0) + self.word(word, context[1:])

    def score(self, words, *, start: bool = True, end: bool = True) -> float:
        """Natural log of the probability of a sentence."""
        known = [w if (w,) in self.log_probs else "<unk>" for w in words]
        text = ["<s>"] * start + known + ["</s>"] * end
        order = max(map(len, self.log_probs))
        return math.log(10) * sum(
            self.word(text[i], tuple(text[max(0, i - order + 1):i]))
            for i in range(int(start), len(text)))
