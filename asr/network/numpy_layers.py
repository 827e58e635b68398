"""The parts of the network with NumPy and the compiled kernels, one utterance or layer each.

In: float32 arrays. Out: float32 arrays. `asr.network.engine` puts them together. No matrix product
here has a number of rows that depends on the batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cache, partial
from types import ModuleType

import numpy as np

from asr.kernels.matmul import ANY_PLACE, serial_matmul
from asr.network.quantization import Quantized
from asr.network.weights import CONV_MEL_STRIDE, LAYER_NORM_EPSILON

logger = logging.getLogger(__name__)

Layer = Callable[[np.ndarray, np.ndarray], np.ndarray]
CONV_BLOCK = 2_048  # output frames convolved at a time: bounds the memory of the patches


def quiet_edges(features: np.ndarray, count: int) -> np.ndarray:
    """`count` frames of each bin's quietest value before and behind (T, F): (T + 2 count, F).

    A recording that is cut where the word begins gives a recurrent network nothing to start from
    and CTC no frame for the last label.

    Example:
        >>> quiet_edges(np.array([[3.0], [1.0], [2.0]]), 1).ravel().tolist()
        [1.0, 3.0, 1.0, 2.0, 1.0]
    """
    edge = np.repeat(features.min(axis=0, keepdims=True), count, axis=0)
    return np.concatenate([edge, features, edge])


def stack_frames(features: np.ndarray, stacking: int, subsampling: int) -> np.ndarray:
    """(T, F) -> (ceil(T / subsampling), stacking * F); zeros beyond the end.

    Example:
        >>> stack_frames(np.arange(4.0)[:, np.newaxis], 3, 2).tolist()
        [[0.0, 1.0, 2.0], [2.0, 3.0, 0.0]]
    """
    num_outputs = -(-len(features) // subsampling)
    padded = np.zeros((num_outputs * subsampling + stacking, features.shape[1]), features.dtype)
    padded[:len(features)] = features
    last = num_outputs * subsampling
    return np.concatenate([padded[k:k + last:subsampling] for k in range(stacking)], axis=1)


def conv_relu(inputs: np.ndarray, kernel: np.ndarray, bias: np.ndarray,
              time_stride: int) -> np.ndarray:
    """3x3 convolution over (time, mel) with one zero around, mel stride 2, then ReLU.

    Args:
        inputs: (T, M, C) float32 of one utterance, no padding.
        kernel: (3, 3, C, D), axes time, mel, in, out.
        bias: (D,).
        time_stride: output t reads inputs t * time_stride - 1 .. t * time_stride + 1.

    Returns:
        (ceil(T / time_stride), ceil(M / 2), D) float32.
    """
    num_frames, num_mels, channels = inputs.shape
    outputs = (-(-num_frames // time_stride), -(-num_mels // CONV_MEL_STRIDE), kernel.shape[3])
    # Two zeros behind, not one: a stride may reach further than the last output reads.
    padded = np.pad(inputs, ((1, 1 + time_stride), (1, 1 + CONV_MEL_STRIDE), (0, 0)))
    matrix = kernel.reshape(9 * channels, -1)
    result = np.empty(outputs, np.float32)
    for start in range(0, outputs[0], CONV_BLOCK):
        count = min(CONV_BLOCK, outputs[0] - start)
        patches = np.concatenate([
            padded[start * time_stride + dt:(start + count - 1) * time_stride + dt + 1:time_stride,
                   dm:dm + outputs[1] * CONV_MEL_STRIDE:CONV_MEL_STRIDE][:, :outputs[1]]
            for dt in range(3) for dm in range(3)], axis=2)
        block = serial_matmul(patches.reshape(count * outputs[1], -1), matrix)
        result[start:start + count] = block.reshape(count, *outputs[1:])
    return np.maximum(result + bias, 0.0)


def layer_norm(inputs: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """(..., D) normalised over D, as keras.layers.LayerNormalization; float32."""
    mean = inputs.mean(axis=-1, keepdims=True)
    variance = inputs.var(axis=-1, keepdims=True)
    return (inputs - mean) / np.sqrt(variance + LAYER_NORM_EPSILON) * gamma + beta


def bidirectional_layer(forward: Sequence[np.ndarray | Quantized],
                        backward: Sequence[np.ndarray | Quantized]) -> Layer:
    """An LSTM layer, made ready once.

    Args:
        forward, backward: kernel, recurrent_kernel and bias of each direction; the matrices are
            all float32 or all integers with scales.

    Returns:
        A function of (B, T, D) float32 and (B,) lengths: (B, T, 2U), zeros beyond each length.
    """
    kernels = compiled_kernels()
    if kernels is not None and isinstance(forward[0], Quantized):
        packed = kernels.pack_int8(*(kernels.int8.Weights(*kernel, *recurrent, bias)
                                     for kernel, recurrent, bias in (forward, backward)))
        return partial(kernels.packed_forward, packed=packed)
    forward, backward = ([one.dequantized if isinstance(one, Quantized) else one for one in parts]
                         for parts in (forward, backward))
    if kernels is not None:
        return partial(kernels.packed_forward, packed=kernels.pack(forward, backward))

    def loop(inputs: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        ahead = _lstm_numpy(inputs, lengths, *forward)
        back = _reversed(_lstm_numpy(_reversed(inputs, lengths), lengths, *backward), lengths)
        return np.concatenate([ahead, back], axis=2)

    return loop


@cache
def compiled_kernels() -> ModuleType | None:
    """`asr.kernels.cpu` if it compiles and runs here; else None, and why."""
    try:
        from asr.kernels import cpu

        problem = cpu.forward_problem()
    except ImportError as error:
        problem = str(error)
    if problem is None:
        return cpu
    logger.warning("The compiled LSTM kernels cannot run (%s); the NumPy loop runs instead, "
                   "several times slower. `asr doctor` explains.", problem)
    return None


def _lstm_numpy(inputs: np.ndarray, lengths: np.ndarray, kernel: np.ndarray,
                recurrent_kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """One direction, a loop over time; the path for machines without a working compiler."""
    batch, num_frames, _ = inputs.shape
    units = len(recurrent_kernel)
    outputs = np.zeros((batch, num_frames, units), np.float32)
    h = np.zeros((batch, units), np.float32)
    c = np.zeros((batch, units), np.float32)
    projected = np.zeros((batch, num_frames, 4 * units), np.float32)
    for result, row, length in zip(projected, inputs, lengths, strict=True):
        result[:length] = row[:length] @ kernel + bias  # of one utterance, whatever is beside it
    for t in range(num_frames):
        gates = projected[:, t] + serial_matmul(h, recurrent_kernel, ANY_PLACE)
        i, f, g, o = np.split(gates, 4, axis=1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        h = _sigmoid(o) * np.tanh(c)
        outputs[:, t] = np.where((t < lengths)[:, np.newaxis], h, 0.0)
    return outputs


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * np.tanh(0.5 * x) + 0.5  # no overflow for any x


def _reversed(batch: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Each row reversed within its own length; zeros stay behind."""
    result = np.zeros_like(batch)
    for target, row, length in zip(result, batch, lengths, strict=True):
        target[:length] = row[:length][::-1]
    return result
