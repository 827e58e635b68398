"""The feature cache on disk: TFRecord shards, each with an index beside it.

In: feature arrays with keys. Out: `shard-<name>.tfrecord` (a record: T * F little-endian float32)
and `shard-<name>.jsonl` (a header with a hash of the rest, then key, byte offset, frames, samples
of each).
The index is written last: a shard without one was interrupted and is removed, never read.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import warnings
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from asr.data.tfrecord import FOOTER_BYTES, HEADER_BYTES, frame_record, read_records
from asr.errors import InputWarning
from asr.files import parse_json, sweep, write_atomic

FORMAT_VERSION = 2
_OPEN_SHARDS = 256  # mapped at once; each costs a file descriptor


@dataclass(frozen=True)
class Location:
    """Where the features of one key lie.

    Args:
        shard: file name of the shard.
        offset: of the payload, bytes.
        num_frames, num_samples: of the features, and of the audio that they were made from.
        cut: they were made from what is left of a cut recording.
    """

    shard: str
    offset: int
    num_frames: int
    num_samples: int
    cut: bool = False


def write_shard(folder: Path, records: Iterable[tuple[str, np.ndarray, int, bool]]) -> str:
    """Write one shard and its index, each atomically.

    Args:
        folder: of the cache.
        records: (key, (T, F) float32, num_samples, whether the recording was cut).

    Returns:
        The shard's file name, made from its keys.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    parts, lines, position, num_features = [], [], 0, 0
    digest = hashlib.sha256()
    for key, features, num_samples, cut in records:
        payload = np.ascontiguousarray(features, "<f4").data.cast("B")
        header, footer = frame_record(payload)
        parts += [header, payload, footer]
        lines.append({"key": key, "offset": position + HEADER_BYTES, "num_frames": len(features),
                      "num_samples": num_samples, "cut": cut})
        position += HEADER_BYTES + len(payload) + FOOTER_BYTES
        num_features = features.shape[1]
        digest.update(key.encode())
    name = f"shard-{digest.hexdigest()[:16]}.tfrecord"
    write_atomic(folder / name, parts)
    rows = "".join(json.dumps(line) + "\n" for line in lines)
    head = {"version": FORMAT_VERSION, "bytes": position, "num_features": num_features,
            "sha256": hashlib.sha256(rows.encode()).hexdigest()}
    write_atomic(folder / _index_name(name), json.dumps(head) + "\n" + rows)
    return name


def read_indexes(folder: Path, num_features: int) -> dict[str, Location]:
    """Every key of every complete shard of a folder; what is damaged is left out.

    Args:
        folder: of the cache.
        num_features: F; a shard with another number is left out.
    """
    found = {}
    for path in sorted(folder.glob("shard-*.jsonl")):
        shard = path.with_suffix(".tfrecord")
        try:
            found.update(_read_index(path.read_bytes(), shard.name, shard.stat().st_size,
                                     num_features))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not ours, or damaged: its features are extracted again
    return found


def _read_index(data: bytes, shard: str, size: int, num_features: int) -> dict[str, Location]:
    """The rows of one index, each inside its shard.

    Raises:
        ValueError, KeyError, TypeError: it is not one that `write_shard` wrote for this shard.
    """
    first, _, rows = data.partition(b"\n")
    head: Any = parse_json(first)
    if (head["version"], head["bytes"], head["num_features"]) != (FORMAT_VERSION, size,
                                                                   num_features):
        raise ValueError("of another shard or version")
    if head["sha256"] != hashlib.sha256(rows).hexdigest():
        raise ValueError("damaged")
    found = {}
    for line in rows.splitlines():
        row: Any = parse_json(line)
        place = Location(shard, row["offset"], row["num_frames"], row["num_samples"],
                         row["cut"] is True)
        if not all(type(number) is int for number in (place.offset, place.num_frames,
                                                      place.num_samples)):
            raise TypeError("expected whole numbers")
        if not (HEADER_BYTES <= place.offset and place.offset % 4 == 0 < place.num_frames
                and place.offset + 4 * place.num_frames * num_features + FOOTER_BYTES <= size):
            raise ValueError("a row lies outside the shard")
        found[str(row["key"])] = place
    return found


def damaged_shards(folder: Path, locations: Iterable[Location], num_features: int) -> set[str]:
    """The shards in which a record is not the one that was written, by its checksums.

    Args:
        folder: of the cache.
        locations: the records that are wanted; all of them are read.
        num_features: F.
    """
    damaged, by_shard = set(), defaultdict(list)
    for place in locations:
        by_shard[place.shard].append(place)
    for shard, places in by_shard.items():
        try:
            with open(folder / shard, "rb") as file:  # mapped, a bad disk would kill the process
                for place in sorted(places, key=lambda place: place.offset):
                    size = HEADER_BYTES + 4 * place.num_frames * num_features + FOOTER_BYTES
                    file.seek(place.offset - HEADER_BYTES)
                    payload = next(read_records(file.read(size), name=shard))
                    if len(payload) != size - HEADER_BYTES - FOOTER_BYTES:
                        raise ValueError("another record")
        except (OSError, ValueError, StopIteration):
            damaged.add(shard)
    return damaged


def remove_shard(folder: Path, shard: str) -> None:
    """Remove a shard and its index, the index first; the lock must be held."""
    (folder / _index_name(shard)).unlink(missing_ok=True)
    (folder / shard).unlink(missing_ok=True)


def remove_unfinished(folder: Path, complete: Iterable[str]) -> None:
    """Remove shards that no readable index names, and temporary files; the lock must be held.

    An index that is there and cannot be believed is damaged, which is said; a shard without an
    index was interrupted.
    """
    keep = set(complete)
    for path in folder.glob("shard-*.jsonl"):
        if path.with_suffix(".tfrecord").name not in keep:
            warnings.warn(InputWarning(f"The index {path} does not fit its shard: one of them is "
                                       "damaged. The features are made again.", "cache.damaged"),
                          stacklevel=3)
    for path in [*folder.glob("shard-*.tfrecord"), *folder.glob("shard-*.jsonl")]:
        if path.with_suffix(".tfrecord").name not in keep:
            path.unlink(missing_ok=True)
    sweep(folder)


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
