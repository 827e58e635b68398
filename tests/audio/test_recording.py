"""Recordings in pieces: the samples of the whole, its loudness, and where the time goes."""

from __future__ import annotations

import os
import time
import typing

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_recordings import RATE, encode, pieces_of, speech

from asr.audio import blocks as audio_blocks
from asr.audio import load_audio
from asr.audio.loudness import LoudnessMeter, is_silent
from asr.audio.recording import open_recording
from asr.errors import AudioError, UsageError
from asr.inference.stopwatch import Stopwatch

# --- recordings in pieces -------------------------------------------------------------------------

@pytest.mark.parametrize(("container", "subtype"), [
    ("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "OPUS"), ("OGG", "VORBIS"),
    ("MP3", "MPEG_LAYER_III")])
@pytest.mark.parametrize("target", [16_000, 8_000])
def test_pieces_are_the_samples_of_the_whole(container, subtype, target, monkeypatch):
    stereo = np.stack([speech(2, 1, 16_000), speech(2, 2, 16_000)], axis=1)
    data = encode(stereo, 16_000, container, subtype)
    whole = load_audio(data, sample_rate=target)
    monkeypatch.setattr(audio_blocks, "BLOCK_SAMPLES", 1_000)
    with open_recording(data, sample_rate=target) as recording:
        for _ in range(3):  # as often as needed
            blocks = list(recording.blocks())
            assert len(blocks) > 60
            np.testing.assert_allclose(np.concatenate(blocks), whole, atol=2e-6)
        assert recording.info.duration == 2.0


def test_a_cut_recording_is_refused_when_its_end_is_missed():
    """FAULTS.md A3: a header may say nothing of the bytes; the pass that gets to the end does."""
    data = encode(speech(4, rate=16_000), 16_000, "MP3", "MPEG_LAYER_III")
    cut = bytearray(data[:len(data) // 3])
    at = max(cut.find(b"Xing"), cut.find(b"Info")) + 12
    cut[at:at + 4] = len(cut).to_bytes(4, "big")
    cut = bytes(cut)
    with open_recording(cut, sample_rate=16_000) as recording, \
            pytest.raises(AudioError, match="declares .* samples but holds") as caught:
        list(recording.blocks())
    assert caught.value.code == "audio.truncated"
    with open_recording(cut, sample_rate=16_000, allow_truncated=True) as recording:
        with pytest.warns(UserWarning, match="Using what is left"):
            first = np.concatenate(list(recording.blocks()))
        again = np.concatenate(list(recording.blocks()))  # said once
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, load_quietly(cut))


def load_quietly(data: bytes) -> np.ndarray:
    with pytest.warns(UserWarning, match="Using what is left"):
        return load_audio(data, sample_rate=16_000, allow_truncated=True)


def test_a_wav_that_is_cut_is_refused_before_it_is_decoded():
    data = encode(speech(2))[:-1_001]
    with pytest.raises(AudioError, match="is cut") as caught, \
            open_recording(data, sample_rate=RATE):
        pass
    assert caught.value.code == "audio.truncated"
    with open_recording(data, sample_rate=RATE, allow_truncated=True) as recording, \
            pytest.warns(UserWarning, match="Using what is left"):
        assert sum(map(len, recording.blocks())) > RATE


def test_a_recording_that_changes_between_two_passes(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(encode(speech(1)))
    with open(path, "rb") as file, open_recording(file, sample_rate=RATE) as recording:
        list(recording.blocks())
        path.write_bytes(encode(speech(1, seed=2)))
        os.utime(path, ns=(1, 1))
        with pytest.raises(AudioError, match="changed while it was read") as caught:
            list(recording.blocks())
    assert caught.value.code == "audio.changed"


def test_bounds_of_a_recording():
    for bad in (0, 7.5, 2_000_000):
        with pytest.raises(UsageError, match="whole number of Hz"), \
                open_recording(encode(speech(1)), sample_rate=typing.cast(int, bad)):
            pass
    with pytest.raises(AudioError, match="at most 0.5 s") as caught, \
            open_recording(encode(speech(1)), sample_rate=RATE, max_seconds=0.5):
        pass
    assert caught.value.code == "audio.too_long"


# --- loudness -------------------------------------------------------------------------------------

@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3_000), st.lists(st.integers(1, 700), min_size=1, max_size=4))
def test_loudness_of_blocks_is_that_of_the_whole(num_samples, sizes):
    audio = speech(1)[:num_samples]
    whole, blocks = LoudnessMeter(RATE), LoudnessMeter(RATE)
    list(whole.listen([audio]))
    passed = np.concatenate(list(blocks.listen(pieces_of(audio, sizes))))
    np.testing.assert_array_equal(passed, audio)
    np.testing.assert_allclose(blocks.powers, whole.powers, rtol=1e-5)
    assert len(whole.powers) == -(-num_samples // whole.cell)
    assert blocks.num_samples == num_samples
    assert blocks.silent == whole.silent == is_silent(audio, RATE)


# --- where the time goes --------------------------------------------------------------------------

def test_a_stopwatch_counts_no_second_twice(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    watch = Stopwatch()

    def numbers():
        for number in range(3):
            now[0] += 1
            yield number

    with watch.stage("outer"):
        now[0] += 10
        for _ in watch.watch("inner", numbers()):
            now[0] += 100
    now[0] += 1_000  # nobody's
    assert watch.seconds == {"outer": 310.0, "inner": 3.0} and watch.failed == ""


def test_a_stopwatch_knows_where_it_broke():
    watch = Stopwatch()

    def broken():
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"), watch.stage("decode"):
        list(watch.watch("load", broken()))
    assert watch.failed == "load"
