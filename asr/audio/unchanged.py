"""Whether a file is still the one that was looked at, and what was computed of it before.

In: an open file. Out: a fingerprint; remembered results.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

# A file written within the clock's resolution of being read could change once more without a new
# time stamp (git calls such an entry racy), so nothing is remembered of it.
SETTLED_NS = 2_000_000_000
_MOST_REMEMBERED = 10_000
_remembered: dict[tuple, Any] = {}

T = TypeVar("T")


def fingerprint(file: BinaryIO) -> tuple:
    """Changes when an open file is written to; () for bytes in memory, which cannot change."""
    try:
        status = os.fstat(file.fileno())
    except (OSError, AttributeError):  # BytesIO has no descriptor, and cannot change
        return ()
    return status.st_size, status.st_mtime_ns


def stat_fingerprint(status: os.stat_result) -> tuple[int, ...]:
    """Size, both times and inode: no program can change a file and keep all of them.

    The change time cannot be set by programs, so even `touch -r` after an edit shows.
    """
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def remembered(file: BinaryIO, name: str, compute: Callable[[], T]) -> T:
    """`compute()`, or what it returned for the same file before; `name` says what it computes.

    For what needs a pass over a large file, such as one of which a manifest has many parts. Small
    files and pipes are in memory and computed each time.
    """
    try:
        status = os.fstat(file.fileno())
    except (OSError, AttributeError):
        return compute()
    key = (name, getattr(file, "start", 0), status.st_dev, *stat_fingerprint(status))
    if key not in _remembered:
        if max(status.st_mtime_ns, status.st_ctime_ns) > time.time_ns() - SETTLED_NS:
            return compute()
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[key] = compute()
    return _remembered[key]
