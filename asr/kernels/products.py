"""Matrix products for the compiled LSTM: one blocked routine and the packing it needs.

In: addresses of float32 memory. Out: C += A B. Needs numba only.

A product is cut into tiles of ROWS x PANEL that stay in registers. The right factor is packed
once into panels: [columns / PANEL][depth][PANEL]. The left factor is read through strides, so
that a state matrix needs no packing; where rows are far apart in memory they are packed into
blocks: [rows / ROWS][depth][ROWS].
"""

from __future__ import annotations

from asr.kernels import simd
from asr.kernels.jit import compiled
from asr.kernels.simd import BYTES, LANES, PANEL, ROWS, clear, copy, read, write

WIDE = 4  # panels at a time for one row, or two where 32 registers hold their sums
PACK_ROWS = 16  # rows of a matrix that are packed at a time
WIDE_ROWS = ROWS // 4  # with 16 registers (AVX2) two rows would take a quarter longer than narrow
_tile1, _tile2, _tile3, _tile4 = (simd.tile(rows) for rows in (1, 2, 3, 4))
_tile5, _tile6, _tile7, _tile8 = (simd.tile(rows) for rows in (5, 6, 7, 8))
_wide1, _wide2 = (simd.tile(rows, WIDE) for rows in (1, 2))


def padded(number: int, multiple: int = PANEL) -> int:
    """The next multiple."""
    return -(-number // multiple) * multiple


@compiled
def _tile(rows, a, a_row, a_column, b, c, c_row, depth):
    if rows == 8:
        _tile8(a, a_row, a_column, b, c, 0, c_row, depth)
    elif rows == 4:
        _tile4(a, a_row, a_column, b, c, 0, c_row, depth)
    elif rows == 1:
        _tile1(a, a_row, a_column, b, c, 0, c_row, depth)
    elif rows == 2:
        _tile2(a, a_row, a_column, b, c, 0, c_row, depth)
    elif rows == 3:
        _tile3(a, a_row, a_column, b, c, 0, c_row, depth)
    elif rows == 5:
        _tile5(a, a_row, a_column, b, c, 0, c_row, depth)
    elif rows == 6:
        _tile6(a, a_row, a_column, b, c, 0, c_row, depth)
    else:
        _tile7(a, a_row, a_column, b, c, 0, c_row, depth)


@compiled
def product(rows, depth, columns, a, a_block, a_row, a_column, b, c, c_panel, c_row):
    """C[rows, columns] += A[rows, depth] B[depth, columns].

    Args:
        rows, depth, columns: sizes; columns is a multiple of PANEL.
        a: address of A; a_block, a_row, a_column are the bytes from one block of ROWS rows,
            one row, one column to the next.
        b: address of B, packed in panels.
        c: address of C; c_panel, c_row are the bytes from one panel, one row to the next: a C
            that is only added up is kept in panels too, where it is read from end to end.
    """
    panel_bytes = depth * PANEL * BYTES
    panels = columns // PANEL
    if rows <= WIDE_ROWS:
        while panels >= WIDE:
            if rows == 1:
                _wide1(a, a_row, a_column, b, c, c_panel, c_row, depth)
            elif rows == 2:
                _wide2(a, a_row, a_column, b, c, c_panel, c_row, depth)
            b += WIDE * panel_bytes
            c += WIDE * c_panel
            panels -= WIDE
    for panel in range(panels):
        b_at = b + panel * panel_bytes
        c_at = c + panel * c_panel
        a_at = a
        for row in range(0, rows, ROWS):
            _tile(min(ROWS, rows - row), a_at, a_row, a_column, b_at, c_at, c_row, depth)
            a_at += a_block
            c_at += ROWS * c_row


@compiled
def pack_gates(depth, units, wide, first_unit, own, source, target):
    """Panels of a (depth, 4 * units) matrix whose gates are widened to `wide` columns each.

    The added columns are zero, so a padded unit stays at zero. Only the columns of
    `own` units from `first_unit` on are packed, both multiples of LANES. A few rows at a time: a
    column of the whole matrix has every row on another page of memory.
    """
    for first in range(0, depth, PACK_ROWS):
        rows = min(PACK_ROWS, depth - first)
        for gate in range(4):
            for unit in range(first_unit, first_unit + own, LANES):
                column = gate * wide + unit
                real = max(0, min(LANES, units - unit))
                at = target + ((column // PANEL * depth + first) * PANEL + column % PANEL) * BYTES
                from_at = source + (first * 4 * units + gate * units + unit) * BYTES
                for _ in range(rows):
                    if real == LANES:
                        copy(at, from_at, LANES)
                    else:
                        copy(at, from_at, real)
                        clear(at + real * BYTES, LANES - real)
                    at += PANEL * BYTES
                    from_at += 4 * units * BYTES


@compiled
def pack_gates_transposed(depth, units, wide, source, target):
    """Panels of the transpose of such a matrix: (4 * wide, depth padded to PANEL)."""
    for first in range(0, depth, PANEL):
        real = min(PANEL, depth - first)
        panel = target + first * 4 * wide * BYTES
        for gate in range(4):
            clear(panel + (gate * wide + units) * PANEL * BYTES, (wide - units) * PANEL)
            for unit in range(units):
                at = panel + (gate * wide + unit) * PANEL * BYTES
                from_at = source + (first * 4 * units + gate * units + unit) * BYTES
                for column in range(real):
                    write(at + column * BYTES, read(from_at + column * 4 * units * BYTES))
                clear(at + real * BYTES, PANEL - real)


@compiled
def pack_panels(depth, columns, source, source_row, target):
    """Panels of a (depth, columns) matrix; columns is a multiple of PANEL."""
    for panel in range(columns // PANEL):
        for row in range(depth):
            copy(target, source + row * source_row + panel * PANEL * BYTES, PANEL)
            target += PANEL * BYTES


@compiled
def pack_block(addresses, count, depth, target):
    """One block [depth][ROWS] of the left factor from up to ROWS rows at the given addresses."""
    for j in range(count):
        source = addresses[j]
        for k in range(depth):
            write(target + (k * ROWS + j) * BYTES, read(source + k * BYTES))


@compiled
def pack_columns(source, at, depth, columns, target):
    """Row number `at` of a (depth, columns) matrix, into the blocks of its transpose.

    The transpose is a left factor: target is [columns / ROWS][depth][ROWS]. A source address of
    0 means a row of zeros.
    """
    target += at * ROWS * BYTES
    for first in range(0, columns, ROWS):
        if source == 0:
            clear(target, ROWS)
        elif first + ROWS <= columns:
            copy(target, source + first * BYTES, ROWS)
        else:
            copy(target, source + first * BYTES, columns - first)
        target += depth * ROWS * BYTES
