"""Recordings in tar shards against the same recordings as files.

    python benchmarks/shards.py --recordings 20000 --rounds 3

Makes clips of half a second (8 kHz, 16 bits), packs them with `asr shard`, and loads all of them in
the order of the manifest, from files and from shards in turn (ABAB); medians count. Files and
shards are in the memory of the system by then: what is measured is the work of the processor. On a
network drive the number of files that are opened counts; it is printed. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from asr.audio import load_utterance
from asr.audio.content_hashes import hash_files
from asr.corpora.sharding import Settings, write_shards
from asr.files import sha256_file
from asr.manifest import Utterance, read_manifest, write_manifest

RATE, SAMPLES = 8_000, 4_000


def make(folder: Path, count: int) -> list[Utterance]:
    """Clips in folders of a thousand."""
    noise = 0.1 * np.random.default_rng(0).normal(size=SAMPLES + count)
    rows = []
    for number in range(count):
        path = folder / f"{number // 1_000}/{number}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, noise[number:number + SAMPLES], RATE)
        rows.append(Utterance(f"u{number}", path, "text", SAMPLES / RATE))
    return rows


def seconds_of(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=1_000, help="recordings in a shard")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "files").mkdir()
        rows = make(folder / "files", options.recordings)
        write_manifest(folder / "files/train.jsonl", rows)
        packing = seconds_of(lambda: write_shards({"train": rows}, folder / "shards", Settings(
            shard_recordings=options.count)))
        time.sleep(2.1)  # headers of a file that was just written are not remembered
        packed = read_manifest(folder / "shards/train.jsonl")
        order = {row.id: row for row in rows}
        places = {"files": [order[row.id] for row in packed], "shards": packed}
        loading: dict[str, list[float]] = {place: [] for place in places}
        hashing: dict[str, list[float]] = {place: [] for place in places}
        for round_number in range(options.rounds):
            for place, some in places.items():
                loading[place].append(seconds_of(lambda some=some: [
                    load_utterance(row, sample_rate=RATE) for row in some]))
                memory = folder / f"{place}-{round_number}.json"
                hashing[place].append(seconds_of(lambda some=some, memory=memory: hash_files(
                    (row.audio for row in some), memory=memory)))
        tars = sorted((folder / "shards").glob("*.tar"))
        print(json.dumps({
            "recordings": options.recordings, "shards": len(tars),
            "bytes": {"files": sum(row.audio.stat().st_size for row in rows),
                      "shards": sum(tar.stat().st_size for tar in tars)},
            "packed_a_second": round(options.recordings / packing),
            "sha256_of_all_shards_s": round(seconds_of(lambda: [*map(sha256_file, tars)]), 2),
            "loaded_a_second": {place: round(options.recordings / statistics.median(took))
                                for place, took in loading.items()},
            "hashed_a_second": {place: round(options.recordings / statistics.median(took))
                                for place, took in hashing.items()},
            "rounds": {place: [round(took, 2) for took in some]
                       for place, some in loading.items()}}, indent=1))


if __name__ == "__main__":
    main()
