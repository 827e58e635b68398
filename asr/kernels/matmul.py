"""Matrix products that stay on the thread that asks for them, in blocks of a fixed size.

In: two matrices. Out: their product, the same whatever the number of threads. NumPy only.

OpenBLAS wakes every core for a whole product and waits for them: on a busy 4-core machine 16 ms
instead of 0.2 ms for the mel filters of 512 frames. Afterwards its threads look for more work for a
while, on the cores that the LSTM's own threads want.

BLAS multiplies a row with another kernel, and rounds otherwise, depending on how many rows there
are and, without AVX-512, on which of them it is. So the number of rows in a product is fixed and
the last block is filled up with zeros: row n of the result depends on n, on row n and on the
matrix, never on the rows around it. Give each utterance a call of its own, or a block in which the
place of a row does not matter (ANY_PLACE).
"""

from __future__ import annotations

import numpy as np

SERIAL_SIZE = 1 << 18  # multiplications that OpenBLAS does not share between threads
# Rows in a block whose bits are the same wherever a row stands: so for OpenBLAS's Sandybridge,
# Haswell, Zen and SkylakeX kernels and matrices of two columns or more, which the tests look at.
ANY_PLACE = 8


def serial_matmul(rows: np.ndarray, matrix: np.ndarray, step: int | None = None) -> np.ndarray:
    """(N, K) @ (K, M), a few rows at a time, so that BLAS stays on one thread.

    Args:
        rows: (N, K) float32; N may be 0.
        matrix: (K, M) float32.
        step: rows at a time. By default as many as one thread takes; ANY_PLACE is slower, but the
            result of a row then does not depend on its number either.

    Returns:
        (N, M) float32.
    """
    step = step or max(1, SERIAL_SIZE // matrix.size)
    whole = len(rows) // step * step
    product = np.matmul(rows[:whole].reshape(-1, step, rows.shape[1]), matrix)
    product = product.reshape(whole, matrix.shape[1])
    if whole == len(rows):
        return product
    rest = np.zeros((step, rows.shape[1]), rows.dtype)
    rest[:len(rows) - whole] = rows[whole:]
    return np.concatenate([product, np.matmul(rest, matrix)[:len(rows) - whole]])
