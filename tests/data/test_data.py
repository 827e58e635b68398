"""The batch contract: right-padded, no empty row, nothing lost, the same on any threads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.augment import NoiseBank, join_clips
from asr.data.batches import gather_clips, largest_batch, plan_epoch, plan_evaluation
from asr.data.items import PlanSettings
from asr.errors import AudioError, DataError, UsageError
from asr.features import cmvn
from asr.recipe import AugmentSettings, FeatureSettings, ModelSettings

pytestmark = pytest.mark.tf

F = 8
FEATURES = FeatureSettings(n_mels=F)
PLAN = PlanSettings(batch_frames=300, max_utterances=6, model=ModelSettings())
JOINED = replace(PLAN, concat_max=3, gap_frames=9, space_label=7, tempo=0.2)
EVERYTHING = AugmentSettings(
    freq_masks=1, freq_mask_width=3, time_masks=2, time_mask_width=10, noise_dir="given",
    noise_probability=0.5, warp=0.1, gain_db=6.0, tilt_db=6.0, band_limit_probability=0.5)


@dataclass(frozen=True)
class Row:
    id: str
    speed: float
    num_frames: int
    speaker: str


class MemoryCache:
    """The interface of `asr.data.cache.FeatureCache` over arrays."""

    def __init__(self, lengths, speeds=(1.0,)):
        rng = np.random.default_rng(3)
        self.rows, self._features = [], []
        for index, length in enumerate(lengths):
            for speed in speeds:
                frames = max(1, round(length / speed))
                self.rows.append(Row(f"u{index:03d}", speed, frames, f"s{index % 2}"))
                features = rng.normal(-6, 2, (frames, F)).astype(np.float32)
                features.flags.writeable = False  # as a memory map is
                self._features.append(features)

    def read(self, row_index):
        return self._features[row_index]

    def clips(self):
        return gather_clips(self.rows, {row.id: [1, 2, 3][:1 + (
            row.num_frames >= 20)] for row in self.rows if row.speed == 1.0})


@pytest.fixture(scope="module")
def augmenters():
    from asr.augment.graph import FeatureAugmenter

    rng = np.random.default_rng(4)
    bank = NoiseBank(rng.normal(-8, 1, (60, F)).astype(np.float32), np.array([20, 40], np.int32))
    return {"plain": FeatureAugmenter(AugmentSettings(), FEATURES),
            "everything": FeatureAugmenter(EVERYTHING, FEATURES, noise=bank,
                                           mel_frequencies=np.geomspace(90, 7_600, F))}


def as_arrays(dataset):
    return [({k: v.numpy() for k, v in x.items()}, {k: v.numpy() for k, v in y.items()})
            for x, y in dataset]


def assert_equal_batches(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        for a, b in zip(one, other, strict=True):
            for key in a:
                np.testing.assert_array_equal(a[key], b[key])


@given(lengths=st.lists(st.integers(3, 350), min_size=1, max_size=25), seed=st.integers(0, 999),
       strength=st.sampled_from(["plain", "everything"]), how=st.sampled_from([PLAN, JOINED]))
@settings(max_examples=25, deadline=None)
def test_masks_of_every_batch(augmenters, lengths, seed, strength, how):
    """FAULTS.md L5: right-padded, no empty row, the last partial batch included."""
    from asr.data.pipeline import training_dataset

    cache = MemoryCache(lengths, speeds=(0.9, 1.0))
    plan = plan_epoch(cache.clips(), how, seed, 0)
    batches = as_arrays(training_dataset(cache, plan, augmenters[strength]))
    assert len(batches) == len(plan)
    for (x, y), planned in zip(batches, plan, strict=True):
        size = len(planned)
        assert size >= 1
        assert x["features"].shape == (size, planned.max_frames, F)
        assert x["features"].dtype == np.float32
        assert all(a.dtype == np.int32 for a in (x["num_frames"], *y.values()))
        assert x["num_frames"].min() >= 1 and x["num_frames"].max() == planned.max_frames
        assert np.isfinite(x["features"]).all()
        for row, item in enumerate(planned.items):
            frames, labels = x["num_frames"][row], y["num_labels"][row]
            assert frames == item.num_frames
            assert (x["features"][row, frames:] == 0).all()
            assert frames < 2 or (x["features"][row, :frames] != 0).any()
            assert y["labels"][row, :labels].tolist() == list(item.labels)
            assert (y["labels"][row, labels:] == 0).all()
            assert (y["labels"][row, :labels] > 0).all() and labels >= 1


def test_without_augmentation_rows_are_cmvn_of_the_cache(augmenters):
    from asr.data.pipeline import training_dataset

    cache = MemoryCache([50, 80, 20, 33], speeds=(0.9, 1.1))
    clips = gather_clips(cache.rows, {row.id: [1] for row in cache.rows})
    plan = plan_epoch(clips, replace(JOINED, tempo=0.0), 5, 0)
    for (x, _), batch in zip(as_arrays(training_dataset(cache, plan, augmenters["plain"])), plan,
                             strict=True):
        for row, item in zip(x["features"], batch.items, strict=True):
            raw = join_clips([cache.read(r) for r in item.rows], item.gaps,
                             np.random.default_rng(item.seed))
            np.testing.assert_allclose(row[:item.num_frames], cmvn(raw), atol=1e-5)


def test_threads_batches_and_resumption_do_not_matter(augmenters):
    from asr.data.pipeline import training_dataset

    cache = MemoryCache(range(20, 80))
    plan = plan_epoch(cache.clips(), JOINED, 1, 3)
    once = as_arrays(training_dataset(cache, plan, augmenters["everything"], num_threads=1))
    assert len(once) > 4
    assert_equal_batches(as_arrays(training_dataset(cache, plan, augmenters["everything"],
                                                    num_threads=4)), once)
    for start in (1, 3, len(plan)):
        resumed = training_dataset(cache, plan, augmenters["everything"], start=start)
        assert resumed.cardinality().numpy() == len(plan) - start
        assert_equal_batches(as_arrays(resumed), once[start:])


def test_several_passes_at_once(augmenters, monkeypatch):
    """A callback that looks at a batch in the middle of an epoch does not end the epoch."""
    from asr.data import pipeline

    cache = MemoryCache(range(40, 90))
    plan = plan_epoch(cache.clips(), PLAN, seed=1, epoch=0)
    dataset = pipeline.training_dataset(cache, plan, augmenters["plain"])
    assert len(plan) > 3 * pipeline.PREFETCH_BATCHES
    expected = as_arrays(dataset)
    for open_batches in (1_000_000, 0):  # 0: of the largest plans two are kept
        monkeypatch.setattr(pipeline, "OPEN_BATCHES", open_batches)
        under_way, seen = iter(dataset), []
        for _ in range(2 if open_batches else 1):
            seen.append(next(under_way))
            for _ in range(3 if open_batches else 1):
                next(iter(dataset))
        assert_equal_batches(as_arrays([*seen, *under_way]), expected)
    for _ in range(2):
        next(iter(dataset))
    under_way = iter(dataset)
    next(under_way)
    for _ in range(2):
        next(iter(dataset))
    with pytest.raises(Exception, match="Read it to its end first"):
        list(under_way)


def test_one_utterance_is_the_same_in_any_batch(augmenters):
    from asr.data.pipeline import training_dataset

    cache = MemoryCache(range(20, 60))
    found = []
    for size in (1, 6):
        how = replace(PLAN, max_utterances=size)
        # Sorted and shuffled alike, so the seeds of the items agree.
        plan = plan_epoch(cache.clips(), how, 1, 0)
        rows = {}
        for (x, _), batch in zip(training_dataset(cache, plan, augmenters["everything"]), plan,
                                 strict=True):
            for features, item in zip(x["features"].numpy(), batch.items, strict=True):
                rows[item.ids] = features[:item.num_frames]
        found.append(rows)
    for name, features in found[0].items():
        np.testing.assert_array_equal(features, found[1][name])


def test_evaluation_scores_everybody(augmenters):
    from asr.data.pipeline import evaluation_dataset

    cache = MemoryCache([30, 1, 700, 44, 45, 46, 47])
    clips = [replace(c, labels=()) if c.id == "u001" else c for c in cache.clips()]
    plan = plan_evaluation(clips, PLAN)
    normalizer = augmenters["everything"].without_augmentation()
    batches = as_arrays(evaluation_dataset(cache, plan, normalizer))
    assert sum(len(x["num_frames"]) for x, _ in batches) == 7
    names = Counter(name for b in plan for name in b.ids)
    assert names == Counter(row.id for row in cache.rows)
    (x, y) = batches[0]
    assert x["num_frames"][0] == 1 and y["num_labels"][0] == 0 and y["labels"].shape[1] >= 1
    with pytest.raises(UsageError, match="must not augment"):
        evaluation_dataset(cache, plan, augmenters["everything"])


def test_the_largest_batch_can_be_tried_alone(augmenters):
    from asr.data.pipeline import training_dataset

    cache = MemoryCache(range(20, 60))
    plan = plan_epoch(cache.clips(), PLAN, 1, 0)
    ((x, _),) = as_arrays(training_dataset(cache, [largest_batch(plan)], augmenters["plain"]))
    assert x["features"].shape[0] * x["features"].shape[1] == max(b.padded_frames for b in plan)


def test_an_unreadable_row_stops_and_keeps_its_error(augmenters):
    import tensorflow as tf

    from asr.data.pipeline import training_dataset

    class Broken(MemoryCache):
        def read(self, row_index):
            raise AudioError("cache/shard-0: record 3 does not match its checksum.")

    failures = []
    cache = Broken([30, 30])
    dataset = training_dataset(cache, plan_epoch(cache.clips(), PLAN, 1, 0), augmenters["plain"],
                               failures=failures)
    with pytest.raises(tf.errors.OpError, match="does not match its checksum"):
        list(dataset)
    assert isinstance(failures[0], AudioError)


def test_impossible_arguments(augmenters):
    from asr.data.pipeline import training_dataset

    cache = MemoryCache([30])
    plan = plan_epoch(cache.clips(), PLAN, 1, 0)
    with pytest.raises(DataError, match="plan is empty"):
        training_dataset(cache, [], augmenters["plain"])
    with pytest.raises(UsageError, match=r"start must lie in 0 \.\. 1"):
        training_dataset(cache, plan, augmenters["plain"], start=2)


def test_from_recordings_on_disk_to_batches(tmp_path, augmenters, rng):
    """The real feature cache behind the same interface."""
    from asr.audio import load_audio
    from asr.data.cache import build_cache
    from asr.data.pipeline import evaluation_dataset, training_dataset
    from asr.features import FeatureExtractor
    from asr.manifest import Utterance

    utterances = []
    for index in range(5):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, rng.uniform(-0.2, 0.2, 4_000 + 900 * index), 16_000)
        utterances.append(Utterance(f"u{index}", path, "ab", (4_000 + 900 * index) / 16_000, "s"))
    cache = build_cache(utterances, FEATURES, tmp_path / "cache", speeds=(0.9, 1.0))
    clips = gather_clips(cache.rows, {u.id: [1, 2] for u in utterances})
    plan = plan_evaluation(clips, PLAN)
    extractor = FeatureExtractor(FEATURES)
    for (x, _), batch in zip(evaluation_dataset(cache, plan, augmenters["plain"]), plan,
                             strict=True):
        for row, item in zip(x["features"].numpy(), batch.items, strict=True):
            audio = load_audio(tmp_path / f"{item.ids[0][1:]}.wav", sample_rate=16_000)
            np.testing.assert_allclose(row[:item.num_frames], cmvn(extractor.extract(audio)),
                                       atol=1e-4)
    trained = plan_epoch(clips, JOINED, 1, 0)
    batches = as_arrays(training_dataset(cache, trained, augmenters["everything"]))
    assert sum(len(x["num_frames"]) for x, _ in batches) == sum(len(b) for b in trained)
