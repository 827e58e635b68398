"""Run a few independent pieces of compiled code at the same time.

In: callables that release the GIL. Out: their results, in order. Floor 0: standard library only.

Threads of our own, because numba's default threading layer aborts the process when two Python
threads enter it at once, which tf.data and servers do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from asr.errors import UsageError

T = TypeVar("T")
_lock = threading.Lock()
_executors: dict[int, ThreadPoolExecutor] = {}


def default_threads() -> int:
    """ASR_NUM_THREADS if set, else the processors that this process may use.

    Raises:
        UsageError: ASR_NUM_THREADS is not a positive integer.
    """
    wanted = os.environ.get("ASR_NUM_THREADS")
    if wanted:
        if not wanted.isdecimal() or int(wanted) < 1:
            raise UsageError(f"ASR_NUM_THREADS is {wanted!r}, expected a whole number >= 1.")
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(tasks: Sequence[Callable[[], object]], threads: int) -> list:
    """Results of all tasks, in their order; the calling thread works too.

    A thread that is done takes the next task, so put the long ones first. Tasks must not call
    `run` themselves, nor wait for another one for ever: other callers may have the threads. The
    first exception of a task is raised here, after all tasks have ended.
    """
    if threads <= 1 or len(tasks) <= 1:
        return [task() for task in tasks]
    results: list = [None] * len(tasks)
    numbers = iter(range(len(tasks)))

    def work() -> None:
        while True:
            with _lock:
                number = next(numbers, None)
            if number is None:
                return
            results[number] = tasks[number]()

    executor, futures = _executor(threads - 1), []
    try:
        for _ in range(min(threads, len(tasks)) - 1):
            futures.append(executor.submit(work))
        work()
    finally:
        for future in futures:
            future.exception()  # wait: no task may outlive the memory that it works on
    for future in futures:
        future.result()
    return results


def stream(tasks: Sequence[Callable[[], T]], threads: int) -> Iterator[T]:
    """As `run`, but each result comes as soon as it and those before it are there.

    So whoever stops early has what was finished; what has not begun by then never does.
    """
    if threads <= 1 or len(tasks) <= 1:
        yield from (task() for task in tasks)
        return
    executor = _executor(threads)
    futures = [executor.submit(task) for task in tasks]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


def _executor(workers: int) -> ThreadPoolExecutor:
    with _lock:
        if workers not in _executors:
            _executors[workers] = ThreadPoolExecutor(workers, thread_name_prefix="asr")
        return _executors[workers]


def _after_fork() -> None:
    """The child of a fork has the executors but not their threads."""
    global _lock
    _lock = threading.Lock()
    _executors.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
