"""Recordings on other machines: s3://, gs://, http:// and https:// addresses to bytes.

In: an address. Out: its bytes, and what identifies their version. fsspec reads them (the extra
`[remote]`); where only tensorflow-io is installed, its file systems do. Credentials and end points
are those of the cloud's own environment variables, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL.
"""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from asr.audio import ahead
from asr.errors import AudioError
from asr.manifest.address import split_part

MAX_REMOTE_BYTES = 1 << 30  # of one recording, which is held in memory
_MOST_SIZES = 10_000  # of files of which only parts are read: tar files
_AHEAD = ahead.ReadAhead()
_sizes: dict[str, tuple[int | None, float]] = {}  # by address of the file: bytes, when asked
INSTALL = "Install what reads addresses: pip install \"keras-asr[remote]\""


def read_address(address: str) -> bytes:
    """All bytes of a recording, which may be a part of a file (`asr.manifest.address.split_part`).

    Raises:
        AudioError: audio.missing; audio.unreadable (no permission, no connection, no library for
            this kind of address, no such part); audio.too_long (more than `MAX_REMOTE_BYTES`).
    """
    whole, part = split_part(address)
    if part and part[1] - part[0] > MAX_REMOTE_BYTES:
        raise AudioError(f"{_name(address)} has more than {MAX_REMOTE_BYTES:_} bytes. Split it.",
                         code="audio.too_long", path=address)
    if importlib.util.find_spec("fsspec") is None:
        return _checked_part(address, part, _read_with_tensorflow_io(whole, part))
    try:
        files, path = _file_system(whole)
        if part:
            return _checked_part(address, part, _part_of(files, path, whole, part))
        with files.open(path, "rb") as file:
            data = file.read(MAX_REMOTE_BYTES + 1)
    except AudioError:
        raise
    except Exception as error:  # each kind of address has errors of its own library
        raise _explained(address, error) from error
    if len(data) > MAX_REMOTE_BYTES:
        raise AudioError(f"{_name(address)} has more than {MAX_REMOTE_BYTES:_} bytes. Split it.",
                         code="audio.too_long", path=address)
    return data


def _part_of(files: Any, path: str, whole: str, part: tuple[int, int]) -> bytes:
    """A part of a file; a file whose parts are read in order is fetched in few requests."""
    def fetch(start: int, stop: int) -> bytes:
        return files.cat_file(path, start=start, end=stop)

    size = _size_of(files, path, whole)
    if size is None or part[1] > size:
        return fetch(*part)
    return _AHEAD.read(whole, *part, size, fetch)


def _size_of(files: Any, path: str, whole: str) -> int | None:
    """What its server says of a file, asked for once a minute; None: nothing."""
    known = _sizes.get(whole)
    if known is None or time.monotonic() - known[1] > ahead.FRESH_SECONDS:
        if len(_sizes) > _MOST_SIZES:
            _sizes.clear()
        found = files.info(path).get("size")
        known = _sizes[whole] = (found if isinstance(found, int) else None, time.monotonic())
    return known[0]


def _checked_part(address: str, part: tuple[int, int] | None, data: bytes) -> bytes:
    if part and len(data) != part[1] - part[0]:
        raise AudioError(f"{_name(address)}: got {len(data):_} bytes, expected "
                         f"{part[1] - part[0]:_}. Copy the file again, if the manifest means "
                         "another one; or the server sends no parts of files (HTTP Range).",
                         code="audio.unreadable", path=address)
    return data


