"""Clips of microphones that leave something out, and a run on the sample clips."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scripts import script

ROOT = Path(__file__).parents[2]
microphones = script("microphones")


def decibels(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(samples))))


@pytest.mark.parametrize("hertz,db", [(1_000, 0.0), (2_000, 0.0), (2_200, -6.0), (3_300, -40.0)])
def test_what_passes(hertz, db):
    tone = np.sin(2 * np.pi * hertz * np.arange(8_000) / 8_000).astype(np.float32)
    found = microphones.low_passed(tone, 8_000, 2_200.0)[2_000:6_000]
    gain = decibels(found) - decibels(tone[2_000:6_000])
    assert found.dtype == np.float32
    assert gain < db if db <= -40 else gain == pytest.approx(db, abs=1.0)


def test_a_hiss_is_damped_and_a_vowel_stays():
    time = np.arange(8_000) / 8_000
    vowel = np.sin(2 * np.pi * 500 * time)
    hiss = microphones.low_passed(np.random.default_rng(1).normal(size=8_000), 8_000, 3_900.0)
    hiss = hiss - microphones.low_passed(hiss, 8_000, 3_000.0)
    word = np.concatenate([hiss, vowel]).astype(np.float32)
    found = microphones.suppressed(word, 8_000, 20.0, 30.0)
    assert found.shape == word.shape and found.dtype == np.float32
    assert decibels(found[1_000:7_000]) - decibels(word[1_000:7_000]) == pytest.approx(-30, abs=0.5)
    np.testing.assert_allclose(found[9_000:15_000], word[9_000:15_000], atol=1e-4)
    np.testing.assert_allclose(microphones.suppressed(word, 8_000, 20.0, 0.0), word, atol=1e-5)


@pytest.mark.slow
def test_a_row_for_each_microphone():
    clips = ROOT / "asr/assets/clips/clips.jsonl"
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks/microphones.py"), str(clips),
                           "--edges", "3000", "--suppressors", "20:30"], capture_output=True,
                          text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["microphone"] for row in rows] == ["as it is", "low_pass 3000 Hz",
                                                   "suppressor 20:30 dB"]
    assert all(row["clips"] == 8 and row["interval"][0] <= row["wer"] <= row["interval"][1]
               for row in rows)
