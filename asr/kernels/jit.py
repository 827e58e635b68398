"""Compile with numba and keep the machine code in the first writable cache folder.

In: a Python function. Out: the same, compiled on its first call and cached. Where numba
cannot be imported, functions stay as they are.

numba's own cache lies beside the source file, is keyed by that file alone, and fails when the
installation is read-only. Here all kernels of a package share a folder that is named after the
text of every file that holds one (so a changed callee or constant in another file can never meet
stale machine code), in the first writable place of: NUMBA_CACHE_DIR, the user's cache folder, the
temporary folder.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

# Otherwise numba starts colorama where that is installed, which writes an escape sequence at exit.
os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")
try:
    import numba
    from numba import objmode
except ImportError as error:  # such as a NumPy that is too new for it
    numba = None

    def objmode(**kinds: str) -> nullcontext:
        """In plain Python every object is one."""
        return nullcontext()

    logging.getLogger(__name__).warning("numba cannot be imported (%s): what it would compile runs "
                                        "as plain Python, much slower. `asr doctor` explains.",
                                        error)

HOLDS_KERNELS = re.compile(rb"^(from|import) (numba|asr\.kernels\.jit)\b", re.MULTILINE)
CALLEES = re.compile(r"^from asr\.(\w+)\.(?!jit )\w+ import", re.MULTILINE)


def candidates() -> list[Path]:
    """Where compiled code may be kept, best first."""
    places = []
    if os.environ.get("NUMBA_CACHE_DIR"):
        places.append(Path(os.environ["NUMBA_CACHE_DIR"]))
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    owner = os.getuid() if hasattr(os, "getuid") else "user"
    found = [place / "keras-asr" for place in [*places, Path(base)]]
    try:
        found.append(Path(tempfile.gettempdir()) / f"keras-asr-{owner}")
    except FileNotFoundError:
        pass  # a system without any place to write, such as a read-only container
    return found


def sources_key(package: str) -> str:
    """A name for the present text of every file with kernels in `package` and those it imports.

    A file has kernels if it imports numba or this module. Compile-time constants must live in such
    a file.
    """
    digest = hashlib.sha256((numba.__version__ if numba else "").encode()
                            + Path(__file__).read_bytes())
    folders = [Path(sys.modules[package].__file__ or "").parent]
    for folder in folders:
        for path in sorted(folder.glob("*.py")):
            source = path.read_bytes()
            if HOLDS_KERNELS.search(source):
                digest.update(path.name.encode() + source)
                callees = {Path(__file__).parents[1] / room
                           for room in CALLEES.findall(source.decode())}
                folders += sorted(callees.difference(folders))
    return f"{package}-{digest.hexdigest()[:12]}"


@cache
def cache_folder(package: str) -> Path | None:
    """The folder for the compiled code of `package`; None when no place can be written."""
    for place in candidates():
        folder = place / sources_key(package)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError:
            continue
        if _is_ours(folder):
            return folder
    return None


def _is_ours(folder: Path) -> bool:
    """Whether only this user can write machine code there; the temporary folder is shared."""
    if not hasattr(os, "getuid"):
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def compiled(function: Callable | None = None, *, nogil: bool = True,
             inline: bool = False) -> Callable:
    """Decorator: nopython machine code, cached on disk if there is a place.

    Args:
        function: arrays and numbers in and out.
        nogil: release the interpreter lock while it runs.
        inline: put the machine code where it is called. A tuple of many arrays is copied as a
            whole for each call, which costs more than a short function does.

    Without numba the function itself.
    """
    if function is None:
        return partial(compiled, nogil=nogil, inline=inline)
    if numba is None:
        return function
    folder = cache_folder(function.__module__.rpartition(".")[0])
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder or "")  # read when the decorator runs, restored below
    try:
        return numba.njit(nogil=nogil, error_model="numpy", cache=folder is not None,
                          forceinline=inline)(function)
    finally:
        numba.config.CACHE_DIR = before
