"""Recordings as people have them: other containers, films, one channel of two."""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr.audio import load_audio, load_utterance, probe_audio
from asr.audio.recording import open_recording
from asr.errors import AudioError
from asr.fleet.worklist import find_items, other_audio
from asr.manifest import Utterance, read_manifest, write_manifest

av = pytest.importorskip("av", reason="PyAV is the extra keras-asr[av]")

RATE = 16_000
LIBSNDFILE = [("AIFF", "PCM_16"), ("AIFF", "PCM_24"), ("AU", "PCM_16"), ("AU", "ULAW"),
              ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("W64", "PCM_16"), ("RF64", "PCM_16"),
              ("NIST", "PCM_16"), ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610")]
AV = {"m4a": ("ipod", "aac"), "mp4": ("mp4", "aac"), "mov": ("mov", "alac"), "aac": ("adts", "aac"),
      "mkv": ("matroska", "aac"), "webm": ("webm", "libopus"), "wma": ("asf", "wmav2"),
      "amr": ("amr", "amr_nb")}


def speech(seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    time = np.arange(round(seconds * rate)) / rate
    swell = 1.2 + np.sin(2 * np.pi * 3 * time)
    return (0.2 * swell * (np.sin(2 * np.pi * 310 * time) + np.sin(2 * np.pi * 970 * time) / 2)
            ).astype(np.float32)


def encode(samples: np.ndarray, container: str, subtype: str, rate: int = RATE) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def encode_av(samples: np.ndarray, kind: str) -> bytes:
    """(n,) or (n, 2) float32 at 16 kHz, by FFmpeg."""
    form, codec = AV[kind]
    file = io.BytesIO()
    rate = {"libopus": 48_000, "amr_nb": 8_000}.get(codec, RATE)
    layout = "mono" if samples.ndim == 1 else "stereo"
    with av.open(file, "w", format=form) as output:
        stream = output.add_stream(codec, rate=rate, layout=layout)
        if codec == "wmav2":
            stream.bit_rate = 24_000
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(np.atleast_2d(samples.T)), format="fltp", layout=layout)
        frame.sample_rate = RATE
        resampler = av.AudioResampler(stream.format, layout, rate,
                                      frame_size=stream.codec_context.frame_size or 0)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            output.mux(stream.encode(part))
        output.mux(stream.encode(None))
    return file.getvalue()


def lag_and_likeness(audio: np.ndarray, wanted: np.ndarray) -> tuple[int, float]:
    """By how many samples a decoded recording is late, and the correlation there."""
    size = min(len(audio), len(wanted))
    spectrum = np.fft.rfft(audio[:size], 2 * size) * np.conj(np.fft.rfft(wanted[:size], 2 * size))
    correlation = np.fft.irfft(spectrum)
    lag = int(correlation.argmax())
    likeness = correlation.max() / np.linalg.norm(audio[:size]) / np.linalg.norm(wanted[:size])
    return (lag if lag < size else lag - 2 * size), float(likeness)


@pytest.mark.parametrize("container, subtype", LIBSNDFILE)
def test_containers_of_libsndfile(container, subtype):
    wanted = speech(rate=8_000)
    data = encode(wanted, container, subtype, 8_000)
    audio = load_audio(data, sample_rate=8_000)
    assert abs(len(audio) - len(wanted)) <= 1_024   # ADPCM and GSM fill their last block
    assert lag_and_likeness(audio, wanted)[1] > 0.9
    info = probe_audio(data)
    assert (info.sample_rate, info.channels) == (8_000, 1) and info.subtype.startswith(subtype)
    part = load_audio(data, sample_rate=8_000, offset=0.5, duration=0.5)
    np.testing.assert_allclose(part, audio[4_000:8_000], atol=2e-3 if subtype == "GSM610" else 1e-6)


@pytest.mark.parametrize("container, subtype", [row for row in LIBSNDFILE if row[1] != "ALAC_16"])
def test_a_cut_recording_is_refused_or_used_with_a_warning(container, subtype):
    data = encode(speech(), container, subtype)
    with pytest.raises(AudioError, match="declares") as caught:
        load_audio(data[:len(data) * 2 // 3], sample_rate=RATE)
    assert caught.value.code == "audio.truncated"
    with pytest.warns(UserWarning, match="Using what is left"):
        audio = load_audio(data[:len(data) * 2 // 3], sample_rate=RATE, allow_truncated=True)
    assert 0.5 * RATE < len(audio) < 1.6 * RATE


@pytest.mark.parametrize("container, subtype", LIBSNDFILE)
def test_damaged_headers_are_sentences(container, subtype):
    data = bytearray(encode(speech(0.3), container, subtype))
    rng = np.random.default_rng(1)
    for _ in range(60):
        broken = bytearray(data)
        for place in rng.integers(0, 120, 4):
            broken[place] = rng.integers(256)
        try:
            load_audio(bytes(broken), sample_rate=RATE, max_seconds=100)
        except AudioError as error:
            assert str(error) and error.code


@pytest.mark.parametrize("container, fields", [
    ("RF64", {"ds64": (4, bytes(24)), "data": (0, b"\xff" * 4)}),  # ffmpeg -rf64 always
    ("RF64", {"ds64": (4, b"\xff" * 24), "data": (0, b"\xff" * 4)}),
    ("CAF", {"data": (0, b"\xff" * 8)}), ("W64", {"data": (12, b"\xff" * 7 + b"\x7f")}),
    ("AIFF", {"SSND": (0, b"\x7f\0\0\x08"), "COMM": (6, b"\x3f\x80\0\0"),
              "FORM": (0, b"\x7f\0\0\x2e")})])
def test_sizes_that_a_writer_into_a_pipe_leaves(container, fields, tmp_path):
    """The siblings of WAV: the writer could not go back and fill them in."""
    samples = speech()
    whole = encode(samples, container, "PCM_16")
    data = bytearray(whole)
    for tag, (behind, value) in fields.items():
        at = data.index(tag.encode()) + 4 + behind
        data[at:at + len(value)] = value
    assert data != whole
    path = tmp_path / "streamed"
    path.write_bytes(data)
    assert probe_audio(path).num_samples == len(samples)
    np.testing.assert_array_equal(load_audio(path, sample_rate=RATE),
                                  load_audio(whole, sample_rate=RATE))


def test_sphere_that_is_compressed_names_the_program(tmp_path):
    head = (b"NIST_1A\n   1024\nsample_count -i 9\nsample_n_bytes -i 2\nsample_coding -s26 "
            b"pcm,embedded-shorten-v2.00\nend_head\n")
    with pytest.raises(AudioError, match="sph2pipe"):
        probe_audio(head.ljust(1_024) + bytes(18))


@pytest.mark.parametrize("kind", AV)
def test_containers_of_ffmpeg(kind, tmp_path):
    wanted = speech()
    path = tmp_path / f"talk.{kind}"
    path.write_bytes(encode_av(wanted, kind))
    audio = load_audio(path, sample_rate=RATE)
    assert abs(len(audio) / RATE - 2.0) < 0.15
    lag, likeness = lag_and_likeness(audio, wanted)
    assert likeness > 0.85 and abs(lag) < 0.15 * RATE
    part = load_audio(path, sample_rate=RATE, offset=1.25, duration=0.5)
    shift, same = lag_and_likeness(part, audio[20_000:28_000])
    assert same > 0.998 and abs(shift) <= (8 if kind in ("mkv", "webm") else 0), "part of the whole"
    with open_recording(path, sample_rate=RATE) as recording:
        blocks = np.concatenate(list(recording.blocks()))
    np.testing.assert_array_equal(blocks, audio)


@pytest.mark.parametrize("kind", AV)
def test_joined_ffmpeg_recordings_are_read_whole_or_refused(kind):
    """`cat a.m4a b.m4a`: the first alone was read, and nothing said so."""
    data = encode_av(speech(), kind)
    if kind in ("aac", "amr"):
        length = len(load_audio(data, sample_rate=RATE))
        assert len(load_audio(data + data, sample_rate=RATE)) >= 1.98 * length
        return
    with pytest.raises(AudioError) as caught:
        probe_audio(data + data)
    assert caught.value.code == "audio.unsupported"
    assert f"another recording starts at byte {len(data):_}," in str(caught.value)


def test_a_live_stream_is_no_joined_recording():
    """A browser's recorder leaves the length of its segment open."""
    data = bytearray(encode_av(speech(), "webm"))
    length = len(load_audio(bytes(data), sample_rate=RATE))
    at = data.index(b"\x18\x53\x80\x67") + 4
    width = 9 - data[at].bit_length()
    data[at:at + width] = ((1 << 7 * width + 1) - 1).to_bytes(width, "big")
    assert len(load_audio(bytes(data), sample_rate=RATE)) == length
    with pytest.raises(AudioError, match=f"starts at byte {len(data):_},"):
        load_audio(bytes(data + data), sample_rate=RATE)


@pytest.mark.parametrize("kind", ["m4a", "mkv", "wma", "amr"])
def test_damaged_ffmpeg_recordings_are_sentences(kind):
    data = encode_av(speech(0.5), kind)
    rng = np.random.default_rng(2)
    for length in (3, 20, 100, len(data) // 2, len(data) - 10):
        broken = bytearray(data[:length])
        for place in rng.integers(0, length, 3):
            broken[place] = rng.integers(256)
        try:
            load_audio(bytes(broken), sample_rate=RATE, max_seconds=100)
        except AudioError as error:
            assert str(error) and error.code


def test_a_cut_m4a_is_no_success():
    data = encode_av(speech(6.0), "mkv")
    with pytest.raises(AudioError):
        load_audio(data[:len(data) // 2], sample_rate=RATE)


def test_without_pyav_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "talk.m4a"
    path.write_bytes(encode_av(speech(0.5), "m4a"))
    (tmp_path / "a.wav").write_bytes(encode(speech(), "WAV", "PCM_16"))
    assert [item.relative.name for item in find_items([str(tmp_path)])[0]] == ["a.wav", "talk.m4a"]
    monkeypatch.setattr("asr.audio.av_decoder.find_spec", lambda name: None)
    with pytest.raises(AudioError, match=r"pip install 'keras-asr\[av\]'") as caught:
        load_audio(path, sample_rate=RATE)
    assert caught.value.code == "audio.no_av"
    assert [item.relative.name for item in find_items([str(tmp_path)])[0]] == ["a.wav"]
    assert other_audio([str(tmp_path)]) == {".m4a": [str(path)]}


def test_pyav_is_not_imported_for_other_recordings(tmp_path):
    import subprocess
    path = tmp_path / "a.aiff"
    path.write_bytes(encode(speech(), "AIFF", "PCM_16"))
    code = (f"import sys, asr.audio; asr.audio.load_audio({str(path)!r}, sample_rate=8000); "
            "sys.exit('av' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# One channel -------------------------------------------------------------------------------------


@pytest.fixture
def call(tmp_path) -> Path:
    path = tmp_path / "call.wav"
    left, right = speech(), np.roll(speech(), 5_000) * 0.3
    soundfile.write(path, np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    return path


def test_one_channel_of_a_recording(call):
    left, right = (load_audio(call, sample_rate=RATE, channel=number) for number in (1, 2))
    np.testing.assert_array_equal(left, speech())
    np.testing.assert_allclose(right, np.roll(speech(), 5_000) * 0.3, atol=1e-7)
    np.testing.assert_allclose(load_audio(call, sample_rate=RATE), (left + right) / 2, atol=1e-6)
    with open_recording(call, sample_rate=RATE, channel=2) as recording:
        np.testing.assert_array_equal(np.concatenate(list(recording.blocks())), right)
    with pytest.raises(AudioError, match="has 2 channels, so there is no channel 3") as caught:
        load_audio(call, sample_rate=RATE, channel=3)
    assert caught.value.code == "audio.channel"


def test_a_row_has_a_channel(call, tmp_path):
    rows = [Utterance(f"u{n}", call, "yes", 2.0, channel=n) for n in range(3)]
    write_manifest(tmp_path / "m.jsonl", rows)
    assert read_manifest(tmp_path / "m.jsonl") == rows
    assert '"channel": 2' in (tmp_path / "m.jsonl").read_text("utf-8")
    assert '"channel": 0' not in (tmp_path / "m.jsonl").read_text("utf-8")
    np.testing.assert_array_equal(load_utterance(rows[1], sample_rate=RATE), speech())


@pytest.mark.parametrize("value", [-1, 9, 1.0, "left", True, None])
def test_a_channel_that_cannot_be(call, tmp_path, value):
    import json
    row = {"id": "a", "audio_filepath": "call.wav", "text": "x", "duration": 2.0, "channel": value}
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(Exception, match="channel must be 1 for the first"):
        read_manifest(tmp_path / "m.jsonl")


@pytest.mark.parametrize("kind", ["m4a", "webm", "FLAC PCM_16", "OGG VORBIS", "MP3 MPEG_LAYER_III",
                                  "AIFF PCM_16"])
def test_every_decoder_reads_a_part_of_a_tar_file(kind, tmp_path, monkeypatch):
    """As a window on the tar file, which is how large recordings are read; in two passes."""
    monkeypatch.setattr("asr.audio.source._IN_MEMORY_BYTES", 0)
    data = encode_av(speech(), kind) if " " not in kind else encode(speech(), *kind.split())
    (tmp_path / "one").write_bytes(data)
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("before", "one", "after"):
            archive.add(tmp_path / "one", name)
    wanted = load_audio(tmp_path / "one", sample_rate=RATE)
    with open_recording(tmp_path / "a.tar/one", sample_rate=RATE) as recording:
        for _ in range(2):
            np.testing.assert_array_equal(np.concatenate(list(recording.blocks())), wanted)
    part = load_audio(tmp_path / "a.tar/one", sample_rate=RATE, offset=0.5, duration=0.5)
    np.testing.assert_array_equal(part, load_audio(tmp_path / "one", sample_rate=RATE, offset=0.5,
                                                   duration=0.5))
