"""The plateau coach: is a loss that does not fall normal, or is something broken?

In: per-epoch figures. Out: one sentence. NumPy only.

CTC training starts on a plateau on which the network writes blanks only; people cannot tell
whether to wait (threads of every CTC toolkit). Two measurements can:

* the floor: the loss of the best network that does not listen, i.e. one fixed distribution over
  blank and labels for every frame. A loss below it has learnt something from the audio.
* the pairing gap: the validation loss of the right transcripts against that of transcripts
  exchanged between utterances of about the same length. While labels and audio belong together, the
  right ones become more likely within the first epochs, long before a word is right; with shuffled
  labels or a wrong time axis the gap stays zero however far the loss falls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

FIRST_ALARM_EPOCH = 3
FIRST_ALARM_STEPS = 150
MIN_PAIRS = 24  # fewer utterances cannot tell a slow start from a broken one
GAP_ALARM = 2.0  # standard errors


@dataclass(frozen=True)
class EpochFacts:
    """What the coach looks at after an epoch.

    Attributes:
        epoch: 1, 2, ...
        steps: optimizer steps so far.
        loss: training loss, nats a label.
        floor: from `listening_floor`, nats a label.
        blank_share: share of output frames whose best class is the blank, validation set.
        emitted: labels that the network wrote on the validation set.
        gap: from `pairing_gap`; None when it cannot be measured.
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
    """Loss of the best network that ignores the audio, in nats a label.

    Every frame gets the same distribution: blank with probability 1 - q, label k with q times
    its relative frequency; the loss is the exact CTC sum over alignments, minimised over q.

    Args:
        num_frames: output frames T' of each utterance.
        labels: its labels.
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
    """CTC loss of one utterance when every frame has the same distribution (forward recursion)."""
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
    """How many standard errors the exchanged transcripts cost more than the right ones.

    Args:
        right, exchanged: (N,) losses of the same utterances; non-finite pairs are left out.

    Returns:
        mean difference over its standard error; None for fewer than MIN_PAIRS usable pairs.
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
    """"normal so far ...", or the alarm "labels or time axis look broken ..."."""
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
