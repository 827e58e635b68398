"""The inference loop: recordings to logits or transcripts, or the reason why there are none.

In: tasks, each with a recording. Out: one `Result` a task, in order. Transcribing, evaluating,
tuning and auditing all run through here; they differ in what they do with a result.

While the network works on one group of recordings, threads load the next, so memory is bounded by
two groups. A recording that is too long for one pass (`Windows.threshold_seconds`) is read in
windows when its turn comes, in memory that does not depend on its length. An error of one recording
is its result and never ends the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar

import numpy as np

from asr.audio import load_audio, load_utterance, probe_audio
from asr.audio.loudness import is_silent
from asr.audio.recording import Blocks, blocks_of, open_recording
from asr.audio.source import Source
from asr.errors import AsrError, AudioError
from asr.inference.long_recordings import Listener, window_logits
from asr.inference.stopwatch import Stopwatch
from asr.kernels import pool
from asr.manifest import Utterance
from asr.transcript import Transcript

GROUP_SECONDS = 900.0  # of audio that is loaded while the group before is computed
GROUP_ITEMS = 128
LOADERS = 4  # threads that decode audio; the libraries below release the interpreter lock

Key = TypeVar("Key")


class Model(Listener, Protocol):
    """What the loop needs of a `Recognizer`."""

    @property
    def sample_rate(self) -> int:
        """Hz."""
        ...

    def load_audio(self, audio: np.ndarray, sample_rate: int | None = None) -> np.ndarray:
        """See `Recognizer.load_audio`."""
        ...

    def features(self, audio: np.ndarray) -> np.ndarray:
        """See `Recognizer.features`."""
        ...

    def logits_batch(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Recognizer.logits_batch`."""
        ...

    def decode(self, logits: np.ndarray, duration: float | None = None,
               features: np.ndarray | None = None) -> Transcript:
        """See `Recognizer.decode`."""
        ...

    def transcribe_blocks(self, blocks: Blocks, watch: Stopwatch | None = None) -> Transcript:
        """See `Recognizer.transcribe_blocks`."""
        ...


@dataclass
class Timings:
    """Seconds of work by stage; loading and features run in parallel threads and are summed.

    Attributes:
        load, features, model, decode, write: seconds.
        audio: seconds of recordings.
        wall: seconds that passed.
    """

    load: float = 0.0
    features: float = 0.0
    model: float = 0.0
    decode: float = 0.0
    write: float = 0.0
    audio: float = 0.0
    wall: float = 0.0

    @property
    def real_time_factor(self) -> float | None:
        """RTF: seconds that passed per second of audio; None without audio."""
        return self.wall / self.audio if self.audio else None

    def to_dict(self) -> dict[str, float]:
        """The attributes and the RTF (0.0 without audio), rounded."""
        table = {name: round(value, 4) for name, value in vars(self).items()}
        return table | {"real_time_factor": round(self.real_time_factor or 0.0, 6)}


@dataclass(frozen=True)
class Task(Generic[Key]):
    """One recording to work on.

    Attributes:
        key: returned in the result.
        source: a path, bytes, a manifest row, an array (num_samples,), or a function that gives
            one of the first two when its turn comes.
        name: what messages call it.
        sample_rate: Hz of an array; None: the model's.
    """

    key: Key
    source: Source | Utterance | np.ndarray | Callable[[], Source]
    name: str
    sample_rate: int | None = None


@dataclass
class Result(Generic[Key]):
    """What became of one task.

    Attributes:
        key: the task's.
        samples: (num_samples,) float32 if they were asked for; None for a long recording.
        features: (T, F) float32 before normalisation; (0, 0) for silence and long recordings.
        logits: (T', V) float32; None for silence, for an error, and from `transcribe_tasks` for a
            long recording.
        transcript: from `transcribe_tasks`; None for an error.
        duration: seconds of the recording.
        error: why there is no result.
        stage: "load", "features", "model" or "decode", of the error.
    """

    key: Key
    samples: np.ndarray | None = None
    features: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    logits: np.ndarray | None = None
    transcript: Transcript | None = None
    duration: float = 0.0
    error: AsrError | None = None
    stage: str = "load"

    def raise_error(self) -> None:
        """Raise the error, if there is one; a fault of ours as it was."""
        if self.error is not None:
            internal = type(self.error) is AsrError and self.error.__cause__
            raise internal or self.error


