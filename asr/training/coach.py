"""The plateau coach: tells a normal CTC plateau from broken data.

In: figures of an epoch. Out: one sentence, and whether it is an alarm. NumPy only.

CTC training starts on a plateau where the network emits only blanks. The loss alone does not show
whether training will leave it. Two measurements do:

* The floor is the lowest loss without audio: one fixed distribution over blank and labels for every
  frame. A network with a loss below it has learnt something from the audio.
* The pairing gap compares the validation loss of the right transcripts with that of transcripts
  exchanged between utterances of similar length. If labels and audio match, the right transcripts
  become more likely within the first epochs, long before a word is right. With shuffled labels or a
  wrong time axis the gap stays zero even if the loss falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FIRST_ALARM_EPOCH = 3
FIRST_ALARM_STEPS = 150
MIN_PAIRS = 24  # with fewer utterances, a slow start looks like broken data
GAP_ALARM = 2.0  # standard errors


@dataclass(frozen=True)
class EpochFacts:
    """The figures of an epoch that the coach judges.

    Attributes:
        epoch: 1, 2, ...
        steps: optimizer steps so far.
        loss: training loss, nats per label.
        floor: from `listening_floor`, nats per label.
        blank_share: share of validation frames whose best class is the blank.
        emitted: labels in the greedy output of the validation set.
        gap: from `pairing_gap`; None if it cannot be measured.
    """

    epoch: int
    steps: int
    loss: float
    floor: float
    blank_share: float
    emitted: int
    gap: float | None


def listening_floor(num_frames: Sequence[int], labels: Sequence[Sequence[int]],
                    vocab_size: int) -> float:
    """Lowest loss of a network that ignores the audio, in nats per label.

    Every frame gets the same distribution: 1 - q for the blank, and q times its relative frequency
    for each label. The loss is the exact CTC sum over alignments, minimised over q.

    Args:
        num_frames: output frames T' of each utterance.
        labels: labels of each utterance.
        vocab_size: V.

    Returns:
        min over q of sum(loss) / sum(num_labels).
    """
    counts = np.bincount(np.concatenate([np.asarray(x) for x in labels]), minlength=vocab_size)
    unigram = counts / counts.sum()
    total = sum(map(len, labels))
    best = np.inf
    for q in (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        losses = [_constant_loss(t, np.asarray(x), q, unigram)
                  for t, x in zip(num_frames, labels, strict=True)]
        best = min(best, float(np.sum(losses)) / total)
    return best


def _constant_loss(num_frames: int, labels: np.ndarray, q: float, unigram: np.ndarray) -> float:
    """CTC loss of one utterance with the same distribution in every frame (forward recursion)."""
    extended = np.zeros(2 * len(labels) + 1, dtype=np.int64)
    extended[1::2] = labels
    log_emit = np.log(np.where(extended == 0, 1.0 - q, q * unigram[extended]) + 1e-30)
    skip = np.zeros(len(extended), dtype=bool)
    skip[2:] = (extended[2:] != 0) & (extended[2:] != extended[:-2])
    alpha = np.full(len(extended), -np.inf)
    alpha[:2] = log_emit[:2]
    for _ in range(1, num_frames):
        stay_or_step = np.logaddexp(alpha, np.concatenate([[-np.inf], alpha[:-1]]))
        jump = np.where(skip, np.concatenate([[-np.inf, -np.inf], alpha[:-2]]), -np.inf)
        alpha = np.logaddexp(stay_or_step, jump) + log_emit
    return -float(np.logaddexp(alpha[-1], alpha[-2]))


def pairing_gap(right: np.ndarray, exchanged: np.ndarray) -> float | None:
    """Mean loss difference between exchanged and right transcripts, in standard errors.

    Args:
        right, exchanged: (N,) losses of the same utterances; non-finite differences are ignored.

    Returns:
        mean difference / standard error; None for fewer than MIN_PAIRS usable pairs.
    """
    difference = np.asarray(exchanged, np.float64) - np.asarray(right, np.float64)
    difference = difference[np.isfinite(difference)]
    if len(difference) < MIN_PAIRS:
        return None
    error = difference.std(ddof=1) / np.sqrt(len(difference))
    return float(difference.mean() / max(error, 1e-9))


class Advice(NamedTuple):
    """One sentence, and whether it is an alarm."""

    text: str
    alarm: bool = False


def advice(facts: EpochFacts) -> Advice:
    """Judge an epoch: "normal so far ...", or the alarm "labels or time axis look broken ..."."""
    share = f"{100 * facts.blank_share:.0f} % of frames are blank"
    if facts.gap is not None and facts.gap >= GAP_ALARM:
        if facts.emitted == 0:
            return Advice(f"normal so far: still on the blank plateau ({share}), but the network "
                          "listens")
        return Advice(f"normal so far: {share}, loss {facts.loss:.2f} against {facts.floor:.2f} "
                      "for not listening")
    if facts.epoch >= FIRST_ALARM_EPOCH and facts.steps >= FIRST_ALARM_STEPS \
            and facts.gap is not None:
        return Advice(
            f"labels or time axis look broken: after {facts.epoch} epochs right transcripts "
            f"are no likelier than exchanged ones (gap {facts.gap:.1f} standard errors, loss "
            f"{facts.loss:.2f}, floor {facts.floor:.2f}). Listen to a few utterances beside "
            "their text", alarm=True)
    return Advice(f"normal so far: too early to tell ({share})")
