"""Recordings inside tar files: shards.tar/one.wav is the file one.wav in shards.tar.

In: a path that leads through a tar file. Out: the tar file and the name in it; the part of the tar
file that holds the recording. A tar file that is not compressed keeps each of its files in one
piece, so nothing is unpacked. The headers are read once and remembered as long as the file is the
same. Names, sizes and links in a tar file are those of a stranger: none is followed.
"""

from __future__ import annotations

import os
import posixpath
import tarfile
import threading
import time
from collections import OrderedDict
from typing import BinaryIO

from asr.audio.remote import open_address
from asr.audio.spliced import Spliced
from asr.audio.unchanged import SETTLED_NS, stat_fingerprint
from asr.errors import AudioError

SUFFIX = ".tar"
MAX_MEMBERS = 500_000  # whose headers take 15 s and 150 MB

_MAX_HEADER = 1 << 20  # bytes of one extended header; names are shorter
_MOST_REMEMBERED = 200_000  # files of all tar files together, about 40 MB; the last one always
_LOCK = threading.Lock()

_Table = dict[str, range | str]  # by name: its bytes, or why it cannot be read
_remembered: OrderedDict[tuple, _Table | AudioError] = OrderedDict()


def split_path(path: str | os.PathLike) -> tuple[str, str] | None:
    """(tar file, name in it) of a path that leads through a tar file; None for every other path.

    Example:
        >>> split_path("talks/monday.wav") is None
        True
    """
    text = os.fsdecode(path)
    if os.sep != "/":
        text = text.replace(os.sep, "/")
    end = 0
    while (found := text.find(SUFFIX + "/", end)) >= 0:
        end = found + len(SUFFIX)
        if os.path.isfile(text[:end]):
            return text[:end], text[end + 1:]
    return None


def on_disk(path: str | os.PathLike) -> str:
    """The file that holds a recording: its tar file, or the path itself."""
    inside = split_path(path)
    return inside[0] if inside else os.fspath(path)


def open_member(file: BinaryIO, tar: str, member: str) -> BinaryIO:
    """The part of a tar file that is one recording; closing it closes the tar file.

    Args:
        file: the open tar file.
        tar: what messages call it.
        member: the name in it.

    Raises:
        AudioError: audio.missing; audio.unreadable: no tar file, a damaged or cut one, a link,
            a name that is there twice.
    """
    found = _table(file, tar).get(posixpath.normpath(member))
    if found is None:
        raise AudioError(f"{tar} holds no file {member!a}. Check the name, and whether the tar "
                         "file was copied whole.", code="audio.missing", path=f"{tar}/{member}")
    if isinstance(found, str):
        raise AudioError(f"{tar}/{member} {found}; expected one plain file of this name. Pack the "
                         "tar file again.", code="audio.unreadable", path=f"{tar}/{member}")
    return Spliced(file, found.start, found.stop, owns=True)  # type: ignore[return-value]


def list_members(file: BinaryIO, tar: str) -> dict[str, range]:
    """The plain files of a tar file, in its order: the bytes of the tar file by name.

    Args:
        file: the open tar file.
        tar: what messages call it.

    Raises:
        AudioError: audio.unreadable.
    """
    return {name: found for name, found in _table(file, tar).items()
            if not isinstance(found, str)}


def list_members_at(address: str) -> dict[str, str]:
    """The plain files of a tar file on another machine, in its order: the address of each by name.

    The tar file is fetched once, in large pieces: its headers are between its files.

    Raises:
        AudioError: as `asr.audio.remote.read_address`; it cannot be read as a tar file.
    """
    name = address.partition("?")[0]
    with open_address(address) as (file, size):
        table = _read_headers(file, size, name)
    return {member: f"{address}#bytes={found.start}-{found.stop - 1}"
            for member, found in table.items() if not isinstance(found, str) and len(found)}


def _table(file: BinaryIO, tar: str) -> _Table:
    status = os.fstat(file.fileno())
    key = (status.st_dev, *stat_fingerprint(status))
    with _LOCK:
        table = _remembered.get(key)
        if table is None:
            try:
                table = _read_headers(file, status.st_size, tar)
            except AudioError as error:
                table = error
            if max(status.st_mtime_ns, status.st_ctime_ns) <= time.time_ns() - SETTLED_NS:
                _remembered[key] = table
        else:
            _remembered.move_to_end(key)
        while len(_remembered) > 1 and sum(map(_weight, _remembered.values())) > _MOST_REMEMBERED:
            _remembered.popitem(last=False)
    if isinstance(table, AudioError):
        raise AudioError(table.message, code=table.code, path=tar)
    return table


def _weight(table: _Table | AudioError) -> int:
    return 1 if isinstance(table, AudioError) else 1 + len(table)


def _read_headers(file: BinaryIO, size: int, tar: str) -> _Table:
    table: _Table = {}
    count = 0
    file.seek(0)
    try:
        with tarfile.open(fileobj=_Headers(file, tar), mode="r:") as archive:  # type: ignore
            while (member := archive.next()) is not None:
                archive.members = []  # tarfile remembers every member
                count += 1
                if count > MAX_MEMBERS:
                    raise _refusal(tar, f"it holds more than {MAX_MEMBERS:,} files")
                if member.size < 0 or member.offset_data + member.size > size:
                    raise _refusal(tar, f"it is cut, or states a wrong size of {member.name!a}")
                name = posixpath.normpath(member.name)
                if member.isdir():
                    continue
                if name.startswith(("/", "../")):
                    table[name] = "has a name that leads out of the tar file"
                elif name in table:
                    table[name] = "is there twice"
                elif not member.isreg() or member.sparse is not None:
                    table[name] = "is a link, a device or a sparse file"
                else:
                    table[name] = range(member.offset_data, member.offset_data + member.size)
    except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
        if isinstance(error, AudioError):
            raise
        raise _refusal(tar, str(error) or type(error).__name__) from error
    return table


def _refusal(tar: str, reason: str) -> AudioError:
    return AudioError(f"{tar} cannot be read as a tar file: {reason.rstrip('.')}. Expected one "
                      "that is not compressed; copy or pack it again.", code="audio.unreadable",
                      path=tar)


class _Headers:
    """A tar file as tarfile reads it: extended headers of any size never reach the memory."""

    def __init__(self, file: BinaryIO, tar: str):
        self._file, self._tar = file, tar

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _MAX_HEADER:
            raise _refusal(self._tar, f"a header of {size:,} bytes")
        return self._file.read(size)

    def seek(self, position: int) -> int:
        if position < 0:
            raise _refusal(self._tar, "a header leads to a place before the file")
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()
