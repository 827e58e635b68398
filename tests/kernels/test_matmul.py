"""Matrix products in blocks: right, and each row of the result depends on its row alone."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from asr.kernels.matmul import ANY_PLACE, serial_matmul


@pytest.mark.parametrize("step", [None, 1, ANY_PLACE])
@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 100])
@pytest.mark.parametrize(("depth", "columns"), [(1, 1), (40, 29), (700, 500)])
def test_it_is_the_product(count, depth, columns, step, rng):
    rows, matrix = rng.normal(size=(count, depth)), rng.normal(size=(depth, columns))
    found = serial_matmul(rows.astype("f4"), matrix.astype("f4"), step)
    assert found.shape == (count, columns)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, rows @ matrix, atol=1e-3)


def check_bits() -> None:
    """No row's bits depend on how many rows follow, nor, with ANY_PLACE, on the row's number."""
    rng = np.random.default_rng(0)
    for depth, columns in ((1, 2), (9, 5), (40, 29), (80, 13), (257, 80), (288, 32), (512, 29),
                           (256, 1024), (640, 500)):
        rows = rng.normal(size=(70, depth)).astype("f4")
        matrix = rng.normal(size=(depth, columns)).astype("f4")
        whole = serial_matmul(rows, matrix)
        placed = serial_matmul(rows, matrix, ANY_PLACE)
        for count in (*range(1, 30), 69):
            found = serial_matmul(rows[:count], matrix)
            assert found.tobytes() == whole[:count].tobytes(), (depth, columns, count)
            shifted = serial_matmul(rows[count:], matrix, ANY_PLACE)
            assert shifted.tobytes() == placed[count:].tobytes(), (depth, columns, count)


@pytest.mark.parametrize("core", ["", "Haswell", "SkylakeX", "Sandybridge"])
def test_bits_depend_on_the_row_alone(core):
    """OpenBLAS chooses its kernels once a process; a name this machine lacks changes nothing."""
    environment = {**os.environ, "OPENBLAS_CORETYPE": core,
                   "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run([sys.executable, "-c", "import test_matmul as t; t.check_bits()"],
                         env=environment, cwd=os.path.dirname(__file__), capture_output=True,
                         text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
