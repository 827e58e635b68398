"""Features: librosa's to 1e-5, with librosa and without; finite for everything; quick to start."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from functools import partial

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pace import assert_quick

from asr.errors import AudioError, UsageError
from asr.feature_kinds import FEATURE_KINDS, FeatureKind
from asr.features import LOG_FLOOR, FeatureExtractor, cmvn, kinds, log_mel, mfcc, twin
from asr.features.lengths import feature_length
from asr.recipe import FeatureSettings, recipe_from_dict

BASE = FeatureSettings()
SETTINGS = [
    BASE,
    FeatureSettings(sample_rate=8_000, n_fft=256, win_length=200, hop_length=80, n_mels=40),
    FeatureSettings(sample_rate=22_050, n_fft=1_024, win_length=551, hop_length=221, n_mels=64,
                    f_min=50.0, f_max=7_600.0, htk=True, norm="none", window="hamming"),
    FeatureSettings(sample_rate=48_000, n_fft=2_048, win_length=2_048, hop_length=512, n_mels=23),
    FeatureSettings(sample_rate=16_000, n_fft=401, win_length=399, hop_length=399, n_mels=20),
]


def librosa_mel(audio, s, power=2.0):
    """What librosa's one call gives, in double precision."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "n_fft=.* is too large for input signal")
        warnings.filterwarnings("ignore", "Empty filters detected")
        return librosa.feature.melspectrogram(
            y=np.asarray(audio, np.float64), sr=s.sample_rate, n_fft=s.n_fft,
            win_length=s.win_length, hop_length=s.hop_length, n_mels=s.n_mels, fmin=s.f_min,
            fmax=s.f_max or None, window=s.window, center=True, pad_mode="constant", power=power,
            htk=s.htk, norm=None if s.norm == "none" else s.norm).T


def noise(num_samples, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, num_samples).astype(np.float32)


def both(wanted):
    return FeatureExtractor(wanted), FeatureExtractor(wanted, quick_start=True)


# --- equal to librosa -------------------------------------------------------------------------

@pytest.mark.parametrize("quick_start", [False, True])
@pytest.mark.parametrize("wanted", SETTINGS)
@pytest.mark.parametrize("num_samples", [1, 159, 160, 161, 4_000, 90_001])
def test_log_mel_equals_librosa(wanted, num_samples, quick_start):
    audio = noise(num_samples)
    ours = FeatureExtractor(wanted, quick_start=quick_start).extract(audio)
    theirs = librosa_mel(audio, wanted)
    assert ours.dtype == np.float32
    assert len(ours) == len(theirs) == feature_length(num_samples, wanted.hop_length, wanted.n_fft)
    np.testing.assert_allclose(ours, np.log(np.maximum(theirs, 1e-10)), atol=1e-5)


@given(num_samples=st.integers(1, 3_000), hop_length=st.integers(8, 256), seed=st.integers(0, 99),
       n_fft=st.sampled_from([256, 257]), whole_hops=st.booleans())
