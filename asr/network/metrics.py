"""Word and character error rate as Keras metrics: what is read in the logits against the labels.

In: the y of the batch contract with output lengths, logits. Out: errors over reference units, of
all batches since the last reset. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asr.decoding import GreedyDecoder
from asr.decoding.decoder import Decoder
from asr.errors import UsageError
from asr.network.ctc import check_targets
from asr.scoring.counts import count_characters, count_words
from asr.text.tokenizer import CharTokenizer


class _ErrorRate(keras.metrics.Metric):
    """Errors and reference units of all batches so far; subclasses say what is counted.

    Args:
        tokenizer: tokenizer of the labels, or its alphabet.
        decoder: reads the logits; None: greedily. It is not saved with a model.
    """

    count: Callable[[Sequence[str], Sequence[str]], np.ndarray]

    def __init__(self, tokenizer: CharTokenizer | str, *, decoder: Decoder | None = None,
                 name: str, **kwargs):
        super().__init__(name=name, **kwargs)
        self.tokenizer = (CharTokenizer(tokenizer) if isinstance(tokenizer, str) else tokenizer)
        self.decoder = decoder or GreedyDecoder(self.tokenizer)
        self.errors = self.add_variable((), "zeros", dtype="int64", name="errors")
        self.units = self.add_variable((), "zeros", dtype="int64", name="units")

    def update_state(self, y_true, y_pred, sample_weight=None) -> None:
        """Count a batch.

        Args:
            y_true: {"labels": (B, L), "num_labels": (B,), "num_frames": (B,)} int32; num_frames
                are OUTPUT frames T'.
            y_pred: logits (B, T', V). A row that is not finite reads as the empty text.
            sample_weight: must be None.

        Raises:
            UsageError: dense labels, or sample weights.
        """
        if sample_weight is not None:
            raise UsageError(f"{type(self).__name__} takes no sample weights; repeat an utterance "
                             "to weigh it more (data.repeats in a recipe).")
        check_targets(y_true)
        counts = tf.numpy_function(self._count, (y_pred, y_true["num_frames"], y_true["labels"],
                                                 y_true["num_labels"]), tf.int64)
        counts = tf.ensure_shape(counts, [2])
        self.errors.assign_add(counts[0])
        self.units.assign_add(counts[1])

    def _count(self, logits, num_frames, labels, num_labels) -> np.ndarray:
        if logits.shape[-1] != self.tokenizer.vocab_size:
            raise UsageError(f"The network has {logits.shape[-1]} outputs, and the tokenizer of "
                             f"the metric {self.name!r} {self.tokenizer.vocab_size} labels; give "
                             "both that of the training set: asr.dataset(...).tokenizer.")
        finite = np.isfinite(logits).all(axis=(1, 2))
        heard = [""] * len(logits)
        rows = np.flatnonzero(finite)
        if len(rows):
            found = self.decoder.decode_batch(logits[rows], num_frames[rows])
            for row, hypotheses in zip(rows, found, strict=True):
                heard[row] = hypotheses[0].text
        texts = [self.tokenizer.decode(row[:n].tolist())
                 for row, n in zip(labels, num_labels, strict=True)]
        *errors, units = type(self).count(texts, heard).sum(axis=0).tolist()
        return np.array([sum(errors), units], np.int64)

    def result(self) -> Any:
        """Errors over reference units, () float64: from 0, may pass 1; NaN without references."""
        return tf.cast(self.errors.value, tf.float64) / tf.cast(self.units.value, tf.float64)

    def get_config(self) -> dict:
        """Alphabet and name."""
        return {"tokenizer": self.tokenizer.alphabet, "name": self.name}


@keras.saving.register_keras_serializable(package="asr")
class WordErrorRate(_ErrorRate):
    """Word error rate of the decoded text, a fraction; the name in Keras's logs is "wer".

    Args:
        tokenizer: a `CharTokenizer`, or its alphabet.
        decoder: reads the logits; None: greedily. It is not saved with a model.

    Example:
        model.compile("adam", asr.CTCLoss(), metrics=[asr.WordErrorRate(tokenizer)])
    """

    count = staticmethod(count_words)

    def __init__(self, tokenizer: CharTokenizer | str, *, decoder: Decoder | None = None,
                 name: str = "wer", **kwargs):
        super().__init__(tokenizer, decoder=decoder, name=name, **kwargs)


@keras.saving.register_keras_serializable(package="asr")
class CharacterErrorRate(_ErrorRate):
    """Character error rate of the decoded text, spaces included; "cer" in Keras's logs.

    Args:
        tokenizer, decoder: as for `WordErrorRate`.
    """

    count = staticmethod(count_characters)

    def __init__(self, tokenizer: CharTokenizer | str, *, decoder: Decoder | None = None,
                 name: str = "cer", **kwargs):
        super().__init__(tokenizer, decoder=decoder, name=name, **kwargs)
