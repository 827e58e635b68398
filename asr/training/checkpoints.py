"""Exact resume: everything that the next step depends on, in one TensorFlow checkpoint.

In: a compiled model and a `TrainingState`. Out: files below checkpoints/last and checkpoints/best.
Weights, optimizer slots and counters, dropout seeds, the averaged weights and the state travel as
one checkpoint, so they can never disagree. Resume walks from the newest checkpoint back to one
that is whole and belongs to this run.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from asr.errors import CheckpointError, TrainingStopped
from asr.files import failpoint

KEEP = 2
FREE_SPACE_FACTOR = 2.2


@dataclass
class TrainingState:
    """The state of a run; JSON inside the checkpoint.

    Attributes:
        epoch: epochs finished.
        batch: batches done of the epoch under way.
        seconds: training time so far, over all parts of the run.
        loss_sum, label_sum, frames: of the epoch under way.
        best_wer: lowest validation WER so far; None before the first.
        best_loss: its validation loss, which decides between equal WERs.
        best_epoch: the epoch that reached it.
        first_token_epoch: the first epoch after which the network wrote a label; 0: none yet.
        nonfinite_in_row: non-finite steps directly before this point.
        skipped: non-finite steps of the whole run.
    """

    run_id: str = ""
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    loss_sum: float = 0.0
    label_sum: float = 0.0
    frames: int = 0
    best_wer: float | None = None
    best_loss: float = math.inf
    best_epoch: int = 0
    first_token_epoch: int = 0
    nonfinite_in_row: int = 0
    skipped: int = 0


class Checkpoints:
    """Last and best checkpoints of one run.

    Args:
        folder: `<run_dir>/checkpoints`.
        model: compiled by `compile_for_training`.
        run_id: a checkpoint of another run is not taken.
    """

    def __init__(self, folder: Path, model, run_id: str):
        self.folder = folder
        self.run_id = run_id
        self._state = tf.Variable(tf.constant(""), trainable=False)
        variables = [v.value for v in [*model.variables, *model.optimizer.variables]]
        # Model variables contain those of the optimizer in some Keras versions: each once.
        unique = {id(v): v for v in [*variables, *model.ema_weights]}
        self._bytes = sum(v.dtype.size * v.shape.num_elements() for v in unique.values())
        self._checkpoint = tf.train.Checkpoint(state=self._state, variables=list(unique.values()))
        for name in ("last", "best"):
            _mend_pointer(folder / name)
        self._last = tf.train.CheckpointManager(self._checkpoint, str(folder / "last"), KEEP)
        self._best = tf.train.CheckpointManager(self._checkpoint, str(folder / "best"), KEEP)

    def save(self, state: TrainingState, *, best: bool = False) -> None:
        """Write a checkpoint; the ones before it stay whole whatever happens.

        Raises:
            TrainingStopped: the disk has no room for it; earlier checkpoints are intact.
        """
        free = shutil.disk_usage(self.folder.parent).free
        if free < FREE_SPACE_FACTOR * self._bytes:
            raise TrainingStopped(f"{free / 1e6:.0f} MB are free at {self.folder}, a checkpoint "
                                  f"needs {FREE_SPACE_FACTOR * self._bytes / 1e6:.0f} MB. Make "
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
                                  f"{str(error).splitlines()[0]}. Earlier checkpoints are whole; "
                                  "make room and run the same command again.",
                                  code="ckpt.write", path=self.folder) from error
        failpoint("ckpt.after_save")

    def restore(self) -> TrainingState | None:
        """Load the newest checkpoint that is whole and ours; None if there never was one.

        Raises:
            CheckpointError: there are checkpoints, and none can be used.
        """
        prefixes = _prefixes(self.folder / "last")
        problems = []
        for prefix in prefixes:
            try:
                self._checkpoint.restore(str(prefix)).assert_consumed()
                state = TrainingState(**json.loads(bytes(self._state.numpy())))
            except (tf.errors.OpError, AssertionError, ValueError, TypeError, IndexError,
                    OSError) as error:
                problems.append(f"{prefix.name}: {type(error).__name__} "
                                f"{(str(error).splitlines() or [''])[0][:160]}")
                continue
            if state.run_id != self.run_id:
                problems.append(f"{prefix.name}: belongs to another run")
                continue
            self._rotate_from(prefix, prefixes)
            return state
        if problems or any((self.folder / "last").glob("ckpt-*")):
            raise CheckpointError(f"No checkpoint in {self.folder / 'last'} can be used "
                                  f"({'; '.join(problems) or 'index files are missing'}). Restore "
                                  "the folder from a copy, or train into a new run directory.",
                                  path=self.folder)
        return None


    def _rotate_from(self, good: Path, prefixes: list[Path]) -> None:
        """Rotation counts whole checkpoints only, or a damaged one would push out a good one."""
        if good != prefixes[0]:
            whole = [str(p) for p in reversed(prefixes[prefixes.index(good):])]
            tf.compat.v1.train.update_checkpoint_state(str(self.folder / "last"), str(good), whole)
            self._last = tf.train.CheckpointManager(self._checkpoint, str(self.folder / "last"),
                                                    KEEP)
        self._checkpoint.save_counter.assign(_number(prefixes[0]))


def _mend_pointer(folder: Path) -> None:
    """Rewrite the pointer file where a crash left one that TensorFlow cannot read."""
    try:
        tf.train.get_checkpoint_state(str(folder))
    except ValueError:  # empty, or not UTF-8; the checkpoints beside it are none the worse
        prefixes = [str(prefix) for prefix in reversed(_prefixes(folder))]
        if prefixes:
            tf.compat.v1.train.update_checkpoint_state(str(folder), prefixes[-1], prefixes)
        else:
            (folder / "checkpoint").unlink()


def _prefixes(folder: Path) -> list[Path]:
    """Checkpoint prefixes in a folder, newest first, whatever the pointer file says."""
    found = [path.with_suffix("") for path in folder.glob("ckpt-*.index")
             if re.fullmatch(r"ckpt-\d+\.index", path.name)]
    return sorted(found, key=_number, reverse=True)


def _number(prefix: Path) -> int:
    return int(prefix.name.rsplit("-", 1)[1])
