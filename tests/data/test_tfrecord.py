"""TFRecord framing: equal to RFC 3720's vectors, to a loop over bits, and to TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.data.tfrecord import crc32c, frame_record, read_records
from asr.errors import DataError


def crc32c_by_bits(data: bytes) -> int:
    state = 0xFFFFFFFF
    for byte in data:
        state ^= byte
        for _ in range(8):
            state = (state >> 1) ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def framed(*payloads: bytes) -> bytes:
    return b"".join(head + payload + foot for payload in payloads
                    for head, foot in [frame_record(payload)])


@pytest.mark.parametrize("data, crc", [  # RFC 3720, appendix B.4
    (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E), (bytes(range(31, -1, -1)), 0x113FDB5C), (b"", 0)])
def test_known_checksums(data, crc):
    assert crc32c(data) == crc == crc32c_by_bits(data)


@given(length=st.integers(0, 3_000), seed=st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_checksum_equals_the_loop_over_bits(length, seed):
    data = np.random.default_rng(seed).bytes(length)
    assert crc32c(data) == crc32c(memoryview(data)) == crc32c_by_bits(data)


@given(payloads=st.lists(st.binary(max_size=300), max_size=5))
@settings(max_examples=40, deadline=None)
def test_records_are_read_back(payloads):
    assert [bytes(p) for p in read_records(framed(*payloads))] == payloads


def test_any_change_is_found():
    data = framed(b"hello", bytes(40))
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1
        with pytest.raises(DataError, match="damaged at byte"):
            list(read_records(bytes(changed)))
    for keep in set(range(1, len(data))) - {len(framed(b"hello"))}:
        with pytest.raises(DataError, match="damaged at byte"):
            list(read_records(data[:keep]))


@pytest.mark.tf
def test_tensorflow_reads_it(tmp_path, rng):
    import tensorflow as tf

    payloads = [b"", b"x", rng.bytes(1_023), rng.bytes(1_024), rng.bytes(70_001)]
    path = tmp_path / "a.tfrecord"
    path.write_bytes(framed(*payloads))
    read = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]
    assert read == payloads
