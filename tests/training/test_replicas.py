"""Several devices and processes: the same loss and gradients, the same run, one lost is noticed."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asr.bundle import load_bundle
from asr.data.batches import Batch, balance, share_of_batch
from asr.data.items import BatchItem
from asr.errors import UsageError
from asr.recipe import TrainSettings
from asr.training.cluster import Place, place_of_process
from asr.training.schedule import scaled

HERE = Path(__file__).parent
TOLERANCE = 1e-5  # float32 sums in another order
# With a decay, a run of one epoch would have other learning rates than the first of two.
SMALL = ["model.units=16", "train.epochs=2", "train.ema=0.9", "model.dropout=0.1",
         "train.decay=constant", "train.deterministic=true", "train.lost_after=60"]


def benchmark():
    path = HERE.parents[1] / "benchmarks" / "several_processes.py"
    spec = importlib.util.spec_from_file_location("several_processes", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def items(*frames: int) -> Batch:
    return Batch(tuple(BatchItem((f"u{i}",), (i,), (0, 0), 1.0, i, (1, 2), count)
                       for i, count in enumerate(frames)))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("frames", [(50,), (50, 60), (40, 90, 60, 50, 70)])
def test_shares_hold_every_row_once_and_none_is_empty(frames, count):
    batch = items(*frames)
    shares = [share_of_batch(batch, rank, count) for rank in range(count)]
    assert all(map(len, shares))
    labelled = sorted(i.ids for share in shares for i in share.items if share.counts)
    assert labelled == sorted(i.ids for i in batch.items)
    assert max(map(len, shares)) - sum(map(len, shares)) // count <= 1


def test_one_replica_gets_the_batch_as_it_is():
    batch = items(50, 90, 70)
    assert share_of_batch(batch, 0, 1) is batch


def test_balance_counts_idle_replicas():
    assert balance([items(50, 50)], 2) == 1.0
    assert balance([items(50)], 2) == 0.5
    assert balance([items(50, 50, 50)], 2) == 0.75


def test_place_from_tf_config(monkeypatch):
    def place(cluster, kind, index):
        monkeypatch.setenv("TF_CONFIG", json.dumps({
            "cluster": cluster, "task": {"type": kind, "index": index}}))
        return place_of_process()

    assert place({"worker": ["a:1", "b:1"]}, "worker", 1) == Place(1, 2)
    assert place({"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "worker", 0) == Place(1, 3)
    for cluster, index in (({"worker": ["a:1"], "ps": ["b:1"]}, 0), ({"worker": ["a:1"]}, 1)):
        with pytest.raises(UsageError, match="TF_CONFIG cannot be used"):
            place(cluster, "worker", index)
    for wrong, says in ((("a:1", "worker", 0), "no table of this form"),
                        (({"worker": "a:1"}, "worker", 0), "no list of HOST:PORT"),
                        (({"worker": ["a"]}, "worker", 0), "no list of HOST:PORT"),
                        (({"worker": [["a:1"]]}, "worker", 0), "no list of HOST:PORT"),
                        (({"worker": ["a:1", "b:1", "a:1"]}, "worker", 0), "HOST:PORT twice"),
                        (({"worker": ["a:1", "b:1"]}, "worker", 0.7), "0.7"),
                        (({"worker": ["a:1", "b:1"]}, "worker", -1), "no worker of index -1"),
                        (({"worker": ["a:1", "b:1"]}, "evaluator", 0), "no evaluator of index 0")):
        with pytest.raises(UsageError, match=f"TF_CONFIG cannot be used .*{says}"):
            place(*wrong)
    for text in ("worker 1", "null", '["a:1"]', '{"cluster": {"worker": ["a:1"]}}', "[" * 9_999):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(UsageError, match="TF_CONFIG cannot be used"):
            place_of_process()
    monkeypatch.delenv("TF_CONFIG")
    assert place_of_process() == Place()


def test_learning_rates_are_scaled_only_if_the_recipe_says_so():
    rates = {kind: scaled(TrainSettings(learning_rate=0.01, scale_learning_rate=kind), 4)
             for kind in ("none", "linear", "sqrt")}
    assert [round(r.learning_rate, 9) for r in rates.values()] == [0.01, 0.04, 0.02]
    assert rates["none"] == TrainSettings(learning_rate=0.01)


def job(*arguments: str, tf_config: str = "") -> subprocess.Popen:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CONFIG": tf_config}
    return subprocess.Popen([sys.executable, str(HERE / "replicas_job.py"), *arguments],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=environment)


def check_equal(process: subprocess.Popen, replicas: int) -> None:
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-2_000:]
    found = json.loads(out.splitlines()[-1])
    assert found["replicas"] == replicas
    assert found["norm"] > 1e-3  # there was something to compare
    assert found["loss"] < TOLERANCE
    assert found["gradients"] < TOLERANCE


@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_devices_compute_loss_and_gradients_of_one(count):
    check_equal(job("devices", str(count)), count)


@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_processes_compute_loss_and_gradients_of_one(count):
    hosts = [f"127.0.0.1:{port}" for port in benchmark().free_ports(count)]
    started = [job("process", str(count), tf_config=json.dumps({
        "cluster": {"worker": hosts}, "task": {"type": "worker", "index": index}}))
        for index in range(count)]
    for process in started:
        check_equal(process, count)


def losses(run: Path) -> list[tuple]:
    return [(r["epoch"], r["loss"], r["valid_loss"], r["wer"], r["cer"], r["gap"])
            for r in benchmark().epochs_of(run)]


@pytest.mark.tf
@pytest.mark.slow
def test_two_processes_train_alike_write_once_and_go_on_bit_for_bit(tmp_path):
    run = benchmark()
    assert run.finish(run.start(tmp_path / "whole", 2, SMALL)) == [0, 0]
    assert run.finish(run.start(tmp_path / "alone", 1, SMALL)) == [0]
    assert run.finish(run.start(tmp_path / "parts", 2, [*SMALL, "train.epochs=1"])) == [0, 0]
    assert run.finish(run.start(tmp_path / "parts", 2, SMALL)) == [0, 0]
    assert losses(tmp_path / "parts") == losses(tmp_path / "whole")
    one, two = (losses(tmp_path / name) for name in ("alone", "whole"))
    assert len(one) == len(two) == 2
    # Each process draws other dropout masks than one process does; the curves are close.
    assert [loss for _, loss, *_ in two] == pytest.approx([loss for _, loss, *_ in one], rel=0.2)
    started = [json.loads(line)["event"] for line in
               (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert started == ["epoch", "epoch", "finished"]


@pytest.mark.tf
@pytest.mark.slow
def test_a_run_on_two_devices_has_the_losses_of_one(tmp_path):
    same = [*SMALL, "model.dropout=0"]
    process = job("train", "2", str(tmp_path / "two"), *same)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-2_000:]
    assert "2 replicas (1 processes" in err
    assert benchmark().finish(benchmark().start(tmp_path / "alone", 1, same)) == [0]
    one, two = (losses(tmp_path / name) for name in ("alone", "two"))
    assert [loss for _, loss, *_ in two] == pytest.approx([loss for _, loss, *_ in one], rel=1e-3)


@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.parametrize("victim", [1, 0])
def test_a_killed_process_ends_the_run_and_the_same_command_goes_on(tmp_path, victim):
    run = benchmark()
    found = run.kill_one(tmp_path / "run", run.start(tmp_path / "run", 2, [
        *SMALL, "train.epochs=300"]), victim)
    assert found["codes"][victim] == -9
    assert found["codes"][1 - victim] == 1
    said = Path(f"{tmp_path}/run.{1 - victim}.log").read_text()
    assert "Another process of this training" in said
    assert "Traceback" not in said
    more = found["epochs"] + 1
    assert run.finish(run.start(tmp_path / "run", 2, [*SMALL, f"train.epochs={more}"])) == [0, 0]
    epochs = [r["epoch"] for r in run.epochs_of(tmp_path / "run")]
    # A chief that is killed between log and checkpoint does that epoch again.
    assert set(epochs) == set(range(1, epochs[-1] + 1))
    assert epochs[-1] >= more


def events(run: Path) -> list[str]:
    return [json.loads(line)["event"] for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.tf
@pytest.mark.slow
def test_three_processes_stop_early_after_the_same_epoch(tmp_path):
    """Nothing is learnt at such a rate: the first epoch stays the best one."""
    run = benchmark()
    assert run.finish(run.start(tmp_path / "run", 3, [
        *SMALL, "train.epochs=50", "train.patience=2", "train.learning_rate=1e-7",
        "train.warmup_steps=1000000"])) == [0, 0, 0]
    assert events(tmp_path / "run") == ["epoch", "epoch", "epoch", "finished"]
    assert load_bundle(tmp_path / "run" / "best.asr").training["epoch"] == 1


@pytest.mark.tf
@pytest.mark.slow
def test_processes_stop_by_the_clock_of_the_chief_at_the_same_step(tmp_path):
    """A process that went on for one more step would wait for the others until it is lost."""
    run = benchmark()
    assert run.finish(run.start(tmp_path / "run", 2, [
        *SMALL, "train.epochs=10000", "train.max_minutes=0.05"])) == [0, 0]
    assert events(tmp_path / "run")[-2:] == ["epoch", "finished"]
    assert load_bundle(tmp_path / "run" / "best.asr").training["epoch"] >= 1
    last = run.epochs_of(tmp_path / "run")[-1]
    assert last["minutes"] >= 0.05 and last["epoch"] < 10_000


@pytest.fixture
def two_hosts():
    """Two network namespaces with a wire between them: the addresses, and how to run there."""
    names = [f"asr-{os.getpid()}-{end}" for end in "ab"]
    wires = [f"asr{os.getpid() % 10_000_000}{end}" for end in "ab"]

    def ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    try:
        for name in names:
            ip("netns", "add", name)
        ip("link", "add", wires[0], "type", "veth", "peer", "name", wires[1])
        for number, (name, wire) in enumerate(zip(names, wires, strict=True), start=1):
            ip("link", "set", wire, "netns", name)
            ip("-n", name, "address", "add", f"10.93.0.{number}/24", "dev", wire)
            for link in ("lo", wire):
                ip("-n", name, "link", "set", link, "up")
        yield ({f"10.93.0.{number}:12345": ["ip", "netns", "exec", name]
                for number, name in enumerate(names, start=1)},
               lambda: ip("-n", names[1], "link", "set", wires[1], "down"))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces need root and `ip`: {error}")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


@pytest.mark.tf
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("ip"), reason="no `ip` to make network namespaces with")
def test_two_hosts_train_and_notice_a_cut_wire(two_hosts, tmp_path):
    hosts, cut = two_hosts
    run = benchmark()
    assert run.finish(run.start(tmp_path / "whole", 2, SMALL, hosts)) == [0, 0]
    assert events(tmp_path / "whole") == ["epoch", "epoch", "finished"]
    started = run.start(tmp_path / "cut", 2, [*SMALL, "train.epochs=10000", "train.lost_after=20"],
                        hosts)
    while not run.epochs_of(tmp_path / "cut"):
        assert all(process.poll() is None for process in started)
        time.sleep(0.1)
    cut()
    assert run.finish(started) == [1, 1]
    for number in range(2):
        said = Path(f"{tmp_path}/cut.{number}.log").read_text()
        assert "Another process of this training" in said and "Traceback" not in said


@pytest.mark.tf
@pytest.mark.slow
def test_two_processes_learn_the_tones(tmp_path):
    run = benchmark()
    assert run.finish(run.start(tmp_path / "run", 2, [])) == [0, 0]
    done = subprocess.run([sys.executable, "-m", "asr", "evaluate", str(tmp_path / "run"),
                           str(tmp_path / "run" / "tones" / "test.jsonl"), "--json"],
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["wer"] == 0.0