@dataclass
class _Loaded(Generic[Key]):
    """One task with its features, or with the way to read it in windows."""

    task: Task[Key]
    result: Result[Key]
    long: Callable[[], AbstractContextManager[Blocks]] | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def infer(model: Model, tasks: Iterable[Task[Key]], *, keep_samples: bool = False,
          allow_truncated: bool = False, timings: Timings | None = None) -> Iterator[Result[Key]]:
    """Logits of recordings, in the order of the tasks.

    Args:
        model: a recogniser.
        tasks: recordings.
        keep_samples: keep the samples of recordings that fit into one pass.
        allow_truncated: see `asr.audio.load_audio`.
        timings: filled while the loop runs.
    """
    timings = timings if timings is not None else Timings()
    for group in _groups(model, tasks, keep_samples, allow_truncated, timings):
        for one in group:
            if one.long is not None:
                _long_logits(model, one, timings)
            yield one.result


def transcribe_tasks(model: Model, tasks: Iterable[Task[Key]], *, allow_truncated: bool = False,
                     timings: Timings | None = None,
                     notice: Callable[[str], None] | None = None) -> Iterator[Result[Key]]:
    """Transcripts of recordings, in the order of the tasks; a group is decoded on all threads.

    Args:
        model: a recogniser.
        tasks: recordings.
        allow_truncated: see `asr.audio.load_audio`.
        timings: filled while the loop runs.
        notice: told in a sentence when the first long recording begins.
    """
    timings = timings if timings is not None else Timings()
    for group in _groups(model, tasks, False, allow_truncated, timings):
        if notice and any(one.long is not None for one in group):
            notice(model.windows.sentence)
            notice = None
        spoken = [one for one in group if one.result.logits is not None]
        decoded = pool.stream([partial(_decode, model, one) for one in spoken],
                              pool.default_threads())
        for one in group:
            if one.long is not None:
                _long_transcript(model, one, timings)
            elif one.result.logits is not None:
                started = time.perf_counter()
                next(decoded)
                timings.decode += time.perf_counter() - started
            elif one.result.error is None:
                one.result.transcript = Transcript("", duration=one.result.duration)
            yield one.result


def _groups(model: Model, tasks: Iterable[Task[Key]], keep_samples: bool, allow_truncated: bool,
            timings: Timings) -> Iterator[list[_Loaded[Key]]]:
    """Groups of loaded tasks with the logits of those that fit into one pass."""
    started = time.perf_counter()
    groups = _task_groups(tasks)
    with ThreadPoolExecutor(LOADERS, thread_name_prefix="asr-load") as threads:
        def submit(group: list[Task[Key]]) -> list[Future[_Loaded[Key]]]:
            return [threads.submit(_load, model, task, keep_samples, allow_truncated)
                    for task in group]

        try:
            coming = submit(next(groups, []))
            while coming:
                following = submit(next(groups, []))
                loaded = [job.result() for job in coming]
                for one in loaded:
                    timings.load += one.seconds.get("load", 0.0)
                    timings.features += one.seconds.get("features", 0.0)
                    timings.audio += one.result.duration
                _add_logits(model, loaded, timings)
                yield loaded
                timings.wall = time.perf_counter() - started
                coming = following
        finally:
            threads.shutdown(wait=True, cancel_futures=True)


def _task_groups(tasks: Iterable[Task[Key]]) -> Iterator[list[Task[Key]]]:
    """Tasks in groups that fit in memory, by the durations that are declared."""
    group: list[Task[Key]] = []
    seconds = 0.0
    for task in tasks:
        duration = _declared_seconds(task)
        if group and (len(group) >= GROUP_ITEMS or seconds + duration > GROUP_SECONDS):
            yield group
            group, seconds = [], 0.0
        group.append(task)
        seconds += duration
    if group:
        yield group


def _declared_seconds(task: Task) -> float:
    if isinstance(task.source, Utterance):
        return task.source.duration
    if isinstance(task.source, np.ndarray):
        return 0.0  # in memory already
    if callable(task.source):
        return 0.0
    try:
        return probe_audio(task.source).duration
    except AsrError:
        return 0.0  # loading will find the same, and record it


def _load(model: Model, task: Task[Key], keep_samples: bool,
          allow_truncated: bool) -> _Loaded[Key]:
    """Decode one recording and extract its features; whatever goes wrong is in the result."""
    loaded = _Loaded(task, Result(task.key))
    result = loaded.result
    started = time.perf_counter()

    def work() -> None:
        samples = _samples(model, loaded, allow_truncated)
        decoded = time.perf_counter()
        loaded.seconds["load"] = decoded - started
        if samples is None:
            return
        result.duration = len(samples) / model.sample_rate
        if keep_samples:
            result.samples = samples
        result.stage = "features"
        if not is_silent(samples, model.sample_rate):
            result.features = model.features(samples)
        loaded.seconds["features"] = time.perf_counter() - decoded

    result.error = _caught(work, task.name)
    return loaded


