"""The LSTM as in the textbook: the reference for every faster implementation.

In: NumPy arrays. Out: NumPy arrays, and everything that happens inside. NumPy only.

The cell of Hochreiter and Schmidhuber 1997 with the forget gate of Gers, Schmidhuber and
Cummins 2000. With x_t what comes in and h_{t-1} what the cell said before:

    i_t = sigmoid(x_t W_i + h_{t-1} U_i + b_i)      input gate: what may enter
    f_t = sigmoid(x_t W_f + h_{t-1} U_f + b_f)      forget gate: what may stay
    g_t = tanh   (x_t W_c + h_{t-1} U_c + b_c)      candidate: what would enter
    o_t = sigmoid(x_t W_o + h_{t-1} U_o + b_o)      output gate: what may be seen
    c_t = f_t * c_{t-1} + i_t * g_t                 memory cell
    h_t = o_t * tanh(c_t)                           output

While f_t is near one and i_t near zero, c_t is c_{t-1}: neither the memory nor its gradient
fades. That is the whole invention. W, U and b hold the four gates side by side, in Keras's order
i, f, c, o. Written to be read, in float64; `asr.kernels.cpu` is written to be fast.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Trace(NamedTuple):
    """Everything inside one direction over one sequence; every array is (T, U) float64."""

    input_gate: np.ndarray
    forget_gate: np.ndarray
    candidate: np.ndarray
    output_gate: np.ndarray
    memory: np.ndarray
    output: np.ndarray


class Gradients(NamedTuple):
    """Gradients of a scalar loss; each has the shape of its array."""

    inputs: np.ndarray  # (T, F)
    kernel: np.ndarray  # (F, 4U)
    recurrent_kernel: np.ndarray  # (U, 4U)
    bias: np.ndarray  # (4U,)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow for any x."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def forward(inputs: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray,
            bias: np.ndarray) -> Trace:
    """Run the cell over one sequence, from a memory and an output of zero.

    Args:
        inputs: (T, F).
        kernel: (F, 4U). recurrent_kernel: (U, 4U). bias: (4U,). Gate order i, f, c, o.

    Returns:
        Every gate, the candidate, the memory cell and the output at every step.

    Example:
        >>> trace = forward(np.ones((5, 3)), np.zeros((3, 8)), np.zeros((2, 8)), np.zeros(8))
        >>> trace.output.shape, float(trace.forget_gate[0, 0])
        ((5, 2), 0.5)
    """
    num_steps, units = len(inputs), len(recurrent_kernel)
    trace = Trace(*(np.zeros((num_steps, units)) for _ in Trace._fields))
    h, c = np.zeros(units), np.zeros(units)
    for t in range(num_steps):
        z_i, z_f, z_c, z_o = np.split(inputs[t] @ kernel + h @ recurrent_kernel + bias, 4)
        i, f, g, o = sigmoid(z_i), sigmoid(z_f), np.tanh(z_c), sigmoid(z_o)
        c = f * c + i * g
        h = o * np.tanh(c)
        for array, value in zip(trace, (i, f, g, o, c, h), strict=True):
            array[t] = value
    return trace


def backward(inputs: np.ndarray, kernel: np.ndarray, recurrent_kernel: np.ndarray,
             trace: Trace, output_gradient: np.ndarray) -> Gradients:
    """Back-propagation through time: the same steps, from the last to the first.

    Args:
        inputs, kernel, recurrent_kernel: as given to `forward`.
        trace: what it returned.
        output_gradient: (T, U), dL/dh_t as the layer above sees it.

    Returns:
        The gradients of L.
    """
    num_steps, units = output_gradient.shape
    dz = np.zeros((num_steps, 4 * units))  # dL / d(pre-activations)
    dh_next, dc_next = np.zeros(units), np.zeros(units)
    for t in reversed(range(num_steps)):
        i, f, g, o, c, _ = (array[t] for array in trace)
        c_before = trace.memory[t - 1] if t > 0 else np.zeros(units)
        dh = output_gradient[t] + dh_next
        do = dh * np.tanh(c)
        dc = dh * o * (1 - np.tanh(c) ** 2) + dc_next
        di, df, dg = dc * g, dc * c_before, dc * i
        dz[t] = np.concatenate([di * i * (1 - i), df * f * (1 - f), dg * (1 - g ** 2),
                                do * o * (1 - o)])
        dh_next = dz[t] @ recurrent_kernel.T
        dc_next = dc * f  # the constant error carousel: f near 1 hands the gradient on whole
    h_before = np.vstack([np.zeros((1, units)), trace.output[:-1]])
    return Gradients(dz @ kernel.T, inputs.T @ dz, h_before.T @ dz, dz.sum(axis=0))


def forward_batch(inputs: np.ndarray, num_frames: np.ndarray, directions) -> np.ndarray:
    """A layer of any directions over right-padded sequences, one sequence after another.

    Args:
        inputs: (B, T, F). num_frames: (B,) integers, 0 .. T.
        directions: tuples (kernel, recurrent_kernel, bias, backwards); `backwards` reads each
            sequence from its own end.

    Returns:
        (B, T, sum of units) float64, zero beyond num_frames.
    """
    widths = [len(direction[1]) for direction in directions]
    outputs = np.zeros((*np.shape(inputs)[:2], sum(widths)))
    for b, length in enumerate(num_frames):
        for (*weights, backwards), end in zip(directions, np.cumsum(widths), strict=True):
            order = slice(None, None, -1) if backwards else slice(None)
            trace = forward(np.asarray(inputs[b, :length], np.float64)[order], *weights)
            outputs[b, :length, end - len(weights[1]):end] = trace.output[order]
    return outputs


def backward_batch(inputs: np.ndarray, num_frames: np.ndarray, directions,
                   output_gradient: np.ndarray) -> tuple[np.ndarray, list[tuple]]:
    """Gradients of `forward_batch`: for the inputs (B, T, F), and three per direction."""
    inputs = np.asarray(inputs, np.float64)
    dx = np.zeros_like(inputs)
    ends = np.cumsum([len(direction[1]) for direction in directions])
    sums = []
    for (kernel, recurrent, bias, backwards), end in zip(directions, ends, strict=True):
        order = slice(None, None, -1) if backwards else slice(None)
        total = [np.zeros(np.shape(weight)) for weight in (kernel, recurrent, bias)]
        for b, length in enumerate(num_frames):
            x = inputs[b, :length][order]
            dy = output_gradient[b, :length, end - len(recurrent):end][order]
            gradients = backward(x, kernel, recurrent, forward(x, kernel, recurrent, bias), dy)
            dx[b, :length] += gradients.inputs[order]
            for array, part in zip(total, gradients[1:], strict=True):
                array += part
        sums.append(tuple(total))
    return dx, sums
