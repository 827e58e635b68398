"""float32 memory that is aligned to cache lines and reused.

In: a shape. Out: an array. NumPy only.

A training step keeps hundreds of megabytes of activations for a moment. Taken from the system
each time, every page is zeroed and mapped again: about a tenth of the step. Here a block whose
last array is gone waits for the next array of its size class.
"""

from __future__ import annotations

import threading
from collections import defaultdict

import numpy as np

LINE = 64  # bytes of a cache line, and the alignment that TensorFlow takes without copying
SMALLEST = 1 << 18  # bytes; below, the allocator of C is as good
KEEP = 1 << 29  # bytes that may wait

_lock = threading.RLock()  # a collection inside the lock may return a block
_waiting: dict[int, list[np.ndarray]] = defaultdict(list)
_waiting_bytes = 0


def size_class(size: int) -> int:
    """The block size for `size` bytes: at most an eighth more, so that lengths may vary."""
    step = max(LINE, 1 << max(0, size.bit_length() - 4))
    return -(-size // step) * step


class _Block:
    """Owns memory while arrays look at it, then hands it on."""

    def __init__(self, memory: np.ndarray):
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self):
        global _waiting_bytes
        with _lock:
            if _waiting_bytes + self.memory.nbytes <= KEEP:
                _waiting[self.memory.nbytes].append(self.memory)
                _waiting_bytes += self.memory.nbytes


def aligned(*shape: int, zero: bool = False) -> np.ndarray:
    """A float32 array of that shape, its first element on a cache line.

    Args:
        shape: sizes of the axes.
        zero: fill with zeros; else the content is whatever was there.
    """
    size = int(np.prod(shape, dtype=np.int64)) * 4
    if size < SMALLEST:
        memory: object = np.empty(size + LINE, np.uint8)
    else:
        memory = _Block(_take(size_class(size + LINE)))
    raw = np.asarray(memory)
    start = -raw.ctypes.data % LINE
    array = raw[start:start + size].view(np.float32).reshape(shape)
    if zero:
        array.fill(0)
    return array


def _take(size: int) -> np.ndarray:
    global _waiting_bytes
    with _lock:
        if _waiting[size]:
            _waiting_bytes -= size
            return _waiting[size].pop()
    return np.empty(size, np.uint8)


def release() -> int:
    """Give all waiting memory back to the system; returns how many bytes that were."""
    global _waiting_bytes
    with _lock:
        _waiting.clear()
        released, _waiting_bytes = _waiting_bytes, 0
    return released
