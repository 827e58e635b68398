"""One training run from a recipe to a bundle: read this page first.

In: a recipe and a folder. Out: the files that `run_directory.py` lists. `train` prepares the data
and starts TensorFlow; `loop.py` runs the epochs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.errors import UsageError
from asr.network.framework import import_tensorflow
from asr.recipe import Recipe
from asr.training.preparation import Prepared, prepare, require_files, settings_summary
from asr.training.run_directory import RunDirectory, read_log
from asr.training.schedule import is_over
from asr.training.table import EpochTable


@dataclass(frozen=True)
class TrainingResult:
    """The result of a run.

    Attributes:
        run_dir: the folder; `asr.load(run_dir)` opens its best model.
        epochs: finished epochs.
        best_wer: lowest validation WER, a fraction; None if no epoch was validated.
        best_epoch: the epoch that reached it.
        minutes: training time over all parts of the run.
        excluded: number of utterances that were not used.
        finished: False if `stop_after_epochs` ended this part of the run.
    """

    run_dir: Path
    epochs: int
    best_wer: float | None
    best_epoch: int
    minutes: float
    excluded: int
    finished: bool

    def __str__(self) -> str:
        wer = "-" if self.best_wer is None else f"{100 * self.best_wer:.2f} %"
        return (f"{self.run_dir}: {self.epochs} epochs, {self.minutes:.1f} min, best validation "
                f"WER {wer} (epoch {self.best_epoch})")


def train(recipe: Recipe, run_dir: str | Path, *, stop_after_epochs: int = 0,
          callbacks: Sequence = (), quiet: bool = False) -> TrainingResult:
    """Train, or resume an interrupted run with exactly the same result.

    Args:
        recipe: from `asr.load_recipe`.
        run_dir: a new folder, or the folder of a run with the same recipe.
        stop_after_epochs: stop after this many epochs of this call; 0: as the recipe says.
        callbacks: Keras callbacks, passed to `fit`.
        quiet: print no table on stderr.

    Returns:
        A `TrainingResult`; the best model is `<run_dir>/best.asr`.

    Raises:
        RecipeError: a file that the recipe names does not exist.
        UsageError: the folder is in use, or holds a run with other settings, another alphabet or
            other data; TensorFlow cannot be used.
        DataError: the data cannot be used; `<run_dir>/excluded.jsonl` has the reasons.
        CheckpointError: all checkpoints of the run are damaged.
        TrainingStopped: the loss stayed non-finite, or the disk is full.
        Interrupted: SIGINT or SIGTERM; the checkpoint is written.
    """
    if stop_after_epochs < 0:
        raise UsageError(f"stop_after_epochs is {stop_after_epochs}; give 0 or more.")
    require_files(recipe)
    table = EpochTable(quiet=quiet)
    with RunDirectory(run_dir) as run:
        run.begin(recipe)
        if done := _finished_before(recipe, run):
            table.write(f"{run.path} is finished. To go on, raise train.epochs (or max_minutes, "
                        "patience); to train again, name another run directory.")
            return done
        table.write("reading manifests, looking at recordings ...")
        prepared = prepare(recipe, run, table.write)
        run.check_data(prepared.tokenizer.alphabet, prepared.data_hash, prepared.contents)
        table.write("starting TensorFlow, trying the largest batch ...")
        import_tensorflow(deterministic=recipe.train.deterministic)
        from asr.training.loop import start
        from asr.training.signals import SignalWatch
        with SignalWatch() as watch:
            loop = start(recipe, run, prepared, table, watch, callbacks)
            table.write(describe(recipe, prepared, loop.model))
            finished = loop.run(stop_after_epochs)
        state = loop.state
        facts = {"epochs": state.epoch, "best_wer": state.best_wer, "best_epoch": state.best_epoch,
                 "minutes": state.seconds / 60, "excluded": len(prepared.excluded)}
        if finished:
            run.log({"event": "finished", **facts})
        return TrainingResult(run.path, **facts, finished=finished)


def _finished_before(recipe: Recipe, run: RunDirectory) -> TrainingResult | None:
    """The result of a run that is finished already, without preparing the data again."""
    last = (read_log(run.path) or [{}])[-1]
    if last.get("event") != "finished" or not run.bundle_path.exists():
        return None
    facts = {key: last.get(key) for key in ("epochs", "best_wer", "best_epoch", "minutes",
                                            "excluded")}
    numbers = [value for key, value in facts.items() if key != "best_wer" or value is not None]
    if not all(type(value) in (int, float) for value in numbers):
        return None  # not what we wrote; the checkpoints tell
    if not is_over(recipe.train, epoch=facts["epochs"], best_epoch=facts["best_epoch"],
                   seconds=60 * facts["minutes"]):
        return None
    return TrainingResult(run.path, **facts, finished=True)


def describe(recipe: Recipe, prepared: Prepared, model) -> str:
    """Describe data and network in one line."""
    clips = len(prepared.train.clips)
    seconds = sum(r.num_frames for c in prepared.train.clips for r in c.renditions
                  if r.speed == 1.0) * recipe.features.hop_length / recipe.features.sample_rate
    return (f"{clips:,} training utterances, {seconds / 3600:.2f} h, "
            f"{len(prepared.valid.clips):,} for validation; {settings_summary(recipe)}, "
            f"{model.count_params():,} weights, LSTM kernel: "
            f"{model.lstm_layers[0].resolved_kernel}")

