"""Plan an epoch as a list of batches: which cached clips, in which order, how joined.

In: clips (cache rows with labels), settings, a seed and the number of the epoch. Out: a plan, a
pure function of them, so a run can be taken up at any (epoch, batch). NumPy only.

A plan uses every utterance exactly once, whatever its length. `asr.data.pipeline` turns it into
tensors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from heapq import heapify, heappop, heappush
from typing import Protocol

import numpy as np

from asr.data.items import BatchItem, Clip, PlanSettings, Rendition, item_of, join_clips
from asr.errors import DataError
from asr.terminal import plural

# Lengths are sorted after multiplication by 1 ± this, so that neighbours change every epoch while
# a batch stays nearly free of padding.
BUCKET_JITTER = 0.05
SPARE_SHARE = 20  # of the batches of an epoch one is to spare, see `EpochPlans`
REDRAW = 1_000_003  # beyond every number of an epoch


class PlanRow(Protocol):
    """What the planner reads of one row of the feature cache."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def speed(self) -> float: ...  # noqa: D102
    @property
    def num_frames(self) -> int: ...  # noqa: D102
    @property
    def speaker(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Batch:
    """Items that are computed together, at least one.

    Args:
        items: the rows.
        counts: False for what a replica computes because it has no row: it changes nothing.
    """

    items: tuple[BatchItem, ...]
    counts: bool = True

    def __len__(self) -> int:
        return len(self.items)

    @property
    def max_frames(self) -> int:
        """T of the longest item."""
        return max(item.num_frames for item in self.items)

    @property
    def padded_frames(self) -> int:
        """B * T_max, what the batch costs."""
        return len(self.items) * self.max_frames

    @property
    def ids(self) -> tuple[str, ...]:
        """The utterances of each row; those of a joined string with "+" between them."""
        return tuple("+".join(item.ids) for item in self.items)


def gather_clips(rows: Sequence[PlanRow], labels: Mapping[str, Sequence[int]]) -> list[Clip]:
    """The utterances to train on, each with all its renditions, sorted by id.

    Args:
        rows: rows of the feature cache; row i is read with `cache.read(i)`.
        labels: utterance id to labels; rows of other utterances are not used.

    Raises:
        DataError: an utterance has no row, or two rows of one speed.
    """
    renditions: dict[str, list[Rendition]] = defaultdict(list)
    speakers: dict[str, str] = {}
    for index, row in enumerate(rows):
        if row.id not in labels:
            continue
        if any(r.speed == row.speed for r in renditions[row.id]):
            raise DataError(f"The feature cache holds utterance {row.id!r} twice at speed "
                            f"{row.speed}; ids must be unique over all manifests of a run.")
        renditions[row.id].append(Rendition(index, row.speed, row.num_frames))
        speakers[row.id] = row.speaker
    missing = sorted(set(labels) - set(renditions))
    if missing:
        raise DataError(f"The feature cache lacks {len(missing)} of "
                        f"{plural(len(labels), 'utterance')}, "
                        f"{missing[0]!r} first; build it again, or take them out of the "
                        "training set.")
    return [Clip(name, speakers[name], tuple(labels[name]), tuple(renditions[name]))
            for name in sorted(renditions)]


def plan_epoch(clips: Sequence[Clip], settings: PlanSettings, seed: int,
               epoch: int) -> list[Batch]:
    """The batches of one training epoch, shuffled.

    Every utterance appears once, at one of its cached speeds; those that `concat_pattern` selects
    are joined, with others of the same speaker and speed, to strings of 1 .. concat_max.
    Utterances without a speaker are not joined with others.

    Args:
        clips: from `gather_clips`.
        settings: bounds and augmentation that change lengths.
        seed: seed of the run.
        epoch: 0 is the first.

    Returns:
        Batches within the bounds, none empty; the same for the same arguments.

    Raises:
        DataError: `ctc.infeasible`, an utterance that CTC cannot align at any cached speed.
    """
    rng = np.random.default_rng([seed, epoch])
    strings = join_clips(clips, settings, rng)
    tempos = 1.0 + settings.tempo * rng.uniform(-1.0, 1.0, len(strings))
    seeds = rng.integers(0, 2**31 - 1, len(strings))
    items = [item_of(string, settings, float(tempo), int(item_seed), rng)
             for string, tempo, item_seed in zip(strings, tempos, seeds, strict=True)]
    jitter = 1.0 + BUCKET_JITTER * rng.uniform(-1.0, 1.0, len(items))
    order = np.argsort([item.num_frames for item in items] * jitter, kind="stable")
    batches = _fill([items[i] for i in order], settings)
    return [batches[i] for i in rng.permutation(len(batches))]


class EpochPlans:
    """The plans of all epochs of a run, each with the same number of batches.

    Keras takes the number of batches of the first epoch for that of all others and would cut a
    longer one short. That number is 5 % above what the first plan needs: in a plan with fewer
    batches the most expensive are divided. Hardly ever a plan needs more; then the cheapest batches
    are joined, beyond the bounds if need be.

    Args:
        clips: from `gather_clips`; those that an epoch repeats, as often as it does.
        settings: as for `plan_epoch`.
        seed: seed of the run.

    Attributes:
        num_batches: number of batches of every epoch.
        first: the plan of epoch 0.
    """

    def __init__(self, clips: Sequence[Clip], settings: PlanSettings, seed: int):
        self._make = partial(plan_epoch, clips, settings, seed)
        plan = self._make(0)
        spare = -(-len(plan) // SPARE_SHARE)
        self.num_batches = min(len(plan) + spare, sum(map(len, plan)))
        del plan  # memory has room for one
        self.first = self.plan(0)

    def plan(self, epoch: int) -> list[Batch]:
        """The batches of an epoch, from 0 on; the same whenever it is asked for.

        Raises:
            DataError: see `plan_epoch`.
        """
        plan = self._make(epoch)
        while sum(map(len, plan)) < self.num_batches:  # strings were joined to too few items
            epoch += REDRAW
            plan = self._make(epoch)
        while len(plan) > self.num_batches:
            cheap, other = sorted(sorted(range(len(plan)), key=lambda i: (
                plan[i].padded_frames, i))[:2])
            plan[cheap] = Batch((*plan[cheap].items, *plan.pop(other).items))
        return divided(plan, self.num_batches)


def divided(plan: list[Batch], count: int) -> list[Batch]:
    """The plan with its most expensive batches halved until there are `count`.

    A place (i, 0, 1) is the second half of the first half of batch i, so places sort as the
    batches lie in the plan. The time is that of a few heap steps a batch more.
    """
    queue: list[tuple[bool, int, tuple[int, ...], Batch]] = [
        (len(batch) < 2, -batch.padded_frames, (i,), batch) for i, batch in enumerate(plan)]
    heapify(queue)
    while len(queue) < count:
        _, _, place, batch = heappop(queue)
        half = len(batch) // 2
        for number, items in enumerate((batch.items[:half], batch.items[half:])):
            part = Batch(items)
            heappush(queue, (len(part) < 2, -part.padded_frames, (*place, number), part))
    return [batch for _, _, _, batch in sorted(queue, key=lambda entry: entry[2])]


def plan_evaluation(clips: Sequence[Clip], settings: PlanSettings) -> list[Batch]:
    """Every utterance once, at speed 1, unchanged, shortest first; the order of ids among equals.

    Raises:
        DataError: an utterance is not cached at speed 1.
    """
    items = []
    for clip in clips:
        plain = [r for r in clip.renditions if r.speed == 1.0]
        if not plain:
            raise DataError(f"Utterance {clip.id!r} is cached at speeds "
                            f"{[r.speed for r in clip.renditions]} only; evaluation needs 1.0.")
        items.append(BatchItem((clip.id,), (plain[0].row,), (0, 0), 1.0, 0, clip.labels,
                          plain[0].num_frames))
    return _fill(sorted(items, key=lambda item: (item.num_frames, item.ids)), settings)


def largest_batch(plan: Sequence[Batch]) -> Batch:
    """The batch that needs the most memory, to be tried before the first epoch.

    Raises:
        DataError: the plan is empty.
    """
    if not plan:
        raise DataError("There is no batch: the training set holds no usable utterance.")
    return max(plan, key=lambda batch: batch.padded_frames)


def share_of_batch(batch: Batch, rank: int, count: int) -> Batch:
    """What one of `count` replicas computes of a batch.

    Each has the same number of items, or one less, of all lengths: rows rank, rank + count, ... of
    the batch, longest first. Where the batch has fewer items than there are replicas, the last ones
    are given one without labels, which counts nothing.
    """
    if count == 1:
        return batch
    items = sorted_batch(batch).items
    if rank < len(items):
        return Batch(items[rank::count])
    return Batch((replace(items[-1], labels=()),), counts=False)


def sorted_batch(batch: Batch) -> Batch:
    """The same items, longest first."""
    return Batch(tuple(sorted(batch.items, key=lambda item: (-item.num_frames, item.ids))))


def balance(plan: Iterable[Batch], count: int) -> float:
    """The work of all replicas over that of as many as busy as the fullest, 0 .. 1."""
    used = held = 0
    for batch in plan:
        costs = [share_of_batch(batch, rank, count).padded_frames
                 for rank in range(min(count, len(batch)))]
        used += sum(costs)
        held += count * max(costs)
    return used / held if held else 1.0


def padding_share(plan: Iterable[Batch]) -> float:
    """The share of all computed frames that are padding, 0 .. 1."""
    used = padded = 0
    for batch in plan:
        used += sum(item.num_frames for item in batch.items)
        padded += batch.padded_frames
    return 1.0 - used / padded if padded else 0.0


def _fill(items: Iterable[BatchItem], settings: PlanSettings) -> list[Batch]:
    """Cut a list of items into batches within the bounds."""
    batches: list[Batch] = []
    current: list[BatchItem] = []
    longest = 0
    for item in items:
        longest = max(longest, item.num_frames)
        full = (len(current) == settings.max_utterances
                or (len(current) + 1) * longest > settings.batch_frames)
        if current and full:
            batches.append(Batch(tuple(current)))
            current, longest = [], item.num_frames
        current.append(item)
    if current:
        batches.append(Batch(tuple(current)))
    return batches
