"""Write files atomically.

In: a path and bytes. Out: the file, by temporary name, fsync, rename, directory fsync.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from asr.errors import UsageError

STALE_SECONDS = 3_600  # after which a temporary file is taken for abandoned where locks are unknown

_OPEN = {"/dev/stdout": 1, "/dev/stderr": 2}  # opened by name they would have another position
_TEMPORARY = re.compile(r"\..+\.asr-[a-z0-9_]{8}\.tmp")
_SWEPT: set[str] = set()

# What exFAT and FAT disks, shared folders and network drives answer to a hard link.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


def write_atomic(path: str | Path, data: bytes | str | Iterable[bytes | memoryview], *,
                 overwrite: bool = True) -> None:
    """Write a whole file; a crash at any point leaves the old file or the new one.

    A device or a pipe, such as /dev/stdout, is written as it is and never replaced.

    Args:
        path: the final name; its folder must exist.
        data: the content; text is written as UTF-8, pieces as they come, not joined first.
        overwrite: False makes an existing file an error instead of replacing it.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        OSError: the disk is full or the folder cannot be written; the old file is intact, and
            `filename` of the error is `path`.
    """
    path = Path(path)
    if isinstance(data, str):
        data = data.encode("utf-8")
    try:
        if _is_stream(path):
            sys.stdout.flush()  # what was printed comes first
            with open(_OPEN.get(str(path), path), "ab", closefd=str(path) not in _OPEN) as file:
                file.writelines([data] if isinstance(data, bytes) else data)
            return
        _write(path, [data] if isinstance(data, bytes) else data, overwrite)
    except OSError as error:  # a person knows the final name, not the temporary one
        error.filename = str(path)
        raise
    failpoint("file.after_rename")
    sync_folder(path.parent)


def _is_stream(path: Path) -> bool:
    """Whether a name is that of a device, a pipe or an open file; renaming would replace it."""
    return (str(path.parent) in ("/dev", "/dev/fd", "/proc/self/fd")
            or (path.exists() and not path.is_file() and not path.is_dir()))


def place_new(temporary: str | Path, path: str | Path) -> None:
    """Give a finished file or folder of the same disk its final name; never replaces anything.

    Raises:
        FileExistsError: the name is taken.
    """
    path = Path(path)
    if Path(temporary).is_dir():
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        os.rename(temporary, path)
    else:
        _place(str(temporary), path)
    sync_folder(path.parent)


@contextmanager
def told_of(path: Path, inside: str) -> Iterator[None]:
    """What the disk refuses under a name of ours is said of the name that was given.

    Args:
        path: the given name.
        inside: a part of our names.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None or inside in str(error.filename):
            error.filename = str(path)
        raise


def require_new(*paths: Path) -> None:
    """Refuse, before the work, to write where something is, or into a folder that is not there.

    Raises:
        UsageError: one of the paths exists, or its folder does not.
    """
    for path in paths:
        if not path.parent.is_dir():
            raise UsageError(f"The folder {path.parent} does not exist. Create it first.")
        if path.exists():
            raise UsageError(f"{path} exists and is not overwritten. Remove it or choose another "
                             "name.")


@contextmanager
def staging_beside(path: Path) -> Iterator[Path]:
    """A temporary folder beside a result, on its disk, that goes with the block.

    If the process is killed, the next that writes beside the result removes it.

    Raises:
        OSError: as raised inside; what the disk refuses in the folder is said of `path`.
    """
    parent, start = path.absolute().parent, f".{path.name[:80]}.asr-"
    _sweep_once(parent)
    folder, descriptor = parent, None
    try:
        with told_of(path, f"{os.sep}{start}"):
            folder = Path(tempfile.mkdtemp(prefix=start, suffix=".tmp", dir=parent))
            with suppress(OSError):  # Windows opens no folder, and some drives know no locks
                descriptor = os.open(folder, os.O_RDONLY)
                lock(descriptor)
            yield folder
    finally:
        if folder != parent:
            shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def _write(path: Path, pieces: Iterable[bytes | memoryview], overwrite: bool) -> None:
    _sweep_once(path.parent)
    file, temporary = _temporary(path)
    try:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())
        if os.name == "nt":
            file.close()  # an open file has no other name there
        with suppress(PermissionError):  # FAT disks know no modes and say so
            os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes 0600
        failpoint("file.before_rename")
        if overwrite:
            os.replace(temporary, path)
        else:
            _place(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    finally:
        with suppress(OSError):  # what it could not write has been said
            file.close()


def _temporary(path: Path) -> tuple[BinaryIO, str]:
    """An open file beside `path` that is locked as long as this process writes it."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.asr-", suffix=".tmp",
                                            dir=path.parent)
        if os.name != "nt":
            with suppress(OSError):  # a drive without locks; or `sweep` was quicker, see below
                lock(descriptor)
        if os.name == "nt" or os.fstat(descriptor).st_nlink:
            return os.fdopen(descriptor, "wb"), name
        os.close(descriptor)


def _sweep_once(folder: Path) -> None:
    """The first file that a process writes into a folder clears up what killed ones left there."""
    if (name := os.path.abspath(folder)) not in _SWEPT:
        _SWEPT.add(name)
        sweep(folder)


def sweep(folder: str | Path) -> None:
    """Remove the half-written results that killed processes left in a folder, and nothing else."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in [entry for entry in entries if _TEMPORARY.fullmatch(entry.name)]:
            if _is_abandoned(entry.path):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                with suppress(OSError):
                    os.unlink(entry.path)


def _is_abandoned(path: str) -> bool:
    """Whether no process writes it: its lock is free, or it is an hour old."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            if os.name != "nt":
                lock(descriptor)
                return True
        except BlockingIOError:
            return False
        except OSError:  # a drive without locks
            pass
        finally:
            os.close(descriptor)
        return time.time() - os.stat(path).st_mtime > STALE_SECONDS
    return False


def _place(temporary: str, path: Path) -> None:
    """Rename, unless the name is taken."""
    try:
        os.link(temporary, path)  # fails if the name is taken, even in a race
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        os.replace(temporary, path)
    else:
        os.unlink(temporary)


def lock(descriptor: int, *, wait: bool = False) -> None:
    """Hold an open file, on POSIX also a folder, for ourselves until it is closed.

    The system drops the lock when the process ends, however it ends.

    Args:
        descriptor: number of the open file.
        wait: until it is free; if not, that is an error.

    Raises:
        OSError: another process, or another open file of this one, holds it; or the drive knows
            no locks.
    """
    if os.name == "nt":
        import msvcrt
        os.lseek(descriptor, 0, os.SEEK_SET)
        how = msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK  # type: ignore[attr-defined]
        msvcrt.locking(descriptor, how, 1)  # type: ignore[attr-defined]
    else:
        import fcntl
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """One at a time among the processes that write into a folder; no file is left there for it."""
    descriptor = None
    with suppress(OSError):  # Windows opens no folder, and some drives know no locks
        descriptor = os.open(folder, os.O_RDONLY)
        lock(descriptor, wait=True)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


def sync_folder(folder: str | Path) -> None:
    """Make renames in a folder durable (POSIX; Windows has no such call)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, *_NO_LINKS):  # network shares have no such call
            raise
    finally:
        os.close(descriptor)


def sha256_file(path: str | Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def failpoint(name: str) -> None:
    """Die here when a test asks for it: `ASR_TESTING=1 ASR_FAILPOINT=<name>` sends SIGKILL."""
    if os.environ.get("ASR_TESTING") == "1" and os.environ.get("ASR_FAILPOINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


