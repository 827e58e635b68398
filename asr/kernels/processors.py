"""How many processors this process may use: its affinity, and the quota of its container.

In: what the system says. Out: a number. Standard library only.

A container with two of 64 processors reports all 64; as many threads would slow each other down.
The quota is read from cgroups (Linux, version 2 or 1).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path


def usable() -> int:
    """Processors that this process may use, at least 1."""
    count = (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity")
             else os.cpu_count() or 1)
    return max(1, math.ceil(min(count, quota())))


@cache
def quota(root: Path = Path("/")) -> float:
    """Processors' worth of time that the control groups grant; infinity if they set no limit.

    Args:
        root: where `proc` and `sys` are, for tests.

    Example:
        >>> quota(Path("/nowhere"))
        inf
    """
    return min(_limits(root), default=math.inf)


def _limits(root: Path) -> Iterator[float]:
    """The limit of every control group that this process is in, outer ones included."""
    with suppress(OSError, ValueError):  # not Linux, or nothing mounted: no limit
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
        for line in groups:
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            # In a container the path may be that of the host, and the mount the group itself.
            inner = [part for part in path.split("/") if part not in ("", "..")]
            for depth in range(len(inner) + 1):
                place = Path(*inner[:depth])
                if controllers:
                    folder = root / "sys/fs/cgroup/cpu" / place
                    yield from _share(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")
                else:
                    yield from _share(root / "sys/fs/cgroup" / place / "cpu.max")


def _share(*files: Path) -> Iterator[float]:
    """Quota over period, both in microseconds; nothing if there is no limit ("max" or -1)."""
    with suppress(OSError, ValueError):
        granted, period = (int(word) for file in files
                           for word in file.read_text(encoding="ascii").split())
        if granted > 0 and period > 0:
            yield granted / period
