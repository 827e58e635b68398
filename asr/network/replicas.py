"""Replicas: the devices and processes that share every batch of a training run.

In: a model, a batch. Out: the gradients of the batch, the same in every process. Each replica
computes its rows; losses and gradients are summed over the devices of a process by addition, over
processes by TensorFlow's collective operations, and divided by the labels of the whole batch once.
Weights are never sent in a step: equal sums make equal steps. Imports TensorFlow.

`MirroredStrategy` around `fit` is not used: a step here decides by the gradients whether it is
made (`tf.cond`), which a strategy that merges its replicas refuses inside a function, and under
`MultiWorkerMirroredStrategy` Keras's `fit` fails (keras#20585). Here the latter only joins the
processes.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from asr.errors import EXIT_INTERNAL
from asr.network.ctc import count_labels

# What a collective operation raises when another process is gone.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError,
        tf.errors.InternalError, tf.errors.DeadlineExceededError, tf.errors.UnknownError,
        tf.errors.OutOfRangeError)
GROUP_KEY = 19_860_905  # of the collective operations; a strategy counts its own up from 1
STEP_KEY = 1  # of the sum in a step; those between steps count up from there


@dataclass(frozen=True)
class StepGradients:
    """What a training step takes from a batch.

    Attributes:
        logits: (B, T', V); None of a batch that replicas share.
        losses: (B,) nats of the rows of this process.
        gradients: of nats a label, one a trainable variable; None where there is none.
        num_labels: () float32, labels of the whole batch.
        loss: () float32, nats a label of the whole batch.
    """

    logits: Any
    losses: Any
    gradients: list
    num_labels: Any
    loss: Any


@dataclass(frozen=True)
class Replicas:
    """The devices of this process and its place among the processes.

    Attributes:
        devices: names, such as "/GPU:1"; ("",) leaves the choice to TensorFlow.
        rank: number of this process; 0 is the chief.
        world: number of processes.
        lost_after: seconds after which a process that does not answer is lost.
    """

    devices: tuple[str, ...] = ("",)
    rank: int = 0
    world: int = 1
    lost_after: float = 300.0
    _keys: dict[tuple[int, ...], int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Replicas over all processes; every process has as many devices."""
        return self.world * len(self.devices)

    @property
    def is_chief(self) -> bool:
        """Whether this is the process that writes."""
        return not self.rank

    def total(self, vector: Any, key: int = STEP_KEY) -> Any:
        """The sum of a vector over all processes, the same bits in each of them."""
        if self.world == 1:
            return vector
        with tf.device("/CPU:0"):
            return tf.raw_ops.CollectiveReduceV2(
                input=vector, group_size=self.world, group_key=GROUP_KEY, instance_key=key,
                ordering_token=[], merge_op="Add", final_op="Id", communication_hint="ring")

    def total_of(self, values: Any) -> np.ndarray:
        """The sum of an array over all processes, float64; outside of a step."""
        array = np.asarray(values, np.float64)
        key = self._keys.setdefault(array.shape, STEP_KEY + 1 + len(self._keys))
        with self.watched():
            return np.asarray(self.total(tf.constant(array.ravel()), key)).reshape(array.shape)

    def of_chief(self, values: Any) -> np.ndarray:
        """The chief's array, float64, in every process; its shape must be known to all."""
        if self.world == 1:
            return np.asarray(values, np.float64)
        return self.total_of(values if self.is_chief else np.zeros(np.shape(values)))

    def text_of_chief(self, text: str) -> str:
        """The chief's text in every process."""
        if self.world == 1:
            return text
        data = np.frombuffer(text.encode(), np.uint8)
        size = int(self.of_chief(len(data)))
        sent = self.of_chief(data if self.is_chief else np.zeros(size))
        return sent.astype(np.uint8).tobytes().decode()

    def load_from_chief(self, variables: Sequence[Any]) -> None:
        """Give TensorFlow variables the values that they have in the chief."""
        if self.world == 1:
            return
        sizes = [v.shape.num_elements() for v in variables]
        values = self.of_chief(np.concatenate([np.ravel(v.numpy()).astype(np.float64)
                                               for v in variables]))
        if self.is_chief:
            return
        for variable, part in zip(variables, np.split(values, np.cumsum(sizes)[:-1]), strict=True):
            variable.assign(part.reshape(variable.shape).astype(variable.dtype.as_numpy_dtype))

    def gathered(self, values: np.ndarray) -> np.ndarray:
        """The (n, ...) arrays of all processes, one behind the other; n may differ."""
        if self.world == 1:
            return values
        sizes = np.zeros(self.world)
        sizes[self.rank] = len(values)
        ends = np.cumsum(self.total_of(sizes)).astype(int)
        placed = np.zeros((ends[-1], *values.shape[1:]))
        placed[ends[self.rank] - len(values):ends[self.rank]] = values
        return self.total_of(placed)

    @contextmanager
    def watched(self):
        """End this process with a sentence if the body waits longer than `lost_after`.

        The wait is inside of TensorFlow, where no exception of Python reaches it.
        """
        if self.world == 1:
            yield
            return
        alarm = threading.Timer(self.lost_after, _end_waiting, [self.lost_after])
        alarm.daemon = True
        alarm.start()
        try:
            yield
        finally:
            alarm.cancel()


def share_metrics(replicas: Replicas, metrics: Sequence[Any]) -> None:
    """Add up what metrics have counted over all processes.

    Args:
        replicas: who has a part of the set.
        metrics: Keras metrics whose variables are sums, or with a method `share(replicas)`.
    """
    for metric in metrics:
        if hasattr(metric, "share"):
            metric.share(replicas)
            continue
        for variable in metric.variables:
            variable.assign(replicas.total_of(variable.numpy()).astype(variable.dtype))


def lost_sentence(what: str) -> str:
    """What is said of a process that was lost."""
    return (f"Another process of this training {what}. This one ends; the steps since the last "
            "checkpoint are lost. Run the same commands again: they go on from it.")


def _end_waiting(seconds: float) -> None:
    said = lost_sentence(f"did not answer for {seconds:g} s")
    print(f"asr: error: {said}", file=sys.stderr, flush=True)
    os._exit(EXIT_INTERNAL)


def share_of_rows(batch: dict, number: int, count: int) -> tuple[dict, Any]:
    """Rows number, number + count, ... of an x or a y; of a batch with too few, any one.

    Returns:
        The rows; their numbers, int32.
    """
    size = tf.shape(next(iter(batch.values())))[0]
    rows = tf.range(tf.minimum(number, size - 1), size, count)
    return {name: tf.gather(value, rows) for name, value in batch.items()}, rows


def shared_gradients(model: Any, replicas: Replicas, x: dict, y: dict) -> StepGradients:
    """The gradients of a batch of which every process has some rows and every device some of them.

    A process that has no row of a small batch has one with num_labels -1, which counts nothing.

    Args:
        model: a `CTCModel`.
        replicas: who shares the batch.
        x, y: the rows of this process, see the batch contract.
    """
    weights = [v.value for v in model.trainable_variables]
    parts, places, losses = [], [], []
    for number, device in enumerate(replicas.devices):
        with tf.device(device or None):
            x_part, rows = share_of_rows(x, number, len(replicas.devices))
            y_part, _ = share_of_rows(y, number, len(replicas.devices))
            longest = tf.reduce_max(x_part["num_frames"])
            x_part["features"] = x_part["features"][:, :longest]
            is_real = number < tf.shape(x["num_frames"])[0]
            part, of_rows = _part(model, weights, x_part, y_part, is_real)
        parts.append(part)
        places.append(rows)
        losses.append(of_rows)
    vector = replicas.total(parts[0] if len(parts) == 1 else tf.add_n(parts))
    total, num_labels = vector[0], vector[1]
    sizes = [weight.shape.num_elements() for weight in weights]
    gradients = [tf.reshape(flat, weight.shape) / num_labels for flat, weight in zip(
        tf.split(vector[2:], sizes), weights, strict=True)]
    return StepGradients(None, tf.dynamic_stitch(places, losses), gradients, num_labels,
                         total / num_labels)


def _part(model: Any, weights: list, x: dict, y: dict, is_real: Any) -> tuple[Any, Any]:
    """Sums over some rows in one vector (nats, labels, gradients), and the (B,) losses.

    `objective` is of the labels of these rows alone; times their number it can be added.
    """
    is_real &= tf.reduce_all(y["num_labels"] >= 0)
    y = {**y, "num_labels": tf.maximum(y["num_labels"], 0)}
    with tf.GradientTape() as tape:
        _, losses, objective = model.objective(x, y)
        objective = model.optimizer.scale_loss(objective)
    gradients = tape.gradient(objective, weights,
                              unconnected_gradients=tf.UnconnectedGradients.ZERO)
    num_labels = tf.where(is_real, count_labels(y), 0.0)
    flat = [tf.reshape(tf.convert_to_tensor(g), [-1]) for g in gradients]
    sums = tf.concat([[tf.where(is_real, tf.reduce_sum(losses), 0.0), num_labels],
                      *[tf.where(is_real, num_labels * tf.cast(g, tf.float32), 0.0) for g in flat]],
                     axis=0)
    return sums, losses


def join_processes(devices: str, rank: int, world: int, lost_after: float) -> Replicas:
    """The replicas of a run; waits for all processes. To be called before TensorFlow's first op.

    Args:
        devices: train.devices, "auto" or "all".
        rank, world: number of this process and of all, from TF_CONFIG.
        lost_after: seconds.
    """
    alone = Replicas(("",), rank, world, lost_after)
    if world > 1:
        with alone.watched():
            tf.distribute.MultiWorkerMirroredStrategy()
    return Replicas(devices_of(devices), rank, world, lost_after)


def devices_of(kind: str) -> tuple[str, ...]:
    """What train.devices names here: "auto" one device, "all" every GPU, or CPU without a GPU."""
    if kind == "auto":
        return ("",)
    job = tf.config.experimental.list_logical_devices
    local = {d.name.split("/device:")[-1] for d in job("GPU") or job("CPU")
             if _is_local(d.name)}
    return tuple(f"/{name}" for name in sorted(local)) or ("",)


def _is_local(name: str) -> bool:
    """Whether a device is of this process: the names of a cluster have a task, /task:1."""
    own = tf.DeviceSpec.from_string(tf.constant(0).device or "/CPU:0")
    found = tf.DeviceSpec.from_string(name)
    return found.task in (None, own.task)
