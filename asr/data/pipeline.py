"""Plans and cached features to tensors: tf.data datasets of THE batch contract.

In: a feature cache, a plan of `asr.data.batches`, a `FeatureAugmenter`. Out: batches (x, y).

    x = {"features": (B, T, F) float32, "num_frames": (B,) int32}   right-padded with 0
    y = {"labels":   (B, L) int32,      "num_labels": (B,) int32}   right-padded with 0 = blank
    logits: (B, T', V) float32, unnormalised;  T' = asr.features.lengths.output_length(T), exact

B >= 1, num_frames >= 1, no empty row, T = max(num_frames), L = max(1, max(num_labels)). Features
are after CMVN, so the padding is the mean; it never changes a logit, a loss or a transcript.

Reading is a copy from memory maps inside one `tf.numpy_function` a batch, or, with tensorflow-io,
decoding in the graph (`asr.data.recordings_graph`). All other arithmetic is in the graph, utterance
by utterance, before padding. The order of batches is that of the plan, and the values depend on the
seeds in it alone, whatever the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from asr.augment import join_clips
from asr.augment.graph import FeatureAugmenter
from asr.data.batches import Batch, BatchItem, PlanRow
from asr.data.recordings import Recordings
from asr.errors import AsrError, DataError, UsageError

PREFETCH_BATCHES = 4


class Cache(Protocol):
    """What the pipeline needs of `asr.data.cache.FeatureCache`."""

    @property
    def rows(self) -> Sequence[PlanRow]: ...  # noqa: D102

    def read(self, row_index: int) -> np.ndarray: ...  # noqa: D102


class BatchReader:
    """The part of the pipeline that runs in Python: cached clips to the flat arrays of one batch.

    An exception inside `tf.numpy_function` reaches the consumer as a string in another exception,
    so it is also appended to `failures`.
    """

    def __init__(self, cache: Cache, plan: Sequence[Batch], failures: list[Exception]):
        self.cache = cache
        self.plan = plan
        self.failures = failures

    def read(self, index: int) -> tuple[np.ndarray, ...]:
        """Frames (sum T, F), lengths (B,), num_frames (B,), seeds (B,), labels, num_labels."""
        try:
            items = self.plan[index].items
            clips = [self._read_item(item) for item in items]
        except (AsrError, OSError) as error:
            self.failures.append(error)
            raise
        labels = np.zeros([len(items), max(1, *(len(i.labels) for i in items))], np.int32)
        for row, item in zip(labels, items, strict=True):
            row[:len(item.labels)] = item.labels
        counts = [[len(clip), item.num_frames, item.seed, len(item.labels)]
                  for clip, item in zip(clips, items, strict=True)]
        lengths, num_frames, seeds, num_labels = np.array(counts, np.int32).T.copy()
        return np.concatenate(clips), lengths, num_frames, seeds, labels, num_labels

    def _read_item(self, item: BatchItem) -> np.ndarray:
        rng = np.random.default_rng(item.seed)
        clips = [self.cache.read(row) for row in item.rows]
        return join_clips(clips, item.gaps, rng)


def training_dataset(cache: Cache | Recordings, plan: Sequence[Batch],
                     augmenter: FeatureAugmenter, *, start: int = 0, num_threads: int = 2,
                     failures: list[Exception] | None = None) -> tf.data.Dataset:
    """The batches of one epoch, augmented, normalised and padded.

    Args:
        cache: the rows that the plan names, before CMVN; or the recordings that the graph reads.
        plan: from `asr.data.batches.plan_epoch`.
        augmenter: keep one for all epochs, or its graph is traced again.
        start: number of the first batch, to go on within an epoch.
        num_threads: that compute batches; the result does not depend on it.
        failures: receives the error of a row that cannot be read, of which the consumer sees a
            `tf.errors.OpError` with the text alone.

    Returns:
        len(plan) - start batches (x, y) of the contract above, in the order of the plan.

    Raises:
        UsageError: `start` is outside of the plan.
        DataError: the plan is empty.
    """
    if not plan:
        raise DataError("There is no batch: the plan is empty.")
    if not 0 <= start <= len(plan):
        raise UsageError(f"start must lie in 0 .. {len(plan)}, the batches of the plan; "
                         f"got {start}.")
    failures = [] if failures is None else failures
    if isinstance(cache, Recordings):
        flat = cache.graph.batches(plan, start, num_threads)
    else:
        flat = _from_cache(cache, plan, start, augmenter.num_features, failures)

    def compute(frames, lengths, num_frames, seeds, labels, num_labels):
        features = augmenter.batch(frames, lengths, num_frames, seeds)
        return ({"features": features, "num_frames": num_frames},
                {"labels": labels, "num_labels": num_labels})

    options = tf.data.Options()
    options.deterministic = True
    options.threading.private_threadpool_size = num_threads
    options.threading.max_intra_op_parallelism = 1
    # Nothing here is left to autotune, and its thread can hold up the end of an epoch for a minute.
    options.autotune.enabled = False
    computed = flat.map(compute, num_parallel_calls=num_threads)
    return computed.prefetch(PREFETCH_BATCHES).with_options(options)


def _from_cache(cache: Cache, plan: Sequence[Batch], start: int, num_features: int,
                failures: list[Exception]) -> tf.data.Dataset:
    """The flat arrays of every batch, copied from the memory map in one Python call a batch."""
    reader = BatchReader(cache, plan, failures)
    shapes = ([None, num_features], [None], [None], [None], [None, None], [None])
    types = (tf.float32,) + (tf.int32,) * 5

    def read(index):
        arrays = tf.numpy_function(reader.read, [index], types)
        return tuple(tf.ensure_shape(a, s) for a, s in zip(arrays, shapes, strict=True))

    return tf.data.Dataset.range(start, len(plan)).map(read)


def evaluation_dataset(cache: Cache | Recordings, plan: Sequence[Batch],
                       normalizer: FeatureAugmenter, *, num_threads: int = 2,
                       failures: list[Exception] | None = None) -> tf.data.Dataset:
    """The batches of `asr.data.batches.plan_evaluation`: normalised and padded, nothing else.

    Args:
        cache: the rows that the plan names, before CMVN.
        plan: nothing shuffled, nothing dropped; row i of batch b is `plan[b].items[i]`.
        normalizer: a `FeatureAugmenter` with the same CMVN and no augmentation; see
            `FeatureAugmenter.without_augmentation`.
        num_threads, failures: as in `training_dataset`.

    Raises:
        UsageError: the normalizer would augment.
    """
    if normalizer.changes_features:
        raise UsageError("Evaluation must not augment: pass augmenter.without_augmentation().")
    return training_dataset(cache, plan, normalizer, num_threads=num_threads, failures=failures)