@contextmanager
def open_address(address: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file on another machine as a seekable one that is fetched as it is read; its size.

    Raises:
        AudioError: as `read_address`.
    """
    if importlib.util.find_spec("fsspec") is None:
        raise _without_fsspec(address)
    try:
        files, path = _file_system(address)
        size = files.info(path).get("size")
        file = files.open(path, "rb", block_size=ahead.MOST_BYTES, cache_type="readahead")
    except Exception as error:
        raise _explained(address, error) from error
    if size is None:
        raise AudioError(f"{_name(address)}: its server does not say how large it is. Copy it to a "
                         "disk.", code="audio.unreadable", path=address)
    with file:
        try:
            yield file, size
        except AudioError:
            raise
        except Exception as error:  # in the middle of reading
            raise _explained(address, error) from error


def version_of(address: str, known: dict[str, list[str]] | None = None) -> str:
    """A SHA-256 of the address and of what its server says of the content: size, ETag, time.

    Args:
        address: the address of a file, or of a part of one.
        known: what servers said already, by file, so that a tar file is asked for once; updated.

    Raises:
        AudioError: as `read_address`.
    """
    if importlib.util.find_spec("fsspec") is None:
        return hashlib.sha256(read_address(address)).hexdigest()
    known, whole = {} if known is None else known, split_part(address)[0]
    if whole not in known:
        _AHEAD.forget(whole)  # what is read from now on is of this version, or newer
        _sizes.pop(whole, None)
        try:
            files, path = _file_system(whole)
            found = files.info(path)
        except Exception as error:
            raise _explained(address, error) from error
        known[whole] = [str(found.get(key)) for key in (
            "size", "ETag", "etag", "LastModified", "Last-Modified", "mtime", "generation")]
    facts = known[whole]
    return hashlib.sha256(" ".join([address, *facts]).encode()).hexdigest()


def file_system(address: str) -> tuple[Any, str]:
    """The file system of an address, one of fsspec's, and the path in it.

    Raises:
        AudioError: fsspec, or its library for this kind of address, is not installed.
    """
    if importlib.util.find_spec("fsspec") is None:
        raise _without_fsspec(address)
    try:
        return _file_system(address)
    except ImportError as error:
        raise _explained(address, error) from error


def _file_system(address: str) -> tuple[Any, str]:
    import fsspec

    # No listings: a folder of a bucket may hold a million files, and one is asked for.
    options = {} if address.startswith("http") else {"use_listings_cache": False}
    return fsspec.core.url_to_fs(address, **options)


def _read_with_tensorflow_io(address: str, part: tuple[int, int] | None) -> bytes:
    if importlib.util.find_spec("tensorflow_io") is None:
        raise _without_fsspec(address)
    import tensorflow as tf
    import tensorflow_io as tfio  # registers its file systems

    try:
        del tfio
        with tf.io.gfile.GFile(address, "rb") as file:
            if part:
                file.seek(part[0])
            return file.read(part[1] - part[0]) if part else file.read()
    except tf.errors.OpError as error:
        raise _explained(address, error) from error


def _without_fsspec(address: str) -> AudioError:
    return AudioError(f"{_name(address)} is on another machine, and fsspec, which reads addresses, "
                      f"is not installed. {INSTALL}", code="audio.unreadable", path=address)


def _name(address: str) -> str:
    """Without the query, which may hold a signature."""
    return address.partition("?")[0]


def reason_of(error: Exception) -> str:
    """An error of another library in one line: its class, and the first line of its message."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300].rstrip('.')}"


def _explained(address: str, error: Exception) -> AudioError:
    name, code = _name(address), "audio.unreadable"
    missing = isinstance(error, FileNotFoundError) or type(error).__name__ == "NotFoundError"
    cause = error.__cause__  # fsspec says of a server that does not answer that the file is missing
    if missing and isinstance(cause, OSError) and not isinstance(cause, FileNotFoundError):
        missing, error = False, cause
    if missing:
        code, message = "audio.missing", f"{name} does not exist. Check the address."
    elif isinstance(error, ImportError):
        message = f"{name} cannot be read: {error}. {INSTALL}"
    else:
        message = (f"{name} cannot be read: {reason_of(error)}. Check the network, the address "
                   "and its credentials.")
    return AudioError(message.replace(address, name), code=code, path=address)
