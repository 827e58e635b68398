"""What the workers of the tests' clusters do; a module of its own, which they import by name."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Job:
    """Doubles numbers; dies of `poison`; dies once of `once`, where `folder` remembers it.

    Fills the memory of the machine for `hungry`, up to `most` bytes, until it is killed.

    Each shard is noted in `folder` by the node that works on it, so that a test can see that the
    work has begun; `gate` holds work back until the file of that name is there.
    """

    folder: str
    poison: int | None = None
    once: int | None = None
    gate: str = ""
    slow_first: bool = False
    hungry: int | None = None
    most: int = 0

    def __call__(self) -> Callable[[list[int]], list[int]]:
        (Path(self.folder) / f"started-{os.getpid()}").touch()
        return self._work

    def _work(self, items: list[int]) -> list[int]:
        import ray

        node = ray.get_runtime_context().get_node_id()
        (Path(self.folder) / f"shard-{node}-{items[0]}").touch()
        while self.gate and not os.path.exists(self.gate):
            time.sleep(0.02)
        for item in items:
            if item == self.poison or item == self.once and self._first_time():
                os.kill(os.getpid(), signal.SIGKILL)
            if item == self.hungry:
                self._eat()
            if self.slow_first and item == 0:
                self._await_another_node()
        return [2 * item for item in items]

    def _eat(self) -> None:
        eaten = []
        while len(eaten) << 26 < self.most:
            eaten.append(b"\1" * (1 << 26))  # 64 MB, written to
            time.sleep(0.01)
        time.sleep(5)
        raise RuntimeError(f"not killed, with {self.most:_} bytes")

    def _await_another_node(self) -> None:
        """Until one has begun a shard, and a second longer, in which it finishes some."""
        limit = time.monotonic() + 120
        while len({path.name.split("-")[1] for path in Path(self.folder).glob("shard-*")}) < 2:
            if time.monotonic() > limit:
                raise RuntimeError("no other node began to work in 120 s")
            time.sleep(0.02)
        time.sleep(1.0)

    def _first_time(self) -> bool:
        try:
            (Path(self.folder) / "once").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def trivial() -> Callable[[list[int]], list[int]]:
    """A worker that costs nothing."""
    return list
