"""The epoch planner: everybody once, within bounds, the same for the same seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.data.batches import (
    Batch,
    EpochPlans,
    divided,
    gather_clips,
    largest_batch,
    padding_share,
    plan_epoch,
    plan_evaluation,
)
from asr.data.items import BatchItem, Clip, PlanSettings, Rendition
from asr.errors import DataError, RecipeError
from asr.features.lengths import feasible, output_length
from asr.recipe import ModelSettings, Recipe, load_recipe
from asr.text.tokenizer import CharTokenizer

MODEL = ModelSettings(subsampling=3, stacking=3)
PLAIN = PlanSettings(batch_frames=400, max_utterances=8, model=MODEL)
SPACE = 9
JOINED = replace(PLAIN, concat_max=4, gap_frames=6, space_label=SPACE, tempo=0.2)
PADDED = replace(JOINED, concat_pattern="^u0[0-4]", pad_frames=20)


@dataclass(frozen=True)
class Row:
    id: str
    speed: float
    num_frames: int
    speaker: str


def make_clips(lengths, speeds=(1.0,), num_speakers=3):
    """Clips with one label for every 15 frames, feasible at every speed."""
    clips, row = [], 0
    for index, length in enumerate(lengths):
        renditions = []
        for speed in speeds:
            renditions.append(Rendition(row, speed, max(1, round(length / speed))))
            row += 1
        labels = tuple(1 + k % 5 for k in range(max(1, length // 15)))
        clips.append(Clip(f"u{index:03d}", f"s{index % num_speakers}", labels, tuple(renditions)))
    return clips


PLANS = given(lengths=st.lists(st.integers(1, 700), min_size=1, max_size=60),
              seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 1000),
              how=st.sampled_from([PLAIN, JOINED, PADDED]))


@PLANS
@settings(max_examples=60, deadline=None)
def test_every_utterance_once_within_the_bounds(lengths, seed, epoch, how):
    clips = make_clips(lengths, speeds=(0.9, 1.0, 1.1))
    plan = plan_epoch(clips, how, seed, epoch)
    items = [item for batch in plan for item in batch.items]
    assert Counter(name for item in items for name in item.ids) == Counter(c.id for c in clips)
    for batch in plan:
        assert 1 <= len(batch) <= how.max_utterances
        assert batch.padded_frames <= how.batch_frames or len(batch) == 1
    for item in items:
        assert item.num_frames >= 1
        assert len(item.gaps) == len(item.rows) + 1 == len(item.ids) + 1
        assert 0 <= item.seed < 2**31
        assert feasible(output_length(item.num_frames, MODEL), item.labels)


@PLANS
@settings(max_examples=30, deadline=None)
def test_a_plan_is_a_function_of_seed_and_epoch(lengths, seed, epoch, how):
    clips = make_clips(lengths, speeds=(0.9, 1.0))
    assert plan_epoch(clips, how, seed, epoch) == plan_epoch(clips, how, seed, epoch)


def test_other_epochs_and_seeds_give_other_plans():
    clips = make_clips(range(30, 130))
    plans = [plan_epoch(clips, PLAIN, seed, epoch) for seed, epoch in [(1, 0), (1, 1), (2, 0)]]
    orders = [[b.ids for b in plan] for plan in plans]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    groups = [{frozenset(b.ids) for b in plan} for plan in plans]
    assert groups[0] != groups[1], "neighbours must change too, not only the order of batches"


def test_a_plan_does_not_depend_on_what_was_planned_before():
    clips = make_clips(range(30, 90))
    third = plan_epoch(clips, JOINED, 7, 2)
    for epoch in range(2):
        plan_epoch(clips, JOINED, 7, epoch)
    assert plan_epoch(clips, JOINED, 7, 2) == third


def test_all_speeds_are_used_and_each_has_its_row():
    clips = make_clips([100] * 300, speeds=(0.9, 1.0, 1.1))
    items = [i for b in plan_epoch(clips, PLAIN, 1, 0) for i in b.items]
    speeds = Counter(item.rows[0] % 3 for item in items)
    assert all(60 <= speeds[k] <= 140 for k in range(3))
    frames = {r.row: r.num_frames for c in clips for r in c.renditions}
    assert all(item.num_frames == frames[item.rows[0]] for item in items)


def test_strings_are_of_one_speaker_and_speed_with_a_space_between():
    clips = make_clips([30] * 120, speeds=(0.9, 1.1))
    by_row = {r.row: (c, r) for c in clips for r in c.renditions}
    items = [i for b in plan_epoch(clips, replace(JOINED, tempo=0.0), 1, 0) for i in b.items]
    sizes = Counter(len(item.rows) for item in items)
    assert set(sizes) == {1, 2, 3, 4}
    for item in items:
        parts = [by_row[row] for row in item.rows]
        assert len({(c.speaker, r.speed) for c, r in parts}) == 1
        expected = list(parts[0][0].labels)
        for clip, _ in parts[1:]:
            expected += [SPACE, *clip.labels]
        assert item.labels == tuple(expected)
        assert item.num_frames == sum(r.num_frames for _, r in parts) + sum(item.gaps)
        assert max(item.gaps) <= JOINED.gap_frames


def test_only_matching_ids_and_known_speakers_are_joined():
    kinds = [("digit", "a"), ("word", "a"), ("digit", "")] * 30
    clips = [Clip(f"{kind}_{i}", speaker, (1, 2), (Rendition(i, 1.0, 30),))
             for i, (kind, speaker) in enumerate(kinds)]
    how = replace(JOINED, concat_pattern="^digit_", tempo=0.0)
    speakers = {c.id: c.speaker for c in clips}
    for item in (i for b in plan_epoch(clips, how, 1, 0) for i in b.items):
        if len(item.ids) > 1:
            assert all(name.startswith("digit") and speakers[name] == "a" for name in item.ids)
        if item.ids[0].startswith("word"):
            assert item.gaps == (0, 0)


def test_clips_that_are_not_joined_get_background_at_their_ends():
    clips = [Clip(f"{kind}_{i}", "a", (1, 2), (Rendition(i, 1.0, 30),))
             for i, kind in enumerate(["digit", "word"] * 200)]
    how = replace(JOINED, concat_pattern="^digit_", pad_frames=20, tempo=0.0)
    words = [i for b in plan_epoch(clips, how, 1, 0) for i in b.items if i.ids[0][:4] == "word"]
    gaps = np.array([item.gaps for item in words])
    assert gaps.shape == (200, 2) and gaps.max() == 20
    assert (0.4 < (gaps == 0).mean(axis=0)).all() and ((gaps == 0).mean(axis=0) < 0.65).all()
    assert all(item.num_frames == 30 + sum(item.gaps) for item in words)
    plain = [i for b in plan_epoch(clips, PLAIN, 1, 0) for i in b.items]
    assert {item.gaps for item in plain} == {(0, 0)}


def test_some_utterances_get_one_long_pause():
    clips = [Clip(f"{kind}_{i}", "a", (1, 2), (Rendition(i, 1.0, 30),))
             for i, kind in enumerate(["digit", "word"] * 400)]
    how = replace(JOINED, concat_pattern="^digit_", tempo=0.0, pause_probability=0.4,
                  pause_frames=200)
    items = [i for b in plan_epoch(clips, how, 1, 0) for i in b.items]
    long = [[gap for gap in item.gaps if gap > JOINED.gap_frames] for item in items]
    assert 0.3 < np.mean([len(pauses) for pauses in long]) < 0.5
    assert max(map(len, long)) == 1 and 190 < max(map(sum, long)) <= 206
    assert all(item.num_frames <= how.batch_frames for item in items)
    words = [item.gaps for item in items if item.ids[0].startswith("word")]
    assert len({np.argmax(gaps) for gaps in words if any(gaps)}) == 2, "before and behind"


def test_a_long_pause_leaves_an_utterance_within_a_batch():
    clips = [Clip(f"u{i}", "a", (1, 2), (Rendition(i, 1.0, PLAIN.batch_frames - 10),))
             for i in range(20)]
    how = replace(PLAIN, pause_probability=1.0, pause_frames=500)
    frames = [i.num_frames for b in plan_epoch(clips, how, 1, 0) for i in b.items]
    assert max(frames) <= PLAIN.batch_frames and min(frames) >= PLAIN.batch_frames - 10


def test_a_joined_string_that_fits_too_tightly_gets_a_wider_gap():
    # Two labels on six frames is exact at subsampling 3; the space needs three frames more.
    clips = [Clip(f"u{i}", "a", (1, 2), (Rendition(i, 1.0, 6),)) for i in range(40)]
    how = replace(JOINED, gap_frames=0, tempo=0.3)
    for item in (i for b in plan_epoch(clips, how, 3, 0) for i in b.items):
        assert feasible(output_length(item.num_frames, MODEL), item.labels)
        assert item.num_frames >= 6


def test_a_speed_at_which_ctc_cannot_align_is_not_chosen():
    clip = Clip("tight", "a", (1, 2, 3), (Rendition(0, 1.0, 9), Rendition(1, 1.5, 6)))
    rows = {plan_epoch([clip], PLAIN, 1, epoch)[0].items[0].rows for epoch in range(20)}
    assert rows == {(0,)}


def test_a_clip_without_a_word_is_joined_without_a_space():
    clips = [Clip(f"u{i}", "a", (1, 2) if i % 2 else (), (Rendition(i, 1.0, 30),))
             for i in range(120)]
    seen = set()
    for item in (i for b in plan_epoch(clips, JOINED, 1, 0) for i in b.items):
        spoken = [clips[row].labels for row in item.rows if clips[row].labels]
        expected = [label for labels in spoken for label in (SPACE, *labels)][1:]
        assert item.labels == tuple(expected)
        seen.add((len(item.rows), len(spoken)))
    assert {(1, 0), (2, 1), (3, 2)} <= seen


@pytest.mark.parametrize("labels", [(1, 1, 1, 1), (1, 2, 3, 4, 5)])
def test_an_infeasible_utterance_is_named(labels):
    clip = Clip("bad_7", "a", labels, (Rendition(0, 1.0, 12),))
    with pytest.raises(DataError, match="'bad_7' has .* 12 frames, 4 after") as caught:
        plan_epoch([clip], PLAIN, 1, 0)
    assert caught.value.code == "ctc.infeasible"


def test_a_very_long_utterance_is_a_batch_of_its_own():
    plan = plan_epoch(make_clips([5_000, 20, 20]), PLAIN, 1, 0)
    assert sorted(len(b) for b in plan) == [1, 2]
    assert largest_batch(plan).max_frames == largest_batch(plan).padded_frames == 5_000


def test_little_padding():
    lengths = np.random.default_rng(1).integers(50, 1_000, 2_000)
    plan = plan_epoch(make_clips(lengths), replace(PLAIN, batch_frames=8_000, max_utterances=64),
                      1, 0)
    assert padding_share(plan) < 0.08
    assert padding_share([]) == 0.0


def test_largest_batch_needs_one():
    with pytest.raises(DataError, match="no batch"):
        largest_batch([])


def test_evaluation_keeps_everything_sorted_and_unchanged():
    clips = make_clips([40, 3, 900, 40, 7], speeds=(0.9, 1.0))
    clips[1] = replace(clips[1], labels=())  # an empty reference is scored all the same
    plan = plan_evaluation(clips, replace(JOINED, tempo=0.4))
    items = [item for batch in plan for item in batch.items]
    assert [i.ids[0] for i in items] == ["u001", "u004", "u000", "u003", "u002"]
    assert [i.num_frames for i in items] == [3, 7, 40, 40, 900]
    assert all(i.gaps == (0, 0) and i.tempo == 1.0 for i in items)
    with pytest.raises(DataError, match=r"'u000' is cached at speeds \[0.9\] only"):
        plan_evaluation(make_clips([30], speeds=(0.9,)), PLAIN)


def test_names_of_a_batch():
    item = BatchItem(("a", "b"), (0, 1), (0, 0, 0), 1.0, 5, (1,), 10)
    assert Batch((item, replace(item, ids=("c",), rows=(2,)))).ids == ("a+b", "c")


def test_gather_clips_groups_renditions():
    rows = [Row("b", 1.0, 10, "x"), Row("a", 0.9, 22, "y"), Row("a", 1.0, 20, "y"),
            Row("excluded", 1.0, 5, "y")]
    assert gather_clips(rows, {"a": [1, 2], "b": [3]}) == [
        Clip("a", "y", (1, 2), (Rendition(1, 0.9, 22), Rendition(2, 1.0, 20))),
        Clip("b", "x", (3,), (Rendition(0, 1.0, 10),))]
    with pytest.raises(DataError, match="lacks 1 of 2 utterances, 'c' first"):
        gather_clips(rows, {"a": [1], "c": [1]})
    with pytest.raises(DataError, match="'b' twice at speed 1.0"):
        gather_clips([*rows, rows[0]], {"b": [3]})


def test_settings_of_a_recipe(tmp_path):
    page = tmp_path / "r.toml"
    page.write_text("[augment]\nconcat_max = 5\nconcat_gap_max = 0.25\ntempo = 0.1\n"
                    "pad_max = 0.3\npause_probability = 0.4\npause_max = 1.5\n")
    recipe = load_recipe(page)
    how = PlanSettings.from_recipe(recipe, CharTokenizer(" ab"))
    assert (how.concat_max, how.gap_frames, how.space_label, how.tempo) == (5, 25, 1, 0.1)
    assert (how.pad_frames, how.pause_probability, how.pause_frames) == (30, 0.4, 150)
    assert how.batch_frames == Recipe().data.batch_frames
    with pytest.raises(RecipeError, match="space, which the alphabet 'ab' lacks"):
        PlanSettings.from_recipe(recipe, CharTokenizer("ab"))
    broken = replace(recipe, augment=replace(recipe.augment, concat_pattern="("))
    with pytest.raises(RecipeError, match="not a regular expression"):
        PlanSettings.from_recipe(broken, CharTokenizer(" ab"))


TIGHT = replace(JOINED, max_utterances=1, concat_max=2)


@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=40),
       seed=st.integers(0, 2**31 - 1), how=st.sampled_from([PLAIN, JOINED, TIGHT]))
@settings(max_examples=60, deadline=None)
def test_every_epoch_has_the_same_number_of_batches(lengths, seed, how):
    clips = make_clips(lengths, speeds=(0.9, 1.1))
    plans = EpochPlans(clips, how, seed)
    assert plans.first == plans.plan(0)
    for epoch in range(4):
        plan = plans.plan(epoch)
        assert len(plan) == plans.num_batches
        assert min(map(len, plan)) >= 1
        assert sorted(name for batch in plan for item in batch.items for name in item.ids) == [
            clip.id for clip in clips]
        assert plan == plans.plan(epoch)


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=60), seed=st.integers(0, 99),
       more=st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_the_most_expensive_batches_are_halved(lengths, seed, more):
    """As a loop over all batches finds them, the first of equals first."""
    raw = plan_epoch(make_clips(lengths), PLAIN, seed, 0)
    count = min(len(raw) + more, sum(map(len, raw)))
    slow = list(raw)
    while len(slow) < count:
        index = max(range(len(slow)), key=lambda i: (
            len(slow[i]) > 1, slow[i].padded_frames, -i))
        items = slow[index].items
        slow[index:index + 1] = [Batch(items[:len(items) // 2]), Batch(items[len(items) // 2:])]
    assert divided(raw, count) == slow


def test_the_batches_of_an_epoch_are_those_of_its_plan_and_a_few_more():
    rng = np.random.default_rng(2)
    clips = make_clips(rng.integers(20, 200, 400).tolist(), speeds=(0.9, 1.0, 1.1))
    plans = EpochPlans(clips, PLAIN, 1)
    for epoch in range(5):
        raw = plan_epoch(clips, PLAIN, 1, epoch)
        assert len(raw) <= plans.num_batches <= 1.1 * len(raw)
        assert max(b.padded_frames for b in plans.plan(epoch)) <= PLAIN.batch_frames
        whole = set(raw) & set(plans.plan(epoch))
        assert len(whole) >= 0.85 * len(raw), "only some batches are divided"
