"""What ends in a cluster of two nodes: a worker without memory, a run by Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cluster_jobs import Job
from local_cluster import two_nodes, wait_for, workers_in
from tiny_bundle import FEATURES, write_bundle

from asr.cli import run
from asr.errors import EXIT_INTERRUPTED, EXIT_OK, AsrError
from asr.fleet.cluster import TRIES, Cluster

pytest.importorskip("ray", reason="the extra [ray] is not installed; `make test-ray`")
pytestmark = [
    pytest.mark.slow,  # a cluster starts in about ten seconds
    pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="memory and workers: /proc"),
    # Ray leaves sockets and log files of its own to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray"),
]


def memory() -> tuple[int, int]:
    """Bytes of the machine, and those of them that are free."""
    table = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return tuple(int(table[name].split()[0]) << 10 for name in ("MemTotal", "MemAvailable"))


def test_a_worker_that_takes_all_memory_is_killed_and_its_item_is_named(tmp_path, monkeypatch):
    """Ray's own monitor kills it, long before the machine is full; all others are done.

    The monitor measures the whole machine, so other programs may have workers killed, too.
    """
    total, free = memory()
    allowed = min(3 << 30, free * 2 // 5)
    monkeypatch.setenv("RAY_memory_usage_threshold", str((total - free + allowed) / total))
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "50")
    errors: list[AsrError] = []

    def lost(item: int, error: AsrError) -> str:
        errors.append(error)
        return f"{item}: {error.code}"

    job = Job(str(tmp_path), hungry=13, most=min(free * 4 // 5, 2 * allowed))
    with two_nodes() as nodes:
        outcomes = list(Cluster(nodes.address).run(job, range(40), lost, shard_items=10))
    expected = [2 * n if n != 13 else "13: worker.died" for n in range(40)]
    if outcomes != expected and memory()[1] < free - allowed // 2:
        pytest.skip("other programs took much of the memory meanwhile; run this test again")
    assert outcomes == expected
    (error,) = errors
    assert f"{TRIES} workers died of it" in error.message and "memory" in error.message.lower()


def test_ctrl_c_ends_the_workers_and_the_same_command_goes_on(tmp_path, capsys):
    """Interrupted after its first transcripts; the rerun keeps them and makes the others."""
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "0.wav", np.random.default_rng(1).normal(size=4_000) * 0.1,
                    FEATURES.sample_rate)
    for number in range(400):
        shutil.copy(tmp_path / "0.wav", tmp_path / "in" / f"{number}.wav")
    bundle, made = write_bundle(tmp_path / "tiny.asr"), tmp_path / "ray"
    command = ["transcribe", "--bundle", str(bundle), str(tmp_path / "in"), "-o"]
    assert run([*command, str(tmp_path / "local")]) == EXIT_OK
    with two_nodes() as nodes:
        cluster = [*command, str(made), "--engine", "ray", "--address", nodes.address]
        # Where these tests run in the background, a shell has told them to ignore Ctrl-C.
        with subprocess.Popen([sys.executable, "-m", "asr", *cluster], stderr=subprocess.PIPE,
                              text=True, cwd=tmp_path, preexec_fn=partial(
                                  signal.signal, signal.SIGINT, signal.SIG_DFL)) as driver:
            wait_for(lambda: list(made.glob("*.txt")))
            driver.send_signal(signal.SIGINT)
            try:
                said = driver.communicate(timeout=120)[1]
            except subprocess.TimeoutExpired:
                driver.kill()  # or the test waits for it without end
                raise
        assert driver.returncode == EXIT_INTERRUPTED, said
        assert "Interrupted. Finished transcripts are kept; the same command goes on." in said
        assert "Traceback" not in said
        count = len(list(made.glob("*.txt")))
        assert 0 < count < 400 and not list(made.glob(".*.tmp"))
        wait_for(lambda: not workers_in(tmp_path, driver.pid))
        capsys.readouterr()
        assert run(cluster) == EXIT_OK
    assert f"{count} of 400 transcripts existed and were kept" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in made.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "local").iterdir()}
