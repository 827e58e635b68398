"""Parts of a file on another machine: the right bytes in any order, few requests in order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from asr.audio import ahead
from asr.audio.ahead import MOST_BYTES, MOST_FILES, ReadAhead

SIZE = 40_000_000


class Server:
    """Makes the bytes of a file up, and counts requests."""

    def __init__(self, size: int = SIZE):
        self.data = np.random.default_rng(0).bytes(size)
        self.requests: list[tuple[int, int]] = []

    def fetch(self, start: int, stop: int) -> bytes:
        self.requests.append((start, stop))
        return self.data[start:stop]

    def parts(self, length: int, gap: int) -> list[tuple[int, int]]:
        return [(start, start + length) for start in range(512, len(self.data) - length,
                                                           length + gap)]


def test_parts_in_order_are_a_stream():
    server, reader = Server(), ReadAhead()
    parts = server.parts(length=60_000, gap=1_536)
    for start, stop in parts:
        assert reader.read("a", start, stop, SIZE, server.fetch) == server.data[start:stop]
    assert len(parts) > 600
    assert len(server.requests) <= 2 + 6 + SIZE // MOST_BYTES
    assert server.requests[0] == parts[0], "one part may be all that is wanted"
    assert max(stop - start for start, stop in server.requests) == MOST_BYTES
    assert sum(stop - start for start, stop in server.requests) <= 1.1 * SIZE


def test_parts_in_any_order_bring_nothing_that_was_not_asked_for(rng):
    server, reader = Server(), ReadAhead()
    parts = server.parts(length=3_000, gap=2_000_000)
    for i in rng.permutation(len(parts)):
        start, stop = parts[i]
        assert reader.read("a", start, stop, SIZE, server.fetch) == server.data[start:stop]
    assert sum(stop - start for start, stop in server.requests) == 3_000 * len(parts)


def test_threads_that_read_in_order_share_the_requests():
    server, reader = Server(4_000_000), ReadAhead()
    parts = server.parts(length=20_000, gap=1_536)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: reader.read("a", *part, len(server.data),
                                                       server.fetch), parts))
    assert found == [server.data[start:stop] for start, stop in parts]
    assert len(server.requests) < len(parts) / 3


def test_only_a_few_files_are_kept():
    server, reader = Server(10_000), ReadAhead()
    for name in range(2 * MOST_FILES):
        reader.read(str(name), 0, 10, 10_000, server.fetch)
    assert len(reader._blocks) == MOST_FILES


def test_a_file_that_was_replaced_is_read_again(monkeypatch):
    server, reader = Server(10_000), ReadAhead()
    reader.read("a", 0, 100, 10_000, server.fetch)
    server.data = server.data[::-1]
    monkeypatch.setattr(ahead, "FRESH_SECONDS", 0.0)
    assert reader.read("a", 0, 100, 10_000, server.fetch) == server.data[:100]


def test_what_is_forgotten_is_read_again():
    server, reader = Server(10_000), ReadAhead()
    for _ in range(2):
        reader.read("a", 0, 100, 10_000, server.fetch)
        reader.forget("a")
    assert len(server.requests) == 2
    reader.forget("a file of which nothing is kept")


@pytest.mark.parametrize("size", [10_000, 400_000])
def test_a_server_that_sends_the_whole_file_is_found_out(size):
    """Without HTTP Range the answer to any request is the file: its start is not the part."""
    data, reader = bytes(range(256)) * (size // 256), ReadAhead()
    for start in (0, 1_000, 2_000, 3_000):
        found = reader.read("a", start, start + 700, len(data), lambda *_: data)
        assert found == data if start else found in (data, data[:700])
