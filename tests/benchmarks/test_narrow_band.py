"""Clips without high frequencies, and a run on the sample clips."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))  # as it is when a script of that folder runs
narrow = pytest.importorskip("narrow_band")
sys.path.remove(str(ROOT / "benchmarks"))


@pytest.mark.parametrize("hertz,db", [(1_000, 0.0), (2_000, 0.0), (2_200, -6.0), (3_300, -40.0)])
def test_what_passes(hertz, db):
    tone = np.sin(2 * np.pi * hertz * np.arange(8_000) / 8_000).astype(np.float32)
    found = narrow.low_passed(tone, 8_000, 2_200.0)[2_000:6_000]
    gain = 10 * np.log10(np.mean(np.square(found)) / np.mean(np.square(tone[2_000:6_000])))
    assert found.dtype == np.float32
    assert gain < db if db <= -40 else gain == pytest.approx(db, abs=1.0)


def test_without_an_edge_nothing_changes():
    audio = np.random.default_rng(1).normal(size=100).astype(np.float32)
    assert narrow.low_passed(audio, 8_000, 0.0) is audio


@pytest.mark.slow
def test_a_row_for_each_edge():
    clips = ROOT / "asr/assets/clips/clips.jsonl"
    done = subprocess.run([sys.executable, str(ROOT / "benchmarks/narrow_band.py"), str(clips),
                           "--edges", "3000"], capture_output=True, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["edge"] for row in rows] == [None, 3_000.0]
    assert all(row["clips"] == 8 and row["interval"][0] <= row["wer"] <= row["interval"][1]
               for row in rows)
