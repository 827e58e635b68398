"""The LSTM of whole batches on the CPU: checks, plans the work, calls the compiled loops.

In: NumPy arrays. Out: NumPy arrays. Needs numba, never TensorFlow.

Work is divided into (direction) x (slice of the batch, asr.kernels.batch_slices); every piece runs
the whole sequence on its own, so threads do not wait for one another. Where there are fewer pieces
than threads, and nothing to be kept for a backward pass, a team shares one (asr.kernels.team). The
division depends only on the lengths and the number of threads, and partial sums are added in a
fixed order: results repeat bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from asr.errors import UsageError
from asr.kernels import batch_slices as slices
from asr.kernels import pool, products, sequences, team
from asr.kernels.batch_slices import Slice
from asr.kernels.memory import aligned
from asr.kernels.products import padded
from asr.kernels.simd import BYTES, PANEL, ROWS


class Direction(NamedTuple):
    """One direction of a layer: weights in Keras's layout, gates in the order i, f, c, o."""

    kernel: np.ndarray  # (F, 4U) float32
    recurrent_kernel: np.ndarray  # (U, 4U) float32
    bias: np.ndarray  # (4U,) float32
    backwards: bool = False  # reads every sequence from its own end


class Packed(NamedTuple):
    """A bidirectional layer whose weights lie as the compiled loops read them."""

    directions: list[Direction]
    panels: dict[int, tuple[np.ndarray, ...]]  # of each direction: kernels and bias, padded


class Kept(NamedTuple):
    """What the backward pass needs from the forward pass; rows have no padding."""

    gates: np.ndarray  # (directions, rows, 4 * wide) float32: i, f, candidate, o
    cells: np.ndarray  # (directions, rows, wide) float32
    num_slices: int


class Gradients(NamedTuple):
    """Of a scalar with respect to the inputs and to (kernel, recurrent_kernel, bias)."""

    inputs: np.ndarray | None  # (B, T, F)
    directions: list[tuple[np.ndarray, np.ndarray, np.ndarray]]


def bidirectional_forward(inputs: np.ndarray, num_frames: np.ndarray, forward, backward, *,
                          threads: int | None = None) -> np.ndarray:
    """Outputs of a bidirectional LSTM over right-padded sequences.

    Args:
        inputs: (B, T, F) float32.
        num_frames: (B,) integers, 0 <= num_frames <= T.
        forward, backward: (kernel (F, 4U), recurrent_kernel (U, 4U), bias (4U,)) float32.
        threads: at most so many; None follows ASR_NUM_THREADS, else the processors.

    Returns:
        (B, T, 2U) float32: forward outputs, then backward outputs; zero beyond num_frames.

    Raises:
        UsageError: shapes that do not fit together, or a length outside 0 .. T.
    """
    directions = [Direction(*forward), Direction(*backward, backwards=True)]
    return infer(inputs, num_frames, directions, threads=threads)


def pack(forward, backward) -> Packed:
    """Lay weights out once for many calls of `packed_forward`; for one utterance a tenth of a call.

    Args:
        forward, backward: as for `bidirectional_forward`; they are copied.

    Raises:
        UsageError: shapes that do not fit together.
    """
    directions = [Direction(*forward), Direction(*backward, backwards=True)]
    nothing = np.zeros((1, 0, np.shape(directions[0].kernel)[0]), np.float32)
    layer = _Layer(nothing, np.zeros(1, np.int64), directions, 1)
    layer.allocate()
    layer.each_direction(lambda d: layer.pack(d, 0, layer.wide))
    return Packed(directions, layer.packed)


def packed_forward(inputs: np.ndarray, num_frames: np.ndarray, *, packed: Packed,
                   threads: int | None = None) -> np.ndarray:
    """The same bits as `bidirectional_forward` of the weights that were packed."""
    layer = _Layer(inputs, num_frames, packed.directions, threads)
    layer.packed = packed.panels
    return _forward(layer, None)


def infer(inputs: np.ndarray, num_frames: np.ndarray, directions: list[Direction], *,
          threads: int | None = None) -> np.ndarray:
    """Outputs (B, T, D * U) of any directions; arguments as `bidirectional_forward`."""
    return _forward(_Layer(inputs, num_frames, directions, threads), None)


