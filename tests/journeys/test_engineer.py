"""An engineer: lhotse cuts to an evaluated model."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from journey_steps import commands, digits, refused, tones, travel

from asr.audio import load_audio
from asr.manifest import read_manifest
from asr.recognizer import load
from asr.scoring import score

pytestmark = pytest.mark.tf


def write_cuts(tmp_path, corpus):
    """manifests/cuts_<split>.jsonl.gz, with paths from the working directory."""
    for split, rows in corpus.items():
        name = {"valid": "dev"}.get(split, split)
        lines = []
        for row in rows:
            info = soundfile.info(row.audio)
            source = os.path.relpath(row.audio, tmp_path)
            recording = {"id": row.id, "sources": [{"type": "file", "channels": [0],
                                                    "source": source}],
                         "sampling_rate": info.samplerate, "num_samples": info.frames,
                         "duration": info.duration, "channel_ids": [0]}
            supervision = {"id": row.id, "recording_id": row.id, "start": 0.0,
                           "duration": info.duration, "channel": 0, "text": row.text,
                           "speaker": row.speaker}
            lines.append(json.dumps({"id": row.id, "start": 0, "duration": info.duration,
                                     "channel": 0, "supervisions": [supervision],
                                     "recording": recording, "type": "MonoCut"}))
        with gzip.open(tmp_path / "manifests" / f"cuts_{name}.jsonl.gz", "wt") as file:
            file.write("\n".join(lines) + "\n")


@pytest.fixture
def manifests(tmp_path, monkeypatch):
    """The working directory, with an empty folder for them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "manifests").mkdir()
    return tmp_path


def wer_in_long_noise() -> float:
    """Where 2 s of noise, 10 dB below the words, are around each recording."""
    recognizer, rng = load("runs/cuts/best.asr"), np.random.default_rng(1)
    said, read = {}, {}
    for row in read_manifest("data/cuts/test.jsonl"):
        audio = load_audio(row.audio, sample_rate=8_000)
        level = np.sqrt(np.mean(audio ** 2) / 10)
        audio = np.pad(audio, 16_000)
        noisy = audio + level * rng.standard_normal(len(audio), np.float32)
        said[row.id], read[row.id] = row.text, recognizer.transcribe(noisy).text
    return score(said, read).wer


@pytest.mark.slow
def test_the_same_with_real_people(manifests, shared_data, capsys):
    write_cuts(manifests, digits(shared_data / "fsdd"))
    lines = commands("engineer")
    lines[0] += f" --audio-root {shared_data}"
    said = travel(lines, capsys, minutes=2, epochs=None)
    wer = json.loads(Path("results/score.json").read_text("utf-8"))["wer"]
    assert wer < 0.9, "three people teach little about a fourth, but more than nothing"
    assert "10 words" in said


def test_from_lhotse_cuts_to_an_evaluated_model(manifests, capsys):
    write_cuts(manifests, tones(manifests / "manifests" / "audio"))
    lines = commands("engineer")
    refused(capsys, "asr prepare kaldi manifests data/cuts", "looks like the layout lhotse")
    said = travel(lines, capsys, epochs=10)  # in each, speech four times and sounds once
    assert json.loads(Path("results/score.json").read_text("utf-8"))["wer"] < 0.3
    assert "bidirectional LSTM" in said and "8 words" in said
    for sound in ("quiet room", "white noise", "pink noise", "hum"):  # these words are like music
        assert f"\n0 words per minute of {sound}" in said, "made sounds were in training"
    assert wer_in_long_noise() < 0.05, "a word in seconds of noise is no part of it"
    Path("broken").mkdir()
    Path("broken/cuts_train.jsonl.gz").write_bytes(b"\x1f\x8b\x08 no gzip")
    refused(capsys, "asr prepare lhotse broken data/broken", "Cannot read")
    refused(capsys, "asr init data/none -o x.toml", "data/none")
    refused(capsys, "asr evaluate runs/cuts data/cuts/test.jsonl --output-dir results",
            "exists and is kept")
    Path("damaged.asr").write_bytes(Path("runs/cuts/best.asr").read_bytes()[:-9])
    refused(capsys, "asr info damaged.asr", "damaged.asr")