@settings(max_examples=40, deadline=None)
def test_the_frame_formula_equals_librosa(num_samples, hop_length, seed, n_fft, whole_hops):
    num_samples = max(1, num_samples // hop_length) * hop_length if whole_hops else num_samples
    wanted = FeatureSettings(sample_rate=8_000, n_fft=n_fft, win_length=256,
                             hop_length=hop_length, n_mels=10)
    theirs = librosa_mel(noise(num_samples, seed), wanted)
    for extractor in both(wanted):
        ours = extractor.extract(noise(num_samples, seed))
        assert len(theirs) == len(ours) == feature_length(num_samples, hop_length, n_fft)
        np.testing.assert_allclose(ours, np.log(np.maximum(theirs, 1e-10)), atol=1e-5)


@st.composite
def grid(draw):
    """Settings of every kind of combination that a recipe may hold."""
    rate = draw(st.sampled_from([8_000, 16_000, 22_050, 44_100]))
    n_fft = draw(st.sampled_from([64, 255, 256, 400, 512, 1_024]))
    win_length = draw(st.integers(16, n_fft))
    f_min = draw(st.sampled_from([0.0, 20.0, 125.5]))
    return FeatureSettings(
        kind=draw(st.sampled_from(sorted(twin.TWINS))), sample_rate=rate, n_fft=n_fft,
        win_length=win_length, hop_length=draw(st.integers(8, win_length)),
        n_mels=draw(st.integers(13, 90)), f_min=f_min,
        f_max=draw(st.sampled_from([0.0, 3_400.0, rate / 2])), n_mfcc=draw(st.integers(1, 13)),
        deltas=draw(st.integers(0, 2)), htk=draw(st.booleans()),
        norm=draw(st.sampled_from(["slaney", "none"])),
        window=draw(st.sampled_from(sorted(twin.WINDOWS))),
        preemphasis=draw(st.sampled_from([0.0, 0.5, 0.97, 1.0])),
        trim_db=draw(st.sampled_from([0.0, 20.0, 60.0])))


@given(wanted=grid(), num_samples=st.integers(1, 12_000), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_the_twin_equals_librosa(wanted, num_samples, seed):
    """Speech-like: the level rises and falls, and high bands lie 60 dB below the low ones."""
    rng = np.random.default_rng(seed)
    audio = np.cumsum(rng.normal(size=num_samples)) * np.hanning(num_samples) ** 3
    audio = (audio / max(np.abs(audio).max(), 1e-9) * 0.5).astype(np.float32)
    with_librosa, without = both(wanted)
    assert with_librosa.loud_part(audio) == without.loud_part(audio)
    theirs, ours = with_librosa.extract(audio), without.extract(audio)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == np.float32
    # The level of MFCC is up to ten times as large: the root of n_mels times a logarithm.
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-6)


def test_speech_equals_librosa(shared_data):
    from asr.audio import load_audio

    for path in sorted((shared_data / "fsdd" / "recordings").glob("*.wav"))[::250]:
        audio = load_audio(path, sample_rate=16_000)
        expected = np.log(np.maximum(librosa_mel(audio, BASE), 1e-10))
        for extractor in both(BASE):
            np.testing.assert_allclose(extractor.extract(audio), expected, atol=1e-5)


@pytest.mark.parametrize("htk", [False, True])
@pytest.mark.parametrize("norm", ["slaney", "none"])
@pytest.mark.parametrize("rate, n_fft, n_mels, low, high", [
    (16_000, 512, 80, 0.0, 8_000.0), (8_000, 256, 40, 100.0, 3_800.0),
    (44_100, 2_048, 128, 0.0, 22_050.0), (16_000, 512, 1, 0.0, 900.0)])
def test_filters_equal_librosa(rate, n_fft, n_mels, low, high, norm, htk):
    theirs = kinds.mel_basis(FeatureSettings(sample_rate=rate, n_fft=n_fft, n_mels=n_mels,
                                             f_min=low, f_max=high, htk=htk, norm=norm))
    np.testing.assert_allclose(twin.mel_filters(rate, n_fft, n_mels, low, high, htk, norm),
                               theirs, rtol=1e-5, atol=2e-8)
    np.testing.assert_allclose(
        twin.mel_frequencies(n_mels, low, high, htk),
        librosa.mel_frequencies(n_mels=n_mels, fmin=low, fmax=high, htk=htk))


def test_cached_filters_cannot_be_changed():
    for filters in (twin.mel_filters(16_000, 512, 80, 0.0, 8_000.0), kinds.mel_basis(BASE)):
        with pytest.raises(ValueError, match="read-only"):
            filters[0] = 1


def test_mfcc_equals_librosa_on_the_natural_log():
    audio = noise(20_000)
    spectrum = log_mel(audio, sample_rate=16_000, n_mels=40)
    expected = librosa.feature.mfcc(S=spectrum.T, n_mfcc=13, dct_type=2, norm="ortho").T
    np.testing.assert_allclose(mfcc(audio, sample_rate=16_000, n_mels=40, n_mfcc=13), expected,
                               atol=1e-5)


def test_pcen_is_librosas():
    audio = noise(20_000)
    expected = librosa.pcen(librosa_mel(audio, BASE, power=1.0).T * 2.0 ** 31, sr=16_000,
                            hop_length=160).T
    wanted = replace(BASE, kind="pcen")
    np.testing.assert_allclose(FeatureExtractor(wanted).extract(audio), expected, rtol=1e-4)
    quiet = FeatureExtractor(wanted).extract(audio * np.float32(0.01))
    assert np.abs(quiet - expected).mean() < 0.1 * expected.mean()  # blind to the level


@pytest.mark.parametrize("num_frames_", [1, 2, 8, 9, 60])
def test_deltas_equal_librosa(num_frames_, rng):
    features = rng.standard_normal((num_frames_, 5)).astype(np.float32)
    for library in (kinds, twin):
        both = library.add_deltas(features, 2)
        np.testing.assert_array_equal(both[:, :10], library.add_deltas(features, 1))
        np.testing.assert_array_equal(both[:, :5], library.add_deltas(features, 0))
        for order in (1, 2):
            expected = librosa.feature.delta(features.T, width=9, order=order, mode="nearest").T
            np.testing.assert_allclose(both[:, 5 * order:5 * order + 5], expected, atol=1e-5)


def test_deltas_of_a_ramp_are_its_slope():
    ramp = np.arange(30, dtype=np.float32)[:, None] * 2
    for library in (kinds, twin):
        both = library.add_deltas(ramp, 2)
        np.testing.assert_allclose(both[4:-4, 1], 2, rtol=1e-6)
        np.testing.assert_allclose(both[4:-4, 2], 0, atol=1e-5)


def test_preemphasis_is_librosas_but_for_the_first_sample():
    audio = noise(500)
    expected = librosa.effects.preemphasis(audio, coef=0.97)
    for library in (kinds, twin):
        found = library.preemphasize(audio, 0.97)
        np.testing.assert_allclose(found[1:], expected[1:], atol=1e-7)
        assert found[0] == pytest.approx(0.03 * audio[0], rel=1e-4)
        assert len(library.preemphasize(audio[:1], 0.97)) == 1


def test_trimming_cuts_the_silent_ends():
    audio = np.concatenate([np.zeros(8_000), noise(16_000), np.zeros(12_000)]).astype(np.float32)
    _, (start, stop) = librosa.effects.trim(audio, top_db=40.0)
    assert 6_000 < start <= 8_000 and 24_000 <= stop < 26_000
    for extractor in both(replace(BASE, trim_db=40.0)):
        assert extractor.loud_part(audio) == (start, stop)
        plain = FeatureExtractor(BASE, quick_start=extractor._library is twin)
        np.testing.assert_array_equal(extractor.extract(audio), plain.extract(audio[start:stop]))
        assert extractor.loud_part(np.zeros(5_000, np.float32)) == (0, 5_000)


# --- another kind is one function and one line ------------------------------------------------

@pytest.fixture
def chroma(monkeypatch):
    """A kind that nobody thought of."""
    def compute(audio, settings):
        return librosa.feature.chroma_stft(y=audio, sr=settings.sample_rate, n_fft=settings.n_fft,
                                           hop_length=settings.hop_length, tuning=0.0).T

    monkeypatch.setattr(kinds, "chroma", compute, raising=False)
    monkeypatch.setitem(FEATURE_KINDS, "chroma", FeatureKind(12))


def test_another_kind_works_everywhere(chroma, tmp_path, capsys):
    import soundfile

    from asr.data.cache import build_cache
    from asr.manifest import Utterance
    from asr.network.weights import num_features

    recipe = recipe_from_dict({"features": {"kind": "chroma", "deltas": 1}})
    soundfile.write(tmp_path / "a.wav", noise(16_000), 16_000)
    cache = build_cache([Utterance("a", tmp_path / "a.wav", "", 1.0)], recipe.features,
                        tmp_path / "cache")
    assert cache.num_features == num_features(recipe.features) == 24
    for _ in range(2):
        extractor = FeatureExtractor(recipe.features, quick_start=True)
    np.testing.assert_allclose(cache.read(0), extractor.extract(noise(16_000)), atol=1e-2)
    assert capsys.readouterr().err == ("Features of the kind 'chroma' are computed by librosa: the "
                                       "start takes some seconds longer.\n")


def test_a_kind_that_is_not_registered_is_refused():
    with pytest.raises(UsageError, match="'chroma' is no kind of features; choose one of log_mel"):
        FeatureExtractor(replace(BASE, kind="chroma"))


# --- finite or a clear error ------------------------------------------------------------------

@pytest.mark.parametrize("audio", [
    np.zeros(16_000), np.zeros(1), np.full(8_000, 0.5), np.full(3, 1e-38), np.ones(1),
    np.full(500, 8.0), np.float16([0.1] * 300)], ids=str)
@pytest.mark.parametrize("quick_start", [False, True])
@pytest.mark.parametrize("wanted", [
    BASE, replace(BASE, deltas=2), FeatureSettings("mfcc", deltas=2, preemphasis=0.97),
    FeatureSettings("pcen", deltas=1), replace(BASE, trim_db=30.0)], ids=str)
def test_edges_are_finite(audio, wanted, quick_start):
    extractor = FeatureExtractor(wanted, quick_start=quick_start)
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
    for wrong in ({"deltas": 3}, {"window": "kaiser"}, {"norm": "l1"}, {"preemphasis": 1.1},
                  {"trim_db": -1.0}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            FeatureExtractor(replace(BASE, **wrong))


# --- the extractor ---------------------------------------------------------------------------

def test_every_setting_changes_the_features():
    base = FeatureSettings(kind="mfcc", deltas=1, f_max=7_000.0)
    audio = noise(8_000) * np.hanning(8_000).astype(np.float32)
    reference = FeatureExtractor(base).extract(audio)
    for name, value in {"kind": "log_mel", "sample_rate": 15_000, "n_fft": 1_024,
                        "win_length": 300, "hop_length": 200, "n_mels": 60, "f_min": 50.0,
                        "f_max": 6_000.0, "n_mfcc": 12, "deltas": 2, "htk": True, "norm": "none",
                        "window": "hamming", "preemphasis": 0.9, "trim_db": 20.0}.items():
        changed = FeatureExtractor(replace(base, **{name: value})).extract(audio)
        assert changed.shape != reference.shape or not np.allclose(changed, reference), name


def test_zero_f_max_is_half_the_rate():
    audio = noise(4_000)
    np.testing.assert_array_equal(log_mel(audio, sample_rate=16_000, f_max=0.0),
                                  log_mel(audio, sample_rate=16_000, f_max=8_000.0))


def test_mel_frequencies_are_where_the_filters_peak():
    extractor = FeatureExtractor(FeatureSettings(n_fft=16_384, win_length=16_384, n_mels=30))
    peaks = twin.mel_filters(16_000, 16_384, 30, 0.0, 8_000.0).argmax(axis=1) * 16_000 / 16_384
    np.testing.assert_allclose(extractor.mel_frequencies, peaks, atol=1)


def test_a_tone_lights_the_band_that_holds_it():
    extractor = FeatureExtractor(FeatureSettings())
    tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(16_000) / 16_000)
    band = extractor.extract(tone)[50].argmax()
    assert abs(extractor.mel_frequencies[band] - 1_000) < 40


@pytest.mark.parametrize("block", [1, 7 * 16 * 257, 1 << 24])
def test_blocks_do_not_change_features(monkeypatch, block):
    expected = FeatureExtractor(BASE).extract(noise(60_000))
    monkeypatch.setattr(twin, "_BLOCK_BYTES", block)
    monkeypatch.setattr(kinds, "BLOCK_FRAMES", 1 + block % 100)
    for extractor in both(BASE):
        np.testing.assert_allclose(extractor.extract(noise(60_000)), expected, atol=1e-5)


# --- quick ------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", sorted(twin.TWINS))
def test_a_quick_start_needs_no_librosa(kind):
    child = ("import sys, numpy as np, asr.features as f\n"
             f"wanted = f.FeatureSettings({kind!r}, deltas=2, preemphasis=0.97, trim_db=60.0)\n"
             "f.FeatureExtractor(wanted, quick_start=True).extract(np.ones(16_000, 'float32'))\n"
             "print(sorted({'librosa', 'scipy', 'numba', 'tensorflow'} & set(sys.modules)))\n"
             "f.FeatureExtractor(wanted).extract(np.ones(16_000, 'float32'))\n"
             "print('librosa' in sys.modules)")
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True"]


def test_features_are_far_faster_than_real_time():
    audio = noise(16_000 * 20)
    for extractor in both(BASE):
        assert_quick(partial(extractor.extract, audio), 20 / 300)  # measured: 3,000 and more
