"""Which LSTM kernel runs in each layer, and how fast each one is on this machine.

In: the network's settings. Out: plain dictionaries. Imports TensorFlow inside functions.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from asr.network.weights import lstm_inputs
from asr.recipe import ModelSettings

BATCH, FRAMES, REPEATS = 8, 100, 3
MOST_OPERATIONS = 4e10  # of one timed step; wider layers are timed on fewer frames


def layer_shapes(settings: ModelSettings, num_features: int) -> list[tuple[int, int]]:
    """(inputs per frame, units) of every LSTM layer."""
    first = lstm_inputs(settings, num_features)
    return [(first if index == 0 else 2 * settings.units, settings.units)
            for index in range(settings.num_layers)]


def layer_kernels(settings: ModelSettings, num_features: int, *, tensorflow: bool) -> list[dict]:
    """Per layer: which kernel runs, and every condition that keeps it from a faster one."""
    rows = []
    for index, (inputs, units) in enumerate(layer_shapes(settings, num_features)):
        row = {"layer": f"lstm_{index}", "inputs": inputs, "units": units}
        rows.append(row | (_examined(units) if tensorflow else _without_tensorflow()))
    return rows


def _examined(units: int) -> dict:
    from asr.network.conditions import examine
    from asr.network.layer import BidirectionalLSTM

    examination = examine(BidirectionalLSTM(units))
    return {"kernel": examination.kernel,
            "failed": [condition._asdict() for condition in examination.failed]}


def _without_tensorflow() -> dict:
    from asr.doctor.machine import numba_state

    problem = numba_state()["problem"]
    failed = [{"name": "tensorflow", "blocks": "cudnn", "message": "TensorFlow does not work"}]
    if problem:
        failed.append({"name": "numba", "blocks": "cpu", "message": problem})
    return {"kernel": "generic" if problem else "cpu", "failed": failed}


def time_kernels(settings: ModelSettings, num_features: int, *, tensorflow: bool) -> dict:
    """Best of a few training steps (forward and backward) of the widest layer, per kernel.

    Returns:
        inputs, units, batch, frames; seconds by kernel; times_fastest by kernel (1.0 is best).
    """
    inputs, units = max(layer_shapes(settings, num_features))
    operations = 2 * 3 * 2 * BATCH * (inputs + units) * 4 * units  # of one frame of the batch
    frames = int(np.clip(MOST_OPERATIONS / operations, 2, FRAMES))
    steps = _steps(inputs, units, frames) if tensorflow else {}
    if not steps:
        steps = _steps_without_tensorflow(inputs, units, frames)
    seconds = {kernel: _best_of(step) for kernel, step in steps.items()}
    best = min(seconds.values(), default=0.0)
    return {"inputs": inputs, "units": units, "batch": BATCH, "frames": frames,
            "seconds": seconds,
            "times_fastest": {kernel: value / best for kernel, value in seconds.items()}}


def _steps(inputs: int, units: int, frames: int) -> dict[str, Callable[[], object]]:
    """One training step for every kernel that can run here."""
    import tensorflow as tf

    from asr.network.layer import BidirectionalLSTM, compiled_kernel_problem, gpu_is_visible

    x = tf.random.stateless_normal((BATCH, frames, inputs), seed=(1, 2))
    lengths = tf.fill([BATCH], frames)
    names = [name for name, runs in (("cudnn", gpu_is_visible()),
                                     ("cpu", compiled_kernel_problem() is None),
                                     ("generic", True)) if runs]
    return {name: _step(BidirectionalLSTM(units, kernel=name), x, lengths) for name in names}


def _step(layer, x, lengths) -> Callable[[], object]:
    import tensorflow as tf

    layer.build(x.shape, lengths.shape)

    @tf.function(jit_compile=False)
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(x, lengths, training=True))
        return tape.gradient(loss, [weight.value for weight in layer.trainable_weights])

    return lambda: [tf.identity(gradient) for gradient in step()]


def _steps_without_tensorflow(inputs, units, frames) -> dict[str, Callable[[], object]]:
    from asr.doctor.machine import numba_state

    if numba_state()["problem"]:
        return {}
    from asr.kernels import cpu

    rng = np.random.default_rng(0)
    directions = [cpu.Direction(*(rng.normal(size=shape).astype(np.float32) for shape in
                                  ((inputs, 4 * units), (units, 4 * units), (4 * units,))),
                                backwards=backwards) for backwards in (False, True)]
    x = rng.normal(size=(BATCH, frames, inputs)).astype(np.float32)
    lengths = np.full(BATCH, frames)

    def step():
        outputs, kept = cpu.run_forward(x, lengths, directions)
        return cpu.run_backward(x, lengths, directions, outputs, kept, outputs)

    return {"cpu": step}


def _best_of(step: Callable[[], object]) -> float:
    step()  # traces, compiles, warms the caches
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        step()
        best = min(best, time.perf_counter() - started)
    return best
