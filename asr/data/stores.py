"""Where the shards of a feature cache lie: a folder of this machine, or an address.

In: the name of a cache and what its numbers depend on. Out: a `Store`, which finds shards and
clears up. A copy of what is at an address is a cache of this machine, and the other way round.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from asr.audio.objects import Objects
from asr.data.shards import (
    Location,
    damaged_shards,
    read_header,
    read_indexes,
    remove_unfinished,
    warn_of_damage,
)
from asr.errors import NO_ROOM, AsrError, UsageError
from asr.files import lock, write_atomic
from asr.manifest.address import Address, is_address

SETTINGS = "settings.json"  # for people; the name of the folder decides
_SHARD = re.compile(r"shard-[0-9a-f]{16}\.safetensors")
_HEAD_BYTES = 1 << 16  # of a shard at an address: mostly all of its header, in one request
_READERS = 16  # of headers at a time


class Store(Protocol):
    """What `build_cache` needs of the place of its shards."""

    @property
    def folder(self) -> Path | Address:
        """Where the shards are."""
        ...

    @property
    def memory(self) -> Path | None:
        """A file that remembers hashes of recordings; None: there is none."""
        ...

    def locked(self) -> AbstractContextManager[None]:
        """One process at a time, where the place has locks."""
        ...

    def sound(self, keys: Sequence[Sequence[str]], num_features: int) -> dict[str, Location]:
        """What is there, by key, once damaged and unfinished shards are removed.

        Args:
            keys: what is wanted, of which more may be checked.
            num_features: F.
        """
        ...

    def there(self, num_features: int) -> dict[str, Location]:
        """What is there, by key."""
        ...


def store_of(cache_dir: str | os.PathLike, name: str, identity: dict) -> Store:
    """The place of the shards that have been made with the same settings.

    Args:
        cache_dir: folder, which is made, or address.
        name: what the place is called in it.
        identity: what decides on the numbers, written beside them.

    Raises:
        UsageError: it cannot be made or written.
    """
    text, settings = os.fspath(cache_dir), json.dumps(identity, indent=2) + "\n"
    return _Far(text, name, settings) if is_address(text) else _Near(Path(text), name, settings)


class _Near:
    """A folder."""

    def __init__(self, cache_dir: Path, name: str, settings: str):
        self.folder = cache_dir / name
        self.memory = cache_dir / "hashes.json"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / SETTINGS).exists():
                write_atomic(self.folder / SETTINGS, settings)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            raise UsageError(f"The feature cache {self.folder} cannot be made: "
                             f"{error.strerror or error}. Name another folder (data.cache_dir).",
                             path=self.folder) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder's lock; the system drops it when the process ends, however it ends."""
        with open(self.folder / "lock", "a+b") as file:
            told = False
            while not _try_lock(file):
                if not told:
                    print(f"Waiting for another process that fills {self.folder} ...",
                          file=sys.stderr)
                    told = True
                time.sleep(0.2)
            yield

    def there(self, num_features: int) -> dict[str, Location]:
        """See `Store`."""
        return read_indexes(self.folder, num_features)

    def sound(self, keys: Sequence[Sequence[str]], num_features: int) -> dict[str, Location]:
        """See `Store`; all that is wanted is compared with its checksums."""
        locations = self.there(num_features)
        remove_unfinished(self.folder, {location.shard for location in locations.values()})
        wanted = dict.fromkeys(key for some in keys for key in some if key in locations)
        damaged = damaged_shards(self.folder, ((key, locations[key]) for key in wanted),
                                 num_features)
        for shard in sorted(damaged):
            warn_of_damage(self.folder / shard)
            (self.folder / shard).unlink(missing_ok=True)
        return {key: place for key, place in locations.items() if place.shard not in damaged}


class _Far:
    """A place in a bucket.

    There are no locks: processes at the same time may do the work twice, and what they write under
    one name is the same, because a shard is named after what is in it. Headers and sizes are
    checked, not the arrays: that would fetch all of them, and a copy on a disk is checked there.
    """

    memory = None

    def __init__(self, cache_dir: str, name: str, settings: str):
        self._objects = Objects(f"{cache_dir.rstrip('/')}/{name}")
        self.folder = Address(self._objects.address)
        try:
            with suppress(FileExistsError):  # said here, not after hours, if it cannot be written
                self._objects.write(SETTINGS, settings, overwrite=False)
        except OSError as error:
            raise UsageError(f"The feature cache {self.folder} cannot be written: "
                             f"{error.strerror}. Check the network, the address and its "
                             "credentials.", path=self.folder) from error

    def locked(self) -> AbstractContextManager[None]:
        """See `Store`."""
        return nullcontext()

    def there(self, num_features: int) -> dict[str, Location]:
        """See `Store`."""
        return self._found(num_features)[0]

    def sound(self, keys: Sequence[Sequence[str]], num_features: int) -> dict[str, Location]:
        """See `Store`."""
        del keys
        locations, damaged = self._found(num_features)
        for name in damaged:
            warn_of_damage(f"{self.folder}/{name}")
            with suppress(OSError):  # what may be written but not removed is passed over each time
                self._objects.remove(name)
        return locations

    def _found(self, num_features: int) -> tuple[dict[str, Location], list[str]]:
        """Locations by key, and the names of damaged shards."""
        found: dict[str, Location] = {}
        damaged = []
        try:
            shards = [(name, size) for name, size in self._objects.listed()
                      if _SHARD.fullmatch(name)]
            with ThreadPoolExecutor(_READERS) as pool:
                for (name, _), locations in zip(shards, pool.map(
                        partial(self._header, num_features), shards), strict=True):
                    if locations is None:
                        damaged.append(name)
                    else:
                        found.update(locations)
        except OSError as error:
            raise AsrError(f"The feature cache {self.folder} cannot be read: {error.strerror}. "
                           "Check the network, the address and its credentials, and run the same "
                           "command again.", code="cache.unreadable") from error
        return found, damaged

    def _header(self, num_features: int, shard: tuple[str, int]) -> dict[str, Location] | None:
        """The arrays of one shard; None: it is not one that `write_shard` wrote."""
        name, size = shard

        def read(start: int, stop: int) -> bytes:
            if stop <= len(head):
                return head[start:stop]
            return self._objects.read(name, start, stop)

        head = self._objects.read(name, 0, min(size, _HEAD_BYTES)) if size else b""
        try:
            return read_header(read, size, name, num_features)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None


def _try_lock(file: BinaryIO) -> bool:
    try:
        lock(file.fileno())
    except OSError:
        return False
    return True
