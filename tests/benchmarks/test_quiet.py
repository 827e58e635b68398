"""benchmarks/quiet.py: the noise lies as far below the words as it says."""

from __future__ import annotations

import numpy as np
import pytest
from scripts import script

quiet = script("quiet")
RATE = 8_000


def test_noise_is_measured_against_the_words_and_not_the_pauses():
    rng = np.random.default_rng(1)
    word = 0.1 * np.sin(2 * np.pi * 440 * np.arange(RATE // 2) / RATE)
    clip = np.concatenate([np.zeros(3 * RATE), word, np.zeros(2 * RATE)]).astype(np.float32)
    noise = rng.standard_normal(RATE).astype(np.float32)
    for snr in (0.0, 10.0):
        ((text, noisy),) = quiet.under([("la", clip)], [noise], snr, RATE)
        added = noisy - clip
        assert text == "la"
        assert 10 * np.log10(0.005 / np.mean(added ** 2)) == pytest.approx(snr, abs=0.1)


def test_each_clip_gets_a_noise_of_its_length():
    rng = np.random.default_rng(1)
    clips = [("la", rng.standard_normal(n).astype(np.float32)) for n in (900, 20_000)]
    again = quiet.under(clips, [np.ones(4_000, np.float32), -np.ones(4_000, np.float32)], 5.0, RATE)
    assert [len(samples) for _, samples in again] == [900, 20_000]
