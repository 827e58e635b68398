"""Audio: rows A1 - A12 of the fault table, and what decoding and resampling promise."""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import audio as audio_module
from asr.audio import (
    AudioInfo,
    containers,
    load_audio,
    load_utterance,
    mpeg,
    probe_audio,
    resample,
)
from asr.audio import blocks as audio_blocks
from asr.audio import source as audio_source
from asr.errors import AudioError, UsageError
from asr.manifest import Utterance

RATE = 16_000
# Source of `peak()`, megabytes. A child's ru_maxrss still counts the parent that it was forked
# from, which holds TensorFlow in a whole test run; VmHWM begins anew with the program.
PEAK_MEGABYTES = """
def peak():
    try:
        with open("/proc/self/status") as status:
            return next(int(x.split()[1]) for x in status if x.startswith("VmHWM")) // 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
"""


def encode(samples, *, rate=RATE, container="WAV", subtype="PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def tone(seconds=1.0, rate=RATE) -> np.ndarray:
    """Three partials and a slow swell; nothing above 3 kHz, so every rate from 8 kHz holds it."""
    time = np.arange(round(seconds * rate)) / rate
    partials = sum(np.sin(2 * np.pi * f * time) / n for n, f in enumerate((310, 1_170, 2_900), 1))
    return (0.2 * partials * (1.2 + np.sin(2 * np.pi * 3 * time))).astype(np.float32)


def patched(data: bytes, offset: int, replacement: bytes) -> bytes:
    return data[:offset] + replacement + data[offset + len(replacement):]


WAV = encode(tone())
FLAC = encode(tone(), container="FLAC")
VORBIS = encode(tone(), container="OGG", subtype="VORBIS")
OPUS = encode(tone(), container="OGG", subtype="OPUS")
MP3 = encode(tone(), container="MP3", subtype="MPEG_LAYER_III")
EVERY = {"wav": WAV, "flac": FLAC, "vorbis": VORBIS, "opus": OPUS, "mp3": MP3}


def code_of(source, **arguments) -> str:
    with pytest.raises(AudioError) as caught:
        load_audio(source, sample_rate=RATE, **arguments)
    assert len(str(caught.value)) > 40 and caught.value.path
    return caught.value.code


# --- what works ---------------------------------------------------------------------------------

@pytest.mark.parametrize("name", EVERY)
def test_probe_equals_decoded_for_every_container(name, tmp_path):
    path = tmp_path / "speech.bin"  # the extension is never believed (A8)
    path.write_bytes(EVERY[name])
    info = probe_audio(path)
    loaded = load_audio(path, sample_rate=RATE, expected=info)
    assert info.num_samples == len(loaded) == RATE and info.duration == 1.0
    assert loaded.dtype == np.float32 and loaded.ndim == 1
    np.testing.assert_array_equal(loaded, load_audio(EVERY[name], sample_rate=RATE))
    assert np.corrcoef(loaded, tone())[0, 1] > 0.99


def test_a_pipe_and_an_open_file_are_read(tmp_path):
    read, write = os.pipe()
    os.write(write, WAV[:40_000])
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        np.testing.assert_array_equal(load_audio(pipe, sample_rate=RATE),
                                      load_audio(WAV, sample_rate=RATE))
    (tmp_path / "a.wav").write_bytes(WAV)
    with open(tmp_path / "a.wav", "rb") as file:
        assert len(load_audio(file, sample_rate=RATE)) == RATE


def test_a_pipe_without_end_is_bounded(monkeypatch):
    monkeypatch.setattr(audio_source, "MAX_STREAM_BYTES", 1_000)
    read, write = os.pipe()
    os.write(write, WAV[:2_000])
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert code_of(pipe) == "audio.too_long"


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 22_050, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_rates_and_channels_agree_with_the_reference(rate, channels):
    """A7: the average over channels at any rate is the 16 kHz mono signal."""
    signal = tone(rate=rate) if rate >= 8_000 else resample(tone(), RATE, rate)
    weights = np.linspace(0.5, 1.5, channels) if channels > 1 else np.ones(1)
    data = encode(signal[:, None] * weights / weights.mean(), rate=rate, subtype="FLOAT")
    loaded = load_audio(data, sample_rate=RATE)
    assert abs(len(loaded) - RATE) <= 1
    reference = tone() if rate >= 8_000 else resample(signal, rate, RATE)
    middle = slice(800, RATE - 800)  # the filter rings at the edges
    np.testing.assert_allclose(loaded[middle], reference[middle], atol=2e-3)


@pytest.mark.parametrize("subtype, tolerance", [
    ("PCM_U8", 8e-3), ("PCM_16", 4e-5), ("PCM_24", 2e-7), ("PCM_32", 2e-7), ("FLOAT", 0),
    ("DOUBLE", 0), ("ULAW", 2e-2), ("ALAW", 2e-2)])
@pytest.mark.parametrize("container", ["WAV", "WAVEX"])
def test_encodings_agree_with_the_reference(subtype, tolerance, container):
    loaded = load_audio(encode(tone(), subtype=subtype, container=container), sample_rate=RATE)
    np.testing.assert_allclose(loaded, tone(), atol=tolerance)


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_flac_encodings(subtype):
    data = encode(tone(), container="FLAC", subtype=subtype)
    np.testing.assert_allclose(load_audio(data, sample_rate=RATE), tone(), atol=8e-3)


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("offset, duration", [(0.0, 0.25), (0.31, 0.2), (0.6, None), (0.5, 0.501)])
def test_a_part_equals_the_slice_of_the_whole(name, offset, duration):
    whole = load_audio(EVERY[name], sample_rate=RATE)
    part = load_audio(EVERY[name], sample_rate=RATE, offset=offset, duration=duration)
    start = round(offset * RATE)
    stop = RATE if duration is None else min(RATE, start + round(duration * RATE))
    np.testing.assert_allclose(part, whole[start:stop], atol=1e-6)


@given(from_rate=st.integers(4_000, 192_000), num_samples=st.integers(400, 6_000),
       block=st.integers(1, 700), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_blocks_do_not_change_the_resampled_signal(from_rate, num_samples, block, seed):
    noise = np.random.default_rng(seed).uniform(-0.2, 0.2, num_samples).astype(np.float32)
    data = encode(noise, rate=from_rate, subtype="FLOAT")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audio_blocks, "BLOCK_SAMPLES", block)
        loaded = load_audio(data, sample_rate=RATE, min_seconds=0)
    np.testing.assert_allclose(loaded, resample(noise, from_rate, RATE), atol=1e-6)


def test_beyond_full_scale_is_clipped_and_within_is_untouched():
    loaded = load_audio(encode(tone() * 5, subtype="FLOAT"), sample_rate=RATE)
    np.testing.assert_array_equal(loaded, np.clip(tone() * 5, -1, 1))


def test_a_wav_from_a_pipe_states_no_length():
    for size in (b"\xff\xff\xff\xff", b"\x00\xf0\xff\x7f"):
        streamed = patched(patched(WAV, 4, size), 40, size)
        np.testing.assert_array_equal(load_audio(streamed, sample_rate=RATE),
                                      load_audio(WAV, sample_rate=RATE))


def test_a_flac_from_a_pipe_states_no_length():
    """`ffmpeg -f flac -` leaves the total at 0, which libsndfile reads as 2 ** 63 - 1."""
    streamed = patched(FLAC, 21, bytes([FLAC[21] & 0xF0]) + bytes(4))
    assert probe_audio(streamed).num_samples == RATE
    for arguments in ({}, {"offset": 0.3, "duration": 0.2}):
        np.testing.assert_array_equal(load_audio(streamed, sample_rate=RATE, **arguments),
                                      load_audio(FLAC, sample_rate=RATE, **arguments))
    assert code_of(streamed[:len(FLAC) // 2]) == "audio.decode"


def constant_mp3() -> bytes:
    """MP3 of constant bit rate, its first frame, which holds only the length, removed."""
    file = io.BytesIO()
    soundfile.write(file, np.tile(tone(), 5), RATE, format="MP3", subtype="MPEG_LAYER_III",
                    bitrate_mode="CONSTANT", compression_level=0.5)
    data = file.getvalue()
    return data[mpeg.mp3_frame(data[:4])[1]:]


def test_an_mp3_without_a_length_header():
    data = constant_mp3()
    assert b"Xing" not in data and b"Info" not in data
    id3 = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
    for whole in (data, id3 + data, data + b"TAG" + bytes(125)):
        assert abs(len(load_audio(whole, sample_rate=RATE)) - 5 * RATE) < 3 * 1_152
    assert code_of(data[:-10]) == "audio.truncated"


def test_tags_before_a_recording_are_skipped():
    id3 = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
    for data in (MP3, FLAC):
        np.testing.assert_array_equal(load_audio(id3 + data, sample_rate=RATE),
                                      load_audio(data, sample_rate=RATE))


def test_chunks_around_the_data_are_skipped():
    extra = b"LIST" + struct.pack("<I", 5) + b"hello\0"
    assert len(load_audio(WAV[:12] + extra + WAV[12:] + extra, sample_rate=RATE)) == RATE


# --- A1 - A4: empty and cut -----------------------------------------------------------------------

@pytest.mark.parametrize("data, code", [
    (b"", "audio.empty"), (WAV[:4], "audio.header"), (WAV[:20], "audio.header"),
    (WAV[:30], "audio.header"), (WAV[:40], "audio.header"), (WAV[:44], "audio.empty"),
    (patched(WAV[:44], 40, bytes(4)), "audio.empty"), (FLAC[:20], "audio.header"),
    (VORBIS[:200], "audio.truncated"), (OPUS[:20], "audio.truncated"), (MP3[:4], "audio.truncated"),
    (patched(WAV, 16, b"\x0c"), "audio.header"), (patched(WAV, 12, b"junk"), "audio.header"),
    (patched(WAV, 32, b"\x03"), "audio.header"),
    (encode(np.zeros(0), container="FLAC"), "audio.empty")],
    ids=lambda value: value if isinstance(value, str) else "")  # Ogg's serial numbers are random
def test_empty_and_headers_only(data, code, tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(data)
    assert code_of(path) == code
    with pytest.raises(AudioError):
        probe_audio(path)


@pytest.mark.parametrize("keep", [len(WAV) // 2, len(WAV) - 1, 45])
def test_a_cut_wav_is_an_error_that_can_be_allowed(keep):
    """A2; libsndfile itself says so only in its log, and both agree."""
    cut = WAV[:keep]
    with soundfile.SoundFile(io.BytesIO(cut)) as file:
        assert "(should be" in file.extra_info.partition("data :")[2].partition("\n")[0]
    assert code_of(cut) == "audio.truncated"
    with pytest.raises(AudioError, match="allow-truncated"):
        probe_audio(cut)
    if keep > 100:
        with pytest.warns(UserWarning, match="Using what is left"):
            rest = load_audio(cut, sample_rate=RATE, allow_truncated=True)
        np.testing.assert_array_equal(rest, load_audio(WAV, sample_rate=RATE)[:len(rest)])
        assert len(rest) == (keep - 44) // 2


def test_data_that_end_inside_a_frame():
    assert code_of(patched(WAV, 40, struct.pack("<I", 31_999))) == "audio.truncated"


def test_a_cut_mp3_is_found_by_its_declared_length():
    """A3."""
    half = MP3[:len(MP3) // 2]
    assert code_of(half) == "audio.truncated"
    with pytest.raises(AudioError, match=r"holds \d+ of \d+ MPEG frames"):
        probe_audio(half)  # before it is decoded, so by `asr prepare`, too
    with pytest.warns(UserWarning, match="MPEG frames. Using what is left"):
        rest = load_audio(half, sample_rate=RATE, allow_truncated=True)
    assert 4_000 < len(rest) < 12_000
    whole = load_audio(MP3, sample_rate=RATE)
    same = len(rest) - 2 * 1_152
    np.testing.assert_array_equal(rest[:same], whole[:same])


def test_a_cut_mp3_is_decoded_without_words_of_the_decoder(capfd):
    """libmpg123 would say, without a name, that the size of the stream is off."""
    with pytest.warns(UserWarning, match="Using what is left"):
        load_audio(MP3[:len(MP3) // 2], sample_rate=RATE, allow_truncated=True)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("lost", [0, 1])
def test_an_mp3_that_states_more_bytes_than_its_frames_have_is_whole(lost, capfd):
    """A tagger took a tag away that the header had counted; some count the header's own frame."""
    at = MP3.find(b"Xing") if b"Xing" in MP3 else MP3.find(b"Info")
    frames = int.from_bytes(MP3[at + 8:at + 12], "big") + lost
    data = patched(patched(MP3, at + 8, frames.to_bytes(4, "big")), at + 12,
                   (len(MP3) + 5_000).to_bytes(4, "big"))
    np.testing.assert_array_equal(load_audio(data, sample_rate=RATE)[:16_000],
                                  load_audio(MP3, sample_rate=RATE)[:16_000])
    assert capfd.readouterr().err == ""


def test_mutated_headers_of_mp3_are_read_or_refused():
    """Most mutations are in the first frame, where the length is stated; half of them are cut."""
    rng, codes = random.Random(1), Counter()
    for _ in range(600):
        data = bytearray(MP3)
        for _ in range(rng.randint(1, 6)):
            at = rng.randrange(60) if rng.random() < 0.7 else rng.randrange(len(data))
            data[at] = rng.choice([0, 255, rng.randrange(256)])
        if rng.random() < 0.5:
            del data[rng.randrange(1, len(data)):]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                probe_audio(bytes(data), allow_truncated=rng.random() < 0.3)
                codes["ok"] += 1
            except AudioError as error:
                codes[error.code] += 1
    assert codes["ok"] > 100 and codes["audio.truncated"] > 100, codes


@pytest.mark.parametrize("name", ["vorbis", "opus"])
def test_a_cut_ogg_lacks_its_last_page(name):
    data = encode(np.tile(tone(), 20), container="OGG", subtype=name.upper())
    pages = [i for i in range(len(data)) if data[i:i + 4] == b"OggS"]
    for keep in (len(data) // 2, len(data) - 3, pages[-1], pages[-1] + 10):
        assert code_of(data[:keep]) == "audio.truncated"
    with pytest.warns(UserWarning, match="marked as the last"):
        rest = load_audio(data[:pages[-1]], sample_rate=RATE, allow_truncated=True)
    assert RATE < len(rest) < 20 * RATE


@pytest.mark.parametrize("damage", [
    lambda data: data[:-10],
    lambda data: patched(data, len(data) // 2, bytes([data[len(data) // 2] ^ 4])),
    lambda data: patched(data, len(data) - 9, bytes([data[len(data) - 9] ^ 1]))])
def test_a_damaged_flac_is_an_error(damage):
    assert code_of(damage(FLAC)) == "audio.decode"


def test_a_flac_header_of_2_to_the_36_frames_costs_nothing():
    """A4: soundfile alone would ask for 256 GiB."""
    data = patched(FLAC, 21, bytes([FLAC[21] | 15]) + b"\xff" * 4)
    child = ("import resource, sys, asr.audio, asr.errors, soundfile\n"
             "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
             "data = sys.stdin.buffer.read()\n"
             "for arguments in ({}, {'duration': 3_000.0}):\n"
             "    try: asr.audio.load_audio(data, sample_rate=16_000, **arguments)\n"
             "    except asr.errors.AudioError as error: print(error.code)\n"
             + PEAK_MEGABYTES + "print(peak())\n")
    done = subprocess.run([sys.executable, "-c", child], input=data, capture_output=True,
                          timeout=30, check=True)
    codes = done.stdout.decode().split()
    assert codes[:2] == ["audio.truncated", "audio.truncated"]
    assert int(codes[2]) < 300


# --- A5 - A7: what cannot be ----------------------------------------------------------------------

@pytest.mark.parametrize("offset, value", [
    (24, struct.pack("<I", 0)), (24, struct.pack("<I", 1)), (24, struct.pack("<I", 2**32 - 1)),
    (24, struct.pack("<I", 3_999)), (24, struct.pack("<I", 192_001)),
    (22, struct.pack("<H", 0)), (22, struct.pack("<H", 65_535)), (22, struct.pack("<H", 9)),
    (34, struct.pack("<H", 0)), (34, struct.pack("<H", 7)), (20, struct.pack("<H", 0x11))])
def test_impossible_headers(offset, value):
    assert code_of(patched(WAV, offset, value)) == "audio.unsupported"


@pytest.mark.parametrize("container, subtype", [
    ("WAV", "NMS_ADPCM_16"), ("AIFF", "DWVW_16"), ("PVF", "PCM_16"), ("VOC", "PCM_16")])
def test_formats_outside_the_list(container, subtype):
    assert code_of(encode(tone(), container=container, subtype=subtype)) == "audio.unsupported"


def test_limits_are_checked_for_every_container(monkeypatch):
    monkeypatch.setattr(containers, "MIN_SAMPLE_RATE", 22_050)
    for data in EVERY.values():
        assert code_of(data) == "audio.unsupported"
    monkeypatch.setattr(containers, "MIN_SAMPLE_RATE", 4_000)
    monkeypatch.setitem(containers.SUBTYPES, "OGG", {"VORBIS"})
    assert code_of(OPUS) == "audio.unsupported"


@pytest.mark.parametrize("value, code", [
    (np.nan, "audio.nonfinite"), (np.inf, "audio.nonfinite"), (-np.inf, "audio.nonfinite"),
    (1e30, "audio.range"), (-8.1, "audio.range")])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_samples_that_are_no_audio(value, code, subtype):
    samples = np.stack([tone(), tone()], axis=1).astype(np.float64)
    samples[9_000, 1] = value
    assert code_of(encode(samples, subtype=subtype)) == code


# --- A8: not a recording ------------------------------------------------------------------------

@pytest.mark.parametrize("data", [
    b"hello world, this is a text file\n" * 50, b"<!DOCTYPE html><html></html>",
    b"\x89PNG\r\n\x1a\n", np.arange(4_000, dtype="<i2").tobytes(), b"PK\x03\x04" + bytes(99),
    b"\xff\xe0" + bytes(50)])
def test_other_files(data, tmp_path):
    path = tmp_path / "speech.wav"
    path.write_bytes(data)
    assert code_of(path) == "audio.unsupported"
    path = path.rename(tmp_path / "speech.raw")
    assert code_of(path) == "audio.unsupported"


def test_things_that_are_no_files(tmp_path):
    assert code_of(tmp_path / "nothing.wav") == "audio.missing"
    assert code_of(tmp_path) == "audio.unreadable"
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "gone.wav")
    with pytest.raises(AudioError, match="a link to a file that is gone"):
        load_audio(tmp_path / "dangling.wav", sample_rate=RATE)
    assert code_of("a\0b.wav") == "audio.unreadable"
    assert code_of("/dev/null") == "audio.unreadable"
    assert code_of(tmp_path / ("x" * 300)) == "audio.unreadable"


def test_a_fifo_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "fifo.wav")
    child = (f"import asr.audio\nfrom asr.errors import AudioError\n"
             f"try: asr.audio.load_audio({str(tmp_path / 'fifo.wav')!r}, sample_rate=16_000)\n"
             f"except AudioError as error: print(error.code)")
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, timeout=20,
                          check=True)
    assert done.stdout.strip() == b"audio.unreadable"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path):
    (tmp_path / "secret.wav").write_bytes(WAV)
    (tmp_path / "secret.wav").chmod(0)
    assert code_of(tmp_path / "secret.wav") == "audio.unreadable"


def test_permission_errors_are_item_errors(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")
    monkeypatch.setattr(os, "open", refuse)
    assert code_of(tmp_path / "secret.wav") == "audio.unreadable"


def test_a_name_that_is_no_utf8(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9\n.wav")
    path.write_bytes(WAV)
    assert len(load_audio(path, sample_rate=RATE)) == RATE
    path.write_bytes(b"")
    with pytest.raises(AudioError, match=r"caf\\xe9"):
        load_audio(path, sample_rate=RATE)


# --- A9 - A11: lengths and changes ----------------------------------------------------------------

def test_short_and_long_recordings(monkeypatch):
    assert code_of(encode(tone()[:1])) == "audio.too_short"
    assert code_of(encode(tone()[:160])) == "audio.too_short"
    assert len(load_audio(encode(tone()[:400]), sample_rate=RATE)) == 400
    assert code_of(WAV, min_seconds=1.1) == "audio.too_short"
    assert code_of(WAV, max_seconds=0.9) == "audio.too_long"
    monkeypatch.setattr(audio_module, "MAX_SECONDS", 0.5)
    assert code_of(WAV) == "audio.too_long"
    assert len(load_audio(WAV, sample_rate=RATE, duration=0.4)) == 6_400


def test_silence_and_direct_current_load():
    assert not load_audio(encode(np.zeros(RATE)), sample_rate=RATE).any()
    assert load_audio(encode(np.full(RATE, 0.5)), sample_rate=RATE).min() == 0.5


@pytest.mark.parametrize("offset, duration", [(1.0, None), (5.0, 0.1), (0.5, 0.7)])
def test_parts_outside_the_recording(offset, duration):
    assert code_of(WAV, offset=offset, duration=duration) == "audio.offset"


@pytest.mark.parametrize("offset, duration, start, stop", [
    (0.0, 0.95, 0, 16_000), (0.0, 1.05, 0, 16_000), (0.0, 0.5, 0, 8_000),
    (0.5, 0.41, 8_000, 16_000), (0.5, 0.39, 8_000, 14_240)])
def test_an_utterance_snaps_to_the_end_of_its_recording(tmp_path, offset, duration, start, stop):
    (tmp_path / "a.wav").write_bytes(WAV)
    utterance = Utterance("a", tmp_path / "a.wav", "", duration, offset=offset)
    np.testing.assert_array_equal(load_utterance(utterance, sample_rate=RATE),
                                  load_audio(WAV, sample_rate=RATE)[start:stop])


@pytest.mark.parametrize("arguments, message", [
    ({"sample_rate": 0}, "sample_rate"), ({"sample_rate": 8e3}, "sample_rate"),
    ({"sample_rate": RATE, "offset": -1.0}, "offset"),
    ({"sample_rate": RATE, "offset": float("nan")}, "offset"),
    ({"sample_rate": RATE, "duration": 0.0}, "duration")])
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(UsageError, match=message):
        load_audio(WAV, **arguments)


def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch):
    """A11: replaced between probe and decode, shortened under an open descriptor."""
    path = tmp_path / "a.wav"
    path.write_bytes(WAV)
    info = probe_audio(path)
    path.write_bytes(encode(tone(0.5)))
    assert code_of(path, expected=info) == "audio.changed"
    original = soundfile.SoundFile.read

    def shorten_then_read(*arguments, **named):
        with open(path, "r+b") as other:
            other.truncate(1_000)
        return original(*arguments, **named)

    monkeypatch.setattr(soundfile.SoundFile, "read", shorten_then_read)
    path.write_bytes(WAV)
    with open(path, "rb") as file:  # a small file is read whole when its path is given
        assert code_of(file) in {"audio.changed", "audio.decode"}


def test_large_files_are_decoded_from_the_descriptor(tmp_path, monkeypatch):
    path = tmp_path / "a.flac"
    path.write_bytes(FLAC)
    whole = load_audio(path, sample_rate=RATE)
    monkeypatch.setattr(audio_blocks, "BLOCK_SAMPLES", 777)
    with open(path, "rb") as file:  # as of a large path
        np.testing.assert_array_equal(load_audio(file, sample_rate=RATE), whole)


@pytest.mark.slow
def test_ten_hours_are_decoded_in_bounded_memory(tmp_path):
    """A10: a sparse silent file; all of it is refused, one hour of it costs below 400 MiB."""
    seconds = 36_000
    with open(tmp_path / "long.wav", "wb") as file:
        size = seconds * 48_000 * 2
        file.write(b"RIFF" + struct.pack("<I", size + 36) + b"WAVEfmt " + struct.pack(
            "<IHHIIHH", 16, 1, 1, 48_000, 96_000, 2, 16) + b"data" + struct.pack("<I", size))
        file.truncate(44 + size)
    child = ("import resource, soxr, soundfile, asr.audio, asr.errors, sys\n"
             + PEAK_MEGABYTES + "rss = peak\n"
             "before = rss()\n"
             "try: asr.audio.load_audio(sys.argv[1], sample_rate=16_000)\n"
             "except asr.errors.AudioError as error: print(error.code)\n"
             "x = asr.audio.load_audio(sys.argv[1], sample_rate=16_000, offset=30_000.0,"
             " duration=3_600.0)\n"
             "print(len(x), rss() - before)\n")
    done = subprocess.run([sys.executable, "-c", child, str(tmp_path / "long.wav")],
                          capture_output=True, timeout=300, check=True, text=True)
    code, samples, growth = done.stdout.split()
    assert code == "audio.too_long" and int(samples) == 3_600 * RATE and int(growth) < 400


MUTATE = PEAK_MEGABYTES + """
import os, resource, sys, time, warnings
import asr.audio, asr.errors
sys.path[:0] = [sys.argv[1], os.path.dirname(sys.argv[1])]
import test_audio
warnings.simplefilter("ignore")
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
worst = 0.0
for data in test_audio.mutations(int(sys.argv[2]), int(sys.argv[3])):
    start = time.perf_counter()
    try:
        asr.audio.load_audio(data, sample_rate=16_000)
    except asr.errors.AudioError:
        pass
    worst = max(worst, time.perf_counter() - start)
print(worst, peak())
"""


def mutations(seed: int, count: int):
    """Recordings with 1 - 8 bytes of their first 256 changed, some of them cut."""
    source = random.Random(seed)
    for _ in range(count):
        data = bytearray(source.choice(list(EVERY.values())))
        for _ in range(source.randint(1, 8)):
            data[source.randrange(min(256, len(data)))] = source.randrange(256)
        if source.random() < 0.2:
            del data[source.randrange(len(data)):]
        yield bytes(data)


def run_mutations(seed: int, count: int) -> None:
    command = [sys.executable, "-c", MUTATE, os.path.dirname(__file__), str(seed), str(count)]
    done = subprocess.run(command, capture_output=True, timeout=120, text=True)
    assert done.returncode == 0, done.stderr[-2_000:]
    worst, peak = done.stdout.split()[-2:]
    assert float(worst) < 2.0 and int(peak) < 1_024


def test_a_hundred_mutations_never_crash():
    run_mutations(1, 100)


@pytest.mark.slow
def test_two_thousand_mutations_never_crash():
    """A12: one child a hundred."""
    for seed in range(2, 22):
        run_mutations(seed, 100)


# --- promises -----------------------------------------------------------------------------------

def test_errors_make_records(tmp_path):
    with pytest.raises(AudioError) as caught:
        load_audio(tmp_path / "x.wav", sample_rate=RATE)
    assert caught.value.as_record("audio") == {
        "path": str(tmp_path / "x.wav"), "stage": "audio", "code": "audio.missing",
        "message": str(caught.value)}


def test_import_is_light():
    child = ("import sys, asr.audio; print(sorted({'tensorflow', 'scipy', 'numba', "
             "'soundfile'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_shared_recording_loads(shared_data):
    files = sorted(f for f in shared_data.rglob("*") if f.suffix in {".wav", ".ogg", ".opus"}
                   and "faults" not in f.parts)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in files[::100]:
            info = probe_audio(path)
            loaded = load_audio(path, sample_rate=info.sample_rate, expected=info)
            assert len(loaded) == info.num_samples and isinstance(info, AudioInfo)
