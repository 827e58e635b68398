"""Where the recordings of a manifest are, written down beside it by `asr prepare`.

In: folders that a person named. Out: `audio_root.json` in the manifest's folder. Part of
`asr.manifest`.

A folder from a stranger may hold such a file as well, and must not open other folders with it. So
the record is signed (HMAC-SHA256) with a key that only this user has on this machine; one that is
not is not believed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from asr.files import write_atomic

RECORD = "audio_root.json"

_MAX_BYTES = 1 << 16
_KEY_BYTES = 32


def record_roots(folder: str | Path, roots: Iterable[str | Path]) -> bool:
    """Write down that the manifests in a folder may read recordings below some roots.

    Args:
        folder: folder of the manifests.
        roots: folders that the user named.

    Returns:
        Whether it could be written; False where there is no place for the key.
    """
    names = sorted({os.path.realpath(root) for root in roots})
    key = _key(make=True)
    if key is None:
        return False
    record = {"audio_roots": names, "signature": _signature(names, key)}
    write_atomic(Path(folder) / RECORD, json.dumps(record, indent=1) + "\n")
    return True


def recorded_roots(folder: str) -> tuple[list[str], str]:
    """The roots that this user wrote down beside the manifests of a folder.

    Returns:
        (folders that exist, ""), or ([], why the record is not believed).
    """
    path = os.path.join(folder, RECORD)
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _MAX_BYTES:
            return [], ""
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        names, signature = record["audio_roots"], record["signature"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return [], f"{path} cannot be read"
    key = _key(make=False)
    if key is None or not isinstance(signature, str) or not (
            isinstance(names, list) and all(isinstance(name, str) for name in names)) \
            or not hmac.compare_digest(signature.encode(), _signature(names, key).encode()):
        return [], f"{path} was not written by this user on this machine and is not believed"
    return [name for name in names if os.path.isdir(name)], ""


def _signature(names: list[str], key: bytes) -> str:
    return hmac.new(key, json.dumps(names).encode(), hashlib.sha256).hexdigest()


def _key(*, make: bool) -> bytes | None:
    """The key of this user, 32 bytes that only they can read; None where there is none."""
    state = os.environ.get("XDG_STATE_HOME") or os.environ.get("LOCALAPPDATA") or \
        os.path.join(os.path.expanduser("~"), ".local", "state")
    path = Path(state) / "keras-asr" / "key"
    with suppress(OSError):
        if make and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileExistsError):
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_bytes(_KEY_BYTES))
        key = path.read_bytes()
        if len(key) == _KEY_BYTES:
            return key
    return None
