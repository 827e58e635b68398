"""Files that recorders and damaged copies leave: chains, streams, cancelled channels, no length."""

from __future__ import annotations

import os
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_recordings import encode, speech

import asr.assets
from asr.audio import blocks as audio_blocks
from asr.audio import channels, joined, load_audio, mpeg, ogg, probe_audio, unchanged
from asr.audio.flac import coded_number
from asr.audio.recording import open_recording
from asr.errors import AudioError

RATE = 16_000
CLIP = (Path(asr.assets.__path__[0]) / "clips" / "1-rms.ogg").read_bytes()


def load(data, **arguments) -> np.ndarray:
    return load_audio(data, sample_rate=arguments.pop("sample_rate", RATE), **arguments)


def error_of(data, **arguments) -> AudioError:
    with pytest.raises(AudioError) as caught:
        load(data, **arguments)
    assert caught.value.path and len(str(caught.value)) > 40
    return caught.value


def in_pieces(data, passes: int = 1, **arguments) -> list[np.ndarray]:
    """Every pass as one array, from blocks of 1,000 samples."""
    with pytest.MonkeyPatch.context() as patch, \
            open_recording(data, sample_rate=RATE, **arguments) as recording:
        patch.setattr(audio_blocks, "BLOCK_SAMPLES", 1_000)
        return [np.concatenate(list(recording.blocks())) for _ in range(passes)]


