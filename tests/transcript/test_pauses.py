"""Words begin and end at pauses: on loudness curves drawn by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.features import FeatureExtractor
from asr.recipe import FeatureSettings
from asr.transcript.pauses import BLIND_TAIL, MAX_LEAD, MAX_TAIL, edges_at_pauses, speech_levels

HOP = 0.01
LOUD, QUIET = -5.0, -15.0


def curve(*stretches: tuple[int, float]) -> np.ndarray:
    return np.concatenate([np.full(frames, level) for frames, level in stretches])


def edges(starts, ends, levels):
    found = edges_at_pauses(np.array(starts), np.array(ends), levels, HOP)
    return [tuple(pair) for pair in np.stack(found, axis=1).tolist()]


def test_labels_come_early_words_end_at_the_pause():
    levels = curve((20, QUIET), (50, LOUD), (30, QUIET), (40, LOUD), (25, QUIET))
    assert edges([24, 105], [33, 111], levels) == [(20, 70), (100, 140)]


def test_without_a_pause_words_touch_or_go_on_a_little():
    blind = BLIND_TAIL / HOP
    levels = curve((300, LOUD))
    assert edges([20, 40], [30, 50], levels) == [(20, 40), (40, 50 + blind)]
    assert edges([20, 240], [30, 250], levels)[0] == (20, 30 + blind)
    assert edges([290], [295], levels) == [(290, 300)], "not beyond the recording"


def test_the_closure_of_a_stop_does_not_end_a_word():
    """eight: 60 ms of closure, then the burst, then the pause."""
    levels = curve((20, QUIET), (15, LOUD), (6, QUIET), (5, LOUD), (30, QUIET), (20, LOUD),
                   (9, QUIET))
    assert edges([21, 77], [26, 80], levels) == [(20, 46), (76, 96)]


@pytest.mark.parametrize("place", ["in the pause", "at its end", "padding"])
def test_digital_silence_does_not_make_room_noise_speech(place):
    """Speech at -20 dB, a room at -67 dB, 50 ms of zeros in it or a second of them behind it."""
    decibel = math.log(10) / 10
    parts = {"in the pause": [(40, -67), (5, -99), (45, -67)], "at its end": [(85, -67), (5, -99)],
             "padding": [(60, -67), (100, -99)]}[place]
    word = [(30, -67), (50, -20)]
    levels = curve(*((frames, level * decibel) for frames, level in word + parts))
    ((start, end),) = edges([32], [40], levels)
    assert start == 30
    assert abs(end - 80) <= 0.1 / HOP


def test_the_same_in_a_recording():
    settings = FeatureSettings()
    rng = np.random.default_rng(0)
    rate = settings.sample_rate
    audio = np.zeros(2 * rate, np.float32)
    audio += rng.normal(0, 10 ** (-67 / 20), len(audio)).astype(np.float32)
    audio[rate // 2:rate] += rng.normal(0, 0.1, rate // 2).astype(np.float32)
    audio[rate * 3 // 2:rate * 3 // 2 + rate // 20] = 0
    levels = speech_levels(FeatureExtractor(settings).extract(audio), settings)
    ((start, end),) = edges([52], [60], levels)
    assert start * HOP == pytest.approx(0.5, abs=0.03)
    assert end * HOP == pytest.approx(1.0, abs=0.03)


def test_an_editor_that_cuts_pauses_to_digital_silence_leaves_words_as_they_are():
    levels = curve((20, -23.0), (50, LOUD), (30, -23.0), (40, LOUD), (25, -23.0))
    assert edges([24, 105], [33, 111], levels) == [(20, 70), (100, 140)]


def test_a_noise_in_the_pause_belongs_to_no_word():
    levels = curve((20, QUIET), (30, LOUD), (40, QUIET), (5, LOUD), (60, QUIET), (30, LOUD))
    assert edges([22, 158], [30, 165], levels) == [(20, 50), (155, 185)]


def test_speech_that_nobody_wrote_down_is_not_claimed():
    lead, tail = MAX_LEAD / HOP, MAX_TAIL / HOP
    levels = curve((10, QUIET), (200, LOUD), (10, QUIET), (5, LOUD), (250, LOUD))
    far = int(10 + lead + 5)
    (start, _), (_, end) = edges([far, 225], [far + 5, 230], levels)
    assert start == far, "the word keeps its own label's time"
    assert end <= 230 + tail


def test_one_frame_of_loudness_may_be_gained_or_lost_not_the_word():
    levels = curve((30, QUIET), (30, LOUD))
    assert edges([29], [30], levels) == [(29, 60)]
    assert edges([30], [31], np.full(60, LOUD)) == [(30, 60)]


def test_nothing_to_move():
    assert edges([], [], np.zeros(10)) == []
    assert edges([2.5], [4.0], np.zeros(0)) == [(2.5, 4.0)]
    assert edges([0], [3], np.zeros(2))[0][1] > 0


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.sampled_from([1, 2, 3]))
def test_order_is_kept_whatever_the_loudness(seed, count, step):
    generator = np.random.default_rng(seed)
    places = np.sort(generator.choice(np.arange(0, 60), 2 * count, replace=False)) * step
    levels = np.repeat(generator.normal(scale=6.0, size=1 + 60 * step // 4), 4)
    found = edges(places[::2], places[1::2], levels)
    flat = [edge for pair in found for edge in pair]
    assert all(a < b for a, b in found)
    assert np.diff(flat).min() > -0.01
    for (start, end), first, last in zip(found, places[::2], places[1::2], strict=True):
        assert start <= max(first + 1, first) and end >= last - 1


@pytest.mark.parametrize("deltas", [0, 1])
def test_levels_of_both_kinds_of_features(rng, deltas):
    """The first cepstral coefficient is the mean of all bands; with all bands kept, exactly."""
    audio = rng.normal(scale=0.1, size=4_000).astype(np.float32)
    mel, cepstra = (FeatureSettings(kind=kind, sample_rate=8_000, n_fft=256, win_length=200,
                                    hop_length=80, n_mels=20, n_mfcc=13, deltas=deltas)
                    for kind in ("log_mel", "mfcc"))
    expected = FeatureExtractor(mel).extract(audio)[:, :20].mean(axis=1)
    for kind in (mel, cepstra):
        found = speech_levels(FeatureExtractor(kind).extract(audio), kind)
        np.testing.assert_allclose(found, expected, atol=1e-4)
