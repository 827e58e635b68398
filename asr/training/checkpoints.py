"""Exact resume: one TensorFlow checkpoint holds everything that the next step depends on.

In: a compiled model and a `TrainingState`. Out: files below checkpoints/last and checkpoints/best.
Weights, optimizer slots and counters, dropout seeds, averaged weights and the state are saved
together, so they always match. Resume tries the newest checkpoint first and goes back to one that
is complete and belongs to this run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from asr.errors import CheckpointError, InputWarning, TrainingStopped
from asr.files import failpoint
from asr.training.room import readable

KEEP = 2
FREE_SPACE_FACTOR = 2.2
_UNKNOWN = ("best_wer", "best_cer")  # None before the first epoch
_REAL = (*_UNKNOWN, "seconds", "loss_sum", "label_sum", "frames", "best_loss",
         "learning_rate_scale")
# What reading a checkpoint raises that is damaged or of another network.
UNREADABLE = (tf.errors.OpError, AssertionError, ValueError, TypeError, IndexError, OverflowError,
              RecursionError, OSError)


@dataclass
class TrainingState:
    """The progress of a run, stored as JSON inside the checkpoint.

    Attributes:
        run_id: the run that wrote it.
        epoch: finished epochs.
        batch: finished batches of the current epoch.
        seconds: training time so far, over all parts of the run.
        loss_sum, label_sum, frames: sums over the current epoch.
        best_wer, best_cer, best_loss: validation results of the best epoch; None and inf
            before the first.
        best_epoch: its number; 0: none yet, or the network that a run started from.
        first_token_epoch: the first epoch after which the network emitted a label; 0: none yet.
        nonfinite_in_row: consecutive non-finite steps up to `last_skipped`.
        last_skipped: number in the run of the last non-finite step.
        skipped: non-finite steps in the whole run.
        learning_rate_scale: what a callback such as ReduceLROnPlateau made of the schedule.
    """

    run_id: str = ""
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    label_sum: float = 0.0
    frames: int = 0
    best_wer: float | None = None
    best_cer: float | None = None
    best_loss: float = math.inf
    best_epoch: int = 0
    first_token_epoch: int = 0
    nonfinite_in_row: int = 0
    last_skipped: int = -2
    skipped: int = 0
    learning_rate_scale: float = 1.0

    def end_epoch(self) -> tuple[float, int]:
        """Count an epoch; returns its training loss per label (NaN without labels) and frames."""
        loss = self.loss_sum / self.label_sum if self.label_sum else math.nan
        frames = self.frames
        self.epoch += 1
        self.batch, self.loss_sum, self.label_sum, self.frames = 0, 0.0, 0.0, 0
        return loss, frames


class Checkpoints:
    """Last and best checkpoints of one run.

    Args:
        folder: `<run_dir>/checkpoints`.
        model: compiled by `compile_for_training`.
        run_id: checkpoints of other runs are ignored.
        writes: False: `save` does nothing, as in every process of a training but the chief.

    Attributes:
        variables: TensorFlow's, all that is saved beside the state.
    """

    def __init__(self, folder: Path, model, run_id: str, *, writes: bool = True):
        self.folder = folder
        self._writes = writes
        self.run_id = run_id
        self._state = tf.Variable(tf.constant(""), trainable=False)
        variables = [v.value for v in [*model.variables, *model.optimizer.variables]]
        # In some Keras versions the model lists the optimizer variables too.
        unique = {id(v): v for v in [*variables, *model.ema_weights]}
        self.variables = list(unique.values())
        self._bytes = sum(v.dtype.size * v.shape.num_elements() for v in unique.values())
        self._checkpoint = tf.train.Checkpoint(state=self._state, variables=self.variables)
        for name in ("last", "best"):
            _mend_pointer(folder / name)
            for path in (folder / name).glob("ckpt-*.tempstate*"):  # of a process that was killed
                path.unlink(missing_ok=True)
        self._last = tf.train.CheckpointManager(self._checkpoint, str(folder / "last"), KEEP)
        self._best = tf.train.CheckpointManager(self._checkpoint, str(folder / "best"), KEEP)

    def save(self, state: TrainingState, *, best: bool = False) -> None:
        """Write a checkpoint; a failure leaves the earlier ones intact.

        Raises:
            TrainingStopped: the disk is full, or the checkpoint cannot be written.
        """
        if not self._writes:
            return
        free = shutil.disk_usage(self.folder.parent).free
        if free < FREE_SPACE_FACTOR * self._bytes:
            raise TrainingStopped(f"{readable(free)} are free at {self.folder}, a checkpoint "
                                  f"needs {readable(FREE_SPACE_FACTOR * self._bytes)}. Make "
                                  "room and run the same command again; nothing is lost.",
                                  code="ckpt.disk_full", path=self.folder)
        state.run_id = self.run_id
        self._state.assign(json.dumps(dataclasses.asdict(state)))
        failpoint("ckpt.before_save")
        manager = self._best if best else self._last
        try:
            manager.save()
        except (OSError, tf.errors.OpError) as error:
            raise TrainingStopped(f"Cannot write a checkpoint to {self.folder}: "
                                  f"{str(error).splitlines()[0]}. Earlier checkpoints are intact; "
                                  "make room and run the same command again.",
                                  code="ckpt.write", path=self.folder) from error
        failpoint("ckpt.after_save")

    def restore(self) -> TrainingState | None:
        """Load the newest usable checkpoint of this run; None if the run has none.

        Raises:
            CheckpointError: there are checkpoints, but none can be used.
        """
        prefixes = _prefixes(self.folder / "last")
        problems = []
        if prefixes and _pointed(self.folder / "last") > _number(prefixes[0]):
            problems.append("the index of the newest checkpoint is missing")
        for prefix in prefixes:
            try:
                state = self._read(prefix)
            except UNREADABLE as error:
                problems.append(f"{prefix.name}: {type(error).__name__} "
                                f"{(str(error).splitlines() or [''])[0][:160]}")
                continue
            if state.run_id != self.run_id:
                problems.append(f"{prefix.name}: belongs to another run")
                continue
            self._rotate_from(prefix, prefixes)
            if problems:
                warnings.warn(InputWarning(
                    f"{self.folder / 'last'}: {'; '.join(problems)}. Going on from {prefix.name}, "
                    f"after epoch {state.epoch}.", "ckpt.damaged"), stacklevel=2)
            return state
        if problems or any((self.folder / "last").glob("ckpt-*")):
            raise CheckpointError(f"No checkpoint in {self.folder / 'last'} can be used "
                                  f"({'; '.join(problems) or 'index files are missing'}). Restore "
                                  "the folder from a copy, or train into a new run directory.",
                                  path=self.folder)
        return None

    def _read(self, prefix: Path) -> TrainingState:
        self._checkpoint.restore(str(prefix)).assert_consumed()
        return _state(json.loads(bytes(self._state.numpy())))

    def kept(self) -> dict[int, Path]:
        """Finished epochs of this run that have a checkpoint, and its prefix; damaged ones not."""
        found = {}
        for prefix in (*_prefixes(self.folder / "best"), *_prefixes(self.folder / "last")[::-1]):
            try:
                text = tf.train.load_checkpoint(str(prefix)).get_tensor(
                    "state/.ATTRIBUTES/VARIABLE_VALUE")
                state = _state(json.loads(bytes(text)))
            except UNREADABLE:
                continue
            if state.run_id == self.run_id:
                found[state.epoch] = prefix
        return found

    def restore_from(self, prefix: Path) -> TrainingState:
        """Load one checkpoint of `kept`.

        Raises:
            CheckpointError: it is damaged, or of another network.
        """
        try:
            return self._read(prefix)
        except UNREADABLE as error:
            raise CheckpointError(f"{prefix} cannot be used ({type(error).__name__} "
                                  f"{(str(error).splitlines() or [''])[0][:160]}).",
                                  path=prefix) from error

    def _rotate_from(self, good: Path, prefixes: list[Path]) -> None:
        """Keep damaged checkpoints out of the rotation, where they would replace intact ones."""
        if good != prefixes[0]:
            whole = [str(p) for p in reversed(prefixes[prefixes.index(good):])]
            tf.compat.v1.train.update_checkpoint_state(str(self.folder / "last"), str(good), whole)
            self._last = tf.train.CheckpointManager(self._checkpoint, str(self.folder / "last"),
                                                    KEEP)
        self._checkpoint.save_counter.assign(_number(prefixes[0]))


def _state(table: object) -> TrainingState:
    """The state, if each value has the type of its field.

    Raises:
        TypeError: it has not.
    """
    state = TrainingState(**table)  # type: ignore[arg-type]
    for name, value in dataclasses.asdict(state).items():
        wanted = str if name == "run_id" else (int, float) if name in _REAL else int
        if not (value is None and name in _UNKNOWN) and (isinstance(value, bool)
                                                         or not isinstance(value, wanted)):
            raise TypeError(f"{name} is {value!r}")
    return state


def _mend_pointer(folder: Path) -> None:
    """Rewrite a pointer file that TensorFlow cannot read, as a crash may leave it."""
    try:
        tf.train.get_checkpoint_state(str(folder))
    except ValueError:  # empty, or not UTF-8; the checkpoints themselves are intact
        prefixes = [str(prefix) for prefix in reversed(_prefixes(folder))]
        if prefixes:
            tf.compat.v1.train.update_checkpoint_state(str(folder), prefixes[-1], prefixes)
        else:
            (folder / "checkpoint").unlink()


def _pointed(folder: Path) -> int:
    """The number of the newest checkpoint that was finished; -1 if the pointer file says none."""
    state = tf.train.get_checkpoint_state(str(folder))
    found = re.search(r"ckpt-(\d{1,9})$", state.model_checkpoint_path if state else "")
    return int(found[1]) if found else -1


def _prefixes(folder: Path) -> list[Path]:
    """Checkpoint prefixes in a folder, newest first; the pointer file is not read."""
    found = [path.with_suffix("") for path in folder.glob("ckpt-*.index")
             if re.fullmatch(r"ckpt-\d+\.index", path.name)]
    return sorted(found, key=_number, reverse=True)


def _number(prefix: Path) -> int:
    return int(prefix.name.rsplit("-", 1)[1])
