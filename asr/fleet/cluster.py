"""Work in shards on a Ray cluster, in order, with a bounded part of it in memory.

In: items, and what a worker does with a list of them. Out: one result a item, in order.
A worker is a Ray actor: it prepares once (loads the model), then works on one shard at a time. If
it dies, its shard goes to another worker, item by item, so that the item that kills workers is
found: after `TRIES` of them it is given up and named, and the others go on. Ray is imported when
work begins.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
import re
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from asr.errors import AsrError, UsageError
from asr.terminal import plural

MISSING = ("Work on a cluster needs Ray, which is not installed. Run: pip install "
           "\"keras-asr[ray]\"")
SHARD_ITEMS = 32  # a message of Ray costs about a millisecond
TRIES = 3  # workers that one item may kill
WAITING_SHARDS = 4  # a worker: finished or in work, before the first of them is taken
_PATIENCE = 30.0  # seconds without any worker, after which that is said
_ADDRESS = re.compile(r"(?:ray://)?(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/]+):(?P<port>[0-9]{1,5})")
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_FRAME, _SETTINGS = 9, 4  # bytes of a frame's head in HTTP/2; the type that a server begins with

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Cluster:
    """Where work is done: the nodes of a Ray cluster.

    Args:
        address: "auto" for the cluster that this machine belongs to, HOST:PORT of its head, or
            "" to start Ray on this machine for as long as the work takes.
        workers: actors at most, each on one processor; 0: one for each processor.
    """

    address: str = ""
    workers: int = 0

    def run(self, start: Callable[[], Callable[[list[Item]], Sequence[Outcome]]],
            items: Iterable[Item], lost: Callable[[Item, AsrError], Outcome], *,
            notice: Callable[[str], None] | None = None,
            shard_items: int = SHARD_ITEMS) -> Iterator[Outcome]:
        """Work on items; outcomes come in the order of the items.

        Args:
            start: runs once in each worker and returns what works on a list of items, with one
                outcome each; it and the items must be picklable. Workers begin in the folder of
                the caller, where it exists.
            items: taken as they are needed, never as a whole.
            lost: the outcome of an item that killed `TRIES` workers.
            notice: told in a sentence when no worker is there for long.
            shard_items: items that are handed out together.

        Raises:
            UsageError: Ray is not installed, or the cluster does not answer.
            AsrError: what `start` or the work raises; it ends the run.
        """
        with self.joined():
            run = _Run(start, self.workers or processors(), notice)
            try:
                yield from run.outcomes(_shards(items, shard_items), lost)
            finally:
                with _undisturbed():
                    run.end()

    @contextmanager
    def joined(self) -> Iterator[None]:
        """This process belongs to the cluster inside.

        Raises:
            UsageError: Ray is not installed, or the cluster does not answer.
        """
        if importlib.util.find_spec("ray") is None:
            raise UsageError(MISSING, code="ray.missing")
        own = _connect(self.address)
        try:
            yield
        finally:
            if own:
                import ray
                with _undisturbed():
                    ray.shutdown()


@dataclass
class _Shard(Generic[Item]):
    """Items that are worked on together; `deaths` counts the workers that died of it."""

    number: int
    place: int
    items: list[Item]
    deaths: int = 0


def _shards(items: Iterable[Item], size: int) -> Iterator[_Shard[Item]]:
    coming = iter(items)
    for number in itertools.count():
        some = list(itertools.islice(coming, size))
        if not some:
            return
        yield _Shard(number, 0, some)


class _Run:
    """The state of one call: free and busy workers, shards to do again, finished ones."""

    def __init__(self, start: Callable, workers: int, notice: Callable[[str], None] | None):
        import ray
        import ray.exceptions

        self._ray: Any = ray
        self._notice = notice
        self._start = ray.put((start, os.getcwd()))
        self._actor = ray.remote(num_cpus=1, max_restarts=0, max_task_retries=0)(_Worker)
        self._most = workers * WAITING_SHARDS
        self._again: deque[_Shard] = deque()
        self._coming: dict[Any, Any] = {}  # reference: the worker that says with it that it is up
        self._busy: dict[Any, tuple[Any, _Shard]] = {}
        self._free: list[Any] = []
        self._done: dict[int, list] = {}  # outcomes of a shard, None where still missing
        for _ in range(workers):
            self._hire()

    def outcomes(self, shards: Iterator[_Shard], lost: Callable) -> Iterator:
        next_number, exhausted = 0, False
        while True:
            while self._free and (self._again or not exhausted):
                if self._again:
                    shard = self._again.popleft()
                elif len(self._done) >= self._most:
                    break
                elif (shard := next(shards, None)) is None:
                    exhausted = True
                    break
                else:
                    self._done[shard.number] = [None] * len(shard.items)
                self._give(shard)
            while next_number in self._done and None not in self._done[next_number]:
                for boxed in self._done.pop(next_number):
                    yield boxed[0]
                next_number += 1
            if exhausted and not self._done:
                return
            if not (exhausted or self._again) and self._free and len(self._done) < self._most:
                continue  # what was taken has made room
            self._wait(lost)

    def end(self) -> None:
        """Dismiss every worker; what they have not finished is lost and done by the next run."""
        if not self._ray.is_initialized():
            return  # ended before this, by the end of the process: Ray would start once more
        for actor in (*self._coming.values(), *self._free,
                      *(actor for actor, _ in self._busy.values())):
            with suppress(Exception):  # it, its node or the cluster may be gone
                self._ray.kill(actor)

    def _hire(self) -> None:
        actor = self._actor.options(
            runtime_env={"env_vars": {"ASR_NUM_THREADS": "1"}}).remote(self._start)
        self._coming[actor.ready.remote()] = actor

    def _give(self, shard: _Shard) -> None:
        actor = self._free.pop()
        self._busy[actor.run.remote(shard.items)] = actor, shard

    def _wait(self, lost: Callable) -> None:
        """Until a worker is up, has finished or has died."""
        while True:
            found, _ = self._ray.wait([*self._busy, *self._coming], timeout=_PATIENCE)
            if found:
                break
            if not self._busy and self._notice:
                self._notice("No worker of the cluster is free yet. `ray status` shows what it "
                             "waits for; Ctrl-C ends this run, and the same command goes on.")
        for reference in found:
            if reference in self._coming:
                self._welcome(reference)
            else:
                self._collect(reference, lost)

    def _welcome(self, reference: Any) -> None:
        actor = self._coming.pop(reference)
        try:
            self._ray.get(reference)
        except self._ray.exceptions.RayError:  # its node went away before it was up
            self._hire()
        else:
            self._free.append(actor)

    def _collect(self, reference: Any, lost: Callable) -> None:
        actor, shard = self._busy.pop(reference)
        try:
            outcomes = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:
            self._free.append(actor)
            raise error.cause if isinstance(error.cause, AsrError) else AsrError(
                f"A worker of the cluster failed: {error.cause!r}. Run the same command with "
                "--engine local and --debug, and report the traceback.") from error
        except self._ray.exceptions.RayError as error:  # killed, out of memory, or its node is gone
            with suppress(Exception):
                self._ray.kill(actor)
            self._hire()
            self._blame(shard, error, lost)
            return
        self._free.append(actor)
        if len(outcomes) != len(shard.items):
            raise AsrError(f"A worker of the cluster returned {plural(len(outcomes), 'outcome')} "
                           f"for {plural(len(shard.items), 'item')}. The machines have different "
                           "versions of keras-asr; install the same one on all.")
        self._keep(shard, outcomes)

    def _keep(self, shard: _Shard, outcomes: Sequence) -> None:
        self._done[shard.number][shard.place:shard.place + len(outcomes)] = [
            (outcome,) for outcome in outcomes]

    def _blame(self, shard: _Shard, error: Exception, lost: Callable) -> None:
        """Find the item that kills: item by item, and no more than `TRIES` times."""
        if len(shard.items) > 1:
            self._again += [_Shard(shard.number, shard.place + index, [item])
                            for index, item in enumerate(shard.items)]
            return
        shard.deaths += 1
        if shard.deaths < TRIES:
            self._again.append(shard)
            return
        reason = (str(error).splitlines() or [""])[0][:200].rstrip(". ")
        self._keep(shard, [lost(shard.items[0], AsrError(
            f"{TRIES} workers died of it ({type(error).__name__}: {reason}). It is left out; try "
            "it alone with --engine local.", code="worker.died"))])


class _Worker:
    """What runs on the nodes; it prepares at its first shard, so that an error there is told."""

    def __init__(self, start: tuple[Callable, str]):
        self._start, folder = start
        self._work: Any = None
        with suppress(OSError):  # the folder of the caller may not be on this node
            os.chdir(folder)

    def ready(self) -> bool:
        return True

    def run(self, items: list) -> list:
        if self._work is None:
            self._work = self._start()
        return list(self._work(items))


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C waits until the block has ended, because Ray may hang if its own end is cut short.

    Where an exception is on its way already, such as the first Ctrl-C, a second one adds nothing.
    """
    if threading.current_thread() is not threading.main_thread() or \
            signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        yield  # signals go to the main thread, and a job in the background ignores this one
        return
    ending, presses = sys.exc_info()[0] is not None, []
    before = signal.signal(signal.SIGINT, lambda *_: presses.append(1))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
    if presses and not ending:
        raise KeyboardInterrupt


