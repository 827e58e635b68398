"""Parts of files on other machines, read ahead: a tar file that is read in order is one stream.

In: a part of a file, and what fetches any part. Out: its bytes. The first part of a file is fetched
alone. While the next parts follow closely, each request brings twice as much as the one before, up
to `MOST_BYTES`, and the parts in between need none. Parts in any other order cost one request each.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_BYTES = 8 << 20   # of one request
FIRST_BYTES = 1 << 18
NEAR_BYTES = 1 << 18   # between parts that follow: headers, texts, and what other threads ask for
MOST_FILES = 4         # of which something is kept, by process
FRESH_SECONDS = 60.0   # the file may be replaced on its server

Fetch = Callable[[int, int], bytes]


@dataclass
class _Block:
    """What was fetched last of a file."""

    start: int = 0
    data: bytes = b""
    window: int = 0
    fetched: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class ReadAhead:
    """Blocks of a few files, for any number of threads."""

    def __init__(self):
        self._lock = threading.Lock()
        self._blocks: OrderedDict[str, _Block] = OrderedDict()

    def read(self, file: str, start: int, stop: int, size: int, fetch: Fetch) -> bytes:
        """Bytes start to stop of a file; fewer if `fetch` gives fewer.

        Args:
            file: what identifies it.
            start, stop: the part, inside of the file.
            size: bytes of the whole file.
            fetch: gets (start, stop) of any part.
        """
        with self._lock:
            block = self._blocks.setdefault(file, _Block())
            self._blocks.move_to_end(file)
            while len(self._blocks) > MOST_FILES:
                self._blocks.popitem(last=False)
        with block.lock:  # threads that want the same block wait for it
            if not self._holds(block, start, stop):
                near = block.data and (block.start - NEAR_BYTES <= start
                                       <= block.end + NEAR_BYTES)
                block.window = min(MOST_BYTES, max(FIRST_BYTES, 2 * block.window)) if near else 0
                wanted = min(size, max(stop, start + block.window))
                data = fetch(start, wanted)
                if len(data) != wanted - start:  # a server that sends what it likes
                    block.data = b""
                    return fetch(start, stop)
                block.start, block.data, block.fetched = start, data, time.monotonic()
            return block.data[start - block.start:stop - block.start]

    def forget(self, file: str) -> None:
        """Keep nothing of a file."""
        with self._lock:
            self._blocks.pop(file, None)

    @staticmethod
    def _holds(block: _Block, start: int, stop: int) -> bool:
        return (block.start <= start and stop <= block.end
                and time.monotonic() - block.fetched < FRESH_SECONDS)
