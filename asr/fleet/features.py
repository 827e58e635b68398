"""Features of many recordings on a cluster, into one feature cache.

In: the tasks of `asr.data.cache.build_cache`. Out: what failed, task by task. Workers write shards
into the cache's folder, which must be on a disk that every node has.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from asr.data.worker import Config, Job, run_task
from asr.errors import AsrError, InputWarning
from asr.fleet.cluster import Cluster

Failed = list[dict]
_Answer = tuple[Failed, list[tuple[str, str]], bool]  # failed, warnings, whether workers died of it


def extract_on(cluster: Cluster, config: Config, tasks: Sequence[list[Job]]
               ) -> Iterator[tuple[list[Job], Failed]]:
    """Make the features of tasks; a task that kills its workers is done again job by job.

    Args:
        cluster: where.
        config, tasks: see `asr.data.worker.run_task`.

    Yields:
        The jobs that are done with, and one record for each of them that failed.

    Raises:
        AsrError: the shards cannot be written; finished ones stay.
    """
    deadly: list[Job] = []
    for alone in (False, True):
        work = [[job] for job in deadly] if alone else list(tasks)
        for task, (failed, said, died) in zip(work, cluster.run(
                partial(_start, config), work, _lost, shard_items=1), strict=True):
            for message, code in said:
                warnings.warn(InputWarning(message, code), stacklevel=2)
            if died and len(task) > 1:
                deadly += task
            else:
                yield task, failed
        if not deadly:
            return


def _lost(task: list[Job], error: AsrError) -> _Answer:
    return [{**error.as_record("features"), "path": job.path,
             "keys": [key for key, _ in job.outputs]} for job in task], [], True


def _start(config: Config) -> Callable[[list[list[Job]]], list[_Answer]]:
    return partial(_work, config)


def _work(config: Config, tasks: list[list[Job]]) -> list[_Answer]:
    answers: list[_Answer] = []
    for task in tasks:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", InputWarning)
            try:
                failed = run_task(config, task, lambda count, seconds: None)
            except OSError as error:
                raise AsrError(f"The features cannot be written to {config.folder}: "
                               f"{error.strerror or error}. The cache must be a folder that every "
                               "node has (data.cache_dir); finished parts stay.",
                               code="cache.write") from error
        answers.append((failed, [(str(one.message), getattr(one.message, "code", ""))
                                 for one in said if isinstance(one.message, InputWarning)], False))
    return answers
