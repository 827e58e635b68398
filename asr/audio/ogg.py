"""Ogg pages: where the streams of a file start, and whether each is complete.

In: an open, seekable binary file. Out: the links of the chain, and what is missing.
An Ogg file may be a chain of streams, one behind another (RFC 3533, section 4): recorders of
radio programmes write one a song. libsndfile decodes only the first, and leaves out a page whose
checksum is wrong without a word, so the checksums are compared here.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from asr.errors import AudioError

MAX_LINKS = 2_000
MAX_GAPS = 1_000  # places in one file where there is no page
MAX_PAGES = 8_000_000  # 24 hours of 20 ms pages have 4.3 million

_MAX_PAGE = 27 + 255 + 255 * 255
_CHUNK = 1 << 16
_FIRST, _LAST = 0x02, 0x04  # flags of a page
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_OTHER_CODECS = {b"\x7fFLAC": "FLAC", b"Speex   ": "Speex"}


def inspect_ogg(file: BinaryIO, size: int, name: str, remedy: str
                ) -> tuple[str | None, list[tuple[int, int]]]:
    """The links of a chain, and whether each ends with a page that is marked as its last.

    Args:
        file: open, seekable.
        size: its bytes.
        name: what messages call the recording.
        remedy: the end of a refusal.

    Returns:
        What shows that data are missing, or None; (start, stop) of every link, in bytes: one
        unless the file is chained.

    Raises:
        AudioError: audio.unsupported, audio.decode.
    """
    starts, unended, damage = _walk(file, size, name, remedy)
    links = list(zip(starts, [*starts[1:], size], strict=True))
    _refuse_other_codecs(file, links, name, remedy)
    if damage:
        raise _damaged(name, damage)
    cut = _missing_end(file, size)
    if not cut and unended:
        cut = (f"is a chained Ogg file whose stream {unended} of {len(links)} stops without a "
               "page that is marked as the last")
    return cut, links


def _walk(file: BinaryIO, size: int, name: str, remedy: str) -> tuple[list[int], int, str]:
    """Where links start; the number of the first that has no last page, 0: all have one; damage."""
    starts, unended, position, opening, flags, gaps = [0], 0, 0, True, 0, 0
    damage, behind_gap, last = "", False, (0, 0)  # the last page's stream, its number in it
    for _ in range(MAX_PAGES):
        if position + 27 > size:
            return starts, unended, damage
        file.seek(position)
        header = file.read(27)
        if header[:5] != b"OggS\0":  # damage: go on at the next page, as decoders do
            position = _next_page(file, position + 1)
            if position < 0:
                return starts, unended, damage
            gaps, behind_gap = gaps + 1, True
            if gaps > MAX_GAPS:
                raise _damaged(name, f"is an Ogg file with more than {MAX_GAPS:_} gaps between "
                                     "its pages")
            continue
        lacing = file.read(header[26])
        length = sum(lacing)
        body = file.read(length)
        serial, number, checksum = struct.unpack("<III", header[14:26])
        if not damage and len(body) == length and checksum != _checksum(header, lacing, body):
            damage = (f"is an Ogg file whose page at byte {position:_} has another checksum than "
                      "it states, so a part of the sound is lost")
        if not damage and behind_gap and serial == last[0] and not header[5] & _FIRST \
                and number != (last[1] + 1) & 0xFFFFFFFF:
            damage = f"is an Ogg file that lacks pages before byte {position:_}"
        behind_gap, last = False, (serial, number)
        if header[5] & _FIRST and not opening:  # several at the start are streams side by side
            if not flags & _LAST and not unended:
                unended = len(starts)
            starts.append(position)
            if len(starts) > MAX_LINKS:
                raise AudioError(f"{name} is a chained Ogg file of more than {MAX_LINKS:_} "
                                 f"streams, which are the most that are read. {remedy}",
                                 code="audio.unsupported", path=name)
        flags = header[5]
        opening = bool(flags & _FIRST)
        position += 27 + len(lacing) + length
    raise AudioError(f"{name} is an Ogg file of more than {MAX_PAGES:_} pages, which are the most "
                     f"that are read. {remedy}", code="audio.unsupported", path=name)


def _checksum(header: bytes, lacing: bytes, body: bytes) -> int:
    """The CRC-32 of RFC 3533, section 6: that of ZIP with mirrored bits, not inverted."""
    page = (header[:22] + bytes(4) + header[26:] + lacing + body).translate(_MIRRORED)
    mirrored = zlib.crc32(page, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_MIRRORED), "big")


def _damaged(name: str, what: str) -> AudioError:
    return AudioError(f"{name} {what}. The file is damaged: copy or record it again.",
                      code="audio.decode", path=name)


def _next_page(file: BinaryIO, position: int) -> int:
    while True:
        file.seek(position)
        chunk = file.read(_CHUNK)
        found = chunk.find(b"OggS\0")
        if found >= 0:
            return position + found
        if len(chunk) < _CHUNK:
            return -1
        position += _CHUNK - 4


def _refuse_other_codecs(file: BinaryIO, links: list[tuple[int, int]], name: str,
                         remedy: str) -> None:
    for number, (start, _) in enumerate(links, start=1):
        file.seek(start)
        page = file.read(27 + 255 + 8)
        packet = page[27 + page[26]:][:8] if len(page) > 27 else b""
        for magic, codec in _OTHER_CODECS.items():
            if packet.startswith(magic):
                chain = (f"is a chained Ogg file; stream {number} of {len(links)}"
                         if len(links) > 1 else "is an Ogg file that")
                raise AudioError(f"{name} {chain} holds {codec}; accepted are Vorbis and Opus. "
                                 f"{remedy}", code="audio.unsupported", path=name)


def _missing_end(file: BinaryIO, size: int) -> str | None:
    """The last page must be whole and must say that it is the last (RFC 3533, section 6)."""
    file.seek(max(0, size - _MAX_PAGE - 27))
    tail = file.read()
    start = tail.rfind(b"OggS")
    if start < 0 or len(tail) - start < 27:
        return "ends inside the header of an Ogg page"
    num_segments = tail[start + 26]
    lacing = tail[start + 27:start + 27 + num_segments]
    if len(lacing) < num_segments or start + 27 + num_segments + sum(lacing) > len(tail):
        return "ends inside an Ogg page"
    if not tail[start + 5] & _LAST:
        return "stops without an Ogg page that is marked as the last"
    return None
