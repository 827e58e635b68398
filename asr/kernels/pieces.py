"""One piece of an LSTM layer: allocate memory, then call the compiled loops on its addresses.

In: a `Layer`, a direction, a slice of the batch. Out: outputs or gradients, in place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from asr.kernels import int8, pool, sequences, team
from asr.kernels.batch_slices import Slice
from asr.kernels.call import Kept, Layer, at
from asr.kernels.memory import aligned
from asr.kernels.products import padded
from asr.kernels.simd import BYTES, LANES, PANEL, ROWS


def forward_teams(layer: Layer, members: int, outputs) -> bool:
    """Share each piece among `members` threads; returns False if a team broke up."""
    panels = layer.wide // PANEL
    edges = [panels * member // members * PANEL for member in range(members + 1)]
    work, places = [], team.Processors()
    for part in layer.slices:
        for d in range(len(layer.directions)):
            meeting, state = team.Meeting(members), _state(layer, len(part.sequences))
            work += [places.each_alone(_forward_work(layer, d, part, outputs, None, state,
                                                     edges[m:m + 2], (meeting, m, members)))
                     for m in range(members)]
    return team.ended(all(pool.run(work, layer.threads, linger=team.linger)))


def forward_piece(layer: Layer, d: int, part: Slice, outputs, kept: Kept | None) -> None:
    """Outputs of one direction of one slice, on this thread."""
    state = _state(layer, len(part.sequences))
    _forward_work(layer, d, part, outputs, kept, state, (0, layer.wide), (team.Meeting(1), 0, 1))()


def _state(layer: Layer, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Memory for the outputs of two steps, for the cells, and for these outputs as integers."""
    row = layer.wide + sequences.SKEW
    return (aligned(2, count, row, zero=True), aligned(count, row, zero=True),
            aligned(2, count, row // 2, zero=True))


def _forward_work(layer: Layer, d: int, part: Slice, outputs, kept: Kept | None, state, units,
                  place) -> Callable[[], bool]:
    """Allocate memory; return a function that computes the units `units[0] .. units[1] - 1`."""
    if isinstance(layer.packed.get(d), int8.Panels):
        return _int8_work(layer, d, part, outputs, state, units, place)
    wide = layer.wide
    rows = max(sequences.CHUNK, len(part.sequences))
    w, u, bias = layer.packed[d]
    h, c, _ = state
    packed = aligned(padded(rows, ROWS), layer.features)
    z = aligned(0 if kept else rows, 4 * wide)
    gates = at(kept.gates[d]) + part.first_row * 4 * wide * BYTES if kept else 0
    cells = at(kept.cells[d]) + part.first_row * wide * BYTES if kept else 0
    meeting, member, members = place
    scratch = np.empty(ROWS, np.int64)

    def work() -> bool:
        if layer.pieces_pack:
            layer.pack(d, units[0], units[1] - units[0])
        memory = sequences.ForwardMemory(
            x=at(layer.inputs), y=at(outputs) + d * layer.units * BYTES, w=at(w), u=at(u),
            bias=at(bias), gates=gates, cells=cells, keep=kept is not None, h=at(h), c=at(c),
            z=at(z), packed=at(packed), zeros=at(layer.zeros), rows_at=scratch)
        share = sequences.Share(units[0], units[1] - units[0], at(meeting.steps), member, members,
                                team.PATIENCE, *team.c_functions())
        return sequences.forward_slice(layer.sizes(d), part, memory, share)

    return work


def _int8_work(layer: Layer, d: int, part: Slice, outputs, state, units,
               place) -> Callable[[], bool]:
    """`_forward_work` with weights of 8 bits."""
    panels = layer.packed[d]
    rows, depth = max(sequences.CHUNK, len(part.sequences)), padded(layer.features, LANES)
    h, c, h_short = state
    z, sums = aligned(rows, 4 * layer.wide), aligned(rows, 4 * layer.wide)
    x_short, row = aligned(rows, depth // 2), aligned(depth, zero=True)
    ones, scales = np.ones(rows, np.float32), np.empty(rows, np.float32)
    meeting, member, members = place

    def work() -> bool:
        w, w_scale, u, u_scale, bias = panels
        memory = int8.Memory(
            x=at(layer.inputs), y=at(outputs) + d * layer.units * BYTES, w=at(w),
            w_scale=at(w_scale), u=at(u), u_scale=at(u_scale), bias=at(bias), h=at(h),
            h_short=at(h_short), c=at(c), z=at(z), sums=at(sums), x_short=at(x_short),
            row=at(row), scales=scales, x_limit=np.float32(int8.limit(layer.features)),
            h_limit=np.float32(int8.limit(layer.units)))
        share = sequences.Share(units[0], units[1] - units[0], at(meeting.steps), member, members,
                                team.PATIENCE, *team.c_functions())
        return int8.forward_slice(layer.sizes(d), part, memory, share, ones)

    return work


def backward_piece(layer: Layer, d: int, part: Slice, outputs, kept: Kept, gradient, dx):
    """Gradients with respect to the weights of one direction, in panels; those of inputs in dx."""
    count, wide = len(part.sequences), layer.wide
    rows = max(sequences.CHUNK, count)
    w, u = layer.packed[d]
    dw, du = (aligned(4 * wide // PANEL, n, PANEL, zero=True)
              for n in (layer.features, layer.units))
    db = aligned(4 * wide, zero=True)
    dh, dc = (aligned(count, wide + sequences.SKEW, zero=True) for _ in range(2))
    dz = aligned(rows, 4 * wide + sequences.SKEW)
    packed = aligned(padded(max(layer.features, layer.units), ROWS), rows)
    panels = aligned(rows, 4 * wide)
    dx_rows = aligned(rows, padded(layer.features))
    column = d * layer.units * BYTES
    sequences.backward_slice(layer.sizes(d), part, sequences.BackwardMemory(
        x=at(layer.inputs), y=at(outputs) + column, dy=at(gradient) + column,
        dx=0 if dx is None else at(dx), w_transposed=at(w), u_transposed=at(u),
        gates=at(kept.gates[d]) + part.first_row * 4 * wide * BYTES,
        cells=at(kept.cells[d]) + part.first_row * wide * BYTES, dw=at(dw), du=at(du),
        db=at(db), dh=at(dh), dc=at(dc), dz=at(dz), packed=at(packed), panels=at(panels),
        dx_rows=at(dx_rows), zeros=at(layer.zeros)))
    return dw, du, db
