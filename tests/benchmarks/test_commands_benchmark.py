"""Words as commands: who is tested, what is counted. The model has random weights."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from benchmark_scripts import script
from tiny_bundle import write_bundle

from asr.manifest import read_manifest
from asr.recipe import DecoderSettings

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
    used = read_manifest(tmp_path / f"work/1{half}/real.jsonl")
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


def test_pieces_lie_between_pauses():
    rng = np.random.default_rng(2)
    quiet, loud = (level * rng.standard_normal(8_000) for level in (1e-4, 0.1))
    found = list(commands.pieces(np.concatenate([quiet, loud, quiet, loud[:4_000], quiet]), 8_000))
    assert [round(len(piece) / 8_000, 1) for piece in found] == [1.2, 0.7]  # 0.1 s at both ends
