"""Collect evidence for each word of a hypothesis, and compute its confidence.

In: log-probabilities and a hypothesis. Out: log-odds of each word; with a calibration, the
probability that it is right. NumPy, numba.

Up to five probabilities are evidence for a word, each from 0 to 1:

    peak      geometric mean of its characters' highest posteriors along the alignment
    segment   sum over all alignments: the frames between its neighbours spell this word and nothing
              else, however they do it (the forward probability of CTC, in that window)
    letter    its geometric mean per character, as of `peak`: where a language model picks the
              words, a long one has many characters that sounded otherwise
    share     beam search alone: what part of the last beam has this word in this place, language
              model and hot words included
    language  beam search with a language model alone: how well the word fits between its
              neighbours, the geometric mean of the model's probability of it after the words
              before it and of what follows after it

None is the probability that the word is right: networks are overconfident, and the evidences
overlap. `asr.decoding.calibration.Calibration` pools their log-odds, and one thing more:

    square    the log-odds of `peak` times their own size, over 4: it bends the line, for from
              nearly sure to sure is a longer way than from doubtful to likely
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from itertools import chain

import numpy as np

from asr.decoding.calibration import EVIDENCE, Calibration
from asr.decoding.decoder import Decoder
from asr.decoding.hypothesis import Hypothesis, WordSpan
from asr.decoding.log_space import log_add
from asr.kernels.jit import compiled
from asr.text.tokenizer import CharTokenizer

MAX_LOG_ODDS = 16.0  # a posterior of 1 - 1e-7 and one of 1 in float32 are the same evidence
SQUARE = 4.0  # log-odds of `peak` at which `square` equals them


def word_evidence(log_probs: np.ndarray, words: Sequence[WordSpan],
                  tokenizer: CharTokenizer) -> np.ndarray:
    """The evidence for each word of a hypothesis.

    Args:
        log_probs: (T', V) float64, natural log; see `asr.decoding.log_softmax`.
        words: in order, with spans inside the frames.
        tokenizer: tokenizer of the model.

    Returns:
        (num_words, 6) float64 in the order of EVIDENCE: log-odds within -16 .. 16, and `square`.
    """
    space = tokenizer.encode(" ")[0] if " " in tokenizer.alphabet else -1
    rows = np.empty((len(words), len(EVIDENCE) - 1))
    for number, word in enumerate(words):
        first = words[number - 1].end if number else 0
        last = words[number + 1].start if number + 1 < len(words) else len(log_probs)
        labels = np.asarray(tokenizer.encode(word.text), dtype=np.int64)
        window = np.ascontiguousarray(log_probs[first:last])
        segment = segment_log_probability(window, labels, space)
        rows[number] = (math.log(max(word.confidence, 1e-300)), segment, segment / len(labels),
                        math.log(max(word.share, 1e-300)), math.log(max(word.language, 1e-300)))
    odds = log_odds(rows)
    peak = odds[:, EVIDENCE.index("peak")]
    return np.column_stack([odds, peak * np.abs(peak) / SQUARE])


def log_odds(log_probabilities: np.ndarray) -> np.ndarray:
    """Log of p / (1 - p) of natural-log probabilities, within -16 .. 16."""
    certain = -np.expm1(np.minimum(log_probabilities, -1e-300))
    with np.errstate(divide="ignore"):
        return np.clip(log_probabilities - np.log(certain), -MAX_LOG_ODDS, MAX_LOG_ODDS)


def calibrated(hypothesis: Hypothesis, log_probs: np.ndarray, tokenizer: CharTokenizer,
               calibration: Calibration) -> Hypothesis:
    """The hypothesis with probabilities for confidences.

    A word's confidence becomes the probability that it is right; that of the whole text the share
    of its words to be expected right, which is what orders utterances by word error rate. For the
    empty text it is the probability that every frame is blank or space.

    Args:
        hypothesis: hypothesis of a decoder.
        log_probs: (T', V) float64, natural log.
        tokenizer: tokenizer of the model.
        calibration: for the kind of decoder that wrote the hypothesis.
    """
    if hypothesis.rejected:
        return hypothesis
    if not hypothesis.words:
        silent = [0] + (tokenizer.encode(" ") if " " in tokenizer.alphabet else [])
        silence = np.logaddexp.reduce(log_probs[:, silent], axis=1).sum()
        return dataclasses.replace(hypothesis, confidence=math.exp(min(0.0, float(silence))))
    chances = calibration.probabilities(word_evidence(log_probs, hypothesis.words, tokenizer))
    words = tuple(dataclasses.replace(word, confidence=float(chance))
                  for word, chance in zip(hypothesis.words, chances, strict=True))
    return dataclasses.replace(hypothesis, words=words, confidence=float(chances.mean()))


class CalibratedDecoder(Decoder):
    """Another decoder, whose confidences are probabilities.

    Args:
        decoder: any that is not calibrated yet.
        calibration: fitted to this kind of decoder and this network.
    """

    def __init__(self, decoder: Decoder, calibration: Calibration):
        super().__init__(decoder.tokenizer)
        self.decoder, self.calibration = decoder, calibration

    def search(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """The hypotheses of the decoder inside, each as `calibrated` returns it."""
        return [calibrated(found, log_probs, self.tokenizer, self.calibration)
                for found in self.decoder.search(log_probs)]

    def score(self, logits: np.ndarray) -> float:
        """See `Decoder.score`; without the evidence."""
        return self.decoder.score(logits)


def with_shares(words: Sequence[WordSpan], readings: Sequence[Sequence[str]],
                shares: np.ndarray) -> tuple[WordSpan, ...]:
    """The words of one reading, each with the part of the beam that has it in its place.

    "In its place": the word alignment of the two readings (edit distance) pairs it with itself.

    Args:
        words: words of one reading.
        readings: words of every reading in the beam, this one included.
        shares: (num_readings,) float64, of each; they sum to 1.

    Example:
        >>> beam = [["two", "nine"], ["two", "five"], ["nine"]]
        >>> spans = [WordSpan("two", 0, 3, 1.0), WordSpan("nine", 4, 9, 1.0)]
        >>> [round(w.share, 3) for w in with_shares(spans, beam, np.array([0.6, 0.3, 0.1]))]
        [0.9, 0.7]
    """
    numbers: dict[str, int] = {}

    def numbered(texts: Iterable[str]) -> np.ndarray:
        return np.array([numbers.setdefault(text, len(numbers)) for text in texts], dtype=np.int64)

    found = _shares_of_words(numbered(word.text for word in words), numbered(chain(*readings)),
                             np.array([len(reading) for reading in readings]), shares)
    return tuple(dataclasses.replace(word, share=min(1.0, float(share)))
                 for word, share in zip(words, found, strict=True))


@compiled
def _shares_of_words(words, others, lengths, shares):
    """(num_words,) the summed shares of the readings, one behind the other in `others`."""
    found = np.zeros(len(words))
    first = 0
    for length, share in zip(lengths, shares):  # noqa: B905 (numba knows no strict)
        _add_matches(words, others[first:first + length], share, found)
        first += length
    return found


@compiled
def _add_matches(words, others, share, found):
    """Add `share` to `found` at the words that an alignment of fewest errors leaves equal."""
    costs = np.empty((len(words) + 1, len(others) + 1), dtype=np.int64)
    costs[:, 0] = np.arange(len(words) + 1)
    costs[0, :] = np.arange(len(others) + 1)
    for i in range(1, len(words) + 1):
        for j in range(1, len(others) + 1):
            costs[i, j] = min(costs[i - 1, j - 1] + (words[i - 1] != others[j - 1]),
                              min(costs[i - 1, j], costs[i, j - 1]) + 1)
    i, j = len(words), len(others)
    while i > 0 and j > 0:
        differ = words[i - 1] != others[j - 1]
        if costs[i, j] == costs[i - 1, j - 1] + differ:
            i, j = i - 1, j - 1
            if not differ:
                found[i] += share
        elif costs[i, j] == costs[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1


@compiled
def segment_log_probability(log_probs, labels, space):
    """Natural log of the probability that the frames spell a word, with spaces around it or not.

    All alignments are summed: the forward pass of CTC (Graves et al. 2006, section 4.1), whose
    first and last states, the silence around the word, may be blank or space.

    Args:
        log_probs: (T, V) float64, natural log; T >= 1.
        labels: (L,) int64, L >= 1.
        space: the label of the space, -1 if the alphabet has none.
    """
    num_frames, num_states = log_probs.shape[0], 2 * len(labels) + 1
    forward = np.full(num_states, -np.inf)
    for t in range(num_frames):
        row = log_probs[t]
        around = log_add(row[0], row[space]) if space >= 0 else row[0]
        for state in range(num_states - 1, -1, -1):  # downwards: below are those of frame t - 1
            total = forward[state]
            if t == 0:
                total = 0.0 if state < 2 else -np.inf
            elif state > 0:
                total = log_add(total, forward[state - 1])
                if state % 2 and state > 1 and labels[state // 2] != labels[state // 2 - 1]:
                    total = log_add(total, forward[state - 2])
            if state % 2:
                forward[state] = total + row[labels[state // 2]]
            else:
                forward[state] = total + (around if state in (0, num_states - 1) else row[0])
    return log_add(forward[num_states - 1], forward[num_states - 2])
