"""Hours of audio: windows, joins, pieces, and that none of it changes what is heard."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recordings import RATE, encode, pieces_of, speech
from tiny_bundle import FEATURES, MODEL, write_bundle

import asr.recognizer
from asr.audio.recording import blocks_of
from asr.cli import run
from asr.errors import AudioError, DataError, UsageError
from asr.features import FeatureExtractor, normalize_features
from asr.features.normalization import fit_normalization
from asr.fleet.transcribe import Timings, transcribe_items
from asr.fleet.worklist import find_items
from asr.inference.long_recordings import listen, window_logits
from asr.inference.stopwatch import Stopwatch
from asr.inference.windows import (
    Window,
    Windows,
    cut_windows,
    feature_blocks,
    plan_windows,
    quietest,
)
from asr.recipe import FeatureSettings, ModelSettings
from asr.recognizer import load

SMALL = Windows(threshold_seconds=2, core_seconds=2, context_seconds=1, search_seconds=0.5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.asr")


@pytest.fixture(scope="module")
def recognizer(bundle):
    return load(bundle, windows=SMALL)


# --- windows --------------------------------------------------------------------------------------

@pytest.mark.parametrize(("change", "message"), [
    ({"core_seconds": 0.5, "search_seconds": 0}, "core_seconds must be at least 1"),
    ({"search_seconds": 120}, "below half of core_seconds"),
    ({"threshold_seconds": 3_601}, "at most 3600"), ({"batch": 0}, "batch must be a whole number"),
    ({"batch": 1.5}, "batch must be a whole number"),
    ({"context_seconds": -1}, "context_seconds must be a finite number from 0"),
    ({"max_seconds": float("nan")}, "max_seconds must be a finite number")])
def test_windows_that_cannot_be(change, message):
    with pytest.raises(UsageError, match=message):
        Windows(**change)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5_000), st.floats(1, 30), st.floats(0, 10), st.floats(0, 0.49),
       st.integers(0, 9))
def test_cores_cover_every_frame_once(num_outputs, core, context, search, seed):
    step = 0.04
    windows = Windows(core_seconds=core, context_seconds=context, search_seconds=search * core)
    powers = np.random.default_rng(seed).random(round(num_outputs * step / 0.025) + 1)
    plan = plan_windows(num_outputs, step, powers, 0.025, windows)
    assert plan[0].first == 0 and plan[-1].last == num_outputs
    for window, following in itertools.pairwise(plan):
        assert window.last == following.first
    longest = (1.5 + 2 * search) * core + 2 * context
    for window in plan:
        assert 0 <= window.start <= window.first < window.last <= window.stop <= num_outputs
        assert window.start == 0 or (window.first - window.start) * step >= context - 1e-9
        assert window.stop == num_outputs or (window.stop - window.last) * step >= context - 1e-9
        assert (window.stop - window.start) * step <= longest + 4 * step


def test_a_join_lies_in_the_pause():
    powers = np.full(4_000, 0.1)
    powers[2_200:2_240] = 1e-6  # seconds 55 to 56
    windows = Windows(core_seconds=50, search_seconds=10)
    (first, second) = plan_windows(2_500, 0.04, powers, 0.025, windows)
    assert 55 <= first.last * 0.04 <= 56 and second.first == first.last


def test_quietest():
    assert quietest(np.zeros(400), 0.025, 5.01, 2.0) == pytest.approx(5.0, abs=0.02)  # ties: near
    assert quietest(np.ones(400), 0.025, 5.0, 0.0) == 5.0
    assert quietest(np.ones(3), 0.025, 0.05, 1.0) == 0.05  # too short to look around
    powers = np.ones(400)
    powers[100:112] = 0.0
    assert quietest(powers, 0.025, 4.0, 2.0) == pytest.approx(2.65)
    assert quietest(powers, 0.025, 9.0, 2.0) == pytest.approx(9.0, abs=0.02)  # out of reach


def test_a_lost_packet_inside_speech_is_no_place_to_join(rng):
    """50 ms of zeros: the mean power of 0.3 s around it is that of speech."""
    powers = rng.uniform(0.8, 1.2, 400)
    powers[200:202] = 0.0
    powers[250:262] = 10 ** -4.7  # a pause
    assert quietest(powers, 0.025, 5.0, 2.0) == pytest.approx(6.4, abs=0.03)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4_000), st.lists(st.integers(1, 900), min_size=1, max_size=4),
       st.sampled_from([FEATURES, FeatureSettings(kind="mfcc", hop_length=77, deltas=1),
                        dataclasses.replace(FEATURES, deltas=2, preemphasis=0.97),
                        dataclasses.replace(FEATURES, n_fft=FEATURES.n_fft + 1)]))
def test_features_in_pieces_are_the_features(num_samples, sizes, wanted):
    audio = speech(1)[:num_samples]
    extractor = FeatureExtractor(wanted, quick_start=True)
    blocks = list(feature_blocks(pieces_of(audio, sizes), extractor))
    whole = extractor.extract(audio)
    assert all(len(block) for block in blocks)
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=2e-4)
    assert list(feature_blocks([], extractor)) == []


def test_a_kind_with_a_memory_is_the_same_in_pieces():
    """PCEN divides by the mean of the past: a piece begins with eight seconds of it."""
    extractor = FeatureExtractor(dataclasses.replace(FEATURES, kind="pcen"))
    audio = speech(40)
    blocks = np.concatenate(list(feature_blocks(pieces_of(audio, [24_000]), extractor)))
    np.testing.assert_allclose(blocks, extractor.extract(audio), rtol=1e-4)


@pytest.mark.parametrize(("kind", "range_db"), [
    ("none", 0), ("global", 0), ("utterance", 0), ("map", 0), ("utterance", 20.0), ("map", 20.0)])
def test_pieces_are_normalised_as_within_the_whole(kind, range_db, rng):
    wanted = FeatureSettings(cmvn=kind, cmvn_prior=50, cmvn_range_db=range_db)
    features = FeatureExtractor(FEATURES).extract(speech(3))
    statistics = None
    if kind in ("global", "map"):
        statistics = rng.normal(size=20).astype("f4"), rng.uniform(0.5, 3, 20).astype("f4")
    passes = []

    def blocks():
        passes.append(1)
        return pieces_of(features, [7, 31])

    normalize = fit_normalization(blocks, wanted, statistics)
    wanted_passes = {"none": 0, "global": 0, "utterance": 1, "map": 2}[kind]
    assert len(passes) == wanted_passes + 2 * bool(range_db)
    expected = normalize_features(features, wanted, statistics)
    np.testing.assert_allclose(normalize(features), expected, atol=1e-4)
    np.testing.assert_allclose(normalize(features[50:60]), expected[50:60], atol=1e-4)


def test_nothing_to_normalise():
    with pytest.raises(DataError, match="at least one frame"):
        fit_normalization(lambda: [], FeatureSettings(cmvn="utterance"))
    with pytest.raises(UsageError, match="goes with training statistics"):
        fit_normalization(lambda: [], FeatureSettings(cmvn="map"))(np.ones((1, 20), "f4"))


@pytest.mark.parametrize("sizes", [[1], [3, 8], [1_000]])
def test_windows_are_cut_from_blocks(sizes):
    features = np.arange(100.0)[:, np.newaxis]
    plan = [Window(0, 0, 10, 15), Window(5, 10, 20, 25), Window(15, 20, 34, 34)]
    cut = list(cut_windows(pieces_of(features, sizes), plan, 3))
    for window, piece in zip(plan, cut, strict=True):
        np.testing.assert_array_equal(piece, features[window.start * 3:window.stop * 3])


# --- the recogniser -------------------------------------------------------------------------------

NETWORKS = {
    "stack": MODEL, "conv": ModelSettings(num_layers=1, units=8, front_end="conv", conv_channels=3,
                                          subsampling=4),
    "conv3": ModelSettings(num_layers=1, units=8, front_end="conv", conv_channels=3, subsampling=3),
    "edges": dataclasses.replace(MODEL, edge_frames=3)}


@pytest.mark.parametrize("cmvn", ["utterance", "map"])
@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_with_enough_context_it_is_the_full_pass(tmp_path, name, cmvn):
    features = dataclasses.replace(FEATURES, cmvn=cmvn)
    statistics = None
    if cmvn == "map":
        statistics = np.full(20, -8, "f4"), np.full(20, 2, "f4")
    path = write_bundle(tmp_path / "a.asr", features=features, model=NETWORKS[name],
                        cmvn=statistics)
    windows = Windows(threshold_seconds=1, core_seconds=2, context_seconds=9, search_seconds=0.9)
    recognizer = load(path, windows=windows)
    audio = speech(9.3)
    full = recognizer.logits(recognizer.features(audio))
    survey, pieces = window_logits(recognizer, blocks_of(audio), Stopwatch())
    np.testing.assert_allclose(np.concatenate(list(pieces)), full, atol=2e-3)
    assert len(survey.plan) == 5 and sum(map(len, survey.levels)) == 931
    transcript = recognizer.transcribe(audio)
    assert transcript.text and transcript.duration == len(audio) / RATE


def test_the_shipped_network_hears_the_same_in_windows():
    clips = Path(asr.recognizer.__file__).parent / "assets" / "clips"
    recognizer = load()
    audio = np.concatenate([recognizer.load_audio(path) for path in sorted(clips.glob("*.*g*"))
                            if path.suffix != ".jsonl"])
    full = recognizer.transcribe(audio)
    recognizer.windows = Windows(threshold_seconds=1, core_seconds=6, context_seconds=3,
                                 search_seconds=2.5)
    watch = Stopwatch()
    windowed = recognizer.transcribe_blocks(blocks_of(audio), watch)
    assert windowed.text == full.text and len(full.words) > 8
    np.testing.assert_allclose([w.start for w in windowed.words], [w.start for w in full.words],
                               atol=0.1)
    assert set(watch.seconds) == {"load", "features", "model", "decode"}


@pytest.mark.tf
def test_both_engines_hear_the_same_in_windows(recognizer, bundle):
    keras = load(bundle, engine="keras", windows=SMALL)
    pieces = [np.concatenate(list(window_logits(one, blocks_of(speech(7)), Stopwatch())[1]))
              for one in (recognizer, keras)]
    np.testing.assert_allclose(pieces[0], pieces[1], atol=1e-4)
    assert keras.transcribe(speech(7)).text == recognizer.transcribe(speech(7)).text


def test_paths_and_arrays_above_the_threshold(recognizer, tmp_path):
    audio = speech(7)
    soundfile.write(tmp_path / "long.wav", audio, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", audio[:RATE], RATE, subtype="FLOAT")
    heard = recognizer.transcribe_batch([tmp_path / "long.wav", tmp_path / "short.wav", audio])
    assert heard[0] == heard[2] and heard[0].duration == 7.0 and heard[1].duration == 1.0
    ends = [word.end for word in heard[0].words]
    assert ends == sorted(ends) and 5 < ends[-1] <= 7
    assert heard[1] == load(recognizer.bundle.path).transcribe(audio[:RATE])
    assert recognizer.with_decoder(kind="beam").transcribe(audio).text
    assert recognizer.transcribe(np.repeat(audio, 2), 2 * RATE).duration == 7.0


def test_long_silence_and_long_nonsense(recognizer):
    quiet = recognizer.transcribe(np.zeros(5 * RATE, "f4"))
    assert (quiet.text, quiet.words, quiet.duration) == ("", (), 5.0)
    with pytest.raises(AudioError, match="NaN|finite"):
        recognizer.transcribe(np.full(5 * RATE, np.nan, "f4"))


def test_there_is_a_bound(recognizer, tmp_path):
    soundfile.write(tmp_path / "a.wav", speech(5), RATE)
    bounded = recognizer.with_decoder()
    bounded.windows = dataclasses.replace(SMALL, max_seconds=4)
    with pytest.raises(AudioError, match="at most 4 s") as caught:
        bounded.transcribe(tmp_path / "a.wav")
    assert caught.value.code == "audio.too_long"
    with pytest.raises(AudioError, match="does not exist"):
        recognizer.transcribe(tmp_path / "none.wav")


def test_memory_holds_a_few_windows(recognizer):
    """No array grows with the recording: the network sees at most a batch of windows."""
    largest = []
    engine = recognizer.engine

    class Watching:
        def logits(self, features, num_frames):
            largest.append(features.shape[:2])
            return engine.logits(features, num_frames)

    watched = recognizer.with_decoder()
    watched.engine = Watching()
    hypothesis, levels, num_samples = listen(watched, blocks_of(speech(120)))
    assert hypothesis is not None and hypothesis.text
    assert num_samples == 120 * RATE and len(levels) == 12_001
    assert max(batch * frames for batch, frames in largest) <= 4 * 500
    assert len(largest) == 15


# --- asr transcribe -------------------------------------------------------------------------------

@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    for name, seconds in (("a", 1), ("b", 6), ("c", 0.5), ("d", 5)):
        soundfile.write(tmp_path / "in" / f"{name}.wav", speech(seconds), RATE)
    mp3 = encode(speech(30, rate=16_000), 16_000, "MP3", "MPEG_LAYER_III")
    (tmp_path / "in" / "cut.mp3").write_bytes(mp3[:len(mp3) // 2])
    return tmp_path / "in"


def test_long_and_short_ones_come_in_order(recognizer, folder):
    items, _ = find_items([str(folder)])
    said, timings = [], Timings()
    outcomes = list(transcribe_items(recognizer, items, timings, notice=said.append))
    assert [o.item for o in outcomes] == items
    transcripts = {o.item.relative.stem: o.transcript for o in outcomes if o.transcript}
    for name in "abcd":
        assert transcripts[name] == recognizer.transcribe(folder / f"{name}.wav")
    (failed,) = [o for o in outcomes if o.error]
    assert (failed.item.relative.name, failed.stage) == ("cut.mp3", "load")
    assert failed.record()["code"] == "audio.truncated"
    assert len(said) == 1 and "windows of about 2 s" in said[0]
    assert timings.audio == pytest.approx(12.5)
    table = timings.to_dict()
    assert 0 < sum(table[k] for k in ("load", "features", "model", "decode")) < 4 * table["wall"]
    assert min(timings.load, timings.features, timings.model, timings.decode) > 0


def test_the_command_says_so_once(bundle, folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(asr.recognizer, "Windows", lambda: SMALL)
    out = tmp_path / "out"
    assert run(["transcribe", str(bundle), str(folder / "b.wav"), str(folder / "d.wav"), "-f",
                "srt", "-o", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.err == SMALL.sentence + "\n" and captured.out == ""
    cues = (out / "b.srt").read_text().splitlines()
    assert cues[0] == "1" and "-->" in cues[1]
    assert run(["transcribe", str(bundle), str(folder / "a.wav")]) == 0
    assert capsys.readouterr().err == ""
    assert run(["transcribe", str(bundle), str(folder / "b.wav"), "--json", "--timings"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["duration"] == 6.0
    records = [json.loads(line) for line in captured.err.splitlines()]
    assert records[0] == {"notice": SMALL.sentence} and records[1]["timings"]["audio"] == 6.0


def test_a_long_recording_through_a_pipe(recognizer, monkeypatch, folder):
    import asr.fleet.transcribe

    data = (folder / "b.wav").read_bytes()
    monkeypatch.setattr(asr.fleet.transcribe, "read_stdin", lambda: data)
    (outcome,) = transcribe_items(recognizer, find_items(["-"])[0])
    assert outcome.transcript == recognizer.transcribe(folder / "b.wav")


# --- memory ---------------------------------------------------------------------------------------

@pytest.mark.slow
def test_an_hour_and_a_half_fits_into_little_memory(bundle, tmp_path):
    block = (speech(60) * 32_767).astype(np.int16)
    with soundfile.SoundFile(tmp_path / "long.wav", "w", RATE, 1, "PCM_16") as file:
        for _ in range(90):
            file.write(block)
    code = ("import sys\nfrom asr.cli import run\nassert run(sys.argv[1:]) == 0\n"
            "print(next(int(line.split()[1]) for line in open('/proc/self/status')\n"
            "           if line.startswith('VmHWM')) // 1024, file=sys.stderr)\n")
    done = subprocess.run([sys.executable, "-c", code, "transcribe", bundle,
                           tmp_path / "long.wav", "--json"], capture_output=True, text=True,
                          check=True, timeout=600)
    assert json.loads(done.stdout)["duration"] == 5_400.0
    assert int(done.stderr.splitlines()[-1]) < 500
