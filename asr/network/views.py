"""Two augmented views of every utterance, and how far the readings of both diverge.

In: a batch of the contract of `asr.data.pipeline`, with "second_view". Out: one batch that has the
rows of both views, and what `train.consistency` weighs. Imports TensorFlow.

The network is to read an utterance alike, whatever is masked, warped or added to it; each reading
teaches the other. Reference: Yao et al. 2025, ICLR (CR-CTC).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from asr.errors import UsageError


def objective_of_views(model: Any, x: Mapping, y: Mapping) -> tuple[Any, Any, Any]:
    """`CTCModel.objective`: the mean over the views, and the divergence that `consistency` weighs.

    Args:
        model: a `CTCModel`.
        x, y: of the batch contract; with "second_view", the logits and losses are of the first.
    """
    rows = tf.shape(x["num_frames"])[0]
    if "second_view" in x:
        x, y = both_views(x, y)
    elif model.consistency:
        raise UsageError(f"train.consistency = {model.consistency:g} compares two views, and the "
                         "batches have one. Make them with the recipe of the network: "
                         "asr.dataset(manifest, recipe, training=True).")
    logits, losses, loss = model.objective_of(x, y)
    if model.consistency:
        labels = tf.cast(tf.reduce_sum(y["num_labels"]), tf.float32)
        loss += model.consistency / labels * divergence(logits,
                                                        model.output_length(x["num_frames"]))
    return logits[:rows], losses[:rows], loss


def both_views(x: Mapping, y: Mapping) -> tuple[dict, dict]:
    """A batch of B rows with two views as one of 2 B rows: the first views, then the second ones.

    Args:
        x: features, second_view (B, T, F) float32 and num_frames (B,) int32.
        y: see the batch contract.

    Returns:
        x and y of the batch contract.
    """
    return ({"features": tf.concat([x["features"], x["second_view"]], axis=0),
             "num_frames": tf.tile(x["num_frames"], [2])},
            {"labels": tf.tile(y["labels"], [2, 1]), "num_labels": tf.tile(y["num_labels"], [2])})


def divergence(logits: tf.Tensor, lengths: tf.Tensor) -> Any:
    """Kullback-Leibler divergence of each view's posteriors from the other's, which do not learn.

    Args:
        logits: (2 B, T', V) of `both_views`.
        lengths: (2 B,) int32, output frames; what lies beyond counts nothing.

    Returns:
        () float32, nats, the sum over the frames of all 2 B rows.
    """
    log_probs = tf.nn.log_softmax(tf.cast(logits, tf.float32))
    first, second = tf.split(log_probs, 2)
    other = tf.stop_gradient(tf.concat([second, first], axis=0))
    of_frames = tf.reduce_sum(tf.exp(other) * (other - log_probs), axis=-1)
    valid = tf.sequence_mask(lengths, tf.shape(logits)[1])
    return tf.reduce_sum(tf.where(valid, of_frames, 0.0))
