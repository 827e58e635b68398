"""Matrix products on the calling thread, in blocks of a fixed size.

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

from itertools import pairwise

import numpy as np

SERIAL_SIZE = 1 << 18  # multiplications that OpenBLAS does not share between threads
# Rows in a block whose bits are the same at every position of a row: true for OpenBLAS's
# Sandybridge, Haswell, Zen and SkylakeX kernels and matrices of two columns or more (tested).
ANY_PLACE = 8
NARROW = 16  # columns at least in a piece of a wide matrix


def serial_matmul(rows: np.ndarray, matrix: np.ndarray, step: int | None = None) -> np.ndarray:
    """(N, K) @ (K, M), a block at a time, so that BLAS stays on one thread.

    Args:
        rows: (N, K) float32; N may be 0.
        matrix: (K, M) float32.
        step: rows at a time. By default as many as one thread takes, at least ANY_PLACE;
            ANY_PLACE itself is slower for a small matrix, but the result of a row then does not
            depend on its number either.

    Returns:
        (N, M) float32.
    """
    step = step or max(ANY_PLACE, SERIAL_SIZE // matrix.size)
    depth, columns = matrix.shape
    pieces = -(-step * matrix.size // SERIAL_SIZE)
    if pieces > 1:  # of the columns, none of them narrow
        pieces = max(1, min(pieces, columns // NARROW))
        edges = [piece * columns // pieces for piece in range(pieces + 1)]
    else:
        edges = [0, columns]
    whole = len(rows) // step * step
    product = np.empty((len(rows), columns), np.result_type(rows, matrix))
    blocks = rows[:whole].reshape(-1, step, depth)
    rest = np.zeros((step, depth), rows.dtype)
    rest[:len(rows) - whole] = rows[whole:]
    for first, last in pairwise(edges):
        part = matrix[:, first:last]
        if whole:
            product[:whole, first:last] = np.matmul(blocks, part).reshape(whole, -1)
        if whole < len(rows):
            product[whole:, first:last] = np.matmul(rest, part)[:len(rows) - whole]
    return product