def with_said(function, data, **arguments):
    """The result, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function(data, **arguments)
    return result, [str(warning.message) for warning in caught]


# --- A4: chained Ogg files ------------------------------------------------------------------------

def ogg_file(subtype: str, seed: int, rate: int = RATE, seconds: float = 1.5) -> bytes:
    return encode(speech(seconds, seed, rate), rate, "OGG", subtype)


def pages_of(data: bytes) -> list[int]:
    """Where the pages of a sound Ogg file start."""
    starts, position = [], 0
    while position < len(data):
        starts.append(position)
        num_segments = data[position + 26]
        position += 27 + num_segments + sum(data[position + 27:position + 27 + num_segments])
    return starts


def ogg_flac(flac: bytes, serial: int) -> bytes:
    """STREAMINFO of a FLAC file in the first page of an Ogg stream, and an empty last page."""
    first = b"\x7fFLAC\x01\0\0\0fLaC" + flac[4:42]
    page = struct.Struct("<4sBBqIII")
    return (page.pack(b"OggS", 0, 2, 0, serial, 0, 0) + bytes([1, len(first)]) + first
            + page.pack(b"OggS", 0, 4, 0, serial, 1, 0) + bytes([1, 0]))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chain_is_read_whole(subtype, tmp_path):
    links = [ogg_file(subtype, seed, seconds=0.7 + seed) for seed in range(3)]
    right = np.concatenate([load(link) for link in links])
    path = tmp_path / "radio.ogg"
    path.write_bytes(b"".join(links))
    info = probe_audio(path)
    assert info.num_samples == len(right) == round(5.1 * RATE) and info.subtype == subtype
    np.testing.assert_array_equal(load(path, expected=info), right)
    for again in in_pieces(path, passes=2):
        np.testing.assert_array_equal(again, right)
    for offset, duration in ((0.5, 0.4), (0.6, 2.5), (0.7, 1.7), (2.5, None), (1.0, 0.2)):
        start = round(offset * RATE)
        stop = len(right) if duration is None else start + round(duration * RATE)
        np.testing.assert_allclose(load(path, offset=offset, duration=duration),
                                   right[start:stop], atol=1e-6)


def test_a_sample_clip_twice_is_spoken_twice():
    """The same serial number in both streams, as `cat` makes it; RFC 3533 forbids it."""
    once = load(CLIP)
    np.testing.assert_array_equal(load(CLIP + CLIP), np.concatenate([once, once]))


def test_a_chain_of_different_formats_is_refused():
    slow, fast = ogg_file("VORBIS", 1), ogg_file("VORBIS", 2, rate=22_050)
    stereo = encode(np.stack(2 * [speech(1, 1, RATE)], axis=1), RATE, "OGG", "VORBIS")
    for second, got in ((fast, "22_050 Hz, 1 channel,"), (stereo, "16_000 Hz, 2 channels"),
                        (ogg_file("OPUS", 1), "Opus")):
        with pytest.raises(AudioError, match="chained Ogg file whose streams differ") as caught:
            load(slow + second)
        assert caught.value.code == "audio.unsupported" and got in str(caught.value)


def test_flac_in_ogg_is_refused_chained_or_not():
    flac = encode(speech(1, rate=RATE), RATE, "FLAC")
    with pytest.raises(AudioError, match="is an Ogg file that holds FLAC; accepted are Vorbis"):
        load(ogg_flac(flac, 1))
    with pytest.raises(AudioError, match="chained Ogg file; stream 1 of 2 holds FLAC"):
        load(ogg_flac(flac, 1) + ogg_flac(flac, 2))
    with pytest.raises(AudioError, match="chained Ogg file; stream 2 of 2 holds FLAC"):
        load(ogg_file("VORBIS", 1) + ogg_flac(flac, 2))


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_cut_chain_is_refused_or_what_is_left_is_used(subtype):
    first, second = ogg_file(subtype, 1), ogg_file(subtype, 2, seconds=9)
    last = pages_of(second)[-1]
    for data, reason in ((first + second[:last], "marked as the last"),
                         (first + second[:last + 40], "ends inside an Ogg page"),
                         (first + second[:60], "")):
        error = error_of(data)
        assert error.code == "audio.truncated" and reason in str(error)
        left, said = with_said(load, data, allow_truncated=True)
        np.testing.assert_array_equal(left[:RATE], load(first)[:RATE])
        assert len(said) == 1 and "Using what is left" in said[0]
    unended = second[:last] + first  # the recorder was killed and started again
    assert "chained Ogg file whose stream 1 of 2 stops" in str(error_of(unended))
    left, _ = with_said(load, unended, allow_truncated=True)
    np.testing.assert_array_equal(left[-RATE:], load(first)[-RATE:])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_page_with_another_checksum_is_refused(subtype):
    """libsndfile leaves such a page out: half of an Opus file is lost and nothing says so."""
    data = ogg_file(subtype, 1, seconds=3)
    load(data)
    for page in pages_of(data)[:-1]:
        for at in (page + 6, page + 40):  # its time, its content
            changed = bytearray(data)
            changed[at] ^= 2
            error = error_of(bytes(changed), allow_truncated=True)
            assert error.code == "audio.decode" and f"page at byte {page:_} has" in str(error)


def test_pages_that_are_overwritten_are_missing():
    data = ogg_file("OPUS", 1, seconds=9)
    third, fourth = pages_of(data)[2:4]
    wiped = data[:third] + bytes(fourth - third) + data[fourth:]
    assert f"lacks pages before byte {fourth:_}" in str(error_of(wiped))
    junk = data[:fourth] + b"junk" * 30 + data[fourth:]  # nothing of the sound
    np.testing.assert_array_equal(load(junk), load(data))


def test_bounds_of_a_chain(monkeypatch):
    link = ogg_file("VORBIS", 1)
    damaged = link[:pages_of(link)[2]] + b"x" * 70_000 + link[pages_of(link)[2]:]
    right = load(link)
    np.testing.assert_array_equal(load(damaged + link), np.concatenate([load(damaged), right]))
    monkeypatch.setattr(ogg, "MAX_GAPS", 0)
    assert error_of(damaged).code == "audio.decode"
    monkeypatch.setattr(ogg, "MAX_LINKS", 2)
    assert len(load(link + link)) == 2 * len(right)
    assert "chained Ogg file of more than 2 streams" in str(error_of(link * 3))
    monkeypatch.setattr(ogg, "MAX_PAGES", 2)
    assert error_of(link).code == "audio.unsupported"


def mp3_file(audio: np.ndarray, rate: int = RATE) -> bytes:
    return encode(audio, rate, "MP3", "MPEG_LAYER_III")


@pytest.mark.parametrize("tags", [(b"", b""), (b"ID3\x03\0\0\0\0\0\x0a" + bytes(10),
                                             b"APETAGEX" + bytes(range(256)) * 90 + b"TAG"
                                             + bytes(125))])
def test_joined_mp3_files_are_read_whole(tags, tmp_path):
    """`cat a.mp3 b.mp3`: the header states the length of the first alone."""
    before, behind = tags
    files = [mp3_file(speech(1.5 + seed, seed, RATE)) for seed in range(3)]
    right = np.concatenate([load(before + file + behind) for file in files])
    path = tmp_path / "joined.mp3"
    path.write_bytes(b"".join(before + file + behind for file in files))
    assert probe_audio(path).num_samples == len(right) == round(7.5 * RATE)
    np.testing.assert_array_equal(load(path), right)
    np.testing.assert_array_equal(in_pieces(path)[0], right)
    np.testing.assert_allclose(load(path, offset=1.2, duration=2.0),
                               right[round(1.2 * RATE):round(3.2 * RATE)], atol=1e-3)


def test_frames_behind_the_length_that_a_header_states_are_read():
    """A recorder went on and left the header as it was; with and without a second header."""
    first, second = (mp3_file(speech(2, seed, RATE)) for seed in (1, 2))
    without = second[second.index(b"\xff\xf3", 300):]
    assert len(load(first + without)) >= 4 * RATE - 1_152


def test_joined_mp3_files_that_differ_or_are_too_many_are_refused(monkeypatch):
    slow, fast = (mp3_file(speech(1, 1, rate), rate) for rate in (RATE, 22_050))
    stereo = mp3_file(np.stack(2 * [speech(1, 1, RATE)], axis=1))
    for second in (fast, stereo):
        error = error_of(slow + second)
        assert error.code == "audio.unsupported" and "chained MP3 file whose" in str(error)
    assert error_of(slow + slow[:-1_000]).code == "audio.truncated"
    monkeypatch.setattr(mpeg, "MAX_PARTS", 2)
    assert "more than 2 parts" in str(error_of(slow * 3))


@pytest.mark.parametrize("form", ["FLAC", "WAV", "AIFF", "AU", "CAF", "W64", "RF64", "NIST"])
@pytest.mark.parametrize("chunk", [64, 1 << 20])
def test_other_joined_files_are_refused_before_they_are_decoded(form, chunk, monkeypatch, tmp_path):
    """`cat a.flac b.flac`: the header speaks of the first alone, and so do decoders."""
    monkeypatch.setattr(joined, "_CHUNK", chunk)
    first, second = (encode(speech(seconds, 1, RATE), RATE, form) for seconds in (1, 2))
    (tmp_path / "j").write_bytes(first + second)
    for source in (first + second, first + first, tmp_path / "j"):
        for read in (probe_audio, load, in_pieces):
            with pytest.raises(AudioError, match=f"chained {form} file: another recording starts "
                                                 f"at byte {len(first):_},") as caught:
                read(source)
            assert caught.value.code == "audio.unsupported"
    tagged = first + b"TAG" + bytes(125)
    assert probe_audio(tagged).num_samples == RATE
    np.testing.assert_array_equal(load(tagged), load(first))


@pytest.mark.parametrize("subtype, num_channels", [("PCM_16", 1), ("PCM_24", 2), ("PCM_S8", 1)])
def test_a_cut_flac_file_is_noticed_by_its_frames(subtype, num_channels, tmp_path):
    """libsndfile believes the length in its header, and decodes nothing of its last block."""
    audio = np.stack(num_channels * [speech(6, 1, RATE)], axis=1)
    data = encode(audio, RATE, "FLAC", subtype)
    whole = load(data)
    assert probe_audio(data + b"TAG" + bytes(125)).num_samples == len(whole)
    assert probe_audio(data + bytes(1 << 18)).num_samples == len(whole)
    for share in (0.2, 0.75, 0.95):
        cut = data[:round(share * len(data))]
        for read in (probe_audio, load, in_pieces):
            with pytest.raises(AudioError, match="it ends before its last frame") as caught:
                read(cut)
            assert caught.value.code == "audio.truncated"
        (tmp_path / "c.flac").write_bytes(cut)
        for source in (cut, tmp_path / "c.flac"):
            part, said = with_said(load, source, allow_truncated=True)
            assert len(said) == 1 and "Using what is left" in said[0]
            assert (share - 0.1) * len(whole) - 4_096 < len(part) < len(whole)
            np.testing.assert_array_equal(part, whole[:len(part)])
            (blocks,), _ = with_said(in_pieces, source, allow_truncated=True)
            np.testing.assert_array_equal(blocks, part)
        info, _ = with_said(probe_audio, cut, allow_truncated=True)
        assert info.num_samples == len(part)


@pytest.mark.parametrize("number, coded", [
    (0, b"\0"), (127, b"\x7f"), (128, "\x80".encode()), (0x7FF, "\u07ff".encode()),
    (0x800, "\u0800".encode()), (0xFFFF, "\uffff".encode()), (0x10000, "\U00010000".encode()),
    ((1 << 36) - 1, b"\xfe" + 6 * b"\xbf")])
def test_numbers_of_flac_frames(number, coded):
    assert coded_number(number) == coded


@pytest.mark.parametrize("form", ["FLAC", "WAV", "AU"])
def test_joined_files_that_state_no_length_or_have_a_tag_first(form):
    data = encode(speech(1, 1, RATE), RATE, form)
    unknown = {"FLAC": b"ID3\4\0\0\0\0\0\4abcd" + data, "AU": data[:8] + b"\xff" * 4 + data[12:],
               "WAV": data[:40] + b"\xff" * 4 + data[44:]}[form]
    assert probe_audio(unknown).num_samples == len(load(unknown)) == RATE
    with pytest.raises(AudioError, match=f"starts at byte {len(unknown):_},"):
        probe_audio(unknown + data)


# --- A5: WAV files from a pipe --------------------------------------------------------------------

def with_sizes(wav: bytes, riff: int, data: int) -> bytes:
    """Other sizes in a header of 44 bytes."""
    return wav[:4] + struct.pack("<I", riff) + wav[8:40] + struct.pack("<I", data) + wav[44:]


@pytest.mark.parametrize(("riff", "data"), [
    (0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFDB),   # ffmpeg; less the header
    (0x80000024, 0x80000000), (0x7FFFFF24, 0x7FFFFF00),   # arecord
    (0x7FFFF024, 0x7FFFF000), (0x7FFFF020, 0x7FFFEFFC),   # SoX, espeak; SoX with frames of 6 bytes
    (0x7FFFFFFF, 0x7FFFFFFF), (0x80000023, 0x7FFFFFFF),   # opusdec, lame
    (0, 0), (36, 0)])                                     # GStreamer, VLC; Python's wave, killed
def test_a_wav_that_was_written_into_a_pipe(riff, data):
    wav = encode(speech(1, rate=RATE), RATE)
    streamed = with_sizes(wav, riff, data)
    right = load(wav)
    np.testing.assert_array_equal(load(streamed), right)
    assert probe_audio(streamed).num_samples == RATE
    np.testing.assert_array_equal(in_pieces(streamed)[0], right)
    np.testing.assert_array_equal(load(streamed, offset=0.5), right[RATE // 2:])
    read, write = os.pipe()

    def writer() -> None:
        with os.fdopen(write, "wb") as sink:
            sink.write(streamed)

    thread = threading.Thread(target=writer)
    thread.start()
    with os.fdopen(read, "rb") as pipe:
        np.testing.assert_array_equal(load(pipe), right)
    thread.join()


@pytest.mark.parametrize("subtype", ["PCM_24", "FLOAT", "ULAW"])
def test_a_stream_of_other_samples(subtype):
    wav = encode(speech(1, rate=RATE), RATE, "WAV", subtype)
    at = wav.index(b"data") + 4
    streamed = wav[:4] + bytes(4) + wav[8:at] + bytes(4) + wav[at + 4:]
    np.testing.assert_array_equal(load(streamed), load(wav))


def test_a_size_of_0_that_is_meant():
    """Chunks behind no samples, which the size of the file counts."""
    wav = encode(speech(1, rate=RATE), RATE)
    extra = b"LIST" + struct.pack("<I", 4) + b"none"
    assert error_of(with_sizes(wav[:44] + extra, 48, 0)).code == "audio.empty"
    assert error_of(with_sizes(wav[:44], 0, 0)).code == "audio.empty"


def test_a_stream_of_more_than_its_header_can_say(tmp_path):
    """libsndfile would read 2 GiB and hide the rest."""
    wav = encode(speech(1, rate=RATE), RATE)
    with open(tmp_path / "long.wav", "wb") as file:
        file.write(with_sizes(wav[:44], 0x80000024, 0x80000000))
        file.truncate((1 << 31) + (1 << 22))
    error = error_of(tmp_path / "long.wav")
    assert error.code == "audio.unsupported" and "can state 2_147_483_648 at most" in str(error)


def test_a_size_just_outside_is_a_cut_file():
    wav = encode(speech(1, rate=RATE), RATE)
    for size in (0x7FFFE000, 0x80002000, 0xFFFF0000):
        assert error_of(with_sizes(wav, size + 36, size)).code == "audio.truncated"


# --- A6: channels in opposite phase ---------------------------------------------------------------

def columns(*signals: np.ndarray) -> np.ndarray:
    return np.stack(signals, axis=1)


VOICE = speech(3, rate=RATE)


@pytest.mark.parametrize(("container", "subtype"), [
    ("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III")])
def test_opposite_channels_give_the_louder_one(container, subtype):
    clip = load(CLIP)
    data = encode(columns(-0.95 * clip, clip), RATE, container, subtype)
    whole, said = with_said(load, data)
    assert len(said) == 1 and "opposite phase" in said[0] and "channel 2 alone" in said[0]
    assert np.corrcoef(whole, clip[:len(whole)])[0, 1] > 0.99
    passes, said = with_said(in_pieces, data, passes=2)
    assert len(said) == 1
    for blocks in passes:
        np.testing.assert_allclose(blocks, whole, atol=2e-6)
    part, _ = with_said(load, data, offset=1.0, duration=0.5)
    np.testing.assert_allclose(part, whole[RATE:RATE * 3 // 2], atol=1e-5)


def test_opposite_channels_at_another_rate():
    whole, _ = with_said(load, encode(columns(VOICE, -VOICE), RATE), sample_rate=8_000)
    np.testing.assert_allclose(whole, load(encode(VOICE, RATE), sample_rate=8_000), atol=1e-6)


def test_direct_current_does_not_hide_opposite_channels():
    data = encode(columns(0.5 * VOICE + 0.1, 0.1 - 0.5 * VOICE), RATE, "WAV", "FLOAT")
    whole, said = with_said(load, data)
    assert said
    np.testing.assert_allclose(whole, np.clip(0.5 * VOICE + 0.1, -1, 1), atol=1e-6)


@pytest.mark.parametrize("others", [
    [VOICE], [0.5 * VOICE], [np.zeros_like(VOICE)], 7 * [np.zeros_like(VOICE)],
    [speech(3, 9, RATE)], [-0.5 * VOICE], [1e-4 * speech(3, 9, RATE)]])
def test_other_channels_are_averaged_as_ever(others):
    """12 dB are lost with half the opposite, 18 dB with one of 8; the mean is what it was."""
    data = encode(columns(VOICE, *others), RATE, "WAV", "FLOAT")
    right = columns(VOICE, *others).mean(axis=1, dtype=np.float32)
    whole, said = with_said(load, data)
    assert not said
    np.testing.assert_allclose(whole, right, atol=1e-7)


def test_channels_that_are_opposite_for_a_while_never_give_silence():
    """Two parts were joined of which one was wired the other way round: half of it was lost."""
    turned = np.concatenate([VOICE[:RATE], -VOICE[RATE:2 * RATE], VOICE[2 * RATE:]])
    data = encode(columns(VOICE, turned), RATE, "WAV", "FLOAT")
    whole, said = with_said(load, data)
    assert len(said) == 1 and "channel 1 alone" in said[0]
    np.testing.assert_allclose(whole, VOICE, atol=1e-7)
    (blocks,), said = with_said(in_pieces, data)
    assert len(said) == 1
    np.testing.assert_allclose(blocks, VOICE, atol=1e-7)


def test_silence_is_no_opposite_phase():
    hiss = 1e-4 * speech(2, rate=RATE)
    for signal in (hiss, np.zeros_like(hiss)):
        whole, said = with_said(load, encode(columns(signal, -signal), RATE, "WAV", "FLOAT"))
        assert not said and not whole.any()


def test_silence_before_opposite_channels_is_no_evidence(monkeypatch):
    monkeypatch.setattr(channels, "SECONDS", 2)
    late = np.concatenate([np.zeros(5 * RATE, np.float32), VOICE])
    data = encode(columns(late, -late), RATE, "WAV", "FLOAT")
    whole, said = with_said(load, data)
    assert len(said) == 1
    np.testing.assert_array_equal(whole, late)


def test_channels_that_turn_opposite_later_are_refused_by_both_ways(monkeypatch):
    """Not decided at the start, as its sound is that of agreeing channels; never silence."""
    monkeypatch.setattr(channels, "SECONDS", 2)
    both = np.concatenate([0.1 * VOICE, VOICE, VOICE])
    other = np.concatenate([0.1 * VOICE, -VOICE, -VOICE])
    data = encode(columns(both, other), RATE, "WAV", "FLOAT")
    error = error_of(data)
    assert error.code == "audio.phase" and "pan=mono|c0=c0" in str(error)
    with pytest.raises(AudioError, match="opposite phase after its start"):
        in_pieces(data)
    assert len(load(data, duration=2.0)) == 2 * RATE  # the part that agrees


@pytest.fixture
def frames_read(monkeypatch):
    """Counts what libsndfile decodes."""
    counts, read = [], soundfile.SoundFile.read
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda self, *args, **named: (
        lambda found: counts.append(len(found)) or found)(read(self, *args, **named)))
    return counts


@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_stereo_is_decoded_once(container, frames_read, monkeypatch):
    data = encode(columns(VOICE, -VOICE), RATE, container)
    monkeypatch.setattr(channels, "MAX_KEPT", 0)
    twice, said = with_said(load, data)
    assert len(said) == 1 and sum(frames_read) == 2 * len(VOICE)
    monkeypatch.undo()
    once, said = with_said(load, data)
    assert len(said) == 1, "the MD5 of a FLAC file is that of all samples"
    np.testing.assert_array_equal(once, twice)


def test_stereo_that_is_kept_is_not_decoded_again(frames_read):
    whole = load(encode(columns(VOICE, 0.5 * VOICE), RATE))
    assert sum(frames_read) == len(VOICE) == len(whole)


def test_parts_of_a_large_file_are_looked_at_once(tmp_path, frames_read, monkeypatch):
    monkeypatch.setattr(unchanged, "SETTLED_NS", -10**12)
    path = tmp_path / "talk.wav"
    path.write_bytes(encode(columns(VOICE, -VOICE), RATE))
    parts = []
    for start in (1.0, 2.0, 1.0):
        with open(path, "rb") as file:  # a small file is read whole when its path is given
            part, said = with_said(load, file, offset=start, duration=0.5)
        assert len(said) == 1, "each part says so"
        parts.append(part)
    np.testing.assert_array_equal(parts[0], parts[2])
    assert sum(frames_read) == len(VOICE) + 3 * RATE // 2
    path.write_bytes(encode(columns(VOICE, VOICE), RATE))
    with open(path, "rb") as file:
        assert not with_said(load, file, offset=1.0, duration=0.5)[1], "another file by now"


def test_damage_in_the_first_look_is_reported_by_the_second():
    data = bytearray(encode(columns(VOICE, -VOICE), RATE, "FLAC"))
    data[len(data) // 2] ^= 4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert error_of(bytes(data)).code == "audio.decode"


# --- A10b: MP3 without a stated length ------------------------------------------------------------

def variable_mp3(rate: int = RATE, num_channels: int = 1) -> tuple[bytes, np.ndarray]:
    """MP3 of variable bit rate without its first frame, which states the length; the samples."""
    loud, soft = speech(2, 1, rate), 1e-3 * speech(1, 2, rate)
    audio = np.concatenate([soft, loud, soft, loud])
    data = encode(columns(*num_channels * [audio]), rate, "MP3", "MPEG_LAYER_III")
    assert b"Xing" in data[:200]
    rest = data[mpeg.mp3_frame(data[:4])[1]:]
    assert b"Xing" not in rest and b"Info" not in rest
    return rest, load(data, sample_rate=rate)


def delay_of(audio: np.ndarray, right: np.ndarray) -> int:
    """The encoder's delay, which only the missing frame tells."""
    return max(range(2_000), key=lambda k: float(np.dot(audio[k:k + 20_000], right[:20_000])))


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_an_mp3_of_variable_bit_rate_is_decoded_to_its_end(rate, num_channels):
    data, right = variable_mp3(rate, num_channels)
    audio = load(data, sample_rate=rate)
    assert len(right) <= len(audio) == probe_audio(data).num_samples < len(right) + 4 * 1_152
    delay = delay_of(audio, right)
    np.testing.assert_allclose(audio[delay:delay + len(right)][:len(right) - 1_152],
                               right[:len(audio) - delay][:len(right) - 1_152], atol=1e-4)


