"""Inspect the header and the end of a recording before a decoder opens it.

In: an open, seekable binary file. Out: the container's name, or an `AudioError`.
libsndfile repairs what it can and says so only in a log; this module refuses instead: it knows
the containers we accept, checks the numbers that libsndfile takes on trust, and finds cuts.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from asr.audio import av_decoder, other_containers
from asr.audio.flac import inspect_flac
from asr.audio.joined import refuse_joined
from asr.audio.mpeg import inspect_mp3
from asr.audio.ogg import inspect_ogg
from asr.errors import AudioError

MIN_SAMPLE_RATE = 4_000  # Hz
MAX_SAMPLE_RATE = 192_000  # Hz
MAX_CHANNELS = 8

# container: subtypes, both in libsndfile's names, or in FFmpeg's where that decodes.
SUBTYPES = {
    "WAV": {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW",
            "IMA_ADPCM", "MS_ADPCM", "GSM610"},
    "FLAC": {"PCM_S8", "PCM_16", "PCM_24"},
    "OGG": {"VORBIS", "OPUS"},
    "MP3": {"MPEG_LAYER_III"},
    **other_containers.SUBTYPES, **av_decoder.SUBTYPES,
}
REMEDY = "Convert it: ffmpeg -i INPUT -ar 16000 -ac 1 OUTPUT.wav"

# Programs that write WAV into a pipe cannot go back to fill in the size: ffmpeg leaves
# 0xFFFFFFFF, SoX 0x7FFFF000 rounded down to whole frames, arecord 0x80000000 or 0x7FFFFF00,
# opusdec and lame 0x7FFFFFFF, some with the header added; GStreamer and VLC leave 0. The data
# then end with the file.
_STREAMED_SIZES = range(0x7FFFEF00, 0x80001000), range(0xFFFFF000, 0x100000000)
_MAX_WAV_HEAD = 1 << 20  # bytes before the samples, where the size of 0 has to be replaced
_WAV_BITS = {1: (8, 16, 24, 32), 3: (32, 64), 6: (8,), 7: (8,), 0xFFFE: (8, 16, 24, 32, 64),
             2: (4,), 0x11: (4,), 0x31: (0,)}
_IN_BLOCKS = {2: "MS_ADPCM", 0x11: "IMA_ADPCM", 0x31: "GSM610"}  # WAV, many samples a block
_MAX_CHUNKS = 1_000
_ACCEPTED = ("accepted are WAV, FLAC, Ogg (Vorbis or Opus), MP3, AIFF, AU, CAF, W64, RF64, SPHERE "
             "and, through PyAV, MP4, AAC, Matroska, WebM, WMA and AMR")
_STRANGERS = (  # (offset, magic, name): what people mistake for one of ours
    (0, b"\x89PNG", "PNG"), (0, b"PK\x03\x04", "a ZIP archive"), (0, b"%PDF", "PDF"),
    (0, b"\x1f\x8b", "gzip"), (0, b"<", "HTML or XML"),
)
_BY_AV = (
    *((4, kind, "MP4") for kind in (b"ftyp", b"moov", b"mdat", b"wide", b"skip")),
    (0, b"\x1aE\xdf\xa3", "MATROSKA"), (0, b"#!AMR", "AMR"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "ASF"),
)


@dataclass(frozen=True)
class Part:
    """Bytes that a decoder gets as one file: `head`, then those of the recording.

    Attributes:
        head: made by us.
        start, stop: bytes of the recording.
    """

    head: bytes
    start: int
    stop: int


@dataclass(frozen=True)
class Layout:
    """What is known of a recording before it is decoded.

    Attributes:
        container: a key of `SUBTYPES`.
        cut: what shows that data are missing at the end, or None.
        parts: to be decoded one after the other; more than one in a chained Ogg file
            and in a joined MP3 file.
        md5: of the samples of a FLAC file, as its header states it; b"" if it does not.
    """

    container: str
    cut: str | None
    parts: tuple[Part, ...]
    md5: bytes = b""


def inspect_container(file: BinaryIO, name: str) -> Layout:
    """Name the container and check what its own header claims.

    Args:
        file: open, seekable; the position is left at the start.
        name: what messages call the recording.

    Returns:
        The `Layout`.

    Raises:
        AudioError: audio.empty, audio.header, audio.unsupported, audio.too_long.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(4_096)
    if not size:
        raise AudioError(f"{name} is empty: 0 bytes. Record or download it again.",
                         code="audio.empty", path=name)
    container = _sniff(head, name)
    cut, parts = None, (Part(b"", 0, size),)
    if container == "WAV":
        cut, new_head = _inspect_wav(file, size, name)
        if new_head:
            parts = (Part(new_head, len(new_head), size),)
    elif container == "OGG":
        cut, links = inspect_ogg(file, size, name, REMEDY)
        parts = tuple(Part(b"", start, stop) for start, stop in links)
    elif container == "MP3":
        cut, joined = inspect_mp3(file, size, name, REMEDY)
        parts = tuple(Part(*part) for part in joined)
    elif container in other_containers.SUBTYPES:
        cut, head, start, stop = other_containers.find_cut(file, size, name, container)
        parts = (Part(head, start, stop),)
    elif container in av_decoder.SUBTYPES:
        refuse_joined(file, size, name, container)
    md5 = b""
    if container in ("FLAC", "MP3"):  # a tag may come before fLaC
        flac_cut, md5 = inspect_flac(file, size, name)
        cut = cut or flac_cut
    file.seek(0)
    return Layout(container, cut, parts, md5)


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
    if head[:4] in other_containers.MAGIC:
        return other_containers.MAGIC[head[:4]]
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "AAC"  # frame sync of ADTS, no layer
    for offset, magic, container in _BY_AV:
        if head[offset:offset + len(magic)] == magic:
            return container
    for offset, magic, stranger in _STRANGERS:
        if head[offset:offset + len(magic)] == magic:
            raise _unsupported(name, f"looks like {stranger}; {_ACCEPTED}")
    raise _unsupported(name, f"starts with {head[:8]!r}, which is no recording we know; "
                             f"{_ACCEPTED}")


