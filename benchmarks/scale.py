"""Recordings a second on this machine and on a local Ray cluster, and what that means at scale.

    python benchmarks/scale.py --copies 200 --rounds 3 --workers 1,2,4,8
    python benchmarks/scale.py --processor --bundle models/english.asr

Local and cluster runs alternate (ABAB); medians count. With `--workers 1,2,4,8` more workers than
processors are simulated: they show the cost of handing out work, not speed. The start of Ray and
of the workers, in the first quarter of a run, is not counted. Prints JSON, with the cost model:
hours of audio and machines to hours of work, and bytes of features and of 16 kHz FLAC.
`--processor` measures one thread of this process alone, in seconds of CPU: also on a machine that
has other work to do.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from functools import partial
from pathlib import Path

import asr
from asr.audio import probe_audio
from asr.cli.engine_options import absolute, open_recognizer
from asr.fleet.cluster import Cluster
from asr.fleet.shards import transcribe_on
from asr.fleet.transcribe import transcribe_items
from asr.fleet.worklist import find_items
from asr.kernels.processors import usable

CLIPS = Path(asr.__file__).parent / "assets" / "clips"
FLAC_BYTES = 57_600_000   # an hour of 16 kHz mono at half of 16 bits a sample
FEATURE_BYTES = 115_200_000  # an hour of 80 float32 at 100 frames a second


def rate(outcomes, count: int) -> float:
    """Recordings a second after the first quarter, when every worker has loaded its model.

    From the first outcome on, what the others have done meanwhile would count as done in no time.
    """
    times, start = [], count // 4
    for outcome in outcomes:
        if outcome.error:
            raise SystemExit("not every recording was transcribed")
        times.append(time.perf_counter())
    if len(times) != count:
        raise SystemExit("not every recording has an outcome")
    return (count - start) / (times[-1] - times[start - 1])


def of_a_processor(recognizer, items: list, seconds: float, rounds: int) -> dict:
    """Times real time of one thread, the fewest seconds of CPU counting; the cost model."""
    used = []
    for _ in range(rounds):
        began = time.process_time()
        if any(outcome.error for outcome in transcribe_items(recognizer, items)):
            raise SystemExit("not every recording was transcribed")
        used.append(time.process_time() - began)
    realtime = len(items) * seconds / min(used)
    return {"recordings": len(items), "seconds_each": round(seconds, 2),
            "cpu_seconds": [round(one, 2) for one in used],
            "times_real_time_a_processor": round(realtime, 1), "cost_model": cost_model(realtime)}


def cost_model(realtime: float) -> list[dict]:
    """Hours and storage, from hours of audio that one processor transcribes in an hour."""
    return [{"audio_hours": hours, "machines": machines, "processors_each": 16,
             "hours": round(hours / (realtime * 16 * machines), 3),
             "flac_gigabytes": round(hours * FLAC_BYTES / 1e9, 1),
             "feature_gigabytes": round(hours * FEATURE_BYTES / 1e9, 1)}
            for hours in (100, 10_000, 1_000_000) for machines in (1, 10, 100)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--bundle", help="a model; default: the shipped one")
    parser.add_argument("--processor", action="store_true", help="only one thread, by CPU time")
    options = parser.parse_args()
    if options.processor:
        os.environ["ASR_NUM_THREADS"] = "1"
    counts = [int(text) for text in options.workers.split(",")]
    clips = find_items([str(CLIPS)])[0]
    seconds = statistics.mean(probe_audio(clip.path).duration for clip in clips)
    items = clips * options.copies
    recognizer = asr.load(options.bundle)
    if options.processor:
        list(transcribe_items(recognizer, clips))  # kernels are compiled
        print(json.dumps(of_a_processor(recognizer, items, seconds, options.rounds), indent=1))
        return

    import ray
    ray.init(num_cpus=max(counts), include_dashboard=False, log_to_driver=False,
             logging_level="error")
    opener = partial(open_recognizer, absolute(options.bundle), "auto", {})
    rates: dict[str, list[float]] = {"local": [], **{f"ray {n}": [] for n in counts}}
    for _ in range(options.rounds):
        rates["local"].append(rate(transcribe_items(recognizer, items), len(items)))
        for n in counts:
            rates[f"ray {n}"].append(rate(transcribe_on(Cluster(workers=n), opener, items),
                                          len(items)))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    processors = usable()
    same = medians.get(f"ray {processors}")
    realtime = medians["local"] * seconds / processors
    print(json.dumps({
        "processors": processors, "recordings": len(items), "seconds_each": round(seconds, 2),
        "recordings_a_second": {name: round(value, 1) for name, value in medians.items()},
        "rounds": {name: [round(v, 1) for v in values] for name, values in rates.items()},
        "overhead": same and round(medians["local"] / same - 1, 3),
        "times_real_time_a_processor": round(realtime, 1),
        "cost_model": cost_model(realtime)}, indent=1))


if __name__ == "__main__":
    main()