def test_a_part_and_blocks_of_an_mp3_of_variable_bit_rate():
    data, _ = variable_mp3()
    whole = load(data)
    np.testing.assert_array_equal(in_pieces(data)[0], whole)
    for offset, duration in ((0.5, 1.0), (2.7, 0.5), (4.0, None)):
        start = round(offset * RATE)
        stop = len(whole) if duration is None else start + round(duration * RATE)
        np.testing.assert_allclose(load(data, offset=offset, duration=duration),
                                   whole[start:stop], atol=1e-6)


def test_tags_and_gaps_in_an_mp3_of_variable_bit_rate():
    data, _ = variable_mp3()
    whole = load(data)
    id3 = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
    picture = bytes(np.random.default_rng(1).integers(0, 256, 200_000, dtype=np.uint8))
    for odd in (id3 + data, data + b"TAG" + bytes(125), data + b"APETAGEX" + picture):
        np.testing.assert_array_equal(load(odd), whole)
    frame = data_frames(data)[100]
    gap = data[:frame] + b"no frame here" * 9 + data[frame:]
    assert abs(len(load(gap)) - len(whole)) <= 2 * 1_152
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mpeg, "MAX_GAPS", 0)
        assert error_of(gap).code == "audio.decode"


def data_frames(data: bytes) -> list[int]:
    starts, position = [], 0
    while position + 4 <= len(data):
        starts.append(position)
        position += mpeg.mp3_frame(data[position:position + 4])[1]
    return starts


