"""Slow, obvious references that the tests compare against."""

import itertools

import numpy as np


def ctc_loss_by_enumeration(logits: np.ndarray, labels: list[int]) -> float:
    """Sum over every path of classes, one a frame, that collapses to the labels; blank is 0."""
    log_probs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    total = -np.inf
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        collapsed = [k for k, _ in itertools.groupby(path) if k != 0]
        if collapsed == list(labels):
            total = np.logaddexp(total, sum(log_probs[t, k] for t, k in enumerate(path)))
    return float(-total)
