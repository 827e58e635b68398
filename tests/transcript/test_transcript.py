"""Formats of a transcript, and what a hostile one may not do (FAULTS.md R1)."""

from __future__ import annotations

import csv
import dataclasses
import doctest
import io
import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textgrid_reader import read_textgrid

import asr.transcript
from asr.annotations.elan import read_eaf
from asr.errors import UsageError
from asr.transcript import (
    FORMATS,
    Alternative,
    Transcript,
    Word,
    clock,
    escape_cell,
    plain,
    render,
)

TWO = Transcript("one two", -1.25, (Word("one", 0.5, 0.9, 0.75), Word("two", 61.0, 61.5, 1.0)),
                 0.8, 62.0)
HOSTILE = ["=cmd|' /C calc'!A0", "@SUM(A1)", "\t=1+1", "+1", "-1", "<script>alert(1)</script>",
           "\x1b[2J\x1b]0;owned\x07gone", "one\nWEBVTT\n\n00:00 --> 00:01", "\u202etxt.exe",
           "\x9b31m"]


def said(text: str) -> Transcript:
    return Transcript(text, 0.0, (Word(text, 0.0, 1.0, 1.0),), 1.0, 1.0)


def test_doctests():
    assert doctest.testmod(asr.transcript).failed == 0


def test_every_format_by_hand():
    assert render(dataclasses.replace(TWO, duration=60.0), "txt", "a.wav") == "one two\n"
    assert render(TWO, "txt", "a.wav") == "one\ntwo\n", "a long one: a line an utterance"
    assert render(TWO, "srt", "a.wav") == (
        "1\n00:00:00,500 --> 00:00:01,500\none\n\n2\n00:01:01,000 --> 00:01:02,000\ntwo\n\n")
    assert render(TWO, "vtt", "a.wav") == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.500\none\n\n00:01:01.000 --> 00:01:02.000\ntwo\n")
    assert render(TWO, "tsv", "a.wav") == (
        "start\tend\ttext\n500\t1500\tone\n61000\t62000\ttwo\n")
    assert render(TWO, "ctm", "talks/my a.wav") == (
        "my_a 1 0.500 0.400 one 0.7500\nmy_a 1 61.000 0.500 two 1.0000\n")
    assert json.loads(render(TWO, "json", "ä.wav")) == {
        "path": "ä.wav", "text": "one two", "score": -1.25, "confidence": 0.8, "duration": 62.0,
        "segments": [{"start": 0.5, "end": 0.9, "text": "one"},
                     {"start": 61.0, "end": 61.5, "text": "two"}],
        "words": [{"text": "one", "start": 0.5, "end": 0.9, "confidence": 0.75},
                  {"text": "two", "start": 61.0, "end": 61.5, "confidence": 1.0}]}


def test_readings_and_rejection_in_text_and_json():
    many = dataclasses.replace(TWO, alternatives=(Alternative("one two", -1.25, 0.8),
                                                  Alternative("one too", -3.0, 0.1)))
    assert render(many, "txt", "a.wav") == "one two\t-1.2500\t0.8000\none too\t-3.0000\t0.1000\n"
    assert json.loads(render(many, "json", "a.wav"))["alternatives"] == [
        {"text": "one two", "score": -1.25, "confidence": 0.8},
        {"text": "one too", "score": -3.0, "confidence": 0.1}]
    assert json.loads(render(Transcript("", rejected="lights on"), "json", "a.wav"))[
        "rejected"] == "lights on"
    assert not {"alternatives", "rejected", "characters"} & TWO.to_dict().keys()


def test_characters_in_json_and_textgrid():
    timed = dataclasses.replace(TWO, characters=(Word("o", 0.5, 0.7, 0.5), Word('"', 0.7, 0.9, 1)))
    assert json.loads(render(timed, "json", "a.wav", characters=True))["characters"] == [
        {"text": "o", "start": 0.5, "end": 0.7, "confidence": 0.5},
        {"text": '"', "start": 0.7, "end": 0.9, "confidence": 1}]
    tiers = read_textgrid(render(timed, "textgrid", "a.wav"))
    assert list(tiers) == ["words", "characters"]
    assert tiers["characters"] == [(0.0, 0.5, ""), (0.5, 0.7, "o"), (0.7, 0.9, '"'),
                                   (0.9, 62.0, "")]
    assert [label for _, _, label in tiers["words"]] == ["", "one", "", "two", ""]


def test_silence_in_every_format():
    empty = Transcript("", duration=3.0)
    results = {name: render(empty, name, "a.wav") for name in FORMATS}
    assert results.pop("textgrid").count('text = ""') == 2, "a silent interval in both tiers"
    assert json.loads(results.pop("json"))["words"] == []
    assert results == {"txt": "\n", "srt": "", "vtt": "WEBVTT\n", "tsv": "start\tend\ttext\n",
                       "ctm": "", "eaf": results["eaf"], "docx": results["docx"]}
    assert read_eaf(results["eaf"].encode(), "a") == ({"utterance": [], "word": []},
                                                      {"utterance": "", "word": ""}, "a.wav")


def test_unknown_format():
    with pytest.raises(UsageError, match="no format 'doc'; choose one of txt, json, srt"):
        render(TWO, "doc", "a.wav")


@pytest.mark.parametrize("text", HOSTILE)
def test_spreadsheets_read_the_row_back_and_run_nothing(text):
    table = render(said(text), "tsv", "a.wav")
    rows = list(csv.reader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) == 2
    assert len(rows[1]) == 3
    assert rows[1][2][:1] not in ("=", "+", "-", "@", "\t", "\r")
    raw = render(said(text), "tsv", "a.wav", escape_cells=False)
    assert not raw.splitlines()[1].split("\t")[2].startswith("'")


def test_a_word_ends_at_the_same_millisecond_in_every_format():
    odd = Transcript("a", words=(Word("a", 0.0854, 0.5046, 1.0),), duration=1.0)
    start, length = map(float, render(odd, "ctm", "x").split()[2:4])
    assert (start, round(start + length, 3)) == (0.085, 0.505)
    assert json.loads(render(odd, "json", "x"))["words"][0]["end"] == 0.505
    assert render(odd, "srt", "x").split("\n")[1] == "00:00:00,085 --> 00:00:01,085", "1 s at least"
    assert render(odd, "tsv", "x").split("\n")[1] == "85\t1085\ta"


@pytest.mark.parametrize("format", ["srt", "vtt", "ctm", "tsv"])
@pytest.mark.parametrize("text", HOSTILE)
def test_no_control_character_and_no_forged_line(format, text):
    result = render(said(text), format, "a\nb.wav")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", result)
    harmless = render(said("harmless"), format, "a\nb.wav")
    assert result.count("\n") == harmless.count("\n")
    if format in ("srt", "vtt"):
        assert result.count("-->") == harmless.count("-->")
    if format == "ctm":
        assert len(result.split(" ")) == 6


def test_vtt_escapes_markup():
    assert "&lt;b&gt; &amp; c" in render(said("<b> & c"), "vtt", "x")


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_plain_is_printable_and_idempotent(text):
    result = plain(text)
    assert not re.search("[\x00-\x1f\x7f-\x9f]", result)
    assert plain(result) == result


def test_plain_keeps_words():
    assert plain("Grüße, 你好 👋🏽") == "Grüße, 你好 👋🏽"


def test_small_things():
    assert clock(0, ".") == "00:00:00.000"
    assert clock(359_999.9994, ",") == "99:59:59,999"
    assert clock(0.9996, ",") == "00:00:01,000"
    assert escape_cell("") == ""
