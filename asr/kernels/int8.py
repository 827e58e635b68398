"""The LSTM with weights of 8 bits: one direction of a layer over a slice of the batch.

In: weights as int8 with a scale for each column, addresses of checked memory. Out: outputs. Needs
numba. The plan of the work, the pieces and the teams are those of `asr.kernels.cpu`.

Weights are read as int16, in pairs, half of the memory of float32. Inputs and outputs of the
layer are rounded to integers of up to 16 bits: each frame by its largest value, the state by its
bound of 1. Products and sums are integers of 32 bits that cannot overflow, so they are exact, and
neither the batch nor the number of threads changes a bit. Gates and cells are float32.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.kernels import pairs
from asr.kernels.jit import compiled
from asr.kernels.memory import aligned
from asr.kernels.pairs import SHORT_BYTES, add_scaled, largest, quantize
from asr.kernels.products import WIDE, WIDE_ROWS, padded
from asr.kernels.sequences import SKEW, chunk_end, clear_padding, frame
from asr.kernels.simd import BYTES, LANES, PANEL, ROWS, cell_forward, clear, copy
from asr.kernels.team import meet

LARGEST = 127  # magnitude of a weight
PAIR = 2  # integers in a lane


class Weights(NamedTuple):
    """One direction: weights in the Keras layout, w = scale * integer by column."""

    kernel: np.ndarray  # (F, 4U) int8
    kernel_scale: np.ndarray  # (4U,) float32
    recurrent_kernel: np.ndarray  # (U, 4U) int8
    recurrent_scale: np.ndarray  # (4U,) float32
    bias: np.ndarray  # (4U,) float32


class Panels(NamedTuple):
    """The weights of one direction as the loops read them."""

    w: np.ndarray  # (4 * wide / PANEL, pairs, PANEL, 2) int16
    w_scale: np.ndarray  # (4 * wide,) float32
    u: np.ndarray
    u_scale: np.ndarray  # with the scale of the state
    bias: np.ndarray  # (4 * wide,)


class Memory(NamedTuple):
    """Addresses for `forward_slice`; arrays where it says so."""

    x: int  # (B, num_frames, features) float32
    y: int  # first column of this direction in (B, num_frames, y_width) float32
    w: int
    w_scale: int
    u: int
    u_scale: int
    bias: int
    h: int  # outputs of even and odd steps, (2, n, wide + SKEW) float32, zero
    h_short: int  # the same as int16
    c: int  # (n, wide + SKEW) float32, zero
    z: int  # scratch: (rows, 4 * wide) float32
    sums: int  # scratch: (rows, 4 * wide) int32
    x_short: int  # scratch: (CHUNK or more rows, features padded to LANES) int16
    row: int  # scratch: features padded to LANES, float32, zero
    scales: np.ndarray  # scratch: of rows, float32
    x_limit: np.float32  # largest integer of an input
    h_limit: np.float32


def limit(depth: int) -> int:
    """The largest integer of `depth` inputs whose sums with 8-bit weights fit in 32 bits."""
    return min(2**15 - 1, (2**31 - 1) // (LARGEST * depth))


def pack(weights: Weights) -> Panels:
    """Weights of one direction in panels of pairs; padded units are zero."""
    units = len(weights.recurrent_kernel)
    wide = padded(units)
    columns = []
    for array in (weights.kernel_scale, weights.recurrent_scale / np.float32(limit(units)),
                  weights.bias):
        column = aligned(4, wide, zero=True)
        column[:, :units] = array.reshape(4, units)
        columns.append(column)
    return Panels(_panels(weights.kernel, wide), columns[0],
                  _panels(weights.recurrent_kernel, wide), columns[1], columns[2])


def _panels(matrix: np.ndarray, wide: int) -> np.ndarray:
    depth, columns = matrix.shape
    units = columns // 4
    full = np.zeros((padded(depth, LANES), 4, wide), np.int16)
    full[:depth, :, :units] = matrix.reshape(depth, 4, units)
    pairs_first = full.reshape(len(full) // PAIR, PAIR, 4 * wide // PANEL, PANEL)
    ordered = pairs_first.transpose(2, 0, 3, 1)
    result = aligned(*ordered.shape[:3]).view(np.int16).reshape(ordered.shape)
    result[...] = ordered
    return result


@compiled
def _product(rows, depth, columns, a, a_row, b, c, c_row):
    """C[rows, columns] += A B in integers; depth in pairs, B in panels."""
    panel_bytes = depth * PANEL * BYTES
    panels = columns // PANEL
    while rows <= WIDE_ROWS and panels >= WIDE:
        if rows == 1:
            pairs.wide1(a, a_row, BYTES, b, c, PANEL * BYTES, c_row, depth)
        else:
            pairs.wide2(a, a_row, BYTES, b, c, PANEL * BYTES, c_row, depth)
        b += WIDE * panel_bytes
        c += WIDE * PANEL * BYTES
        panels -= WIDE
    for panel in range(panels):
        b_at, c_at = b + panel * panel_bytes, c + panel * PANEL * BYTES
        row = 0
        while row < rows:
            left = rows - row
            at, to = a + row * a_row, c_at + row * c_row
            if left >= 8 and ROWS == 8:  # a narrower register file has no room for eight rows
                pairs.tile8(at, a_row, BYTES, b_at, to, 0, c_row, depth)
                row += 8
            elif left >= 4:
                pairs.tile4(at, a_row, BYTES, b_at, to, 0, c_row, depth)
                row += 4
            elif left >= 2:
                pairs.tile2(at, a_row, BYTES, b_at, to, 0, c_row, depth)
                row += 2
            else:
                pairs.tile1(at, a_row, BYTES, b_at, to, 0, c_row, depth)
                row += 1


@compiled
def _add_product(rows, depth, wide, first_unit, own, a, a_row, b, scale, sums, z, row_scales):
    """Add A B to z for the columns of `own` units of all four gates; depth in pairs."""
    z_row, gate, shift = 4 * wide * BYTES, wide * BYTES, first_unit * BYTES
    for row in range(rows):
        for column in range(shift, 4 * gate, gate):
            clear(sums + row * z_row + column, own)
    if own == wide:
        _product(rows, depth, 4 * wide, a, a_row, b, sums, z_row)
    else:
        for column in range(shift, 4 * gate, gate):
            _product(rows, depth, own, a, a_row, b + column * depth, sums + column, z_row)
    for row in range(rows):
        for column in range(shift, 4 * gate, gate):
            add_scaled(own, z + row * z_row + column, sums + row * z_row + column, scale + column,
                       row_scales[row])


@compiled
def _shorten(address, features, depth, memory, row):
    """One frame as integers, row number `row` of the chunk; its scale is kept."""
    copy(memory.row, address, features)
    most = largest(depth, memory.row)
    factor = np.float32(0.0)
    if most > 0:
        factor = memory.x_limit / most
    memory.scales[row] = most / memory.x_limit  # NaN if a value is: it shows in the output
    quantize(depth, memory.row, memory.x_short + row * depth * SHORT_BYTES, factor)


@compiled
def forward_slice(sizes, part, memory, share, ones):
    """Outputs of one direction over one slice, or of some of its units.

    Args:
        sizes, part, share: as for `asr.kernels.sequences.forward_slice`.
        memory: see `Memory`. A team shares `h`, `h_short` and `c`.
        ones: (rows,) float32 ones.

    Returns:
        False if the team broke up; y is then incomplete.
    """
    num_frames, features, units, wide, y_width, backwards = sizes
    sequences, lengths, offsets, _ = part
    first_unit, own, meeting, member, members, patience, give_way, ticks = share
    most = patience
    steps = len(offsets) - 1
    depth, h_depth = -(-features // LANES) * LANES, -(-units // LANES) * LANES
    h_row, z_row = (wide + SKEW) * BYTES, 4 * wide * BYTES
    short_row = (wide + SKEW) * SHORT_BYTES
    gate, shift = wide * BYTES, first_unit * BYTES
    real = max(0, min(own, units - first_unit))
    first = 0
    while first < steps:
        last = chunk_end(offsets, first)
        row = 0
        for t in range(first, last):
            for k in range(offsets[t + 1] - offsets[t]):
                _shorten(frame(memory.x, sequences[k], lengths[k], t, backwards, num_frames,
                               features), features, depth, memory, row)
                for column in range(shift, 4 * gate, gate):
                    copy(memory.z + row * z_row + column, memory.bias + column, own)
                row += 1
        _add_product(row, depth // PAIR, wide, first_unit, own, memory.x_short,
                     depth * SHORT_BYTES, memory.w, memory.w_scale, memory.sums, memory.z,
                     memory.scales)
        for t in range(first, last):
            live = offsets[t + 1] - offsets[t]
            at = memory.z + (offsets[t] - offsets[first]) * z_row
            now, before = (t % 2) * len(sequences), ((t - 1) % 2) * len(sequences)
            if t > 0:
                patience = meet(meeting, member, members, t,
                                min(most, patience + own * units // 4), give_way, ticks)
                if patience < 0:
                    return False
                _add_product(live, h_depth // PAIR, wide, first_unit, own,
                             memory.h_short + before * short_row, short_row, memory.u,
                             memory.u_scale, memory.sums, at, ones)
            at += shift
            for k in range(live):
                c_at = memory.c + k * h_row + shift
                h_at = memory.h + (now + k) * h_row + shift
                cell_forward(own, at, at + gate, at + 2 * gate, at + 3 * gate, c_at, c_at, h_at)
                quantize(own, h_at, memory.h_short + (now + k) * short_row
                         + first_unit * SHORT_BYTES, memory.h_limit)
                copy(frame(memory.y, sequences[k], lengths[k], t, backwards, num_frames, y_width)
                     + shift, h_at, real)
                at += z_row
        first = last
    clear_padding(memory.y + shift, sequences, lengths, num_frames, y_width, real)
    return True
