"""Two Ray nodes on this machine transcribe clips many times over; one node is killed on the way.

    python benchmarks/two_nodes.py --copies 500 --out two_nodes

Every transcript is then compared with the one that this process makes without a cluster. Prints
JSON: recordings, seconds, recordings a second, transcripts that were there when the node was
killed, transcripts that differ (0).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
import time
from functools import partial
from pathlib import Path

import asr
from asr.cli.engine_options import open_recognizer
from asr.fleet.cluster import Cluster
from asr.fleet.shards import transcribe_on
from asr.fleet.transcribe import transcribe_to_folder
from asr.fleet.worklist import OutputFolder, find_items

CLIPS = Path(asr.__file__).parent / "assets" / "clips"


def copies(folder: Path, count: int) -> Path:
    """Links to the sample clips, `count` times over."""
    target = folder / "recordings"
    target.mkdir(parents=True)
    for number in range(count):
        for clip in find_items([str(CLIPS)])[0]:
            path = Path(clip.path)
            os.symlink(path, target / f"{number:04d}-{path.name}")
    return target


def start_nodes():
    """A head and a node with one processor each, and a third processor to be killed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster as Nodes

    options = {"num_cpus": 1, "object_store_memory": 100_000_000}
    nodes = Nodes(initialize_head=True, head_node_args={**options, "include_dashboard": False})
    return nodes, nodes.add_node(**options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--copies", type=int, default=500)
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    parser.add_argument("--kill-after", type=int, default=0,
                        help="transcripts after which the node is killed; 0: a tenth of them")
    options = parser.parse_args()
    source = copies(options.out, options.copies)
    items, _ = find_items([str(source)])
    kill_after = options.kill_after or max(1, len(items) // 10)
    nodes, second = start_nodes()
    nodes.wait_for_nodes()
    done = killed_at = 0
    cluster = Cluster(nodes.address)
    transcriber = partial(transcribe_on, cluster, partial(open_recognizer, None, "auto", {}))
    recognizer = asr.load()
    began = time.perf_counter()
    killer = None
    for outcome in transcribe_to_folder(recognizer, items, OutputFolder(
            options.out / "transcripts", "txt"), "txt", transcriber=transcriber):
        if outcome.error is not None:
            sys.exit(f"{outcome.record()}")
        done += 1
        if done == kill_after:
            killed_at = done
            killer = threading.Thread(target=nodes.remove_node, args=(second,),
                                      kwargs={"allow_graceful": False})
            killer.start()
    seconds = time.perf_counter() - began
    if killer is not None:
        killer.join()
    nodes.shutdown()
    expected = {Path(item.name).name.partition("-")[2]: recognizer.transcribe(item.path).text
                for item in items[:len(items) // options.copies]}
    different = sum((options.out / "transcripts" / f"{Path(item.name).stem}.txt").read_text(
        "utf-8").rstrip("\n") != expected[Path(item.name).name.partition("-")[2]] for item in items)
    print(json.dumps({"recordings": len(items), "seconds": round(seconds, 1),
                      "recordings_a_second": round(len(items) / seconds, 1),
                      "node_killed_after": killed_at, "transcripts_that_differ": different}))
    shutil.rmtree(source)
    sys.exit(1 if different or done != len(items) else 0)


if __name__ == "__main__":
    main()
