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

from asr.kernels import int8, team
from asr.kernels.call import Direction, Kept, Layer, at, float32
from asr.kernels.memory import aligned
from asr.kernels.pieces import backward_piece, forward_piece, forward_teams


class Packed(NamedTuple):
    """A bidirectional layer with weights in the layout of the compiled loops."""

    directions: list[Direction]
    panels: dict[int, tuple[np.ndarray, ...]]  # by direction: kernels and bias, padded; or `int8`


class BatchGradients(NamedTuple):
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
    layer = Layer(nothing, np.zeros(1, np.int64), directions, 1)
    layer.allocate()
    layer.each_direction(lambda d: layer.pack(d, 0, layer.wide))
    return Packed(directions, layer.packed)


def pack_int8(forward: int8.Weights, backward: int8.Weights) -> Packed:
    """Pack weights of 8 bits for `packed_forward`; arguments and errors as for `pack`."""
    shapes = [Direction(np.broadcast_to(np.float32(0), one.kernel.shape),
                        np.broadcast_to(np.float32(0), one.recurrent_kernel.shape), one.bias, back)
              for one, back in ((forward, False), (backward, True))]
    nothing = np.zeros((1, 0, forward.kernel.shape[0]), np.float32)
    directions = Layer(nothing, np.zeros(1, np.int64), shapes, 1).directions
    return Packed(directions, {0: int8.pack(forward), 1: int8.pack(backward)})


def packed_forward(inputs: np.ndarray, num_frames: np.ndarray, *, packed: Packed,
                   threads: int | None = None) -> np.ndarray:
    """`bidirectional_forward` with packed weights; the results are identical."""
    layer = Layer(inputs, num_frames, packed.directions, threads)
    layer.packed = packed.panels
    return _forward(layer, None)


def infer(inputs: np.ndarray, num_frames: np.ndarray, directions: list[Direction], *,
          threads: int | None = None) -> np.ndarray:
    """Outputs (B, T, D * U) of D directions; arguments as in `bidirectional_forward`."""
    return _forward(Layer(inputs, num_frames, directions, threads), None)


def run_forward(inputs: np.ndarray, num_frames: np.ndarray, directions: list[Direction], *,
                threads: int | None = None) -> tuple[np.ndarray, Kept]:
    """Like `infer`; also returns what `run_backward` needs."""
    layer = Layer(inputs, num_frames, directions, threads)
    kept = Kept(aligned(len(directions), layer.rows, 4 * layer.wide),
                aligned(len(directions), layer.rows, layer.wide), len(layer.slices))
    return _forward(layer, kept), kept


def _forward(layer: Layer, kept: Kept | None) -> np.ndarray:
    outputs = aligned(*layer.inputs.shape[:2], layer.width)
    if not layer.packed:
        layer.allocate()
        if len(layer.slices) > 1:
            layer.each_direction(lambda d: layer.pack(d, 0, layer.wide))
        else:
            layer.pieces_pack = True
    pieces = len(layer.slices) * len(layer.directions)
    members = 1 if kept or team.resting() else team.size(layer.threads, pieces, layer.units)
    if members < 2 or not forward_teams(layer, members, outputs):
        layer.each_piece(lambda d, s: forward_piece(layer, d, s, outputs, kept))
    return outputs


def run_backward(inputs: np.ndarray, num_frames: np.ndarray, directions: list[Direction],
                 outputs: np.ndarray, kept: Kept, gradient: np.ndarray, *,
                 input_gradient: bool = True, threads: int | None = None) -> BatchGradients:
    """Gradients of sum(outputs * gradient).

    Args:
        inputs, num_frames, directions, threads: the arguments of `run_forward`.
        outputs, kept: its results.
        gradient: (B, T, D * U) float32; values beyond num_frames are ignored.
        input_gradient: if False, `inputs` of the result is None.

    Raises:
        UsageError: as in `bidirectional_forward`, or for outputs, kept or gradient.
    """
    layer = Layer(inputs, num_frames, directions, threads, kept.num_slices)
    outputs, gradient = (float32(array, name, (*layer.inputs.shape[:2], layer.width))
                         for array, name in ((outputs, "outputs"), (gradient, "gradient")))
    shape = (len(directions), layer.rows, layer.wide)
    float32(kept.cells, "kept.cells", shape)
    float32(kept.gates, "kept.gates", (*shape[:2], 4 * layer.wide))
    layer.each_direction(lambda d: layer.pack_transposed(d))
    wanted = len(directions) if input_gradient else 0
    dx = [aligned(*layer.inputs.shape) for _ in range(wanted)]
    pieces = layer.each_piece(lambda d, s: backward_piece(layer, d, s, outputs, kept, gradient,
                                                           dx[d] if wanted else None))
    sums = layer.each_direction(lambda d: layer.unpad(pieces[d::len(directions)]))
    for other in dx[1:]:
        dx[0] += other
    return BatchGradients(dx[0] if wanted else None, sums)


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
        team.linger(at(length), 0)  # compile it now, not in a thread that others wait for
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
