"""Features: equal to librosa, finite for everything, quick from the first call on."""

from __future__ import annotations

import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import features as module
from asr.errors import AudioError, UsageError
from asr.features import (
    LOG_FLOOR,
    FeatureExtractor,
    add_deltas,
    cmvn,
    log_mel,
    mel_filters,
    mel_frequencies,
    mfcc,
)
from asr.features.lengths import feature_length
from asr.recipe import FeatureSettings

librosa = pytest.importorskip("librosa")

SETTINGS = [
    {"sample_rate": 16_000},
    {"sample_rate": 8_000, "n_fft": 256, "win_length": 200, "hop_length": 80, "n_mels": 40},
    {"sample_rate": 22_050, "n_fft": 1_024, "win_length": 551, "hop_length": 221, "n_mels": 64,
     "f_min": 50.0, "f_max": 7_600.0},
    {"sample_rate": 48_000, "n_fft": 2_048, "win_length": 2_048, "hop_length": 512, "n_mels": 23},
    {"sample_rate": 16_000, "n_fft": 401, "win_length": 399, "hop_length": 399, "n_mels": 20},
]


def librosa_mel(audio, *, sample_rate, n_fft=512, win_length=400, hop_length=160, n_mels=80,
                f_min=0.0, f_max=None):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_fft=.* is too large for input signal")
        return librosa.feature.melspectrogram(
            y=audio, sr=sample_rate, n_fft=n_fft, win_length=win_length, hop_length=hop_length,
            n_mels=n_mels, fmin=f_min, fmax=f_max, window="hann", center=True,
            pad_mode="constant", power=2.0).T


def noise(num_samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples).astype(np.float32)


# --- equal to librosa -------------------------------------------------------------------------

@pytest.mark.parametrize("arguments", SETTINGS)
@pytest.mark.parametrize("num_samples", [1, 159, 160, 161, 4_000, 90_001])
def test_log_mel_equals_librosa(arguments, num_samples):
    audio = noise(num_samples)
    ours = log_mel(audio, **arguments)
    theirs = librosa_mel(audio, **arguments)
    assert ours.dtype == np.float32
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(np.exp(ours), np.maximum(theirs, 1e-10), rtol=2e-5)


