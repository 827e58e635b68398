"""Count the frames of MP3 files that do not state their length, and add a header with the count.

In: an open, seekable binary file. Out: what is missing at its end, and its parts, with a frame to
put before each.
Without a Xing, Info or VBRI header, libsndfile guesses the length from the first frame's bit rate
and hides what comes after the guess. With one that we make, it decodes every frame.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import BinaryIO

from asr.errors import AudioError

MAX_GAPS = 1_000  # places in one file where there is no frame
MAX_PARTS = 2_000  # joined in one file
MAX_TAGS = 1 << 24  # bytes between them
RUN = 4  # frames in a row, which no tag has: behind the stated end they are sound
MAX_STATED = 0xFFFF_FFFF  # bytes or frames in a header
MAX_FRAMES = 4_000_000  # counted, of one file: 24 hours have 3.6 million at 48 kHz

_BIT_RATES = (  # kbit/s by index, layer III: MPEG 2 and 2.5, MPEG 1
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0))
_SAME = 0xFFFE0C00  # bits that do not change inside a stream: sync, version, layer, sample rate
_SYNC = re.compile(b"\xff[\xe2-\xff]")
_CHUNK = 1 << 16


def inspect_mp3(file: BinaryIO, size: int, name: str, remedy: str
                ) -> tuple[str | None, list[tuple[bytes, int, int]]]:
    """What the frames of a file say about its length.

    A file that was joined from several (`cat a.mp3 b.mp3`), or to which a recorder added, states
    the length of its first part alone: what comes behind it is another part here.

    Args:
        file: open, seekable.
        size: its bytes.
        name: what messages call the recording.
        remedy: the end of a refusal.

    Returns:
        What shows that the end is missing, or None; of every part the header frame that has to
        come before it, b"" if it can be decoded as it is, and its first and last byte + 1.

    Raises:
        AudioError: audio.unsupported, audio.too_long, audio.decode.
    """
    parts: list[tuple[bytes, int, int]] = []
    start = skip_id3(file)
    while True:
        file.seek(start)
        first = file.read(200)
        stated = _stated(first)
        if stated is None:
            cut, header = _counted(file, start, size, name, remedy)
            begin = start if header or parts else 0
            return cut, [*parts, (header, begin, size)]
        length = stated.num_bytes
        following = _next_run(file, start + length, size) if length else -1
        if following < 0:
            cut, header = _corrected(file, start, size, first, stated, name, remedy)
            begin = start + len(header) if header or parts else 0
            return cut, [*parts, (header, begin, size)]
        parts.append((b"", start if parts else 0, following))
        if len(parts) >= MAX_PARTS:
            raise AudioError(f"{name} is an MP3 file joined from more than {MAX_PARTS:_} parts, "
                             f"which are the most that are read. {remedy}",
                             code="audio.unsupported", path=name)
        start = following


@dataclass(frozen=True)
class _Stated:
    """What a Xing, Info or VBRI header states, 0 where it does not, and where it does."""

    num_frames: int
    num_bytes: int
    frames_at: int
    bytes_at: int


def _stated(first: bytes) -> _Stated | None:
    """What the header in the first frame states; None: there is none.

    Args:
        first: the start of the first frame, 200 bytes.
    """
    for mark in (b"Xing", b"Info"):
        at = first.find(mark)
        if at >= 0:
            flags = int.from_bytes(first[at + 4:at + 8], "big")
            place = at + 8 + 4 * (flags & 1)
            return _Stated(_number(first, at + 8) if flags & 1 else 0,
                           _number(first, place) if flags & 2 else 0, at + 8, place)
    at = first.find(b"VBRI")
    return None if at < 0 else _Stated(_number(first, at + 14), _number(first, at + 10), at + 14,
                                       at + 10)


def _number(first: bytes, place: int) -> int:
    return int.from_bytes(first[place:place + 4], "big")


def _corrected(file: BinaryIO, start: int, size: int, first: bytes, stated: _Stated, name: str,
               remedy: str) -> tuple[str | None, bytes]:
    """What shows that frames are missing, and the first frame with the counts that are true.

    With those that it had, decoders warn of a stream of another size, without its name. b"" where
    they are true.
    """
    held, cut, frames = size - start, None, stated.num_frames
    length = mp3_frame(first[:4])[1]
    if stated.num_bytes > held:
        count, _, end = _walk(file, start + length, size, name, remedy)
        whole = max(0, count - (end > size))
        if not frames:
            cut = f"holds {held:_} of {stated.num_bytes:_} bytes of MPEG frames"
        elif whole + 1 < frames:  # some encoders count the header's own frame
            cut, frames = f"holds {whole:_} of {frames:_} MPEG frames", whole
    elif not stated.num_bytes or 100 * (held - stated.num_bytes) < held:
        return None, b""
    file.seek(start)
    head = bytearray(file.read(length))
    for place, number in ((stated.frames_at, frames), (stated.bytes_at, held)):
        if number and place + 4 <= len(head):
            head[place:place + 4] = min(number, MAX_STATED).to_bytes(4, "big")
    return cut, bytes(head)


def _next_run(file: BinaryIO, position: int, size: int) -> int:
    """Where `RUN` frames in a row start behind the stated end; -1: tags, or nothing."""
    stop = min(size, position + MAX_TAGS)
    while position < stop:
        file.seek(position)
        chunk = file.read(_CHUNK)
        for match in _SYNC.finditer(chunk):
            at = begin = position + match.start()
            header = reference = chunk[match.start():match.start() + 4]
            for _ in range(RUN):
                length = mp3_frame(header)[1]
                if not length or not _alike(header, int.from_bytes(reference, "big")):
                    break
                at += length
                file.seek(at)
                header = file.read(4)
            else:
                return begin
        position += _CHUNK - 3
    return -1


def _counted(file: BinaryIO, start: int, size: int, name: str, remedy: str
             ) -> tuple[str | None, bytes]:
    """What shows that the end is missing; the header frame that has to come first, or b""."""
    count, bit_rates, end = _walk(file, start, size, name, remedy)
    cut = "ends inside an MPEG frame" if end > size else None
    if len(bit_rates) < 2:
        return cut, b""
    file.seek(start)
    return cut, _length_header(_number(file.read(4), 0), count - bool(cut), size - start)


def _walk(file: BinaryIO, start: int, size: int, name: str, remedy: str
          ) -> tuple[int, set[int], int]:
    """Frames from a place on: how many, their bit rates, and where the last one ends.

    No bit rate is returned where they are too many to count and all have one: the length follows
    from the size.
    """
    file.seek(start)
    reference = _number(file.read(4), 0)
    count, gaps, bit_rates, end = 0, 0, set(), start
    position = start
    while position + 4 <= size:
        file.seek(position)
        header = file.read(4)
        bit_rate, length = mp3_frame(header)
        if length and not _alike(header, reference) and _is_frame(file, position + length):
            raise AudioError(f"{name} is an MP3 file that changes its sample rate or its number "
                             f"of channels at byte {position:_}; expected one of each. {remedy}",
                             code="audio.unsupported", path=name)
        if not length or not _alike(header, reference):
            if not count:
                break  # free format, which libsndfile counts by itself
            position = _next_frame(file, position + 1, reference)
            if position < 0:
                break  # what is left is a tag
            gaps += 1
            if gaps > MAX_GAPS:
                raise AudioError(f"{name} is an MP3 file with more than {MAX_GAPS:_} gaps between "
                                 "its frames. The file is damaged: copy or record it again.",
                                 code="audio.decode", path=name)
            continue
        bit_rates.add(bit_rate)
        position = end = position + length
        count += 1
        if count > MAX_FRAMES:
            if len(bit_rates) > 1:
                raise AudioError(f"{name} is an MP3 file that does not state its length, of more "
                                 f"than {MAX_FRAMES:_} frames, which are the most that are "
                                 "counted. Split it.", code="audio.too_long", path=name)
            return count, set(), start
    return count, bit_rates, end


def mp3_frame(header: bytes) -> tuple[int, int]:
    """Bit rate in kbit/s and length in bytes of a layer III frame; (0, 0) if it is none."""
    word = int.from_bytes(header, "big")
    version, rate = word >> 19 & 3, word >> 10 & 3  # version 3: MPEG 1, 2: 2, 0: 2.5
    if word >> 21 != 0x7FF or version == 1 or word >> 17 & 3 != 1 or rate == 3:
        return 0, 0
    bit_rate = _BIT_RATES[version == 3][word >> 12 & 15]
    if not bit_rate:
        return 0, 0
    sample_rate = (44_100, 48_000, 32_000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    slots = 144_000 if version == 3 else 72_000
    return bit_rate, slots * bit_rate // sample_rate + (word >> 9 & 1)


def skip_id3(file: BinaryIO) -> int:
    """Where the first frame starts: behind an ID3v2 tag, whose length is 4 times 7 bits."""
    file.seek(0)
    head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0),
                                                                 strict=True))


def _alike(header: bytes, reference: int) -> bool:
    """Whether two frames have the same version, sample rate and number of channels."""
    word = int.from_bytes(header, "big")
    return (word ^ reference) & _SAME == 0 and (word >> 6 & 3 == 3) == (reference >> 6 & 3 == 3)


def _is_frame(file: BinaryIO, position: int) -> bool:
    file.seek(position)
    return mp3_frame(file.read(4))[1] > 0


def _next_frame(file: BinaryIO, position: int, reference: int) -> int:
    """Where the next two frames in a row start after bytes that are none; -1: no such frame."""
    while True:
        file.seek(position)
        chunk = file.read(_CHUNK)
        for match in _SYNC.finditer(chunk):
            header = chunk[match.start():match.start() + 4]
            _, length = mp3_frame(header)
            if length and _alike(header, reference):
                file.seek(position + match.start() + length)
                if _alike(file.read(4), reference):
                    return position + match.start()
        if len(chunk) < _CHUNK:
            return -1
        position += _CHUNK - 3


def _length_header(reference: int, num_frames: int, num_bytes: int) -> bytes:
    """A frame without sound that states the number of frames, as the encoder LAME writes it."""
    word = reference & ~0xF000 & ~0x200 | 8 << 12 | 1 << 16  # bit rate 8, no padding, no CRC
    header = word.to_bytes(4, "big")
    _, length = mp3_frame(header)
    mono, first_version = word >> 6 & 3 == 3, word >> 19 & 3 == 3
    side_info = (17 if mono else 32) if first_version else (9 if mono else 17)
    fields = b"Xing" + b"".join(min(number, MAX_STATED).to_bytes(4, "big")
                                for number in (3, num_frames, num_bytes + length))
    return (header + bytes(side_info) + fields).ljust(length, b"\0")
