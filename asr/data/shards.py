"""The feature cache on disk: TFRecord shards, each with an index beside it.

In: feature arrays with keys. Out: `shard-<name>.tfrecord` (a record: T * F little-endian float32)
and `shard-<name>.jsonl` (a header, then key, byte offset, frames, samples of each).
The index is written last: a shard without one was interrupted and is removed, never read.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from asr.data.tfrecord import FOOTER_BYTES, HEADER_BYTES, frame_record
from asr.files import write_atomic

FORMAT_VERSION = 1
_OPEN_SHARDS = 256  # mapped at once; each costs a file descriptor


@dataclass(frozen=True)
class Location:
    """Where the features of one key lie.

    Args:
        shard: file name of the shard.
        offset: of the payload, bytes.
        num_frames, num_samples: of the features, and of the audio that they were made from.
    """

    shard: str
    offset: int
    num_frames: int
    num_samples: int


def write_shard(folder: Path, records: Iterable[tuple[str, np.ndarray, int]]) -> str:
    """Write one shard and its index, each atomically.

    Args:
        folder: of the cache.
        records: (key, (T, F) float32, num_samples).

    Returns:
        The shard's file name, made from its keys.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    parts, lines, position, num_features = [], [], 0, 0
    digest = hashlib.sha256()
    for key, features, num_samples in records:
        payload = np.ascontiguousarray(features, "<f4").data.cast("B")
        header, footer = frame_record(payload)
        parts += [header, payload, footer]
        lines.append({"key": key, "offset": position + HEADER_BYTES, "num_frames": len(features),
                      "num_samples": num_samples})
        position += HEADER_BYTES + len(payload) + FOOTER_BYTES
        num_features = features.shape[1]
        digest.update(key.encode())
    name = f"shard-{digest.hexdigest()[:16]}.tfrecord"
    write_atomic(folder / name, parts)
    head = {"version": FORMAT_VERSION, "bytes": position, "num_features": num_features}
    write_atomic(folder / _index_name(name), "".join(json.dumps(line) + "\n"
                                                     for line in [head, *lines]))
    return name


def read_indexes(folder: Path) -> dict[str, Location]:
    """Every key of every complete shard of a folder."""
    found = {}
    for path in sorted(folder.glob("shard-*.jsonl")):
        shard = path.with_suffix(".tfrecord")
        try:
            head, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
            if head["version"] == FORMAT_VERSION and shard.stat().st_size == head["bytes"]:
                found.update({line["key"]: Location(shard.name, line["offset"], line["num_frames"],
                                                    line["num_samples"]) for line in lines})
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not ours, or damaged: its features are extracted again
    return found


def remove_unfinished(folder: Path, complete: Iterable[str]) -> None:
    """Remove shards that no readable index names, and temporary files; the lock must be held."""
    keep = set(complete)
    for path in [*folder.glob("shard-*.tfrecord"), *folder.glob("shard-*.jsonl")]:
        if path.with_suffix(".tfrecord").name not in keep:
            path.unlink(missing_ok=True)
    for path in folder.glob(".shard-*.tmp"):
        path.unlink(missing_ok=True)


class ShardReader:
    """Features as views of memory-mapped shards: nothing is copied, nothing is parsed.

    Args:
        folder: of the cache.
        num_features: F.
    """

    def __init__(self, folder: Path, num_features: int):
        self.folder = folder
        self.num_features = num_features
        self._shard = lru_cache(maxsize=_OPEN_SHARDS)(self._map)

    def read(self, location: Location) -> np.ndarray:
        """(T, F) float32, read-only; stays valid as long as it is referenced."""
        start = location.offset // 4
        stop = start + location.num_frames * self.num_features
        return self._shard(location.shard)[start:stop].reshape(-1, self.num_features)

    def _map(self, name: str) -> np.ndarray:
        with open(self.folder / name, "rb") as file:
            return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), "<f4")


def _index_name(shard: str) -> str:
    return shard.removesuffix(".tfrecord") + ".jsonl"
