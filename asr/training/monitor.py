"""Keras callback of a run: what happens before, in and after each epoch beside the steps.

In: the parts of a run. Out: its state, log, checkpoints and best bundle. It comes first among the
callbacks, so that those of the user see what it decides.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import keras
import numpy as np

from asr.errors import TrainingStopped
from asr.network.steps import SkippedStep
from asr.training.coach import EpochFacts, advice
from asr.training.schedule import is_over, learning_rate, progress, rank
from asr.training.validation import Validation

if TYPE_CHECKING:
    from asr.training.loop import TrainingLoop


class RunMonitor(keras.callbacks.Callback):
    """Learning rate, skipped steps, signals, the clock; validation, best bundle, checkpoint.

    Nothing here reads a number from the device in a step that is finite.

    Args:
        loop: the run; its state is updated in place.
        stop_after: epochs after which this part of the run ends; 0: as the recipe says.
    """

    def __init__(self, loop: TrainingLoop, stop_after: int = 0):
        super().__init__()
        self.loop = loop
        self.state = loop.state
        self.settings = loop.recipe.train
        self.stop_at = loop.state.epoch + stop_after if stop_after else 0
        self._own_rate = any(isinstance(c, keras.callbacks.LearningRateScheduler)
                             for c in loop.callbacks)
        self._last_rate: float | None = None  # that was set
        self._rate = float(loop.model.optimizer.learning_rate.numpy())  # of the last step
        self._first_step = True
        self._steps = int(loop.model.optimizer.iterations.numpy())
        self._error: TrainingStopped | None = None
        self._mark = self._validation_began = time.perf_counter()
        self._seconds_before, self._frames_before = 0.0, 0
        loop.model.on_skipped_step = self._skipped

    def on_epoch_begin(self, epoch, logs=None):
        """Take the sums of an interrupted epoch up again."""
        state, model = self.state, self.loop.model
        self.loop.reports.table.begin_epoch()
        model.count_steps_from(state.batch)
        model.data_wait_seconds = model.step_seconds = 0.0
        tracker = model.metrics[0]
        tracker.total.assign(state.loss_sum)
        tracker.count.assign(state.label_sum)
        self._mark, self._seconds_before = time.perf_counter(), state.seconds
        self._frames_before = state.frames  # of the part of this epoch that another process ran
        self._first_step = True

    def on_train_batch_begin(self, batch, logs=None):
        """Set the learning rate of this step, unless a LearningRateScheduler does."""
        if self._own_rate:
            return
        optimizer, state = self.loop.model.optimizer, self.state
        if self._first_step and self._last_rate is not None:
            # A callback of the user may have changed it between two epochs.
            found = float(optimizer.learning_rate.numpy())
            if self._last_rate and not np.isclose(found, self._last_rate, rtol=1e-6):
                state.learning_rate_scale *= found / self._last_rate
        self._first_step = False
        done = progress(self.settings, self._steps, self.loop.total_steps, state.seconds)
        self._last_rate = state.learning_rate_scale * learning_rate(self.settings, self._steps,
                                                                    done)
        optimizer.learning_rate.assign(self._last_rate)

    def on_train_batch_end(self, batch, logs=None):
        """Count the step, show the progress, look at signals and the time budget."""
        state = self.state
        state.frames += sum(item.num_frames for item in self.loop.plan[state.batch].items)
        state.batch += 1
        self._steps += 1
        if self._last_rate is not None:
            self._rate = self._last_rate  # Keras begins a step beyond an epoch that was resumed
        now = time.perf_counter()
        state.seconds += now - self._mark
        self._mark = now
        if self.settings.max_minutes:
            state.seconds = float(self.loop.replicas.of_chief(state.seconds))
        table = self.loop.reports.table
        if table.live:
            table.moving(state.batch, len(self.loop.plan),
                         lambda: float(self.loop.model.metrics[0].result()))
        if self._error is not None:
            raise self._error
        self.loop.watch.check()
        if self.settings.max_minutes and state.seconds >= 60 * self.settings.max_minutes:
            self.loop.model.stop_training = True

    def on_test_begin(self, logs=None):
        """Validate the averaged weights, if there are any; Keras forgets the training loss now."""
        self.keep_sums()
        self._validation_began = time.perf_counter()
        self.loop.model.swap_ema()

    def on_test_end(self, logs=None):
        """Go on training the others."""
        self.loop.model.swap_ema()

    def on_epoch_end(self, epoch, logs=None):
        """Count the epoch, keep the network if it is the best so far, report, save."""
        loop, state = self.loop, self.state
        validation = Validation.of(logs or {}, "val_")
        train_seconds = state.seconds - self._seconds_before
        loss, frames = state.end_epoch()
        frames -= self._frames_before
        if validation.emitted and not state.first_token_epoch:
            state.first_token_epoch = state.epoch
        state.seconds += time.perf_counter() - self._validation_began
        # Where several processes train, all end, and set the learning rate, by the chief's clock.
        state.seconds = float(loop.replicas.of_chief(state.seconds))
        best = loop.keep_if_best(validation)
        model = loop.model
        rate = float(model.optimizer.learning_rate.numpy()) if self._own_rate else self._rate
        said = advice(EpochFacts(state.epoch, self._steps, loss, loop.floor,
                                 validation.blank_share, validation.emitted, validation.gap))
        loop.reports.epoch({
            "event": "epoch", "epoch": state.epoch, "loss": loss, "valid_loss": validation.loss,
            "wer": validation.wer, "cer": validation.cer, "best": best,
            "criterion": validation.criterion, "blank_share": validation.blank_share,
            "gap": validation.gap, "floor": loop.floor,
            "first_token_epoch": state.first_token_epoch,
            "frames_per_second": frames / max(1e-9, train_seconds),
            "data_wait": model.data_wait_seconds
            / max(1e-9, model.data_wait_seconds + model.step_seconds),
            "learning_rate": rate, "minutes": state.seconds / 60, "skipped": state.skipped,
            "coach": said.text}, said)
        loop.checkpoints.save(state)
        loop.watch.check()
        if state.epoch == self.stop_at or is_over(self.settings, epoch=state.epoch,
                                                  best_epoch=state.best_epoch,
                                                  seconds=state.seconds):
            model.stop_training = True

    def keep_sums(self) -> None:
        """Copy the sums of this epoch from the device into the state."""
        tracker = self.loop.model.metrics[0]
        self.state.loss_sum = float(tracker.total.numpy())
        self.state.label_sum = float(tracker.count.numpy())

    def _skipped(self, step: SkippedStep) -> None:
        """Report a step that updated nothing; stop after `train.nonfinite_patience` in a row."""
        state, batch = self.state, self.loop.shares[step.step]
        ids = [name for name, finite in zip(batch.ids, step.finite_rows, strict=True)
               if not finite]
        # None: the gradient was not finite, or the rows are those of another process.
        ids = ids or list(self.loop.plan[step.step].ids)
        number = state.epoch * len(self.loop.plan) + step.step
        state.nonfinite_in_row = 1 + state.nonfinite_in_row * (number == state.last_skipped + 1)
        state.last_skipped = number
        state.skipped += 1
        self._steps -= 1
        self.loop.reports.skipped_step({
            "event": "nonfinite", "epoch": state.epoch + 1, "batch": step.step + 1, "ids": ids,
            "loss": repr(step.loss), "gradient_norm": repr(step.gradient_norm)})
        if state.nonfinite_in_row >= self.settings.nonfinite_patience:
            self._error = TrainingStopped(
                f"The loss or its gradient was not finite {state.nonfinite_in_row} times in a row, "
                f"last for {', '.join(ids[:5])}{' ...' if len(ids) > 5 else ''}. The weights "
                "before it are kept. Look at these recordings, or lower train.learning_rate.",
                code="train.nonfinite")


def is_best(validation: Validation, state) -> bool:
    """Whether this epoch is better than the best so far, see `rank`."""
    if not validation.usable:
        return False
    if state.best_wer is None or state.best_cer is None:
        return True
    return (rank(validation.wer, validation.cer, validation.loss)
            < rank(state.best_wer, state.best_cer, state.best_loss))
