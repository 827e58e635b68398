"""What decides about a training on a cluster: results, errors and starts, without a cluster."""

from __future__ import annotations

import json
import queue
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from asr.cli import run
from asr.errors import EXIT_USAGE, AsrError, TrainingStopped, UsageError
from asr.fleet import training
from asr.fleet.cluster import Cluster
from asr.fleet.training import LOST, TrainingJob, train_on, work
from asr.recipe import recipe_from_dict
from asr.training import TrainingResult

RECIPE = recipe_from_dict({"data": {"generate": "tones"}, "train": {"epochs": 9}})


class Attempts:
    """In place of Ray Train: each start of the workers is one of these functions.

    They get the job, and return or raise as `fit` does.
    """

    def __init__(self, monkeypatch, *starts):
        self.jobs: list[TrainingJob] = []
        self._starts = list(starts)
        monkeypatch.setattr(Cluster, "joined", lambda self: nullcontext())
        monkeypatch.setattr(training, "processors", lambda: 4)
        monkeypatch.setattr(training, "_ray_train", lambda: (self._fit, queue.Queue))
        monkeypatch.setattr(training, "_PAUSE", 0.01)

    def _fit(self, job: TrainingJob, workers: int) -> None:
        self.jobs.append(job)
        self._starts.pop(0)(job)


def result(folder: Path, epochs: int) -> TrainingResult:
    return TrainingResult(folder, epochs, 0.0, 0.0, epochs, 1.0, 0, True)


def log_epochs(job: TrainingJob, *epochs: int) -> None:
    with open(Path(job.run_dir) / "log.jsonl", "a", encoding="utf-8") as log:
        for epoch in epochs:
            log.write(json.dumps({"event": "epoch", "epoch": epoch}) + "\n")


def finishing(epochs: int):
    def start(job: TrainingJob) -> None:
        job.mail.put(("said", f"epoch {epochs}"))
        job.mail.put(("done", result(Path(job.run_dir), epochs)))
    return start


def losing(*epochs: int):
    def start(job: TrainingJob) -> None:
        log_epochs(job, *epochs)
        raise RuntimeError("Training failed due to worker errors:\nThe actor died.")
    return start


def test_what_the_chief_says_and_its_result_arrive(monkeypatch, tmp_path):
    said: list[str] = []
    attempts = Attempts(monkeypatch, finishing(9))
    found = train_on(Cluster(workers=2), RECIPE, tmp_path, say=said.append)
    assert found == result(tmp_path, 9)
    assert said == ["epoch 9"]
    assert attempts.jobs[0].run_dir == str(tmp_path)


def test_a_worker_that_is_lost_after_the_end_changes_nothing(monkeypatch, tmp_path):
    def start(job: TrainingJob) -> None:
        finishing(9)(job)
        raise RuntimeError("The actor died.")

    Attempts(monkeypatch, start)
    assert train_on(Cluster(workers=2), RECIPE, tmp_path).epochs == 9


def test_workers_that_end_without_a_word_are_lost(monkeypatch, tmp_path):
    Attempts(monkeypatch, lambda job: None)
    with pytest.raises(TrainingStopped, match="lost .it said nothing"):
        train_on(Cluster(workers=2), RECIPE, tmp_path)


def test_lost_workers_are_started_again_while_each_start_finishes_an_epoch(monkeypatch, tmp_path):
    said: list[str] = []
    attempts = Attempts(monkeypatch, losing(1, 2), losing(3), finishing(9))
    assert train_on(Cluster(workers=2), RECIPE, tmp_path, say=said.append).epochs == 9
    assert len(attempts.jobs) == 3
    assert [line.split(".")[0] for line in said] == [
        "A worker was lost after 2 epochs", "A worker was lost after 3 epochs", "epoch 9"]


def test_a_start_without_an_epoch_ends_the_run(monkeypatch, tmp_path):
    attempts = Attempts(monkeypatch, losing(1), losing())
    with pytest.raises(TrainingStopped, match="The actor died.*the same command again") as caught:
        train_on(Cluster(workers=2), RECIPE, tmp_path)
    assert caught.value.code == LOST and len(attempts.jobs) == 2


def test_epochs_asked_for_are_those_of_all_starts(monkeypatch, tmp_path):
    attempts = Attempts(monkeypatch, losing(1), finishing(3))
    train_on(Cluster(workers=2), RECIPE, tmp_path, stop_after_epochs=3)
    assert [job.stop_after for job in attempts.jobs] == [3, 2]
    Attempts(monkeypatch, losing(4, 5))
    with pytest.raises(TrainingStopped, match="lost"):  # both were made, and the result was lost
        train_on(Cluster(workers=2), RECIPE, tmp_path, stop_after_epochs=2)


def test_an_error_of_the_training_is_raised_and_nothing_is_started_again(monkeypatch, tmp_path):
    def failing(job: TrainingJob) -> None:
        log_epochs(job, 1)
        job.mail.put(("failed", TrainingStopped("Another process is gone.", code=LOST)))
        job.mail.put(("failed", UsageError("The data differ.", code="usage.cluster")))
        raise RuntimeError("worker failed")

    attempts = Attempts(monkeypatch, failing)
    with pytest.raises(UsageError, match="The data differ"):
        train_on(Cluster(workers=2), RECIPE, tmp_path)
    assert len(attempts.jobs) == 1


def test_more_workers_than_processors_are_refused(monkeypatch, tmp_path):
    Attempts(monkeypatch)
    with pytest.raises(UsageError, match="--workers 5: the cluster has 4 processors"):
        train_on(Cluster(workers=5), RECIPE, tmp_path)


def job(folder: Path) -> TrainingJob:
    return TrainingJob(RECIPE, str(folder / "run"), str(folder), 0, False, queue.Queue())


@pytest.mark.parametrize(("rank", "letters"), [(0, ["said", "done"]), (1, [])])
def test_only_the_chief_sends_its_lines_and_the_result(monkeypatch, tmp_path, rank, letters):
    def trained(recipe, run_dir, **options):
        print("half a line", end="", file=sys.stderr)
        print(", and the rest", file=sys.stderr)
        return result(Path(run_dir), 9)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1", "b:1"]},
                                                "task": {"type": "worker", "index": rank}}))
    monkeypatch.setattr(training, "train", trained)
    given = job(tmp_path)
    work({"job": given})
    found = [given.mail.get(block=False) for _ in range(given.mail.qsize())]
    assert [kind for kind, _ in found] == letters
    if found:
        assert found[0][1] == "half a line, and the rest"


@pytest.mark.parametrize(("error", "told"), [
    (UsageError("The recipe is wrong."), "^The recipe is wrong.$"),
    (KeyError("blank"), "A worker of the cluster failed: KeyError")])
def test_errors_of_a_worker_are_told(monkeypatch, tmp_path, error, told):
    def failing(*arguments, **options):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(training, "train", failing)
    given = job(tmp_path)
    with pytest.raises(type(error)):
        work({"job": given})
    kind, found = given.mail.get(block=False)
    assert kind == "failed"
    with pytest.raises(AsrError, match=told):
        raise found


def test_a_missing_package_of_ray_train_is_one_sentence(monkeypatch):
    monkeypatch.setattr(training, "import_tensorflow", lambda: None)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"Ray Train cannot be imported.*keras-asr\[ray\]"):
        training._ray_train()


def test_workers_without_a_cluster_are_refused(capsys):
    assert run(["train", "a.toml", "runs/a", "--workers", "2"]) == EXIT_USAGE
    assert "--engine ray" in capsys.readouterr().err
