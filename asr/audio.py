"""A recording becomes samples: one channel, one rate, checked before it is believed.

In: a path, bytes or an open binary file. Out: (num_samples,) float32, mono, in [-1, 1]. Floor 1.
We open the file ourselves, look at its header, bound everything, and compare what was declared
with what was decoded. Anything else is an `AudioError` with a code; nothing is repaired silently.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from asr.audio_source import MAX_STREAM_BYTES, Source, display_name, fingerprint, open_source
from asr.containers import REMEDY, check_format, inspect_container
from asr.errors import AudioError, UsageError

if TYPE_CHECKING:
    import soundfile

    from asr.manifest import Utterance

__all__ = ["AudioInfo", "MAX_STREAM_BYTES", "RESAMPLER", "check_length", "display_name",
           "load_audio", "load_utterance", "mix_channels", "probe_audio", "resample"]

MIN_SECONDS = 0.025  # one analysis window; nothing can be heard in less
MAX_SECONDS = 3_600.0  # of one call: 220 MiB at 16 kHz
MAX_AMPLITUDE = 8.0  # 18 dB over full scale: beyond it, the samples are no audio
RESAMPLER = "soxr HQ"  # recorded in bundles: training and serving must use the same one

_BLOCK_SAMPLES = 1 << 19  # decoded at once, all channels together: 2 MiB
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


def probe_audio(source: Source) -> AudioInfo:
    """What a recording declares, without decoding it.

    Args:
        source: a path, the bytes of a file, or an open binary file.

    Raises:
        AudioError: audio.missing, audio.unreadable, audio.empty, audio.header,
            audio.unsupported, audio.truncated (if the header alone shows it).
    """
    with open_source(source) as (file, name), _open_decoder(file, name) as (_, info, cut):
        if cut:
            raise _truncated(name, cut)
        return info


def load_audio(source: Source, *, sample_rate: int, offset: float = 0.0,
               duration: float | None = None, allow_truncated: bool = False,
               min_seconds: float | None = None, max_seconds: float | None = None,
               snap_to_end: bool = False, expected: AudioInfo | None = None) -> np.ndarray:
    """The samples of a recording, or of a part of it.

    Channels are averaged. Another rate is converted with soxr's HQ resampler. Samples beyond
    full scale (float files, lossy decoders and resampling overshoot a little) are clipped to
    [-1, 1], as a sound card would; beyond ±8 they are an error. Memory is bounded by the
    length asked for, whatever a header claims.

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

    Returns:
        (num_samples,) float32, mono, in [-1, 1].

    Raises:
        AudioError: audio.missing, audio.unreadable (no permission, no regular file),
            audio.empty, audio.header, audio.unsupported, audio.truncated, audio.decode,
            audio.nonfinite, audio.range, audio.too_short, audio.too_long, audio.offset,
            audio.changed.
        UsageError: a rate, offset or duration that cannot be.

    Example:
        >>> import io, soundfile
        >>> file = io.BytesIO()
        >>> soundfile.write(file, np.zeros((8_000, 2)), 8_000, format="WAV")
        >>> load_audio(file.getvalue(), sample_rate=16_000).shape
        (16000,)
    """
    _check_arguments(sample_rate, offset, duration)
    with open_source(source) as (file, name), _open_decoder(file, name) as (decoder, info, cut):
        before = fingerprint(file)
        if expected is not None and info != expected:
            raise AudioError(f"{name} was {expected} when it was probed and is {info} now. "
                             "Do not write to recordings while they are read.",
                             code="audio.changed", path=name)
        if cut:
            _refuse_or_warn(name, cut, allow_truncated)
        start, num_samples = _segment(info, offset, duration, snap_to_end, name)
        check_length(num_samples / info.sample_rate, min_seconds, max_seconds, name)
        audio, num_decoded = _decode(decoder, start, num_samples, sample_rate, name)
        if fingerprint(file) != before:
            raise AudioError(f"{name} changed while it was read. Do not write to recordings "
                             "while they are read.", code="audio.changed", path=name)
    if num_decoded < num_samples - (_MP3_TOLERANCE if info.format == "MP3" else 0):
        _refuse_or_warn(name, f"declares {num_samples:_} samples but holds {num_decoded:_}",
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
                      duration=utterance.duration, snap_to_end=True, **limits)


def check_length(seconds: float, min_seconds: float | None, max_seconds: float | None,
                 name: str) -> None:
    """Refuse what is too short or too long.

    Args:
        seconds: of the recording, or of the part that is wanted.
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


def mix_channels(audio: np.ndarray) -> np.ndarray:
    """The mean over channels: (num_samples, channels) -> (num_samples,) float32."""
    return audio[:, 0] if audio.shape[1] == 1 else audio.mean(axis=1, dtype=np.float32)


def _check_arguments(sample_rate: int, offset: float, duration: float | None) -> None:
    check_rate = isinstance(sample_rate, (int, np.integer)) and 0 < sample_rate <= 1_000_000
    if not check_rate:
        raise UsageError(f"sample_rate must be a whole number of Hz, got {sample_rate!r}.")
    if not (math.isfinite(offset) and offset >= 0):
        raise UsageError(f"offset must be 0 or more seconds, got {offset!r}.")
    if duration is not None and not (math.isfinite(duration) and duration > 0):
        raise UsageError(f"duration must be above 0 seconds, got {duration!r}.")


