"""Praat's long text format: full coverage, no interval without length, quotes doubled."""

from __future__ import annotations

import doctest
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asr.textgrid
from asr.textgrid import SHORTEST, textgrid


def read_textgrid(text: str) -> dict[str, list[tuple[float, float, str]]]:
    """A strict reader, independent of the writer: tiers with their intervals; every count, every
    boundary and the quoting must agree, as Praat demands."""
    lines = iter(text.splitlines())

    def value(key: str) -> str:
        name, separator, rest = next(lines).strip().partition(" = ")
        assert (name, separator) == (key, " = ")
        return rest

    def string(key: str) -> str:
        quoted = value(key)
        assert re.fullmatch(r'"(?:[^"]|"")*"', quoted)
        return quoted[1:-1].replace('""', '"')

    assert [next(lines), next(lines), next(lines)] == [
        'File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    assert float(value("xmin")) == 0.0
    end = float(value("xmax"))
    assert end > 0 and next(lines) == "tiers? <exists>"
    count = int(value("size"))
    assert next(lines) == "item []:"
    tiers = {}
    for number in range(1, count + 1):
        assert next(lines) == f"    item [{number}]:"
        assert string("class") == "IntervalTier"
        name = string("name")
        assert (float(value("xmin")), float(value("xmax"))) == (0.0, end)
        size, reached, intervals = int(value("intervals: size")), 0.0, []
        assert size > 0
        for place in range(1, size + 1):
            assert next(lines).strip() == f"intervals [{place}]:"
            start, stop = float(value("xmin")), float(value("xmax"))
            assert start == reached < stop
            reached = stop
            intervals.append((start, stop, string("text")))
        assert reached == end
        tiers[name] = intervals
    assert next(lines, None) is None
    return tiers


def labelled(intervals):
    return [interval for interval in intervals if interval[2]]


def test_doctests():
    assert doctest.testmod(asr.textgrid).failed == 0


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
