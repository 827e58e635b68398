"""FLAC: is the last frame there, does another stream follow, and which samples were encoded.

In: an open, seekable file. Out: what shows that the end is missing, and the MD5 of the samples.
libsndfile believes the length in the header. Reference: RFC 9639.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from asr.audio.joined import refuse_joined
from asr.audio.mpeg import skip_id3

_MAX_BLOCKS = 1_000  # of metadata
_TAIL = 1 << 16  # bytes, where the last frame is looked for first


def inspect_flac(file: BinaryIO, size: int, name: str) -> tuple[str | None, bytes]:
    """What the header and the frames of a FLAC file say.

    Args:
        file: open, seekable; a tag may come first.
        size: its bytes.
        name: what messages call the recording.

    Returns:
        What shows that the end is missing, or None; the MD5 of all samples (section 8.2), b""
        where it is not set or samples are missing. (None, b"") of a file that is no FLAC.

    Raises:
        AudioError: audio.unsupported, a second stream follows.
    """
    start = skip_id3(file)
    file.seek(start)
    head = file.read(42)
    if head[:4] != b"fLaC":
        return None, b""
    refuse_joined(file, size, name, "FLAC", start + 4)
    if len(head) < 42 or head[4] & 127:
        return None, b""
    pattern = _last_frame(file, start, head)
    if pattern and not (_holds(file, size - _TAIL, pattern) or _holds(file, start, pattern)):
        return "ends before its last frame", b""
    return None, head[26:42] if any(head[26:42]) else b""


def _last_frame(file: BinaryIO, position: int, head: bytes) -> re.Pattern[bytes] | None:
    """How the last frame begins (section 9.1); None where the header does not say it."""
    num_samples = int.from_bytes(head[21:26], "big") & (1 << 36) - 1
    block_size = int.from_bytes(head[10:12], "big")
    position += 4
    for _ in range(_MAX_BLOCKS):
        file.seek(position)
        block = file.read(4)
        if len(block) < 4:
            return None
        position += 4 + int.from_bytes(block[1:], "big")
        if block[0] & 128:
            break
    file.seek(position)
    first = file.read(4)
    if len(first) < 4 or first[:2] != b"\xff\xf8" or not num_samples or not block_size:
        return None  # blocks of several sizes, whose last one has any number
    number = coded_number((num_samples - 1) // block_size)
    sizes_and_rate = bytes(size << 4 | first[2] & 15 for size in range(16))
    channels_and_bits = bytes(channels << 4 | first[3] & 15 for channels in range(16))
    return re.compile(b"\xff\xf8[%s][%s]%s" % tuple(map(
        re.escape, (sizes_and_rate, channels_and_bits, number))))


def coded_number(number: int) -> bytes:
    """A number as UTF-8 codes characters, up to 36 bits."""
    if number < 128:
        return bytes([number])
    rest = 1  # bytes that follow the first
    while number >> 6 * rest + 6 - rest and rest < 6:
        rest += 1
    first = 0xFF00 >> rest + 1 & 0xFF | number >> 6 * rest
    return bytes([first, *(0x80 | number >> 6 * place & 63 for place in reversed(range(rest)))])


def _holds(file: BinaryIO, position: int, pattern: re.Pattern[bytes]) -> bool:
    file.seek(max(0, position))
    overlap = b""
    while chunk := file.read(1 << 20):
        if pattern.search(overlap + chunk):
            return True
        overlap = chunk[-16:]
    return False
