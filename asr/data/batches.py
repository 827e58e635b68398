"""Plan an epoch as a list of batches: which cached clips, in which order, how joined.

In: clips (cache rows with labels), settings, a seed and the number of the epoch. Out: a plan, a
pure function of them, so a run can be taken up at any (epoch, batch). NumPy only.

A plan uses every utterance exactly once, whatever its length. `asr.data.pipeline` turns it into
tensors.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from heapq import heapify, heappop, heappush
from typing import Protocol

import numpy as np

from asr.errors import DataError, RecipeError
from asr.features.lengths import feasible, output_length
from asr.recipe import ModelSettings, Recipe
from asr.text.tokenizer import CharTokenizer

# Lengths are sorted after multiplication by 1 ± this, so that neighbours change every epoch while
# a batch stays nearly free of padding.
BUCKET_JITTER = 0.05
DEFAULT_FRAMES = 8_000  # of a batch whose recipe leaves it open
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
class Rendition:
    """One cached version of an utterance: row of the cache, speed factor, T."""

    row: int
    speed: float
    num_frames: int


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance with its labels and all its cached renditions."""

    id: str
    speaker: str
    labels: tuple[int, ...]
    renditions: tuple[Rendition, ...]


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One row of a batch: a clip, or several clips of one speaker joined to a string.

    Args:
        ids: the utterances, in order.
        rows: their rows in the feature cache.
        gaps: frames of background before, between and after the clips; len(rows) + 1 numbers.
        tempo: factor on the number of frames; 1 leaves the time axis alone.
        seed: seed of every random choice that the augmentation makes for this item, 0 .. 2**31 - 2.
        labels: labels of the whole string.
        num_frames: T after joining and stretching.
    """

    ids: tuple[str, ...]
    rows: tuple[int, ...]
    gaps: tuple[int, ...]
    tempo: float
    seed: int
    labels: tuple[int, ...]
    num_frames: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Items that are computed together, at least one."""

    items: tuple[BatchItem, ...]

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


