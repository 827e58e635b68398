"""A closed ZIP: known members only, stored, each with its size and SHA-256; and strict JSON.

In: a hostile file. Out: bytes of members, or a BundleError. Standard library only.
Nothing is ever unpacked to disk and nothing is read before its size is known to be allowed.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asr.errors import BundleError
from asr.parsing import parse_json as parse_strict_json
from asr.parsing import why_unread

MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 65_536
MAX_ARCHIVE_BYTES = 2_000_000_000  # below the 2 GiB where ZIP64 begins
MAX_DIRECTORY_BYTES = 65_536
END_RECORD = struct.Struct("<4s4H2LH")  # APPNOTE.TXT 4.3.16
DIRECTORY_ENTRY = struct.Struct("<4s6H3L5H2L")  # 4.3.12; then the name
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)  # date 1 << 5 | 1, time 0


def write_archive(members: Mapping[str, bytes], schema_version: int) -> tuple[bytes, str]:
    """The bytes of an archive and its hash; equal members give equal bytes.

    Returns:
        (archive, SHA-256 of its manifest.json, which names the SHA-256 of everything else).
    """
    manifest = json_bytes({
        "schema_version": schema_version,
        "members": {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                    for name, data in members.items()}})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in {MANIFEST: manifest, **members}.items():
            archive.writestr(_entry(name), data)
    if buffer.tell() > MAX_ARCHIVE_BYTES:
        raise BundleError(f"The bundle would take {buffer.tell():_} bytes; the format ends at "
                          f"{MAX_ARCHIVE_BYTES:_}. Use a smaller model.")
    return buffer.getvalue(), hashlib.sha256(manifest).hexdigest()


def _entry(name: str) -> zipfile.ZipInfo:
    """A member as it is written, the same on every platform and at any time."""
    info = zipfile.ZipInfo(name, ZIP_EPOCH)
    info.create_system = 3
    info.external_attr = (stat.S_IFREG | 0o644) << 16
    return info


class Archive:
    """An opened archive whose directory and manifest hold only what is allowed.

    Args:
        path: the file.
        limits: member name -> most bytes it may have; other names are refused.
        required: the names that must be there.
        schema_version: the one that is understood.

    Raises:
        BundleError: not a ZIP, damaged, or anything that `limits` and the manifest do not allow.
    """

    def __init__(self, path: str | Path, *, limits: Mapping[str, int], required: set[str],
                 schema_version: int):
        self.path = Path(path)
        self._file = _open_regular(self.path)
        try:
            self._zip = self._open_zip()
            self._infos = self._check_directory({MANIFEST: MAX_MANIFEST_BYTES, **limits})
            manifest = self._read_raw(MANIFEST)
            self.sha256 = hashlib.sha256(manifest).hexdigest()
            self._entries = self._check_manifest(manifest, schema_version)
            missing = required - set(self._entries)
            if missing:
                raise self._error(f"lacks {', '.join(sorted(missing))}", "missing_member")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_) -> None:
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def size(self, name: str) -> int:
        """Bytes of a member, known before it is read."""
        return self._entries[name]["size"]

    def digest(self, name: str) -> str:
        """Hexadecimal SHA-256 of a member, as the manifest states it."""
        return self._entries[name]["sha256"]

    def read(self, name: str) -> bytes:
        """A member whose size and SHA-256 are those of the manifest."""
        data = self._read_raw(name)
        if hashlib.sha256(data).hexdigest() != self.digest(name):
            raise self._error(f"holds a {name} whose SHA-256 is not the one in {MANIFEST}: it was "
                              "damaged or edited", "hash")
        return data

    def read_json(self, name: str):
        """A member as strict JSON."""
        return parse_json(self.read(name), f"{self.path}: {name}")

    def _error(self, what: str, code: str) -> BundleError:
        return BundleError(f"{self.path} {what}. Get the bundle again from where it came.",
                           code=f"bundle.{code}", path=self.path)

    def _open_zip(self) -> zipfile.ZipFile:
        """Bound the directory before zipfile reads it."""
        size = os.fstat(self._file.fileno()).st_size
        if size > MAX_ARCHIVE_BYTES:
            raise self._error(f"has {size:_} bytes, a bundle at most {MAX_ARCHIVE_BYTES:_}", "size")
        tail = b""
        if size >= END_RECORD.size:
            self._file.seek(size - END_RECORD.size)
            tail = self._file.read(END_RECORD.size)
        if tail[:4] != b"PK\5\6":
            raise self._error("is not a bundle, or was cut short (its end is not that of a ZIP "
                              "without comment)", "not_zip")
        _, disk, start_disk, here, entries, directory_size, offset, _ = END_RECORD.unpack(tail)
        if disk or start_disk or here != entries or offset + directory_size > size:
            raise self._error("has a broken ZIP directory", "directory")
        if entries > 32 or directory_size > MAX_DIRECTORY_BYTES:
            raise self._error(f"has {entries:_} members, a bundle a handful", "members")
        try:
            return zipfile.ZipFile(self._file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError,
                struct.error) as error:
            raise self._error(f"is a damaged ZIP ({error})", "directory") from error

    def _check_directory(self, limits: Mapping[str, int]) -> dict[str, zipfile.ZipInfo]:
        infos: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            name = info.orig_filename
            if name in infos:
                raise self._error(f"holds {name!r} twice", "duplicate_member")
            if name not in limits or info.filename != name:
                raise self._error(f"holds a member {name[:80]!r}, which no bundle has",
                                  "extra_member")
            if info.flag_bits & 0x1:
                raise self._error(f"holds an encrypted {name}", "encrypted")
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise self._error(f"holds {name} as a link or special file", "link")
            if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
                raise self._error(f"holds a compressed {name}; members are stored as they are",
                                  "compressed")
            if info.file_size > limits[name]:
                raise self._error(f"holds a {name} of {info.file_size:_} bytes, at most "
                                  f"{limits[name]:_} are allowed", "size")
            infos[name] = info
        if MANIFEST not in infos:
            raise self._error(f"lacks {MANIFEST}", "missing_member")
        if not self._is_as_written(list(infos.values())):
            raise self._error("has a ZIP directory that this program never writes: it was damaged, "
                              "or packed by another program", "directory")
        return infos

    def _is_as_written(self, infos: list[zipfile.ZipInfo]) -> bool:
        """Whether each byte that is no content is the one that `write_archive` puts there."""
        offset, directory = 0, b""
        for info in infos:
            plain = _entry(info.filename)
            plain.CRC, plain.file_size = info.CRC, info.file_size   # held against the content
            plain.compress_size = info.file_size
            header = plain.FileHeader()
            self._file.seek(offset)
            if self._file.read(len(header)) != header:
                return False
            name = info.filename.encode("utf-8")
            directory += DIRECTORY_ENTRY.pack(
                b"PK\1\2", plain.create_version | plain.create_system << 8, plain.extract_version,
                0, zipfile.ZIP_STORED, 0, 1 << 5 | 1, info.CRC, info.file_size, info.file_size,
                len(name), 0, 0, 0, 0, plain.external_attr, offset) + name
            offset += len(header) + info.file_size
        end = END_RECORD.pack(b"PK\5\6", 0, 0, len(infos), len(infos), len(directory), offset, 0)
        self._file.seek(offset)
        return self._file.read(len(directory) + len(end) + 1) == directory + end

    def _check_manifest(self, data: bytes, schema_version: int) -> dict[str, dict]:
        manifest = parse_json(data, f"{self.path}: {MANIFEST}")
        version = manifest.get("schema_version") if isinstance(manifest, dict) else None
        if type(version) is not int or version != schema_version:
            raise BundleError(f"{self.path} has bundle version {version!r}, this program reads "
                              f"{schema_version}. Use the keras-asr version that made it, or "
                              "export it again.", code="bundle.version", path=self.path)
        entries = manifest.get("members")
        if set(manifest) != {"schema_version", "members"} or not isinstance(entries, dict):
            raise self._error(f"has a {MANIFEST} of unknown form", "manifest")
        if set(entries) != set(self._infos) - {MANIFEST}:
            odd = sorted(set(entries) ^ (set(self._infos) - {MANIFEST}))
            raise self._error(f"and its {MANIFEST} disagree about {', '.join(odd)[:200]}",
                              "missing_member")
        for name, entry in entries.items():
            if not isinstance(entry, dict) or set(entry) != {"size", "sha256"} or \
                    type(entry["size"]) is not int or not isinstance(entry["sha256"], str):
                raise self._error(f"has a {MANIFEST} of unknown form at {name}", "manifest")
            if entry["size"] != self._infos[name].file_size:
                raise self._error(f"holds a {name} of {self._infos[name].file_size:_} bytes, "
                                  f"{MANIFEST} says {entry['size']:_}", "size")
        return entries

    def _read_raw(self, name: str) -> bytes:
        try:
            return self._zip.read(self._infos[name])
        except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError,
                RuntimeError, struct.error) as error:
            raise self._error(f"is damaged at {name} ({error})", "damaged") from error


def parse_json(data: bytes, where: str) -> Any:
    """Strict JSON: UTF-8, no NaN or Infinity, no duplicate keys, bounded nesting.

    Raises:
        BundleError: anything else; `where` opens the message.
    """
    try:
        return parse_strict_json(data.decode("utf-8"))
    except ValueError as error:
        raise BundleError(f"{where}: this is not JSON: {error}.", code="bundle.json") from error


def json_bytes(value: object) -> bytes:
    """JSON as this package writes it: sorted keys, UTF-8, readable, the same bytes every time."""
    return (json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1, allow_nan=False)
            + "\n").encode("utf-8")


def _open_regular(path: Path):
    """Open a regular file for reading; a FIFO or device would block or never end."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)
                             | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as error:
        raise BundleError(f"Cannot open the bundle {path}: {why_unread(path, error)}. Give the "
                          "path of an .asr file or of a run directory.",
                          code="bundle.open", path=path) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BundleError(f"{path} is not a regular file. Give the path of an .asr file.",
                          code="bundle.open", path=path)
    return os.fdopen(descriptor, "rb")
