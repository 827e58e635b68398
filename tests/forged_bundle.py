"""Bundles with changed members whose sizes and hashes are right again."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

from asr.bundle.archive import _entry


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_zip(path: Path, parts: dict[str, bytes], *, compression=zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            info = _entry(name)
            info.compress_type = compression
            archive.writestr(info, data)


def forge(path: Path, changes: dict[str, bytes | None], **manifest_changes) -> None:
    """Rewrite a bundle with other members and a manifest whose sizes and hashes are right."""
    parts = members(path) | {k: v for k, v in changes.items() if v is not None}
    for name, data in changes.items():
        if data is None:
            del parts[name]
    parts.pop("manifest.json")
    manifest = {"schema_version": 1, "members": {
        name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in parts.items()}} | manifest_changes
    write_zip(path, {"manifest.json": json.dumps(manifest).encode(), **parts})


def forge_config(path: Path, change) -> None:
    config = json.loads(members(path)["config.json"])
    change(config)
    forge(path, {"config.json": json.dumps(config).encode()})
