"""Containers besides WAV, FLAC, Ogg and MP3 that libsndfile reads: is all of the data there?

In: an open file whose first bytes named its container. Out: what shows that the end is missing, or
None. libsndfile shortens a cut recording without a word, so each header's own count is compared
with the size of the file.
References: AIFF-C (Apple 1991), Core Audio Format 1.0, .au (Sun), W64 (Sonic Foundry), EBU Tech
3306 (RF64), NIST SPHERE.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import BinaryIO

from asr.audio.joined import refuse_joined
from asr.errors import AudioError

SUFFIXES = (".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".w64", ".rf64", ".sph", ".nist")
MAGIC = {b"FORM": "AIFF", b".snd": "AU", b"caff": "CAF", b"riff": "W64", b"RF64": "RF64",
         b"NIST": "NIST"}
_PCM = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"}
SUBTYPES = {
    "AIFF": _PCM | {"IMA_ADPCM", "GSM610"},
    "AU": _PCM | {"G721_32", "G723_24", "G723_40"},
    "CAF": _PCM | {"ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32"},
    "W64": _PCM | {"IMA_ADPCM", "MS_ADPCM", "GSM610"},
    "RF64": _PCM, "NIST": _PCM}

_UNKNOWN = 0xFFFFFFFF
# What programs leave that write into a pipe and cannot go back: ffmpeg 0 in RF64, -1 in CAF and
# the largest number in W64; SoX 0x7F000000 in AIFF. The data then end with the file.
_LARGEST = range((1 << 63) - 48, (1 << 63) + 1), range((1 << 64) - 48, 1 << 64)
_STREAMED = {"AIFF": (range(0x7EFFF000, 0x7F001000), range(0x7FFFE000, 0x80001000),
                      range(0xFFFFF000, 1 << 32)),
             "CAF": (range(-1, 0), *_LARGEST), "W64": _LARGEST,
             "RF64": (range(-1, 0), range(0xFFFFF000, 1 << 32), *_LARGEST)}
_ENDLESS = ("W64", "NIST")  # of which libsndfile takes what follows the samples for samples
_MAX_HEAD = 1 << 20  # bytes before the samples, where a size has to be replaced
_MAX_CHUNKS = 1_000


def find_cut(file: BinaryIO, size: int, name: str, container: str
             ) -> tuple[str | None, bytes, int, int]:
    """What shows that data are missing at the end of a recording, or None.

    Args:
        file: open.
        size: bytes of it.
        name: what messages call it.
        container: a value of `MAGIC`.

    Returns:
        With it a header that states what is there, where libsndfile refuses the file's own, and
        the bytes of the file, first and last + 1, that a decoder gets behind it.

    Raises:
        AudioError: audio.header (damaged, or no samples), audio.unsupported (compressed SPHERE,
            joined recordings).
    """
    try:
        start, length = _READERS[container](file, size, name)
    except AudioError:
        raise
    except (struct.error, ValueError, LookupError, OverflowError, OSError, StopIteration) as error:
        raise AudioError(f"{name} looks like {container} but its header is damaged or without "
                         "samples. Copy or record it again.", code="audio.header",
                         path=name) from error
    available = max(0, size - start)
    streamed = any(length in sizes for sizes in _STREAMED.get(container, ()))
    refuse_joined(file, size, name, container, start + length * (not streamed))
    if streamed:
        if not 0 < start <= _MAX_HEAD or not available:
            raise AudioError(f"{name} is {container} without samples. Record or copy it again.",
                             code="audio.empty", path=name)
        head = _stating(file, start, available, container)
        return None, head, start, size
    if length <= available:
        return None, b"", 0, start + length if container in _ENDLESS else size
    head = _stating(file, start, available, container) if container == "CAF" else b""
    return (f"declares {length:_} bytes of samples but holds {available:_}", head, len(head), size)


def _stating(file: BinaryIO, start: int, available: int, container: str) -> bytes:
    """The header up to the samples, with the number of bytes that are there."""
    file.seek(0)
    head = file.read(start)
    if container == "CAF":
        return head[:-8] + struct.pack(">q", available)
    if container == "AIFF":
        return (head[:4] + struct.pack(">I", start + available - 8) + head[8:-4]
                + struct.pack(">I", available))
    if container == "W64":
        return (head[:16] + struct.pack("<Q", start + available) + head[24:-8]
                + struct.pack("<Q", available + 24))
    at = head.index(b"ds64") + 8
    return (head[:at] + struct.pack("<QQ", start + available - 8, available) + head[at + 16:-4]
            + b"\xff" * 4)


def _aiff(file: BinaryIO, size: int, name: str) -> tuple[int, int]:
    file.seek(8)
    if file.read(4) not in (b"AIFF", b"AIFC"):
        raise ValueError
    return next((position, length) for tag, position, length in
                _chunks(file, size, 12, ">4sI", 2) if tag == b"SSND")


def _au(file: BinaryIO, size: int, name: str) -> tuple[int, int]:
    file.seek(4)
    start, length = struct.unpack(">II", file.read(8))
    return start, 0 if length == _UNKNOWN else length


def _caf(file: BinaryIO, size: int, name: str) -> tuple[int, int]:
    position, length = next((position, length) for tag, position, length in
                            _chunks(file, size, 8, ">4sq", 1) if tag == b"data")
    return position, length


def _w64(file: BinaryIO, size: int, name: str) -> tuple[int, int]:
    position = 40   # riff: GUID, size, the GUID of wave
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        tag, length = struct.unpack("<16sQ", file.read(24))   # the size includes these 24 bytes
        if tag[:4] == b"data":
            return position + 24, length - 24
        if length < 24:
            raise ValueError
        position += (length + 7) & ~7
    raise ValueError


def _rf64(file: BinaryIO, size: int, name: str) -> tuple[int, int]:
    riff = data = None
    for tag, position, length in _chunks(file, size, 12, "<4sI", 2):
        if tag == b"ds64":
            file.seek(position)
            riff, data = struct.unpack("<QQ", file.read(16))
        elif tag == b"data":
            if length != _UNKNOWN:
                return position, length
            if riff is None or data is None:
                raise ValueError
            return position, data if riff or data else -1   # both 0: never filled in
    raise ValueError


def _nist(file: BinaryIO, size: int, name: str) -> tuple[int, int]:
    file.seek(0)
    head = file.read(1_024).decode("ascii", "replace")
    start = int(head.split("\n")[1])
    fields = {match[1]: match[2] for match in re.finditer(r"^(\w+) -\S+ (.*)$", head, re.MULTILINE)}
    if "shorten" in fields.get("sample_coding", ""):
        raise AudioError(f"{name} is a SPHERE file compressed with shorten, which is not read. "
                         "Unpack it: sph2pipe -f wav INPUT OUTPUT.wav", code="audio.unsupported",
                         path=name)
    return start, (int(fields["sample_count"]) * int(fields["sample_n_bytes"])
                   * int(fields.get("channel_count", "1")))


_READERS = {"AIFF": _aiff, "AU": _au, "CAF": _caf, "W64": _w64, "RF64": _rf64, "NIST": _nist}


def _chunks(file: BinaryIO, size: int, position: int, form: str, align: int
            ) -> Iterator[tuple[bytes, int, int]]:
    """(name, position of the content, its length) of every chunk."""
    for _ in range(_MAX_CHUNKS):
        if position >= size:
            return
        file.seek(position)
        tag, length = struct.unpack(form, file.read(struct.calcsize(form)))
        position += struct.calcsize(form)
        yield tag, position, length
        if length < 0:
            return
        position += -(-length // align) * align
