"""The feature cache on disk: safetensors files of many feature arrays.

In: feature arrays with keys. Out: `shard-<name>.safetensors`: an array (T, F) float32 a key, and in
the metadata of each "num_samples cut crc32": the samples that it was made from, whether the
recording was cut, and a checksum over both and the array, which is compared when a cache in a
folder is opened. A shard is written in one step, so one of another size than its header says is
damaged: it is removed, never read. `asr.data.stores` knows folders and addresses.
"""

from __future__ import annotations

import hashlib
import os
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from asr.audio.objects import Objects, write_at
from asr.errors import DataError, InputWarning
from asr.files import sweep, write_atomic
from asr.manifest.address import Address
from asr.parsing import parse_json

FORMAT_VERSION = 3


@dataclass(frozen=True)
class Location:
    """Where the features of one key lie.

    Args:
        shard: file name of the shard.
        offset: where the array begins in the file, bytes.
        num_frames, num_samples: lengths of the features and of the audio that they were made from.
        cut: they were made from what is left of a cut recording.
        checksum: checksum of the array and of these facts.
    """

    shard: str
    offset: int
    num_frames: int
    num_samples: int
    cut: bool = False
    checksum: int = 0


def write_shard(folder: Path | Address, records: Iterable[tuple[str, np.ndarray, int, bool]]
                ) -> str:
    """Write one shard, atomically.

    Args:
        folder: folder or address of the cache.
        records: (key, (T, F) float32, num_samples, whether the recording was cut).

    Returns:
        The shard's file name, made from its keys.

    Raises:
        OSError: the disk is full or the folder cannot be written; `strerror` says why.
    """
    arrays, facts = {}, {}
    for key, features, num_samples, cut in records:
        arrays[key] = np.ascontiguousarray(features, np.float32)
        checksum = _checksum(key, num_samples, cut, arrays[key].data.cast("B"))
        facts[key] = f"{num_samples} {int(cut)} {checksum}"
    name = f"shard-{hashlib.sha256(''.join(arrays).encode()).hexdigest()[:16]}.safetensors"
    data = save(arrays, metadata=facts)
    if isinstance(folder, Address):
        write_at(f"{folder}/{name}", data, overwrite=True)  # of this name, all have this content
    else:
        write_atomic(folder / name, data)
    return name


def _checksum(key: str, num_samples: int, cut: bool, data: bytes | memoryview) -> int:
    return zlib.crc32(data, zlib.crc32(f"{key} {num_samples} {int(cut)}".encode()))


def read_indexes(folder: Path, num_features: int) -> dict[str, Location]:
    """Every key of every complete shard of a folder; what is damaged is left out.

    Args:
        folder: folder of the cache.
        num_features: F; a shard with another number is left out.
    """
    found = {}
    for path in sorted(folder.glob("shard-*.safetensors")):
        try:
            with open(path, "rb") as file:
                def read(start: int, stop: int, file=file) -> bytes:
                    file.seek(start)
                    return file.read(stop - start)

                found.update(read_header(read, os.fstat(file.fileno()).st_size, path.name,
                                         num_features))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # not ours, or damaged: its features are extracted again
    return found


def read_header(read: Callable[[int, int], bytes], size: int, shard: str, num_features: int
                ) -> dict[str, Location]:
    """The arrays of one shard, each inside the file.

    Args:
        read: gives the bytes from the first number on, before the second one.
        size: bytes of the file.
        shard: its name.
        num_features: F.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is not one that `write_shard` wrote.
    """
    start = 8 + int.from_bytes(read(0, 8), "little")
    if not 8 < start <= size:
        raise ValueError("cut")
    header: Any = parse_json(read(8, start))
    facts = header.pop("__metadata__")
    found, end = {}, start
    for key, entry in header.items():
        num_samples, cut, checksum = map(int, facts[key].split())
        (first, last), (num_frames, columns) = entry["data_offsets"], entry["shape"]
        if (columns != num_features or not type(num_frames) is type(first) is type(last) is int
                or num_frames < 1 or first < 0 or (start + first) % 4
                or last - first != 4 * num_frames * num_features or start + last > size):
            raise ValueError("an array lies outside the shard")
        found[key] = Location(shard, start + first, num_frames, num_samples, bool(cut), checksum)
        end = max(end, start + last)
    if end != size:
        raise ValueError("of another size")
    return found


def damaged_shards(folder: Path, locations: Iterable[tuple[str, Location]], num_features: int
                   ) -> set[str]:
    """The shards in which an array is not the one that was written, by its checksum.

    Args:
        folder: folder of the cache.
        locations: keys and places of what is wanted; all of it is read.
        num_features: F.
    """
    damaged, by_shard = set(), defaultdict(list)
    for key, place in locations:
        by_shard[place.shard].append((key, place))
    for shard, places in by_shard.items():
        try:
            with open(folder / shard, "rb") as file:
                for key, place in sorted(places, key=lambda pair: pair[1].offset):
                    file.seek(place.offset)
                    data = file.read(4 * place.num_frames * num_features)
                    if _checksum(key, place.num_samples, place.cut, data) != place.checksum:
                        raise ValueError("another array")
        except (OSError, ValueError):
            damaged.add(shard)
    return damaged


def remove_unfinished(folder: Path, complete: Iterable[str]) -> None:
    """Remove damaged shards, which is said, and temporary files; the lock must be held."""
    keep = set(complete)
    for path in folder.glob("shard-*.safetensors"):
        if path.name not in keep:
            warn_of_damage(path)
            path.unlink(missing_ok=True)
    sweep(folder)


def warn_of_damage(path: Path | str) -> None:
    """Say that a shard is removed and made again."""
    warnings.warn(InputWarning(f"The feature cache {path} is damaged: it is not what was written. "
                               "Its features are made again; if this repeats, check the disk.",
                               "cache.damaged"), stacklevel=4)


class ShardReader:
    """Features by place.

    A shard is read, not mapped: a disk that fails under a mapped file ends the process, and a
    read gives an error that has a name. An open file costs less than the copy of an utterance.

    Args:
        folder: folder or address of the cache.
        num_features: F.
    """

    def __init__(self, folder: Path | Address, num_features: int):
        self.folder = folder
        self.num_features = num_features
        self._objects = Objects(str(folder)) if isinstance(folder, Address) else None

    def read(self, location: Location) -> np.ndarray:
        """(T, F) float32, read-only.

        Raises:
            DataError: the shard cannot be read, or has become shorter.
        """
        path, size = f"{self.folder}/{location.shard}", 4 * location.num_frames * self.num_features
        try:
            if self._objects is not None:
                data = self._objects.read(location.shard, location.offset, location.offset + size)
            else:
                with open(path, "rb", buffering=0) as file:
                    file.seek(location.offset)
                    data = file.read(size)
        except OSError as error:
            raise _unreadable(path, str(error.strerror)) from error
        if len(data) != size:
            raise _unreadable(path, f"{len(data):,} bytes of {size:,}")
        return np.frombuffer(data, "<f4").reshape(-1, self.num_features)


def _unreadable(path: str, why: str) -> DataError:
    return DataError(f"The feature cache {path} can no longer be read ({why}). Check the disk, "
                     "then start again: training goes on from its last checkpoint, and damaged "
                     "features are made again.", code="cache.unreadable", path=path)
