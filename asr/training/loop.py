"""The epochs of a run: plan the batches, train, validate, keep the best network, save.

In: a recipe, prepared data and a run directory. Out: checkpoints, `best.asr`, log records.
Read from top to bottom: `start` builds the parts, `TrainingLoop.run` loops over epochs, and Keras
`fit` takes the steps. `asr.training.setup` has one function for each part.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from asr.augment.graph import FeatureAugmenter
from asr.data.batches import Batch, largest_batch, plan_epoch
from asr.data.pipeline import training_dataset
from asr.errors import Interrupted, TrainingStopped
from asr.network.model import AcousticModel
from asr.recipe import Recipe
from asr.training import setup
from asr.training.checkpoints import Checkpoints, TrainingState
from asr.training.coach import EpochFacts, advice
from asr.training.monitor import StepMonitor
from asr.training.preparation import Prepared
from asr.training.reports import Reports, save_best
from asr.training.run_directory import RunDirectory
from asr.training.schedule import is_over
from asr.training.signals import SignalWatch, TimeIsUp
from asr.training.table import EpochTable
from asr.training.validation import Validation, Validator


def start(recipe: Recipe, run: RunDirectory, data: Prepared, table: EpochTable,
          watch: SignalWatch, callbacks: Sequence = ()) -> TrainingLoop:
    """Build the network, try the largest batch, restore the newest checkpoint.

    Args:
        recipe: the settings.
        run: the locked run directory.
        data: from `asr.training.preparation.prepare`.
        table: the table on stderr.
        watch: pending signals.
        callbacks: Keras callbacks of the user, passed to `fit`.
    """
    model = setup.build_network(recipe, data.tokenizer)
    augmenter = setup.build_augmenter(recipe, data.cmvn,
                                      recipe.data.cache_dir or run.path / "cache")
    validator = setup.build_validator(recipe, data, model, augmenter.without_augmentation())
    plan = plan_epoch(data.epoch_clips, data.plan, recipe.seed, 0)
    setup.try_batch(model, largest_batch(plan), data.train.cache, augmenter)
    checkpoints = Checkpoints(run.path / "checkpoints", model, run.run_id)
    state = checkpoints.restore() or TrainingState()
    return TrainingLoop(recipe, data, model, augmenter, validator, checkpoints, state,
                        Reports(run, table), watch, callbacks,
                        total_steps=len(plan) * recipe.train.epochs,
                        floor=setup.loss_floor(recipe, data))


@dataclass
class TrainingLoop:
    """A run and its parts; `start` builds it.

    Attributes:
        recipe: the settings.
        data: labelled and cached features.
        model: compiled by `compile_for_training`.
        augmenter: augments and normalises the training batches.
        validator: measures loss, WER and CER after every epoch.
        checkpoints: saves `model` and `state`.
        state: progress; updated in place.
        reports: log, TensorBoard and table.
        watch: pending signals.
        callbacks: Keras callbacks of the user.
        total_steps: steps of the whole run, for the learning rate.
        floor: from `asr.training.coach.listening_floor`.
    """

    recipe: Recipe
    data: Prepared
    model: AcousticModel
    augmenter: FeatureAugmenter
    validator: Validator
    checkpoints: Checkpoints
    state: TrainingState
    reports: Reports
    watch: SignalWatch
    callbacks: Sequence
    total_steps: int
    floor: float

    def run(self, stop_after_epochs: int = 0) -> bool:
        """Train until the epochs, the time budget, the patience or `stop_after_epochs` is spent.

        Returns:
            True if the run is finished, False if `stop_after_epochs` was reached first.
        """
        state = self.state
        if state.epoch or state.batch:
            self.reports.resumed(state)
        first = state.epoch
        while not is_over(self.recipe.train, epoch=state.epoch, best_epoch=state.best_epoch,
                          seconds=state.seconds):
            if stop_after_epochs and state.epoch - first >= stop_after_epochs:
                return False
            self._run_epoch()
        return True

    def _run_epoch(self) -> None:
        """Train on every batch that is left of the epoch, validate, save."""
        state, before = self.state, self.state.seconds
        self._train(plan_epoch(self.data.epoch_clips, self.data.plan, self.recipe.seed,
                               state.epoch))
        train_seconds, started = state.seconds - before, time.perf_counter()
        self.model.swap_ema()
        try:
            self._finish_epoch(self.validator.run(), train_seconds, started)
        finally:
            self.model.swap_ema()
        self.checkpoints.save(state)
        self.watch.check()

    def _train(self, plan: list[Batch]) -> None:
        """One step for each batch of the plan from `state.batch` on."""
        state, model = self.state, self.model
        self.reports.table.begin_epoch()
        model.data_wait_seconds = model.device_seconds = 0.0
        failures: list[Exception] = []
        dataset = training_dataset(self.data.train.cache, plan, self.augmenter, start=state.batch,
                                   failures=failures)
        monitor = StepMonitor(self.recipe.train, state, self.total_steps, plan, self.watch,
                              self.reports.skipped_step, self.reports.table.moving)
        try:
            if state.batch < len(plan):
                model.fit(dataset, epochs=1, verbose=0, shuffle=False,  # type: ignore
                          callbacks=[*self.callbacks, monitor])
        except TimeIsUp:
            pass
        except (Interrupted, TrainingStopped):
            self.checkpoints.save(state)
            raise
        except tf.errors.OpError as error:
            raise (failures[0] if failures else error) from error

    def _finish_epoch(self, validation: Validation, train_seconds: float, started: float) -> None:
        """Count the epoch, keep the network if it is the best so far, report."""
        state = self.state
        loss, frames = state.end_epoch()
        if validation.emitted and not state.first_token_epoch:
            state.first_token_epoch = state.epoch
        state.seconds += time.perf_counter() - started
        best = _is_best(validation, state)
        if best:
            state.best_wer, state.best_loss = validation.wer, validation.loss
            state.best_epoch = state.epoch
            save_best(self.reports.run.bundle_path, self.recipe, self.data, self.model, state,
                      validation)
            self.checkpoints.save(state, best=True)
        optimizer, waited = self.model.optimizer, self.model.data_wait_seconds
        said = advice(EpochFacts(state.epoch, int(optimizer.iterations.numpy()), loss, self.floor,
                                 validation.blank_share, validation.emitted, validation.gap))
        self.reports.epoch({
            "event": "epoch", "epoch": state.epoch, "loss": loss, "valid_loss": validation.loss,
            "wer": validation.wer, "cer": validation.cer, "best": best,
            "blank_share": validation.blank_share, "gap": validation.gap, "floor": self.floor,
            "first_token_epoch": state.first_token_epoch,
            "frames_per_second": frames / max(1e-9, train_seconds),
            "data_wait": waited / max(1e-9, waited + self.model.device_seconds),
            "learning_rate": float(optimizer.learning_rate.numpy()),
            "minutes": state.seconds / 60, "skipped": state.skipped, "coach": said.text}, said)


def _is_best(validation: Validation, state: TrainingState) -> bool:
    """Lower WER, or the same WER and lower loss. Non-finite values are never the best."""
    wer, loss = validation.wer, validation.loss
    return (wer is not None and math.isfinite(wer) and math.isfinite(loss)
            and (state.best_wer is None or (wer, loss) < (state.best_wer, state.best_loss)))