def run_forward(inputs: np.ndarray, num_frames: np.ndarray, directions: list[Direction], *,
                threads: int | None = None) -> tuple[np.ndarray, Kept]:
    """As `infer`, and everything that `run_backward` needs."""
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
        inputs, num_frames, directions, threads: as given to `run_forward`.
        outputs, kept: as returned by it.
        gradient: (B, T, D * U) float32; values beyond num_frames are ignored.
        input_gradient: False leaves `inputs` of the result None.

    Raises:
        UsageError: as `bidirectional_forward`; or outputs, kept, gradient of another call.
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
    """One checked call: its arrays, its slices and its packed weights."""

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
        self.pieces_pack = False  # the worker of the only slice packs what it needs
        self.zeros = aligned(self.wide, zero=True)

    def each_direction(self, work) -> list:
        return pool.run([lambda d=d: work(d) for d in range(len(self.directions))], self.threads)

    def each_piece(self, work) -> list:
        """Results of work(direction, slice), slice by slice: the longest sequences first."""
        return pool.run([lambda d=d, s=s: work(d, s) for s in self.slices
                         for d in range(len(self.directions))], self.threads)

    def allocate(self) -> None:
        """Room for the panels of both weight matrices of every direction, and padded biases."""
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
        """Panels of both transposed weight matrices of one direction."""
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
    """Each piece by `members` threads, neighbours in the list of work; False if a team broke up."""
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


def _state(layer: _Layer, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of two steps and the cells."""
    row = layer.wide + sequences.SKEW
    return aligned(2, count, row, zero=True), aligned(count, row, zero=True)


def _forward_work(layer: _Layer, d: int, part: Slice, outputs, kept: Kept | None, state, units,
                  place) -> Callable[[], bool]:
    """The compiled loop over the units `units[0] .. units[1] - 1`, with all its memory at hand."""
    wide = layer.wide
    rows = max(sequences.CHUNK, len(part.sequences))
    w, u, bias = layer.packed[d]
    h, c = state
    packed = aligned(padded(rows, ROWS), layer.features)
    z = aligned(0 if kept else rows, 4 * wide)
    gates = _at(kept.gates[d]) + part.first_row * 4 * wide * BYTES if kept else 0
    cells = _at(kept.cells[d]) + part.first_row * wide * BYTES if kept else 0
    meeting, member, members = place
    scratch = np.empty(ROWS, np.int64)

    def work() -> bool:
        if layer.pieces_pack:
            layer.pack(d, units[0], units[1] - units[0])
        return sequences.forward_slice(
            _at(layer.inputs), _at(outputs) + d * layer.units * BYTES, layer.inputs.shape[1],
            layer.features, layer.units, wide, layer.width, layer.directions[d].backwards,
            part.sequences, part.lengths, part.offsets, scratch, _at(w), _at(u), _at(bias),
            gates, cells, kept is not None, _at(h), _at(c), _at(z), _at(packed),
            _at(layer.zeros), units[0], units[1] - units[0], _at(meeting.steps), member, members,
            team.PATIENCE, *team.c_functions())

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
    sequences.backward_slice(
        _at(layer.inputs), _at(outputs) + column, _at(gradient) + column,
        0 if dx is None else _at(dx), layer.inputs.shape[1], layer.features, layer.units, wide,
        layer.width, layer.directions[d].backwards, part.sequences, part.lengths, part.offsets,
        _at(w), _at(u), _at(kept.gates[d]) + part.first_row * 4 * wide * BYTES,
        _at(kept.cells[d]) + part.first_row * wide * BYTES, _at(dw), _at(du), _at(db), _at(dh),
        _at(dc), _at(dz), _at(packed), _at(panels), _at(dx_rows), _at(layer.zeros))
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
    """None when the kernels compile and run here, else one line that says why not."""
    def train() -> list[np.ndarray]:
        inputs, length, directions = _smallest()
        outputs, kept = run_forward(inputs, length, directions, threads=1)
        gradients = run_backward(inputs, length, directions, outputs, kept, outputs, threads=1)
        return [outputs, gradients.directions[0][2]]

    return forward_problem() or _problem(train)


@cache
def forward_problem() -> str | None:
    """As `compile_problem`, for those who only recognise: the first call takes 3 s less."""
    def recognise() -> list[np.ndarray]:
        inputs, length, directions = _smallest()
        team.linger(_at(length), 0)  # compiled here, not by a thread that others wait for
        return [infer(inputs, length, directions, threads=1)]

    return _problem(recognise)


def _smallest() -> tuple[np.ndarray, np.ndarray, list[Direction]]:
    """Inputs, lengths and weights: one frame, one unit."""
    one = np.ones((1, 1, 1), np.float32)
    weights = one[0].repeat(4, 1), one[0].repeat(4, 1), one[0, 0].repeat(4)
    return one, np.ones(1, np.int64), [Direction(*weights)]


def _problem(work: Callable[[], list[np.ndarray]]) -> str | None:
    try:
        results = np.concatenate([array.ravel() for array in work()])
    except Exception as error:  # numba raises what it likes; the caller logs the line
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return None if np.isfinite(results).all() else f"the compiled kernels returned {results}"
