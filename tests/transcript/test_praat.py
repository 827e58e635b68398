"""Praat's long text format: full coverage, no interval without length, quotes doubled."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textgrid_reader import read_textgrid

import asr.transcript.praat
from asr.transcript.praat import SHORTEST, textgrid


def labelled(intervals):
    return [interval for interval in intervals if interval[2]]


def test_doctests():
    assert doctest.testmod(asr.transcript.praat).failed == 0


def test_words_and_silence():
    tiers = read_textgrid(textgrid({"words": [(0.0, 0.4, "one"), (0.4, 0.9, "two")],
                                    "characters": []}, 2.0))
    assert tiers == {"words": [(0.0, 0.4, "one"), (0.4, 0.9, "two"), (0.9, 2.0, "")],
                     "characters": [(0.0, 2.0, "")]}


@pytest.mark.parametrize("duration", [0.0, 1e-9])
def test_a_recording_of_nothing_still_has_a_length(duration):
    assert read_textgrid(textgrid({"words": []}, duration)) == {"words": [(0.0, SHORTEST, "")]}


def test_words_without_length_get_one_and_push_the_others():
    tiers = read_textgrid(textgrid({"words": [(1.0, 1.0, "a"), (1.0, 1.0, "b")],
                                    "characters": [(0.0, 1.0, "c")]}, 1.0))
    assert labelled(tiers["words"]) == [(1.0, 1.001, "a"), (1.001, 1.002, "b")]
    assert tiers["characters"] == [(0.0, 1.0, "c"), (1.0, 1.002, "")], "all tiers end together"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 2),
                          st.text(st.characters(exclude_categories=("Cc", "Zl", "Zp", "Cs")),
                                  min_size=1, max_size=5)), max_size=6), st.floats(0, 20))
def test_whatever_it_holds_it_is_valid(items, duration):
    intervals, at = [], 0.0
    for gap, length, label in items:
        intervals.append((at + gap, at + gap + length, label))
        at += gap + length
    found = labelled(read_textgrid(textgrid({"x": intervals}, duration))["x"])
    assert [label for _, _, label in found] == [label for _, _, label in intervals]