def _samples(model: Model, loaded: _Loaded, allow_truncated: bool) -> np.ndarray | None:
    """What fits into one pass; None for what is longer, with `loaded.long` to read it."""
    task, rate, longest = loaded.task, model.sample_rate, model.windows.threshold_seconds
    source = task.source
    if isinstance(source, np.ndarray):
        samples = model.load_audio(source, task.sample_rate)
        if len(samples) <= longest * rate:
            return samples
        loaded.long = lambda: nullcontext(blocks_of(samples))
        return None
    limits = {"sample_rate": rate, "allow_truncated": allow_truncated}
    try:
        if isinstance(source, Utterance):
            return load_utterance(source, max_seconds=longest, **limits)
        source = source() if callable(source) else source
        return load_audio(source, max_seconds=longest, **limits)
    except AudioError as error:
        if error.code != "audio.too_long":
            raise
    if isinstance(source, Utterance) and not _is_whole(source):
        part = load_utterance(source, **limits)
        loaded.long = lambda: nullcontext(blocks_of(part))
        return None
    opened: Source = source.audio if isinstance(source, Utterance) else source  # type: ignore
    loaded.long = lambda: _recording(model, opened, allow_truncated)
    return None


def _is_whole(utterance: Utterance) -> bool:
    """Whether a row means its recording from start to end, as `load_utterance` sees it."""
    if utterance.offset:
        return False
    seconds = probe_audio(utterance.audio).duration
    return seconds - utterance.duration <= max(0.1, 0.01 * utterance.duration)


class _recording(AbstractContextManager):
    """`open_recording` that gives the blocks."""

    def __init__(self, model: Model, source: Source, allow_truncated: bool):
        self._opened = open_recording(source, sample_rate=model.sample_rate,
                                      allow_truncated=allow_truncated,
                                      max_seconds=model.windows.max_seconds)

    def __enter__(self) -> Blocks:
        return self._opened.__enter__().blocks

    def __exit__(self, *details):
        return self._opened.__exit__(*details)


def _add_logits(model: Model, group: Sequence[_Loaded], timings: Timings) -> None:
    """The logits of a group in batches; if that fails, one by one to find the culprit."""
    spoken = [one for one in group if one.result.error is None and len(one.result.features)]
    started = time.perf_counter()

    def together() -> None:
        rows = model.logits_batch([one.result.features for one in spoken])
        for one, row in zip(spoken, rows, strict=True):
            one.result.logits = row

    def alone(one: _Loaded) -> None:
        one.result.logits = model.logits_batch([one.result.features])[0]

    if spoken and _caught(together, spoken[0].task.name) is not None:
        for one in spoken:
            one.result.stage = "model"
            one.result.error = _caught(partial(alone, one), one.task.name)
    timings.model += time.perf_counter() - started


def _decode(model: Model, one: _Loaded) -> None:
    result = one.result

    def work() -> None:
        if result.logits is not None:
            result.transcript = model.decode(result.logits, result.duration, result.features)

    error = _caught(work, one.task.name)
    if error is not None:
        result.error, result.stage = error, "decode"


def _long_transcript(model: Model, one: _Loaded, timings: Timings) -> None:
    def work(blocks: Blocks, watch: Stopwatch) -> None:
        one.result.transcript = model.transcribe_blocks(blocks, watch)
        one.result.duration = one.result.transcript.duration

    _read_long(one, work, timings)


def _long_logits(model: Model, one: _Loaded, timings: Timings) -> None:
    def work(blocks: Blocks, watch: Stopwatch) -> None:
        survey, pieces = window_logits(model, blocks, watch)
        if not survey.loudness.silent:
            one.result.logits = np.concatenate(list(pieces))
        one.result.duration = survey.loudness.num_samples / model.sample_rate

    _read_long(one, work, timings)


def _read_long(one: _Loaded, work: Callable[[Blocks, Stopwatch], None], timings: Timings) -> None:
    """Work on a recording that is read in windows, in this thread."""
    watch = Stopwatch()

    def read() -> None:
        if one.long is not None:
            with one.long() as blocks:
                work(blocks, watch)

    error = _caught(read, one.task.name)
    for stage, seconds in watch.seconds.items():
        setattr(timings, stage, getattr(timings, stage) + seconds)
    if error is not None:
        one.result.error, one.result.stage = error, watch.failed or "load"
    else:
        timings.audio += one.result.duration


def _caught(work: Callable[[], None], name: str) -> AsrError | None:
    """Run; an error of one recording is returned and does not end the run.

    Internal errors are returned as well, with the code "internal": hours of other recordings may
    wait behind this one. The record and the exit code tell.
    """
    try:
        work()
    except AsrError as error:
        return error
    except Exception as error:
        wrapped = AsrError(f"{name}: {type(error).__name__}: {error}. Run this file alone "
                           "with --debug and report the traceback.", path=name)
        wrapped.__cause__ = error
        return wrapped
    return None
