"""Fetch a corpus: resumed, checked, then unpacked.

In: an `Package`, a folder. Out: the corpus in that folder. Standard library only.
What comes over the network is hostile until its SHA-256 says otherwise, and it is looked at before
it is kept: many servers answer with a login page where an archive used to be.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asr.corpora.unpack import unpack
from asr.errors import CorpusError, UsageError
from asr.files import sha256_file, sync_folder, write_atomic
from asr.parsing import parse_json

WORK_FOLDER = ".asr-download"      # inside the destination; holds only what we made
MAX_BYTES = 64 << 30               # of an archive of unpublished size
ATTEMPTS = 5
TIMEOUT = 60.0                     # seconds without a byte

_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b\x08"

Progress = Callable[[int, int], None]   # (bytes received, bytes in all or 0)


@dataclass(frozen=True)
class Package:
    """One archive (.tar.gz) of a corpus.

    Args:
        url: where it is.
        provides: the folder that it unpacks to, below the destination.
        members: patterns of the files that are unpacked, after `strip`; others are left alone.
        strip: leading folders of each member's name that are taken off.
        size: bytes, as published; None if unpublished.
        sha256: as published; None if unpublished.
        magic: the first bytes of such a file.
    """

    url: str
    provides: str
    members: tuple[str, ...]
    strip: int = 0
    size: int | None = None
    sha256: str | None = None
    magic: bytes = _GZIP_MAGIC


def fetch(archive: Package, dest: str | Path, *, keep_archive: bool = False,
          progress: Progress | None = None, attempts: int = ATTEMPTS, pause: float = 2.0) -> str:
    """Download and unpack; after an interruption, the same call resumes.

    Args:
        archive: what to fetch.
        dest: a folder; made if it is missing. Nothing in it is replaced.
        keep_archive: leave the archive in `dest/.asr-download`.
        progress: called with (bytes received, bytes in all or 0 if unknown).
        attempts: how often a broken transfer is resumed.
        pause: seconds before the second attempt, doubled before each further one.

    Returns:
        SHA-256 of the archive; empty if `archive.provides` was there already.

    Raises:
        CorpusError: the server has no archive there, the transfer kept breaking, the checksum or
            size is wrong, or the archive holds something that may not be unpacked.
        OSError: the disk is full or the folder cannot be written.
    """
    dest = Path(dest)
    if (dest / archive.provides).exists():
        return ""
    work = dest / WORK_FOLDER
    path, digest = _received(archive, work, progress, attempts, pause)
    unpack(path, dest, work=work, provides=archive.provides, members=archive.members,
           strip=archive.strip)
    if not keep_archive:
        path.unlink()
        _remove_if_empty(work)
    return digest


def fetch_file(archive: Package, path: Path, *, progress: Progress | None = None,
               attempts: int = ATTEMPTS, pause: float = 2.0) -> str:
    """Download one file that is used as it is; the same call resumes.

    Args:
        archive: what to fetch; `provides` and `members` are not read.
        path: for the file; its folder is made. Nothing is replaced.
        progress, attempts, pause: as for `fetch`.

    Returns:
        SHA-256 of the file; empty if the very file was there already.

    Raises:
        CorpusError: see `fetch`.
        UsageError: another file has this path.
    """
    if path.exists():
        if archive.sha256 is not None and sha256_file(path) == archive.sha256:
            return ""
        raise UsageError(f"{path} exists and is another file; remove it or name another folder.",
                         path=path)
    work = path.parent / WORK_FOLDER
    received, digest = _received(archive, work, progress, attempts, pause)
    os.replace(received, path)
    sync_folder(path.parent)
    _remove_if_empty(work)
    return digest


def _received(archive: Package, work: Path, progress: Progress | None, attempts: int,
              pause: float) -> tuple[Path, str]:
    """The archive, verified, in the folder `work`; and its SHA-256."""
    work.mkdir(parents=True, exist_ok=True)
    path = download(archive, work, progress=progress, attempts=attempts, pause=pause)
    return path, _verify(archive, path)


def _remove_if_empty(work: Path) -> None:
    if not any(work.iterdir()):
        work.rmdir()


def download(archive: Package, folder: Path, *, progress: Progress | None = None,
             attempts: int = ATTEMPTS, pause: float = 2.0) -> Path:
    """The archive in a folder; what an earlier call received is not received again.

    Raises:
        CorpusError: see `fetch`.
    """
    path = folder / Path(urllib.parse.urlsplit(archive.url).path).name
    if path.exists():
        return path
    part = _Part(path)
    if archive.size is not None:
        free = shutil.disk_usage(folder).free
        if free < archive.size - part.size:
            raise CorpusError(f"{folder} has {free:,} bytes left, the archive needs "
                              f"{archive.size:,}.", path=folder)
    for attempt in range(attempts):
        before = part.size
        try:
            if attempt and pause:
                time.sleep(pause * 2 ** (attempt - 1))
            if _transfer(archive, part, progress):
                break
        except CorpusError:
            raise
        # A chunk of -5 bytes is a ValueError of http.client.
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError,
                ConnectionError, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise CorpusError(f"{archive.url} answers {error.code} {error.reason}; the corpus "
                                  "may have moved. Fetch it by hand, or name another place with "
                                  "--url.", code="corpus.http", path=archive.url) from error
            reason = str(getattr(error, "reason", "")) or str(error) or type(error).__name__
        else:
            reason = "the server closed the connection"
        if attempt + 1 == attempts:
            raise CorpusError(f"The transfer of {archive.url} ended after {part.size:,} bytes "
                              f"({part.size - before:,} in the last of {attempts} attempts): "
                              f"{reason}. Run the same command again to go on from there.",
                              code="corpus.transfer", path=archive.url)
    os.replace(part.path, path)
    part.forget()
    sync_folder(folder)
    return path


class _Part:
    """What has been received so far, and which version of the file it is a part of."""

    def __init__(self, path: Path):
        self.path = path.with_name(f"{path.name}.part")
        self._notes = path.with_name(f"{path.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    @property
    def version(self) -> str:
        """ETag or date that the server gave; without one a transfer cannot be resumed."""
        try:
            version = parse_json(self._notes.read_bytes())["version"]
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        return version if isinstance(version, str) else ""

    def begin(self, version: str) -> None:
        """Start over, with this version."""
        self.path.unlink(missing_ok=True)
        write_atomic(self._notes, json.dumps({"version": version}))

    def forget(self) -> None:
        """Remove what was received and the notes about it."""
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)


def _transfer(archive: Package, part: _Part, progress: Progress | None) -> bool:
    """Receive what is missing; False if the connection ended too early."""
    headers = {"User-Agent": "keras-asr", "Accept-Encoding": "identity"}
    if part.size and part.version:
        headers |= {"Range": f"bytes={part.size}-", "If-Range": part.version}
    request = urllib.request.Request(archive.url, headers=headers)
    try:
        response = _OPENER.open(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and "Range" in headers:   # the part is whole, or of another version
            error.close()
            if _total(error.headers, 0) == part.size:
                return True
            part.forget()
            return False
        raise
    with response:
        if response.status == 206:
            total = _total(response.headers, part.size)
            if _start(response.headers) != part.size:
                raise CorpusError(f"{archive.url} sent another range than was asked for; fetch "
                                  "the archive by hand.", code="corpus.http", path=archive.url)
        else:
            total = _total(response.headers, 0)
            tag = response.headers.get("ETag", "")
            part.begin("" if tag.startswith("W/") else tag
                       or response.headers.get("Last-Modified", ""))
        limit = archive.size or MAX_BYTES
        if total > limit or (archive.size and total and total != archive.size):
            part.forget()
            if response.status != 206 and not _begins(archive, start := response.read(60)):
                raise _not_an_archive(response, start, archive.url)  # a login page, for example
            raise CorpusError(f"{archive.url} offers {total:,} bytes, expected "
                              f"{'' if archive.size else 'at most '}{limit:,}; the corpus has "
                              "changed, or this is another file.", code="corpus.size",
                              path=archive.url)
        _receive(response, part, archive, total, limit, progress)
    return part.size == total if total else True


def _receive(response, part: _Part, archive: Package, total: int, limit: int,
             progress: Progress | None) -> None:
    """Append the body to the part, which begins as it must or is not written at all."""
    url = archive.url
    received = part.size
    with open(part.path, "ab") as file:
        while chunk := response.read(_CHUNK):
            if not received and not _begins(archive, chunk):
                part.forget()
                raise _not_an_archive(response, chunk, url)
            received += len(chunk)
            if received > (total or limit):
                part.forget()
                raise CorpusError(f"{url} sent more than the {total or limit:,} bytes that it "
                                  "announced.", code="corpus.size", path=url)
            file.write(chunk)
            if progress:
                progress(received, total)
        file.flush()
        os.fsync(file.fileno())


def _begins(archive: Package, start: bytes) -> bool:
    return start.startswith(archive.magic[:len(start)])


def _not_an_archive(response, start: bytes, url: str) -> CorpusError:
    kind = response.headers.get("Content-Type", "of no stated type")
    return CorpusError(f"What {url} sent is not an archive: it is {kind} and begins with "
                       f"{ascii(start[:60])}. Open the address in a browser: it may ask for a "
                       "login or have moved.", code="corpus.not_an_archive", path=url)


def _verify(archive: Package, path: Path) -> str:
    """SHA-256 of the archive, if it is the right one; a wrong one is removed."""
    size, digest = path.stat().st_size, sha256_file(path)
    for what, expected, received in (("bytes", archive.size, size),
                                     ("SHA-256", archive.sha256, digest)):
        if expected is not None and expected != received:
            path.unlink()
            raise CorpusError(f"{archive.url} gave an archive with {what} {received}, expected "
                              f"{expected}. It was removed; fetch it again, or ask where the "
                              "right one is.", code="corpus.checksum", path=archive.url)
    return digest


def _total(headers, start: int) -> int:
    """Size of the whole file as stated by the server; 0 if unknown."""
    whole = headers.get("Content-Range", "").rpartition("/")[2]
    length = headers.get("Content-Length", "")
    return _number(whole, 0) or start + _number(length, -start)


def _start(headers) -> int:
    first = headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
    return _number(first, -1)


def _number(text: str, otherwise: int) -> int:
    """A count of bytes in a header of a stranger's server."""
    return int(text) if re.fullmatch("[ \t]*[0-9]{1,18}[ \t]*", text) else otherwise


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but never from https to an unencrypted scheme."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        schemes = urllib.parse.urlsplit(req.full_url).scheme, urllib.parse.urlsplit(newurl).scheme
        if schemes not in (("http", "http"), ("http", "https"), ("https", "https")):
            raise CorpusError(f"{req.full_url} leads to {newurl}, which is not followed.",
                              code="corpus.http", path=req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_SafeRedirects)
