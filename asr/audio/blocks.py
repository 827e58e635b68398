"""An open, checked decoder, and its samples block by block.

In: a binary file that we opened. Out: what it declares; (n,) float32 blocks, mono, in [-1, 1], at
the rate that is wanted. Loading a recording whole and reading it in pieces go through
here both, so they give the same samples and refuse the same files.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from asr.audio.containers import REMEDY, check_format, inspect_container
from asr.errors import AudioError

if TYPE_CHECKING:
    import soundfile

MAX_AMPLITUDE = 8.0  # 18 dB over full scale: beyond it, the samples are no audio
BLOCK_SAMPLES = 1 << 19  # decoded at once, all channels together: 2 MiB

_UNKNOWN_LENGTH = 1 << 62  # libsndfile's way to say so is 2 ** 63 - 1
_MP3_TOLERANCE = 2 * 1_152  # frames; encoders round the length to whole MPEG frames


@dataclass(frozen=True)
class AudioInfo:
    """What a recording declares.

    Attributes:
        sample_rate: Hz.
        channels: 1 .. 8.
        num_samples: a channel.
        format: "WAV", "FLAC", "OGG" or "MP3".
        subtype: libsndfile's name of the encoding, such as "PCM_16" or "OPUS".
    """

    sample_rate: int
    channels: int
    num_samples: int
    format: str
    subtype: str

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.num_samples / self.sample_rate


def mix_channels(audio: np.ndarray) -> np.ndarray:
    """The mean over channels: (num_samples, channels) -> (num_samples,) float32."""
    return audio[:, 0] if audio.shape[1] == 1 else audio.mean(axis=1, dtype=np.float32)


@contextmanager
def open_decoder(file: BinaryIO, name: str
                 ) -> Iterator[tuple[soundfile.SoundFile, AudioInfo, str | None]]:
    """A decoder (libsndfile) on a file whose header we have checked first.

    Yields:
        The decoder; what the recording declares; what shows that its end is missing, or None.

    Raises:
        AudioError: audio.empty, audio.header, audio.unsupported, audio.truncated, audio.decode.
    """
    container, cut = inspect_container(file, name)
    decoder = sound_file(file, container, cut, name)
    num_samples = decoder.frames
    if num_samples >= _UNKNOWN_LENGTH:
        with decoder:
            num_samples = _count_samples(decoder, name)
        file.seek(0)
        decoder = sound_file(file, container, cut, name)
    with decoder:
        info = AudioInfo(decoder.samplerate, decoder.channels, num_samples,
                         "WAV" if decoder.format == "WAVEX" else decoder.format, decoder.subtype)
        check_format(name, container=info.format, subtype=info.subtype,
                     sample_rate=info.sample_rate, channels=info.channels)
        if info.num_samples <= 0:
            if cut:
                raise truncated(name, cut)
            raise AudioError(f"{name} is {container} without samples. Record or copy it again.",
                             code="audio.empty", path=name)
        yield decoder, info, cut


def sound_file(file: BinaryIO, container: str, cut: str | None,
               name: str) -> soundfile.SoundFile:
    """A decoder at the start of an inspected file; an AudioError if libsndfile refuses."""
    import soundfile  # 0.01 s, and a shared library that scoring and manifests need not have

    try:
        return soundfile.SoundFile(file)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as error:
        if cut:
            raise truncated(name, cut) from error
        raise AudioError(f"{name} looks like {container} but its header cannot be read: "
                         f"{_reason(error)}. {REMEDY}", code="audio.header", path=name) from error


def _count_samples(decoder: soundfile.SoundFile, name: str) -> int:
    """The length of a FLAC file that was written into a pipe and does not state it."""
    decoder.seekable = lambda: False
    block = np.empty((BLOCK_SAMPLES // decoder.channels, decoder.channels), np.float32)
    count = 0
    try:
        while num_read := len(decoder.read(out=block)):
            count += num_read
    except (RuntimeError, ValueError, OSError) as error:
        raise _damaged(name, count, error) from error
    return count


def _damaged(name: str, position: int, error: BaseException) -> AudioError:
    return AudioError(f"{name} is damaged or cut near sample {position:_}: {_reason(error)}. Copy "
                      "or record it again.", code="audio.decode", path=name)


def _reason(error: BaseException) -> str:
    """The last part of libsndfile's sentence, without the repr of our file object."""
    return str(error).rpartition(": ")[2].rstrip(".") or type(error).__name__


