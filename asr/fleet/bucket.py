"""Write transcripts into a bucket: s3:// and gs:// addresses, by fsspec.

In: an address, names below it, whole contents. Out: objects that appear whole or not at all.
"""

from __future__ import annotations

import errno
import inspect
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

from asr.audio.remote import file_system, reason_of
from asr.errors import AudioError, UsageError
from asr.manifest.address import Address

INDEX = "index.jsonl"
WRITTEN = ("s3", "gs")  # kinds of addresses to which objects can be written
PAGE = 1_000  # names in one answer of S3, the most that it gives
TRIES = 5  # of a new object while another program writes the same name
_INDEX = re.compile(r"index(-[0-9]+)?\.jsonl")


class Bucket:
    """A folder in a bucket of S3 or Google Cloud Storage, or of what speaks as they do.

    A new object is one request that makes all of it or nothing, and fails if the name is taken.
    The server checks that (If-None-Match) with fsspec and s3fs from 2024.12 and botocore from
    1.35.20 on; with older ones it is asked beforehand, and two runs at the same moment may write
    one name. There are no locks: claimed names are only added, as index.jsonl, index-2.jsonl and
    so on, each by the run that made it first; the others read it and choose other names.

    Args:
        address: such as s3://bucket/transcripts.
        suffixes: file endings, without dots; other names there are not kept in memory.

    Raises:
        UsageError: it is no address that can be written, or it cannot be listed.
    """

    remedy = "check the network, the address and its credentials"
    writers = 16  # a request takes a few hundredths of a second, most of them waiting

    def __init__(self, address: str, suffixes: Iterable[str]):
        self.address = check_address(address).rstrip("/")
        self._files, self._path = _opened(self.address)
        endings = tuple(f".{suffix}" for suffix in suffixes)
        try:
            with _as_os_errors(self.address):
                self._names = {name for name in _listed(self._files, f"{self._path}/")
                               if name.endswith(endings) or _INDEX.fullmatch(name)}
        except OSError as error:
            raise UsageError(f"{self.address} cannot be listed: {error.strerror}. Check the "
                             "network, the address and its credentials.") from error
        self._num_read = 0

    def __str__(self) -> str:
        return self.address

    def shown(self, name: str) -> Address:
        """See `asr.fleet.places.Place`."""
        return Address(f"{self.address}/{name}")

    def exists(self, name: str) -> bool:
        """See `asr.fleet.places.Place`; as listed at the start, and written since."""
        return name in self._names

    def is_free(self, name: str) -> bool:
        """See `asr.fleet.places.Place`."""
        return name not in self._names

    def alone(self) -> AbstractContextManager[None]:
        """See `asr.fleet.places.Place`; there are no locks."""
        return nullcontext()

    def index(self) -> Iterator[tuple[str, bytes]]:
        """See `asr.fleet.places.Place`; what was read once does not change."""
        while (name := index_name(self._num_read + 1)) in self._names:
            with _as_os_errors(self.address):
                data = self._files.cat_file(f"{self._path}/{name}")
            self._num_read += 1
            yield name, data

    def add(self, stems: Mapping[str, str], new: Iterable[str]) -> bool:
        """See `asr.fleet.places.Place`."""
        try:
            self.write(index_name(self._num_read + 1), b"".join(index_rows(stems, new)),
                       overwrite=False)
        except FileExistsError:
            return False
        self._num_read += 1
        return True

    def prepare(self, folders: Iterable[str]) -> None:
        """See `asr.fleet.places.Place`; names need no folders, and nothing half-written is left."""

    def write(self, name: str, data: str | bytes, *, overwrite: bool) -> None:
        """See `asr.fleet.places.Place`."""
        data = data.encode() if isinstance(data, str) else data
        try:
            _put(self._files, f"{self._path}/{name}", data, overwrite)
        except FileExistsError:
            self._names.add(name)
            raise
        self._names.add(name)


def check_address(address: str) -> str:
    """An address that can be written, itself.

    Raises:
        UsageError: it is of a web server, or has more than a bucket and a name.
    """
    parts = urlsplit(address)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.scheme not in WRITTEN or not parts.netloc:
        raise UsageError(f"{shown} cannot be written: asr writes transcripts to folders of this "
                         "machine and to s3://BUCKET/NAME and gs://BUCKET/NAME.")
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
                return next(_listed(files, path), None) == ""
            return _is_object(files, path)
    except OSError as error:
        raise UsageError(f"{address} cannot be written: {error.strerror}. Check the network, the "
                         "address and its credentials.") from error


def write_at(address: str, data: str | bytes, *, overwrite: bool) -> None:
    """Make an object; errors as those of `asr.fleet.places.Place.write`."""
    files, path = _opened(address)
    _put(files, path, data.encode() if isinstance(data, str) else data, overwrite)


def index_name(number: int) -> str:
    """The name of the file with claimed names, from 1 on."""
    return INDEX if number == 1 else f"index-{number}.jsonl"


def index_rows(stems: Mapping[str, str], sources: Iterable[str]) -> Iterator[bytes]:
    """The lines that say which stems the sources have."""
    for source in sources:
        yield f"{json.dumps({'source': source, 'output': stems[source]})}\n".encode()


def _opened(address: str) -> tuple[Any, str]:
    try:
        return file_system(address)
    except AudioError as error:  # about recordings elsewhere; here nothing has begun
        raise UsageError(str(error)) from error


def _listed(files: Any, prefix: str) -> Iterator[str]:
    """What comes after the prefix in the names that begin with it, sorted.

    S3's names come by pages: fsspec's own listing of a million takes a gigabyte.
    """
    if not hasattr(files, "call_s3"):
        for path in files.find(prefix):
            yield path[len(prefix):]
        return
    bucket, key, _ = files.split_path(prefix)
    more = {}
    while more is not None:
        page = files.call_s3("list_objects_v2", Bucket=bucket, Prefix=key, MaxKeys=PAGE, **more)
        for entry in page.get("Contents", ()):
            yield entry["Key"][len(key):]
        more = {"ContinuationToken": page["NextContinuationToken"]} \
            if page.get("IsTruncated") else None


def _is_object(files: Any, path: str) -> bool:
    try:
        return files.info(path)["type"] == "file"
    except FileNotFoundError:
        return False


def _put(files: Any, path: str, data: bytes, overwrite: bool) -> None:
    """Make an object; see `Bucket` on how an existing one is found."""
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
