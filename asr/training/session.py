"""One training run from a recipe to a bundle: read this page first.

In: a recipe and a folder. Out: the files that `run_directory.py` lists. `train` prepares the data
and starts TensorFlow; `loop.py` runs the epochs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.data.cache import Spread
from asr.errors import UsageError
from asr.network.framework import import_tensorflow
from asr.network.weights import network_name
from asr.recipe import Recipe
from asr.terminal import plural
from asr.training.cluster import place_of_process, room_of
from asr.training.initial import alphabet_difference, check_initial_bundle
from asr.training.preparation import Prepared, prepare, require_files, settings_summary
from asr.training.run_directory import read_log
from asr.training.schedule import CHANCE_WER, is_over
from asr.training.table import EpochTable


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run.

    Attributes:
        run_dir: the folder; `asr.load(run_dir)` opens its best model.
        epochs: finished epochs.
        best_wer, best_cer: validation WER and CER of the best epoch, fractions; None if no epoch
            was validated. The best one is that of the lowest WER, or of the lowest CER as long as
            every WER is above 80 %.
        best_epoch: its number; 0: the network that the run started from.
        minutes: training time over all parts of the run.
        excluded: number of utterances that were not used.
        finished: False if `stop_after_epochs` ended this part of the run.
    """

    run_dir: Path
    epochs: int
    best_wer: float | None
    best_cer: float | None
    best_epoch: int
    minutes: float
    excluded: int
    finished: bool

    def __str__(self) -> str:
        found = "no epoch was validated"
        if self.best_wer is not None:
            found = f"best validation WER {100 * self.best_wer:.2f} %"
            if self.best_wer > CHANCE_WER and self.best_cer is not None:
                found = (f"best validation CER {100 * self.best_cer:.2f} %, which decides while "
                         f"WER is above 80 %: {100 * self.best_wer:.2f} %")
            found += f" (epoch {self.best_epoch})" if self.best_epoch else " (what it started from)"
        return f"{self.run_dir}: {plural(self.epochs, 'epoch')}, {self.minutes:.1f} min, {found}"


def train(recipe: Recipe, run_dir: str | Path, *, stop_after_epochs: int = 0,
          callbacks: Sequence = (), build: Callable | None = None, quiet: bool = False,
          spread: Spread | None = None) -> TrainingResult:
    """Train, or resume an interrupted run with exactly the same result.

    Args:
        recipe: from `asr.load_recipe`.
        run_dir: a new folder, or the folder of a run with the same recipe.
        stop_after_epochs: stop after this many epochs of this call; 0: as the recipe says.
        callbacks: Keras callbacks, passed to `fit`; their logs hold loss, val_loss, val_wer and
            val_cer, and they may stop the run. A LearningRateScheduler replaces the schedule of
            the recipe; what ReduceLROnPlateau does is a factor on it.
        build: `build(recipe, num_features, vocab_size)` makes a network of your own: a
            `keras.Model` from the x of the batch contract to logits, with `output_length`, see
            `asr.CTCModel`. `asr.load(run_dir, build=build)` opens its best model.
        quiet: print no table on stderr.
        spread: extracts features elsewhere, see `asr.data.cache.build_cache`; None: here.

    Returns:
        A `TrainingResult`; the best model is `<run_dir>/best.asr`.

    Raises:
        RecipeError: a file that the recipe names does not exist.
        UsageError: the folder is in use, or holds a run with other settings, another alphabet or
            other data; TensorFlow cannot be used; `train.initial_bundle`, the network of `build`
            or a callback does not fit.
        DataError: the data cannot be used; `<run_dir>/excluded.jsonl` has the reasons.
        CheckpointError: all checkpoints of the run are damaged.
        TrainingStopped: the loss stayed non-finite, or the disk is full.
        Interrupted: SIGINT or SIGTERM; the checkpoint is written.
    """
    if stop_after_epochs < 0:
        raise UsageError(f"stop_after_epochs is {stop_after_epochs}; give 0 or more.")
    require_files(recipe)
    network = network_name(build)
    _check_callbacks(callbacks)
    before = check_initial_bundle(recipe, network)
    place = place_of_process()
    table = EpochTable(quiet=quiet or place.rank > 0)
    with room_of(recipe, run_dir, place) as (recipe, run):
        run.begin(recipe)
        if done := _finished_before(recipe, Path(run_dir)):
            table.write(f"{run_dir} is finished. To go on, raise train.epochs (or max_minutes, "
                        "patience); to train again, name another run directory.")
            return done
        table.write("reading manifests, looking at recordings ...")
        prepared = prepare(recipe, run, table.write, network, spread)
        if before is not None:
            table.write(alphabet_difference(before, prepared.tokenizer))
        run.check_data(prepared.tokenizer.alphabet, prepared.data_hash, prepared.contents, network)
        table.write("starting TensorFlow, trying the largest batch ...")
        import_tensorflow(deterministic=recipe.train.deterministic)
        from asr.network.replicas import join_processes
        replicas = join_processes(recipe.train.devices, place.rank, place.world,
                                  recipe.train.lost_after)
        from asr.training.loop import start
        from asr.training.signals import SignalWatch
        with SignalWatch() as watch:
            loop = start(recipe, run, prepared, table, watch, callbacks, build, replicas)
            table.write(describe(recipe, prepared, loop.model))
            finished = loop.run(stop_after_epochs)
        state = loop.state
        facts = {"epochs": state.epoch, "best_wer": state.best_wer, "best_cer": state.best_cer,
                 "best_epoch": state.best_epoch, "minutes": state.seconds / 60,
                 "excluded": len(prepared.excluded)}
        if finished:
            run.log({"event": "finished", **facts})
        return TrainingResult(Path(run_dir), **facts, finished=finished)


