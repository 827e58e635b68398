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
from functools import partial

import numpy as np

from asr.audio.recording import Blocks
from asr.inference.loading import Loaded, declared_seconds, load
from asr.inference.long_recordings import window_logits
from asr.inference.stopwatch import Stopwatch
from asr.inference.tasks import Key, Model, Result, Task, Timings, caught
from asr.inference.warps import choose_warps
from asr.kernels import pool
from asr.transcript import Transcript

GROUP_SECONDS = 900.0  # of audio that is loaded while the group before is computed
GROUP_ITEMS = 128
LOADERS = 4  # threads that decode audio; the libraries below release the interpreter lock


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
                     notice: Callable[[str], None] | None = None,
                     progress: Callable[[int, int], None] | None = None
                     ) -> Iterator[Result[Key]]:
    """Transcripts of recordings, in the order of the tasks; a group is decoded on all threads.

    Args:
        model: a recogniser.
        tasks: recordings.
        allow_truncated: see `asr.audio.load_audio`.
        timings: filled while the loop runs.
        notice: told in a sentence when the first long recording begins.
        progress: called with (done, all) seconds of a long recording.
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
                _long_transcript(model, one, timings, progress)
            elif one.result.logits is not None:
                started = time.perf_counter()
                next(decoded)
                timings.decode += time.perf_counter() - started
            elif one.result.error is None:
                one.result.transcript = Transcript("", duration=one.result.duration)
            yield one.result


def _groups(model: Model, tasks: Iterable[Task[Key]], keep_samples: bool, allow_truncated: bool,
            timings: Timings) -> Iterator[list[Loaded[Key]]]:
    """Groups of loaded tasks with the logits of those that fit into one pass."""
    started = time.perf_counter()
    groups = _task_groups(tasks)
    with ThreadPoolExecutor(LOADERS, thread_name_prefix="asr-load") as threads:
        def submit(group: list[Task[Key]]) -> list[Future[Loaded[Key]]]:
            return [threads.submit(load, model, task, keep_samples, allow_truncated)
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
        duration = declared_seconds(task)
        if group and (len(group) >= GROUP_ITEMS or seconds + duration > GROUP_SECONDS):
            yield group
            group, seconds = [], 0.0
        group.append(task)
        seconds += duration
    if group:
        yield group


def _add_logits(model: Model, group: Sequence[Loaded], timings: Timings) -> None:
    """The logits of a group in batches; if that fails, one by one to find the culprit."""
    spoken = [one for one in group if one.result.error is None and len(one.result.features)]
    started = time.perf_counter()

    def together() -> None:
        _set_logits(model, [one.result for one in spoken], timings)

    def alone(one: Loaded) -> None:
        _set_logits(model, [one.result], timings)

    if spoken and caught(together, spoken[0].task.name) is not None:
        for one in spoken:
            one.result.stage = "model"
            one.result.error = caught(partial(alone, one), one.task.name)
    timings.model += time.perf_counter() - started


def _set_logits(model: Model, results: Sequence[Result], timings: Timings) -> None:
    """The logits of the features without the middle of long pauses, of their best warp."""
    pauses, warping = model.pauses, model.warping
    spans = [pauses.find(result.features) for result in results]
    features = [pauses.leave_out(result.features, left_out)
                for result, left_out in zip(results, spans, strict=True)]
    if warping is None:
        for result, row, left_out in zip(results, model.logits_batch(features), spans, strict=True):
            result.logits = pauses.put_back(row, left_out)
        return

    def network(pairs: Sequence[tuple[int, int]]) -> list[np.ndarray]:
        return model.logits_batch([warping.apply(features[item], warp) for item, warp in pairs])

    chosen, seconds = choose_warps(network, model.decoder, len(features), warping)
    timings.decode += seconds
    timings.model -= seconds  # the caller adds all of it
    for result, (warp, row), left_out in zip(results, chosen, spans, strict=True):
        result.logits, result.warp = pauses.put_back(row, left_out), warping.factor(warp)


def _decode(model: Model, one: Loaded) -> None:
    result = one.result

    def work() -> None:
        if result.logits is not None:
            result.transcript = model.decode(result.logits, result.duration, result.features,
                                             result.start)

    error = caught(work, one.task.name)
    if error is not None:
        result.error, result.stage = error, "decode"


def _long_transcript(model: Model, one: Loaded, timings: Timings,
                     progress: Callable[[int, int], None] | None) -> None:
    def work(blocks: Blocks, watch: Stopwatch) -> None:
        one.result.transcript = model.transcribe_blocks(blocks, watch)
        one.result.duration = one.result.transcript.duration

    _read_long(one, work, timings, progress)


def _long_logits(model: Model, one: Loaded, timings: Timings) -> None:
    def work(blocks: Blocks, watch: Stopwatch) -> None:
        survey, pieces = window_logits(model, blocks, watch)
        if not survey.loudness.silent:
            one.result.logits = np.concatenate(list(pieces))
            one.result.levels = np.concatenate(survey.levels) if survey.levels else None
        one.result.duration = survey.loudness.num_samples / model.sample_rate

    _read_long(one, work, timings)


def _read_long(one: Loaded, work: Callable[[Blocks, Stopwatch], None], timings: Timings,
               progress: Callable[[int, int], None] | None = None) -> None:
    """Work on a recording that is read in windows, in this thread."""
    watch = Stopwatch(progress)

    def read() -> None:
        if one.long is not None:
            with one.long() as blocks:
                work(blocks, watch)

    error = caught(read, one.task.name)
    for stage, seconds in watch.seconds.items():
        setattr(timings, stage, getattr(timings, stage) + seconds)
    if error is not None:
        one.result.error, one.result.stage = error, watch.failed or "load"
    else:
        timings.audio += one.result.duration
