"""What `asr.network.ctc_model` keeps between its steps, and what it tells of a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from asr.network.ctc import CTCLoss


@dataclass(frozen=True)
class CompiledParts:
    """What `compile` was given and what a step counts; Keras does not track a plain object."""

    loss: CTCLoss
    loss_tracker: keras.metrics.Metric  # nats over labels of the epoch so far
    steps: tf.Variable  # () int64
    metrics: tuple[keras.metrics.Metric, ...]
    evaluation_metrics: tuple[keras.metrics.Metric, ...]


@dataclass(frozen=True)
class SkippedStep:
    """A training step that was not finite and changed nothing.

    Attributes:
        step: its number since `count_steps_from`, from 0.
        finite_rows: (B,) bool, the utterances whose loss was finite.
        loss, gradient_norm: what was computed.
    """

    step: int
    finite_rows: np.ndarray
    loss: float
    gradient_norm: float
