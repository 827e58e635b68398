"""Annotation files of other programs: read as they are meant, or refused in one sentence."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_examples import eaf

from asr.annotations import Labelled
from asr.annotations.cues import read_labels, read_subtitles
from asr.annotations.elan import read_eaf
from asr.annotations.textgrid import read_textgrid
from asr.errors import DataError
from asr.transcript.praat import textgrid

LABELS = st.lists(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))).filter(
    str.strip), max_size=8)
SHORT = ('File type = "ooTextFile short"\n"TextGrid"\n\n0\n2.5\n<exists>\n2\n"IntervalTier"\n'
         '"a 1"\n0\n2.5\n2\n0\n1.5\n"say ""no"" 3"\n1.5\n2.5\n""\n"TextTier"\n"points"\n0\n2.5\n1\n'
         '1\n"p"\n')


@settings(max_examples=60, deadline=None)
@given(LABELS)
def test_a_textgrid_is_read_as_it_was_written(labels):
    rows = [(float(n), n + 0.5, label) for n, label in enumerate(labels)]
    found = read_textgrid(textgrid({"words": rows, "w [2]: x = 3": rows[:1]}, 20.0), "a")
    assert found == {"words": [Labelled(*row) for row in rows],
                     "w [2]: x = 3": [Labelled(*row) for row in rows[:1]]}


def test_the_short_form_and_points():
    found = read_textgrid(SHORT.replace("ooTextFile short", "ooTextFile"), "a")
    assert found == {"a 1": [Labelled(0.0, 1.5, 'say "no" 3')]}


@pytest.mark.parametrize("text", [
    "", "no grid", '"ooTextFile"\n"TextGrid"\n0\n1\n<exists>\n-1\n', SHORT[:150],
    SHORT.replace("1.5\n\"say", "x\n\"say"), SHORT.replace("IntervalTier", "OtherTier"),
    SHORT.replace(" short", "").replace("\n2\n0\n1.5", "\n99999999999\n0\n1.5")])
def test_a_textgrid_that_is_none(text):
    with pytest.raises(DataError, match="not a TextGrid that can be read") as error:
        read_textgrid(text, "a.TextGrid")
    assert error.value.code == "annotation.textgrid"


def test_an_eaf_with_times_speakers_and_references():
    tiers, speakers, media = read_eaf(eaf([(0.0, 0.5, "a &amp; b"), (1.0, 2.0, "c")],
                                          who="Anna").encode(), "a.eaf")
    assert tiers["utterance"] == [(0.0, 0.5, "a & b"), (1.0, 2.0, "c")]
    assert tiers["gloss"][1] == (1.0, 2.0, "gloss 1") and media == "a.wav"
    assert speakers["utterance"] == "Anna"


@pytest.mark.parametrize("data", [
    b"", b"<html/>", b"\xff\xfe", eaf([(0, 1, "a")]).encode()[:-40],
    b'<!DOCTYPE a [<!ENTITY b SYSTEM "/etc/passwd">]><ANNOTATION_DOCUMENT/>',
    b'<ANNOTATION_DOCUMENT><TIME_SLOT TIME_SLOT_ID="a" TIME_VALUE="soon"/></ANNOTATION_DOCUMENT>',
    *(eaf([(0, 1, "a")]).replace('"1000"', f'"{number}"').encode()
      for number in ("1_000", "\u0663", "9" * 400, "nan"))])
def test_an_eaf_that_is_none(data):
    with pytest.raises(DataError, match="not an ELAN file that can be read"):
        read_eaf(data, "a.eaf")


def test_references_in_a_circle_have_no_times():
    data = ('<ANNOTATION_DOCUMENT><TIER TIER_ID="t"><REF_ANNOTATION ANNOTATION_ID="a" '
            'ANNOTATION_REF="b"/><REF_ANNOTATION ANNOTATION_ID="b" ANNOTATION_REF="a"/></TIER>'
            "</ANNOTATION_DOCUMENT>")
    assert read_eaf(data.encode(), "a")[0] == {"t": []}


def test_subtitles_of_both_kinds():
    srt = "1\n00:00:01,5 --> 0:00:02.75 X1:10\n{\\an8}<b>one</b>\ntwo\n\n2\n00:00:03,000 --> " \
          "00:00:03,000\nnothing\n"
    assert read_subtitles(srt, "a") == [(Labelled(1.5, 2.75, "one two"), "")]
    vtt = ("WEBVTT - a\n\nSTYLE\n::cue {}\n\n01:01:01.000 --> 01:01:02.000\n"
           "<v.loud Anna B>a &lt; b\n")
    assert read_subtitles(vtt, "a") == [(Labelled(3661.0, 3662.0, "a < b"), "Anna B")]
    assert read_subtitles("", "a") == []


@pytest.mark.parametrize("text, line", [
    ("no times", 1), ("1\n00:00:02,000 --> 00:00:01,000\nx", 2), ("1\nsoon --> later\nx", 2),
    ("1\n" + "9" * 5_000 + ":00:00,000 --> 00:00:01,000\nx", 2)])
def test_subtitles_that_are_none(text, line):
    with pytest.raises(DataError, match=f"a.srt:{line}: "):
        read_subtitles(text, "a.srt")


def test_label_tracks():
    assert read_labels("0.5\t1\tyes sir\n\\\t1\t2\n\n1\t1\tpoint\n2\t3\t\n", "a") == [
        Labelled(0.5, 1.0, "yes sir")]
    odd = "a\x85b\u2028c\x0cd"  # no ends of lines there
    assert read_labels(f"0\t1\t{odd}\n", "a") == [Labelled(0.0, 1.0, odd)]
    for text in ("a\tb\tc", "1\tx", "3\t1\tx", "-1\t1\tx", "nan\t1\tx", "0\t1_0\tx",
                 "0\t\u0663\tx"):
        with pytest.raises(DataError, match="a.txt:1: "):
            read_labels(text, "a.txt")


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damage_is_one_sentence(data):
    cue = "1\n00:00:01,0 --> 00:00:02,0\nx"
    whole = data.draw(st.sampled_from([SHORT, eaf([(0, 1, "a")]), cue]))
    place = data.draw(st.integers(0, len(whole)))
    text = whole[:place] + data.draw(st.text(max_size=4)) + whole[place + data.draw(
        st.integers(0, 5)):]
    for read in (lambda: read_textgrid(text, "a"), lambda: read_subtitles(text, "a"),
                 lambda: read_eaf(text.encode("utf-8", "replace"), "a"),
                 lambda: read_labels(text, "a")):
        try:
            read()
        except DataError as error:
            assert str(error) and "\n" not in str(error).replace(text, "")[:20]
