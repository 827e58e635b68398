"""Open a checked decoder and read its samples block by block.

In: a binary file that we opened. Out: what it declares; (n,) float32 blocks, mono, in [-1, 1], at
the rate that is wanted. Loading a recording whole and reading it in pieces go through
here both, so they give the same samples and refuse the same files.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO

import numpy as np

from asr.audio.av_decoder import CONTAINERS as AV_CONTAINERS
from asr.audio.av_decoder import AvDecoder
from asr.audio.channels import ChannelMeter, mix_channels, refuse_cancelled
from asr.audio.containers import Layout, check_format, inspect_container
from asr.audio.decoder import TRUNCATED, AudioDecoder, make_decoder, reason_of, truncated
from asr.audio.source import reading
from asr.audio.unchanged import remembered
from asr.errors import AudioError, InputWarning

MAX_AMPLITUDE = 8.0  # 18 dB over full scale: beyond it, the samples are no audio
MAX_COUNTED_SECONDS = 48 * 3_600  # of a recording that does not state its length
BLOCK_SAMPLES = 1 << 19  # decoded at once, all channels together: 2 MiB

_UNKNOWN_LENGTH = 1 << 62  # libsndfile's way to say so is 2 ** 63 - 1
_AV_TOLERANCE = 0.25  # seconds; lengths include what encoders put before and behind
_MP3_TOLERANCE = 2 * 1_152  # frames; encoders round the length to whole MPEG frames


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a recording declares.

    Attributes:
        sample_rate: Hz.
        channels: 1 .. 8.
        num_samples: a channel.
        format: the container, such as "WAV", "OGG" or "MP4".
        subtype: libsndfile's or FFmpeg's name of the encoding, such as "PCM_16" or "AAC".
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


@contextmanager
def open_decoder(file: BinaryIO, name: str
                 ) -> Iterator[tuple[AudioDecoder | AvDecoder, AudioInfo, Layout]]:
    """A decoder on a file whose header we have checked first.

    Yields:
        The decoder; what the recording declares; the layout, whose `cut` shows that the end is
        missing.

    Raises:
        AudioError: audio.empty, audio.header, audio.unsupported, audio.too_long, audio.truncated,
            audio.decode.
    """
    with reading(name):
        layout = remembered(file, "layout", partial(inspect_container, file, name))
    with make_decoder(file, layout, name) as decoder:
        num_samples = decoder.frames
        if num_samples >= _UNKNOWN_LENGTH:
            num_samples = remembered(file, "length", partial(count_samples, decoder, name))
            decoder.restart()
        info = AudioInfo(decoder.samplerate, decoder.channels, num_samples,
                         "WAV" if decoder.format == "WAVEX" else decoder.format, decoder.subtype)
        check_format(name, container=info.format, subtype=info.subtype,
                     sample_rate=info.sample_rate, channels=info.channels)
        if info.num_samples <= 0:
            if layout.cut:
                raise truncated(name, layout.cut)
            raise AudioError(f"{name} is {layout.container} without samples. Record or copy it "
                             "again.", code="audio.empty", path=name)
        yield decoder, info, layout


def count_samples(decoder: AudioDecoder | AvDecoder, name: str) -> int:
    """The length of a recording that does not state it, or is cut: samples a channel."""
    block = np.empty((BLOCK_SAMPLES // decoder.channels, decoder.channels), np.float32)
    count = 0
    try:
        while num_read := len(decoder.read(out=block)):
            count += num_read
            if count > MAX_COUNTED_SECONDS * decoder.samplerate:
                raise AudioError(f"{name} lasts more than {MAX_COUNTED_SECONDS / 3_600:g} hours. "
                                 "Split it.", code="audio.too_long", path=name)
    except AudioError:
        raise
    except (RuntimeError, ValueError, OSError) as error:
        raise _damaged(name, count, error) from error
    return count


def _damaged(name: str, position: int, error: BaseException) -> AudioError:
    return AudioError(f"{name} is damaged or cut near sample {position:_}: {reason_of(error)}. "
                      "Copy or record it again.", code="audio.decode", path=name)


def refuse_or_warn(name: str, reason: str, allow_truncated: bool) -> None:
    """An error, or a warning where what is left of a cut recording is to be used."""
    if not allow_truncated:
        raise truncated(name, reason)
    warnings.warn(InputWarning(f"{name} is cut: it {reason}. Using what is left.", TRUNCATED),
                  stacklevel=3)


def decode_blocks(decoder: AudioDecoder | AvDecoder, start: int, num_samples: int, sample_rate: int,
                  name: str, channel: int | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """A part of a recording, a block of bounded size at a time.

    Channels are averaged, another rate is converted with soxr's HQ resampler (one stream over all
    blocks, so that joints do not sound), and what is beyond full scale is clipped.

    Args:
        decoder: at its start.
        start, num_samples: at the decoder's rate.
        sample_rate: Hz, of the blocks.
        name: what messages call the recording.
        channel: use this one alone, as `opposite_channel` says; None: the mean.

    Yields:
        (n,) float32 in [-1, 1], n >= 0, in memory of its own; how many samples have been decoded
        so far, at the decoder's rate: fewer than `num_samples` in the end if the file holds less.

    Raises:
        AudioError: audio.decode, audio.nonfinite, audio.range, audio.phase.
    """
    import soxr

    rate = decoder.samplerate
    stream = None if rate == sample_rate else soxr.ResampleStream(
        rate, sample_rate, 1, dtype="float32", quality="HQ")
    block = np.empty((min(num_samples, max(1, BLOCK_SAMPLES // decoder.channels)),
                      decoder.channels), np.float32)
    meter = (ChannelMeter(decoder.channels, rate) if decoder.channels > 1 and channel is None
             else None)
    num_decoded = 0
    try:
        decoder.start_at(start)
        while num_decoded < num_samples:
            samples = decoder.read(out=block[:num_samples - num_decoded])
            if not len(samples):
                break
            _check_samples(samples, name)
            num_decoded += len(samples)
            if meter:
                meter.add(samples)
            mono = mix_channels(samples if channel is None else samples[:, channel:channel + 1])
            if stream is not None:
                mono = stream.resample_chunk(np.ascontiguousarray(mono))
            yield np.clip(mono, -1.0, 1.0), num_decoded
    except AudioError:
        raise
    except (RuntimeError, ValueError) as error:
        raise _damaged(name, start + num_decoded, error) from error
    if meter:
        refuse_cancelled(meter, name)
    if stream is not None:
        rest = stream.resample_chunk(np.empty(0, np.float32), last=True)
        yield np.clip(rest, -1.0, 1.0), num_decoded


def warn_of_wrong_md5(name: str) -> None:
    """Say that a FLAC file does not hold the samples that were encoded."""
    warnings.warn(InputWarning(
        f"{name} is a FLAC file whose samples have another MD5 than its header states: it was "
        "damaged or edited after it was encoded. Check it with flac -t.", "audio.md5"),
        stacklevel=3)


def num_missing(info: AudioInfo, num_samples: int, num_decoded: int) -> int:
    """Samples that were declared and are not there, beyond what lossy encoders round; else 0."""
    missing = num_samples - num_decoded
    tolerance = (_MP3_TOLERANCE if info.format == "MP3" else
                 info.sample_rate * _AV_TOLERANCE if info.format in AV_CONTAINERS else 0)
    return missing if missing > tolerance else 0


def _check_samples(samples: np.ndarray, name: str) -> None:
    peak = max(float(samples.max()), -float(samples.min()))
    if peak <= MAX_AMPLITUDE:
        return
    if not np.isfinite(samples).all():
        raise AudioError(f"{name} holds NaN or infinite samples. Export it again, as 16-bit PCM.",
                         code="audio.nonfinite", path=name)
    raise AudioError(f"{name} holds samples up to {peak:g}; audio lies in [-1, 1] and at most "
                     f"±{MAX_AMPLITUDE:g} is accepted. Scale it.", code="audio.range", path=name)
