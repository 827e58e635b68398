"""The LSTM on the CPU: checks arrays, plans the work, calls the compiled loops.

In: NumPy arrays. Out: NumPy arrays. Needs numba, never TensorFlow.

A piece of work is one direction of one slice of the batch (asr.kernels.batch_slices). It covers
whole sequences, so threads do not wait for each other. If there are fewer pieces than threads, and
no backward pass follows, a team of threads shares a piece (asr.kernels.team). The pieces depend
only on the lengths and the number of threads, and partial sums are added in a fixed order, so
results are reproducible bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from asr.errors import UsageError
from asr.kernels import batch_slices as slices
from asr.kernels import int8, pool, products, sequences, team
from asr.kernels.batch_slices import Slice
from asr.kernels.memory import aligned
from asr.kernels.products import padded
from asr.kernels.simd import BYTES, LANES, PANEL, ROWS


class Direction(NamedTuple):
    """One direction of a layer: weights in the Keras layout, gate order i, f, c, o."""

    kernel: np.ndarray  # (F, 4U) float32
    recurrent_kernel: np.ndarray  # (U, 4U) float32
    bias: np.ndarray  # (4U,) float32
    backwards: bool = False  # reads every sequence from its last frame


class Packed(NamedTuple):
    """A bidirectional layer with weights in the layout of the compiled loops."""

    directions: list[Direction]
    panels: dict[int, tuple[np.ndarray, ...]]  # by direction: kernels and bias, padded; or `int8`


class Kept(NamedTuple):
    """Results of the forward pass for the backward pass; padding has no rows."""

    gates: np.ndarray  # (directions, rows, 4 * wide) float32: i, f, candidate, o
    cells: np.ndarray  # (directions, rows, wide) float32
    num_slices: int


class Gradients(NamedTuple):
    """Gradients with respect to the inputs and to (kernel, recurrent_kernel, bias)."""

    inputs: np.ndarray | None  # (B, T, F)
    directions: list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def bidirectional_forward(inputs: np.ndarray, num_frames: np.ndarray, forward, backward, *,
                          threads: int | None = None) -> np.ndarray:
    """Outputs of a bidirectional LSTM over right-padded sequences.

    Args:
        inputs: (B, T, F) float32.
        num_frames: (B,) integers, 0 <= num_frames <= T.
        forward, backward: (kernel (F, 4U), recurrent_kernel (U, 4U), bias (4U,)) float32.
        threads: maximum number; None: ASR_NUM_THREADS, or the number of processors.

    Returns:
        (B, T, 2U) float32: forward outputs, then backward outputs; zero beyond num_frames.

    Raises:
        UsageError: the shapes do not match, or a length is outside 0 .. T.
    """
    directions = [Direction(*forward), Direction(*backward, backwards=True)]
    return infer(inputs, num_frames, directions, threads=threads)


def pack(forward, backward) -> Packed:
    """Pack weights once for many calls of `packed_forward`.

    Packing takes about a tenth of the time of a call with one utterance.

    Args:
        forward, backward: as for `bidirectional_forward`; they are copied.

    Raises:
        UsageError: the shapes do not match.
    """
    directions = [Direction(*forward), Direction(*backward, backwards=True)]
    nothing = np.zeros((1, 0, np.shape(directions[0].kernel)[0]), np.float32)
    layer = _Layer(nothing, np.zeros(1, np.int64), directions, 1)
    layer.allocate()
    layer.each_direction(lambda d: layer.pack(d, 0, layer.wide))
    return Packed(directions, layer.packed)


def pack_int8(forward: int8.Weights, backward: int8.Weights) -> Packed:
    """Pack weights of 8 bits for `packed_forward`; arguments and errors as for `pack`."""
    shapes = [Direction(np.broadcast_to(np.float32(0), one.kernel.shape),
                        np.broadcast_to(np.float32(0), one.recurrent_kernel.shape), one.bias, back)
              for one, back in ((forward, False), (backward, True))]
    nothing = np.zeros((1, 0, forward.kernel.shape[0]), np.float32)
    directions = _Layer(nothing, np.zeros(1, np.int64), shapes, 1).directions
    return Packed(directions, {0: int8.pack(forward), 1: int8.pack(backward)})


def packed_forward(inputs: np.ndarray, num_frames: np.ndarray, *, packed: Packed,
                   threads: int | None = None) -> np.ndarray:
    """`bidirectional_forward` with packed weights; the results are identical."""
    layer = _Layer(inputs, num_frames, packed.directions, threads)
    layer.packed = packed.panels
    return _forward(layer, None)


def infer(inputs: np.ndarray, num_frames: np.ndarray, directions: list[Direction], *,
          threads: int | None = None) -> np.ndarray:
    """Outputs (B, T, D * U) of D directions; arguments as in `bidirectional_forward`."""
    return _forward(_Layer(inputs, num_frames, directions, threads), None)


def run_forward(inputs: np.ndarray, num_frames: np.ndarray, directions: list[Direction], *,
                threads: int | None = None) -> tuple[np.ndarray, Kept]:
    """Like `infer`; also returns what `run_backward` needs."""
    layer = _Layer(inputs, num_frames, directions, threads)
    kept = Kept(aligned(len(directions), layer.rows, 4 * layer.wide),
                aligned(len(directions), layer.rows, layer.wide), len(layer.slices))
    return _forward(layer, kept), kept


def _forward(layer: _Layer, kept: Kept | None) -> np.ndarray:
    outputs = aligned(*layer.inputs.shape[:2], layer.width)
    if not layer.packed:
        layer.allocate()
        if len(layer.slices) > 1:
            layer.each_direction(lambda d: layer.pack(d, 0, layer.wide))
        else:
            layer.pieces_pack = True
    pieces = len(layer.slices) * len(layer.directions)
    members = 1 if kept or team.resting() else team.size(layer.threads, pieces, layer.units)
    if members < 2 or not _forward_teams(layer, members, outputs):
        layer.each_piece(lambda d, s: _forward_piece(layer, d, s, outputs, kept))
    return outputs


def run_backward(inputs: np.ndarray, num_frames: np.ndarray, directions: list[Direction],
                 outputs: np.ndarray, kept: Kept, gradient: np.ndarray, *,
                 input_gradient: bool = True, threads: int | None = None) -> Gradients:
    """Gradients of sum(outputs * gradient).

    Args:
        inputs, num_frames, directions, threads: the arguments of `run_forward`.
        outputs, kept: its results.
        gradient: (B, T, D * U) float32; values beyond num_frames are ignored.
        input_gradient: if False, `inputs` of the result is None.

    Raises:
        UsageError: as in `bidirectional_forward`, or for outputs, kept or gradient.
    """
    layer = _Layer(inputs, num_frames, directions, threads, kept.num_slices)
    outputs, gradient = (_float32(array, name, (*layer.inputs.shape[:2], layer.width))
                         for array, name in ((outputs, "outputs"), (gradient, "gradient")))
    shape = (len(directions), layer.rows, layer.wide)
    _float32(kept.cells, "kept.cells", shape)
    _float32(kept.gates, "kept.gates", (*shape[:2], 4 * layer.wide))
    layer.each_direction(lambda d: layer.pack_transposed(d))
    wanted = len(directions) if input_gradient else 0
    dx = [aligned(*layer.inputs.shape) for _ in range(wanted)]
    pieces = layer.each_piece(lambda d, s: _backward_piece(layer, d, s, outputs, kept, gradient,
                                                           dx[d] if wanted else None))
    sums = layer.each_direction(lambda d: layer.unpad(pieces[d::len(directions)]))
    for other in dx[1:]:
        dx[0] += other
    return Gradients(dx[0] if wanted else None, sums)


class _Layer:
    """One call: checked arrays, slices, packed weights."""

    def __init__(self, inputs, num_frames, directions, threads, num_slices=None):
        inputs = np.asarray(inputs)
        if inputs.ndim != 3 or not directions:
            raise UsageError(f"LSTM: inputs have shape {inputs.shape} and there are "
                             f"{len(directions)} directions; expected (batch, frames, features) "
                             f"and at least one.")
        self.inputs = _float32(inputs, "inputs", inputs.shape)
        self.features = inputs.shape[2]
        self.units = np.shape(directions[0].recurrent_kernel)[0]
        if self.features < 1 or self.units < 1:
            raise UsageError(f"LSTM: {self.features} features and {self.units} units; both must "
                             f"be at least 1.")
        shapes = ((self.features, 4 * self.units), (self.units, 4 * self.units),
                  (4 * self.units,))
        self.directions = [
            Direction(_float32(kernel, "kernel", shapes[0]),
                      _float32(recurrent, "recurrent_kernel", shapes[1]),
                      _float32(bias, "bias", shapes[2]), backwards)
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
            products.pack_gates(depth, self.units, self.wide, first_unit, own, _at(source),
                                _at(target))

    def pack_transposed(self, d: int) -> None:
        """Pack both transposed weight matrices of one direction."""
        kernel, recurrent, _, _ = self.directions[d]
        w = aligned(4 * self.wide, padded(self.features))
        u = aligned(4 * self.wide, self.wide)
        products.pack_gates_transposed(self.features, self.units, self.wide, _at(kernel), _at(w))
        products.pack_gates_transposed(self.units, self.units, self.wide, _at(recurrent), _at(u))
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


def _forward_teams(layer: _Layer, members: int, outputs) -> bool:
    """Share each piece among `members` threads; returns False if a team broke up."""
    panels = layer.wide // PANEL
    edges = [panels * member // members * PANEL for member in range(members + 1)]
    work, places = [], team.Places()
    for part in layer.slices:
        for d in range(len(layer.directions)):
            meeting, state = team.Meeting(members), _state(layer, len(part.sequences))
            work += [places.each_alone(_forward_work(layer, d, part, outputs, None, state,
                                                     edges[m:m + 2], (meeting, m, members)))
                     for m in range(members)]
    return team.ended(all(pool.run(work, layer.threads, linger=team.linger)))


def _forward_piece(layer: _Layer, d: int, part: Slice, outputs, kept: Kept | None) -> None:
    state = _state(layer, len(part.sequences))
    _forward_work(layer, d, part, outputs, kept, state, (0, layer.wide), (team.Meeting(1), 0, 1))()


def _state(layer: _Layer, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Memory for the outputs of two steps, for the cells, and for these outputs as integers."""
    row = layer.wide + sequences.SKEW
    return (aligned(2, count, row, zero=True), aligned(count, row, zero=True),
            aligned(2, count, row // 2, zero=True))


def _forward_work(layer: _Layer, d: int, part: Slice, outputs, kept: Kept | None, state, units,
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
    gates = _at(kept.gates[d]) + part.first_row * 4 * wide * BYTES if kept else 0
    cells = _at(kept.cells[d]) + part.first_row * wide * BYTES if kept else 0
    meeting, member, members = place
    scratch = np.empty(ROWS, np.int64)

    def work() -> bool:
        if layer.pieces_pack:
            layer.pack(d, units[0], units[1] - units[0])
        memory = sequences.ForwardMemory(
            x=_at(layer.inputs), y=_at(outputs) + d * layer.units * BYTES, w=_at(w), u=_at(u),
            bias=_at(bias), gates=gates, cells=cells, keep=kept is not None, h=_at(h), c=_at(c),
            z=_at(z), packed=_at(packed), zeros=_at(layer.zeros), rows_at=scratch)
        share = sequences.Share(units[0], units[1] - units[0], _at(meeting.steps), member, members,
                                team.PATIENCE, *team.c_functions())
        return sequences.forward_slice(layer.sizes(d), part, memory, share)

    return work


def _int8_work(layer: _Layer, d: int, part: Slice, outputs, state, units,
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
            x=_at(layer.inputs), y=_at(outputs) + d * layer.units * BYTES, w=_at(w),
            w_scale=_at(w_scale), u=_at(u), u_scale=_at(u_scale), bias=_at(bias), h=_at(h),
            h_short=_at(h_short), c=_at(c), z=_at(z), sums=_at(sums), x_short=_at(x_short),
            row=_at(row), scales=scales, x_limit=np.float32(int8.limit(layer.features)),
            h_limit=np.float32(int8.limit(layer.units)))
        share = sequences.Share(units[0], units[1] - units[0], _at(meeting.steps), member, members,
                                team.PATIENCE, *team.c_functions())
        return int8.forward_slice(layer.sizes(d), part, memory, share, ones)

    return work


def _backward_piece(layer: _Layer, d: int, part: Slice, outputs, kept: Kept, gradient, dx):
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
        x=_at(layer.inputs), y=_at(outputs) + column, dy=_at(gradient) + column,
        dx=0 if dx is None else _at(dx), w_transposed=_at(w), u_transposed=_at(u),
        gates=_at(kept.gates[d]) + part.first_row * 4 * wide * BYTES,
        cells=_at(kept.cells[d]) + part.first_row * wide * BYTES, dw=_at(dw), du=_at(du),
        db=_at(db), dh=_at(dh), dc=_at(dc), dz=_at(dz), packed=_at(packed), panels=_at(panels),
        dx_rows=_at(dx_rows), zeros=_at(layer.zeros)))
    return dw, du, db


def _float32(array, name: str, shape: tuple[int, ...]) -> np.ndarray:
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


def _at(array: np.ndarray) -> int:
    return array.ctypes.data


@cache
def compile_problem() -> str | None:
    """None if the kernels compile and run here, otherwise the reason in one line."""
    def train() -> list[np.ndarray]:
        inputs, length, directions = _smallest()
        outputs, kept = run_forward(inputs, length, directions, threads=1)
        gradients = run_backward(inputs, length, directions, outputs, kept, outputs, threads=1)
        return [outputs, gradients.directions[0][2]]

    return forward_problem() or _problem(train)


@cache
def forward_problem() -> str | None:
    """Like `compile_problem`, without the backward pass; the first call takes 3 s less."""
    def recognise() -> list[np.ndarray]:
        inputs, length, directions = _smallest()
        team.linger(_at(length), 0)  # compile it now, not in a thread that others wait for
        return [infer(inputs, length, directions, threads=1)]

    return _problem(recognise)


def _smallest() -> tuple[np.ndarray, np.ndarray, list[Direction]]:
    """Inputs, lengths and weights of one frame and one unit."""
    one = np.ones((1, 1, 1), np.float32)
    weights = one[0].repeat(4, 1), one[0].repeat(4, 1), one[0, 0].repeat(4)
    return one, np.ones(1, np.int64), [Direction(*weights)]


def _problem(work: Callable[[], list[np.ndarray]]) -> str | None:
    try:
        results = np.concatenate([array.ravel() for array in work()])
    except Exception as error:  # numba may raise any type; the caller logs the line
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None if np.isfinite(results).all() else f"the compiled kernels returned {results}"
