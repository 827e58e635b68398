"""Validation after an epoch: loss, WER, CER, and the figures for the plateau coach.

In: a model, the validation batches and their texts. Out: a `Validation`. Every utterance counts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from asr.data.batches import Batch
from asr.data.pipeline import evaluation_dataset
from asr.features.lengths import feasible
from asr.network.model import batch_signature
from asr.scoring.counts import count_characters, count_words
from asr.text.tokenizer import BLANK_ID
from asr.training.coach import pairing_gap
from asr.training.preparation import Split

MAX_GAP_UTTERANCES = 512
# Row distances between utterances that exchange transcripts; rows are sorted by length.
PARTNERS = (1, 2, 3, 5)


@dataclass(frozen=True)
class Validation:
    """Result of one pass over the validation set.

    Attributes:
        loss: nats per label.
        wer, cer: error rates of the whole set, from 0, can exceed 1; None without references.
        blank_share: share of output frames whose best class is the blank.
        emitted: labels in the greedy output.
        gap: see `asr.training.coach.pairing_gap`.
        hypotheses: utterance id to text.
    """

    loss: float
    wer: float | None
    cer: float | None
    blank_share: float
    emitted: int
    gap: float | None
    hypotheses: dict[str, str]


class Validator:
    """Evaluates the validation set; all epochs share one traced function.

    Args:
        model: an `AcousticModel`.
        split: cache, clips and texts of the validation set.
        plan: from `asr.data.batches.plan_evaluation`.
        normalizer: a `FeatureAugmenter` without augmentation.
        decoder: writes the hypotheses.
    """

    def __init__(self, model, split: Split, plan: list[Batch], normalizer, decoder):
        self.split = split
        self.plan = plan
        self.normalizer = normalizer
        self.decoder = decoder

        @tf.function(jit_compile=False, input_signature=batch_signature(model.num_features))
        def step(x, y):
            logits = model(x, training=False)
            lengths = model.output_length(x["num_frames"])
            others = [model.losses_of(x, _exchange(y, lengths, shift), logits)
                      for shift in PARTNERS]
            return model.losses_of(x, y, logits), tf.stack(others), logits, lengths

        self._step = step

    def run(self) -> Validation:
        """Evaluate the whole set once."""
        dataset = evaluation_dataset(self.split.cache, self.plan, self.normalizer)
        losses, right, exchanged = [], [], []
        hypotheses: dict[str, str] = {}
        blanks = frames = emitted = 0
        for batch, (x, y) in zip(self.plan, dataset, strict=True):
            loss, other, logits, lengths = (t.numpy() for t in self._step(x, y))
            losses.append(loss)
            right.append(loss)
            exchanged.append(_mean_of_usable(other, batch, lengths))
            for item, row, length in zip(batch.items, logits, lengths, strict=True):
                best = row[:length].argmax(-1)
                blanks += int((best == BLANK_ID).sum())
                frames += int(length)
                emitted += int(((best != BLANK_ID) & (np.diff(best, prepend=BLANK_ID) != 0)).sum())
                hypotheses[item.ids[0]] = self._decode(row[:length])
        num_labels = sum(len(item.labels) for batch in self.plan for item in batch.items)
        texts = self.split.texts
        references = [texts[name] for name in hypotheses]
        words = count_words(references, list(hypotheses.values()))
        characters = count_characters(references, list(hypotheses.values()))
        gap = pairing_gap(np.concatenate(right)[-MAX_GAP_UTTERANCES:],
                          np.concatenate(exchanged)[-MAX_GAP_UTTERANCES:])
        return Validation(float(np.concatenate(losses).sum()) / num_labels, _rate(words),
                          _rate(characters), blanks / max(1, frames), emitted, gap, hypotheses)

    def _decode(self, logits: np.ndarray) -> str:
        if not np.isfinite(logits).all():  # diverged: an empty hypothesis makes every word an error
            return ""
        return self.decoder.decode(logits)[0].text


def _exchange(y, lengths, shift: int):
    """Move labels `shift` rows down; labels that do not fit the frames are cut to one."""
    labels = tf.roll(y["labels"], shift, axis=0)
    num_labels = tf.roll(y["num_labels"], shift, axis=0)
    repeats = tf.reduce_sum(tf.cast((labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] != BLANK_ID),
                                    tf.int32), axis=1)
    fits = num_labels + repeats <= lengths
    return {"labels": labels, "num_labels": tf.where(fits, num_labels, 1)}


def _mean_of_usable(others: np.ndarray, batch: Batch, lengths: np.ndarray) -> np.ndarray:
    """(B,) mean loss over the partners with a different transcript that fits; NaN: no such one."""
    items = batch.items
    usable = np.array([[items[i - shift].labels != items[i].labels
                        and feasible(int(lengths[i]), items[i - shift].labels)
                        for i in range(len(items))] if len(items) > shift
                       else [False] * len(items) for shift in PARTNERS])
    count = usable.sum(axis=0)
    total = np.where(usable, others, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _rate(counts: np.ndarray) -> float | None:
    """Errors per reference unit, from rows (substitutions, deletions, insertions, units)."""
    *errors, reference = counts.sum(axis=0).tolist()
    return sum(errors) / reference if reference else None
