"""Train the tones with several processes on this machine, and show that it is the same training.

    python benchmarks/several_processes.py RUN_DIR [--processes 2] [--kill] [--set KEY=VALUE ...]

Starts the same `asr train recipes/tones.toml` in each process, with TF_CONFIG on loopback; measures
the WER of the test sentences and prints the loss of every epoch beside that of one process.
--kill ends the last process (SIGKILL) after its first epoch, says how long the others take to end
and with what, and starts the same commands again.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

RECIPE = Path(__file__).parents[1] / "recipes" / "tones.toml"


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nothing listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start(run_dir: Path, processes: int, overrides: list[str],
          hosts: dict[str, list[str]] | None = None) -> list[subprocess.Popen]:
    """The processes of one training, the chief first; the output of process i is RUN_DIR.i.log.

    Args:
        run_dir: the chief's.
        processes: how many.
        overrides: settings of the recipe, KEY=VALUE.
        hosts: the address of each process, and the command that runs another one there.
    """
    hosts = hosts or {f"127.0.0.1:{port}": [] for port in free_ports(processes)}
    command = [sys.executable, "-m", "asr", "train", str(RECIPE), str(run_dir),
               *[f"--set={item}" for item in overrides]]
    started = []
    for index, there in enumerate(hosts.values()):
        environment = dict(os.environ)
        if processes > 1:
            environment["TF_CONFIG"] = json.dumps({
                "cluster": {"worker": list(hosts)}, "task": {"type": "worker", "index": index}})
        with open(f"{run_dir}.{index}.log", "ab") as log:
            started.append(subprocess.Popen([*there, *command], stdout=log, stderr=log,
                                            env=environment))
    return started


def finish(started: list[subprocess.Popen]) -> list[int]:
    """Exit codes, when all have ended."""
    return [process.wait() for process in started]


def epochs_of(run_dir: Path) -> list[dict]:
    """The records of the finished epochs."""
    log = run_dir / "log.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    return [record for record in map(json.loads, lines) if record["event"] == "epoch"]


def kill_one(run_dir: Path, started: list[subprocess.Popen], victim: int = -1) -> dict:
    """End one process after the first epoch; seconds until the others end, and their codes."""
    while not epochs_of(run_dir):
        if any(process.poll() is not None for process in started):
            raise SystemExit(f"A process ended before the first epoch; see {run_dir}.*.log")
        time.sleep(0.05)
    started[victim].send_signal(signal.SIGKILL)
    killed = time.perf_counter()
    codes = finish(started)
    return {"seconds": round(time.perf_counter() - killed, 1), "codes": codes,
            "epochs": len(epochs_of(run_dir))}


def main(arguments: list[str]) -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args(arguments)
    run_dir, overrides = options.run_dir, options.overrides
    run_dir.parent.mkdir(parents=True, exist_ok=True)
    if options.kill:
        print("killed:", json.dumps(kill_one(run_dir, start(run_dir, options.processes,
                                                            overrides))))
    began = time.perf_counter()
    codes = finish(start(run_dir, options.processes, overrides))
    print(f"{options.processes} processes ended with {codes} after "
          f"{time.perf_counter() - began:.0f} s")
    alone = run_dir.with_name(run_dir.name + "-alone")
    finish(start(alone, 1, [*overrides, f"data.cache_dir={run_dir}/cache"]))
    print("epoch  one process  several")
    for one, several in zip(epochs_of(alone), epochs_of(run_dir), strict=True):
        print(f"{one['epoch']:5}  {one['loss']:11.4f}  {several['loss']:7.4f}")
    subprocess.run([sys.executable, "-m", "asr", "evaluate", str(run_dir),
                    str(run_dir / "tones" / "test.jsonl")], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
