"""How fast batches come: all augmentations on, prints JSON.

    python benchmarks/data.py --threads 1
    python benchmarks/data.py --noise-dir data/noise --threads 2

The claim: at least 60,000 feature frames (10 ms, 80 mels) a second on one core, so that training
does not wait for data; `wait_share` is what a consumer of 60,000 frames a second waits. Features
are random numbers of plausible size in memory; joined strings of one to seven clips, tempo, warp,
tilt, noise, gain, band limit, CMVN and SpecAugment are on.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np  # noqa: E402

from asr.augment import NoiseBank, load_noise_bank  # noqa: E402
from asr.data.batches import gather_clips, padding_share, plan_epoch  # noqa: E402
from asr.data.items import PlanSettings  # noqa: E402
from asr.recipe import AugmentSettings, FeatureSettings, ModelSettings  # noqa: E402

CONSUMER = 60_000  # frames a second


@dataclass(frozen=True)
class Row:
    """One row of the cache."""

    id: str
    speed: float
    num_frames: int
    speaker: str


class MemoryCache:
    """Random log-mel clips of given lengths, with the interface of the feature cache."""

    def __init__(self, lengths: np.ndarray, num_features: int):
        rng = np.random.default_rng(1)
        self.rows = [Row(f"u{i}", 1.0, int(length), f"s{i % 20}")
                     for i, length in enumerate(lengths)]
        self._frames = rng.normal(-8, 3, (int(lengths.max()), num_features)).astype(np.float32)

    def read(self, row_index: int) -> np.ndarray:
        """(T, F) float32."""
        return self._frames[:self.rows[row_index].num_frames]


def measure(args: argparse.Namespace, kind: str, lengths: np.ndarray, concat_max: int) -> dict:
    from asr.augment.graph import FeatureAugmenter
    from asr.data.pipeline import training_dataset
    from asr.features import FeatureExtractor

    features = FeatureSettings()
    extractor = FeatureExtractor(features)
    rng = np.random.default_rng(2)
    noise = (load_noise_bank(args.noise_dir, extractor) if args.noise_dir else NoiseBank(
        rng.normal(-10, 2, (100_000, features.n_mels)).astype(np.float32),
        np.full(200, 500, np.int32)))
    augment = AugmentSettings(freq_masks=2, time_masks=4, noise_dir="given", noise_probability=1.0,
                              warp=0.1, tilt_db=6, gain_db=6, band_limit_probability=0.5)
    augmenter = FeatureAugmenter(augment, features, noise=noise,
                                 mel_frequencies=extractor.mel_frequencies)
    cache = MemoryCache(lengths, features.n_mels)
    how = PlanSettings(8_000, 64, ModelSettings(), tempo=0.1, concat_max=concat_max,
                       gap_frames=50, space_label=1)
    clips = gather_clips(cache.rows, {row.id: [2, 3, 4] for row in cache.rows})
    started = time.perf_counter()
    plan = plan_epoch(clips, how, 1, 0)
    planned = time.perf_counter() - started
    seconds, cpu, frames = [], [], sum(i.num_frames for b in plan for i in b.items)
    for _ in range(1 + args.repeats):
        wall, busy = time.perf_counter(), time.process_time()
        for _batch in training_dataset(cache, plan, augmenter, num_threads=args.threads):
            pass
        seconds.append(time.perf_counter() - wall)
        cpu.append(time.process_time() - busy)
    waited, asked = 0.0, time.perf_counter()
    began = asked
    for x, _ in training_dataset(cache, plan, augmenter, num_threads=args.threads):
        waited += time.perf_counter() - asked
        time.sleep(int(x["num_frames"].numpy().sum()) / CONSUMER)
        asked = time.perf_counter()
    best = int(np.argmin(seconds[1:])) + 1  # the first one traces the graph
    return {"benchmark": "data", "clips": kind, "threads": args.threads, "utterances": len(clips),
            "batches": len(plan), "frames": frames, "padding_share": round(padding_share(plan), 4),
            "plan_seconds": round(planned, 3),
            "trace_seconds": round(seconds[0] - seconds[best], 2),
            "seconds": round(seconds[best], 3),
            "frames_per_second": round(frames / seconds[best]),
            "frames_per_cpu_second": round(frames / cpu[best]),
            "wait_share": round(waited / (time.perf_counter() - began), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--noise-dir", default="")
    args = parser.parse_args()
    rng = np.random.default_rng(3)
    for kind, lengths, concat_max in (("sentences", rng.integers(100, 900, 1_000), 1),
                                      ("joined digits", rng.integers(25, 80, 6_000), 7)):
        print(json.dumps(measure(args, kind, lengths, concat_max)), flush=True)


if __name__ == "__main__":
    main()
