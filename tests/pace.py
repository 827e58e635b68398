"""Budgets of processor time that hold on an idle machine, tested on one that may be busy.

On a busy virtual machine the same work takes several times the processor time, because the time
that others take from the processor counts as the process's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable

LOOPS, LOOP_SECONDS = 5, 0.04  # a loop takes 0.02 to 0.04 s on the slow cores the budgets are for


def loops() -> float:
    """Processor seconds of a known piece of work, `LOOPS * LOOP_SECONDS` or less when idle."""
    start = time.process_time()
    for _ in range(LOOPS):
        total = 0
        for number in range(1_000_000):
            total += number
    return time.process_time() - start


def assert_quick(work: Callable[[], object], seconds: float, tries: int = 3) -> None:
    """`work` takes at most so many processor seconds of an idle core, in one of the tries."""
    taken = []
    for _ in range(tries):
        before, start = loops(), time.process_time()
        work()
        busy = time.process_time() - start
        slower = max(1.0, (before + loops()) / (2 * LOOPS * LOOP_SECONDS))
        taken.append(busy / slower)
        if taken[-1] <= seconds:
            return
    raise AssertionError(f"{min(taken):.2f} s of an idle core, expected at most {seconds} s")
