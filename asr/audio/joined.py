"""Recordings that were joined byte by byte: decoders read the first and say nothing of the others.

In: an open file. Out: nothing, or an error that says where the second recording starts. Ogg and MP3
files may be joined: `asr.audio.ogg`, `asr.audio.mpeg`.
References: ISO/IEC 14496-12, section 4.2 (boxes); RFC 8794 (EBML), RFC 9559 (Matroska).
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from asr.errors import AudioError

_MAX_BOXES = 1_000_000  # of a film in fragments of 0.1 s: 28 hours
_SEGMENT = 0x18538067
# How a file of a container begins; long enough not to occur in the samples.
_STARTS = {kind: re.compile(start, re.DOTALL) for kind, start in {
    "AIFF": rb"FORM.{4}AIF[CF]", "ASF": rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62",
    "AU": rb"\.snd\0\0.{6}\0\0\0[\x01-\x1b]\0", "CAF": rb"caff\0\x01\0\0desc\0",
    "FLAC": rb"fLaC[\x00\x80]\0\0\x22", "NIST": rb"NIST_1A\n", "RF64": rb"RF64.{4}WAVE",
    "W64": rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb", "WAV": rb"RIFF.{4}WAVE",
    # The magic number, the length of the header, and the first of the elements that it may hold.
    "MATROSKA": rb"\x1aE\xdf\xa3(?:[\x80-\xff]|[\x40-\x7f].|\x01.{7})"
                rb"\x42[\x82\x85-\x87\xf2\xf3\xf7]"}.items()}
_CHUNK = 1 << 20


def refuse_joined(file: BinaryIO, size: int, name: str, container: str, stop: int = 0) -> None:
    """An error if a second recording follows the first in the same file.

    Args:
        file: open, seekable.
        size: bytes of it.
        name: what messages call it.
        container: a key of `asr.audio.containers.SUBTYPES`; those of AAC and AMR may be joined.
        stop: a byte of the first recording from which on it is looked for: where its samples end,
            or start, if the header does not say how many there are.

    Raises:
        AudioError: audio.unsupported.
    """
    if container == "MP4":
        at = _second_movie(file, size)
    elif container == "MATROSKA":
        at = _find(file, size, _end_of_segment(file), container)
    else:
        at = _find(file, size, stop, container) if container in _STARTS else 0
    if at:
        raise AudioError(f"{name} is a chained {container} file: another recording starts at byte "
                         f"{at:_}, and only the first would be read. Cut it there, or join the "
                         "recordings with ffmpeg -f concat.", code="audio.unsupported", path=name)


def _find(file: BinaryIO, size: int, position: int, container: str) -> int:
    """Where a second file of this container starts; 0: there is none."""
    position = max(4, position)
    while position < size:
        file.seek(position)
        chunk = file.read(_CHUNK)
        found = _STARTS[container].search(chunk)
        if found:
            return position + found.start()
        if len(chunk) < _CHUNK:
            break
        position += _CHUNK - 32
    return 0


def _second_movie(file: BinaryIO, size: int) -> int:
    """Where a second movie starts; 0: there is none, or the second belongs to fragments."""
    position = movies = second = opening = 0
    for _ in range(_MAX_BOXES):
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            break
        length, kind = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            length = int.from_bytes(header[8:], "big")
        if kind == b"moof":
            return 0
        if kind == b"ftyp":
            opening = position
        if kind == b"moov":
            movies += 1
            if movies == 2:
                second = opening or position
        if length < 8 or position + length >= size:
            break
        position += length
    return second


def _end_of_segment(file: BinaryIO) -> int:
    """The byte behind the first segment, or where a segment of unknown length starts."""
    position = 0
    for _ in range(2):  # the header, and the segment if it states its length
        file.seek(position)
        head = file.read(12)
        if len(head) < 12:
            break
        width = 9 - head[4].bit_length()
        length = int.from_bytes(head[4:4 + width], "big") & ~(1 << 7 * width)
        if position and int.from_bytes(head[:4], "big") != _SEGMENT:
            break
        if width > 8 or length == (1 << 7 * width) - 1:  # a live stream, of unknown length
            break
        position += 4 + width + length
    return position
