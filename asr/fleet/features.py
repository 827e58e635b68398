"""Features of many recordings on a cluster, into one feature cache.

In: a recipe, or the tasks of `asr.data.cache.build_cache`. Out: a cache; what failed. Workers write
shards into the cache's folder, which must be on a disk that every node has, or to its address.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from asr.data.cache import build_cache
from asr.data.extraction import remedy
from asr.data.worker import Cut, Shared, run_task
from asr.errors import AsrError, InputWarning
from asr.fleet.cluster import Cluster
from asr.manifest import read_manifest
from asr.manifest.address import Address, is_address
from asr.recipe import Recipe

Failed = list[dict]
_Answer = tuple[Failed, list[tuple[str, str]], bool]  # failed, warnings, whether workers died of it


@dataclass
class Filled:
    """What `fill_cache` found: arrays that are there, those made now, records of failures."""

    arrays: int = 0
    made: int = 0
    failed: Failed = field(default_factory=list)


def fill_cache(recipe: Recipe, folder: Path | Address, cluster: Cluster | None = None) -> Filled:
    """Make the features that `asr.train` will want of both splits of a recipe.

    Args:
        recipe: its manifests, features, speeds.
        folder: the cache, `data.cache_dir` of the training; or an address, see
            `asr.data.cache.build_cache`.
        cluster: where; None: this machine.

    Raises:
        ManifestError: a manifest cannot be read.
        AsrError: the shards cannot be written; finished ones stay.
    """
    spread = None if cluster is None else partial(extract_on, cluster)
    place = folder.absolute() if isinstance(folder, Path) else folder  # workers may be elsewhere
    found = Filled()
    for split, speeds in (("train", recipe.augment.speeds), ("valid", (1.0,))):
        utterances = [u for path in getattr(recipe.data, split) for u in read_manifest(
            path, audio_root=recipe.data.audio_root or None)]
        if not utterances:
            continue
        cache = build_cache(utterances, recipe.features, place, speeds=speeds, spread=spread,
                            num_workers=recipe.data.num_workers,
                            allow_truncated=recipe.data.allow_truncated)
        found.failed += cache.failed
        found.arrays += len(cache)
        found.made += cache.num_extracted
    return found


def extract_on(cluster: Cluster, config: Shared, tasks: Sequence[list[Cut]]
               ) -> Iterator[tuple[list[Cut], Failed]]:
    """Make the features of tasks; a task that kills its workers is done again job by job.

    Args:
        cluster: where.
        config, tasks: see `asr.data.worker.run_task`.

    Yields:
        The jobs that are done with, and one record for each of them that failed.

    Raises:
        AsrError: the shards cannot be written; finished ones stay.
    """
    deadly: list[Cut] = []
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


def _remedy(folder: str) -> str:
    return remedy(folder) if is_address(folder) else (
        "The cache must be a folder that every node has (data.cache_dir)")


def _lost(task: list[Cut], error: AsrError) -> _Answer:
    return [{**error.as_record("features"), "path": job.path,
             "keys": [key for key, _ in job.outputs]} for job in task], [], True


def _start(config: Shared) -> Callable[[list[list[Cut]]], list[_Answer]]:
    return partial(_work, config)


def _work(config: Shared, tasks: list[list[Cut]]) -> list[_Answer]:
    answers: list[_Answer] = []
    for task in tasks:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", InputWarning)
            try:
                failed = run_task(config, task, lambda count, seconds: None)
            except OSError as error:
                raise AsrError(f"The features cannot be written to {config.folder}: "
                               f"{error.strerror or error}. {_remedy(config.folder)}; finished "
                               "parts stay.",
                               code="cache.write") from error
        answers.append((failed, [(str(one.message), getattr(one.message, "code", ""))
                                 for one in said if isinstance(one.message, InputWarning)], False))
    return answers
