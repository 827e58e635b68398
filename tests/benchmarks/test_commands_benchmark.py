"""Words as commands: who is tested, what is counted. The model has random weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scripts import script
from tiny_bundle import write_bundle

from asr.audio import load_audio
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.recipe import DecoderSettings
from asr.tuning.refusal import Judgement

commands = script("commands")

GRAMMAR = DecoderSettings(kind="beam", beam_width=8, grammar="bad head\nfeed a cab")


@pytest.fixture
def data(tmp_path):
    """Two takes of each digit by four speakers, and 3 s of other speech and of noise."""
    folder, rng = tmp_path / "data", np.random.default_rng(1)
    for name, seconds in (("fsdd/recordings", 0.4), ("librispeech-unlabelled", 3.0),
                          ("noise-esc10/rain", 3.0)):
        (folder / name).mkdir(parents=True)
        names = ([f"{d}_{s}_{take}.wav" for d in range(10) for take in range(2)
                  for s in ("jackson", "george", "theo", "nicolas")] if name.startswith("fsdd")
                 else ["a.ogg"])
        for file in names:
            noise = 0.1 * rng.standard_normal(round(8_000 * seconds))
            soundfile.write(folder / name / file, noise, 8_000)
    return folder


@pytest.mark.parametrize("half,tested", [("a", ["george", "jackson"]), ("b", ["nicolas", "theo"])])
def test_each_half_is_tested_with_recordings_of_the_other(half, tested, data, tmp_path, capsys,
                                                          monkeypatch):
    def made(command, stdout, check):
        assert stdout is sys.stderr and check  # stdout is for JSON
        write_bundle(Path(command[5]), decoder=GRAMMAR)
    monkeypatch.setattr(commands.subprocess, "run", made)
    monkeypatch.setattr(sys, "argv", ["commands.py", "digits.txt", "--data", str(data), "--work",
                                      str(tmp_path / "work"), "--recordings", "1", "--half", half])
    commands.main()
    found = json.loads(capsys.readouterr().out)
    assert found["recordings_a_word"] == 1 and found["tested"] == tested
    assert list(found["speakers"]) == tested
    used = read_manifest(tmp_path / f"work/1{half}-1/real.jsonl")
    assert len(used) == 10 == len({row.text for row in used})  # a take a word of all others
    assert not any(row.id.split("_")[1] in tested for row in used)


def test_false_accepts_are_counted_by_the_hour(data, tmp_path, capsys, monkeypatch):
    bundle = write_bundle(tmp_path / "g.asr", decoder=GRAMMAR)
    plot = tmp_path / "det.svg"
    monkeypatch.setattr(sys, "argv", ["commands.py", str(bundle), "--data", str(data), "--plot",
                                      str(plot)])
    commands.main()
    found = json.loads(capsys.readouterr().out)
    assert set(found["speakers"]) == {"jackson", "george", "theo", "nicolas"}
    for row in found["speakers"].values():  # random weights read no digit
        assert row["right_percent"] == row["right_without_refusing"] == 0.0
    assert set(found["others"]) == {"librispeech", "noise"}
    noise = found["others"]["noise"]
    assert noise["per_hour"] == pytest.approx(noise["accepted"] * 1_200, rel=0.01)  # of 3 s
    assert "<svg" in plot.read_text(encoding="utf-8")


def test_a_limit_lets_so_many_pieces_an_hour_through():
    right = np.array([True, True, False, True])
    spoken = Judgement("max_doubt", np.array([0.1, 0.5, 0.2, 0.9]), np.ones(4, bool), right,
                       np.ones(4))
    other = Judgement("max_doubt", np.array([0.3, 0.6, 0.7, 2.0]), np.zeros(4, bool),
                      np.zeros(4, bool), np.full(4, 900.0))  # an hour
    assert commands.right_at([spoken], [other]) == {"1": 50.0, "2": 50.0, "5": 75.0, "10": 75.0}
    twice = commands.right_at([spoken, spoken], [other, other])  # 2 hours: the same rates
    assert twice == {"1": 50.0, "2": 50.0, "5": 75.0, "10": 75.0}
    assert commands.right_at([], [other]) == commands.right_at([spoken], []) == {}


def test_clips_in_noise_are_as_long_as_in_quiet(data):
    (data / "noise-esc10/rain/a.ogg").rename(data / "noise-esc10/rain/5-a.ogg")
    tone = 0.1 * np.sin(np.arange(4_000))
    quiet = commands.in_quiet([(tone, "one")], 8_000)
    ((noisy, word),) = commands.in_noise([(tone, "one")], 8_000, data, 10.0)
    ((still, _),) = quiet
    assert word == "one" and noisy.shape == still.shape == (4_000 + 17_600,)
    assert 10 * np.log10(np.mean(tone ** 2) / np.mean((noisy - still) ** 2)) == pytest.approx(
        10.0, abs=0.2)


def test_speech_that_the_model_has_learnt_from_is_left_out(data, tmp_path, capsys, monkeypatch):
    bundle = write_bundle(tmp_path / "g.asr", decoder=GRAMMAR)
    learnt = data / "librispeech-unlabelled/a.ogg"
    (data / "librispeech-unlabelled/b.ogg").write_bytes(learnt.read_bytes())
    write_manifest(tmp_path / "train.jsonl", [Utterance("a", learnt, "x", 3.0)])
    monkeypatch.setattr(sys, "argv", ["commands.py", str(bundle), "--data", str(data), "--without",
                                      str(tmp_path / "train.jsonl")])
    recorded = []
    monkeypatch.setattr(commands, "load_audio", lambda path, **settings: (
        recorded.append(path), load_audio(path, **settings))[1])
    commands.main()
    found = json.loads(capsys.readouterr().out)
    assert {path.name for path in recorded if "librispeech" in str(path)} == {"b.ogg"}
    assert {"dev", "test"} == set(found["right_percent_at"])
    assert {"max_gap", "max_doubt"} == set(found["right_percent_at"]["test"])


def test_pieces_lie_between_pauses():
    rng = np.random.default_rng(2)
    quiet, loud = (level * rng.standard_normal(8_000) for level in (1e-4, 0.1))
    found = list(commands.pieces(np.concatenate([quiet, loud, quiet, loud[:4_000], quiet]), 8_000))
    assert [round(len(piece) / 8_000, 1) for piece in found] == [1.2, 0.7]  # 0.1 s at both ends
