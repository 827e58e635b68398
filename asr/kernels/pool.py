"""Run a few independent pieces of compiled code at the same time.

In: callables that release the GIL. Out: their results, in order. Standard library only.

Threads of our own, because numba's default threading layer aborts the process when two Python
threads enter it at once, which tf.data and servers do.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from asr.errors import UsageError
from asr.kernels import processors

T = TypeVar("T")
Linger = Callable[[int, int], object]
Work = tuple[Callable[[], None], Future, Linger | None]
_lock = threading.Lock()
_crews: dict[int, _Crew] = {}


def default_threads() -> int:
    """ASR_NUM_THREADS if set, else `asr.kernels.processors.usable()`.

    Raises:
        UsageError: ASR_NUM_THREADS is not a positive integer.
    """
    wanted = os.environ.get("ASR_NUM_THREADS")
    if wanted:
        if not wanted.isdecimal() or int(wanted) < 1:
            raise UsageError(f"ASR_NUM_THREADS is {wanted!r}, expected a whole number >= 1.")
        return int(wanted)
    return processors.usable()


def run(tasks: Sequence[Callable[[], object]], threads: int, *,
        linger: Linger | None = None) -> list:
    """Results of all tasks, in their order; the calling thread works too.

    A thread that is done takes the next task, so put the long ones first. Tasks must not call
    `run` themselves and must not wait for each other: the pool is shared and could deadlock. The
    first exception of a task is raised here, after all tasks have ended.

    Args:
        tasks: each is called once.
        threads: at most so many.
        linger: where more work follows at once and waking threads takes long: how a thread that is
            done waits for it. Called with an address and the number stored there, it returns
            when another int64 does, or when it has waited long enough.
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

    crew, futures = _crew(threads - 1), []
    try:
        for _ in range(min(threads, len(tasks)) - 1):
            futures.append(crew.submit(work, linger))
        work()
    finally:
        for future in futures:
            future.exception()  # wait: no task may outlive the memory that it works on
    for future in futures:
        future.result()
    return results


def stream(tasks: Sequence[Callable[[], T]], threads: int) -> Iterator[T]:
    """As `run`, but each result comes as soon as it and those before it are there.

    A caller that stops early keeps what was finished; tasks that have not begun never run.
    """
    if threads <= 1 or len(tasks) <= 1:
        yield from (task() for task in tasks)
        return
    executor = _crew(threads).executor
    futures = [executor.submit(task) for task in tasks]
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


class _Crew:
    """Threads that sleep between pieces of work, or busy-wait a little before they do."""

    def __init__(self, workers: int):
        self.executor = ThreadPoolExecutor(workers, thread_name_prefix="asr")
        self.offered: deque[Work] = deque()
        self.offers = ctypes.c_int64(0)  # ever made, for those who linger
        self.lingering = 0

    def submit(self, work: Callable[[], None], linger: Linger | None) -> Future:
        """Submit to a waiting thread if there is one, else to the executor."""
        future: Future = Future()
        with _lock:
            if self.lingering > len(self.offered):
                self.offered.append((work, future, linger))
                self.offers.value += 1
                return future
        self.executor.submit(self._serve, [(work, future, linger)])
        return future

    def _serve(self, work: list[Work]) -> None:
        while work:
            linger, seen = self._do(*work.pop())  # release its arrays before lingering
            if linger is None:
                return
            linger(ctypes.addressof(self.offers), seen)
            with _lock:
                self.lingering -= 1
                if self.offered:
                    work.append(self.offered.popleft())

    def _do(self, work: Callable[[], None], future: Future, linger: Linger | None
            ) -> tuple[Linger | None, int]:
        """Work, tell the caller; how to linger, and the number of offers made by then."""
        error = None
        try:
            work()
        except BaseException as caught:  # the caller's, who raises it
            error = caught
        with _lock:  # before the caller goes on, so that its next work finds this thread
            self.lingering += linger is not None
            seen = self.offers.value
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
        return linger, seen


def _crew(workers: int) -> _Crew:
    with _lock:
        if workers not in _crews:
            _crews[workers] = _Crew(workers)
        return _crews[workers]


def _after_fork() -> None:
    """The child of a fork has the crews but not their threads."""
    global _lock
    _lock = threading.Lock()
    _crews.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