@dataclass(frozen=True)
class PlanSettings:
    """The numbers of a recipe that decide a plan.

    Args:
        batch_frames: B * T_max at most; a longer utterance makes a batch of its own.
        max_utterances: B at most.
        model: for the exact number of output frames (CTC feasibility after speed and tempo).
        tempo: time axis times 1 ± this.
        concat_max: clips in a string at most; 1 joins nothing.
        concat_pattern: regular expression, searched in the id; "" matches all.
        concat_single: share of strings that are one clip, besides those drawn by chance.
        gap_frames: background before, between and after joined clips, at most.
        space_label: the label of " ", put between the texts of joined clips.
    """

    batch_frames: int
    max_utterances: int
    model: ModelSettings
    tempo: float = 0.0
    concat_max: int = 1
    concat_pattern: str = ""
    concat_single: float = 0.0
    gap_frames: int = 0
    space_label: int = 0

    @classmethod
    def from_recipe(cls, recipe: Recipe, tokenizer: CharTokenizer) -> PlanSettings:
        """The plan of a recipe.

        Raises:
            RecipeError: clips are to be joined with a space that the alphabet lacks, or the
                pattern is no regular expression.
        """
        augment, data = recipe.augment, recipe.data
        space = 0
        if augment.concat_max > 1:
            if tokenizer.unknown(" "):
                raise RecipeError(f"augment.concat_max {augment.concat_max} joins texts with a "
                                  f"space, which the alphabet {tokenizer.alphabet!r} lacks; add "
                                  "it to text.alphabet.")
            (space,) = tokenizer.encode(" ")
        try:
            re.compile(augment.concat_pattern)
        except re.error as error:
            raise RecipeError(f"augment.concat_pattern {augment.concat_pattern!r} is not a regular "
                              f"expression: {error}.") from error
        rate = recipe.features.sample_rate / recipe.features.hop_length
        return cls(data.batch_frames or DEFAULT_FRAMES, data.max_utterances, recipe.model,
                   augment.tempo, augment.concat_max, augment.concat_pattern,
                   augment.concat_single, round(augment.concat_gap_max * rate), space)


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
        raise DataError(f"The feature cache lacks {len(missing)} of {len(labels)} utterances, "
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
    strings = _join(clips, settings, rng)
    tempos = 1.0 + settings.tempo * rng.uniform(-1.0, 1.0, len(strings))
    seeds = rng.integers(0, 2**31 - 1, len(strings))
    items = [_item(string, settings, float(tempo), int(item_seed), rng)
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
    return Batch(items[rank::count] or (replace(items[-1], labels=()),))


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


# A clip with the rendition that this epoch uses.
_Choice = tuple[Clip, Rendition]


def _join(clips: Sequence[Clip], settings: PlanSettings,
          rng: np.random.Generator) -> list[list[_Choice]]:
    """Each clip at one speed, alone or in a string of one speaker and speed."""
    pattern = re.compile(settings.concat_pattern)
    groups: dict[tuple[str, float], list[_Choice]] = defaultdict(list)
    strings: list[list[_Choice]] = []
    for clip in clips:
        choice = clip, _choose_rendition(clip, settings, rng)
        if settings.concat_max > 1 and clip.speaker and pattern.search(clip.id):
            groups[clip.speaker, choice[1].speed].append(choice)
        else:
            strings.append([choice])
    for key in sorted(groups):
        group = groups[key]
        string: list[_Choice] = []
        wanted = 0
        for index in rng.permutation(len(group)):
            longest = (sum(r.num_frames for _, r in string) + group[index][1].num_frames
                       + settings.gap_frames * (len(string) + 2)) * (1.0 + settings.tempo)
            if len(string) == wanted or longest > settings.batch_frames:
                string = []
                strings.append(string)
                wanted = (1 if settings.concat_single and rng.random() < settings.concat_single
                          else int(rng.integers(1, settings.concat_max + 1)))
            string.append(group[index])
    return strings


def _choose_rendition(clip: Clip, settings: PlanSettings, rng: np.random.Generator) -> Rendition:
    """One of the cached speeds at which CTC can align the labels."""
    usable = [r for r in clip.renditions if _fits(r.num_frames, clip.labels, settings)]
    if not usable:
        frames = max(r.num_frames for r in clip.renditions)
        raise DataError(f"Utterance {clip.id!r} has {len(clip.labels)} labels and {frames} frames, "
                        f"{output_length(frames, settings.model)} after subsampling; CTC needs at "
                        "least one label, and a frame for each label and each repeated label. "
                        "Drop it, or lower model.subsampling.", code="ctc.infeasible")
    return usable[int(rng.integers(len(usable)))]


def _item(string: list[_Choice], settings: PlanSettings, tempo: float, seed: int,
          rng: np.random.Generator) -> BatchItem:
    """A string with its gaps, stretched unless that would leave CTC too few frames."""
    labels: list[int] = []
    for clip, _ in string:
        labels += [settings.space_label, *clip.labels] if labels else clip.labels
    gaps = [0] * (len(string) + 1)
    if settings.concat_max > 1 and re.search(settings.concat_pattern, string[0][0].id):
        gaps = rng.integers(0, settings.gap_frames + 1, len(gaps)).tolist()
        for outer in (0, -1):  # recordings begin and end in a pause, or cut close: half and half
            gaps[outer] *= int(rng.integers(2))
    frames = sum(r.num_frames for _, r in string) + sum(gaps)
    while not _fits(frames, labels, settings):  # the joining space needs a frame too
        gaps[len(gaps) // 2] += 1
        frames += 1
    stretched = max(1, round(frames * tempo))
    if not _fits(stretched, labels, settings):
        tempo, stretched = 1.0, frames
    return BatchItem(tuple(clip.id for clip, _ in string), tuple(r.row for _, r in string),
                tuple(gaps), tempo, seed, tuple(labels), stretched)


def _fits(num_frames: int, labels: Sequence[int], settings: PlanSettings) -> bool:
    return feasible(output_length(num_frames, settings.model), labels)


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
