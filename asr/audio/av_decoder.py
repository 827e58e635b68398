"""The samples of an MP4, M4A, AAC, MOV, Matroska, WebM, WMA or AMR recording, by PyAV (FFmpeg).

In: an open binary file whose container we know. Out: (n, channels) float32 samples, as
`asr.audio.decoder.AudioDecoder` gives them. FFmpeg reads from our file object alone, with the one
demultiplexer that fits and with decoders of a list, so that a file cannot choose other parts of it.
PyAV is an extra: its wheels have FFmpeg inside.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, BinaryIO

import numpy as np

from asr.errors import AudioError

SUFFIXES = (".m4a", ".m4b", ".mp4", ".mov", ".3gp", ".3ga", ".aac", ".mkv", ".mka", ".webm",
            ".weba", ".wma", ".amr")
INSTALL = "pip install 'keras-asr[av]'"
# container: (FFmpeg's demultiplexer, whether its header states the length)
CONTAINERS = {"MP4": ("mov", True), "MATROSKA": ("matroska", True), "ASF": ("asf", True),
              "AAC": ("aac", False), "AMR": ("amr", False)}
CODECS = {"AAC", "ALAC", "MP3", "MP3FLOAT", "OPUS", "LIBOPUS", "VORBIS", "FLAC", "AC3", "EAC3",
          "AMRNB", "AMRWB", "AMR_NB", "AMR_WB", "LIBOPENCORE_AMRNB", "LIBOPENCORE_AMRWB", "WMAV1",
          "WMAV2", "WMAPRO", "WMALOSSLESS", "PCM_S16LE", "PCM_S16BE", "PCM_S24LE", "PCM_S24BE",
          "PCM_F32LE", "PCM_U8", "PCM_ALAW", "PCM_MULAW", "ADPCM_IMA_QT", "ADPCM_MS", "GSM"}
SUBTYPES = dict.fromkeys(CONTAINERS, CODECS)

_UNKNOWN = 2 ** 63 - 1
_SCALE = {"u8": 1 << 7, "s16": 1 << 15, "s32": 1 << 31, "s64": 1 << 63, "flt": 1, "dbl": 1}


def is_available() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


class AvDecoder:
    """A decoder at the start of a recording.

    Args:
        file: open, seekable; nothing else may move it while the decoder is used.
        container: a key of `CONTAINERS`.
        name: what messages call the recording.

    Attributes:
        samplerate, channels, format, subtype: as the file says.
        frames: samples of a channel as declared; 2 ** 63 - 1 where the file does not say.
        differs_from_md5: False; these containers have no such sum.

    Raises:
        AudioError: audio.no_av (PyAV is missing), audio.header, audio.unsupported, audio.empty.
    """

    differs_from_md5 = False

    def __init__(self, file: BinaryIO, container: str, name: str):
        if not is_available():
            raise AudioError(f"{name} is {container}, which is read through PyAV. Install it: "
                             f"{INSTALL}", code="audio.no_av", path=name)
        self._file, self._name, self.format = file, name, container
        self._begin()
        stream = self._stream
        seconds = [float(value) for value in (
            stream.duration and stream.duration * stream.time_base,
            self._input.duration and self._input.duration / 1_000_000) if value]
        self.frames = (round(min(seconds) * self.samplerate)
                       if seconds and CONTAINERS[container][1] else _UNKNOWN)

    def __enter__(self) -> AvDecoder:
        return self

    def __exit__(self, *_) -> None:
        self._input.close()

    def restart(self) -> None:
        """Go back to the first sample."""
        self._input.close()
        self._begin()

    def unread(self, blocks: Iterable[np.ndarray]) -> None:
        """Return these samples once more, then go on: all that was read since the start."""
        self._rest = np.concatenate([*blocks, self._rest])

    def start_at(self, frame: int) -> None:
        """From the start, go to a sample, by decoding from a second before it.

        In Matroska and WebM, which round times to milliseconds, it may be half of one off.

        Raises:
            RuntimeError: of FFmpeg, which cannot go there.
        """
        skip = frame
        if frame > self.samplerate and CONTAINERS[self.format][1]:
            base = self._stream.time_base
            target = (frame - self.samplerate) / self.samplerate + self._first
            try:
                self._input.seek(max(0, int(target / base)), stream=self._stream)
                self._frames = self._input.decode(self._stream)
                found = next(self._frames)
                self._rest = self._samples(found)
                skip = frame - round((float(found.pts * found.time_base) - self._first)
                                     * self.samplerate)
            except (self._av.FFmpegError, StopIteration, TypeError) as error:
                raise RuntimeError(f"cannot go to sample {frame:_}: {_said(error)}") from error
            if skip < 0:   # no way to a place before it: from the start
                self.restart()
                skip = frame
        waste = np.empty((min(skip, self.samplerate) or 1, self.channels), np.float32)
        while skip > 0:
            num_read = len(self.read(waste[:skip]))
            if not num_read:
                break
            skip -= num_read

    def read(self, out: np.ndarray) -> np.ndarray:
        """The next samples: as much of `out` as there are, (n, channels) float32.

        Raises:
            RuntimeError: of FFmpeg, where the data are damaged.
        """
        filled = 0
        while filled < len(out):
            if not len(self._rest):
                try:
                    self._rest = self._samples(next(self._frames))
                except StopIteration:
                    break
                except self._av.FFmpegError as error:
                    raise RuntimeError(str(error)) from error
                continue
            count = min(len(out) - filled, len(self._rest))
            out[filled:filled + count] = self._rest[:count]
            self._rest = self._rest[count:]
            filled += count
        return out[:filled]

    def _begin(self) -> None:
        import av

        self._av: Any = av
        self._file.seek(0)
        try:
            self._input = av.open(self._file, "r", format=CONTAINERS[self.format][0])
        except (self._av.FFmpegError, ValueError, OSError) as error:
            raise self._error("audio.header", f"its header cannot be read: {_said(error)}. It is "
                              "damaged or cut: copy it again") from error
        self._stream: Any = next(iter(self._input.streams.audio), None)
        if self._stream is None:
            raise self._error("audio.unsupported", "it has no sound track; give one with sound")
        self.subtype = self._stream.codec_context.name.upper()
        if self.subtype not in CODECS:
            raise self._error("audio.unsupported", f"its sound is {self.subtype}; accepted are "
                              f"{', '.join(sorted(CODECS))}")
        self._frames = self._input.decode(self._stream)
        try:
            first = next(self._frames)
        except StopIteration:
            raise self._error("audio.empty", "it has no samples. Record or copy it again") from None
        except (self._av.FFmpegError, ValueError) as error:
            raise self._error("audio.header", "its first samples cannot be decoded: "
                              f"{_said(error)}. Copy it again") from error
        self.samplerate, self.channels = first.sample_rate, len(first.layout.channels)
        self._first = float((first.pts or 0) * first.time_base) if first.time_base else 0.0
        self._rest = self._samples(first)

    def _samples(self, frame: Any) -> np.ndarray:
        if (frame.sample_rate, len(frame.layout.channels)) != (self.samplerate, self.channels):
            raise RuntimeError(f"the format changes to {frame.sample_rate} Hz and "
                               f"{len(frame.layout.channels)} channels")
        kind = frame.format.name.removesuffix("p")
        data = frame.to_ndarray()
        data = data.T if frame.format.is_planar else data.reshape(-1, self.channels)
        samples = data.astype(np.float32)
        if kind == "u8":
            samples -= 128
        return samples / np.float32(_SCALE[kind]) if _SCALE[kind] != 1 else samples

    def _error(self, code: str, reason: str) -> AudioError:
        return AudioError(f"{self._name} is {self.format}, but {reason}.", code=code,
                          path=self._name)


def _said(error: BaseException) -> str:
    """FFmpeg's sentence, without its number and the name of our file object."""
    return str(getattr(error, "strerror", None) or error).rstrip(".")
