"""Make tf.data datasets of the batch contract from plans and cached features.

In: a feature cache, a plan of `asr.data.batches`, a `FeatureAugmenter`. Out: batches (x, y).

    x = {"features": (B, T, F) float32, "num_frames": (B,) int32}   right-padded with 0
    y = {"labels":   (B, L) int32,      "num_labels": (B,) int32}   right-padded with 0 = blank
    logits: (B, T', V) float32, unnormalised;  T' = asr.features.lengths.output_length(T), exact

A row in which nothing is said has num_labels 0; one that a replica computes because it has no other
has -1, and counts nothing.

B >= 1, num_frames >= 1, no empty row, T = max(num_frames), L = max(1, max(num_labels)). Features
are after CMVN, so the padding is the mean; it never changes a logit, a loss or a transcript.

Reading is a copy from files inside one `tf.numpy_function` a batch, or, with tensorflow-io,
decoding in the graph (`asr.data.recordings_graph`). All other arithmetic is in the graph, utterance
by utterance, before padding. The order of batches is that of the plan, and the values depend on the
seeds in it alone, whatever the number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

from asr.augment import join_clips
from asr.augment.graph import FeatureAugmenter
from asr.data.batches import Batch, PlanRow
from asr.data.items import BatchItem
from asr.data.recordings import Recordings
from asr.errors import AsrError, DataError, UsageError
from asr.recipe import AugmentSettings

PREFETCH_BATCHES = 4
OPEN_PASSES = 8  # whose plans are kept while they are read; the plans of
OPEN_BATCHES = 20_000  # fewer: one of a million utterances takes hundreds of megabytes

Begin = Callable[[], tuple[Sequence[Batch], int]]  # the plan of a pass, the number of its first


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

    def __init__(self, cache: Cache | Recordings, begin: Begin, augment: AugmentSettings,
                 failures: list[Exception]):
        self.cache = cache
        self.augment = augment
        self.begin_epoch = begin
        self.failures = failures
        # Passes that are not at their end yet; the one that was read last comes last.
        self._plans: dict[int, Sequence[Batch]] = {}
        self._count = 0
        self._lock = threading.Lock()

    def begin(self) -> np.ndarray:
        """Number of a new pass over the data, its first batch, the batches of its plan: (3,)."""
        try:
            plan, start = self.begin_epoch()
        except AsrError as error:
            self.failures.append(error)
            raise
        with self._lock:
            self._count += 1
            self._plans[self._count] = plan
            while len(self._plans) > 2 and (len(self._plans) > OPEN_PASSES or sum(
                    map(len, self._plans.values())) > OPEN_BATCHES):
                del self._plans[next(iter(self._plans))]  # left in the middle, or about to be
            return np.array([self._count, start, len(plan)], np.int64)

    def _batch(self, epoch: int, index: int) -> Batch:
        """A batch of a pass, which is forgotten with its last one."""
        with self._lock:
            plan = self._plans.pop(epoch, None)
            if plan is None:
                raise UsageError(f"A pass over the dataset goes on after {OPEN_PASSES} others, or "
                                 f"more than {OPEN_BATCHES:_} batches of them, began. Read it to "
                                 "its end first.")
            if index < len(plan) - 1:
                self._plans[epoch] = plan
            return plan[index]

    def read(self, epoch: int, index: int) -> tuple[np.ndarray, ...]:
        """Frames (sum T, F), lengths (B,), num_frames (B,), seeds (B,), labels, num_labels.

        Of recordings their rows (B,) int32 instead of frames, with lengths of 1.
        """
        try:
            batch = self._batch(int(epoch), int(index))
            items = batch.items
            if isinstance(self.cache, Recordings):
                clips = [np.array([item.rows[0]], np.int32) for item in items]
            else:
                clips = [self._read_item(item, self.cache) for item in items]
        except (AsrError, OSError) as error:
            self.failures.append(error)
            raise
        labels = np.zeros([len(items), max(1, *(len(i.labels) for i in items))], np.int32)
        for row, item in zip(labels, items, strict=True):
            row[:len(item.labels)] = item.labels
        counts = [[len(clip), item.num_frames, item.seed, len(item.labels) if batch.counts else -1]
                  for clip, item in zip(clips, items, strict=True)]
        lengths, num_frames, seeds, num_labels = np.array(counts, np.int32).T.copy()
        return np.concatenate(clips), lengths, num_frames, seeds, labels, num_labels

    def _read_item(self, item: BatchItem, cache: Cache) -> np.ndarray:
        rng = np.random.default_rng(item.seed)
        clips = [cache.read(row) for row in item.rows]
        return join_clips(clips, item.gaps, rng, gain_db=self.augment.concat_gain_db,
                          quiet_db=self.augment.concat_quiet_db)


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
    return epochs_dataset(cache, lambda: (plan, start), augmenter, len(plan) - start,
                          num_threads=num_threads, failures=failures)


def epochs_dataset(cache: Cache | Recordings, begin: Begin, augmenter: FeatureAugmenter,
                   num_batches: int, *, num_threads: int = 2,
                   failures: list[Exception] | None = None) -> tf.data.Dataset:
    """A dataset with other batches in every pass over it, as `fit` makes one an epoch.

    Args:
        begin: called when a pass begins; returns a plan and the number of its first batch.
        num_batches: what the dataset says its length is. A pass that resumes an epoch has fewer.
        cache, augmenter, num_threads, failures: see `training_dataset`.

    Returns:
        Batches (x, y) of the contract above, in the order of the plan.
    """
    reader = BatchReader(cache, begin, augmenter.augment, [] if failures is None else failures)
    from_recordings = isinstance(cache, Recordings)

    def begin_pass(_):
        numbers = tf.ensure_shape(tf.numpy_function(reader.begin, [], tf.int64), [3])
        indices = tf.data.Dataset.range(numbers[1], numbers[2])
        return indices.map(lambda index: (numbers[0], index))

    def read(epoch, index):
        """Frames and lengths of a batch, or the rows of the recordings; then what is planned."""
        first = ([None], [None]) if from_recordings else ([None, augmenter.num_features], [None])
        types = (tf.int32 if from_recordings else tf.float32,) + (tf.int32,) * 5
        arrays = tf.numpy_function(reader.read, [epoch, index], types)
        return tuple(tf.ensure_shape(a, s) for a, s in zip(
            arrays, (*first, [None], [None], [None, None], [None]), strict=True))

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
    batches = tf.data.Dataset.from_tensors(0).flat_map(begin_pass).map(read)
    if isinstance(cache, Recordings):
        graph = cache.graph
        batches = batches.map(lambda rows, _, *planned: (*graph.frames(rows), *planned),
                              num_parallel_calls=num_threads)
    dataset = (batches
               .map(compute, num_parallel_calls=num_threads)
               .prefetch(PREFETCH_BATCHES)
               .with_options(options))
    # Not assert_cardinality: a pass that resumes an epoch may be shorter.
    dataset.cardinality = lambda: tf.constant(num_batches, tf.int64)  # type: ignore
    return dataset


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
