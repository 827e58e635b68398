"""What is measured on the validation set: loss, WER, CER, and the figures of the plateau coach.

In: Keras's logs of an epoch. Out: a `Validation`, and which of two is the better one. `Listening`
is the metric behind the coach's figures; `evaluate` computes the others as for every user.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asr.features.lengths import feasible
from asr.network.ctc import check_targets, ctc_loss
from asr.network.replicas import Replicas
from asr.text.tokenizer import BLANK_ID
from asr.training.coach import pairing_gap
from asr.training.schedule import CHANCE_WER

MAX_GAP_UTTERANCES = 512
# Row distances between utterances that exchange transcripts; rows are sorted by length.
PARTNERS = (1, 2, 3, 5)


@dataclass(frozen=True)
class Validation:
    """Result of one pass over the validation set.

    Attributes:
        loss: nats per label.
        wer, cer: error rates of the whole set, from 0, can exceed 1; NaN without references.
        blank_share: share of output frames whose best class is the blank.
        emitted: labels in the greedy output.
        gap: see `asr.training.coach.pairing_gap`.
    """

    loss: float
    wer: float
    cer: float
    blank_share: float
    emitted: int
    gap: float | None

    @classmethod
    def of(cls, logs: Mapping[str, float], prefix: str = "") -> Validation:
        """From the logs of `evaluate`, or with the prefix "val_" of `fit`."""
        value = {name: float(logs[prefix + name]) for name in (
            "loss", "wer", "cer", "blank_share", "emitted", "gap")}
        return cls(value["loss"], value["wer"], value["cer"], value["blank_share"],
                   int(value["emitted"]), None if math.isnan(value["gap"]) else value["gap"])

    @property
    def criterion(self) -> str:
        """What decides between epochs: "wer", or "cer" while WER is above 80 %."""
        return "cer" if self.wer > CHANCE_WER else "wer"

    @property
    def usable(self) -> bool:
        """Whether all of it is finite; nothing else is ever the best."""
        return all(map(math.isfinite, (self.wer, self.cer, self.loss)))


class Listening(keras.metrics.Metric):
    """Does the network listen? Blanks, labels and the pairing gap of `asr.training.coach`.

    `result` is a table: gap (NaN: cannot be measured), blank_share, emitted.
    """

    def __init__(self, name: str = "listening", **kwargs):
        super().__init__(name=name, **kwargs)
        self.reset_state()

    def reset_state(self) -> None:
        """Forget all batches."""
        self._right: list[np.ndarray] = []
        self._exchanged: list[np.ndarray] = []
        self._blanks = self._frames = self._emitted = 0

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        """Count a batch; arguments as for `asr.WordErrorRate`."""
        del sample_weight
        check_targets(y_true)
        frames, labels, counts = (y_true[n] for n in ("num_frames", "labels", "num_labels"))
        right = ctc_loss(y_pred, frames, labels, counts)
        others = [ctc_loss(y_pred, frames, *_exchange(labels, counts, frames, shift))
                  for shift in PARTNERS]
        best = tf.argmax(y_pred, axis=-1, output_type=tf.int32)
        tf.numpy_function(self._count, (right, tf.stack(others), best, frames, labels, counts), [])

    def _count(self, right, others, best, num_frames, labels, num_labels) -> None:
        texts = [tuple(row[:n].tolist()) for row, n in zip(labels, num_labels, strict=True)]
        self._right.append(right)
        self._exchanged.append(_mean_of_usable(others, texts, num_frames))
        for row, length in zip(best, num_frames, strict=True):
            row = row[:length]
            self._blanks += int((row == BLANK_ID).sum())
            self._frames += int(length)
            self._emitted += int(((row != BLANK_ID) & (np.diff(row, prepend=BLANK_ID) != 0)).sum())

    def share(self, replicas: Replicas) -> None:
        """Take up what the other processes of a training have counted."""
        self._blanks, self._frames, self._emitted = map(int, replicas.total_of(
            [self._blanks, self._frames, self._emitted]))
        for kept in (self._right, self._exchanged):
            kept[:] = [replicas.gathered(np.concatenate(kept))]

    def result(self) -> dict[str, Any]:
        """gap, blank_share, emitted; each () float32."""
        values = tf.ensure_shape(tf.numpy_function(self._values, [], tf.float32), [3])
        return dict(zip(("gap", "blank_share", "emitted"), tf.unstack(values), strict=True))

    def _values(self) -> np.ndarray:
        gap = None
        if self._right:
            gap = pairing_gap(np.concatenate(self._right)[-MAX_GAP_UTTERANCES:],
                              np.concatenate(self._exchanged)[-MAX_GAP_UTTERANCES:])
        return np.array([np.nan if gap is None else gap, self._blanks / max(1, self._frames),
                         self._emitted], np.float32)


def _exchange(labels, num_labels, num_frames, shift: int):
    """Move labels `shift` rows down; labels that do not fit the frames are cut to one."""
    labels = tf.roll(labels, shift, axis=0)
    num_labels = tf.roll(num_labels, shift, axis=0)
    repeats = tf.reduce_sum(tf.cast((labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] != BLANK_ID),
                                    tf.int32), axis=1)
    fits = num_labels + repeats <= num_frames
    return labels, tf.where(fits, num_labels, 1)


def _mean_of_usable(others: np.ndarray, texts: list[tuple], lengths: np.ndarray) -> np.ndarray:
    """(B,) mean loss over the partners with a different transcript that fits; NaN: no such one."""
    usable = np.array([[texts[i - shift] != texts[i] and feasible(int(lengths[i]), texts[i - shift])
                        for i in range(len(texts))] if len(texts) > shift
                       else [False] * len(texts) for shift in PARTNERS])
    count = usable.sum(axis=0)
    total = np.where(usable, others, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
