"""Forced alignment: assign frames to labels by Viterbi over the CTC lattice.

In: log-probabilities and the labels of a text. Out: frame spans of labels and words, which
`asr.decoding.posterior` takes from all alignments around the best one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.decoding.hypothesis import Hypothesis, WordSpan, collapse, hypothesis_from_path
from asr.errors import DataError, UsageError
from asr.kernels.jit import compiled
from asr.terminal import plural
from asr.text.tokenizer import CharTokenizer, frames_needed


@dataclass(frozen=True)
class Alignment:
    """The best path of one label sequence.

    Attributes:
        labels: (L,) int64.
        starts, ends: (L,) int64, output frames of each label on the path; ends exclusive.
        path: (T',) int64, the label of each frame, 0 for the blank.
        score: natural log of the path's probability.
    """

    labels: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    path: np.ndarray
    score: float


def align(log_probs: np.ndarray, labels: Sequence[int] | np.ndarray) -> Alignment:
    """The most probable alignment of a label sequence with the frames.

    Args:
        log_probs: (T', V) float64, natural log; see `log_softmax`.
        labels: L labels in 1 .. V - 1; none is allowed and means silence.

    Raises:
        UsageError: a label is the blank or outside the vocabulary.
        DataError: the frames do not suffice (code "align.infeasible").

    Reference: Graves et al. 2006, ICML, section 4.1, with max in place of the sum.
    """
    labels = np.asarray(labels, dtype=np.int64).reshape(-1)
    num_frames, vocab_size = log_probs.shape
    outside = labels[(labels < 1) | (labels >= vocab_size)]
    if len(outside):
        raise UsageError(f"Label {outside[0]} is outside 1 .. {vocab_size - 1}; 0 is the blank and "
                         "is not part of a text.")
    needed = frames_needed(labels.tolist())
    if num_frames < needed:
        raise DataError(f"{plural(len(labels), 'label needs', 'labels need')} at least {needed} "
                        f"output frames, the utterance has {num_frames}; the text is too long for "
                        "the audio, or is not its text.", code="align.infeasible")
    starts, ends, path, score = _viterbi(
        np.ascontiguousarray(log_probs, dtype=np.float64), labels)
    return Alignment(labels, starts, ends, path, float(score))


def aligned(log_probs: np.ndarray, labels: Sequence[int] | np.ndarray,
            tokenizer: CharTokenizer) -> Hypothesis:
    """A given text as a hypothesis: words and labels with frame spans; raises like `align`.

    `score` is the natural log of the best alignment's probability; `confidence` is the geometric
    mean over the words of their confidences.
    """
    best = align(log_probs, labels)
    return hypothesis_from_path(best.path, log_probs, best.score, tokenizer)


def worst_gap(log_probs: np.ndarray, found: Hypothesis) -> float:
    """How much worse the worst word of a text fits than unrestricted decoding at its place.

    For each word the frames from the end of the word before it to the beginning of the one after
    it: the difference between their best labels and the best alignment of the text, in nats per
    character of the word. A long text with one wrong word is so told as well as a short one.

    Args:
        log_probs: (T', V) float64, natural log.
        found: a text with word spans. For the empty one: nats per decoded character.

    Returns:
        0 or more; 0 where the text is the decoded one.
    """
    path = align(log_probs, found.labels).path
    costs = log_probs.max(axis=1) - log_probs[np.arange(len(path)), path]
    if not found.words:
        return float(costs.sum()) / max(len(collapse(log_probs.argmax(axis=1))[0]), 1)
    ends = [0, *(word.end for word in found.words[:-1])]
    starts = [*(word.start for word in found.words[1:]), len(path)]
    return max(float(costs[first:last].sum()) / len(word.text)
               for word, first, last in zip(found.words, ends, starts, strict=True))


def doubt(found: Hypothesis, word_bonus: float = 0.0) -> float:
    """How far the probability of a sentence is below 1, in nats per character.

    Finer than `worst_gap`, which is 0 wherever the sentence is the best reading, however close
    another one is.

    Args:
        found: from a beam search through a grammar.
        word_bonus: what its score holds for each word, and its probability does not.
    """
    words = found.text.split()
    return max(0.0, word_bonus * len(words) - found.score) / max(len(found.text), 1)


def word_spans(log_probs: np.ndarray, labels: Sequence[int] | np.ndarray,
               tokenizer: CharTokenizer) -> tuple[WordSpan, ...]:
    """The words of a label sequence with frame spans and confidences; raises like `align`."""
    return aligned(log_probs, labels, tokenizer).words


def character_spans(log_probs: np.ndarray, labels: Sequence[int] | np.ndarray,
                    tokenizer: CharTokenizer) -> tuple[WordSpan, ...]:
    """Each character, spaces included, with its frame span; raises like `align`."""
    found = aligned(log_probs, labels, tokenizer)
    return tuple(
        WordSpan(tokenizer.decode([label]), start, end,
                 min(1.0, float(np.exp(log_probs[start:end, label].max()))))
        for label, (start, end) in zip(found.labels, found.spans, strict=True))


def span_seconds(span: WordSpan, seconds_per_frame: float, duration: float,
                 origin: float = 0.0) -> tuple[float, float]:
    """Start and end of a span in seconds, inside 0 .. duration.

    Args:
        span: output frames.
        seconds_per_frame: subsampling * hop_length / sample_rate, by construction of the front
            end.
        duration: seconds of audio.
        origin: seconds at which frame 0 begins, see `asr.features.lengths.frame_origin`; frame t
            covers origin + t * seconds_per_frame up to the next one.
    """
    start, end = (min(max(origin + frame * seconds_per_frame, 0.0), duration)
                  for frame in (span.start, span.end))
    return start, end


@compiled
def _viterbi(log_probs, labels):
    """Starts, ends (exclusive), labels of the frames and score of the best path; they fit.

    States 0 .. 2L as in the CTC paper: even ones are blanks, state 2i + 1 is label i. A step goes
    to the same state, the next one, or over a blank between two different labels. Where paths
    tie, the one that advances later wins.
    """
    num_frames = log_probs.shape[0]
    num_labels = len(labels)
    num_states = 2 * num_labels + 1
    best = np.full(num_states, -np.inf)
    steps = np.zeros((num_frames, num_states), dtype=np.uint8)
    best[0] = log_probs[0, 0]
    if num_labels:
        best[1] = log_probs[0, labels[0]]
    for t in range(1, num_frames):
        row = log_probs[t]
        # Downwards, so that best[s - 1] and best[s - 2] are still those of frame t - 1.
        for state in range(num_states - 1, -1, -1):
            highest, step = best[state], 0
            if state > 0 and best[state - 1] > highest:
                highest, step = best[state - 1], 1
            label = labels[state // 2] if state % 2 else 0
            if (state % 2 and state > 1 and labels[state // 2 - 1] != label
                    and best[state - 2] > highest):
                highest, step = best[state - 2], 2
            best[state] = highest + row[label]
            steps[t, state] = step
    state = num_states - 1
    if num_labels and best[state - 1] > best[state]:
        state -= 1
    score = best[state]
    starts = np.zeros(num_labels, dtype=np.int64)
    ends = np.zeros(num_labels, dtype=np.int64)
    path = np.zeros(num_frames, dtype=np.int64)
    for t in range(num_frames - 1, -1, -1):
        if state % 2:
            path[t] = labels[state // 2]
            starts[state // 2] = t
            if ends[state // 2] == 0:
                ends[state // 2] = t + 1
        state -= steps[t, state]
    return starts, ends, path, score