def truncated(name: str, reason: str) -> AudioError:
    """The error of a recording whose end is missing."""
    return AudioError(f"{name} is cut: it {reason}. Copy it again, or use what is left: "
                      "asr transcribe --allow-truncated.", code="audio.truncated", path=name)


def refuse_or_warn(name: str, reason: str, allow_truncated: bool) -> None:
    """An error, or a warning where what is left of a cut recording is to be used."""
    if not allow_truncated:
        raise truncated(name, reason)
    warnings.warn(f"{name} is cut: it {reason}. Using what is left.", stacklevel=3)


def decode_blocks(decoder: soundfile.SoundFile, start: int, num_samples: int, sample_rate: int,
                  name: str) -> Iterator[tuple[np.ndarray, int]]:
    """A part of a recording, a block of bounded size at a time.

    Channels are averaged, another rate is converted with soxr's HQ resampler (one stream over all
    blocks, so that joints do not sound), and what is beyond full scale is clipped.

    Args:
        decoder: from `open_decoder` or `sound_file`, not used before.
        start, num_samples: at the decoder's rate.
        sample_rate: Hz, of the blocks.
        name: what messages call the recording.

    Yields:
        (n,) float32 in [-1, 1], n >= 0, in memory of its own; how many samples have been decoded
        so far, at the decoder's rate: fewer than `num_samples` in the end if the file holds less.

    Raises:
        AudioError: audio.decode, audio.nonfinite, audio.range.
    """
    import soxr

    rate = decoder.samplerate
    stream = None if rate == sample_rate else soxr.ResampleStream(
        rate, sample_rate, 1, dtype="float32", quality="HQ")
    block = np.empty((min(num_samples, max(1, BLOCK_SAMPLES // decoder.channels)),
                      decoder.channels), np.float32)
    num_decoded = 0
    try:
        _seek(decoder, start)
        while num_decoded < num_samples:
            samples = decoder.read(out=block[:num_samples - num_decoded])
            if not len(samples):
                break
            _check_samples(samples, name)
            num_decoded += len(samples)
            mono = mix_channels(samples)
            if stream is not None:
                mono = stream.resample_chunk(mono)
            yield np.clip(mono, -1.0, 1.0), num_decoded
    except AudioError:
        raise
    except (RuntimeError, ValueError, OSError) as error:
        raise _damaged(name, start + num_decoded, error) from error
    if stream is not None:
        rest = stream.resample_chunk(np.empty(0, np.float32), last=True)
        yield np.clip(rest, -1.0, 1.0), num_decoded


def num_missing(info: AudioInfo, num_samples: int, num_decoded: int) -> int:
    """Samples that were declared and are not there, beyond what an MP3 may round; else 0."""
    missing = num_samples - num_decoded
    return missing if missing > (_MP3_TOLERANCE if info.format == "MP3" else 0) else 0


def _seek(decoder: soundfile.SoundFile, start: int) -> None:
    """Go to a sample; MP3 frames lean on earlier ones, so it begins a second before and drops."""
    preroll = min(start, decoder.samplerate) if decoder.format == "MP3" else 0
    if start > preroll:
        decoder.seek(start - preroll)
    # soundfile seeks to where it already is after every read, which makes an MP3 decoder forget
    # the frame that the next one leans on (and costs time); it does not when told it cannot seek.
    decoder.seekable = lambda: False
    if preroll:
        decoder.read(preroll, dtype="float32")


def _check_samples(samples: np.ndarray, name: str) -> None:
    peak = max(float(samples.max()), -float(samples.min()))
    if peak <= MAX_AMPLITUDE:
        return
    if not np.isfinite(samples).all():
        raise AudioError(f"{name} holds NaN or infinite samples. Export it again, as 16-bit PCM.",
                         code="audio.nonfinite", path=name)
    raise AudioError(f"{name} holds samples up to {peak:g}; audio lies in [-1, 1] and at most "
                     f"±{MAX_AMPLITUDE:g} is accepted. Scale it.", code="audio.range", path=name)


