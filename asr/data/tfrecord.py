"""TFRecord files without TensorFlow: the framing, and the checksum that makes it slow elsewhere.

In: payload bytes. Out: framed bytes that `tf.data.TFRecordDataset` reads, and back.

    uint64 length | uint32 masked crc32c(length) | payload | uint32 masked crc32c(payload)

all little-endian. Reference: tensorflow/core/lib/io/record_writer.h; crc32c: RFC 3720, B.4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from asr.errors import DataError

HEADER_BYTES = 12
FOOTER_BYTES = 4

_POLYNOMIAL = 0x82F63B78  # Castagnoli, bits reversed
_BLOCK_BYTES = 1_024  # looked up at once; its table, 1 MiB, stays in a core's cache


def frame_record(payload: bytes | memoryview) -> tuple[bytes, bytes]:
    """What goes before and after one payload."""
    length = struct.pack("<Q", len(payload))
    return (length + struct.pack("<I", masked_crc32c(length)),
            struct.pack("<I", masked_crc32c(payload)))


def read_records(data: bytes | memoryview, *, name: str = "TFRecord data") -> Iterator[memoryview]:
    """The payloads of a whole file, every checksum verified.

    Raises:
        DataError: the data are cut or changed; the message names the byte.
    """
    view, position = memoryview(data), 0
    while position < len(view):
        header = bytes(view[position:position + HEADER_BYTES])
        start = position + HEADER_BYTES
        stop = start + (int.from_bytes(header[:8], "little") if len(header) == HEADER_BYTES else 0)
        footer = bytes(view[stop:stop + FOOTER_BYTES])
        if (len(header) < HEADER_BYTES or len(footer) < FOOTER_BYTES
                or struct.pack("<I", masked_crc32c(header[:8])) != header[8:]
                or struct.pack("<I", masked_crc32c(view[start:stop])) != footer):
            raise DataError(f"{name} is damaged at byte {position:_}. Delete it; it is made again.",
                            code="cache.damaged", path=name)
        yield view[start:stop]
        position = stop + FOOTER_BYTES


def masked_crc32c(data: bytes | memoryview) -> int:
    """The checksum as TFRecord stores it: rotated by 15 bits, plus a constant."""
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes | memoryview) -> int:
    """CRC-32C of some bytes, at about 400 MB/s.

    A CRC is linear: that of a block is the XOR of one table entry a byte, the table chosen by the
    byte's place in the block. NumPy looks all blocks up at once; a loop carries only the 4-byte
    state from block to block, which is the same as XORing it into the next block's first bytes.
    Zeros in front change nothing while the state is 0, so the first block is filled up there.

    Example:
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'
    """
    tables, starts, (first, second, third, fourth), last = _tables()
    values = np.frombuffer(data, np.uint8)
    if len(values) < 16:  # a record's length
        state = 0xFFFFFFFF
        for value in values.tolist():
            state = (state >> 8) ^ last[(state ^ value) & 255]
        return state ^ 0xFFFFFFFF
    padding = -len(values) % _BLOCK_BYTES
    blocks = np.zeros(padding + len(values), np.uint8)
    blocks[padding:] = values
    blocks[padding:padding + 4] ^= 0xFF  # the standard's initial state, all ones
    sums = np.bitwise_xor.reduce(tables.take(blocks.reshape(-1, _BLOCK_BYTES) + starts), axis=1)
    state = 0
    for block in sums.tolist():
        state = (first[state & 255] ^ second[state >> 8 & 255] ^ third[state >> 16 & 255]
                 ^ fourth[state >> 24] ^ block)
    return state ^ 0xFFFFFFFF


@lru_cache(maxsize=1)
def _tables() -> tuple[np.ndarray, np.ndarray, list[list[int]], list[int]]:
    """The lookup tables.

    Returns:
        All entries by (place in the block, byte), flat; where each place starts in them; those of
        the first four places, which take in the state; those of the last, one byte's classic table.
    """
    last = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        last = np.where(last & 1, (last >> 1) ^ np.uint32(_POLYNOMIAL), last >> 1)
    tables = np.empty((_BLOCK_BYTES, 256), np.uint32)
    tables[-1] = last
    for place in range(_BLOCK_BYTES - 2, -1, -1):  # one zero byte further from the end
        later = tables[place + 1]
        tables[place] = (later >> 8) ^ last[later & 255]
    starts = np.arange(_BLOCK_BYTES, dtype=np.intp) * 256
    return tables.ravel(), starts, tables[:4].tolist(), last.tolist()
