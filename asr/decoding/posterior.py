"""Spans of labels in time, from the posterior of all alignments, not from one path's peaks.

In: log-probabilities, labels and one alignment of them. Out: a frame span for each label.

The forward and backward sums over the CTC lattice (Graves et al. 2006, section 4.1) give, for every
frame, how probable it is that the text has come to a given label by then. A label's span begins
with the first frame at which it has more probably begun than not, and ends where it has more
probably been left than not: the path of the median states, which errs least on average in frames.
"""

from __future__ import annotations

import numpy as np

from asr.decoding.log_space import log_add
from asr.kernels.jit import compiled

BAND = 16  # states (two a label) off the given alignment that are summed over, on either side
HALF = 0.5 - 1e-12  # a probability of one half up to rounding


def posterior_spans(log_probs: np.ndarray, labels: np.ndarray, starts: np.ndarray,
                    ends: np.ndarray) -> np.ndarray:
    """The median span of each label over its alignments, which need not be the best one's.

    Alignments that are never more than 8 labels ahead of or behind the given one are summed over;
    time and memory grow with the frames, not with frames times labels. Spans are in order, do not
    overlap, and each has a frame at least: a path that leaves a label by frame t has begun it by
    t - 1, so the medians are apart as well.

    Args:
        log_probs: (T', V) float64, natural log.
        labels: (L,) int64.
        starts, ends: (L,) int64, of one alignment, ends exclusive: the best path's runs.

    Returns:
        (L, 2) int64: first frame and one past the last one.
    """
    labels = np.ascontiguousarray(labels, dtype=np.int64)
    if not len(labels):
        return np.empty((0, 2), dtype=np.int64)
    centres = _states(len(log_probs), starts, ends)
    width = min(2 * BAND + 1, 2 * len(labels) + 1)
    low = np.clip(centres - BAND, 0, 2 * len(labels) + 1 - width)
    states = _median_states(np.ascontiguousarray(log_probs), labels, low, width)
    spans = np.stack([np.searchsorted(states, 2 * np.arange(len(labels)) + 1),
                      np.searchsorted(states, 2 * np.arange(len(labels)) + 2)], axis=1)
    if (spans[:, 0] < spans[:, 1]).all():
        return spans
    return np.stack([starts, ends], axis=1)  # two medians that only rounding tells apart


def _states(num_frames: int, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(T',) the lattice state of an alignment: 2i + 1 in label i, even in the blanks between."""
    steps = np.zeros(num_frames + 1, dtype=np.int64)
    np.add.at(steps, starts, 1)
    np.add.at(steps, ends, 1)
    return np.cumsum(steps)[:num_frames]


@compiled
def _median_states(log_probs, labels, low, width):
    """(T',) the median state of the posterior over alignments inside the band; never falls.

    States low[t] .. low[t] + width - 1 are looked at in frame t. A step goes to the same state, to
    the next one, or over a blank between two different labels.
    """
    num_frames = log_probs.shape[0]
    num_states = 2 * len(labels) + 1
    forward = np.full((num_frames, width), -np.inf)
    for place in range(min(2, num_states - low[0], width)):  # low[0] is 0 or the band is all
        forward[0, place] = log_probs[0, labels[0]] if place else log_probs[0, 0]
    for t in range(1, num_frames):
        shift = low[t] - low[t - 1]
        for place in range(width):
            state = low[t] + place
            total = -np.inf
            for step in range(3):
                origin = place + shift - step
                if 0 <= origin < width and (step < 2 or _may_skip(labels, state)):
                    total = log_add(total, forward[t - 1, origin])
            label = labels[state // 2] if state % 2 else 0
            forward[t, place] = total + log_probs[t, label]
    medians = np.empty(num_frames, dtype=np.int64)
    after = np.full(width, -np.inf)  # what comes after this frame, by state
    for place in range(width):
        if low[num_frames - 1] + place >= num_states - 2:
            after[place] = 0.0
    for t in range(num_frames - 1, -1, -1):
        if t < num_frames - 1:
            shift = low[t + 1] - low[t]
            before = np.full(width, -np.inf)
            for place in range(width):
                for step in range(3):
                    target = place - shift + step
                    if 0 <= target < width:
                        state = low[t + 1] + target
                        if step < 2 or _may_skip(labels, state):
                            label = labels[state // 2] if state % 2 else 0
                            before[place] = log_add(
                                before[place], after[target] + log_probs[t + 1, label])
            after = before
        joint = forward[t] + after
        shares = np.exp(joint - joint.max())
        wanted = HALF * shares.sum()
        place = width - 1
        above = shares[place]
        while above < wanted and place > 0:
            place -= 1
            above += shares[place]
        medians[t] = low[t] + place
        if t < num_frames - 1:
            medians[t] = min(medians[t], medians[t + 1])
    return medians


@compiled
def _may_skip(labels, state):
    """Whether `state` can be entered over the blank before it."""
    return state % 2 == 1 and state > 1 and labels[state // 2] != labels[state // 2 - 1]
