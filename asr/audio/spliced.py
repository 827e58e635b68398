"""A part of a file as a file of its own.

In: an open file and where the part is. Out: a readable, seekable file.
"""

from __future__ import annotations

import io
import os
from typing import BinaryIO


class Spliced(io.RawIOBase):
    """A part of a file, behind a head of our own.

    Args:
        file: open, seekable; nothing else may move it while this is read.
        start, stop: bytes of the file.
        head: comes before them.
        owns: close the file with this.

    Attributes:
        size: bytes of the part, with its head.
    """

    def __init__(self, file: BinaryIO, start: int, stop: int, head: bytes = b"", *,
                 owns: bool = False):
        self.start = start
        self._file, self._stop, self._head, self._owns = file, stop, head, owns
        self._position, self.size = 0, len(head) + stop - start

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The number of the whole file."""
        return self._file.fileno()

    def tell(self) -> int:
        """The position in the part."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position in the part."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer) -> int:
        """Fill a buffer with the next bytes."""
        data = self._at(self._position, len(buffer))
        buffer[:len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close it, and the whole file if it is owned."""
        if self._owns and not self.closed:
            self._file.close()
        super().close()

    def _at(self, position: int, count: int) -> bytes:
        head = self._head[position:position + count]
        start = self.start + max(0, position - len(self._head))
        count = min(count - len(head), self._stop - start)
        if count <= 0:
            return head
        self._file.seek(start)
        return head + self._file.read(count)


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file, or of a part of one, without a move in it."""
    return file.size if isinstance(file, Spliced) else os.fstat(file.fileno()).st_size
