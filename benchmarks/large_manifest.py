"""Time and memory of planning an epoch over many utterances; prints JSON, a line a size.

    python benchmarks/large_manifest.py --rows 100000 200000
    python benchmarks/large_manifest.py --rows 5000000          about 10 GB of memory

Utterances are made up: 5 to 15 s, 40 labels, 500 speakers. `kept` is what lives on between epochs
(the clips), `epoch` what the plan of an epoch adds; both without the rows and labels that they are
made from. `process` is the peak of everything, the made-up rows and labels too.
Every size runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import tracemalloc
from dataclasses import dataclass

from asr.data.batches import EpochPlans, gather_clips
from asr.data.items import PlanSettings
from asr.recipe import ModelSettings


@dataclass(frozen=True, slots=True)
class Row:
    """What planning needs of a row of the feature cache."""

    id: str
    speed: float
    num_frames: int
    speaker: str


def measure(count: int, traced: bool) -> dict:
    empty = peak_bytes()
    rows = [Row(f"utterance-{i:08d}", 1.0, 500 + i * 7_919 % 1_000, f"speaker-{i % 500:03d}")
            for i in range(count)]
    labels = {row.id: tuple((i + j) % 28 + 1 for j in range(40)) for i, row in enumerate(rows)}
    settings = PlanSettings(8_000, 64, ModelSettings())
    if traced:
        tracemalloc.start()
    start = time.process_time()
    clips = gather_clips(rows, labels)
    gathered, kept = time.process_time(), tracemalloc.get_traced_memory()[0]
    plans = EpochPlans(clips, settings, 1)
    planned, (now, peak) = time.process_time(), tracemalloc.get_traced_memory()
    if traced:
        return {"bytes_a_row": {"kept": round(kept / count), "epoch": round((now - kept) / count),
                                "peak": round(peak / count)}}
    return {"rows": count, "batches": plans.num_batches,
            "gather_seconds": round(gathered - start, 1),
            "two_plans_seconds": round(planned - gathered, 1),
            "process_bytes_a_row": round((peak_bytes() - empty) / count)}


def peak_bytes() -> int:
    """The peak of the memory of this process."""
    return 1_024 * next(int(line.split()[1]) for line in open("/proc/self/status")
                        if line.startswith("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 200_000])
    parser.add_argument("--one", choices=("time", "memory"), help="only this, in this process")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.rows[0], arguments.one == "memory")))
        return
    for count in arguments.rows:
        found: dict = {}
        for what in ("time", "memory"):
            done = subprocess.run([sys.executable, __file__, "--rows", str(count), "--one", what],
                                  check=True, capture_output=True, text=True)
            found |= json.loads(done.stdout)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
