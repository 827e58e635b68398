"""Matrix products that stay on the thread that asks for them.

In: two matrices. Out: their product, the same whatever the number of threads. NumPy only.

OpenBLAS wakes every core for a whole product and waits for them: on a busy 4-core machine 16 ms
instead of 0.2 ms for the mel filters of 512 frames. Afterwards its threads look for more work for a
while, on the cores that the LSTM's own threads want.
"""

from __future__ import annotations

import numpy as np

SERIAL_SIZE = 1 << 18  # multiplications that OpenBLAS does not share between threads


def serial_matmul(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(N, K) @ (K, M), a few rows at a time, so that BLAS stays on one thread."""
    step = max(1, SERIAL_SIZE // matrix.size)
    whole = len(rows) // step * step
    product = np.matmul(rows[:whole].reshape(-1, step, rows.shape[1]), matrix)
    product = product.reshape(whole, matrix.shape[1])
    if whole == len(rows):
        return product
    return np.concatenate([product, rows[whole:] @ matrix])
