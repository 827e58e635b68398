"""SHA-256 of recordings, remembered so that unchanged files are read only once.

In: paths. Out: a hash and a fingerprint each, or why the file cannot be read.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from asr.audio.remote import version_of
from asr.audio.source import open_regular
from asr.audio.spliced import size_of
from asr.audio.unchanged import SETTLED_NS, stat_fingerprint
from asr.errors import AudioError
from asr.files import write_atomic
from asr.manifest.address import Address
from asr.parsing import parse_json

_AT_ONCE_BYTES = 1 << 20  # `file_digest` fills a new buffer of 256 KiB, dear for a short clip


@dataclass(frozen=True)
class FileHash:
    """A file's content and what identified it at that moment.

    Args:
        sha256: hexadecimal.
        fingerprint: `stat_fingerprint`; another one means that the file may have changed. Empty for
            an address.
    """

    sha256: str
    fingerprint: tuple[int, ...]


def hash_files(paths: Iterable[Path | Address], *, memory: Path | None
               ) -> dict[Path | Address, FileHash | AudioError]:
    """Hash every file once; of an address, what its server says of its version.

    Args:
        paths: absolute.
        memory: a JSON file of earlier results, updated; it is believed where size, inode,
            modification and change time are all the same. None: nothing is remembered.

    Returns:
        By path: the hash, or the error (audio.missing, audio.unreadable).
    """
    known = _read_memory(memory) if memory else {}
    versions: dict[str, list[str]] = {}
    results = {path: _hash(path, known, versions) for path in dict.fromkeys(paths)}
    settled = time.time_ns() - SETTLED_NS
    fresh = {str(path): [*result.fingerprint, result.sha256] for path, result in results.items()
             if isinstance(result, FileHash) and result.fingerprint
             and max(result.fingerprint[1:3]) < settled}
    if memory and any(known.get(path) != entry for path, entry in fresh.items()):
        write_atomic(memory, json.dumps({**known, **fresh}))
    return results


def _hash(path: Path | Address, known: dict[str, list], versions: dict[str, list[str]]
          ) -> FileHash | AudioError:
    try:
        if isinstance(path, Address):
            return FileHash(version_of(path.text, versions), ())
        with open_regular(path) as file:
            fingerprint = stat_fingerprint(os.fstat(file.fileno()))
            entry = known.get(str(path))
            if entry and tuple(entry[:-1]) == fingerprint:
                return FileHash(entry[-1], fingerprint)
            digest = digest_of(file)
            if stat_fingerprint(os.fstat(file.fileno())) != fingerprint:
                raise AudioError(f"{path} changed while it was read. Do not write to recordings "
                                 "while they are read.", code="audio.changed", path=path)
    except AudioError as error:
        return error
    except OSError as error:
        return AudioError(f"{path} cannot be read: {error.strerror or error}.",
                          code="audio.unreadable", path=path)
    return FileHash(digest, fingerprint)


def digest_of(file: BinaryIO) -> str:
    """Hexadecimal SHA-256 of an open recording."""
    if size_of(file) <= _AT_ONCE_BYTES:
        return hashlib.sha256(file.read()).hexdigest()
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


def _read_memory(path: Path) -> dict[str, list]:
    """Earlier results; one that cannot be read only means that files are hashed again."""
    try:
        memory = parse_json(path.read_bytes())
        return {key: entry for key, entry in memory.items() if len(entry) == 5}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
