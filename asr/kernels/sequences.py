"""The compiled loops: one direction of an LSTM over a slice of the batch, forward and backward.

In: addresses of checked memory. Out: outputs, kept activations, gradients. Needs numba.

A slice holds some sequences of the batch, longest first, so at step t the first n(t) are live.
Rows are numbered without gaps: step t has the rows offsets[t] .. offsets[t + 1] - 1. Steps are
processed in chunks of about CHUNK rows, so that the result of one large product is still in the
cache when the steps read it. Padding costs no arithmetic.

`wide` is the number of units padded to a multiple of PANEL. Padded units remain zero.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.kernels.jit import compiled
from asr.kernels.products import pack_block, pack_columns, pack_panels, product
from asr.kernels.simd import BYTES, PANEL, ROWS, add, cell_backward, cell_forward, clear, copy
from asr.kernels.team import meet

CHUNK = 128  # rows of pre-activations in one chunk
SKEW = 16  # floats between padded rows, so that rows do not share cache sets


class Sizes(NamedTuple):
    """The sizes of a call, and the direction."""

    num_frames: int  # T, frames of the padded batch
    features: int  # F
    units: int
    wide: int  # units, padded
    y_width: int  # columns of the outputs: units of all directions
    backwards: bool  # reads every sequence from its last frame


class Share(NamedTuple):
    """The units that one thread computes; the other units belong to other members of its team."""

    first_unit: int  # a multiple of PANEL; alone: 0
    own: int  # number of units, a multiple of PANEL; alone: wide
    meeting: int  # the rest: see `asr.kernels.team.meet`
    member: int
    members: int
    patience: int
    give_way: int
    ticks: int


class ForwardMemory(NamedTuple):
    """Addresses for `forward_slice`, float32; `rows_at` is an array."""

    x: int  # (B, num_frames, features)
    y: int  # first column of this direction in (B, num_frames, y_width)
    w: int  # kernel, in panels
    u: int  # recurrent kernel, in panels
    bias: int  # (4 * wide,)
    gates: int  # (rows, 4 * wide), written if `keep`
    cells: int  # (rows, wide), written if `keep`
    keep: bool
    h: int  # outputs of even and odd steps, (2, n, wide + SKEW), zero
    c: int  # (n, wide + SKEW), zero
    z: int  # scratch
    packed: int  # scratch
    zeros: int  # (wide,)
    rows_at: np.ndarray  # (ROWS,) int64, scratch


class BackwardMemory(NamedTuple):
    """Addresses for `backward_slice`, float32."""

    x: int  # (B, num_frames, features)
    y: int  # first column of this direction in (B, num_frames, y_width)
    dy: int  # like y
    dx: int  # (B, num_frames, features), or 0 if it is not wanted
    w_transposed: int  # in panels
    u_transposed: int  # in panels
    gates: int  # as `forward_slice` kept them
    cells: int
    dw: int  # (4 * wide / PANEL, features, PANEL), zero; gradients are added
    du: int  # (4 * wide / PANEL, units, PANEL), zero; gradients are added
    db: int  # (4 * wide,), zero; gradients are added
    dh: int  # (n, wide + SKEW), zero
    dc: int  # (n, wide + SKEW), zero
    dz: int  # scratch
    packed: int  # scratch
    panels: int  # scratch
    dx_rows: int  # scratch
    zeros: int  # (wide,)


@compiled
def frame(base, sequence, length, step, backwards, num_frames, width):
    """Address of the frame that a direction reads at `step` of one sequence."""
    position = length - 1 - step if backwards else step
    return base + (sequence * num_frames + position) * width * BYTES


@compiled
def clear_padding(base, sequences, lengths, num_frames, width, columns):
    """Zero `columns` floats of every frame beyond each length."""
    for k in range(len(sequences)):
        for position in range(lengths[k], num_frames):
            clear(base + (sequences[k] * num_frames + position) * width * BYTES, columns)


@compiled
def chunk_end(offsets, first):
    """The step after the last one of the chunk that begins with step `first`."""
    last = first + 1
    while last < len(offsets) - 1 and offsets[last + 1] - offsets[first] <= CHUNK:
        last += 1
    return last


@compiled
def gates_product(rows, depth, wide, first_unit, own, a, a_block, a_row, a_column, b, c, c_row):
    """C += A B for the columns of `own` units, from `first_unit` on, of all four gates."""
    if own == wide:
        product(rows, depth, 4 * wide, a, a_block, a_row, a_column, b, c, PANEL * BYTES, c_row)
    else:
        for gate in range(4):
            column = gate * wide + first_unit
            product(rows, depth, own, a, a_block, a_row, a_column, b + column * depth * BYTES,
                    c + column * BYTES, PANEL * BYTES, c_row)


@compiled
def forward_slice(sizes, part, memory, share):
    """Outputs of one direction over one slice, or of some of its units.

    A step earns one look at the other members for every fourth weight of its own, which is about
    half of the time that it takes.

    Args:
        sizes: see `Sizes`.
        part: see `asr.kernels.batch_slices.Slice`.
        memory: see `ForwardMemory`. A team shares `h` and `c`.
        share: see `Share`.

    Returns:
        False if the team broke up; y is then incomplete.
    """
    num_frames, features, units, wide, y_width, backwards = sizes
    sequences, lengths, offsets, _ = part
    x, y, w, u, bias, gates, cells, keep, h, c, z, packed, zeros, rows_at = memory
    first_unit, own, meeting, member, members, patience, give_way, ticks = share
    most = patience
    steps = len(offsets) - 1
    h_row, z_row = (wide + SKEW) * BYTES, 4 * wide * BYTES
    gate, shift = wide * BYTES, first_unit * BYTES
    real = max(0, min(own, units - first_unit))
    first = 0
    while first < steps:
        last = chunk_end(offsets, first)
        rows = offsets[last] - offsets[first]
        z_at = gates + offsets[first] * z_row if keep else z
        row = 0
        for t in range(first, last):
            for k in range(offsets[t + 1] - offsets[t]):
                rows_at[row % ROWS] = frame(x, sequences[k], lengths[k], t, backwards,
                                            num_frames, features)
                for column in range(shift, 4 * gate, gate):
                    copy(z_at + row * z_row + column, bias + column, own)
                row += 1
                if row % ROWS == 0 or row == rows:
                    block = (row - 1) // ROWS
                    pack_block(rows_at, row - block * ROWS, features,
                               packed + block * ROWS * features * BYTES)
        gates_product(rows, features, wide, first_unit, own, packed, ROWS * features * BYTES,
                      BYTES, ROWS * BYTES, w, z_at, z_row)
        for t in range(first, last):
            live = offsets[t + 1] - offsets[t]
            at = z_at + (offsets[t] - offsets[first]) * z_row
            h_now = h + (t % 2) * len(sequences) * h_row
            if t > 0:
                patience = meet(meeting, member, members, t,
                                min(most, patience + own * units // 4), give_way, ticks)
                if patience < 0:
                    return False
                h_before = h + ((t - 1) % 2) * len(sequences) * h_row
                gates_product(live, units, wide, first_unit, own, h_before, ROWS * h_row, h_row,
                              BYTES, u, at, z_row)
            at += shift
            for k in range(live):
                c_now = c_before = c + k * h_row
                if keep:
                    c_now = cells + (offsets[t] + k) * gate
                    c_before = cells + (offsets[t - 1] + k) * gate if t > 0 else zeros
                cell_forward(own, at, at + gate, at + 2 * gate, at + 3 * gate, c_before + shift,
                             c_now + shift, h_now + k * h_row + shift)
                copy(frame(y, sequences[k], lengths[k], t, backwards, num_frames, y_width) + shift,
                     h_now + k * h_row + shift, real)
                at += z_row
        first = last
    clear_padding(y + shift, sequences, lengths, num_frames, y_width, real)
    return True


@compiled
def backward_slice(sizes, part, memory):
    """Gradients of one direction over one slice.

    dz of a chunk of rows is computed first, then the gradients of all weights and of the inputs.

    Args:
        sizes: see `Sizes`.
        part: see `asr.kernels.batch_slices.Slice`.
        memory: see `BackwardMemory`.
    """
    num_frames, features, units, wide, y_width, backwards = sizes
    sequences, lengths, offsets, _ = part
    dy, dx, u_transposed, gates, cells = (memory.dy, memory.dx, memory.u_transposed, memory.gates,
                                          memory.cells)
    dh, dc, dz, zeros = memory.dh, memory.dc, memory.dz, memory.zeros
    h_row, z_row, gate = (wide + SKEW) * BYTES, (4 * wide + SKEW) * BYTES, wide * BYTES
    last = len(offsets) - 1
    if last > 0:
        for k in range(offsets[last] - offsets[last - 1]):
            copy(dh + k * h_row, frame(dy, sequences[k], lengths[k], last - 1, backwards,
                                       num_frames, y_width), units)
    while last > 0:
        first = last - 1
        while first > 0 and offsets[last] - offsets[first - 1] <= CHUNK:
            first -= 1
        for t in range(last - 1, first - 1, -1):
            live = offsets[t + 1] - offsets[t]
            dz_at = dz + (offsets[t] - offsets[first]) * z_row
            for k in range(live):
                at = gates + (offsets[t] + k) * 4 * gate
                to = dz_at + k * z_row
                c_before = cells + (offsets[t - 1] + k) * gate if t > 0 else zeros
                cell_backward(wide, at, at + gate, at + 2 * gate, at + 3 * gate, c_before,
                              cells + (offsets[t] + k) * gate, dh + k * h_row, dc + k * h_row,
                              to, to + gate, to + 2 * gate, to + 3 * gate)
            if t > 0:
                for k in range(offsets[t] - offsets[t - 1]):
                    copy(dh + k * h_row, frame(dy, sequences[k], lengths[k], t - 1, backwards,
                                               num_frames, y_width), units)
                product(live, 4 * wide, wide, dz_at, ROWS * z_row, z_row, BYTES, u_transposed,
                        dh, PANEL * BYTES, h_row)
        weight_gradients(sizes, part, memory, first, last)
        if dx != 0:
            input_gradients(sizes, part, memory, first, last)
        last = first
    if dx != 0:
        clear_padding(dx, sequences, lengths, num_frames, features, features)


@compiled
def weight_gradients(sizes, part, memory, first, last):
    """Add X' dZ to dW, H' dZ to dU, sum dZ to db for the rows of the steps first .. last - 1."""
    num_frames, features, units, wide, y_width, backwards = sizes
    sequences, lengths, offsets, _ = part
    x, y, dw, du, db = memory.x, memory.y, memory.dw, memory.du, memory.db
    dz, packed, panels = memory.dz, memory.packed, memory.panels
    z_row = (4 * wide + SKEW) * BYTES
    rows = offsets[last] - offsets[first]
    pack_panels(rows, 4 * wide, dz, z_row, panels)
    row = 0
    for t in range(first, last):
        for k in range(offsets[t + 1] - offsets[t]):
            pack_columns(frame(x, sequences[k], lengths[k], t, backwards, num_frames, features),
                         row, rows, features, packed)
            add(4 * wide, db, dz + row * z_row)
            row += 1
    product(features, rows, 4 * wide, packed, rows * ROWS * BYTES, BYTES, ROWS * BYTES,
            panels, dw, features * PANEL * BYTES, PANEL * BYTES)
    row = 0
    for t in range(first, last):
        for k in range(offsets[t + 1] - offsets[t]):
            before = 0
            if t > 0:
                before = frame(y, sequences[k], lengths[k], t - 1, backwards, num_frames, y_width)
            pack_columns(before, row, rows, units, packed)
            row += 1
    product(units, rows, 4 * wide, packed, rows * ROWS * BYTES, BYTES, ROWS * BYTES,
            panels, du, units * PANEL * BYTES, PANEL * BYTES)


@compiled
def input_gradients(sizes, part, memory, first, last):
    """Write dX = dZ W' of the steps first .. last - 1 to the frames."""
    num_frames, features, units, wide, y_width, backwards = sizes
    sequences, lengths, offsets, _ = part
    dx, w_transposed, dz, dx_rows = memory.dx, memory.w_transposed, memory.dz, memory.dx_rows
    z_row = (4 * wide + SKEW) * BYTES
    columns = -(-features // PANEL) * PANEL
    rows = offsets[last] - offsets[first]
    clear(dx_rows, rows * columns)
    product(rows, 4 * wide, columns, dz, ROWS * z_row, z_row, BYTES, w_transposed, dx_rows,
            PANEL * BYTES, columns * BYTES)
    at = dx_rows
    for t in range(first, last):
        for k in range(offsets[t + 1] - offsets[t]):
            copy(frame(dx, sequences[k], lengths[k], t, backwards, num_frames, features), at,
                 features)
            at += columns * BYTES
