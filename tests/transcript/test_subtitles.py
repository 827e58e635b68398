"""Subtitles by the rules of editors, as a property of any words."""

from __future__ import annotations

import doctest

from hypothesis import given, settings
from hypothesis import strategies as st

import asr.transcript.subtitles
from asr.transcript import Word
from asr.transcript.subtitles import RULES, SubtitleRules, cues


def spoken(text: str, *, rate: float = 14.0, start: float = 0.0, pauses: dict | None = None):
    """Words at some characters a second; `pauses` are seconds after a word."""
    words, now = [], start
    for word in text.split():
        end = now + len(word) / rate
        words.append(Word(word, now, end, 1.0))
        now = end + 1 / rate + (pauses or {}).get(word, 0.0)
    return words


@st.composite
def any_words(draw):
    words, now, channel = [], 0.0, 0
    for number, (pause, length, size, turn) in enumerate(draw(st.lists(st.tuples(
            st.floats(0, 3) | st.just(0.0), st.floats(0.01, 2) | st.floats(0.01, 12),
            st.integers(1, 12) | st.integers(1, 120), st.integers(0, 9)), max_size=40))):
        start, now = now + pause, now + pause + length
        channel = 3 - channel if turn == 0 and channel else channel or (turn == 1)
        words.append(Word(f"{number}".ljust(size, "x"), start, now, 1.0, int(channel)))
    return words


@settings(max_examples=150, deadline=None)
@given(any_words())
def test_the_rules_hold_for_any_words(words):
    found = cues(words, duration=words[-1].end if words else 0.0)
    assert "".join(c.text for c in found).replace("\n", "").replace(" ", "") == \
        "".join(w.text for w in words), "every word once, in order"
    for cue in found:
        lines = cue.text.split("\n")
        assert 1 <= len(lines) <= RULES.lines and all(lines)
        assert max(map(len, lines)) <= RULES.line_characters
        assert RULES.min_seconds - 1e-9 <= cue.end - cue.start <= RULES.max_seconds + 1e-9
    for one, other in zip(found, found[1:], strict=False):
        assert other.start - one.end >= RULES.gap - 1e-9, "no overlap, two frames between"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=80), st.floats(8, 14), st.integers(0, 5))
def test_slow_speech_can_be_read(sizes, rate, every):
    """At up to 14 characters a second, no cue asks for more than 17."""
    text = " ".join(f"{'abcdefghijkl'[:size]}" for size in sizes)
    found = cues(spoken(text, rate=rate))
    for cue in found:
        assert len(cue.text) / (cue.end - cue.start) <= RULES.characters_per_second + 1e-6


def test_a_cue_stays_into_the_pause_to_be_read():
    words = spoken("what was said very fast indeed", rate=30, pauses={"fast": 0.0}) + \
        spoken("and then", start=9.0)
    first = cues(words)[0]
    assert len(first.text) / (first.end - first.start) <= 17.001
    assert first.end > words[5].end


def test_breaks_are_at_clauses():
    text = ("we went down to the river in the morning, and when the sun came up we saw the birds "
            "that had come back from the south because it was spring")
    found = cues(spoken(text))
    for line in [line for cue in found for line in cue.text.split("\n")]:
        assert line.split()[-1] not in ("the", "a", "in", "to", "from"), found
    assert any(line.endswith("morning,") for cue in found for line in cue.text.split("\n"))


def test_pauses_are_breaks():
    words = spoken("one two three four five six seven eight nine ten eleven twelve thirteen "
                   "fourteen fifteen sixteen", pauses={"seven": 0.5})
    assert cues(words)[0].text.replace("\n", " ").endswith("seven")


def test_speakers_are_named_at_each_turn():
    words = [Word("hello", 0.0, 0.5, 1.0, 1), Word("there", 0.5, 1.0, 1.0, 1),
             Word("yes", 1.2, 1.5, 1.0, 2)]
    assert [c.text for c in cues(words, speakers=("Anna", "Ben"))] == ["Anna: hello there",
                                                                      "Ben: yes"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0.2, 2.5), st.floats(-0.5, 0.3)), min_size=2, max_size=60))
def test_no_cue_falls_behind_people_who_answer_each_other_fast(turns):
    """Turns as short as "yes", some while the other still talks; each is a word a 0.3 s."""
    now, words = 0.0, []
    for number, (length, gap) in enumerate(turns):
        start = max(0.0, now + gap, words[-1].start if words else 0.0)
        count = max(1, round(length / 0.3))
        words += [Word(f"w{len(words)}", start + k * length / count,
                       start + (k + 1) * length / count, 1.0, 1 + number % 2)
                  for k in range(count)]
        now = start + length
    starts = {word.text: word.start for word in words}
    found = cues(words, speakers=("A", "B"), duration=now)
    for cue in found:
        first = next(text for text in cue.text.split() if text in starts)
        assert cue.start - starts[first] <= 1.1, "about one shortest cue late, never more"
    for one, other in zip(found, found[1:], strict=False):
        assert other.start - one.end >= RULES.gap - 1e-9
        assert RULES.min_seconds - 1e-9 <= one.end - one.start <= RULES.max_seconds + 1e-9


def test_people_who_answer_each_other_fast_share_a_cue():
    words = [Word(text, 0.4 * n, 0.4 * n + 0.35, 1.0, 1 + n % 2)
             for n, text in enumerate(("ready", "yes", "go"))]
    assert [c.text for c in cues(words[:2], speakers=("Anna", "Ben"))] == ["Anna: ready\nBen: yes"]
    assert cues(words, speakers=("Anna", "Ben"))[0].text.count("\n") == 1
    slow = [Word("ready", 0.0, 1.2, 1.0, 1), Word("yes", 1.3, 2.5, 1.0, 2)]
    assert [c.text for c in cues(slow, speakers=("Anna", "Ben"))] == ["Anna: ready", "Ben: yes"]


def test_a_cue_lasts_until_both_have_ended():
    words = [Word(f"w{n}", 0.5 * n, 0.5 * n + 0.4, 1.0, 1) for n in range(8)] + [
        Word("mhm", 1.0, 1.3, 1.0, 2)]   # in the order of turns, as channels are joined
    cue, = cues(words, speakers=("Anna", "Ben"))
    assert (cue.start, cue.end) == (0.0, 3.9) and cue.text.endswith("\nBen: mhm")


def test_scripts_without_spaces_are_cut():
    text = "今日は晴れです" * 20
    found = cues([Word(text, 0.0, 40.0, 1.0)])
    assert "".join(c.text.replace("\n", "") for c in found) == text
    assert all(len(line) <= 42 for c in found for line in c.text.split("\n"))


def test_other_rules():
    rules = SubtitleRules(lines=1, line_characters=20, max_seconds=3.0, gap_frames=4)
    found = cues(spoken("one two three four five six seven eight nine ten", rate=12), rules=rules)
    assert all(len(c.text) <= 20 and "\n" not in c.text for c in found)
    assert all(b.start - a.end >= 0.16 - 1e-9 for a, b in zip(found, found[1:], strict=False))


def test_doctests():
    assert doctest.testmod(asr.transcript.subtitles).failed == 0
