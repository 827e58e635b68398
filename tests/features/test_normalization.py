"""Normalisation: equal to the plain formulas, finite for everything, silence becomes zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import DataError, UsageError
from asr.features import log_mel
from asr.features.normalization import (
    LEVEL_FLOOR,
    VARIANCE_FLOOR,
    cmvn,
    frame_weights,
    global_cmvn_statistics,
    level,
    map_cmvn,
    normalize_features,
    training_statistics,
)
from asr.recipe import FeatureSettings


def features_of(num_frames: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((num_frames, 5)) * 3 - 8).astype(np.float32)


@given(frames=st.lists(st.integers(0, 9), min_size=1, max_size=6), seed=st.integers(0, 99))
@settings(max_examples=50, deadline=None)
def test_global_statistics_equal_those_of_all_frames(frames, seed):
    source = np.random.default_rng(seed)
    arrays = [(source.standard_normal((n, 3)) * 5 - 12).astype(np.float32) for n in frames]
    joined = np.concatenate(arrays).astype(np.float64)
    if not len(joined):
        return
    mean, std = global_cmvn_statistics(iter(arrays))
    assert mean.dtype == std.dtype == np.float32
    np.testing.assert_allclose(mean, joined.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(std, joined.std(axis=0), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        cmvn(joined.astype(np.float32), mean, std),
        (joined - mean) / np.maximum(std, VARIANCE_FLOOR ** 0.5), atol=1e-4)


def test_cmvn_gives_zero_mean_and_unit_variance():
    normal = cmvn(features_of(101))
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std(axis=0), 1, atol=1e-4)


def test_silence_and_one_frame_become_zero():
    silence = log_mel(np.zeros(1_600, np.float32), sample_rate=16_000)
    np.testing.assert_array_equal(cmvn(silence), 0)
    np.testing.assert_array_equal(cmvn(features_of(1)), 0)


def test_level_takes_the_recording_level_away():
    features = features_of(200)
    np.testing.assert_allclose(level(features + 4.6), level(features), atol=1e-4)
    assert np.mean(np.exp(level(features), dtype=np.float64)) == pytest.approx(1, rel=1e-3)
    features[:5] = -1_000
    assert level(features).min() == LEVEL_FLOOR


def test_map_lies_between_the_utterance_and_the_training_set():
    features, mean, std = features_of(60), np.full(5, -1.0), np.full(5, 2.0)
    leveled = level(features).astype(np.float64)
    np.testing.assert_allclose(map_cmvn(features, mean, std, 0), cmvn(level(features)), atol=1e-4)
    np.testing.assert_allclose(map_cmvn(features, mean, std, 10**9), (leveled - mean) / std,
                               atol=1e-3)
    center = (60 * leveled.mean(axis=0) + 40 * mean) / 100
    variance = (60 * ((leveled - center) ** 2).mean(axis=0) + 40 * std ** 2) / 100
    np.testing.assert_allclose(map_cmvn(features, mean, std, 40),
                               (leveled - center) / np.sqrt(variance), atol=1e-4)


def test_quiet_frames_count_at_most_as_much_as_the_loud_ones():
    """Frames at 0, -20, -25, -30 and -60 dB: those within the range are loud."""
    decibels = np.array([0, -20, -25, -30, -60.0])
    features = np.repeat(decibels[:, np.newaxis] * np.log(10) / 10, 3, axis=1).astype(np.float32)
    mean = 10 * np.log10(np.mean(10 ** (decibels / 10)))
    loud = np.clip((decibels - mean + 20) / 10, 0, 1)
    quiet = min(1, loud.sum() / (1 - loud).sum())
    assert 0.5 < quiet < 1
    np.testing.assert_allclose(frame_weights(features, 20), loud + (1 - loud) * quiet, atol=1e-5)
    np.testing.assert_allclose(frame_weights(features + 9, 20), frame_weights(features, 20),
                               atol=1e-5)
    np.testing.assert_allclose(frame_weights(features, 40), 1, atol=1e-6)  # one of five is quiet
    assert frame_weights(features, 0) is None
    assert frame_weights(np.full((4, 3), -23.0, np.float32), 30).tolist() == [1] * 4


@pytest.mark.parametrize("how", ["utterance", "map"])
def test_an_hour_of_silence_changes_no_more_than_a_pause(how):
    speech = features_of(100)
    quiet = np.random.default_rng(1).normal(-22, 0.3, (9_000, 5)).astype(np.float32)
    recordings = [np.concatenate([speech, quiet[:count]]) for count in (0, 100, 9_000)]

    def read(range_db: float) -> list[np.ndarray]:
        chosen = FeatureSettings(cmvn=how, cmvn_prior=50, cmvn_range_db=range_db)
        statistics = training_statistics([speech], chosen)
        return [normalize_features(x, chosen, statistics)[:100] for x in recordings]

    alone, pause, silence = read(20)
    np.testing.assert_allclose(alone, read(0)[0], atol=1e-4)
    assert np.abs(silence - pause).mean() < 0.1 < 1 < np.abs(read(0)[2] - pause).mean()


@pytest.mark.parametrize("how", ["utterance", "map"])
def test_the_statistics_are_those_of_the_frames_that_count(how):
    features = features_of(60)
    features[10:] -= 12  # 52 dB: these are quiet
    chosen = FeatureSettings(cmvn=how, cmvn_prior=50, cmvn_range_db=30)
    statistics = training_statistics([features], chosen)
    weights = frame_weights(features, 30)
    assert weights.min() < 0.3 and (weights == 1).sum() > 5
    chosen_frames = features.astype(np.float64)
    if how == "map":
        power = np.log((weights @ np.exp(chosen_frames)).sum() / weights.sum() / 5)
        chosen_frames = np.maximum(chosen_frames - power, LEVEL_FLOOR)
    center = np.average(chosen_frames, axis=0, weights=weights)
    spread = np.sqrt(np.average((chosen_frames - center) ** 2, axis=0, weights=weights))
    if statistics is not None:
        np.testing.assert_allclose(statistics, (center, spread), rtol=1e-4)
    np.testing.assert_allclose(normalize_features(features, chosen, statistics),
                               (chosen_frames - center) / spread, atol=2e-4)


@pytest.mark.parametrize("num_frames", [1, 2, 100])
def test_map_of_silence_is_finite(num_frames):
    silence = np.full((num_frames, 5), -23.0, np.float32)
    assert np.isfinite(map_cmvn(silence, np.zeros(5), np.zeros(5), 0)).all()


@pytest.mark.parametrize("how", ["none", "utterance", "global", "map"])
def test_each_setting_is_its_formula(how):
    chosen = replace(FeatureSettings(), cmvn=how)
    arrays = [features_of(30, seed) for seed in range(4)]
    statistics = training_statistics(iter(arrays), chosen)
    assert (statistics is None) == (how in ("none", "utterance"))
    expected = {"none": lambda x: x, "utterance": cmvn,
                "global": lambda x: cmvn(x, *global_cmvn_statistics(arrays)),
                "map": lambda x: map_cmvn(x, *global_cmvn_statistics(map(level, arrays)),
                                          chosen.cmvn_prior)}[how]
    np.testing.assert_allclose(normalize_features(arrays[0], chosen, statistics),
                               expected(arrays[0]), atol=1e-5)


def test_statistics_where_none_belong():
    features, statistics = features_of(9), (np.zeros(5), np.ones(5))
    with pytest.raises(UsageError, match="without training statistics"):
        normalize_features(features, FeatureSettings(cmvn="utterance"), statistics)
    with pytest.raises(UsageError, match="with training statistics"):
        normalize_features(features, FeatureSettings(cmvn="global"))
    with pytest.raises(UsageError, match="both"):
        cmvn(features, mean=np.zeros(5))
    with pytest.raises(DataError, match="at least one frame"):
        global_cmvn_statistics([np.zeros((0, 4), np.float32)])
