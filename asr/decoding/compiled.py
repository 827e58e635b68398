"""How the decoders' kernels are compiled: numba, no Python objects, no lock held.

In: a function of arrays and numbers. Out: the same function as machine code, kept on disk when a
folder for it can be written. Floor 1: numba.
"""

from __future__ import annotations

from collections.abc import Callable

from numba import njit


def compiled(function: Callable) -> Callable:
    """The function as machine code that releases the interpreter lock while it runs.

    The result is cached beside the source or in the user's cache folder. Where neither can be
    written (a read-only installation without a home), it is compiled again in every process.
    """
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError as error:
        # numba has no exception class of its own for "no folder for the cache".
        if "cannot cache function" not in str(error):
            raise
        return njit(nogil=True)(function)
