"""One training in several processes of a Ray cluster, by Ray Train's TensorFlow trainer.

In: a recipe and a run directory. Out: the result of the run. Ray Train starts the workers and names
each of them in TF_CONFIG; what a worker does is `asr.training.train`, as on one machine. What the
chief prints, its result and every error come back by a queue, which this process has on its node.

If a worker or its node is lost, all of them are started again and go on from the last checkpoint,
as long as each start finishes an epoch.
"""

from __future__ import annotations

import io
import logging
import os
import queue
import shutil
import threading
from collections.abc import Callable
from contextlib import nullcontext, redirect_stderr, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from asr.errors import AsrError, TrainingStopped, UsageError
from asr.fleet.cluster import Cluster, count_of, processors
from asr.fleet.features import fill_cache
from asr.network.framework import import_tensorflow
from asr.recipe import Recipe
from asr.terminal import plural
from asr.training import TrainingResult, read_log, train
from asr.training.cluster import place_of_process

LOST = "train.process_lost"  # code of what a process says that has lost another one
_START_SECONDS = "300"  # for TensorFlow to be imported on every node; Ray's own 60 are few
_OF_RAY = ".ray"  # a folder in the run directory, for as long as Ray Train is at work
_PAUSE = 0.5  # seconds between two looks at the queue

Say = Callable[[str], None]


@dataclass(frozen=True)
class TrainingJob:
    """What each worker is given.

    Attributes:
        recipe: the settings.
        run_dir: absolute; a folder that every node has.
        folder: where the command was started; the paths of the recipe begin there.
        stop_after, quiet: see `asr.training.train`.
        mail: a `ray.util.queue.Queue` for ("said", text), ("done", result), ("failed", error).
    """

    recipe: Recipe
    run_dir: str
    folder: str
    stop_after: int
    quiet: bool
    mail: Any


def train_on(cluster: Cluster, recipe: Recipe, run_dir: str | Path, *,
             stop_after_epochs: int = 0, quiet: bool = False,
             say: Say = lambda text: None) -> TrainingResult:
    """`asr.train` in `cluster.workers` processes; all processors of the cluster extract features.

    Args:
        cluster: where; `workers` is the number of processes. With GPUs in the cluster each has
            one, or with train.devices = "all" an equal part of them.
        recipe: the settings.
        run_dir: on a disk that every node has.
        stop_after_epochs, quiet: see `asr.train`.
        say: gets what the chief prints on stderr, as it comes.

    Raises:
        UsageError: Ray or what Ray Train needs is not installed; the cluster does not answer, or
            has fewer processors than workers.
        TrainingStopped: a worker was lost, and no epoch was finished since it was started.
        AsrError: what `asr.train` raises in a worker.
    """
    path = os.path.abspath(run_dir)
    with cluster.joined():
        fit, mail = _ray_train()
        if cluster.workers > processors():
            raise UsageError(f"--workers {cluster.workers}: the cluster has {processors()} "
                             "processors, and each worker needs one. Give fewer, or add nodes.")
        if not recipe.data.generate and recipe.data.reader == "cache":
            folder = Path(recipe.data.cache_dir or Path(path) / "cache")
            fill_cache(recipe, folder, replace(cluster, workers=0))
        left = stop_after_epochs
        while True:
            before, letters = _epochs(path), mail()
            job = TrainingJob(recipe, path, os.getcwd(), left, quiet, letters)
            result, errors = _attempt(partial(fit, job, cluster.workers), letters, say)
            if result is not None:  # the chief has finished, whatever became of the others
                return result
            own = [error for error in errors if error.code != LOST]
            gained = _epochs(path) - before
            if own or not gained or gained == left:
                raise (own or errors)[0]
            left = left and left - gained
            say(f"A worker was lost after {plural(before + gained, 'epoch')}. All are started "
                "again, and go on from the last checkpoint ...")


def _epochs(run_dir: str) -> int:
    return max((record["epoch"] for record in read_log(run_dir)
                if record.get("event") == "epoch"), default=0)


