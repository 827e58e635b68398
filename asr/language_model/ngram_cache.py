"""The cache beside an ARPA file: its arrays, memory-mapped.

In: arrays and the path of the ARPA file. Out: the same arrays, read-only, in milliseconds.

Layout: 8 bytes magic, little-endian uint32 CRC-32 of all that follows, uint32 length of the header,
the header (JSON: version, size and time of the source, bytes of the vocabulary, order, counts,
normaliser, and offset and length of each array), the vocabulary (UTF-8, one word a line) and the
arrays, each aligned to 64 bytes. The checksum keeps a damaged file from being followed into memory.
"""

from __future__ import annotations

import json
import mmap
import struct
import zlib
from pathlib import Path

import numpy as np

from asr.files import write_atomic
from asr.language_model.ngram_kernel import NgramArrays
from asr.parsing import parse_json

MAGIC = b"ASRNGRAM"
VERSION = 2
PRELUDE = len(MAGIC) + 8
ALIGNMENT = 64
TYPES = {"words": "<i4", "log_probs": "<f4", "suffixes": "<i4", "first_child": "<i4",
         "backoffs": "<f4"}


def cache_path(source: Path) -> Path:
    """Where the cache of an ARPA file lies."""
    return source.with_name(source.name + ".cache")


def write_cache(source: Path, vocabulary: tuple[str, ...], order: int, counts: tuple[int, ...],
                arrays: NgramArrays, normalizer: str = "") -> bool:
    """Write the cache; False where the folder cannot be written."""
    body = bytearray("\n".join(vocabulary).encode())
    layout = {}
    for name, array in arrays._asdict().items():
        body += bytes(-len(body) % ALIGNMENT)
        layout[name] = {"offset": len(body), "length": len(array)}
        body += np.ascontiguousarray(array, dtype=TYPES[name]).tobytes()
    header = json.dumps({
        "version": VERSION, "source": _stamp(source), "order": order, "counts": counts,
        "normalizer": normalizer,
        "vocabulary_bytes": len("\n".join(vocabulary).encode()), "arrays": layout}).encode()
    header += b" " * (-(PRELUDE + len(header)) % ALIGNMENT)
    content = struct.pack("<I", len(header)) + header + body
    try:
        write_atomic(cache_path(source), MAGIC + struct.pack("<I", zlib.crc32(content)) + content)
    except OSError:  # a read-only folder or a full disk: the cache only saves time
        return False
    return True


def read_cache(source: Path
               ) -> tuple[tuple[str, ...], int, tuple[int, ...], NgramArrays, str] | None:
    """Vocabulary, order, counts, arrays and normaliser; None: no whole cache of this file."""
    try:
        with open(cache_path(source), "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if mapped[:len(MAGIC)] != MAGIC:
            return None
        checksum, length = struct.unpack("<II", mapped[len(MAGIC):PRELUDE])
        with memoryview(mapped) as view:
            if zlib.crc32(view[len(MAGIC) + 4:]) != checksum:
                return None
        body = PRELUDE + length
        header = parse_json(bytes(mapped[PRELUDE:body]))
        if header["version"] != VERSION or header["source"] != _stamp(source):
            return None
        words = mapped[body:body + header["vocabulary_bytes"]].decode().split("\n")
        arrays = NgramArrays(**{
            name: np.frombuffer(mapped, dtype=TYPES[name], count=place["length"],
                                offset=body + place["offset"])
            for name, place in header["arrays"].items()})
        if not _is_sound(arrays, len(words)):
            return None
        return (tuple(words), header["order"], tuple(header["counts"]), arrays,
                str(header["normalizer"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError,
            struct.error):
        return None


def _is_sound(arrays: NgramArrays, num_words: int) -> bool:
    """Whether every link stays inside the arrays and leads to shorter n-grams.

    A checksum tells damage, not malice, and the kernels follow links without looking.
    """
    nodes, contexts = len(arrays.words), len(arrays.backoffs)
    if not (num_words < nodes and 0 < contexts <= nodes == len(arrays.log_probs)
            == len(arrays.suffixes) and len(arrays.first_child) == contexts + 1):
        return False
    links = arrays.suffixes, arrays.first_child
    return bool(all(array.min() >= 0 for array in links) and arrays.suffixes.max() < contexts
                and (arrays.suffixes[1:] < np.arange(1, nodes)).all()
                and arrays.first_child.max() <= nodes and not np.isnan(arrays.log_probs).any())


def _stamp(source: Path) -> list[int]:
    """Size and modification time (nanoseconds) of the ARPA file."""
    status = source.stat()
    return [status.st_size, status.st_mtime_ns]
