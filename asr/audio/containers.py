"""What the first and last bytes of a recording claim, read before any decoder sees them.

In: an open, seekable binary file. Out: the container's name, or an `AudioError`.
libsndfile repairs what it can and says so only in a log; this module refuses instead: it knows
the four containers we accept, checks the numbers that libsndfile takes on trust, and finds cuts.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO

from asr.errors import AudioError

MIN_SAMPLE_RATE = 4_000  # Hz
MAX_SAMPLE_RATE = 192_000  # Hz
MAX_CHANNELS = 8

# container: subtypes, both in libsndfile's names. ADPCM, GSM and the like have a history of
# memory errors in libsndfile and nobody records speech for training in them.
SUBTYPES = {
    "WAV": {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"},
    "FLAC": {"PCM_S8", "PCM_16", "PCM_24"},
    "OGG": {"VORBIS", "OPUS"},
    "MP3": {"MPEG_LAYER_III"},
}
REMEDY = "Convert it: ffmpeg -i INPUT -ar 16000 -ac 1 OUTPUT.wav"

# Programs that write WAV into a pipe cannot go back to fill in the size: ffmpeg leaves
# 0xFFFFFFFF, SoX 0x7FFFF000 (or with its header added). The data then end with the file.
_STREAMED_SIZES = range(0x7FFFF000, 0x80000000), range(0xFFFFFF00, 0x100000000)
_WAV_BITS = {1: (8, 16, 24, 32), 3: (32, 64), 6: (8,), 7: (8,), 0xFFFE: (8, 16, 24, 32, 64)}
_MAX_CHUNKS = 1_000
_MAX_OGG_PAGE = 27 + 255 + 255 * 255
_MP3_BIT_RATES = (  # kbit/s by index, layer III: MPEG 2 and 2.5, MPEG 1
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0))
_STRANGERS = (  # (offset, magic, name): what people mistake for one of ours
    (0, b"RF64", "a 64-bit WAV (RF64)"), (0, b"FORM", "AIFF"), (0, b".snd", "Sun AU"),
    (0, b"caff", "Core Audio"), (0, b"NIST", "NIST SPHERE"), (4, b"ftyp", "MP4, M4A or AAC"),
    (0, b"\x1aE\xdf\xa3", "WebM or Matroska"), (0, b"#!AMR", "AMR"), (0, b"\x89PNG", "PNG"),
    (0, b"PK\x03\x04", "a ZIP archive"), (0, b"%PDF", "PDF"), (0, b"\x1f\x8b", "gzip"),
    (0, b"<", "HTML or XML"), (0, b"\x30\x26\xb2\x75", "Windows Media"),
)


def inspect_container(file: BinaryIO, name: str) -> tuple[str, str | None]:
    """Name the container and check what its own header claims.

    Args:
        file: open, seekable; the position is left at the start.
        name: what messages call the recording.

    Returns:
        ("WAV" | "FLAC" | "OGG" | "MP3", what shows that data are missing at the end, or None).

    Raises:
        AudioError: audio.empty, audio.header, audio.unsupported.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(4_096)
    if not size:
        raise AudioError(f"{name} is empty: 0 bytes. Record or download it again.",
                         code="audio.empty", path=name)
    container = _sniff(head, name)
    cut = None
    if container == "WAV":
        cut = _inspect_wav(file, size, name)
    elif container == "OGG":
        cut = _inspect_ogg(file, size)
    elif container == "MP3":
        cut = _inspect_mp3(file, size, name)
    file.seek(0)
    return container, cut


def check_format(name: str, *, container: str, subtype: str, sample_rate: int,
                 channels: int) -> None:
    """Refuse what lies outside the limits of this module.

    Raises:
        AudioError: audio.unsupported.
    """
    if subtype not in SUBTYPES.get(container, ()):
        known = "; ".join(f"{key}: {', '.join(sorted(value))}" for key, value in SUBTYPES.items())
        raise _unsupported(name, f"is {container} with {subtype} samples; accepted are {known}")
    if not MIN_SAMPLE_RATE <= sample_rate <= MAX_SAMPLE_RATE:
        raise _unsupported(name, f"declares {sample_rate:_} samples a second; accepted are "
                                 f"{MIN_SAMPLE_RATE:_} .. {MAX_SAMPLE_RATE:_} Hz")
    if not 1 <= channels <= MAX_CHANNELS:
        raise _unsupported(name, f"declares {channels:_} channels; accepted are "
                                 f"1 .. {MAX_CHANNELS}")


def _unsupported(name: str, what: str) -> AudioError:
    return AudioError(f"{name} {what}. {REMEDY}", code="audio.unsupported", path=name)


def _sniff(head: bytes, name: str) -> str:
    """The container by its magic bytes; the file name's extension is never believed."""
    if head[:4] == b"RIFF" and (head[8:12] == b"WAVE" or len(head) < 12):
        return "WAV"
    if head[:4] == b"fLaC":
        return "FLAC"
    if head[:4] == b"OggS":
        return "OGG"
    if head[:3] == b"ID3":
        return "MP3"
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2 and head[1] & 0x18 != 0x08:
        return "MP3"  # frame sync, layer III, not the reserved version
    for offset, magic, stranger in _STRANGERS:
        if head[offset:offset + len(magic)] == magic:
            raise _unsupported(name, f"looks like {stranger}; accepted are WAV, FLAC, Ogg (Vorbis "
                                     "or Opus) and MP3")
    raise _unsupported(name, f"starts with {head[:8]!r}, which is no WAV, FLAC, Ogg or MP3")


