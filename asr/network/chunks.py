"""Training for live recognition: backward layers that begin again at chunks of random length.

In: the outputs of a bidirectional layer over whole utterances. Out: the same with a backward half
that knows nothing beyond the end of its chunk. A stream (`asr.live`) gives the network a limited
right context; a network that was trained on whole utterances alone loses by it. All layers of a
batch have the same chunks, so no output depends on what lies beyond its chunk. The forward half
stays that of the whole utterance. TensorFlow.

Reference: Zhang et al. 2016, "Highway long short-term memory RNNs for distant speech recognition",
section 5 (latency-controlled bidirectional LSTM); random lengths as in Zhang et al. 2020, "Unified
streaming and non-streaming two-pass end-to-end model" (dynamic chunk training).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from asr.recipe import Recipe


class Chunks(NamedTuple):
    """How chunks are drawn, once a batch.

    Attributes:
        probability: share of batches that are cut into chunks.
        shortest, longest: output frames.
    """

    probability: float = 0.0
    shortest: int = 1
    longest: int = 1

    @classmethod
    def of(cls, recipe: Recipe) -> Chunks:
        """The chunks of a recipe; seconds become output frames."""
        features, train = recipe.features, recipe.train
        frame = features.hop_length * recipe.model.subsampling / features.sample_rate
        shortest = max(1, round(train.chunk_seconds_min / frame))
        return cls(train.chunk_probability, shortest,
                   max(shortest, round(train.chunk_seconds_max / frame)))

    def draw(self, uniform: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """From (3,) uniform numbers: whether there are chunks, their length, and where one begins.

        Returns:
            () bool; () int32 output frames; () int32, how much of the first chunk lies before the
            utterance.
        """
        count = float(self.longest - self.shortest + 1)
        length = self.shortest + tf.cast(uniform[1] * count, tf.int32)
        length = tf.minimum(length, self.longest)
        before = tf.minimum(tf.cast(uniform[2] * tf.cast(length, tf.float32), tf.int32), length - 1)
        return uniform[0] < self.probability, length, before


def chunked_backward(layer: Callable[..., tf.Tensor], inputs: tf.Tensor, num_frames: tf.Tensor,
                     length: tf.Tensor, before: tf.Tensor) -> tf.Tensor:
    """The backward half of a bidirectional layer that begins again at the end of every chunk.

    Args:
        layer: (N, C, D) and (N,) -> (N, C, 2 U), such as a `BidirectionalLSTM`.
        inputs: (B, T, D), zeros beyond the lengths.
        num_frames: (B,) int32.
        length: () int32, C, frames of a chunk.
        before: () int32, how much of the first chunk lies before the utterance, below C.

    Returns:
        (B, T, U), zeros beyond the lengths.
    """
    batch, total, width = tf.shape(inputs)[0], tf.shape(inputs)[1], inputs.shape[2]
    count = -(-(total + before) // length)
    padded = tf.pad(inputs, tf.stack([[0, 0], tf.stack([before, count * length - total - before]),
                                      [0, 0]]))
    ends = (num_frames + before)[:, tf.newaxis] - length * tf.range(count)
    inside = tf.reshape(tf.clip_by_value(ends, 1, length), [-1])  # 1: a layer takes no empty row
    outputs = layer(tf.reshape(padded, [batch * count, length, width]), inside)
    units = tf.shape(outputs)[2] // 2
    outputs = tf.reshape(outputs[:, :, units:], [batch, count * length, units])
    valid = tf.sequence_mask(num_frames, total)[:, :, tf.newaxis]
    return tf.where(valid, outputs[:, before:before + total], 0.0)
