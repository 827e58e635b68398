"""One call of the LSTM kernels: checked arrays, slices of the batch, packed weights.

In: NumPy arrays. Out: `Layer`, which asr.kernels.pieces computes piece by piece.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.errors import UsageError
from asr.kernels import batch_slices as slices
from asr.kernels import pool, products, sequences
from asr.kernels.memory import aligned
from asr.kernels.products import padded


class Direction(NamedTuple):
    """One direction of a layer: weights in the Keras layout, gate order i, f, c, o."""

    kernel: np.ndarray  # (F, 4U) float32
    recurrent_kernel: np.ndarray  # (U, 4U) float32
    bias: np.ndarray  # (4U,) float32
    backwards: bool = False  # reads every sequence from its last frame


class Kept(NamedTuple):
    """Results of the forward pass for the backward pass; padding has no rows."""

    gates: np.ndarray  # (directions, rows, 4 * wide) float32: i, f, candidate, o
    cells: np.ndarray  # (directions, rows, wide) float32
    num_slices: int


class Layer:
    """One call: checked arrays, slices, packed weights."""

    def __init__(self, inputs, num_frames, directions, threads, num_slices=None):
        inputs = np.asarray(inputs)
        if inputs.ndim != 3 or not directions:
            raise UsageError(f"LSTM: inputs have shape {inputs.shape} and there are "
                             f"{len(directions)} directions; expected (batch, frames, features) "
                             f"and at least one.")
        self.inputs = float32(inputs, "inputs", inputs.shape)
        self.features = inputs.shape[2]
        self.units = np.shape(directions[0].recurrent_kernel)[0]
        if self.features < 1 or self.units < 1:
            raise UsageError(f"LSTM: {self.features} features and {self.units} units; both must "
                             f"be at least 1.")
        shapes = ((self.features, 4 * self.units), (self.units, 4 * self.units),
                  (4 * self.units,))
        self.directions = [
            Direction(float32(kernel, "kernel", shapes[0]),
                      float32(recurrent, "recurrent_kernel", shapes[1]),
                      float32(bias, "bias", shapes[2]), backwards)
            for kernel, recurrent, bias, backwards in directions]
        self.wide = padded(self.units)
        self.width = len(directions) * self.units
        self.threads = threads or pool.default_threads()
        lengths = _lengths(num_frames, inputs.shape[0], inputs.shape[1])
        self.rows = int(lengths.sum())
        if num_slices is None:
            num_slices = slices.choose(len(lengths), self.threads, len(directions))
        self.slices = slices.plan(lengths, num_slices)
        self.packed: dict[int, tuple[np.ndarray, ...]] = {}
        self.pieces_pack = False  # with one slice, its thread packs the weights
        self.zeros = aligned(self.wide, zero=True)

    def sizes(self, d: int) -> sequences.Sizes:
        """The sizes of this call for the compiled loops of one direction."""
        return sequences.Sizes(self.inputs.shape[1], self.features, self.units, self.wide,
                               self.width, bool(self.directions[d].backwards))

    def each_direction(self, work) -> list:
        """Results of work(direction), on as many threads as there are."""
        return pool.run([lambda d=d: work(d) for d in range(len(self.directions))], self.threads)

    def each_piece(self, work) -> list:
        """Results of work(direction, slice); slices with the longest sequences come first."""
        return pool.run([lambda d=d, s=s: work(d, s) for s in self.slices
                         for d in range(len(self.directions))], self.threads)

    def allocate(self) -> None:
        """Allocate the panels of all weight matrices; pad the biases."""
        for d, direction in enumerate(self.directions):
            bias = aligned(4, self.wide, zero=True)
            bias[:, :self.units] = direction.bias.reshape(4, self.units)
            self.packed[d] = (aligned(self.features, 4 * self.wide),
                              aligned(self.units, 4 * self.wide), bias)

    def pack(self, d: int, first_unit: int, own: int) -> None:
        """Fill the panels of some units of one direction."""
        kernel, recurrent, _, _ = self.directions[d]
        w, u, _ = self.packed[d]
        for depth, source, target in ((self.features, kernel, w), (self.units, recurrent, u)):
            products.pack_gates(depth, self.units, self.wide, first_unit, own, at(source),
                                at(target))

    def pack_transposed(self, d: int) -> None:
        """Pack both transposed weight matrices of one direction."""
        kernel, recurrent, _, _ = self.directions[d]
        w = aligned(4 * self.wide, padded(self.features))
        u = aligned(4 * self.wide, self.wide)
        products.pack_gates_transposed(self.features, self.units, self.wide, at(kernel), at(w))
        products.pack_gates_transposed(self.units, self.units, self.wide, at(recurrent), at(u))
        self.packed[d] = w, u

    def unpad(self, parts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sum the slices' weight gradients in order and drop the padded units."""
        sums = []
        for arrays in zip(*parts, strict=True):
            total = arrays[0]
            for other in arrays[1:]:
                total += other
            rows = () if total.ndim == 1 else (total.shape[1],)
            if rows:  # panels
                total = total.transpose(1, 0, 2)
            gates = total.reshape(*rows, 4, self.wide)[..., :self.units]
            sums.append(np.ascontiguousarray(gates).reshape(*rows, 4 * self.units))
        return tuple(sums)


def float32(array, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The array in C order as float32; UsageError if it has another shape."""
    array = np.asarray(array)
    if array.shape != tuple(shape):
        raise UsageError(f"LSTM: {name} has shape {array.shape}, expected {tuple(shape)}.")
    return np.ascontiguousarray(array, dtype=np.float32)


def _lengths(num_frames, batch: int, steps: int) -> np.ndarray:
    lengths = np.asarray(num_frames)
    if lengths.shape != (batch,) or lengths.dtype.kind not in "iu":
        raise UsageError(f"LSTM: num_frames has shape {lengths.shape} and type {lengths.dtype}, "
                         f"expected {batch} integers, one per sequence.")
    if batch and not (lengths.min() >= 0 and lengths.max() <= steps):
        raise UsageError(f"LSTM: num_frames runs from {lengths.min()} to {lengths.max()}, "
                         f"expected 0 .. {steps}, the number of frames in the batch.")
    return lengths.astype(np.int64)


def at(array: np.ndarray) -> int:
    """The address of the first number."""
    return array.ctypes.data
