"""Measure the seconds of each stage in a chain of generators.

In: names of stages. Out: seconds that each stage took by itself. Standard library only.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Thing = TypeVar("Thing")
_END = object()


class Stopwatch:
    """Seconds by stage; while an inner stage runs, the outer one is paused.

    Attributes:
        seconds: stage to seconds.
        failed: the stage that an exception came out of first, or "".
        progress: called with (done, all) seconds of audio of a long recording.

    Example:
        >>> watch = Stopwatch()
        >>> numbers = watch.watch("read", iter([1, 2]))
        >>> with watch.stage("sum"):
        ...     total = sum(numbers)
        >>> sorted(watch.seconds), total
        (['read', 'sum'], 3)
    """

    def __init__(self, progress: Callable[[int, int], None] | None = None) -> None:
        self.progress = progress
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.failed = ""
        self._stage = ""
        self._since = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time that passes inside belongs to this stage."""
        outer = self._switch(name)
        try:
            yield
        except Exception:
            self.failed = self.failed or name
            raise
        finally:
            self._switch(outer)

    def watch(self, name: str, things: Iterable[Thing]) -> Iterator[Thing]:
        """The same items; the time to get each belongs to this stage."""
        iterator = iter(things)
        while True:
            with self.stage(name):
                thing = next(iterator, _END)
            if thing is _END:
                return
            yield thing  # pyright: ignore[reportReturnType]

    def _switch(self, stage: str) -> str:
        """Begin a stage; returns the one that ran until now."""
        now = time.perf_counter()
        if self._stage:
            self.seconds[self._stage] += now - self._since
        before, self._stage, self._since = self._stage, stage, now
        return before
