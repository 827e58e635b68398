"""How the decoders' kernels are compiled: numba, no Python objects, no lock held.

In: a function of arrays and numbers. Out: the same function as machine code, kept on disk when a
folder for it can be written. Floor 1: numba.

numba keeps a compiled function as long as its own file is unchanged, with the code of the kernels
that it calls inside. After an upgrade that changes only a callee in another file, it would go on
running the old code. So the name under which it is kept carries a checksum of all kernel files.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from pathlib import Path

from numba import njit


def compiled(function: Callable) -> Callable:
    """The function as machine code that releases the interpreter lock while it runs.

    The result is cached beside the source or in the user's cache folder. Where neither can be
    written (a read-only installation without a home), it is compiled again in every process.
    """
    function.__qualname__ += f"_{kernel_checksum(Path(__file__).parent)}"
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError as error:
        # numba has no exception class of its own for "no folder for the cache".
        if "cannot cache function" not in str(error):
            raise
        return njit(nogil=True)(function)


@functools.cache
def kernel_checksum(folder: Path) -> str:
    """CRC-32 over the source files of a folder that hold kernels, in hexadecimal."""
    checksum = 0
    for path in sorted(folder.glob("*.py")):
        source = path.read_bytes()
        if b"\n@compiled" in source:
            checksum = zlib.crc32(source, checksum)
    return f"{checksum:08x}"
