"""Decode an inspected recording with libsndfile.

In: an open binary file and its `Layout`. Out: (n, channels) float32 samples, one part of the file
after the other: a chained Ogg file is one recording here, and so is a joined MP3 file. What is
read from the start to the end of a FLAC file is compared with the MD5 in its header, which
libsndfile does not do.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from asr.audio.av_decoder import CONTAINERS as AV_CONTAINERS
from asr.audio.av_decoder import AvDecoder
from asr.audio.containers import REMEDY, Layout, Part
from asr.audio.source import reading
from asr.audio.spliced import Spliced
from asr.errors import AudioError

if TYPE_CHECKING:
    import soundfile

TRUNCATED = "audio.truncated"
UNKNOWN_LENGTH = 2 ** 63 - 1  # samples, as libsndfile says it

_FULL_SCALE = {"PCM_S8": (1 << 7, "i1", 1), "PCM_16": (1 << 15, "<i2", 2),
               "PCM_24": (1 << 23, "<i4", 3)}  # of FLAC: factor, type, bytes that count


class AudioDecoder:
    """A decoder at the start of a recording.

    Args:
        file: open, seekable; nothing else may move it while the decoder is used.
        layout: from `inspect_container`.
        name: what messages call the recording.

    Attributes:
        samplerate, channels, format, subtype: as libsndfile states them.
        frames: samples of a channel in all parts; 2 ** 63 - 1 where the file does not say.

    Raises:
        AudioError: audio.header, audio.truncated, audio.unsupported.
    """

    def __init__(self, file: BinaryIO, layout: Layout, name: str):
        self._guard = None if isinstance(file, io.BytesIO) else _Guarded(file)
        self._file: BinaryIO = self._guard or file  # type: ignore[assignment]
        self._layout, self._name = layout, name
        self._starts, self._part = [0], 0
        self._open = first = self._open_part(0)
        self.samplerate, self.channels = first.samplerate, first.channels
        self.format, self.subtype = first.format, first.subtype
        # A cut FLAC file states the length that it had.
        self._cut_flac = bool(layout.cut) and self.format == "FLAC"
        self.frames = UNKNOWN_LENGTH if self._cut_flac else first.frames
        self._md5 = hashlib.md5(usedforsecurity=False) if layout.md5 else None
        self._again: deque[np.ndarray] = deque()
        if len(layout.parts) > 1:
            self._measure_chain()
            self.restart()  # the streams share one file position

    def __enter__(self) -> AudioDecoder:
        return self

    def __exit__(self, *_) -> None:
        self._open.close()

    def restart(self) -> None:
        """Go back to the first sample."""
        self._again.clear()
        self._begin(0)
        self._md5 = hashlib.md5(usedforsecurity=False) if self._layout.md5 else None

    def unread(self, blocks: Iterable[np.ndarray]) -> None:
        """Return these samples once more, then go on: all that was read since the start."""
        self._again.extend(blocks)

    def start_at(self, frame: int) -> None:
        """From the start, go to a sample; in MP3 by decoding the second before it.

        MP3 frames lean on earlier ones.

        Raises:
            RuntimeError: of libsndfile, which cannot go there.
        """
        if not frame:
            return
        if self._again:
            self.restart()
        part = max(index for index, start in enumerate(self._starts) if start <= frame)
        if part != self._part:
            self._begin(part)
        self._md5 = None
        frame -= self._starts[part]
        preroll = min(frame, self.samplerate) if self.format == "MP3" else 0
        if self.subtype == "GSM610":  # libsndfile cannot go anywhere in it
            for start in range(0, frame, self.samplerate):
                self._open.read(min(self.samplerate, frame - start), dtype="float32")
        elif frame > preroll:
            self._open.seek(frame - preroll)
        if preroll:
            self._open.read(preroll, dtype="float32")

    def read(self, out: np.ndarray) -> np.ndarray:
        """The next samples: as much of `out` as there are, (n, channels) float32.

        Raises:
            RuntimeError: of libsndfile, where the data are damaged.
            AudioError: audio.unreadable, where the disk fails.
        """
        filled = 0
        while self._again and filled < len(out):
            block = self._again.popleft()
            count = min(len(block), len(out) - filled)
            out[filled:filled + count] = block[:count]
            filled += count
            if count < len(block):
                self._again.appendleft(block[count:])
        repeated = filled
        while filled < len(out):
            try:
                num_read = self._read(out[filled:])
            finally:
                self._raise_disk_error()
            filled += num_read
            if not num_read and not self._next_part():
                break
        if self._md5 is not None and filled > repeated:
            self._md5.update(_as_integers(out[repeated:filled], self.subtype))
        return out[:filled]

    def _read(self, out: np.ndarray) -> int:
        if not self._cut_flac:
            return len(self._open.read(out=out))
        out.fill(np.nan)  # at its end libFLAC has an error, and does not say how much it decoded
        try:
            self._open.read(out=out)
        except RuntimeError:
            pass
        return int(np.isfinite(out[:, 0]).sum())

    @property
    def differs_from_md5(self) -> bool:
        """After the last sample: whether the samples are not those that were encoded."""
        return self._md5 is not None and self._md5.digest() != self._layout.md5

    def _raise_disk_error(self) -> None:
        error = self._guard and self._guard.take_error()
        if error:
            with reading(self._name):
                raise error

    def _begin(self, part: int) -> None:
        self._open.close()
        self._part = part
        self._open = self._open_part(part)

    def _next_part(self) -> bool:
        if self._part + 1 >= len(self._starts):
            return False
        self._begin(self._part + 1)
        return True

    def _open_part(self, index: int) -> soundfile.SoundFile:
        import soundfile  # 0.01 s, and a shared library that scoring and manifests need not have

        part, name, layout = self._layout.parts[index], self._name, self._layout
        try:
            decoder = soundfile.SoundFile(_file_of(self._file, part))
        except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError, OSError) as error:
            self._raise_disk_error()
            if layout.cut:
                raise truncated(name, layout.cut) from error
            where = (f"stream {index + 1} of {len(layout.parts)} of the chained file {name}"
                     if len(layout.parts) > 1 else name)
            raise AudioError(f"{where} looks like {layout.container} but its header cannot be "
                             f"read: {reason_of(error)}. {REMEDY}", code="audio.header",
                             path=name) from error
        # soundfile seeks to where it already is after every read, which makes an MP3 decoder
        # forget the frame that the next one leans on (and costs time); it does not when told that
        # it cannot seek.
        decoder.seekable = lambda: False
        return decoder

    def _measure_chain(self) -> None:
        """Where each stream of a chain starts; all must have the format of the first."""
        wanted = self.samplerate, self.channels, self.subtype
        for index in range(1, len(self._layout.parts)):
            try:
                link = self._open_part(index)
            except AudioError:
                if self._layout.cut and index + 1 == len(self._layout.parts):
                    break  # cut inside the headers of the last stream: nothing of it is left
                raise
            with link:
                found, frames = (link.samplerate, link.channels, link.subtype), link.frames
            if found != wanted:
                kind = {"OGG": "Ogg"}.get(self._layout.container, self._layout.container)
                raise AudioError(f"{self._name} is a chained {kind} file whose streams differ: the "
                                 f"first has {_describe(*wanted)}, stream {index + 1} has "
                                 f"{_describe(*found)}; expected one format. {REMEDY}",
                                 code="audio.unsupported", path=self._name)
            self._starts.append(self.frames)
            self.frames += frames


class _Guarded(io.RawIOBase):
    """The file of a recording as libsndfile gets it: an error of the disk is kept, not raised.

    An exception cannot pass through libsndfile: it would be printed, and the file would end there.
    """

    def __init__(self, file: BinaryIO):
        self._file = file
        self._error: OSError | None = None

    def take_error(self) -> OSError | None:
        """What went wrong since the last call."""
        error, self._error = self._error, None
        return error

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer) -> int:
        try:
            return self._file.readinto(buffer)  # type: ignore[attr-defined]
        except OSError as error:
            self._error = error
            return 0


def make_decoder(file: BinaryIO, layout: Layout, name: str) -> AudioDecoder | AvDecoder:
    """The decoder for a container: libsndfile's, or FFmpeg's.

    Args and raises: those of `AudioDecoder` and `AvDecoder`.
    """
    if layout.container in AV_CONTAINERS:
        return AvDecoder(file, layout.container, name)
    return AudioDecoder(file, layout, name)


def _file_of(file: BinaryIO, part: Part) -> BinaryIO:
    """The file itself where the part is all of it, which is quicker."""
    size = file.seek(0, os.SEEK_END)
    if part == Part(b"", 0, size):
        file.seek(0)
        return file
    return Spliced(file, part.start, part.stop, part.head)  # type: ignore[return-value]


def _as_integers(samples: np.ndarray, subtype: str) -> bytes:
    """FLAC samples as its MD5 counts them; float32 holds integers of 24 bits exactly."""
    full_scale, kind, width = _FULL_SCALE[subtype]
    integers = (samples * np.float32(full_scale)).astype(kind)
    if width == 3:
        return integers.reshape(-1, 1).view(np.uint8)[:, :3].tobytes()
    return integers.tobytes()


def _describe(rate: int, channels: int, subtype: str) -> str:
    return f"{rate:_} Hz, {channels} channel{'s' if channels > 1 else ''}, {subtype.title()}"


def reason_of(error: BaseException) -> str:
    """The last part of libsndfile's sentence, without the repr of our file object."""
    return str(error).rpartition(": ")[2].rstrip(".") or type(error).__name__


def truncated(name: str, reason: str) -> AudioError:
    """The error of a recording whose end is missing."""
    return AudioError(f"{name} is cut: it {reason}. Copy it again, or use what is left: "
                      "--allow-truncated.", code=TRUNCATED, path=name)