def _connect(address: str) -> bool:
    """Join a cluster; returns whether it was this call that did."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Workers keep the driver's variables, GPUs too; Ray's coming rule, asked for by its warning.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if ray.is_initialized():
        return False
    where: dict[str, Any] = {"address": address} if address else {"include_dashboard": False,
                                                  "address": "local"}
    try:
        _knock(address)
        ray.init(**where, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray has no class of its own for a node that does not start
        reason = (str(error).splitlines() or [""])[0][:200].rstrip(". ")
        what, remedy = (f"The Ray cluster {address}", "Start one with `ray start --head`, or leave "
                        "out --address.") if address else (
                            "Ray on this machine", "Run the same command again, or with --engine "
                            "local.")
        raise UsageError(f"{what} does not answer: {reason}. {remedy}",
                         code="ray.address") from error
    return True


def _knock(address: str) -> None:
    """Fail at once where no Ray listens; Ray itself would try for minutes, or for ever.

    Raises:
        OSError: nothing listens, or what does speaks no HTTP/2, as Ray's heads do.
        ValueError: it is no HOST:PORT.
    """
    if not address or address == "auto":
        return
    match = _ADDRESS.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 65_536:
        raise ValueError("expected auto or HOST:PORT, such as 10.0.0.1:6379")
    host = match["host"].removeprefix("[").removesuffix("]")
    with socket.create_connection((host, int(match["port"])), _PATIENCE) as connection:
        connection.settimeout(_PATIENCE)
        connection.sendall(_PREFACE)
        head = b""
        with suppress(OSError):  # too slow, or cut: as if it had said nothing
            while len(head) < _FRAME and (some := connection.recv(_FRAME - len(head))):
                head += some
    if len(head) < _FRAME or head[3] != _SETTINGS:
        raise OSError("something else than Ray listens there")


def processors() -> int:
    """Processors of the cluster that this process belongs to."""
    return max(1, count_of("CPU"))


def count_of(resource: str) -> int:
    """How many there are of "CPU" or "GPU" in the cluster that this process belongs to."""
    import ray

    return int(ray.cluster_resources().get(resource, 0))
