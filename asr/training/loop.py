"""The epochs of a run: one Keras `fit` over all of them.

In: a recipe, prepared data and a run directory. Out: checkpoints, `best.asr`, log records.
`start` builds the parts (one function each in `asr.training.setup`), `TrainingLoop.run` calls
`fit`, and `RunMonitor` of monitor.py does what comes before and after the steps.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import tensorflow as tf

from asr.augment.graph import FeatureAugmenter
from asr.data.batches import (
    Batch,
    EpochPlans,
    balance,
    largest_batch,
    share_of_batch,
    sorted_batch,
)
from asr.data.pipeline import epochs_dataset
from asr.errors import Interrupted, TrainingStopped
from asr.network.ctc_model import CTCModel
from asr.network.replicas import LOST, Replicas, lost_sentence
from asr.recipe import Recipe
from asr.terminal import plural
from asr.training import setup
from asr.training.checkpoints import Checkpoints, TrainingState
from asr.training.cluster import agree, take_over
from asr.training.monitor import RunMonitor, is_best
from asr.training.preparation import Prepared
from asr.training.reports import Reports, save_bundle_of
from asr.training.run_directory import RunDirectory
from asr.training.schedule import is_over, scaled
from asr.training.signals import SignalWatch
from asr.training.table import EpochTable
from asr.training.validation import Validation


def start(recipe: Recipe, run: RunDirectory, data: Prepared, table: EpochTable,
          watch: SignalWatch, callbacks: Sequence = (), build: setup.Build | None = None,
          replicas: Replicas | None = None) -> TrainingLoop:
    """Build the network, try the largest batch, restore the newest checkpoint.

    Args:
        recipe: the settings.
        run: the locked run directory.
        data: from `asr.training.preparation.prepare`.
        table: the table on stderr.
        watch: pending signals.
        callbacks: Keras callbacks of the user, passed to `fit`.
        build: makes a network of the user's own; None: `AcousticModel`.
        replicas: that share every batch; None: one.

    Raises:
        UsageError: the processes of the replicas do not train the same.
    """
    replicas = replicas or Replicas()
    agree(replicas, recipe, data)
    recipe = replace(recipe, train=scaled(recipe.train, replicas.count))
    model = setup.build_network(recipe, data.tokenizer, build)
    if replicas.count > 1:
        model.replicas = replicas
    augmenter = setup.build_augmenter(recipe, data.cmvn,
                                      recipe.data.cache_dir or run.path / "cache")
    bounds = replace(data.plan, batch_frames=setup.batch_frames_of(run, recipe, data, model,
                                                                   augmenter))
    plans = EpochPlans(data.epoch_clips, bounds, recipe.seed)
    setup.try_batch(model, share_of_batch(largest_batch(plans.first), 0, replicas.count),
                    data.train.cache, augmenter)
    if replicas.count > 1:
        table.write(f"{replicas.count} replicas ({replicas.world} processes, each with "
                    f"{plural(len(replicas.devices), 'device')}) share each batch; their work is "
                    f"{balance(plans.first, replicas.count):.1%} of the fullest replica's")
    checkpoints = Checkpoints(run.path / "checkpoints", model, run.run_id,
                              writes=replicas.is_chief)
    state = checkpoints.restore() or TrainingState()
    state = take_over(replicas, checkpoints, state, model)
    return TrainingLoop(recipe, data, model, plans, augmenter, checkpoints, state,
                        Reports(run, table), watch, callbacks,
                        replicas=replicas, total_steps=plans.num_batches * recipe.train.epochs,
                        floor=setup.loss_floor(recipe, data))


@dataclass
class TrainingLoop:
    """A run and its parts; `start` builds it.

    Attributes:
        recipe: the settings.
        data: labelled and cached features.
        model: compiled by `compile_for_training`.
        plans: the batches of every epoch.
        augmenter: augments and normalises the training batches.
        checkpoints: saves `model` and `state`.
        state: progress; updated in place.
        reports: log, TensorBoard and table.
        watch: pending signals.
        callbacks: Keras callbacks of the user.
        total_steps: steps of the whole run, for the learning rate.
        floor: from `asr.training.coach.listening_floor`.
        replicas: that share every batch.
        plan: the batches of the current epoch.
        shares: what this process computes of each.
    """

    recipe: Recipe
    data: Prepared
    model: CTCModel
    plans: EpochPlans
    augmenter: FeatureAugmenter
    checkpoints: Checkpoints
    state: TrainingState
    reports: Reports
    watch: SignalWatch
    callbacks: Sequence
    total_steps: int
    floor: float
    replicas: Replicas
    plan: list[Batch] = field(default_factory=list)
    shares: list[Batch] = field(default_factory=list)

    def run(self, stop_after_epochs: int = 0) -> bool:
        """Train until the epochs, the time budget, the patience or `stop_after_epochs` is spent.

        Returns:
            True if the run is finished, False if `stop_after_epochs` was reached first.
        """
        state, settings = self.state, self.recipe.train
        if is_over(settings, epoch=state.epoch, best_epoch=state.best_epoch,
                   seconds=state.seconds):
            return True
        failures: list[Exception] = []
        validation = setup.validation_dataset(self.recipe, self.data, self.augmenter, failures,
                                              self.replicas)
        if state.epoch or state.batch:
            self.reports.resumed(state)
        elif settings.initial_bundle:
            self._begin_with(validation)
        dataset = epochs_dataset(self.data.train.cache, self._begin_epoch, self.augmenter,
                                 self.plans.num_batches, failures=failures)
        monitor = RunMonitor(self, stop_after_epochs)
        try:
            with warnings.catch_warnings():  # an epoch that is resumed has fewer batches
                warnings.filterwarnings("ignore", message="Your input ran out of data")
                self.model.fit(dataset, epochs=settings.epochs, initial_epoch=state.epoch,
                               verbose=0, validation_data=validation,  # type: ignore[arg-type]
                               callbacks=[monitor, *self.callbacks])
        except (Interrupted, TrainingStopped):
            if state.batch:
                monitor.keep_sums()
                self.checkpoints.save(state)
            raise
        except tf.errors.OpError as error:
            if not failures and self.replicas.world > 1 and isinstance(error, LOST):
                raise TrainingStopped(lost_sentence("has ended"),
                                      code="train.process_lost") from error
            raise (failures[0] if failures else error) from error
        return not stop_after_epochs or state.epoch != monitor.stop_at or is_over(
            settings, epoch=state.epoch, best_epoch=state.best_epoch, seconds=state.seconds)

    def _begin_epoch(self) -> tuple[list[Batch], int]:
        """The batches of the epoch that begins, and the first that is left of them."""
        self.plan = self.plans.plan(self.state.epoch)
        self.shares = [self._share(batch) for batch in self.plan]
        return self.shares, self.state.batch

    def _share(self, batch: Batch) -> Batch:
        """The rows of this process, those of all its devices."""
        replicas = self.replicas
        if replicas.world == 1 and replicas.count > 1:  # longest first, as for several processes
            return sorted_batch(batch)
        return share_of_batch(batch, replicas.rank, replicas.world)

    def _begin_with(self, dataset: tf.data.Dataset) -> None:
        """Measure what the run starts from: it can only end at or below that."""
        logs = self.model.evaluate(dataset, verbose=0, return_dict=True)  # type: ignore[arg-type]
        validation = Validation.of(logs)
        self.keep_if_best(validation)
        self.reports.started_from(self.recipe.train.initial_bundle, validation)

    def keep_if_best(self, validation: Validation) -> bool:
        """Write best.asr and a checkpoint if no epoch before was as good."""
        state = self.state
        if not is_best(validation, state):
            return False
        state.best_wer, state.best_cer = validation.wer, validation.cer
        state.best_loss, state.best_epoch = validation.loss, state.epoch
        if not self.replicas.is_chief:
            return True
        self.model.swap_ema()
        try:
            save_bundle_of(self.model, self.reports.run.bundle_path, self.recipe, self.data, state,
                           validation)
        finally:
            self.model.swap_ema()
        self.checkpoints.save(state, best=True)
        return True