def _inspect_wav(file: BinaryIO, size: int, name: str) -> str | None:
    """Walk the RIFF chunks: libsndfile accepts 1 Hz, 7 bits and missing data."""
    position, block_align = 12, 0
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            break
        tag, length = header[:4], struct.unpack("<I", header[4:])[0]
        position += 8
        if tag == b"fmt ":
            block_align = _check_wav_format(file.read(min(length, 40)), name)
        elif tag == b"data":
            if not block_align:
                break
            return _inspect_wav_data(length, size - position, block_align, name)
        position += length + length % 2
    raise AudioError(f"{name} is a WAV file of {size:_} bytes without a complete "
                     f"{'data' if block_align else 'fmt'} chunk. The file is damaged: copy or "
                     "record it again.", code="audio.header", path=name)


def _inspect_wav_data(length: int, available: int, block_align: int, name: str) -> str | None:
    streamed = any(length in sizes for sizes in _STREAMED_SIZES)
    if available <= 0 or not length:
        raise AudioError(f"{name} is a WAV header without samples. Record or copy it again.",
                         code="audio.empty", path=name)
    if streamed:
        return None
    if length > available:
        return f"declares {length:_} bytes of samples but holds {available:_}"
    if length % block_align:
        return f"ends inside a frame: {length:_} bytes of samples, {block_align} a frame"
    return None


def _check_wav_format(chunk: bytes, name: str) -> int:
    """Check the fmt chunk; returns bytes a frame."""
    if len(chunk) < 16:
        raise AudioError(f"{name} has a fmt chunk of {len(chunk)} bytes, 16 are the least. The "
                         "file is damaged: copy or record it again.", code="audio.header",
                         path=name)
    tag, channels, rate, _, block_align, bits = struct.unpack("<HHIIHH", chunk[:16])
    if tag not in _WAV_BITS:
        raise _unsupported(name, f"is a WAV file with encoding 0x{tag:04x}; accepted are PCM, "
                                 "float, mu-law and A-law")
    if bits not in _WAV_BITS[tag]:
        raise _unsupported(name, f"declares {bits} bits a sample; accepted are "
                                 f"{', '.join(map(str, _WAV_BITS[tag]))}")
    subtype = {6: "ALAW", 7: "ULAW"}.get(tag, "PCM_16")  # libsndfile's name comes later
    check_format(name, container="WAV", subtype=subtype, sample_rate=rate, channels=channels)
    if block_align != channels * bits // 8:
        raise AudioError(f"{name} declares {block_align} bytes a frame, but {channels} channels "
                         f"of {bits} bits need {channels * bits // 8}. The header is damaged.",
                         code="audio.header", path=name)
    return block_align


def _inspect_ogg(file: BinaryIO, size: int) -> str | None:
    """The last page must be whole and must say that it is the last (RFC 3533, section 6)."""
    file.seek(max(0, size - _MAX_OGG_PAGE - 27))
    tail = file.read()
    start = tail.rfind(b"OggS")
    if start < 0 or len(tail) - start < 27:
        return "ends inside the header of an Ogg page"
    num_segments = tail[start + 26]
    lacing = tail[start + 27:start + 27 + num_segments]
    if len(lacing) < num_segments or start + 27 + num_segments + sum(lacing) > len(tail):
        return "ends inside an Ogg page"
    if not tail[start + 5] & 0x04:
        return "stops without an Ogg page that is marked as the last"
    return None


def _inspect_mp3(file: BinaryIO, size: int, name: str) -> str | None:
    """A length that is stated, or that follows from frames which are all alike and whole.

    Without a Xing, Info or VBRI header, libsndfile guesses the length from the first frame's bit
    rate and hides what comes after the guess.
    """
    file.seek(0)
    head = file.read(10)
    position = 0
    if head[:3] == b"ID3" and len(head) == 10:  # its length: 4 times 7 bits
        position = 10 + sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0),
                                                                          strict=True))
    file.seek(position)
    first = file.read(200)
    if any(mark in first for mark in (b"Xing", b"Info", b"VBRI")):
        return None
    bit_rates = set()
    while position + 4 <= size:
        file.seek(position)
        bit_rate, length = _mp3_frame(file.read(4))
        if not length:
            break  # tags at the end, or free format, which libsndfile counts by itself
        bit_rates.add(bit_rate)
        position += length
        if len(bit_rates) > 1:
            raise _unsupported(name, "is an MP3 of variable bit rate without the header that "
                                     "states its length")
    return "ends inside an MPEG frame" if position > size else None


def _mp3_frame(header: bytes) -> tuple[int, int]:
    """Bit rate in kbit/s and length in bytes of a layer III frame; (0, 0) if it is none."""
    word = int.from_bytes(header, "big")
    version, rate = word >> 19 & 3, word >> 10 & 3  # version 3: MPEG 1, 2: 2, 0: 2.5
    if word >> 21 != 0x7FF or version == 1 or word >> 17 & 3 != 1 or rate == 3:
        return 0, 0
    bit_rate = _MP3_BIT_RATES[version == 3][word >> 12 & 15]
    if not bit_rate:
        return 0, 0
    sample_rate = (44_100, 48_000, 32_000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    slots = 144_000 if version == 3 else 72_000
    return bit_rate, slots * bit_rate // sample_rate + (word >> 9 & 1)
