"""Keras callback for every step: learning rate, non-finite losses, signals, progress.

In: the training state. Out: the updated state.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import keras
import numpy as np

from asr.errors import TrainingStopped
from asr.recipe import TrainSettings
from asr.training.checkpoints import TrainingState
from asr.training.schedule import learning_rate, progress
from asr.training.signals import SignalWatch, TimeIsUp


class StepMonitor(keras.callbacks.Callback):
    """Sets the learning rate before a step; counts, reports and checks signals after it.

    Args:
        settings: the [train] section.
        state: updated in place after every step.
        total_steps: steps of the whole run, for the learning rate.
        batches: the batches of this epoch, from `asr.data.batches`.
        watch: pending signals.
        warn: called with a record of every skipped step.
        report: called after every step with (finished batches, batches of the epoch, mean loss).
    """

    def __init__(self, settings: TrainSettings, state: TrainingState, total_steps: int, batches,
                 watch: SignalWatch, warn: Callable[[dict], None],
                 report: Callable[[int, int, float], None]):
        super().__init__()
        self.settings = settings
        self.state = state
        self.total_steps = total_steps
        self.batches = batches
        self.watch = watch
        self.warn = warn
        self.report = report
        self._mark = time.perf_counter()

    def on_train_batch_begin(self, batch, logs=None):
        """Set the learning rate of this step."""
        optimizer = self.model.optimizer  # type: ignore[union-attr]
        step = int(optimizer.iterations.numpy())
        done = progress(self.settings, step, self.total_steps, self.state.seconds)
        optimizer.learning_rate.assign(learning_rate(self.settings, step, done))

    def on_train_batch_end(self, batch, logs=None):
        """Count the step, report it, check signals and the time budget."""
        state, logs = self.state, logs or {}
        done = self.batches[state.batch]
        state.batch += 1
        now = time.perf_counter()
        state.seconds += now - self._mark
        self._mark = now
        if logs["finite"]:
            state.nonfinite_in_row = 0
            state.loss_sum += float(logs["loss"]) * float(logs["num_labels"])
            state.label_sum += float(logs["num_labels"])
            state.frames += sum(item.num_frames for item in done.items)
        else:
            self._skip(done, logs)
        self.report(state.batch, len(self.batches), state.loss_sum / max(1.0, state.label_sum))
        self.watch.check()
        if self.settings.max_minutes and state.seconds >= 60 * self.settings.max_minutes:
            raise TimeIsUp

    def _skip(self, batch, logs) -> None:
        """Report a step that updated nothing; stop after `train.nonfinite_patience` in a row."""
        rows = np.asarray(logs["finite_rows"])
        ids = [name for name, finite in zip(batch.ids, rows, strict=True) if not finite]
        ids = ids or list(batch.ids)  # the loss was finite, the gradient was not
        state = self.state
        state.nonfinite_in_row += 1
        state.skipped += 1
        self.warn({"event": "nonfinite", "epoch": state.epoch + 1, "batch": state.batch,
                   "ids": ids, "loss": repr(float(logs["loss"])),
                   "gradient_norm": repr(float(logs["gradient_norm"]))})
        if state.nonfinite_in_row >= self.settings.nonfinite_patience:
            raise TrainingStopped(
                f"The loss or its gradient was not finite {state.nonfinite_in_row} times in a row, "
                f"last for {', '.join(ids[:5])}{' ...' if len(ids) > 5 else ''}. The weights "
                "before it are kept. Look at these recordings, or lower train.learning_rate.",
                code="train.nonfinite")
