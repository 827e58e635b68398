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
    for path in itertools.product(range(vocab_size), repeat=num_frames):
        yield path, float(sum(log_probs[t, label] for t, label in enumerate(path)))


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


def is_word_string(text: str, words) -> bool:
    """Words of the list joined by single spaces; the empty text is one."""
    return text == "" or all(part in words for part in text.split(" "))
