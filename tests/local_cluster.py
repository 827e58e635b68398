"""A Ray cluster of two nodes on this machine (the extra [ray]; `make test-ray`)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent


@contextmanager
def two_nodes() -> Iterator[Any]:
    """Two nodes of one processor each, and a way to add and remove others."""
    from ray.cluster_utils import Cluster as Nodes

    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(TESTS.parent), before])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    found = Nodes(initialize_head=True, head_node_args={
        "num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False})
    found.add_node(num_cpus=1, object_store_memory=100_000_000)
    found.wait_for_nodes()
    try:
        yield found
    finally:
        found.shutdown()
        os.environ["PYTHONPATH"] = before


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    """Until it is true, or an error."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, f"nothing happened in {seconds} s"
        time.sleep(0.05)


def workers_in(folder: Path, driver: int) -> list[int]:
    """Processes other than the driver that work in a folder: the workers of a cluster."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and Path(os.readlink(entry / "cwd")) == folder:
                found.append(int(entry.name))
    return sorted({*found} - {driver})