def _ray_train() -> tuple[Callable[[TrainingJob, int], Any], Callable[[], Any]]:
    """What runs one training, and what makes a queue on this node.

    Raises:
        UsageError: a package of Ray Train is missing.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_TRAIN_ENABLE_PRINT_PATCH", "0")  # it would print all lines twice
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", _START_SECONDS)
    import_tensorflow()  # Ray Train imports it here, too, and with all its messages
    try:
        import ray
        from ray.train import RunConfig, ScalingConfig
        from ray.train.tensorflow import TensorflowTrainer
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
    except ImportError as error:
        raise UsageError(f"Ray Train cannot be imported ({error}). Run: pip install "
                         "\"keras-asr[ray]\"", code="ray.missing") from error

    def fit(job: TrainingJob, workers: int) -> Any:
        gpus = count_of("GPU") // workers
        if gpus and job.recipe.train.devices == "auto":
            gpus = 1
        needs = {"CPU": 1.0} | ({"GPU": float(gpus)} if gpus else {})
        scaling = ScalingConfig(num_workers=workers, use_gpu=bool(gpus), resources_per_worker=needs,
                                placement_strategy="SPREAD")
        run = RunConfig(name=_OF_RAY, storage_path=job.run_dir)
        try:
            return TensorflowTrainer(work, train_loop_config={"job": job}, scaling_config=scaling,
                                     run_config=run).fit()
        finally:
            shutil.rmtree(Path(job.run_dir) / _OF_RAY, ignore_errors=True)

    def mail() -> Any:
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        return Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})

    return fit, mail


def _attempt(fit: Callable[[], Any], mail: Any, say: Say
             ) -> tuple[TrainingResult | None, list[AsrError]]:
    """Start the workers once; the result of the chief, and why the run ended without.

    Ray Train waits in a thread: in the main one it would take Ctrl-C for itself.
    """
    ended: list[Exception] = []

    def wait() -> None:
        try:
            fit()
        except Exception as error:  # whatever ended the workers: what they said is more exact
            ended.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    result, errors = None, []
    while True:
        running = thread.is_alive()
        for kind, content in _letters(mail):
            if kind == "said":
                say(content)
            elif kind == "done":
                result = content
            else:
                errors.append(content)
        if not running:
            break
        thread.join(_PAUSE)
    if result is None and not errors:
        lines = [line for error in ended for line in str(error).strip().splitlines()]
        reason = lines[-1][:300] if lines else "it said nothing"
        errors.append(TrainingStopped(
            f"A worker of the cluster was lost ({reason.rstrip('. ')}). Look at `ray status`, and "
            "run the same command again: it goes on from the last checkpoint.", code=LOST))
    return result, errors


def _letters(mail: Any) -> list[tuple[str, Any]]:
    found = []
    with suppress(queue.Empty):
        while True:
            found.append(mail.get(block=False))
    return found


def work(config: dict[str, TrainingJob]) -> None:
    """One process of the training, in a worker of Ray Train.

    Raises:
        AsrError: the training failed; the driver was told.
    """
    job = config["job"]
    os.environ.pop("TF_USE_LEGACY_KERAS", None)  # Ray Train sets it; this is Keras 3
    with suppress(OSError):  # the folder of the caller may not be on this node
        os.chdir(job.folder)
    for name in ("tensorflow", "absl"):  # Ray sets the root of all loggers to INFO
        logging.getLogger(name).setLevel(logging.WARNING)
    is_chief = not place_of_process().rank
    try:
        with redirect_stderr(_Sent(job.mail)) if is_chief else nullcontext():
            result = train(job.recipe, job.run_dir, stop_after_epochs=job.stop_after,
                           quiet=job.quiet)
    except Exception as error:
        told = error if isinstance(error, AsrError) else AsrError(
            f"A worker of the cluster failed: {error!r}. Run the same command without --engine "
            "ray and with --debug, and report the traceback.")
        with suppress(Exception):  # the driver may be gone
            job.mail.put(("failed", told))
        raise
    if is_chief:
        job.mail.put(("done", result))


class _Sent(io.TextIOBase):
    """A text stream whose lines go to the driver."""

    def __init__(self, mail: Any):
        self._mail, self._line = mail, ""

    def write(self, text: str) -> int:
        """Send what is whole lines by now."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            with suppress(Exception):  # the driver may be gone; the run directory has it all
                self._mail.put(("said", line))
        return len(text)