def test_a_cut_mp3_of_variable_bit_rate():
    data, _ = variable_mp3()
    assert error_of(data[:-10]).code == "audio.truncated"
    left, said = with_said(load, data[:-10], allow_truncated=True)
    assert len(said) == 1 and len(load(data)) - 2 * 1_152 < len(left) < len(load(data))


def test_bounds_of_an_mp3_of_variable_bit_rate(monkeypatch):
    data, _ = variable_mp3()
    assert error_of(data, max_seconds=2.0).code == "audio.too_long"
    monkeypatch.setattr(mpeg, "MAX_FRAMES", 100)
    error = error_of(data)
    assert error.code == "audio.too_long" and "100 frames" in str(error)


def test_an_mp3_that_changes_its_format_is_refused():
    data, _ = variable_mp3()
    for second in (variable_mp3(24_000)[0], variable_mp3(num_channels=2)[0]):
        error = error_of(data + second)
        assert error.code == "audio.unsupported" and "changes its sample rate" in str(error)


# --- A18: the MD5 of a FLAC file ------------------------------------------------------------------

FLAC_MD5 = 26  # its place


def flac(subtype: str = "PCM_16", num_channels: int = 1, md5: bytes | None = None) -> bytes:
    signals = [speech(2, seed, RATE) for seed in range(num_channels)]
    data = encode(columns(*signals), RATE, "FLAC", subtype)
    assert any(data[FLAC_MD5:FLAC_MD5 + 16])
    return data if md5 is None else data[:FLAC_MD5] + md5 + data[FLAC_MD5 + 16:]


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("num_channels", [1, 2, 3])
def test_a_flac_file_is_compared_with_its_md5(subtype, num_channels, monkeypatch):
    right, wrong = flac(subtype, num_channels), flac(subtype, num_channels, b"0123456789abcdef")
    for block in (1 << 19, 1_000):
        monkeypatch.setattr(audio_blocks, "BLOCK_SAMPLES", block)
        whole, said = with_said(load, right)
        assert not said
        again, said = with_said(load, wrong)
        assert len(said) == 1 and "another MD5 than its header states" in said[0]
        np.testing.assert_array_equal(again, whole)
    passes, said = with_said(in_pieces, wrong, passes=2)
    assert len(said) == 1
    np.testing.assert_array_equal(passes[0], whole)