@given(num_samples=st.integers(1, 3_000), hop_length=st.integers(8, 256), seed=st.integers(0, 99),
       n_fft=st.sampled_from([256, 257]), whole_hops=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_frame_formula_equals_librosa(num_samples, hop_length, seed, n_fft, whole_hops):
    num_samples = max(1, num_samples // hop_length) * hop_length if whole_hops else num_samples
    arguments = {"sample_rate": 8_000, "n_fft": n_fft, "win_length": 256,
                 "hop_length": hop_length, "n_mels": 10}
    theirs = librosa_mel(noise(num_samples, seed), **arguments)
    ours = log_mel(noise(num_samples, seed), **arguments)
    assert len(theirs) == len(ours) == feature_length(num_samples, hop_length, n_fft)
    np.testing.assert_allclose(np.exp(ours), np.maximum(theirs, 1e-10), rtol=2e-5)


def test_speech_equals_librosa(shared_data):
    from asr.audio import load_audio

    for path in sorted((shared_data / "fsdd" / "recordings").glob("*.wav"))[::250]:
        audio = load_audio(path, sample_rate=16_000)
        expected = np.log(np.maximum(librosa_mel(audio, sample_rate=16_000), 1e-10))
        np.testing.assert_allclose(log_mel(audio, sample_rate=16_000), expected, atol=1e-3)


@pytest.mark.parametrize("rate, n_fft, n_mels, low, high", [
    (16_000, 512, 80, 0.0, 8_000.0), (8_000, 256, 40, 100.0, 3_800.0),
    (44_100, 2_048, 128, 0.0, 22_050.0), (16_000, 512, 1, 0.0, 900.0)])
def test_filters_equal_librosa(rate, n_fft, n_mels, low, high):
    np.testing.assert_allclose(
        mel_filters(rate, n_fft, n_mels, low, high),
        librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=n_mels, fmin=low, fmax=high),
        rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(mel_frequencies(n_mels, low, high),
                               librosa.mel_frequencies(n_mels=n_mels, fmin=low, fmax=high))


def test_cached_filters_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        mel_filters(16_000, 512, 80, 0.0, 8_000.0)[0] = 1


def test_mfcc_equals_librosa_on_the_natural_log():
    audio = noise(20_000)
    spectrum = log_mel(audio, sample_rate=16_000, n_mels=40)
    expected = librosa.feature.mfcc(S=spectrum.T, n_mfcc=13, dct_type=2, norm="ortho").T
    ours = mfcc(audio, sample_rate=16_000, n_mels=40, n_mfcc=13)
    np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("num_frames_", [1, 2, 8, 9, 60])
def test_deltas_equal_librosa(num_frames_, rng):
    features = rng.standard_normal((num_frames_, 5)).astype(np.float32)
    both = add_deltas(features, 2)
    np.testing.assert_array_equal(both[:, :10], add_deltas(features, 1))
    np.testing.assert_array_equal(both[:, :5], add_deltas(features, 0))
    for order in (1, 2):
        expected = librosa.feature.delta(features.T, width=9, order=order, mode="nearest").T
        np.testing.assert_allclose(both[:, 5 * order:5 * order + 5], expected, atol=1e-5)


def test_deltas_of_a_ramp_are_its_slope():
    ramp = np.arange(30, dtype=np.float32)[:, None] * 2
    both = add_deltas(ramp, 2)
    np.testing.assert_allclose(both[4:-4, 1], 2, rtol=1e-6)
    np.testing.assert_allclose(both[4:-4, 2], 0, atol=1e-5)


# --- finite or a clear error ------------------------------------------------------------------

@pytest.mark.parametrize("audio", [
    np.zeros(16_000), np.zeros(1), np.full(8_000, 0.5), np.full(3, 1e-38), np.ones(1),
    np.full(500, 8.0), np.float16([0.1] * 300)], ids=str)
@pytest.mark.parametrize("kind, deltas", [("log_mel", 0), ("log_mel", 2), ("mfcc", 2)])
def test_edges_are_finite(audio, kind, deltas):
    extractor = FeatureExtractor(FeatureSettings(kind=kind, deltas=deltas))
    features = extractor.extract(audio.astype(np.float32))
    assert features.shape == (extractor.num_frames(len(audio)), extractor.num_features)
    assert np.isfinite(features).all() and np.isfinite(cmvn(features)).all()
    assert features.dtype == cmvn(features).dtype == np.float32


def test_silence_is_the_floor_and_normalises_to_zero():
    features = log_mel(np.zeros(1_600, np.float32), sample_rate=16_000)
    np.testing.assert_allclose(features, LOG_FLOOR, rtol=1e-6)
    np.testing.assert_array_equal(cmvn(features), 0)


@pytest.mark.parametrize("audio, code", [
    (np.zeros(0, np.float32), "audio.shape"), (np.zeros((5, 2), np.float32), "audio.shape"),
    (np.float32(1), "audio.shape"), (np.zeros(9, np.int16), "audio.dtype"),
    (np.float32([0, np.nan]), "audio.nonfinite"), (np.float32([0, np.inf]), "audio.nonfinite"),
    (np.float32([0, 1e30]), "audio.range"), (np.float32([0, -9]), "audio.range")])
def test_what_is_no_audio(audio, code):
    with pytest.raises(AudioError, match="Audio must") as caught:
        log_mel(audio, sample_rate=16_000)
    assert caught.value.code == code


@pytest.mark.parametrize("arguments, message", [
    ({"hop_length": 0}, "ascending"), ({"win_length": 600}, "ascending"),
    ({"hop_length": 401}, "ascending"), ({"n_mels": 0}, "cannot be"),
    ({"f_max": 8_001.0}, "half of sample_rate"), ({"f_min": 900.0, "f_max": 800.0}, "cannot be")])
def test_settings_that_cannot_be(arguments, message):
    with pytest.raises(UsageError, match=message):
        log_mel(noise(100), sample_rate=16_000, **arguments)


def test_other_arguments_that_cannot_be():
    with pytest.raises(UsageError, match="n_mfcc"):
        mfcc(noise(100), sample_rate=16_000, n_mels=12, n_mfcc=13)
    with pytest.raises(UsageError, match="n_mfcc"):
        FeatureExtractor(FeatureSettings(kind="mfcc", n_mels=12))
    with pytest.raises(UsageError, match="win_length"):
        FeatureExtractor(FeatureSettings(win_length=513))
    with pytest.raises(UsageError, match="deltas"):
        add_deltas(np.zeros((3, 2), np.float32), 3)


# --- the extractor ---------------------------------------------------------------------------

def test_every_setting_changes_the_features():
    base = FeatureSettings(kind="mfcc", deltas=1, f_max=7_000.0)
    audio = noise(8_000)
    reference = FeatureExtractor(base).extract(audio)
    for name, value in {"kind": "log_mel", "sample_rate": 15_000, "n_fft": 1_024,
                        "win_length": 300, "hop_length": 200, "n_mels": 60, "f_min": 50.0,
                        "f_max": 6_000.0, "n_mfcc": 12, "deltas": 2}.items():
        changed = FeatureExtractor(type(base)(**{**vars(base), name: value})).extract(audio)
        assert changed.shape != reference.shape or not np.allclose(changed, reference), name


def test_zero_f_max_is_half_the_rate():
    audio = noise(4_000)
    np.testing.assert_array_equal(log_mel(audio, sample_rate=16_000, f_max=0.0),
                                  log_mel(audio, sample_rate=16_000, f_max=8_000.0))


def test_mel_frequencies_are_where_the_filters_peak():
    extractor = FeatureExtractor(FeatureSettings(n_fft=16_384, win_length=16_384, n_mels=30))
    peaks = mel_filters(16_000, 16_384, 30, 0.0, 8_000.0).argmax(axis=1) * 16_000 / 16_384
    np.testing.assert_allclose(extractor.mel_frequencies, peaks, atol=1)


def test_a_tone_lights_the_band_that_holds_it():
    extractor = FeatureExtractor(FeatureSettings())
    tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000)
    band = extractor.extract(tone)[50].argmax()
    assert abs(extractor.mel_frequencies[band] - 1_000) < 40


@pytest.mark.parametrize("block", [1, 7 * 16 * 257, 1 << 24])
def test_blocks_do_not_change_features(monkeypatch, block):
    expected = log_mel(noise(30_000), sample_rate=16_000)
    monkeypatch.setattr(module, "_BLOCK_BYTES", block)
    np.testing.assert_allclose(log_mel(noise(30_000), sample_rate=16_000), expected, atol=1e-5)


# --- quick ------------------------------------------------------------------------------------

def test_import_and_first_call_need_neither_librosa_nor_scipy():
    child = ("import sys, numpy as np, asr.features as f\n"
             "f.log_mel(np.zeros(16_000, 'float32'), sample_rate=16_000)\n"
             "print(sorted({'librosa', 'scipy', 'numba', 'tensorflow'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_features_are_far_faster_than_real_time():
    audio = noise(16_000 * 20)
    best = min(_seconds(log_mel, audio) for _ in range(5))
    assert 20 / best > 300  # measured: 4,000 and more; this machine may be busy


def _seconds(function, audio) -> float:
    start = time.process_time()
    function(audio, sample_rate=16_000)
    return max(time.process_time() - start, 1e-9)
