"""The result of a decoder, and the checks of its input.

In: logits. Out: checked log-probabilities; hypotheses of words with frame spans. NumPy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from asr.decoding.posterior import posterior_spans
from asr.errors import DataError, UsageError
from asr.kernels.jit import compiled
from asr.text.tokenizer import CharTokenizer


@dataclass(frozen=True)
class WordSpan:
    """One word and the output frames that it covers.

    Attributes:
        text: the word.
        start: first output frame of the word.
        end: one past its last output frame; `end > start`.
        confidence: 0 .. 1, the geometric mean of its characters' highest posteriors; after
            `asr.decoding.evidence.calibrated` the probability that the word is right.
        share: 0 .. 1, beam search alone: the part of the last beam that has the word in its place.
        language: 0 .. 1, beam search with a language model alone: how well the word fits between
            its neighbours, see `asr.decoding.ngram_fusion.fit_of_words`.
    """

    text: str
    start: int
    end: int
    confidence: float
    share: float = 1.0
    language: float = 1.0


@dataclass(frozen=True)
class Hypothesis:
    """One reading of an utterance.

    Attributes:
        text: the words, joined by single spaces.
        score: natural log; what the decoder maximised (its docstring says what that is).
        labels: the label sequence as it was found, blanks removed, spaces kept.
        words: the words in order, with output frames.
        confidence: 0 .. 1; the decoder's docstring says of what. 0 for the empty
            text, which says nothing.
        rejected: with a closed grammar, its nearest sentence where the recording sounds like
            none; the text is then empty.
        spans: (start, end) output frames of each of `labels`, ends exclusive, in order.
    """

    text: str
    score: float
    labels: tuple[int, ...] = ()
    words: tuple[WordSpan, ...] = ()
    confidence: float = 0.0
    rejected: str = ""
    spans: tuple[tuple[int, int], ...] = ()


def check_logits(logits: np.ndarray, vocab_size: int) -> np.ndarray:
    """Logits of one utterance, fit to be decoded.

    Args:
        logits: (T', V) floating point, unnormalised.
        vocab_size: V, the tokenizer's number of classes.

    Returns:
        (T', V) float32, C-contiguous.

    Raises:
        UsageError: the array is not two-dimensional, not floating point, or its last axis is
            not the vocabulary.
        DataError: there are no frames, or a value is NaN or infinite (code names which).
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or not np.issubdtype(logits.dtype, np.floating):
        raise UsageError(f"Logits of shape {logits.shape} and type {logits.dtype} cannot be "
                         "decoded; expected (frames, vocabulary) floating point.")
    if logits.shape[1] != vocab_size:
        raise UsageError(f"Logits of {logits.shape[1]} classes do not belong to a tokenizer of "
                         f"{vocab_size} (blank included); use the tokenizer of the same bundle.")
    if not len(logits):
        raise DataError("The logits have zero frames; an utterance needs at least one.",
                        code="decode.empty")
    logits = np.ascontiguousarray(logits, dtype=np.float32)
    if not np.isfinite(logits).all():
        frame, label = (int(i) for i in np.argwhere(~np.isfinite(logits))[0])
        kind = "NaN" if math.isnan(logits[frame, label]) else "infinite"
        raise DataError(f"The logits are {kind} at frame {frame}, label {label}; the model or its "
                        "input is broken, and any text would be made up.", code="decode.nonfinite")
    return logits


@compiled
def log_softmax(logits):
    """Natural-log posteriors: (T', V) float32 -> (T', V) float64, each row sums to 1."""
    num_frames, vocab_size = logits.shape
    log_probs = np.empty((num_frames, vocab_size), dtype=np.float64)
    for t in range(num_frames):
        highest = logits[t, 0]
        for v in range(1, vocab_size):
            highest = max(highest, logits[t, v])
        total = 0.0
        for v in range(vocab_size):
            total += np.exp(np.float64(logits[t, v]) - highest)
        offset = highest + np.log(total)
        for v in range(vocab_size):
            log_probs[t, v] = logits[t, v] - offset
    return log_probs


@compiled
def collapse(path):
    """A label per frame -> (labels, starts, ends) of its runs, blanks removed; ends exclusive."""
    num_frames = len(path)
    runs = np.empty((3, num_frames), dtype=np.int64)
    count = 0
    for t in range(num_frames):
        if path[t] == 0:
            continue
        if t > 0 and path[t] == path[t - 1]:
            runs[2, count - 1] = t + 1
        else:
            runs[0, count], runs[1, count], runs[2, count] = path[t], t, t + 1
            count += 1
    return runs[0, :count].copy(), runs[1, :count].copy(), runs[2, :count].copy()


def hypothesis_from_path(path: np.ndarray, log_probs: np.ndarray, score: float,
                         tokenizer: CharTokenizer) -> Hypothesis:
    """The hypothesis that an alignment path spells, words and spans included.

    Args:
        path: (T',) integers, one label a frame, 0 = blank.
        log_probs: (T', V) float64, natural log.
        score: natural log.
        tokenizer: labels to characters.
    """
    labels, starts, ends = collapse(path)
    words, spans = words_from_runs(labels, starts, ends, log_probs, tokenizer)
    peaks = [math.log(max(word.confidence, 1e-300)) for word in words]
    return Hypothesis(
        text=" ".join(word.text for word in words), score=float(score),
        labels=tuple(labels.tolist()), words=words,
        confidence=math.exp(sum(peaks) / len(peaks)) if peaks else 0.0, spans=spans)


def _peaks(labels: np.ndarray, starts: np.ndarray, ends: np.ndarray,
           log_probs: np.ndarray) -> np.ndarray:
    """(L,) float64: the highest log-probability of each label inside its run."""
    if not len(labels):
        return np.zeros(0)
    lengths = ends - starts
    firsts = np.cumsum(lengths) - lengths
    frames = np.arange(lengths.sum()) + np.repeat(starts - firsts, lengths)
    return np.maximum.reduceat(log_probs[frames, np.repeat(labels, lengths)], firsts)


def words_from_runs(
        labels: np.ndarray, starts: np.ndarray, ends: np.ndarray, log_probs: np.ndarray,
        tokenizer: CharTokenizer) -> tuple[tuple[WordSpan, ...], tuple[tuple[int, int], ...]]:
    """Words and label spans of an alignment; a word goes from its first label to its last one.

    The alignment's runs give the confidences, the posterior around it gives the times.

    Args:
        labels, starts, ends: labels, first and last frames of L runs in time order; ends exclusive.
        log_probs: (T', V) float64.
        tokenizer: labels to characters.

    Returns:
        (words, spans): see `Hypothesis`.
    """
    text = tokenizer.decode(labels.tolist())
    spans = tuple(map(tuple, posterior_spans(log_probs, labels, starts, ends).tolist()))
    peaks = _peaks(labels, starts, ends, log_probs)
    words, first = [], 0
    for index in range(len(text) + 1):
        if index < len(text) and not text[index].isspace():
            continue
        if index > first:
            mean_peak = float(peaks[first:index].sum()) / (index - first)
            words.append(WordSpan(text[first:index], spans[first][0], spans[index - 1][1],
                                  min(1.0, math.exp(mean_peak))))
        first = index + 1
    return tuple(words), spans
