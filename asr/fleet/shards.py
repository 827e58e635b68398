"""What the workers of a cluster do with a shard: transcribe recordings or rows, or align rows.

In: how the model is opened, and options. Out: the same outcomes as the functions of this room give
on one machine; the model is loaded once in each worker.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from asr.errors import AsrError
from asr.fleet.align import Aligned, align_utterances
from asr.fleet.cluster import Cluster
from asr.fleet.transcribe import Outcome, transcribe_items
from asr.fleet.worklist import Item
from asr.inference.loop import transcribe_tasks
from asr.inference.tasks import Result, Task, Timings
from asr.manifest import Utterance
from asr.recognizer import Recognizer

Open = Callable[[], Recognizer]
_MOST_NOTICES = 5


@dataclass(frozen=True)
class _Told:
    """An outcome and, with the first one of a shard, what the worker said and measured."""

    outcome: object
    notices: tuple[str, ...] = ()
    timings: Timings | None = None


@dataclass(frozen=True)
class _Worker:
    """Opens the model once; gives what `work(model, shard, **options)` is to do with each shard."""

    open: Open
    work: Callable[..., list[_Told]]
    options: dict[str, Any]

    def __call__(self) -> Callable[[list], list[_Told]]:
        return partial(self.work, self.open(), **self.options)


def _transcribe(recognizer: Recognizer, items: list[Item], **loading) -> list[_Told]:
    said, timings = [], Timings()
    outcomes = list(transcribe_items(recognizer, items, timings, notice=said.append, **loading))
    return _told(outcomes, said, timings)


def _listen(recognizer: Recognizer, rows: list[Utterance], *, allow_truncated: bool
            ) -> list[_Told]:
    timings = Timings()
    results = [replace(result, features=np.empty((0, 0), np.float32), logits=None, samples=None,
                       levels=None) for result in transcribe_tasks(
                           recognizer, (Task(u, u, u.id) for u in rows), timings=timings,
                           allow_truncated=allow_truncated)]
    return _told(results, [], timings)


def _align(recognizer: Recognizer, rows: list[Utterance], *, allow_truncated: bool
           ) -> list[_Told]:
    return _told(list(align_utterances(recognizer, rows, allow_truncated=allow_truncated)), [],
                 None)


def transcribe_on(cluster: Cluster, open_: Open, items: Iterable[Item],
                  timings: Timings | None = None, *,
                  notice: Callable[[str], None] | None = None, **loading) -> Iterator[Outcome]:
    """`asr.fleet.transcribe.transcribe_items`, on a cluster.

    Args:
        cluster: where.
        open_: opens the model in a worker; picklable.
        items: recordings, on paths that every node has, or addresses.
        timings: seconds of work, summed over the workers, are added.
        notice: told once what workers say.
        **loading: see `transcribe_items`.
    """
    loading.pop("progress", None)  # of one long recording, by seconds; here recordings count

    def lost(item: Item, error: AsrError) -> _Told:
        error.path = item.name
        return _Told(Outcome(item, error=error, stage="worker"))

    yield from _merged(cluster, _Worker(open_, _transcribe, loading), items, lost, timings, notice)


def listen_on(cluster: Cluster, open_: Open, utterances: Iterable[Utterance], timings: Timings, *,
              allow_truncated: bool = False) -> Iterator[Result[Utterance]]:
    """`asr.inference.loop.transcribe_tasks` of rows, on a cluster; results have no arrays.

    Args:
        cluster, open_: see `transcribe_on`.
        utterances: rows.
        timings: as in `transcribe_on`.
        allow_truncated: see `asr.audio.load_audio`.
    """
    def lost(row: Utterance, error: AsrError) -> _Told:
        error.path = str(row.audio)
        return _Told(Result(row, error=error, stage="worker"))

    start = _Worker(open_, _listen, {"allow_truncated": allow_truncated})
    yield from _merged(cluster, start, utterances, lost, timings, None)


def align_on(cluster: Cluster, open_: Open, utterances: Iterable[Utterance], *,
             allow_truncated: bool = False) -> Iterator[Aligned]:
    """`asr.fleet.align.align_utterances`, on a cluster.

    Args:
        cluster, open_: see `transcribe_on`.
        utterances: rows with what is said in each.
        allow_truncated: see `asr.audio.load_audio`.
    """
    def lost(row: Utterance, error: AsrError) -> _Told:
        error.path = str(row.audio)
        return _Told(Aligned(row, error=error))

    start = _Worker(open_, _align, {"allow_truncated": allow_truncated})
    yield from _merged(cluster, start, utterances, lost, None, None)


def _told(outcomes: list, said: list[str], timings: Timings | None) -> list[_Told]:
    return [_Told(outcome, tuple(said) if not index else (), None if index else timings)
            for index, outcome in enumerate(outcomes)]


def _merged(cluster: Cluster, start: Callable, items: Iterable, lost: Callable,
            timings: Timings | None, notice: Callable[[str], None] | None) -> Iterator:
    """The outcomes; what the workers said and measured goes where the caller wants it."""
    said: set[str] = set()
    began = time.perf_counter()
    for told in cluster.run(start, items, lost, notice=notice):
        for sentence in told.notices:
            if notice and sentence not in said and len(said) < _MOST_NOTICES:
                said.add(sentence)
                notice(sentence)
        if timings is not None and told.timings is not None:
            for name in ("load", "features", "model", "decode", "audio"):
                setattr(timings, name, getattr(timings, name) + getattr(told.timings, name))
        if timings is not None:
            timings.wall = time.perf_counter() - began
        yield told.outcome
