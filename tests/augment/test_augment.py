"""Speed, joining, noise banks (NumPy), and the graph part: identity, seeds, decibels, silence."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.augment import (
    NoiseBank,
    audible_frames,
    change_speed,
    join_clips,
    load_noise_bank,
)
from asr.errors import DataError, InputWarning, UsageError
from asr.features import LOG_FLOOR, FeatureExtractor, cmvn, normalize_features
from asr.features.warping import warp_matrices, warped_positions
from asr.recipe import AugmentSettings, FeatureSettings

NUM_FEATURES = 40
FEATURES = FeatureSettings(n_mels=NUM_FEATURES)
MEL = np.geomspace(60, 7_800, NUM_FEATURES)
EVERYTHING = AugmentSettings(
    freq_masks=2, freq_mask_width=8, time_masks=2, time_mask_width=10, noise_dir="given",
    noise_probability=1.0, warp=0.1, gain_db=6.0, tilt_db=6.0, curve_db=3.0,
    reverb_probability=1.0, band_limit_probability=1.0, unvoiced_probability=1.0)


@pytest.fixture
def speech(rng):
    """(T, F) log power with a loud middle and quiet ends."""
    loudness = np.interp(np.arange(90), [0, 20, 70, 89], [-16, -4, -4, -16])[:, np.newaxis]
    return (loudness + rng.normal(0, 1.5, (90, NUM_FEATURES))).astype(np.float32)


@pytest.fixture
def bank(rng):
    lengths = np.array([7, 300, 31], np.int32)
    return NoiseBank(rng.normal(-8, 1, (lengths.sum(), NUM_FEATURES)).astype(np.float32), lengths)


# NumPy: speed, joining, the bank


@pytest.mark.parametrize("factor", [0.9, 1.1, 1.5])
def test_speed_changes_length_and_pitch_together(factor):
    rate, pitch = 16_000, 440.0
    tone = np.sin(2 * np.pi * pitch * np.arange(rate) / rate).astype(np.float32)
    changed = change_speed(tone, factor)
    assert changed.dtype == np.float32
    assert abs(len(changed) - rate / factor) <= 1
    spectrum = np.abs(np.fft.rfft(changed * np.hanning(len(changed))))
    assert np.argmax(spectrum) * rate / len(changed) == pytest.approx(pitch * factor, rel=0.01)


def test_speed_one_is_the_same_array_and_nonsense_is_refused():
    audio = np.ones(10, np.float32)
    assert change_speed(audio, 1.0) is audio
    with pytest.raises(UsageError, match="between 0.5 and 2, got 3"):
        change_speed(audio, 3.0)


def test_joining_keeps_the_clips_and_fills_gaps_with_background(rng):
    clips = [rng.normal(-5, 1, (50, 4)).astype(np.float32),
             rng.normal(-9, 1, (20, 4)).astype(np.float32)]
    joined = join_clips(clips, (10, 300, 5), np.random.default_rng(3))
    assert joined.shape == (10 + 50 + 300 + 20 + 5, 4) and joined.dtype == np.float32
    np.testing.assert_array_equal(joined[12:58], clips[0][2:-2])
    np.testing.assert_array_equal(joined[362:378], clips[1][2:-2])
    quiet = [np.percentile(clip, 10, axis=0) for clip in clips]
    np.testing.assert_allclose(joined[60:90].mean(0), quiet[0], atol=0.7)
    np.testing.assert_allclose(joined[330:360].mean(0), quiet[1], atol=0.9)
    assert joined[60:360].std(axis=0).min() > 0.3, "a gap must not be digital silence"
    assert (joined >= np.minimum(clips[0].min(0), clips[1].min(0))).all()
    np.testing.assert_array_equal(join_clips(clips, (10, 300, 5), np.random.default_rng(3)), joined)


def test_digital_silence_in_a_clip_is_not_its_background(rng):
    """67 of 514 field recordings have 50 ms of zeros; gaps must sound like the room."""
    clip = rng.normal(-9, 1, (50, 4)).astype(np.float32)
    zeros = np.full((20, 4), LOG_FLOOR, np.float32)
    gap = slice(0, 30)
    for clips in ([clip], [np.concatenate([clip, zeros])]):
        joined = join_clips(clips, (30, 0), np.random.default_rng(3))
        np.testing.assert_allclose(joined[gap].mean(), np.percentile(clip, 10), atol=0.5)
        assert joined[gap].min() >= clip.min()
    assert (join_clips([zeros], (5, 0), rng) == np.float32(LOG_FLOOR)).all()


def test_a_band_that_is_empty_in_the_clips_is_empty_in_the_gaps(rng):
    clip = rng.normal(-5, 1, (50, 4)).astype(np.float32)
    clip[:, 2:] = LOG_FLOOR
    joined = join_clips([clip, clip], (20, 20, 20), rng)
    np.testing.assert_array_equal(joined[:, 2:], np.float32(LOG_FLOOR))
    assert join_clips([clip[:1]], (2, 2), rng).shape == (5, 4)


def test_no_click_where_clips_meet(rng):
    clip = rng.normal(-9, 1, (30, 4)).astype(np.float32)
    clip[[0, -1]] = 3.0
    clip[1, 2] = -20.0
    capped = np.minimum(clip, clip[2:-2].max(axis=0))
    before = clip.copy()
    joined = join_clips([clip, clip], (0, 0, 7), rng)
    np.testing.assert_array_equal(joined[0], clip[0], "the outer edge stays as it is")
    np.testing.assert_array_equal(joined[1:60], np.concatenate([capped, capped])[1:])
    np.testing.assert_array_equal(clip, before, "the cache must not change")


def test_joined_clips_differ_in_level_and_their_gaps_are_as_quiet_as_a_room(rng):
    clips = [rng.normal(-5, 1, (50, 4)).astype(np.float32)] * 2
    clips[1][:, 3] = LOG_FLOOR
    plain, levels, levels_after = [], [], []
    for seed in range(40):
        joined = join_clips(clips, (0, 200, 0), np.random.default_rng(seed), gain_db=10,
                            quiet_db=30)
        assert joined.dtype == np.float32 and joined.min() >= np.float32(LOG_FLOOR)
        assert (joined[:, 3] == np.float32(LOG_FLOOR)).all()
        levels += [(joined[10:40] - clips[0][10:40])[:, :3].mean(),
                   (joined[260:290] - clips[0][10:40])[:, :3].mean()]
        levels_after.append(joined[50:250, :3].mean())
        plain.append(join_clips(clips, (0, 200, 0), np.random.default_rng(seed))[50:250, :3].mean())
    assert max(np.abs(levels)) < 10 * 0.2303 and np.std(levels) > 0.8
    assert max(levels_after) < max(plain) + 10 * 0.2303 and min(levels_after) < min(plain) - 4


def test_one_clip_without_gaps_is_itself(rng):
    clip = rng.normal(size=(5, 3)).astype(np.float32)
    assert join_clips([clip], (0, 0), rng) is clip
    assert join_clips([clip], (0, 0), rng, gain_db=9, quiet_db=9) is clip
    assert join_clips([clip[:2], clip], (0, 0, 0), rng).shape == (7, 3)
    with pytest.raises(UsageError, match="2 clips need 3 gaps"):
        join_clips([clip, clip], (0, 0), rng)
    with pytest.raises(UsageError, match="at least one clip"):
        join_clips([], (0,), rng)


def test_silent_frames_of_a_noise_recording_are_left_out():
    frames = np.full((10, 3), -20.0, np.float32)
    frames[4:7] = -3.0
    np.testing.assert_array_equal(audible_frames(frames), frames[4:7])
    assert len(audible_frames(np.full((4, 3), LOG_FLOOR, np.float32))) == 4


def test_noise_bank_is_read_once_and_again_when_something_changed(tmp_path, rng):
    folder = tmp_path / "noise" / "rain"
    folder.mkdir(parents=True)
    for name in ("a.wav", "b.flac"):
        soundfile.write(folder / name, rng.uniform(-0.1, 0.1, 8_000), 16_000)
    (folder / "licence.txt").write_text("CC0")
    extractor = FeatureExtractor(FEATURES)
    cache = tmp_path / "cache"
    first = load_noise_bank(tmp_path / "noise", extractor, cache_dir=cache)
    assert first.lengths.tolist() == [51, 51] and first.frames.shape == (102, NUM_FEATURES)
    (stored,) = cache.glob("noise-*.npz")  # hashes.json comes some seconds later
    stamp = stored.stat().st_mtime_ns
    again = load_noise_bank(tmp_path / "noise", extractor, cache_dir=cache)
    np.testing.assert_array_equal(again.frames, first.frames)
    assert stored.stat().st_mtime_ns == stamp
    load_noise_bank(tmp_path / "noise", FeatureExtractor(replace(FEATURES, f_max=4_000.0)),
                    cache_dir=cache)
    assert len(list(cache.glob("noise-*.npz"))) == 2


def test_noise_folder_without_audio_or_with_broken_audio(tmp_path):
    extractor = FeatureExtractor(FEATURES)
    with pytest.raises(DataError, match="holds no audio"):
        load_noise_bank(tmp_path, extractor)
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match=r"1 of 1 noise recording cannot be used.*\n.*x\.wav"):
        load_noise_bank(tmp_path, extractor)


def test_a_cut_noise_is_used_only_where_allowed(tmp_path, rng):
    path, cache = tmp_path / "noise" / "rain.wav", tmp_path / "cache"
    path.parent.mkdir()
    soundfile.write(path, rng.uniform(-0.1, 0.1, 8_000), 16_000)
    path.write_bytes(path.read_bytes()[:-2 * 1_600])  # 6,400 samples are left
    extractor = FeatureExtractor(FEATURES)
    with pytest.warns(InputWarning, match=r"rain\.wav"):
        bank = load_noise_bank(path.parent, extractor, cache_dir=cache, allow_truncated=True)
    assert bank.lengths.tolist() == [41]
    with pytest.raises(DataError, match=r"rain\.wav"):  # though there is a bank of it
        load_noise_bank(path.parent, extractor, cache_dir=cache)


def test_warped_positions():
    places = warped_positions(MEL, np.array([0.8, 1.0, 1.2]))
    np.testing.assert_allclose(places[1], np.arange(NUM_FEATURES), atol=1e-4)
    assert (np.diff(places, axis=1) >= 0).all(), "the order of bins stays"
    np.testing.assert_allclose(places[:, -1], NUM_FEATURES - 1)
    middle = NUM_FEATURES // 2
    frequency = np.interp(places[:, middle], np.arange(NUM_FEATURES), MEL)
    np.testing.assert_allclose(frequency / MEL[middle], [0.8, 1.0, 1.2], rtol=0.01)


def test_the_numpy_part_does_not_import_tensorflow():
    code = "import asr.augment, asr.data.batches, sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


# The graph


@pytest.fixture(scope="module")
def graph():
    import asr.augment.graph

    return asr.augment.graph


@pytest.fixture(scope="module")
def tf():
    import tensorflow

    return tensorflow


def apply(augmenter, frames, num_frames=None, seed=1):
    wanted = len(frames) if num_frames is None else num_frames
    return np.asarray(augmenter(frames, wanted, seed))


@pytest.mark.tf
@pytest.mark.parametrize("kind", ["none", "utterance", "global"])
@pytest.mark.parametrize("length", [1, 2, 90])
def test_zero_strength_is_cmvn_alone(graph, speech, kind, length):
    mean, std = speech.mean(0) + 0.1, speech.std(0) * 1.1
    augmenter = graph.FeatureAugmenter(AugmentSettings(), replace(FEATURES, cmvn=kind),
                                       mean=mean, std=std)
    x = speech[:length]
    expected = {"none": x, "utterance": cmvn(x), "global": cmvn(x, mean, std)}[kind]
    np.testing.assert_allclose(apply(augmenter, x), expected, atol=1e-5)
    assert not augmenter.changes_features


@pytest.mark.tf
@pytest.mark.parametrize("kind", ["utterance", "map"])
def test_pauses_count_as_in_numpy(graph, speech, kind):
    settings = replace(FEATURES, cmvn=kind, cmvn_prior=50, cmvn_range_db=30.0)
    x = np.concatenate([speech, speech[:40] - 5.0, np.full_like(speech, LOG_FLOOR + 1)])
    statistics = (speech.mean(0) - speech.mean(), speech.std(0)) if kind == "map" else None
    augmenter = graph.FeatureAugmenter(AugmentSettings(), settings,
                                       **dict(zip(("mean", "std"), statistics or (), strict=False)))
    np.testing.assert_allclose(apply(augmenter, x), normalize_features(x, settings, statistics),
                               atol=1e-4)


@pytest.mark.tf
def test_cmvn_of_silence_and_of_large_offsets(graph):
    rng = np.random.default_rng(1)
    for x in (np.full((30, 4), LOG_FLOOR, np.float32),
              (rng.normal(0, 1e-3, (30, 4)) + 20).astype(np.float32),
              (rng.normal(0, 5, (3_000, 4)) - 20).astype(np.float32)):
        ours = graph.normalize(x).numpy()
        assert np.isfinite(ours).all()
        np.testing.assert_allclose(ours, cmvn(x), atol=1e-5)


@pytest.mark.tf
def test_every_single_effect_at_zero_is_the_identity(graph, speech):
    np.testing.assert_array_equal(graph.stretch_time(speech, len(speech)), speech)
    np.testing.assert_array_equal(graph.tilt(speech, 0.0), speech)
    np.testing.assert_array_equal(graph.mask_spectrum(speech, [1, 1], AugmentSettings()), speech)
    matrix = warp_matrices(MEL, np.array([1.0]))[0]
    np.testing.assert_allclose(speech @ matrix, speech, atol=1e-3)
    np.testing.assert_array_equal(graph.limit_band(speech, NUM_FEATURES - 1.0, 0.5), speech)
    np.testing.assert_array_equal(graph.damp_unvoiced(speech, 20, 10.0, 0.0), speech)
    np.testing.assert_array_equal(graph.damp_unvoiced(speech, 20, 60.0, 40.0), speech)
    faint = graph.mix_noise(speech, np.full_like(speech, -8.0), 200.0)
    np.testing.assert_allclose(faint, speech, atol=1e-5)


@pytest.mark.tf
@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3, 2.0])
def test_stretching_a_line_gives_a_line(graph, factor):
    line = np.linspace(0, 1, 50, dtype=np.float32)[:, np.newaxis] * [[1.0, -3.0]]
    wanted = round(50 * factor)
    expected = np.linspace(0, 1, wanted)[:, np.newaxis] * [[1.0, -3.0]]
    np.testing.assert_allclose(graph.stretch_time(line.astype(np.float32), wanted), expected,
                               atol=1e-5)


@pytest.mark.tf
@pytest.mark.parametrize(("length", "wanted"), [(1, 1), (1, 5), (5, 1), (2, 3)])
def test_stretching_very_short_clips(graph, length, wanted):
    x = np.arange(length * 2, dtype=np.float32).reshape(length, 2)
    y = np.asarray(graph.stretch_time(x, wanted))
    assert y.shape == (wanted, 2) and np.isfinite(y).all()
    np.testing.assert_array_equal(y[0], x[0])


@pytest.mark.tf
def test_warping_moves_a_peak_to_the_right_frequency(graph):
    peak = np.exp(-0.5 * ((np.arange(NUM_FEATURES) - 20) / 1.5) ** 2).astype(np.float32)
    for factor in (0.85, 1.15):
        warped = peak @ warp_matrices(MEL, np.array([factor]))[0]
        assert MEL[np.argmax(warped)] == pytest.approx(MEL[20] / factor, rel=0.08)


@pytest.mark.tf
@given(snr=st.floats(-10, 40), level=st.floats(-20, 5), seed=st.integers(0, 1_000))
@settings(max_examples=40, deadline=None)
def test_signal_to_noise_ratio_is_what_was_asked_for(snr, level, seed):
    from asr.augment import effects

    rng = np.random.default_rng(seed)
    loudness = np.interp(np.arange(200), [0, 60, 140, 199], [-18, -4, -4, -18])[:, np.newaxis]
    speech = (loudness + rng.normal(0, 1.5, (200, 20))).astype(np.float32)
    noise = (level + rng.normal(0, 1, (200, 20))).astype(np.float32)
    mixed = effects.mix_noise(speech, noise, np.float32(snr)).numpy().astype(np.float64)
    added = np.exp(mixed) - np.exp(speech.astype(np.float64))
    frame_power = np.exp(speech.astype(np.float64)).sum(1)
    active = frame_power >= frame_power.max() * 10 ** (-effects.ACTIVE_RANGE_DB / 10)
    measured = 10 * np.log10(frame_power[active].mean() / added.sum(1).mean())
    assert measured == pytest.approx(snr, abs=0.5)


@pytest.mark.tf
def test_tilt_in_decibels(graph, speech):
    change = 10 / np.log(10) * (np.asarray(graph.tilt(speech, 6.0)) - speech)
    np.testing.assert_allclose(change[:, 0], -3.0, atol=1e-4)
    np.testing.assert_allclose(change[:, -1], 3.0, atol=1e-4)


@pytest.mark.tf
def test_equalizer_draws_a_line_through_its_points(graph, speech):
    points = np.array([0.0, 6.0, -3.0, 1.0], np.float32)
    change = 10 / np.log(10) * (np.asarray(graph.equalize(speech, points)) - speech)
    places = np.linspace(0, 3, NUM_FEATURES)
    expected = np.interp(places, np.arange(4), points)
    np.testing.assert_allclose(change, np.broadcast_to(expected, change.shape), atol=1e-4)
    same = graph.equalize(speech, np.zeros(6, np.float32))
    np.testing.assert_array_equal(same, speech)


@pytest.mark.tf
@pytest.mark.parametrize("ratio_db", [0.0, 10.0])
def test_reverberation_against_a_loop(graph, speech, ratio_db):
    frames = 40.0
    decay = 10 ** (-6 / frames)
    gain = 10 ** (-ratio_db / 10) * (1 - decay) / decay
    power = np.exp(speech.astype(np.float64))
    expected, tail = power.copy(), np.zeros(NUM_FEATURES)
    for t in range(1, len(power)):
        tail = (tail + power[t - 1]) * decay
        expected[t] += gain * tail
    ours = graph.reverberate(speech, frames, ratio_db).numpy()
    np.testing.assert_allclose(ours, np.log(expected), atol=1e-4)
    np.testing.assert_array_equal(ours[0], speech[0], "nothing comes before the first frame")


@pytest.mark.tf
def test_reverberation_of_silence_and_of_one_frame(graph, speech):
    silence = np.full((30, NUM_FEATURES), LOG_FLOOR, np.float32)
    assert np.isfinite(graph.reverberate(silence, 20.0, 0.0).numpy()).all()
    np.testing.assert_array_equal(graph.reverberate(speech[:1], 20.0, 0.0), speech[:1])
    np.testing.assert_allclose(graph.reverberate(speech, 20.0, 200.0), speech, atol=1e-5)


@pytest.mark.tf
def test_band_limit_empties_the_upper_bins_only(graph, speech):
    limited = graph.limit_band(speech, 19.5, 0.0).numpy()
    np.testing.assert_array_equal(limited[:, :20], speech[:, :20])
    np.testing.assert_allclose(limited[:, -5:], LOG_FLOOR)
    raised = graph.limit_band(speech, 19.5, 1.0).numpy()
    np.testing.assert_allclose(raised[:, -5:], speech.min())


@pytest.mark.tf
def test_moments_without_voice_are_damped_and_the_others_stay(graph):
    """A vowel, an [s] as loud whose power lies above the low band, and quiet."""
    speech = np.full((30, NUM_FEATURES), -14.0, np.float32)
    speech[:10] = -4.0
    speech[10:20, 20:] = -3.0
    damped = graph.damp_unvoiced(speech, 20, 20.0, 30.0).numpy()
    np.testing.assert_array_equal(damped[:10], speech[:10])
    np.testing.assert_allclose(damped[10:], np.maximum(speech[10:] - 3.0 * np.log(10), LOG_FLOOR),
                               rtol=1e-6)
    # The quiet is 10 nats or 43.4 dB below the vowel: half of the ramp of 6 dB at 40.4.
    half = graph.damp_unvoiced(speech, 20, 100.0 / np.log(10.0) - 3.0, 10.0).numpy()
    np.testing.assert_allclose(speech[25] - half[25], 0.5 * np.log(10.0), rtol=1e-3)
    floor = np.full((5, NUM_FEATURES), LOG_FLOOR, np.float32)
    np.testing.assert_array_equal(graph.damp_unvoiced(floor, 20, 10.0, 40.0), floor)


@pytest.mark.tf
def test_the_share_of_damped_items_is_the_probability(graph, speech):
    speech[30:60, :8] -= 12.0
    bare = replace(FEATURES, cmvn="none")
    changed = []
    augmenter = graph.FeatureAugmenter(AugmentSettings(unvoiced_probability=0.3), bare,
                                       mel_frequencies=MEL)
    for seed in range(200):
        changed.append(not np.array_equal(apply(augmenter, speech, seed=seed), speech))
    assert 0.2 < np.mean(changed) < 0.4


@pytest.mark.tf
def test_spec_augment_masks_are_zero_and_bounded(graph):
    ones = np.ones([100, NUM_FEATURES], np.float32)
    how = AugmentSettings(freq_masks=2, freq_mask_width=8, time_masks=3, time_mask_width=50,
                          time_mask_fraction=0.1)
    widths = []
    for seed in range(60):
        masked = graph.mask_spectrum(ones, [seed, 1], how).numpy()
        assert set(np.unique(masked)) <= {0.0, 1.0}
        bins, frames = (masked == 0).all(0).sum(), (masked == 0).all(1).sum()
        assert bins <= 16 and frames <= 30
        assert (masked == 0).sum() == bins * 100 + frames * NUM_FEATURES - bins * frames
        widths.append((bins, frames))
    assert max(b for b, _ in widths) >= 12 and max(f for _, f in widths) >= 22
    assert min(b for b, _ in widths) <= 4 and min(f for _, f in widths) <= 8


@pytest.mark.tf
def test_masks_are_the_mean_when_there_is_no_cmvn(graph, speech):
    how = AugmentSettings(freq_masks=2, freq_mask_width=10)
    augmenter = graph.FeatureAugmenter(how, replace(FEATURES, cmvn="none"))
    masked = apply(augmenter, speech, seed=4)
    changed = np.abs(masked - speech).max(axis=0) > 1e-4
    assert changed.any() and not changed.all()
    np.testing.assert_allclose(masked[:, changed], np.broadcast_to(
        speech.mean(0)[changed], masked[:, changed].shape), atol=1e-4)


@pytest.mark.tf
def test_static_and_delta_bins_are_masked_together(graph):
    masked = graph.mask_spectrum(np.ones([5, 39], np.float32), [3, 1],
                                 AugmentSettings(freq_masks=2, freq_mask_width=5), 3).numpy()
    assert (masked == 0).any()
    np.testing.assert_array_equal(masked[:, :13], masked[:, 13:26])
    np.testing.assert_array_equal(masked[:, :13], masked[:, 26:])


@pytest.mark.tf
def test_same_seed_same_features_other_seed_other_features(graph, speech, bank):
    augmenter = graph.FeatureAugmenter(EVERYTHING, FEATURES, mel_frequencies=MEL, noise=bank)
    first = apply(augmenter, speech, 100, seed=5)
    assert first.shape == (100, NUM_FEATURES)
    np.testing.assert_array_equal(apply(augmenter, speech, 100, seed=5), first)
    assert np.abs(apply(augmenter, speech, 100, seed=6) - first).max() > 0.1


@pytest.mark.tf
@pytest.mark.parametrize("kind", ["utterance", "none"])
def test_silence_one_frame_and_extreme_levels_stay_finite(graph, bank, kind):
    augmenter = graph.FeatureAugmenter(EVERYTHING, replace(FEATURES, cmvn=kind),
                                       mel_frequencies=MEL, noise=bank)
    for level in (LOG_FLOOR, -80.0, 0.0, 60.0):
        for length in (1, 2, 40):
            frames = np.full([length, NUM_FEATURES], level, np.float32)
            for seed in range(5):
                assert np.isfinite(apply(augmenter, frames, seed=seed)).all()


@pytest.mark.tf
def test_digital_silence_as_noise_stays_finite(graph, speech):
    silent = np.full_like(speech, LOG_FLOOR)
    assert np.isfinite(graph.mix_noise(speech, silent, 5.0)).all()
    assert np.isfinite(graph.mix_noise(silent, speech, 5.0)).all()


@pytest.mark.tf
def test_probabilities_are_shares_of_utterances(graph, speech, bank):
    how = AugmentSettings(noise_dir="given", noise_probability=0.3)
    augmenter = graph.FeatureAugmenter(how, replace(FEATURES, cmvn="none"), noise=bank)
    changed = [np.abs(apply(augmenter, speech, seed=s) - speech).max() > 0 for s in range(300)]
    assert 0.2 < np.mean(changed) < 0.4


@pytest.mark.tf
def test_a_batch_is_its_items_padded_with_zero(graph, speech, bank, tf):
    augmenter = graph.FeatureAugmenter(EVERYTHING, FEATURES, mel_frequencies=MEL, noise=bank)
    items = [(speech, 90, 3), (speech[:40], 50, 4), (speech[:1], 1, 5)]
    batch = augmenter.batch(tf.concat([x for x, _, _ in items], 0), [90, 40, 1], [90, 50, 1],
                            [3, 4, 5]).numpy()
    assert batch.shape == (3, 90, NUM_FEATURES)
    for row, (x, wanted, seed) in zip(batch, items, strict=True):
        np.testing.assert_allclose(row[:wanted], apply(augmenter, x, wanted, seed), atol=1e-4)
        assert (row[wanted:] == 0).all()


@pytest.mark.tf
def test_what_is_missing_is_said(graph):
    with pytest.raises(UsageError, match="mean and std"):
        graph.FeatureAugmenter(AugmentSettings(), replace(FEATURES, cmvn="global"))
    with pytest.raises(UsageError, match="needs a noise bank"):
        graph.FeatureAugmenter(EVERYTHING, FEATURES, mel_frequencies=MEL)
    with pytest.raises(UsageError, match="need mel_frequencies"):
        graph.FeatureAugmenter(AugmentSettings(warp=0.1), FEATURES)
    for other in (replace(FEATURES, kind="mfcc"), replace(FEATURES, deltas=1)):
        with pytest.raises(UsageError, match="log-mel features without deltas"):
            graph.FeatureAugmenter(AugmentSettings(gain_db=3.0), other)
        graph.FeatureAugmenter(AugmentSettings(freq_masks=2), other)