def test_where_an_md5_says_nothing():
    """Not set (16 zeros), of a part, or in a file that is only probed."""
    assert not with_said(load, flac(md5=bytes(16)))[1]
    wrong = flac(md5=b"x" * 16)
    assert not with_said(load, wrong, offset=0.5)[1]
    assert not with_said(load, wrong, duration=0.5)[1]
    assert not with_said(probe_audio, wrong)[1]


def test_the_md5_behind_a_tag_and_without_a_length():
    id3 = b"ID3\x04\0\0\0\0\0\x0a" + bytes(10)
    wrong = flac(md5=b"x" * 16)
    streamed = wrong[:21] + bytes([wrong[21] & 0xF0]) + bytes(4) + wrong[26:]
    for data in (id3 + wrong, streamed):
        assert len(with_said(load, data)[1]) == 1
    right = flac()
    assert not with_said(load, id3 + right)[1]
    assert not with_said(load, right[:21] + bytes([right[21] & 0xF0]) + bytes(4) + right[26:])[1]


def test_an_md5_agrees_with_full_scale_samples(tmp_path):
    for subtype, dtype in (("PCM_16", np.int16), ("PCM_24", np.int32)):
        limits = np.iinfo(dtype)
        samples = np.tile(np.array([limits.min, limits.max, -256, 0, 256], dtype), 1_000)
        soundfile.write(tmp_path / "a.flac", samples, RATE, subtype=subtype)
        assert not with_said(load, tmp_path / "a.flac")[1]
