"""Clips become items of a batch: which cached speed, which clips are joined, and how they stretch.

In: clips, settings, a random generator. Out: `BatchItem`, each long enough for CTC to align its
labels. `asr.data.batches` puts them into batches. NumPy only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import DataError, RecipeError
from asr.features.lengths import feasible, output_length
from asr.recipe import ModelSettings, Recipe
from asr.terminal import plural
from asr.text.tokenizer import CharTokenizer

DEFAULT_FRAMES = 8_000  # of a batch whose recipe leaves it open


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
        pad_frames: background before and after other clips, at most.
        pause_probability: share of items in which one gap is longer.
        pause_frames: by so many frames, at most.
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
    pad_frames: int = 0
    pause_probability: float = 0.0
    pause_frames: int = 0
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
                   augment.concat_single, round(augment.concat_gap_max * rate),
                   round(augment.pad_max * rate), augment.pause_probability,
                   round(augment.pause_max * rate), space)


# A clip with the rendition that this epoch uses.
Choice = tuple[Clip, Rendition]


def join_clips(clips: Sequence[Clip], settings: PlanSettings,
          rng: np.random.Generator) -> list[list[Choice]]:
    """Each clip at one speed, alone or in a string of one speaker and speed."""
    pattern = re.compile(settings.concat_pattern)
    groups: dict[tuple[str, float], list[Choice]] = defaultdict(list)
    strings: list[list[Choice]] = []
    for clip in clips:
        choice = clip, _choose_rendition(clip, settings, rng)
        if settings.concat_max > 1 and clip.speaker and pattern.search(clip.id):
            groups[clip.speaker, choice[1].speed].append(choice)
        else:
            strings.append([choice])
    for key in sorted(groups):
        group = groups[key]
        string: list[Choice] = []
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
        raise DataError(f"Utterance {clip.id!r} has {plural(len(clip.labels), 'label')} and "
                        f"{frames} frames, "
                        f"{output_length(frames, settings.model)} after subsampling; CTC needs a "
                        "frame for each label and each repeated label. "
                        "Drop it, or lower model.subsampling.", code="ctc.infeasible")
    return usable[int(rng.integers(len(usable)))]


def item_of(string: list[Choice], settings: PlanSettings, tempo: float, seed: int,
          rng: np.random.Generator) -> BatchItem:
    """A string with its gaps, stretched unless that would leave CTC too few frames."""
    labels = string[0][0].labels  # of most items all: there may be millions, and no copies
    for clip, _ in string[1:]:
        between = (settings.space_label,) if labels and clip.labels else ()
        labels = *labels, *between, *clip.labels
    gaps = [0] * (len(string) + 1)
    joined = settings.concat_max > 1 and re.search(settings.concat_pattern, string[0][0].id)
    longest = settings.gap_frames if joined else settings.pad_frames
    if joined or longest:
        gaps = rng.integers(0, longest + 1, len(gaps)).tolist()
        for outer in (0, -1):  # recordings begin and end in a pause, or cut close: half and half
            gaps[outer] *= int(rng.integers(2))
    frames = sum(r.num_frames for _, r in string) + sum(gaps)
    if settings.pause_probability and rng.random() < settings.pause_probability:
        room = max(0, int(settings.batch_frames / (1.0 + settings.tempo)) - frames)
        pause = int(rng.integers(min(settings.pause_frames, room) + 1))
        gaps[int(rng.integers(len(gaps)))] += pause
        frames += pause
    while not _fits(frames, labels, settings):  # the joining space needs a frame too
        gaps[len(gaps) // 2] += 1
        frames += 1
    stretched = max(1, round(frames * tempo))
    if not _fits(stretched, labels, settings):
        tempo, stretched = 1.0, frames
    return BatchItem(tuple(clip.id for clip, _ in string), tuple(r.row for _, r in string),
                tuple(gaps), tempo, seed, labels, stretched)


def _fits(num_frames: int, labels: Sequence[int], settings: PlanSettings) -> bool:
    return feasible(output_length(num_frames, settings.model), labels)
