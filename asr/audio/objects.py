"""Objects in buckets, s3:// and gs://, by fsspec: listed, written whole, read in parts.

In: addresses and contents. Out: objects that appear whole or not at all; errors whose `strerror` is
a short reason. Recordings are read by `asr.audio.remote`.
"""

from __future__ import annotations

import errno
import inspect
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from asr.audio.remote import file_system, reason_of
from asr.errors import AudioError, UsageError

WRITTEN = ("s3", "gs")  # kinds of addresses to which objects can be written
PAGE = 1_000  # names in one answer of S3, the most that it gives
TRIES = 5  # of a new object while another program writes the same name


class Objects:
    """The objects below an address.

    Args:
        address: such as s3://bucket/transcripts.

    Raises:
        UsageError: it is no address that can be written, or its library is not installed.
    """

    def __init__(self, address: str):
        self.address = check_address(address).rstrip("/")
        self._files, self._path = _opened(self.address)

    def listed(self) -> Iterator[tuple[str, int]]:
        """Name and size in bytes of each, sorted.

        Raises:
            OSError: they cannot be listed; `strerror` says why.
        """
        with _as_os_errors(self.address):
            yield from _listed(self._files, f"{self._path}/")

    def read(self, name: str, start: int | None = None, stop: int | None = None) -> bytes:
        """All bytes of an object, or those from start on, before stop.

        Raises:
            OSError: it cannot be read; `strerror` says why.
        """
        with _as_os_errors(f"{self.address}/{name}"):
            return self._files.cat_file(f"{self._path}/{name}", start=start, end=stop)

    def write(self, name: str, data: str | bytes, *, overwrite: bool) -> None:
        """Make an object: one request that makes all of it or nothing.

        With overwrite False it fails if the name is taken. The server checks that (If-None-Match)
        with fsspec and s3fs from 2024.12 and botocore from 1.35.20 on; other file systems are
        asked beforehand, and two programs at the same moment may write one name.

        Raises:
            FileExistsError: it exists and `overwrite` is False.
            OSError: it cannot be written; `strerror` says why.
        """
        _put(self._files, f"{self._path}/{name}", data.encode() if isinstance(data, str) else data,
             overwrite)

    def put(self, name: str, path: str | os.PathLike) -> None:
        """Make an object of a file of any size, or replace it: all of it or nothing.

        Raises:
            OSError: it cannot be written; `strerror` says why.
        """
        with _as_os_errors(f"{self.address}/{name}"):
            self._files.put_file(os.fspath(path), f"{self._path}/{name}")

    def remove(self, name: str) -> None:
        """Remove an object.

        Raises:
            OSError: it cannot be removed; `strerror` says why.
        """
        with _as_os_errors(f"{self.address}/{name}"):
            self._files.rm_file(f"{self._path}/{name}")


def check_address(address: str) -> str:
    """An address that can be written, itself.

    Raises:
        UsageError: it is of a web server, or has more than a bucket and a name.
    """
    parts = urlsplit(address)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.scheme not in WRITTEN or not parts.netloc:
        raise UsageError(f"{shown} cannot be written: asr writes to folders of this machine "
                         "and to s3://BUCKET/NAME and gs://BUCKET/NAME.")
    if address != shown:
        raise UsageError(f"{shown}: got more than the name of a place in a bucket. Leave out what "
                         "comes with ?, # or @; credentials are those of the cloud's environment "
                         "variables.")
    return address


def exists_at(address: str) -> bool:
    """Whether there is an object; an error before the work, not after it, where none can be.

    Raises:
        UsageError: it is no address that can be written, or its bucket cannot be listed.
    """
    files, path = _opened(check_address(address))
    try:
        with _as_os_errors(address):
            if hasattr(files, "call_s3"):  # says of a bucket that is missing that it is
                return next(_listed(files, path), (None, 0))[0] == ""
            return _is_object(files, path)
    except OSError as error:
        raise UsageError(f"{address} cannot be written: {error.strerror}. Check the network, the "
                         "address and its credentials.") from error


def write_at(address: str, data: str | bytes, *, overwrite: bool) -> None:
    """Make the object of an address; see `Objects.write`."""
    files, path = _opened(address)
    _put(files, path, data.encode() if isinstance(data, str) else data, overwrite)


def _opened(address: str) -> tuple[Any, str]:
    try:
        return file_system(address)
    except AudioError as error:  # about recordings elsewhere; here nothing has begun
        raise UsageError(str(error)) from error


def _listed(files: Any, prefix: str) -> Iterator[tuple[str, int]]:
    """What comes after the prefix in the names that begin with it, and sizes; sorted by name.

    S3's names come by pages: fsspec's own listing of a million takes a gigabyte.
    """
    if not hasattr(files, "call_s3"):
        for path, facts in sorted(files.find(prefix, detail=True).items()):
            yield path[len(prefix):], facts["size"]
        return
    bucket, key, _ = files.split_path(prefix)
    more = {}
    while more is not None:
        page = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=PAGE, **more)
        for entry in page.get("Contents", ()):
            yield entry["Key"][len(key):], entry["Size"]
        more = {"ContinuationToken": page["NextContinuationToken"]} \
            if page.get("IsTruncated") else None


def _is_object(files: Any, path: str) -> bool:
    try:
        return files.info(path)["type"] == "file"
    except FileNotFoundError:
        return False


def _put(files: Any, path: str, data: bytes, overwrite: bool) -> None:
    """See `Objects.write`."""
    for attempt in range(TRIES):
        try:
            with _as_os_errors(path):
                if overwrite:
                    files.pipe_file(path, data)
                elif "mode" in inspect.signature(files.pipe_file).parameters:
                    files.pipe_file(path, data, mode="create")
                elif _is_object(files, path):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
                else:
                    files.pipe_file(path, data)
            return
        except BlockingIOError:  # another program was writing this name at this moment
            if attempt + 1 == TRIES:
                raise
            time.sleep(0.1)


@contextmanager
def _as_os_errors(address: str) -> Iterator[None]:
    """Errors of the library of an address, as an OSError whose `strerror` is a short reason."""
    try:
        yield
    except Exception as error:  # each kind of address has errors of its own library
        answer = getattr(error.__cause__ or error, "response", None)
        code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
        reason = reason_of(error)
        if isinstance(error, FileExistsError) or code in ("PreconditionFailed", "412"):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), address) from error
        if code == "ConditionalRequestConflict":
            raise BlockingIOError(errno.EAGAIN, reason) from error
        raise OSError(errno.EIO, reason) from error
