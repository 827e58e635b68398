"""Speakers in order of time, utterances, documents of other programs, words as written."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree

import pytest
from textgrid_reader import read_textgrid

from asr.annotations.elan import read_eaf
from asr.errors import UsageError
from asr.transcript import Transcript, Word, format_of, render
from asr.transcript.segments import merge_channels, paragraphs, segments
from asr.transcript.written import as_written


def transcript(*rows: tuple[str, float, float], duration: float = 20.0) -> Transcript:
    words = tuple(Word(text, start, end, 0.5) for text, start, end in rows)
    return Transcript(" ".join(w.text for w in words), -1.0, words, 0.5, duration,
                      tuple(Word(c, w.start, w.end, 0.5) for w in words for c in w.text))


LEFT = transcript(("hello", 0.0, 0.5), ("there", 0.6, 1.0), ("good", 5.0, 5.5))
RIGHT = transcript(("yes", 2.0, 2.5), ("no", 5.2, 5.6))
CALL = merge_channels([LEFT, RIGHT], ("Anna", "Ben"))


def test_two_channels_are_one_transcript_in_order_of_time():
    assert CALL.text == "hello there yes good no"
    assert [(s.speaker, s.text, s.start) for s in segments(CALL)] == [
        ("Anna", "hello there", 0.0), ("Ben", "yes", 2.0), ("Anna", "good", 5.0),
        ("Ben", "no", 5.2)]
    assert (CALL.score, CALL.confidence, CALL.duration) == (-2.0, 0.5, 20.0)
    assert "".join(c.text for c in CALL.characters) == "hellothereyesgoodno"


def test_two_speakers_in_every_format():
    table = json.loads(render(CALL, "json", "call.m4a"))
    assert table["segments"][1] == {"start": 2.0, "end": 2.5, "text": "yes", "speaker": "Ben"}
    assert table["speakers"] == ["Anna", "Ben"] and table["words"][2]["channel"] == 2
    assert "\nBen: yes\n" in render(CALL, "srt", "call.m4a")
    assert render(CALL, "txt", "call.m4a") == "Anna: hello there\nBen: yes\nAnna: good\nBen: no\n"
    assert [line.split()[:3] for line in render(CALL, "ctm", "call.m4a").splitlines()] == [
        ["call", "A", "0.000"], ["call", "A", "0.600"], ["call", "A", "5.000"],
        ["call", "B", "2.000"], ["call", "B", "5.200"]]
    tiers = read_textgrid(render(CALL, "textgrid", "call.m4a"))
    assert list(tiers) == ["words Anna", "characters Anna", "words Ben", "characters Ben"]
    assert [label for *_, label in tiers["words Ben"] if label] == ["yes", "no"]
    found, speakers, media = read_eaf(render(CALL, "eaf", "x/call.m4a").encode(), "a.eaf")
    assert found["utterance@Ben"] == [(2.0, 2.5, "yes"), (5.2, 5.6, "no")]
    assert speakers["word@Anna"] == "Anna" and media == "call.m4a"
    slots = ElementTree.fromstring(render(CALL, "eaf", "call.m4a")).iter("TIME_SLOT")
    times = [int(slot.get("TIME_VALUE", -1)) for slot in slots]
    assert times == sorted(times), "the slots of all tiers in order of time"


def test_a_long_recording_has_a_line_an_utterance_and_paragraphs():
    rows = [(f"w{n}", n + 3 * (n // 4), n + 3 * (n // 4) + 0.9) for n in range(12)]
    long = transcript(*rows, duration=61.0)
    assert render(long, "txt", "a").splitlines() == ["w0 w1 w2 w3", "w4 w5 w6 w7", "w8 w9 w10 w11"]
    short = transcript(*rows, duration=60.0)
    assert render(short, "txt", "a") == " ".join(w for w, *_ in rows) + "\n"
    gaps = transcript(("a", 0.0, 1.0), ("b", 1.7, 2.0), ("c", 5.0, 6.0))
    assert render(gaps, "txt", "a", paragraphs=True) == "a b\n\nc\n"
    assert [[s.text for s in group] for group in paragraphs(segments(gaps))] == [["a", "b"], ["c"]]


def test_an_eaf_is_in_order_and_without_overlap():
    crowded = transcript(("a", 0.0, 0.0), ("<b>&", 0.0001, 0.0002), ("c\x00\ud800", 0.0002, 1.0))
    document = render(crowded, "eaf", "C:\\a b.wav")
    slots = {s.get("TIME_SLOT_ID"): int(s.get("TIME_VALUE", 0))
             for s in ElementTree.fromstring(document).iter("TIME_SLOT")}
    words = ElementTree.fromstring(document).findall("TIER")[1].iter("ALIGNABLE_ANNOTATION")
    times = [(slots[a.get("TIME_SLOT_REF1")], slots[a.get("TIME_SLOT_REF2")]) for a in words]
    assert times == [(0, 1), (1, 2), (2, 1_000)]
    found = read_eaf(document.encode(), "a")[0]["word"]
    assert [label for *_, label in found] == ["a", "<b>&", "c"]


def test_a_docx_has_times_and_speakers():
    docx = pytest.importorskip("docx", reason="python-docx is the extra keras-asr[docx]")
    data = render(CALL, "docx", "x/call.m4a")
    document = docx.Document(io.BytesIO(data))
    assert [p.text for p in document.paragraphs] == [
        "call.m4a", "[00:00:00] Anna: hello there", "[00:00:02] Ben: yes", "[00:00:05] Anna: good",
        "[00:00:05] Ben: no"]


def test_without_python_docx_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "docx", None)
    with pytest.raises(UsageError, match=r"pip install 'keras-asr\[docx\]'"):
        render(CALL, "docx", "a")


def test_save_writes_the_format_of_the_ending(tmp_path):
    CALL.save(tmp_path / "call.SRT")
    assert (tmp_path / "call.SRT").read_text("utf-8") == render(CALL, "srt", "call")
    CALL.save(tmp_path / "call.out", format="ctm")
    assert (tmp_path / "call.out").read_text("utf-8").startswith("call A 0.000")
    with pytest.raises(UsageError, match="No format has the ending of a.doc; use one of .txt"):
        CALL.save(tmp_path / "a.doc")
    with pytest.raises(FileExistsError):
        CALL.save(tmp_path / "call.SRT", overwrite=False)
    assert format_of("a.TextGrid") == format_of("a.textgrid") == "textgrid"


# Words as written ------------------------------------------------------------------------------


def written(text: str, normalizer: str = "basic") -> list[tuple[str, float, float]]:
    from asr.text import normalize
    words = normalize(text, normalizer).split()
    found = transcript(*((w, float(n), n + 0.5) for n, w in enumerate(words)))
    return [(w.text, w.start, w.end) for w in as_written(found, text, normalizer).words]


@pytest.mark.parametrize("text, words", [
    ("Haʼ, O'na!", [("Haʼ,", 0, 0.5), ("O'na!", 1, 1.5)]),
    ("a well-known – fact", [("a", 0, 0.5), ("well-known –", 1, 2.5), ("fact", 3, 3.5)]),
    ("„ ja“", [("„ ja“", 0, 0.5)]),
    ("שָׁלוֹם, עולם!", [("שָׁלוֹם,", 0, 0.5), ("עולם!", 1, 1.5)])])
def test_words_are_shown_as_they_are_written(text, words):
    assert written(text) == words


def test_a_normaliser_across_words_leaves_the_transcript():
    assert [w for w, *_ in written("Two hundred and five", "english")] == [
        "two", "hundred", "five"]
