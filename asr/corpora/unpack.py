"""Unpack a .tar.gz that may be hostile, file by file, into a folder where nothing is replaced.

In: an archive. Out: the files that match a list, or a `CorpusError` and nothing. Standard
library only. `tarfile.extractall` is not used: its filters were escaped (CVE-2025-4517), and no
version bounds what a header may make it read.
"""

from __future__ import annotations

import fnmatch
import gzip
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from asr.errors import CorpusError
from asr.files import alone, sync_folder

MAX_MEMBERS = 2_000_000
MAX_MEMBER_BYTES = 1 << 28         # a recording of an hour fits
MAX_EXPANSION = 4                  # times the archive's size, plus a little: audio hardly shrinks
FREE_EXPANSION = 64 << 20
MAX_DEPTH = 16
MAX_NAME = 512

_CHUNK = 1 << 20
_STAGING = "unpacking-"


def unpack(path: Path, dest: Path, *, work: Path, provides: str, members: tuple[str, ...],
           strip: int = 0) -> int:
    """Unpack the wanted files, then move them to their place in one step.

    Args:
        path: a .tar.gz.
        dest: the folder that receives them.
        work: a folder on the same disk for the half-done work; cleaned up.
        provides: the folder below `dest` that appears when all is done; must not exist yet.
        members: patterns of the files wanted, after `strip`; others are left alone.
        strip: leading folders of each name that are taken off.

    Returns:
        The number of files.

    Raises:
        CorpusError: the archive is damaged, holds a link, a device or a name that leads out of
            the folder, expands beyond reason, or lacks what it should provide.
    """
    with alone(work):
        for stale in work.glob(f"{_STAGING}*"):  # of a process that was killed
            shutil.rmtree(stale, ignore_errors=True)
        return _unpack(path, dest, Path(tempfile.mkdtemp(prefix=_STAGING, dir=work)), provides,
                       members, strip)


def _unpack(path: Path, dest: Path, staging: Path, provides: str, members: tuple[str, ...],
            strip: int) -> int:
    try:
        try:
            count = _unpack_into(staging, path, members, strip)
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, ValueError) as error:
            if isinstance(error, CorpusError):
                raise
            raise CorpusError(f"{path} is damaged: {error}. Remove it and fetch it again.",
                              code="corpus.archive", path=path) from error
        if not (staging / provides).is_dir():
            raise CorpusError(f"{path} holds no {provides}/; is it another archive?",
                              code="corpus.archive", path=path)
        _move(staging, dest, provides)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return count


def _unpack_into(staging: Path, path: Path, patterns: tuple[str, ...], strip: int) -> int:
    limit = MAX_EXPANSION * path.stat().st_size + FREE_EXPANSION
    count = 0
    with gzip.open(path) as raw, tarfile.open(fileobj=_Bounded(raw, limit, path),  # type: ignore
                                              mode="r:") as archive:
        for number, member in enumerate(archive):
            if number >= MAX_MEMBERS:
                raise _refusal(path, member, f"it has more than {MAX_MEMBERS:,} members")
            name = _checked_name(path, member)
            archive.members = []   # tarfile remembers every member; a million of them is too much
            parts = name.parts[strip:]
            if member.isdir() or not parts:
                continue
            relative = "/".join(parts)
            if not any(fnmatch.fnmatchcase(relative, pattern) for pattern in patterns):
                continue
            if member.size > MAX_MEMBER_BYTES:
                raise _refusal(path, member, f"a file has {member.size:,} bytes")
            _write(archive, member, staging.joinpath(*parts), path)
            count += 1
        while raw.read(_CHUNK):   # gzip compares its checksum when it reaches the end
            if raw.tell() > limit:
                raise CorpusError(f"{path} is not unpacked: it expands to more than {limit:,} "
                                  "bytes.", code="corpus.archive", path=path)
    return count


def _checked_name(path: Path, member: tarfile.TarInfo) -> PurePosixPath:
    """The name of a member that is a plain file or folder and stays below where it is put."""
    if not (member.isreg() or member.isdir()) or member.sparse is not None:
        raise _refusal(path, member, "it holds a link, a device or a sparse file")
    name = PurePosixPath(member.name)
    bad = (name.is_absolute() or ".." in name.parts or len(member.name) > MAX_NAME
           or len(name.parts) > MAX_DEPTH or any(c in member.name for c in "\\:\0\n"))
    if bad:
        raise _refusal(path, member, "it holds a name that leads out of its folder")
    return name


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, path: Path) -> None:
    source = archive.extractfile(member)
    if source is None:
        raise _refusal(path, member, "a file has no content")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(target, "xb") as file:
            shutil.copyfileobj(source, file, _CHUNK)
    except FileExistsError as error:
        raise _refusal(path, member, "it holds the same name twice") from error
    if target.stat().st_size != member.size:
        raise EOFError(f"{member.name} ends too early")


def _move(staging: Path, dest: Path, provides: str) -> None:
    """Move everything to its place, the folder that marks the end last."""
    last = staging / provides
    for source in sorted(p for p in staging.rglob("*") if p.is_file() and last not in p.parents):
        target = dest / source.relative_to(staging)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():   # README and licence: another part may have brought them
            os.rename(source, target)
    (dest / provides).parent.mkdir(parents=True, exist_ok=True)
    os.rename(last, dest / provides)
    sync_folder((dest / provides).parent)


def _refusal(path: Path, member: tarfile.TarInfo, reason: str) -> CorpusError:
    return CorpusError(f"{path} is not unpacked: {reason} ({ascii(member.name[:100])}).",
                       code="corpus.archive", path=path)


class _Bounded:
    """The expanded stream, up to a limit.

    tarfile reads extended headers with one call of the size that the archive claims; such a call
    never reaches the memory here.
    """

    def __init__(self, stream: gzip.GzipFile, limit: int, path: Path):
        self._stream, self._limit, self._path = stream, limit, path

    def read(self, size: int) -> bytes:
        if not 0 <= size <= 4 * _CHUNK:
            raise CorpusError(f"{self._path} is not unpacked: a header claims {size:,} bytes.",
                              code="corpus.archive", path=self._path)
        self._check(self._stream.tell() + size)
        return self._stream.read(size)

    def seek(self, position: int) -> int:
        self._check(position)
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()

    def _check(self, position: int) -> None:
        if position > self._limit:
            raise CorpusError(f"{self._path} is not unpacked: it expands to more than "
                              f"{self._limit:,} bytes.", code="corpus.archive", path=self._path)
