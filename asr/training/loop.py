"""The epochs: plan, fit, validate, keep the best, checkpoint.

In: prepared data and a run directory. Out: checkpoints, `best.asr`, log records.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from asr.augment import load_noise_bank
from asr.augment.graph import FeatureAugmenter
from asr.bundle import Reference, load_bundle, reference_clip, save_bundle
from asr.data.batches import Batch, largest_batch, plan_epoch, plan_evaluation
from asr.data.pipeline import training_dataset
from asr.decoding import build_decoder
from asr.errors import Interrupted, TrainingStopped, UsageError
from asr.features import FeatureExtractor, normalize_features
from asr.features.lengths import output_length
from asr.network.model import build_model
from asr.recipe import Recipe
from asr.training.checkpoints import Checkpoints, TrainingState
from asr.training.coach import EpochFacts, advice, listening_floor
from asr.training.monitor import StepMonitor
from asr.training.preparation import Prepared, remap_rows
from asr.training.run_directory import RunDirectory
from asr.training.schedule import is_over
from asr.training.signals import SignalWatch, TimeIsUp
from asr.training.table import EpochTable
from asr.training.validation import Validation, Validator

FLOOR_SAMPLE = 60  # utterances
_SCALARS = tf.compat.v1.SummaryMetadata(
    plugin_data=tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars"), data_class=1)


class TrainingLoop:
    """A run under way.

    Args:
        recipe: the run's.
        run: its folder, locked.
        prepared: data.
        table: where people look.
        watch: pending signals.
        callbacks: of the user, for `fit`.
    """

    def __init__(self, recipe: Recipe, run: RunDirectory, prepared: Prepared, table: EpochTable,
                 watch: SignalWatch, callbacks=()):
        self.recipe, self.run_dir, self.data = recipe, run, prepared
        self.table, self.watch, self.callbacks = table, watch, list(callbacks)
        extractor = FeatureExtractor(recipe.features)
        self.model = build_model(recipe.model, extractor.num_features,
                                 prepared.tokenizer.vocab_size, seed=recipe.seed,
                                 ema=recipe.train.ema,
                                 intermediate_ctc=recipe.train.intermediate_ctc)
        if recipe.train.initial_bundle:
            self._start_from(recipe.train.initial_bundle)
        optimizer = keras.optimizers.AdamW(learning_rate=recipe.train.learning_rate,
                                           weight_decay=recipe.train.weight_decay,
                                           global_clipnorm=recipe.train.clip_norm)
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        self.model.compile_for_training(optimizer)
        self.augmenter = self._augmenter(extractor)
        normalizer = self.augmenter.without_augmentation()
        decoder = build_decoder(recipe.decoder, prepared.tokenizer)
        # The coach exchanges transcripts within a batch, so one utterance is not a batch here.
        bounds = replace(prepared.plan, max_utterances=max(8, prepared.plan.max_utterances))
        self.validator = Validator(self.model, prepared.valid,
                                   plan_evaluation(prepared.valid.clips, bounds), normalizer,
                                   decoder)
        plan = self._plan(0)
        self.total_steps = len(plan) * recipe.train.epochs
        self._try_largest(largest_batch(plan))
        self.checkpoints = Checkpoints(run.path / "checkpoints", self.model, run.run_id)
        self.state = self.checkpoints.restore() or TrainingState()
        self.floor = self._floor()
        self.writer = tf.summary.create_file_writer(str(run.path / "tensorboard"))

    def run(self, stop_after_epochs: int = 0) -> bool:
        """Epochs until the recipe, the clock or `stop_after_epochs` says stop.

        Returns:
            Whether the run is finished (False: `stop_after_epochs` was reached first).
        """
        if self.state.epoch or self.state.batch:
            self.table.write(f"going on in epoch {self.state.epoch + 1}"
                             + (f", after {self.state.batch} of its batches" if self.state.batch
                                else ""))
            self.run_dir.log({"event": "resumed", "epoch": self.state.epoch,
                              "batch": self.state.batch})
        first = self.state.epoch
        while not self._finished():
            if stop_after_epochs and self.state.epoch - first >= stop_after_epochs:
                return False
            self._epoch()
        return True

    def _finished(self) -> bool:
        state = self.state
        return is_over(self.recipe.train, epoch=state.epoch, best_epoch=state.best_epoch,
                       seconds=state.seconds)

    def _plan(self, epoch: int) -> list[Batch]:
        return plan_epoch(self.data.epoch_clips, self.data.plan, self.recipe.seed, epoch)

    def _epoch(self) -> None:
        state = self.state
        plan = self._plan(state.epoch)
        self.table.begin_epoch()
        before = state.seconds
        self.model.data_wait_seconds = self.model.device_seconds = 0.0
        failures: list[Exception] = []
        dataset = training_dataset(self.data.train.cache, plan, self.augmenter, start=state.batch,
                                   failures=failures)
        monitor = StepMonitor(self.recipe.train, state, self.total_steps, plan, self.watch,
                              self._warn, self.table.moving)
        try:
            if state.batch < len(plan):
                self.model.fit(dataset, epochs=1, verbose=0, shuffle=False,  # type: ignore
                               callbacks=[*self.callbacks, monitor])
        except TimeIsUp:
            pass
        except (Interrupted, TrainingStopped):
            self.checkpoints.save(state)
            raise
        except tf.errors.OpError as error:
            raise (failures[0] if failures else error) from error
        started = time.perf_counter()
        self.model.swap_ema()
        try:
            validation = self.validator.run()
            self._finish_epoch(validation, state.seconds - before, started)
        finally:
            self.model.swap_ema()
        self.checkpoints.save(state)
        self.watch.check()

    def _finish_epoch(self, validation: Validation, train_seconds: float, started: float) -> None:
        """Log, judge, and keep the model if it is the best so far."""
        state, model = self.state, self.model
        loss = state.loss_sum / state.label_sum if state.label_sum else math.nan
        frames = state.frames
        state.epoch += 1
        state.batch, state.loss_sum, state.label_sum, state.frames = 0, 0.0, 0.0, 0
        if validation.emitted and not state.first_token_epoch:
            state.first_token_epoch = state.epoch
        wer = validation.wer
        # Equal WER: the lower loss wins. What is not a number never does.
        best = (wer is not None and math.isfinite(wer) and math.isfinite(validation.loss)
                and (state.best_wer is None
                     or (wer, validation.loss) < (state.best_wer, state.best_loss)))
        state.seconds += time.perf_counter() - started
        if best:
            state.best_wer, state.best_loss = wer, validation.loss
            state.best_epoch = state.epoch
            self._save_bundle(validation)
            self.checkpoints.save(state, best=True)
        facts = EpochFacts(state.epoch, int(model.optimizer.iterations.numpy()), loss, self.floor,
                           validation.blank_share, validation.emitted, validation.gap)
        waited = model.data_wait_seconds
        record = {"event": "epoch", "epoch": state.epoch, "loss": loss,
                  "valid_loss": validation.loss, "wer": wer, "cer": validation.cer, "best": best,
                  "blank_share": validation.blank_share, "gap": validation.gap,
                  "floor": self.floor, "first_token_epoch": state.first_token_epoch,
                  "frames_per_second": frames / max(1e-9, train_seconds),
                  "data_wait": waited / max(1e-9, waited + model.device_seconds),
                  "learning_rate": float(model.optimizer.learning_rate.numpy()),
                  "minutes": state.seconds / 60, "skipped": state.skipped,
                  "coach": advice(facts).text}
        self.run_dir.log(record)
        self._tensorboard(record)
        self.table.row(record)
        self.table.coach(record["coach"], state.epoch)

    def _save_bundle(self, validation: Validation) -> None:
        recipe, data, state = self.recipe, self.data, self.state
        training = {"epoch": state.epoch, "minutes": round(state.seconds / 60, 2),
                    "valid_wer": validation.wer, "valid_cer": validation.cer,
                    "valid_utterances": len(validation.hypotheses),
                    "train_utterances": len(data.train.clips), "seed": recipe.seed}
        save_bundle(self.run_dir.bundle_path, features=recipe.features, text=recipe.text,
                    model=recipe.model, decoder=recipe.decoder, tokenizer=data.tokenizer,
                    weights=self.model.get_named_weights(), cmvn=data.cmvn, training=training,
                    reference=self._reference())

    def _reference(self) -> Reference:
        """What this model makes of a synthetic clip, for `asr doctor --bundle`."""
        audio = reference_clip(self.recipe.features.sample_rate)
        features = normalize_features(FeatureExtractor(self.recipe.features).extract(audio),
                                      self.recipe.features, self.data.cmvn)
        logits = self.model({"features": features[np.newaxis],
                             "num_frames": np.array([len(features)], np.int32)})
        return Reference(audio, features, logits.numpy()[0])

    def _tensorboard(self, record: dict) -> None:
        with self.writer.as_default(step=record["epoch"]):
            for name in ("loss", "valid_loss", "wer", "cer", "frames_per_second", "data_wait",
                         "learning_rate", "blank_share"):
                if record[name] is not None:
                    # tf.summary.scalar would need the tensorboard package only to write this.
                    tf.summary.write(name, tf.constant(record[name], tf.float32),
                                     metadata=_SCALARS)
        self.writer.flush()

    def _warn(self, record: dict) -> None:
        self.run_dir.log(record)
        self.table.write(f"warning: step skipped, loss {record['loss']}, gradient norm "
                         f"{record['gradient_norm']}, utterances {', '.join(record['ids'][:5])}")

    def _augmenter(self, extractor: FeatureExtractor) -> FeatureAugmenter:
        augment, features = self.recipe.augment, self.recipe.features
        mean, std = self.data.cmvn or (None, None)
        noise = None
        if augment.noise_probability:
            folder = self.recipe.data.cache_dir or self.run_dir.path / "cache"
            noise = load_noise_bank(augment.noise_dir, extractor, cache_dir=folder)
        mel = extractor.mel_frequencies if features.kind == "log_mel" else None
        return FeatureAugmenter(augment, features, mel_frequencies=mel, noise=noise, mean=mean,
                                std=std)

    def _try_largest(self, batch: Batch) -> None:
        """Forward and backward of the largest batch, nothing applied: memory fails now or never."""
        dataset = training_dataset(self.data.train.cache, [batch], self.augmenter)
        variables = [v.value for v in self.model.non_trainable_variables]
        before = [v.numpy() for v in variables]
        x, y = next(iter(dataset))
        try:
            with tf.GradientTape() as tape:
                loss = self.model.compute_loss(x, y, self.model(x, training=True))
            tape.gradient(loss, [v.value for v in self.model.trainable_variables])
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            raise TrainingStopped(
                f"The largest batch, {len(batch)} utterances of up to {batch.max_frames} frames, "
                "does not fit into memory. Lower data.batch_frames or data.max_seconds.",
                code="train.memory") from error
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)

    def _floor(self) -> float:
        """See `asr.training.coach.listening_floor`; on a sample, it needs no more."""
        clips = self.data.train.clips
        sample = clips[::max(1, len(clips) // FLOOR_SAMPLE)]
        frames = [output_length(c.renditions[0].num_frames, self.recipe.model) for c in sample]
        return listening_floor(frames, [c.labels for c in sample], self.data.tokenizer.vocab_size)

    def _start_from(self, path: str) -> None:
        bundle = load_bundle(path)
        if bundle.model != self.recipe.model or bundle.features != self.recipe.features:
            raise UsageError(f"train.initial_bundle {path} has other [features] or [model] "
                             "settings than the recipe; copy them from its config.",
                             code="train.initial_bundle", path=path)
        weights = dict(bundle.weights)
        weights["output/kernel"], weights["output/bias"] = remap_rows(
            bundle.tokenizer, self.data.tokenizer, weights["output/kernel"],
            weights["output/bias"], np.random.default_rng(self.recipe.seed))
        self.model.set_named_weights(weights)
