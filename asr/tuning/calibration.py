"""Fit a calibration of confidences to development data.

In: a `Recognizer` and utterances that it was not trained on. Out: a `Fit`: the calibration, and the
reliability before it and after it, each word judged by parameters that its speaker had no part in.

One temperature is not enough: the words of an undertrained network are wrong more often than not
while its posteriors say 0.8, and no temperature moves odds across even. The logistic regression
here (Platt 1999) has a bias as well, and a weight for each evidence of `asr.decoding.evidence`; one
of them bends the line (an expected calibration error of 1.1 instead of 1.4 % on digits).
Fitted by maximum a posteriori with a weak prior on leaving the confidences as they are, which
matters on hundreds of words only; negative weights are set to 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from asr.decoding.calibration import EVIDENCE, PARAMETERS, Calibration, calibration_kind
from asr.decoding.evidence import CalibratedDecoder, word_evidence
from asr.decoding.hypothesis import Hypothesis, check_logits, log_softmax
from asr.errors import DataError, UsageError
from asr.kernels import pool
from asr.recognizer import Recognizer
from asr.scoring.bootstrap import clusters_of
from asr.scoring.reliability import Reliability, judge_words, reliability
from asr.terminal import plural
from asr.text import normalize
from asr.tuning import DevSet

FEWEST = 20  # right words, and wrong words, below which a fit would be of noise
FOLDS = 10
MOST_LOST = 0.05  # of NCE
# Without a beam there is no share of it; without a language model `segment` has all the evidence
# for the characters of the word.
NOT_FOR = {"beam": ("letter", "language"), "beam+lm": ()}
ELSE_NOT = ("letter", "share", "language")
PRIOR = 1.0  # precision of the Gaussian prior on each parameter, around the default


@dataclass(frozen=True)
class Judged:
    """Recognised words with their evidence, and whether they are right.

    Attributes:
        kind: kind of decoder, one of `asr.decoding.calibration.kinds`.
        evidence: (N, 6) float64, see `asr.decoding.calibration.EVIDENCE`.
        raw: (N,) float64, the confidences before any calibration.
        right: (N,) bool.
        utterances: (N,) int64, number of the utterance, from 0.
        speakers: one an utterance; "" is unknown.
        left_out: utterances whose words the normaliser joins, so that none can be judged.
    """

    kind: str
    evidence: np.ndarray
    raw: np.ndarray
    right: np.ndarray
    utterances: np.ndarray
    speakers: tuple[str, ...]
    left_out: int = 0


@dataclass(frozen=True)
class Fit:
    """What `calibrate` found.

    Attributes:
        kind: kind of decoder that the calibration is for.
        calibration: fitted to all words.
        before: reliability of the confidences as they were.
        after: with parameters fitted to other speakers (or utterances) than the word's.
        folds: number of fits behind `after`.
        left_out: utterances that were not judged.
    """

    kind: str
    calibration: Calibration
    before: Reliability
    after: Reliability
    folds: int
    left_out: int

    @property
    def helps(self) -> bool:
        """Whether ECE falls on words that the fit has not seen, and telling right words from wrong
        ones (NCE) suffers by 0.05 at most: the word error rate as every confidence would win on
        ECE alone.
        """
        lost = (self.before.nce or 0.0) - (self.after.nce or 0.0)
        return self.after.ece < self.before.ece and lost <= MOST_LOST

    def to_dict(self) -> dict:
        """Plain values for JSON."""
        return {"decoder": self.kind, "calibration": self.calibration.to_dict(),
                "helps": self.helps, "folds": self.folds, "left_out": self.left_out,
                "before": self.before.to_dict(), "after": self.after.to_dict()}


def judge(recognizer: Recognizer, dev: DevSet) -> Judged:
    """Decode and compare with the references, on all cores.

    Args:
        recognizer: its decoder is used, without the calibration that it may have.
        dev: from `asr.tuning.read_dev_set`.
    """
    decoder = recognizer.decoder
    if isinstance(decoder, CalibratedDecoder):
        decoder = decoder.decoder

    def read(logits: np.ndarray | None) -> tuple[Hypothesis, np.ndarray]:
        if logits is None:
            return Hypothesis("", 0.0), np.empty((0, len(EVIDENCE)))
        log_probs = log_softmax(check_logits(logits, decoder.tokenizer.vocab_size))
        best = decoder.search(log_probs)[0]
        return best, word_evidence(log_probs, best.words, decoder.tokenizer)

    read_out = pool.run([partial(read, logits) for logits in dev.logits], pool.default_threads())
    verdicts = judge_words(
        [" ".join(reference.split()) for reference in dev.references],
        [" ".join(normalize(best.text, dev.normalizer).split()) for best, _ in read_out],
        [[word.text for word in best.words] for best, _ in read_out], dev.normalizer)
    evidence, raw, right, utterances = [], [], [], []
    for number, ((best, rows), verdict) in enumerate(zip(read_out, verdicts, strict=True)):
        kept = [] if verdict is None else np.flatnonzero(verdict >= 0).tolist()
        for place in kept:
            evidence.append(rows[place])
            raw.append(best.words[place].confidence)
            right.append(verdict is not None and verdict[place] == 1)
            utterances.append(number)
    return Judged(calibration_kind(recognizer.decoder_settings),
                  np.array(evidence, dtype=np.float64).reshape(-1, len(EVIDENCE)), np.array(raw),
                  np.array(right, dtype=bool), np.array(utterances, dtype=np.int64),
                  dev.speakers, sum(verdict is None for verdict in verdicts))


def pooled(parts: Sequence[Judged]) -> Judged:
    """The words of several sets, of several networks perhaps, as one.

    A network that was trained on every speaker has no one left to calibrate it on. Those
    trained on all but one, each with the speaker that it was not trained on, replace it
    (Platt 1999 fits to cross-validated outputs for the same reason).

    Raises:
        UsageError: no part, or decoders of different kinds.
    """
    kinds = {part.kind for part in parts}
    if len(kinds) != 1:
        raise UsageError(f"Words of the decoders {', '.join(sorted(kinds)) or 'none'} cannot be "
                         "pooled; expected one kind.")
    offsets = np.cumsum([0] + [len(part.speakers) for part in parts])
    return Judged(
        kinds.pop(), np.concatenate([part.evidence for part in parts]),
        np.concatenate([part.raw for part in parts]),
        np.concatenate([part.right for part in parts]),
        np.concatenate([part.utterances + offset
                        for part, offset in zip(parts, offsets, strict=False)]),
        tuple(speaker for part in parts for speaker in part.speakers),
        sum(part.left_out for part in parts))


def calibrate(judged: Judged) -> Fit:
    """Fit, and measure on words that had no part in the fit.

    Raises:
        DataError: fewer than 20 right words, or fewer than 20 wrong ones.
    """
    calibration = fit(judged)
    probabilities, folds = cross_fitted(judged)
    before, after = (
        reliability(confidences, judged.right, utterances=judged.utterances,
                    speakers=judged.speakers) for confidences in (judged.raw, probabilities))
    return Fit(judged.kind, calibration, before, after, folds, judged.left_out)


def cross_fitted(judged: Judged) -> tuple[np.ndarray, int]:
    """Probabilities by parameters that were fitted without the speaker (or utterance) of a word.

    Returns:
        (N,) float64 and the number of fits: one a speaker, ten at most.

    Raises:
        DataError: all words are of one speaker's only utterance.
    """
    _, cluster = clusters_of(len(judged.speakers), judged.speakers)
    present, place = np.unique(cluster[judged.utterances], return_inverse=True)
    folds = min(FOLDS, len(present))
    if folds < 2:
        raise DataError("One utterance is too little to calibrate on.", code="tune.few_words")
    fold = place.reshape(-1) % folds
    probabilities = np.empty(len(judged.right))
    for number in range(folds):
        inside = fold == number
        parameters = _fit(judged.evidence[~inside], judged.right[~inside], judged.kind)
        probabilities[inside] = Calibration(*parameters.tolist()).probabilities(
            judged.evidence[inside])
    return probabilities, folds


def fit(judged: Judged) -> Calibration:
    """The calibration of all these words.

    Raises:
        DataError: fewer than 20 right words, or fewer than 20 wrong ones.
    """
    _check_enough(judged)
    return Calibration(*_fit(judged.evidence, judged.right, judged.kind).tolist(),
                       words=len(judged.right), errors=int((~judged.right).sum()))


def _check_enough(judged: Judged) -> None:
    right = int(judged.right.sum())
    wrong = len(judged.right) - right
    if min(right, wrong) < FEWEST:
        raise DataError(f"{right} right and {plural(wrong, 'wrong word')} are too few to "
                        "calibrate on: confidence is learnt from both. Give development data with "
                        f"at least {FEWEST} of each, which the network was not trained on.",
                        code="tune.few_words")


def _fit(evidence: np.ndarray, right: np.ndarray, kind: str) -> np.ndarray:
    """(7,) float64, one for each of PARAMETERS: the posterior mode with no weight below 0."""
    start = np.array([float(name == "peak") for name in PARAMETERS])
    inputs = np.column_stack([evidence, np.ones(len(right))])
    free = np.array([name not in NOT_FOR.get(kind, ELSE_NOT) for name in PARAMETERS])
    while True:
        parameters = _newton(inputs, right, start, free)
        below = np.flatnonzero(parameters[:-1] < 0)
        if not len(below):
            return parameters
        free[below[parameters[below].argmin()]] = False


def _newton(inputs: np.ndarray, right: np.ndarray, start: np.ndarray, free: np.ndarray
            ) -> np.ndarray:
    """Minimise cross entropy + prior over the free parameters; those that are not are 0."""
    columns, prior = inputs[:, free], start[free]
    signs = np.where(right, 1.0, -1.0)

    def cost(values: np.ndarray) -> float:
        return float(np.logaddexp(0.0, -signs * (columns @ values)).sum()
                     + 0.5 * PRIOR * ((values - prior) ** 2).sum())

    values = prior.copy()
    for _ in range(100):  # strictly convex: a dozen steps
        p = 1 / (1 + np.exp(-np.clip(columns @ values, -700, 700)))
        gradient = columns.T @ (p - right) + PRIOR * (values - prior)
        curvature = (columns * (p * (1 - p))[:, None]).T @ columns + PRIOR * np.eye(len(values))
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while cost(values - size * step) > cost(values) and size > 1e-10:
            size /= 2
        values = values - size * step
        if np.abs(size * step).max() < 1e-8:
            break
    found = np.zeros(len(start))
    found[free] = values
    return found