@contextmanager
def _open_decoder(file: BinaryIO, name: str
                  ) -> Iterator[tuple[soundfile.SoundFile, AudioInfo, str | None]]:
    """A decoder (libsndfile) on a file whose header we have checked first."""
    container, cut = inspect_container(file, name)
    decoder = _sound_file(file, container, cut, name)
    num_samples = decoder.frames
    if num_samples >= _UNKNOWN_LENGTH:
        with decoder:
            num_samples = _count_samples(decoder, name)
        file.seek(0)
        decoder = _sound_file(file, container, cut, name)
    with decoder:
        info = AudioInfo(decoder.samplerate, decoder.channels, num_samples,
                         "WAV" if decoder.format == "WAVEX" else decoder.format, decoder.subtype)
        check_format(name, container=info.format, subtype=info.subtype,
                     sample_rate=info.sample_rate, channels=info.channels)
        if info.num_samples <= 0:
            if cut:
                raise _truncated(name, cut)
            raise AudioError(f"{name} is {container} without samples. Record or copy it again.",
                             code="audio.empty", path=name)
        yield decoder, info, cut


def _sound_file(file: BinaryIO, container: str, cut: str | None,
                name: str) -> soundfile.SoundFile:
    import soundfile  # 0.01 s, and a shared library that scoring and manifests need not have

    try:
        return soundfile.SoundFile(file)
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as error:
        if cut:
            raise _truncated(name, cut) from error
        raise AudioError(f"{name} looks like {container} but its header cannot be read: "
                         f"{_reason(error)}. {REMEDY}", code="audio.header", path=name) from error


def _count_samples(decoder: soundfile.SoundFile, name: str) -> int:
    """The length of a FLAC file that was written into a pipe and does not state it."""
    decoder.seekable = lambda: False
    block = np.empty((_BLOCK_SAMPLES // decoder.channels, decoder.channels), np.float32)
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


def _truncated(name: str, reason: str) -> AudioError:
    return AudioError(f"{name} is cut: it {reason}. Copy it again, or use what is left with "
                      "--allow-truncated.", code="audio.truncated", path=name)


def _refuse_or_warn(name: str, reason: str, allow_truncated: bool) -> None:
    if not allow_truncated:
        raise _truncated(name, reason)
    warnings.warn(f"{name} is cut: it {reason}. Using what is left.", stacklevel=3)


def _segment(info: AudioInfo, offset: float, duration: float | None, snap_to_end: bool,
             name: str) -> tuple[int, int]:
    """First sample and number of samples at the recording's own rate."""
    start = round(offset * info.sample_rate)
    stop = slack = info.num_samples
    if duration is not None:
        stop = start + max(1, round(duration * info.sample_rate))
        slack = max(0.1, 0.01 * duration) * info.sample_rate  # the tolerance of manifests
    if start >= info.num_samples or stop > info.num_samples + slack:
        raise AudioError(f"{name} lasts {info.duration:.3f} s; the part from {offset:.3f} s to "
                         f"{stop / info.sample_rate:.3f} s is not in it. Correct the manifest.",
                         code="audio.offset", path=name)
    if stop > info.num_samples or (snap_to_end and stop >= info.num_samples - slack):
        stop = info.num_samples
    return start, stop - start


def _decode(decoder: soundfile.SoundFile, start: int, num_samples: int, sample_rate: int,
            name: str) -> tuple[np.ndarray, int]:
    """Decode in blocks of bounded size; returns audio at `sample_rate` and samples decoded."""
    import soxr

    rate = decoder.samplerate
    stream = None if rate == sample_rate else soxr.ResampleStream(
        rate, sample_rate, 1, dtype="float32", quality="HQ")
    # Pages are committed when they are written, so a header that lies costs nothing.
    audio = np.empty(-(-num_samples * sample_rate // rate) + 64, np.float32)
    block = np.empty((min(num_samples, max(1, _BLOCK_SAMPLES // decoder.channels)),
                      decoder.channels), np.float32)
    num_decoded = num_written = 0
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
            num_written += _append(audio, num_written, mono)
    except AudioError:
        raise
    except (RuntimeError, ValueError, OSError) as error:
        raise _damaged(name, start + num_decoded, error) from error
    if stream is not None:
        rest = stream.resample_chunk(np.empty(0, np.float32), last=True)
        num_written += _append(audio, num_written, rest)
    audio = audio[:num_written]
    return np.clip(audio, -1.0, 1.0, out=audio), num_decoded


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


def _append(audio: np.ndarray, position: int, samples: np.ndarray) -> int:
    audio[position:position + len(samples)] = samples
    return len(samples)


def _check_samples(samples: np.ndarray, name: str) -> None:
    peak = max(float(samples.max()), -float(samples.min()))
    if peak <= MAX_AMPLITUDE:
        return
    if not np.isfinite(samples).all():
        raise AudioError(f"{name} holds NaN or infinite samples. Export it again, as 16-bit PCM.",
                         code="audio.nonfinite", path=name)
    raise AudioError(f"{name} holds samples up to {peak:g}; audio lies in [-1, 1] and at most "
                     f"±{MAX_AMPLITUDE:g} is accepted. Scale it.", code="audio.range", path=name)


def resample(audio: np.ndarray, from_rate: float, to_rate: float) -> np.ndarray:
    """Convert mono samples with the one resampler that loading uses: (n,) -> (m,) float32."""
    import soxr

    return soxr.resample(audio, from_rate, to_rate, quality="HQ").astype(np.float32, copy=False)