def _finished_before(recipe: Recipe, run_dir: Path) -> TrainingResult | None:
    """The result of a run that is finished already, without preparing the data again."""
    last = (read_log(run_dir) or [{}])[-1]
    if last.get("event") != "finished" or not (run_dir / "best.asr").exists():
        return None
    facts: dict[str, Any] = {key: last.get(key) for key in (
        "epochs", "best_wer", "best_epoch", "minutes", "excluded")}
    numbers = [value for key, value in facts.items() if key != "best_wer" or value is not None]
    if not all(type(value) in (int, float) for value in numbers):
        return None  # not what we wrote; the checkpoints tell
    facts["best_cer"] = last.get("best_cer")  # which older runs did not note
    if not is_over(recipe.train, epoch=facts["epochs"], best_epoch=facts["best_epoch"],
                   seconds=60 * facts["minutes"]):
        return None
    return TrainingResult(run_dir, **facts, finished=True)


# Callbacks of Keras that do what a run does by itself, and why.
_NOT_NEEDED = {
    "BackupAndRestore": "asr.train resumes an interrupted run by itself, from the checkpoints of "
                        "the run directory",
    "SwapEMAWeights": "asr.train validates and keeps averaged weights by itself, with the momentum "
                      "train.ema of the recipe"}


def _check_callbacks(callbacks: Sequence) -> None:
    """Refuse what a run does by itself, without importing Keras for it."""
    for callback in callbacks:
        if not hasattr(callback, "on_epoch_end"):
            raise UsageError(f"callbacks must be keras.callbacks.Callback objects; got "
                             f"{callback!r}.")
        if type(callback).__name__ in _NOT_NEEDED:
            name = type(callback).__name__
            raise UsageError(f"{name} is not needed: {_NOT_NEEDED[name]}. Leave it out.")


def describe(recipe: Recipe, prepared: Prepared, model) -> str:
    """Describe data and network in one line."""
    clips = len(prepared.train.clips)
    seconds = sum(r.num_frames for c in prepared.train.clips for r in c.renditions
                  if r.speed == 1.0) * recipe.features.hop_length / recipe.features.sample_rate
    return (f"{plural(clips, 'training utterance')}, {seconds / 3600:.2f} h, "
            f"{len(prepared.valid.clips):,} for validation; "
            f"{prepared.network or settings_summary(recipe)}, "
            f"{plural(model.count_params(), 'weight')}"
            + ("" if prepared.network else
               f", LSTM kernel: {model.lstm_layers[0].resolved_kernel}"))

