"""The feature cache on disk: safetensors files of many feature arrays, mapped when read.

In: feature arrays with keys. Out: `shard-<name>.safetensors`: an array (T, F) float32 a key, and
in the metadata the number of samples that each was made from. A shard is written in one step, so
one of another size than its header says is damaged: it is removed, never read.
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
from safetensors.numpy import save

from asr.files import write_atomic

FORMAT_VERSION = 2
_OPEN_SHARDS = 256  # mapped at once; each costs a file descriptor


@dataclass(frozen=True)
class Location:
    """Where the features of one key lie.

    Args:
        shard: file name of the shard.
        offset: where the array begins in the file, bytes.
        num_frames, num_samples: lengths of the features and of the audio that they were made from.
    """

    shard: str
    offset: int
    num_frames: int
    num_samples: int


def write_shard(folder: Path, records: Iterable[tuple[str, np.ndarray, int]]) -> str:
    """Write one shard, atomically.

    Args:
        folder: folder of the cache.
        records: (key, (T, F) float32, num_samples).

    Returns:
        The shard's file name, made from its keys.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    arrays, samples = {}, {}
    for key, features, num_samples in records:
        arrays[key] = np.ascontiguousarray(features, np.float32)
        samples[key] = str(num_samples)
    name = f"shard-{hashlib.sha256(''.join(arrays).encode()).hexdigest()[:16]}.safetensors"
    write_atomic(folder / name, save(arrays, metadata=samples))
    return name


def read_indexes(folder: Path) -> dict[str, Location]:
    """Every key of every complete shard of a folder."""
    found = {}
    for path in sorted(folder.glob("shard-*.safetensors")):
        try:
            with open(path, "rb") as file:
                start = 8 + int.from_bytes(file.read(8), "little")
                if not 8 < start <= path.stat().st_size:
                    continue
                header = json.loads(file.read(start - 8))
            samples = header.pop("__metadata__")
            there = {key: Location(path.name, start + entry["data_offsets"][0], entry["shape"][0],
                                   int(samples[key])) for key, entry in header.items()}
            size = start + max(entry["data_offsets"][1] for entry in header.values())
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not ours, or damaged: its features are extracted again
        if path.stat().st_size == size:
            found.update(there)
    return found


def remove_unfinished(folder: Path, complete: Iterable[str]) -> None:
    """Remove damaged shards and temporary files; the lock must be held."""
    keep = set(complete)
    for path in [*folder.glob("shard-*.safetensors"), *folder.glob(".shard-*.tmp")]:
        if path.name not in keep:
            path.unlink(missing_ok=True)


class ShardReader:
    """Features as views of memory-mapped shards: nothing is copied, nothing is parsed.

    Args:
        folder: folder of the cache.
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
