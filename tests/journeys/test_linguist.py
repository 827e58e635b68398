"""A linguist: stereo MP3 and TextGrids of a language that is not ASCII, to an aligned corpus."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest
import soundfile
from journey_steps import WORDS, commands, digits, joined, refused, tones, travel
from textgrid_reader import read_textgrid

from asr.manifest import read_manifest
from asr.transcript.praat import textgrid

pytestmark = pytest.mark.tf


def record(tmp_path, corpus):
    """recordings/<speaker>/session.mp3 with a TextGrid, in words with odd letters."""
    by_speaker = defaultdict(list)
    for rows in corpus.values():
        for row in rows:
            by_speaker[row.speaker].append(row)
    for who, rows in by_speaker.items():
        folder = tmp_path / "recordings" / who
        folder.mkdir(parents=True)
        audio, labels = joined(rows)
        noise = 0.01 * np.random.default_rng(2).normal(size=len(audio))
        soundfile.write(folder / "session.mp3", np.stack([audio, noise], axis=1), 8_000)
        said = [(start, end, " ".join(WORDS[word] for word in text.split()).capitalize() + ".")
                for start, end, text in labels]
        notes = {"note": [(0.0, 0.2, "door")], "utterance": said}
        (folder / "session.TextGrid").write_text(textgrid(notes, len(audio) / 8_000), "utf-8")


@pytest.fixture
def village(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_the_same_with_real_people(village, shared_data, capsys):
    record(village, digits(shared_data / "fsdd"))
    lines = commands("linguist")
    said = travel(lines, capsys, minutes=3, epochs=None)
    rows = read_manifest("data/village/train.jsonl")
    assert {row.speaker for row in rows}.isdisjoint(
        row.speaker for row in read_manifest("data/village/test.jsonl"))
    tiers = read_textgrid((village / "aligned" / f"{rows[0].id.replace('/', '_')}.TextGrid")
                          .read_text("utf-8"))
    assert [label for *_, label in tiers["words"] if label] == rows[0].text.split()
    wer = float(said.split("\nWER ")[1].split(" %")[0])
    assert wer < 90, "three people teach little about a fourth, but more than nothing: " + said


def test_from_a_folder_to_an_aligned_corpus_and_a_report(village, capsys):
    record(village, tones(village / "tones"))
    lines = commands("linguist")
    refused(capsys, "asr prepare elan recordings data/village", "looks like the layout textgrid")
    refused(capsys, lines[0].replace("--tier utterance", "--tier nobody"), "No file has a tier")
    said = travel(lines, capsys)
    assert "text.normalizer" in said and "Next: asr train" in said
    rows = read_manifest("data/village/train.jsonl")
    for row in rows[::40]:
        tiers = read_textgrid((village / "aligned" / f"{row.id.replace('/', '_')}.TextGrid")
                              .read_text("utf-8"))
        assert [label for *_, label in tiers["words"] if label] == row.text.split(), "as written"
    assert "village.html" in said and (village / "village.html").stat().st_size > 10_000
    assert json.loads((village / "village.receipt.json").read_text("utf-8"))["wer"] is not None
    wer = float(said.split("\nWER ")[1].split(" %")[0])
    assert wer < 60, said
    refused(capsys, lines[0], "exists and was left as it is")
    refused(capsys, lines[2], "exists and is kept")
    refused(capsys, "asr train nowhere.toml runs/x", "Cannot read the recipe")
    refused(capsys, "asr align runs/nothing --manifest data/village/train.jsonl", "runs/nothing")
    refused(capsys, "asr evaluate runs/village data/village/none.jsonl", "none.jsonl")