def _inspect_wav(file: BinaryIO, size: int, name: str) -> tuple[str | None, bytes]:
    """Walk the RIFF chunks: libsndfile accepts 1 Hz, 7 bits and missing data.

    Returns:
        What shows that data are missing, or None; a header to replace the file's own where the
        sizes in it are 0 because they were never filled in, or b"".
    """
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
            streamed = any(length in sizes for sizes in _STREAMED_SIZES)
            refuse_joined(file, size, name, "WAV", position + length * (not streamed))
            if not length and position < min(size, _MAX_WAV_HEAD):
                new_head = _replaced_sizes(file, size, position)
                if new_head:
                    return None, new_head
            return _inspect_wav_data(length, size - position, block_align, streamed, name), b""
        position += length + length % 2
    raise AudioError(f"{name} is a WAV file of {size:_} bytes without a complete "
                     f"{'data' if block_align else 'fmt'} chunk. The file is damaged: copy or "
                     "record it again.", code="audio.header", path=name)


def _replaced_sizes(file: BinaryIO, size: int, position: int) -> bytes:
    """The header up to the samples with sizes as ffmpeg leaves them; b"" if 0 is meant."""
    file.seek(0)
    head = file.read(position)
    if struct.unpack("<I", head[4:8])[0] + 8 >= size:  # it counts what follows: other chunks
        return b""
    unknown = b"\xff" * 4
    return head[:4] + unknown + head[8:-4] + unknown


def _inspect_wav_data(length: int, available: int, block_align: int, streamed: bool,
                      name: str) -> str | None:
    if available <= 0 or not length:
        raise AudioError(f"{name} is a WAV header without samples. Record or copy it again.",
                         code="audio.empty", path=name)
    if streamed and available > length + _MAX_WAV_HEAD:
        raise _unsupported(name, f"is a WAV file from a pipe with {available:_} bytes of samples; "
                                 f"its header can state {length:_} at most")
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
                                 "float, mu-law, A-law, ADPCM and GSM")
    if bits not in _WAV_BITS[tag]:
        raise _unsupported(name, f"declares {bits} bits a sample; accepted are "
                                 f"{', '.join(map(str, _WAV_BITS[tag]))}")
    subtype = {6: "ALAW", 7: "ULAW", **_IN_BLOCKS}.get(tag, "PCM_16")  # libsndfile knows more
    check_format(name, container="WAV", subtype=subtype, sample_rate=rate, channels=channels)
    if tag in _IN_BLOCKS:
        if not block_align:
            raise AudioError(f"{name} declares blocks of 0 bytes. The header is damaged.",
                             code="audio.header", path=name)
        return 1  # the last block may be short
    if block_align != channels * bits // 8:
        raise AudioError(f"{name} declares {block_align} bytes a frame, but {channels} channels "
                         f"of {bits} bits need {channels * bits // 8}. The header is damaged.",
                         code="audio.header", path=name)
    return block_align
