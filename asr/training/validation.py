"""The validation set after an epoch: loss, WER, CER, and what the plateau coach looks at.

In: a model, the evaluation batches and their texts. Out: a `Validation`. Nothing is dropped.
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
PARTNERS = (1, 2, 3, 5)  # rows of the length-sorted batch that an utterance exchanges with


@dataclass(frozen=True)
class Validation:
    """One pass over the validation set.

    Attributes:
        loss: nats a label.
        wer, cer: corpus rates, 0 .. (can pass 1); None without reference words.
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
    """Runs the validation set; one traced function for all epochs.

    Args:
        model: an `AcousticModel`.
        split: cache, clips and texts.
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
        """One pass."""
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
        if not np.isfinite(logits).all():  # diverged: an empty hypothesis counts every word
            return ""
        return self.decoder.decode(logits)[0].text


def _exchange(y, lengths, shift: int):
    """Everybody's labels go `shift` rows on; one label where they would not fit the frames."""
    labels = tf.roll(y["labels"], shift, axis=0)
    num_labels = tf.roll(y["num_labels"], shift, axis=0)
    repeats = tf.reduce_sum(tf.cast((labels[:, 1:] == labels[:, :-1]) & (labels[:, 1:] != BLANK_ID),
                                    tf.int32), axis=1)
    fits = num_labels + repeats <= lengths
    return {"labels": labels, "num_labels": tf.where(fits, num_labels, 1)}


def _mean_of_usable(others: np.ndarray, batch: Batch, lengths: np.ndarray) -> np.ndarray:
    """(B,) mean loss over the partners whose transcript differs and fits; NaN without one."""
    items = batch.items
    usable = np.array([[items[i - shift].labels != items[i].labels
                        and feasible(int(lengths[i]), items[i - shift].labels)
                        for i in range(len(items))] if len(items) > shift
                       else [False] * len(items) for shift in PARTNERS])
    count = usable.sum(axis=0)
    total = np.where(usable, others, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _rate(counts: np.ndarray) -> float | None:
    """Errors over reference units of rows (substitutions, deletions, insertions, units)."""
    *errors, reference = counts.sum(axis=0).tolist()
    return sum(errors) / reference if reference else None
