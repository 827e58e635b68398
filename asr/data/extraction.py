"""Run processes that extract features: start, feed, watch and always end them.

In: tasks. Out: their answers, as they come.
Not `multiprocessing`: its children import the caller's main module again (TensorFlow with it, or
a script without the `__name__` guard); these import `asr.data.worker` and nothing else.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import BinaryIO

from asr.data.worker import Cut, Shared
from asr.errors import AsrError, InputWarning
from asr.manifest.address import is_address
from asr.terminal import own_controls

THREAD_NAME = "asr-features"
Progress = Callable[[int, int, float], None]  # arrays done, arrays in all, seconds of audio done

_START = ("import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
          "from asr.data.worker import main; main()")


def run_tasks(config: Shared, tasks: Sequence[list[Cut]], num_workers: int,
              report: Callable[[int, float], None],
              finished: Callable[[list[dict]], None]) -> None:
    """Run tasks in spawned processes.

    Args:
        config: what all tasks share.
        tasks: each becomes one shard.
        num_workers: processes at most.
        report: called here with the arrays and the seconds of audio done since the last call.
        finished: called here with the failed jobs of each task, when its shard is on disk.

    Raises:
        AsrError: a process died (killed, out of memory) or could not write. Whatever is raised,
            by `report` and `finished` too, no process is left behind; finished shards stay.
    """
    pool = _Pool(config, tasks, min(num_workers, len(tasks)))
    try:
        num_finished = 0
        while num_finished < len(tasks):
            message = pool.messages.get()
            if isinstance(message, BaseException):
                raise message
            if "failed" in message:
                num_finished += 1
                finished(message["failed"])
            elif "note" in message:
                warnings.warn(InputWarning(message["note"], message["code"]), stacklevel=2)
            else:
                report(message["count"], message["seconds"])
    finally:
        pool.end()


def remedy(folder: str) -> str:
    """What may help where features cannot be written; without a full stop."""
    if is_address(folder):
        return ("Check the network, the address and its credentials, and run the same command "
                "again")
    return "Make room, or name another cache folder (data.cache_dir)"


class _Pool:
    """One thread a process: it writes a task, then reads lines up to the answer."""

    def __init__(self, config: Shared, tasks: Sequence[list[Cut]], num_workers: int):
        self.messages: queue.SimpleQueue[dict | BaseException] = queue.SimpleQueue()
        self._tasks: queue.SimpleQueue[list[Cut]] = queue.SimpleQueue()
        for task in tasks:
            self._tasks.put(task)
        self._config, self._folder = json.dumps(asdict(config)), config.folder
        self._ended = False
        self._processes: list[subprocess.Popen] = []
        self._threads = []
        try:
            for _ in range(num_workers):
                log = tempfile.TemporaryFile()
                process = _spawn(log)
                self._processes.append(process)
                thread = threading.Thread(target=self._serve, args=(process, log), daemon=True,
                                          name=THREAD_NAME)
                thread.start()
                self._threads.append(thread)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Kill what still runs: after the last answer nothing is lost, after an error nothing is
        wanted.
        """
        self._ended = True
        for process in self._processes:
            process.kill()
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            process.wait()

    def _serve(self, process: subprocess.Popen, log: BinaryIO) -> None:
        try:
            self._talk(process, log)
        except BaseException as error:  # handed to the caller's thread, which raises it
            if not self._ended:
                self.messages.put(error)
        finally:
            for stream in (log, process.stdin, process.stdout):
                with suppress(OSError):  # what could not be written is of no use to the dead
                    stream.close()  # type: ignore[union-attr]

    def _talk(self, process: subprocess.Popen, log: BinaryIO) -> None:
        alive = _send(process, self._config)
        while alive:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                return
            alive = (_send(process, json.dumps([asdict(job) for job in task]))
                     and self._receive(process))
        raise _death(process, log)

    def _receive(self, process: subprocess.Popen) -> bool:
        """Pass on what a process says up to its answer; False if it falls silent."""
        for line in process.stdout:  # type: ignore[union-attr]
            try:
                message = json.loads(line)
            except ValueError:  # killed in the middle of a line
                return False
            if "fatal" in message:
                raise AsrError(f"The features cannot be written: {message['fatal']}. "
                               f"{remedy(self._folder)}; finished parts stay.", code="cache.write")
            self.messages.put(message)
            if "failed" in message:
                return True
        return False


def _send(process: subprocess.Popen, line: str) -> bool:
    """Write one line; False if there is no reader any more."""
    try:
        process.stdin.write(line + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    except OSError:
        return False
    return True


def _spawn(log: BinaryIO) -> subprocess.Popen:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", _START, json.dumps(sys.path)],
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                            text=True, encoding="utf-8", env=environment)


def _death(process: subprocess.Popen, log: BinaryIO) -> AsrError:
    """The error of a process that ended."""
    code = process.wait()
    if code < 0:
        cause = (f"was killed by {signal.Signals(-code).name}, perhaps for want of memory. Run "
                 "again, with fewer processes (data.num_workers = 1)")
    else:
        log.seek(max(0, log.seek(0, os.SEEK_END) - 600))
        last = log.read().decode("utf-8", "replace").strip() or "it said nothing"
        cause = f"ended with exit code {code}: {last}. Run again"
    return AsrError(f"A process that was making features {cause}; finished parts stay.",
                    code="cache.worker_died")


@contextmanager
def shown(progress: Progress | None, seconds: float) -> Iterator[Progress]:
    """The caller's progress function, a bar with an ETA on a terminal, or nothing.

    Args:
        progress: the caller's.
        seconds: of audio, all of it; 0 shows nothing.
    """
    if progress is not None or not seconds or not sys.stderr.isatty():
        yield progress or (lambda done, total, seconds: None)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("features"), BarColumn(), TextColumn("{task.fields[count]}"),
               TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=own_controls(sys.stderr)), transient=True) as bar:
        task = bar.add_task("features", total=seconds, count="")
        yield lambda done, total, seconds: bar.update(task, completed=seconds,
                                                      count=f"{done:,}/{total:,}")
