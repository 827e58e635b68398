"""The compiled bidirectional LSTM as one TensorFlow operation with a gradient.

In: tensors. Out: a tensor, with correct static shapes. Imports TensorFlow.

The operation calls Python, so it can be neither exported nor compiled by XLA: the layer exports
through its generic kernel.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tensorflow as tf

from asr.kernels import cpu, pool


def bidirectional_lstm(inputs, num_frames, *weights, keep: bool = True) -> Any:
    """Both directions of an LSTM over right-padded sequences.

    Args:
        inputs: (B, T, F) float32.
        num_frames: (B,) int32, 0 <= num_frames <= T.
        weights: kernel (F, 4U), recurrent_kernel (U, 4U), bias (4U,) of the forward direction,
            then of the backward direction.
        keep: hold on to the activations that the gradient needs. Without them a gradient is
            still right, but runs the forward pass again.

    Returns:
        (B, T, 2U) float32, zero beyond num_frames.

    Raises:
        UsageError: a length outside 0 .. T; inside a tf.function TensorFlow turns it into its
            InvalidArgumentError with the same text.
    """
    units = int(weights[1].shape[0])

    @tf.custom_gradient
    def apply(inputs, num_frames, *weights):
        kinds = (tf.float32, tf.float32, tf.float32, tf.int64)
        if keep:
            outputs, *kept = tf.numpy_function(_forward, (inputs, num_frames, *weights), kinds,
                                               stateful=False, name="lstm_forward")
        else:
            outputs, kept = tf.numpy_function(_infer, (inputs, num_frames, *weights), tf.float32,
                                              stateful=False, name="lstm_infer"), ()
        outputs.set_shape((*inputs.shape[:2], 2 * units))

        def gradient(upstream):
            arguments = (upstream, outputs, inputs, num_frames, *weights, *kept)
            inputs_gradient, *gradients = tf.numpy_function(
                _backward, arguments, (tf.float32,) * 7, stateful=False, name="lstm_backward")
            inputs_gradient.set_shape(inputs.shape)
            for tensor, weight in zip(gradients, weights, strict=True):
                tensor.set_shape(weight.shape)
            return inputs_gradient, None, *gradients

        return outputs, gradient

    return apply(inputs, num_frames, *weights)


def num_threads() -> int:
    """ASR_NUM_THREADS, else TensorFlow's intra-op setting, else the processors."""
    if os.environ.get("ASR_NUM_THREADS"):
        return pool.default_threads()
    return tf.config.threading.get_intra_op_parallelism_threads() or pool.default_threads()


def _directions(weights) -> list[cpu.Direction]:
    return [cpu.Direction(*weights[:3]), cpu.Direction(*weights[3:], backwards=True)]


def _infer(inputs, num_frames, *weights) -> np.ndarray:
    return cpu.infer(inputs, num_frames, _directions(weights), threads=num_threads())


def _forward(inputs, num_frames, *weights):
    outputs, kept = cpu.run_forward(inputs, num_frames, _directions(weights),
                                    threads=num_threads())
    return outputs, kept.gates, kept.cells, np.int64(kept.num_slices)


def _backward(upstream, outputs, inputs, num_frames, *arrays):
    directions = _directions(arrays[:6])
    if len(arrays) == 6:
        _, kept = cpu.run_forward(inputs, num_frames, directions,
                                  threads=num_threads())
    else:
        kept = cpu.Kept(arrays[6], arrays[7], int(arrays[8]))
    gradients = cpu.run_backward(inputs, num_frames, directions, outputs, kept, upstream,
                                 threads=num_threads())
    return gradients.inputs, *(part for parts in gradients.directions for part in parts)
