"""Write transcripts into a bucket: s3:// and gs:// addresses, by fsspec.

In: an address, names below it, whole contents. Out: objects that appear whole or not at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext

from asr.audio.objects import Objects
from asr.errors import UsageError
from asr.manifest.address import Address

INDEX = "index.jsonl"
_INDEX = re.compile(r"index(-[0-9]+)?\.jsonl")


class Bucket:
    """A folder in a bucket of S3 or Google Cloud Storage, or of what speaks as they do.

    A new object is made only if its name is free, see `asr.audio.objects.Objects.write`. There are
    no locks: claimed names are only added, as index.jsonl, index-2.jsonl and so on, each by the run
    that made it first; the others read it and choose other names.

    Args:
        address: such as s3://bucket/transcripts.
        suffixes: file endings, without dots; other names there are not kept in memory.

    Raises:
        UsageError: it is no address that can be written, or it cannot be listed.
    """

    remedy = "check the network, the address and its credentials"
    writers = 16  # a request takes a few hundredths of a second, most of them waiting

    def __init__(self, address: str, suffixes: Iterable[str]):
        self._objects = Objects(address)
        self.address = self._objects.address
        endings = tuple(f".{suffix}" for suffix in suffixes)
        try:
            self._names = {name for name, _ in self._objects.listed()
                           if name.endswith(endings) or _INDEX.fullmatch(name)}
        except OSError as error:
            raise UsageError(f"{self.address} cannot be listed: {error.strerror}. Check the "
                             "network, the address and its credentials.") from error
        self._num_read = 0

    def __str__(self) -> str:
        return self.address

    def shown(self, name: str) -> Address:
        """See `asr.fleet.output_places.OutputPlace`."""
        return Address(f"{self.address}/{name}")

    def exists(self, name: str) -> bool:
        """See `asr.fleet.output_places.OutputPlace`; as listed at the start, and written since."""
        return name in self._names

    def is_free(self, name: str) -> bool:
        """See `asr.fleet.output_places.OutputPlace`."""
        return name not in self._names

    def alone(self) -> AbstractContextManager[None]:
        """See `asr.fleet.output_places.OutputPlace`; there are no locks."""
        return nullcontext()

    def index(self) -> Iterator[tuple[str, bytes]]:
        """See `asr.fleet.output_places.OutputPlace`; what was read once does not change."""
        while (name := index_name(self._num_read + 1)) in self._names:
            data = self._objects.read(name)
            self._num_read += 1
            yield name, data

    def add(self, stems: Mapping[str, str], new: Iterable[str]) -> bool:
        """See `asr.fleet.output_places.OutputPlace`."""
        try:
            self.write(index_name(self._num_read + 1), b"".join(index_rows(stems, new)),
                       overwrite=False)
        except FileExistsError:
            return False
        self._num_read += 1
        return True

    def prepare(self, folders: Iterable[str]) -> None:
        """See `OutputPlace`; names need no folders, and nothing half-written is left."""

    def write(self, name: str, data: str | bytes, *, overwrite: bool) -> None:
        """See `asr.fleet.output_places.OutputPlace`."""
        try:
            self._objects.write(name, data, overwrite=overwrite)
        except FileExistsError:
            self._names.add(name)
            raise
        self._names.add(name)


def index_name(number: int) -> str:
    """The name of the file with claimed names, from 1 on."""
    return INDEX if number == 1 else f"index-{number}.jsonl"


def index_rows(stems: Mapping[str, str], sources: Iterable[str]) -> Iterator[bytes]:
    """The lines that say which stems the sources have."""
    for source in sources:
        yield f"{json.dumps({'source': source, 'output': stems[source]})}\n".encode()
