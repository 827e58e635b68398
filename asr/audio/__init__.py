"""Load a recording as samples: one channel, one rate, checked before use.

In: a path, bytes or an open binary file. Out: (num_samples,) float32, mono, in [-1, 1].
We open the file ourselves, look at its header, bound everything, and compare what was declared
with what was decoded. Anything else is an `AudioError` with a code; nothing is repaired silently.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from asr.audio.av_decoder import AvDecoder
from asr.audio.blocks import (
    AudioInfo,
    count_samples,
    decode_blocks,
    num_missing,
    open_decoder,
    refuse_or_warn,
    warn_of_wrong_md5,
)
from asr.audio.channels import mix_channels, used_channel
from asr.audio.decoder import AudioDecoder
from asr.audio.source import (
    MAX_STREAM_BYTES,
    Source,
    display_name,
    open_source,
)
from asr.audio.unchanged import fingerprint
from asr.errors import AudioError, UsageError
from asr.manifest import Utterance, duration_tolerance

__all__ = ["AudioInfo", "MAX_STREAM_BYTES", "RESAMPLER", "check_length", "display_name",
           "load_audio", "load_utterance", "mix_channels", "probe_audio", "read_header", "resample",
           "segment"]

MIN_SECONDS = 0.025  # one analysis window
MAX_SECONDS = 3_600.0  # in memory at once: 220 MiB at 16 kHz; asr.audio.recording reads longer ones
RESAMPLER = "soxr HQ"  # recorded in bundles: training and serving must use the same one


def probe_audio(source: Source, *, allow_truncated: bool = False) -> AudioInfo:
    """What a recording declares, without decoding it.

    Args:
        source: a path, the bytes of a file, or an open binary file.
        allow_truncated: for a cut recording, use the rest (which is decoded to count it), with a
            warning, not an error.

    Raises:
        AudioError: audio.missing, audio.unreadable, audio.empty, audio.header,
            audio.unsupported, audio.too_long (what cannot be counted), audio.decode,
            audio.truncated (if the header alone shows it).
    """
    with open_source(source) as (file, name), open_decoder(file, name) as (decoder, info, layout):
        if not layout.cut:
            return info
        refuse_or_warn(name, layout.cut, allow_truncated)
        return dataclasses.replace(info, num_samples=count_samples(decoder, name))


def read_header(source: Source) -> AudioInfo:
    """What the header of a recording declares, also where the recording is cut.

    Args:
        source: as for `probe_audio`.

    Raises:
        AudioError: as `probe_audio`, except audio.truncated.
    """
    with open_source(source) as (file, name), open_decoder(file, name) as (_, info, _):
        return info


def load_audio(source: Source, *, sample_rate: int, offset: float = 0.0,
               duration: float | None = None, allow_truncated: bool = False,
               min_seconds: float | None = None, max_seconds: float | None = None,
               snap_to_end: bool = False, expected: AudioInfo | None = None,
               channel: int = 0) -> np.ndarray:
    """The samples of a recording, or of a part of it.

    Channels are averaged; where they cancel each other (opposite phase), the loudest is used, with
    a warning. The MD5 of a FLAC file that is read whole is checked, with a warning. Another rate
    is converted with soxr's HQ resampler. Samples beyond full scale (float files, lossy decoders
    and resampling overshoot a little) are clipped to [-1, 1], as a sound card would; beyond ±8
    they are an error. Memory is bounded by the length asked for, whatever a header claims.

    Args:
        source: a path, the bytes of a file, or an open binary file (a pipe is read to its end).
        sample_rate: Hz, of the result.
        offset: seconds from the start of the recording.
        duration: seconds; None: up to the end.
        allow_truncated: use what is left of a cut recording, with a warning, not an error.
        min_seconds: a shorter result is an error; None: `MIN_SECONDS`.
        max_seconds: a longer one is an error before it is decoded; None: `MAX_SECONDS`.
        snap_to_end: a part that stops within 0.1 s or 1 % of its length of the end runs to the
            end, because durations in manifests are rounded.
        expected: an earlier `probe_audio`; an error if the recording is another one by now.
        channel: 1 is the first or left one, 2 the second and so on; 0: all of them, averaged.

    Returns:
        (num_samples,) float32, mono, in [-1, 1].

    Raises:
        AudioError: audio.missing, audio.unreadable (no permission, no regular file),
            audio.empty, audio.header, audio.unsupported, audio.truncated, audio.decode,
            audio.nonfinite, audio.range, audio.phase, audio.channel, audio.no_av,
            audio.too_short, audio.too_long, audio.offset, audio.changed.
        UsageError: a rate, offset or duration that cannot be.

    Example:
        >>> import io, soundfile
        >>> file = io.BytesIO()
        >>> soundfile.write(file, np.zeros((8_000, 2)), 8_000, format="WAV")
        >>> load_audio(file.getvalue(), sample_rate=16_000).shape
        (16000,)
    """
    _check_arguments(sample_rate, offset, duration)
    with open_source(source) as (file, name), open_decoder(file, name) as (decoder, info, layout):
        before = fingerprint(file)
        if expected is not None and info != expected:
            raise AudioError(f"{name} was {expected} when it was probed and is {info} now. "
                             "Do not write to recordings while they are read.",
                             code="audio.changed", path=name)
        if layout.cut:
            refuse_or_warn(name, layout.cut, allow_truncated)
        start, num_samples = segment(info, offset, duration, snap_to_end, name)
        check_length(num_samples / info.sample_rate, min_seconds, max_seconds, name)
        audio, num_decoded = _decode(decoder, start, num_samples, sample_rate, name,
                                     used_channel(decoder, channel, file, name))
        if not start and num_decoded == info.num_samples and decoder.differs_from_md5:
            warn_of_wrong_md5(name)
        if fingerprint(file) != before:
            raise AudioError(f"{name} changed while it was read. Do not write to recordings "
                             "while they are read.", code="audio.changed", path=name)
    if num_missing(info, num_samples, num_decoded):
        refuse_or_warn(name, f"declares {num_samples:_} samples but holds {num_decoded:_}",
                        allow_truncated)
        check_length(num_decoded / info.sample_rate, min_seconds, max_seconds, name)
    return audio


def load_utterance(utterance: Utterance, *, sample_rate: int, **limits) -> np.ndarray:
    """The samples of one manifest row: the part from `offset` on that lasts `duration`.

    A duration that ends within 0.1 s or 1 % of the end of the recording means its end.

    Args:
        utterance: a row.
        sample_rate, **limits: as for `load_audio`.

    Returns:
        (num_samples,) float32.

    Raises:
        AudioError, UsageError: as `load_audio`.
    """
    return load_audio(utterance.audio, sample_rate=sample_rate, offset=utterance.offset,
                      duration=utterance.duration, snap_to_end=True, channel=utterance.channel,
                      **limits)


def check_length(seconds: float, min_seconds: float | None, max_seconds: float | None,
                 name: str) -> None:
    """Refuse what is too short or too long.

    Args:
        seconds: seconds of the recording, or of the part that is wanted.
        min_seconds, max_seconds: the limits; None: `MIN_SECONDS`, `MAX_SECONDS`.
        name: what messages call the recording.

    Raises:
        AudioError: audio.too_short, audio.too_long.
    """
    low = MIN_SECONDS if min_seconds is None else min_seconds
    high = MAX_SECONDS if max_seconds is None else max_seconds
    if seconds > high:
        raise AudioError(f"{name} lasts {seconds:.1f} s; at most {high:g} s are accepted. Split "
                         "it, or raise the limit.", code="audio.too_long", path=name)
    if seconds < low:
        raise AudioError(f"{name} lasts {seconds * 1_000:.1f} ms; at least {low * 1_000:g} ms are "
                         "needed. Drop it.", code="audio.too_short", path=name)


def _check_arguments(sample_rate: int, offset: float, duration: float | None) -> None:
    check_rate = isinstance(sample_rate, (int, np.integer)) and 0 < sample_rate <= 1_000_000
    if not check_rate:
        raise UsageError(f"sample_rate must be a whole number of Hz, got {sample_rate!r}.")
    if not (math.isfinite(offset) and offset >= 0):
        raise UsageError(f"offset must be 0 or more seconds, got {offset!r}.")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise UsageError(f"duration must be above 0 seconds, got {duration!r}.")


def segment(info: AudioInfo, offset: float, duration: float | None, snap_to_end: bool,
             name: str) -> tuple[int, int]:
    """First sample and number of samples, at its own rate, of a part of a recording.

    Args:
        info: what the recording declares.
        offset, duration, snap_to_end: as for `load_audio`.
        name: what messages call it.

    Raises:
        AudioError: audio.offset, the part is not in the recording.
    """
    start = round(offset * info.sample_rate)
    stop = slack = info.num_samples
    if duration is not None:
        stop = start + max(1, round(duration * info.sample_rate))
        slack = duration_tolerance(duration) * info.sample_rate
    if start >= info.num_samples or stop > info.num_samples + slack:
        raise AudioError(f"{name} lasts {info.duration:.3f} s; the part from {offset:.3f} s to "
                         f"{stop / info.sample_rate:.3f} s is not in it. Correct the manifest.",
                         code="audio.offset", path=name)
    if stop > info.num_samples or (snap_to_end and stop >= info.num_samples - slack):
        stop = info.num_samples
    return start, stop - start


def _decode(decoder: AudioDecoder | AvDecoder, start: int, num_samples: int, sample_rate: int,
            name: str, channel: int | None) -> tuple[np.ndarray, int]:
    """All blocks in one array; returns audio at `sample_rate` and samples decoded."""
    # Pages are committed when they are written, so a header that lies costs nothing.
    audio = np.empty(-(-num_samples * sample_rate // decoder.samplerate) + 64, np.float32)
    num_decoded = num_written = 0
    for block, so_far in decode_blocks(decoder, start, num_samples, sample_rate, name,
                                         channel):
        audio[num_written:num_written + len(block)] = block
        num_written, num_decoded = num_written + len(block), so_far
    return audio[:num_written], num_decoded


def resample(audio: np.ndarray, from_rate: float, to_rate: float) -> np.ndarray:
    """Convert mono samples with the one resampler that loading uses: (n,) -> (m,) float32.

    Raises:
        UsageError: a rate that is not a positive number.
    """
    import soxr

    for rate in (from_rate, to_rate):
        if not (math.isfinite(rate) and rate > 0):
            raise UsageError(f"A sample rate must be a positive number of Hz, got {rate!r}.")
    return soxr.resample(audio, from_rate, to_rate, quality="HQ").astype(np.float32, copy=False)

