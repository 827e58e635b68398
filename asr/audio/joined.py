"""Films and recordings that were joined byte by byte: FFmpeg decodes the first and says nothing.

In: an open MP4 or Matroska file. Out: nothing, or an error that says where the second one starts.
References: ISO/IEC 14496-12, section 4.2 (boxes); RFC 8794 (EBML), RFC 9559 (Matroska).
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from asr.errors import AudioError

_MAX_BOXES = 1_000_000  # of a film in fragments of 0.1 s: 28 hours
_SEGMENT = 0x18538067
# The magic number, the length of the header, and the first of the elements that it may hold.
_EBML = re.compile(rb"\x1aE\xdf\xa3(?:[\x80-\xff]|[\x40-\x7f].|\x01.{7})"
                   rb"\x42[\x82\x85-\x87\xf2\xf3\xf7]", re.DOTALL)
_CHUNK = 1 << 20


def refuse_joined(file: BinaryIO, size: int, name: str, container: str) -> None:
    """An error if a second recording follows the first in the same file.

    Args:
        file: open, seekable.
        size: bytes of it.
        name: what messages call it.
        container: "MP4" and "MATROSKA" are looked at, others let pass.

    Raises:
        AudioError: audio.unsupported.
    """
    look = {"MP4": _second_movie, "MATROSKA": _second_segment}.get(container)
    at = look(file, size) if look else 0
    if at:
        raise AudioError(f"{name} is a chained {container} file: another recording starts at byte "
                         f"{at:_}, and only the first would be read. Cut it there, or join the "
                         "recordings with ffmpeg -f concat.", code="audio.unsupported", path=name)


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


def _second_segment(file: BinaryIO, size: int) -> int:
    """Where a second EBML header starts; 0: there is none."""
    position = 0
    for _ in range(2):  # the header, and the segment if it states its length
        file.seek(position)
        head = file.read(12)
        if len(head) < 12:
            return 0
        width = 9 - head[4].bit_length()
        length = int.from_bytes(head[4:4 + width], "big") & ~(1 << 7 * width)
        if position and int.from_bytes(head[:4], "big") != _SEGMENT:
            break
        if width > 8 or length == (1 << 7 * width) - 1:  # a live stream, of unknown length
            break
        position += 4 + width + length
    position = max(4, position)
    while position < size:
        file.seek(position)
        chunk = file.read(_CHUNK)
        found = _EBML.search(chunk)
        if found:
            return position + found.start()
        if len(chunk) < _CHUNK:
            break
        position += _CHUNK - 16
    return 0
