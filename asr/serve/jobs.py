"""The queue of uploads, the threads that work on it, and batches of what waits.

In: jobs, one recording each. Out: a future with its `Result`. All of it goes through the one
inference loop, `asr.inference.loop.transcribe_tasks`.

Threads, not processes: the compiled kernels release the interpreter lock and use all processors in
one pass, and one process holds each model once, counts once, and has one queue that is bounded. A
thread that is free takes the oldest job and, up to the limits of a batch, others of the same model
that wait already; it never waits for more to come, so a job alone is as fast as without batches.
Recordings that are longer than a batch have a thread of their own: a short one does not wait behind
an hour.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from asr.audio.source import Source
from asr.errors import AsrError
from asr.inference.loop import transcribe_tasks
from asr.inference.tasks import Result, Task
from asr.serve.logs import log
from asr.serve.metrics import Metrics
from asr.serve.models import ServedModel, Wanted
from asr.serve.problems import Busy, Failure
from asr.serve.settings import ServerSettings
from asr.transcript import Transcript

NAME = "The recording"  # of a client's file in messages


@dataclass(eq=False)
class Job:
    """One recording to transcribe.

    Attributes:
        model: which model.
        wanted: words of the request.
        source: bytes, or an open file that nothing else uses.
        seconds: what the recording declares.
        future: its `Result`, or what went wrong before there was one.
        waited: seconds in the queue, once it is worked on.
    """

    model: ServedModel
    source: Source
    seconds: float
    wanted: Wanted = Wanted()
    future: Future = field(default_factory=Future)
    waited: float = 0.0
    since: float = field(default_factory=time.monotonic)


class Places:
    """How many requests, or streams, there are at a time: at most `most`.

    Args:
        most: the limit.
        what: the sentence for one more.
        retry_after: estimates the seconds until there is room.
    """

    def __init__(self, most: int, what: str, retry_after: Callable[[], int] = lambda: 1):
        self.most = most
        self.taken = 0
        self._what = what
        self._retry_after = retry_after
        self._lock = threading.Lock()

    def take(self) -> None:
        """Take a place.

        Raises:
            Busy: there is none.
        """
        with self._lock:
            if self.taken < self.most:
                self.taken += 1
                return
        raise Busy(self._what, self._retry_after())

    def give_back(self) -> None:
        """Give it back."""
        with self._lock:
            self.taken -= 1


class Dispatcher:
    """The queue and its threads.

    Args:
        settings: how many threads, how large a batch.
        metrics: what is counted.
    """

    def __init__(self, settings: ServerSettings, metrics: Metrics):
        self.settings = settings
        self.metrics = metrics
        self.places = Places(settings.max_queue, f"The queue is full with {settings.max_queue} "
                             "requests", self.retry_after)
        self._jobs: deque[Job] = deque()
        self._seconds = 0.0  # of audio in the queue
        self._rtf = 0.05  # a running mean; a guess until the first batch
        self._changed = threading.Condition()
        self._ended = False
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads; jobs may be waiting already."""
        for number in range(self.settings.workers + 1):
            thread = threading.Thread(target=self._serve, args=(number == self.settings.workers,),
                                      name=f"asr-serve-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Finish what is in the queue, then end the threads; jobs of no thread are cancelled."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        for job in self._jobs:
            job.future.cancel()

    def retry_after(self) -> int:
        """Seconds until the queue of now is done, at the speed of late: a whole number, 1 .. 60."""
        return min(60, max(1, math.ceil(self._seconds * self._rtf)))

    def submit(self, job: Job) -> None:
        """Put a job into the queue; its place has been taken.

        Raises:
            Failure: the server ends.
        """
        with self._changed:
            if self._ended:
                raise Failure(503, "The server is ending. Send it again.", "ending", retry_after=5)
            self._jobs.append(job)
            self._seconds += job.seconds
            self.metrics.waiting.set(len(self._jobs))
            self._changed.notify_all()

    def withdraw(self, job: Job) -> None:
        """Take a job out of the queue, if no thread works on it yet."""
        with self._changed:
            if job.future.cancel() and job in self._jobs:
                self._jobs.remove(job)
                self._seconds -= job.seconds
                self.metrics.waiting.set(len(self._jobs))

    def _serve(self, long: bool) -> None:
        """Work on long recordings, or on all others, until the end."""
        while batch := self._take(long):
            self.metrics.working.inc(len(batch))
            try:
                self._work(batch)
            except Exception as error:  # of this thread, such as no memory for one more
                log("batch failed", level=logging.ERROR, error=error)
                for job in batch:
                    if not job.future.done():
                        job.future.set_exception(error)
            finally:
                self.metrics.working.dec(len(batch))

    def _take(self, long: bool) -> list[Job]:
        """The oldest job and others like it; empty when there is nothing more to do, ever."""
        with self._changed:
            while True:
                batch = self._pick(long)
                if batch or self._ended:
                    return batch
                self._changed.wait()

    def _pick(self, long: bool) -> list[Job]:
        """Take what makes a batch out of the queue."""
        batch: list[Job] = []
        seconds, others = 0.0, deque()
        for job in self._jobs:
            fits = (job.seconds > self.settings.batch_seconds) == long and (not batch or (
                len(batch) < self.settings.batch and job.model is batch[0].model
                and job.wanted == batch[0].wanted
                and seconds + job.seconds <= self.settings.batch_seconds))
            if not fits:
                others.append(job)
                continue
            self._seconds -= job.seconds
            if job.future.set_running_or_notify_cancel():
                job.waited = time.monotonic() - job.since
                seconds += job.seconds
                batch.append(job)
        self._jobs = others
        self.metrics.waiting.set(len(self._jobs))
        return batch

    def _work(self, batch: list[Job]) -> None:
        started = time.perf_counter()
        model, audio = batch[0].model, 0.0
        try:
            recognizer = model.recognizer_for(batch[0].wanted)
        except AsrError as error:
            for job in batch:
                job.future.set_exception(error)
            return
        tasks = [Task(job, job.source, NAME) for job in batch]
        for result in transcribe_tasks(recognizer, tasks,
                                       allow_truncated=self.settings.allow_truncated):
            audio += result.duration
            result.key.future.set_result(result)
        spent = time.perf_counter() - started
        self.metrics.batch_size.observe(len(batch))
        self.metrics.audio_seconds.labels(model.name, "file").inc(audio)
        self.metrics.work_seconds.labels(model.name, "file").inc(spent)
        if audio:
            self.metrics.real_time_factor.observe(spent / audio)
            self._rtf += 0.1 * (spent / audio - self._rtf)


def transcript_of(result: Result) -> Transcript:
    """The transcript of a result.

    Raises:
        AsrError: why there is none.
    """
    result.raise_error()
    return result.transcript or Transcript("", duration=result.duration)
