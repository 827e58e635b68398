"""Seconds by construction of the front end; words, characters and readings of a transcript."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from asr.decoding import Hypothesis, WordSpan
from asr.features.lengths import frame_origin
from asr.recipe import FeatureSettings, ModelSettings
from asr.transcript.timing import FrameClock, to_transcript

CLOCK = FrameClock(hop=0.01, subsampling=3, origin=-0.5)
AB = Hypothesis("ab c", -1.0, (2, 3, 1, 4), (WordSpan("ab", 1, 5, 0.5), WordSpan("c", 9, 10, 1.0)),
                0.75, spans=((1, 2), (3, 5), (6, 7), (9, 10)))


def test_frames_are_where_the_front_end_looks():
    """Stacked: frames 3t, 3t + 1, 3t + 2 around 3t + 1. Convolved: 4t and as many on both sides."""
    assert frame_origin(ModelSettings(front_end="stack", stacking=3, subsampling=3)) == -0.5
    assert frame_origin(ModelSettings(front_end="stack", stacking=5, subsampling=3)) == 0.5
    assert frame_origin(ModelSettings(front_end="stack", stacking=1, subsampling=1)) == -0.5
    assert frame_origin(ModelSettings(front_end="conv", subsampling=4)) == -2.0
    clock = FrameClock.of(FeatureSettings(sample_rate=8_000, hop_length=80),
                          ModelSettings(front_end="stack", stacking=3, subsampling=3))
    assert clock == CLOCK
    assert clock.seconds_per_frame == pytest.approx(0.03)
    assert clock.seconds(0) == pytest.approx(-0.005), "half a hop before the first centre"
    assert clock.seconds(2) == pytest.approx(clock.cell_seconds(clock.cell(2)))
    assert clock.cell(2) == 6


def test_without_loudness_words_end_with_their_labels():
    found = to_transcript([AB], CLOCK, 1.0)
    assert [(w.text, w.start, w.end, w.confidence) for w in found.words] == [
        ("ab", pytest.approx(0.025), pytest.approx(0.145), 0.5),
        ("c", pytest.approx(0.265), pytest.approx(0.295), 1.0)]
    assert [(c.text, c.start, c.end) for c in found.characters] == [
        ("a", pytest.approx(0.025), pytest.approx(0.085)),
        ("b", pytest.approx(0.085), pytest.approx(0.145)),
        ("c", pytest.approx(0.265), pytest.approx(0.295))]
    assert (found.text, found.score, found.confidence, found.duration) == ("ab c", -1.0, 0.75, 1.0)
    assert found.alternatives == () and found.rejected == ""


def test_with_loudness_words_end_at_pauses_and_characters_with_them():
    levels = np.array([-15.0] * 4 + [-5.0] * 16 + [-15.0] * 6 + [-5.0] * 8 + [-15.0] * 6)
    later = dataclasses.replace(AB, words=(WordSpan("ab", 2, 5, 0.5), AB.words[1]),
                                spans=((2, 3), *AB.spans[1:]))
    found = to_transcript([later], CLOCK, 0.4, levels)
    assert [(w.start, w.end) for w in found.words] == [
        (pytest.approx(0.035), pytest.approx(0.195)), (pytest.approx(0.255), pytest.approx(0.335))]
    assert [(c.text, c.start, c.end) for c in found.characters] == [
        ("a", pytest.approx(0.035), pytest.approx(0.085)),
        ("b", pytest.approx(0.085), pytest.approx(0.195)),
        ("c", pytest.approx(0.255), pytest.approx(0.335))]


def test_no_time_is_outside_of_the_recording():
    early = Hypothesis("a", 0.0, (2,), (WordSpan("a", 0, 20, 1.0),), spans=((0, 20),))
    found = to_transcript([early], CLOCK, 0.5)
    assert [(w.start, w.end) for w in (*found.words, *found.characters)] == [(0.0, 0.5)] * 2


def test_every_word_has_a_length_even_behind_the_end():
    """Eight frames stacked: the last output frames begin when the recording is over."""
    clock = FrameClock(hop=0.01, subsampling=1, origin=3.0)
    spans = [("a", 8, 14), ("b", 15, 16), ("c", 17, 18)]
    found = to_transcript([Hypothesis(
        "a b c", 0.0, (2, 1, 3, 1, 4), tuple(WordSpan(*span, 1.0) for span in spans),
        spans=((8, 14), (14, 15), (15, 16), (16, 17), (17, 18)))], clock, 0.175)
    assert [(w.start, w.end) for w in found.words] == [
        (pytest.approx(0.11), pytest.approx(0.155)), (pytest.approx(0.155), pytest.approx(0.165)),
        (pytest.approx(0.165), pytest.approx(0.175))]
    for levels in (None, np.zeros(2)):
        only = to_transcript([dataclasses.replace(AB, words=(WordSpan("ab", 9, 10, 1.0),))],
                             clock, 0.025, levels)
        assert 0 <= only.words[0].start < only.words[0].end == pytest.approx(0.025)


def test_a_decoder_without_spans_gives_words_alone():
    bare = Hypothesis("a", 0.0, (2,), (WordSpan("a", 1, 2, 1.0),))
    found = to_transcript([bare], CLOCK, 1.0)
    assert len(found.words) == 1 and found.characters == ()


def test_readings_and_rejection():
    other = Hypothesis("c", -3.0, confidence=0.1)
    found = to_transcript([AB, other], CLOCK, 1.0)
    assert [(a.text, a.score, a.confidence) for a in found.alternatives] == [
        ("ab c", -1.0, 0.75), ("c", -3.0, 0.1)]
    nothing = to_transcript([Hypothesis("", -9.0, confidence=0.0, rejected="ab")], CLOCK, 1.0)
    assert (nothing.text, nothing.words, nothing.rejected) == ("", (), "ab")
