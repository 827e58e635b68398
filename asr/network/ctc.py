"""The CTC loss from explicit integer lengths; blank = 0.

In: logits and labels of the batch contract (`asr.data.pipeline`). Out: one loss an
utterance, in nats.
Reference: Graves, Fernández, Gomez, Schmidhuber 2006, ICML.

On a CPU the compiled kernel of `asr.kernels.ctc` computes loss and gradient in the log domain. On a
GPU, and where nothing compiles, TensorFlow does, by its sparse path: on a CPU that takes float32
posteriors, and a needed one below e^-87 makes the loss of feasible labels inf. `keras.losses.CTC`
takes the padded length for everybody's length and TensorFlow's dense form gives finite nonsense
for impossible labels, so neither is used.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

import keras
import tensorflow as tf

from asr.errors import UsageError
from asr.kernels import ctc as kernel
from asr.network.layer import gpu_is_visible
from asr.text.tokenizer import BLANK_ID

logger = logging.getLogger(__name__)


@keras.saving.register_keras_serializable(package="asr")
class CTCLoss(keras.losses.Loss):
    """CTC as a Keras loss: nats a label, the summed loss of a batch over its summed labels.

    For `compile` of an `asr.AcousticModel` or another `asr.CTCModel`, which adds the output lengths
    that the y of the batch contract does not have. A subclass may override `call`.

    Raises:
        UsageError: called with a dense array of labels, which says nothing about lengths.

    Example:
        model.compile("adam", loss=asr.CTCLoss())
    """

    def __init__(self, name: str = "ctc_loss", **kwargs):
        kwargs.pop("reduction", None)  # of Keras's config; there is one reduction
        super().__init__(name=name, reduction="none", **kwargs)

    def __call__(self, y_true, y_pred, sample_weight=None) -> Any:
        """Nats a label of a batch, () float32; arguments as for `call`."""
        if sample_weight is not None:
            raise UsageError("CTCLoss takes no sample weights; repeat an utterance to weigh it "
                             "more (data.repeats in a recipe).")
        return per_label(self.call(y_true, y_pred), y_true)

    def call(self, y_true, y_pred) -> Any:
        """Nats of each utterance, (B,) float32.

        Args:
            y_true: {"labels": (B, L), "num_labels": (B,), "num_frames": (B,)} int32; num_frames
                are OUTPUT frames T'.
            y_pred: logits (B, T', V).
        """
        check_targets(y_true)
        return ctc_loss(y_pred, y_true["num_frames"], y_true["labels"], y_true["num_labels"])

    def get_config(self) -> dict:
        """The name."""
        return {"name": self.name}


def per_label(losses: Any, y: Mapping) -> Any:
    """Nats a label of a batch, () float32: the sum of (B,) losses over `count_labels`."""
    return tf.reduce_sum(losses) / count_labels(y)


def count_labels(y: Mapping) -> Any:
    """Labels of a batch, () float32; an utterance in which nothing is said counts as one.

    Otherwise a batch of noises alone would weigh more than any batch of words.
    """
    return tf.cast(tf.reduce_sum(tf.maximum(y["num_labels"], 1)), tf.float32)


def check_targets(y_true: Any) -> None:
    """Refuse anything but labels with their lengths.

    Raises:
        UsageError: dense labels, or a table with other names.
    """
    if isinstance(y_true, Mapping) and {"labels", "num_labels", "num_frames"} <= y_true.keys():
        return
    found = (f"a table of {', '.join(sorted(map(str, y_true)))}" if isinstance(y_true, Mapping) else
             f"a dense array of shape {tuple(getattr(y_true, 'shape', ()))}")
    raise UsageError(f"CTC needs the labels with their lengths, {{\"labels\", \"num_labels\", "
                     f"\"num_frames\"}}, and got {found}. Train an asr.AcousticModel or another "
                     "asr.CTCModel on asr.dataset(...), which have them.")


def ctc_loss(logits: tf.Tensor, num_frames: tf.Tensor, labels: tf.Tensor,
             num_labels: tf.Tensor) -> tf.Tensor:
    """Negative log-probability of each utterance's labels, summed over all alignments.

    Args:
        logits: (B, T', V) float32, unnormalised; anything beyond `num_frames` is ignored and
            gets a zero gradient.
        num_frames: (B,) int32, output frames, >= 1.
        labels: (B, L) int32 in 1 .. V - 1, right-padded with 0.
        num_labels: (B,) int32; num_labels + repeats <= num_frames, or the loss of that utterance
            is inf; `asr.features.lengths.feasible` tells before. No labels at all cost what
            blanks alone cost.

    Returns:
        (B,) float32, nats. By the compiled kernel, an infinite loss has a zero gradient.

    Raises:
        UsageError: a length or a label out of range; inside a tf.function, TensorFlow's
            InvalidArgumentError with the same text.
    """
    logits = tf.cast(logits, tf.float32)
    if not gpu_is_visible() and _compiles():
        return _by_compiled_kernel(logits, num_frames, labels, num_labels)
    return by_tensorflow(logits, num_frames, labels, num_labels)


def by_tensorflow(logits: tf.Tensor, num_frames: tf.Tensor, labels: tf.Tensor,
                  num_labels: tf.Tensor) -> tf.Tensor:
    """As `ctc_loss`, by tf.nn.ctc_loss; logits float32.

    TensorFlow refuses a row without labels: it gets one in its place, and the cost of blanks.
    """
    valid = tf.sequence_mask(num_frames, tf.shape(logits)[1])
    logits = tf.where(valid[:, :, tf.newaxis], logits, 0.0)
    empty = tf.equal(num_labels, 0)
    labels = tf.where(empty[:, tf.newaxis], 1, labels)
    indices = tf.where(tf.sequence_mask(tf.maximum(num_labels, 1), tf.shape(labels)[1]))
    sparse = tf.SparseTensor(indices, tf.gather_nd(labels, indices),
                             tf.shape(labels, out_type=tf.int64))
    losses = tf.nn.ctc_loss(sparse, logits, None,  # type: ignore  (sparse labels have no lengths)
                            logit_length=num_frames, logits_time_major=False, blank_index=BLANK_ID)
    blanks = tf.where(valid, tf.nn.log_softmax(logits)[:, :, BLANK_ID], 0.0)
    return tf.where(empty, -tf.reduce_sum(blanks, axis=1), losses)


def _by_compiled_kernel(logits, num_frames, labels, num_labels) -> Any:
    num_frames, labels, num_labels = map(tf.convert_to_tensor, (num_frames, labels, num_labels))

    @tf.custom_gradient
    def apply(logits):
        losses, gradient = tf.numpy_function(_compute, (logits, num_frames, labels, num_labels),
                                             (tf.float32, tf.float32), stateful=False,
                                             name="ctc_loss")
        losses.set_shape(logits.shape[:1])
        gradient.set_shape(logits.shape)

        def backward(upstream):
            return upstream[:, tf.newaxis, tf.newaxis] * gradient

        return losses, backward

    return apply(logits)


def _compute(logits, num_frames, labels, num_labels):
    from asr.network.op import num_threads  # imports numba, which need not be there

    return kernel.ctc_loss(logits, num_frames, labels, num_labels, threads=num_threads())


@cache  # and warn once
def _compiles() -> bool:
    problem = kernel.problem()
    if problem is not None:
        logger.warning("The compiled CTC loss cannot run (%s); TensorFlow's runs instead, which is "
                       "infinite for very unlikely labels. `asr doctor` explains.", problem)
    return problem is None
