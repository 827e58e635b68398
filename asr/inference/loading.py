"""Load the recording of a task: samples and features, or a reader for windows.

In: a task. Out: `Loaded`, with the error if there is one. Called from several threads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Generic

import numpy as np

from asr.audio import load_audio, load_utterance, read_header
from asr.audio.loudness import is_silent
from asr.audio.recording import Blocks, blocks_of, open_recording
from asr.audio.source import Source
from asr.errors import AsrError, AudioError
from asr.inference.tasks import Key, Model, Result, Task, caught
from asr.manifest import Utterance, duration_tolerance


@dataclass
class Loaded(Generic[Key]):
    """One task with its features, or with the way to read it in windows."""

    task: Task[Key]
    result: Result[Key]
    long: Callable[[], AbstractContextManager[Blocks]] | None = None
    seconds: dict[str, float] = field(default_factory=dict)


def load(model: Model, task: Task[Key], keep_samples: bool,
          allow_truncated: bool) -> Loaded[Key]:
    """Decode one recording and extract its features; whatever goes wrong is in the result."""
    loaded = Loaded(task, Result(task.key))
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
            result.start = model.seconds_trimmed(samples)
        loaded.seconds["features"] = time.perf_counter() - decoded

    result.error = caught(work, task.name)
    return loaded


def _samples(model: Model, loaded: Loaded, allow_truncated: bool) -> np.ndarray | None:
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
    channel = source.channel if isinstance(source, Utterance) else task.channel
    try:
        if isinstance(source, Utterance):
            return load_utterance(source, max_seconds=longest, **limits)
        source = source() if callable(source) else source
        return load_audio(source, max_seconds=longest, channel=channel, **limits)
    except AudioError as error:
        if error.code != "audio.too_long":
            raise
    if isinstance(source, Utterance) and not _is_whole(source):
        part = load_utterance(source, **limits)
        loaded.long = lambda: nullcontext(blocks_of(part))
        return None
    opened: Source = source.audio if isinstance(source, Utterance) else source  # type: ignore
    loaded.long = lambda: _blocks_of_file(model, opened, allow_truncated, channel)
    return None


def _is_whole(utterance: Utterance) -> bool:
    """Whether a row covers its recording from start to end, by the rule of `load_utterance`."""
    if utterance.offset:
        return False
    seconds = read_header(utterance.audio).duration  # of a cut recording, too
    return seconds - utterance.duration <= duration_tolerance(utterance.duration)


@contextmanager
def _blocks_of_file(model: Model, source: Source, allow_truncated: bool, channel: int
                    ) -> Iterator[Blocks]:
    with open_recording(source, sample_rate=model.sample_rate, allow_truncated=allow_truncated,
                        max_seconds=model.windows.max_seconds,
                        channel=channel) as recording:
        yield recording.blocks


def declared_seconds(task: Task) -> float:
    """Declared duration of a task's recording, seconds; 0.0 where it is not known beforehand."""
    if isinstance(task.source, Utterance):
        return task.source.duration
    if isinstance(task.source, np.ndarray) or callable(task.source):
        return 0.0  # in memory already, or not there yet
    try:
        return read_header(task.source).duration
    except AsrError:
        return 0.0  # loading will find the same, and record it
