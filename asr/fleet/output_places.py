"""Where results are written: a folder of this machine, or an address such as s3://bucket/texts.

In: names below the place, and whole contents. Out: files or objects that appear whole or not at
all. `asr.fleet.worklist.OutputFolder` and `asr.fleet.align` decide on the names, for both in the
same way.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path
from typing import Protocol, TypeVar

from asr.audio.objects import write_at
from asr.errors import NO_ROOM, AsrError, UsageError
from asr.files import alone, sweep, write_atomic
from asr.fleet.bucket import INDEX, Bucket, index_name, index_rows
from asr.manifest.address import Address, is_address

Given = TypeVar("Given")
Found = TypeVar("Found")


class OutputPlace(Protocol):
    """What `OutputFolder` needs of a place; names are such as "monday/talk.txt".

    Attributes:
        remedy: what may help where writing fails.
        writers: how many files are written at a time.
    """

    remedy: str
    writers: int

    def shown(self, name: str) -> Path | Address:
        """The file, for people."""
        ...

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name."""
        ...

    def is_free(self, name: str) -> bool:
        """Whether nothing has this name."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """One run at a time, where the place has locks."""
        ...

    def index(self) -> Iterator[tuple[str, bytes]]:
        """The files of claimed names that this object has not read yet: (name, content)."""
        ...

    def add(self, stems: Mapping[str, str], new: Iterable[str]) -> bool:
        """Claim the stems of new sources; False: another run has claimed names, read `index`."""
        ...

    def prepare(self, folders: Iterable[str]) -> None:
        """Make subfolders, and clear up what killed runs left in them."""
        ...

    def write(self, name: str, data: str | bytes, *, overwrite: bool) -> None:
        """Write a whole file.

        Raises:
            FileExistsError: it exists and `overwrite` is False.
            OSError: it cannot be written; `strerror` says why.
        """
        ...


def place_of(where: str | os.PathLike, suffixes: Iterable[str]) -> OutputPlace:
    """A folder, which is made, or an address, whose names are listed.

    Args:
        where: the folder or address.
        suffixes: file endings, without dots.

    Raises:
        UsageError: it cannot be made or listed, or is an address that cannot be written.
    """
    text = os.fspath(where)
    return Bucket(text, suffixes) if is_address(text) else Folder(text)


class Folder:
    """A folder of this machine, see `OutputPlace`.

    Raises:
        UsageError: it cannot be made.
    """

    remedy = "free some space or choose another folder"
    writers = 1

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            raise UsageError(f"Cannot make the output folder {folder}: {error.strerror}.") \
                from error

    def __str__(self) -> str:
        return str(self.folder)

    def shown(self, name: str) -> Path:
        """The path; the name is UTF-8 whatever the locale says."""
        return self.folder / os.fsdecode(name.encode())

    def exists(self, name: str) -> bool:
        """See `OutputPlace`."""
        return os.path.exists(self.shown(name))

    def is_free(self, name: str) -> bool:
        """See `OutputPlace`; a link that leads nowhere is a name, too."""
        return not os.path.lexists(self.shown(name))

    def alone(self) -> AbstractContextManager[None]:
        """See `OutputPlace`."""
        return alone(self.folder)

    def index(self) -> Iterator[tuple[str, bytes]]:
        """See `OutputPlace`; all of them each time, because `add` writes the first one again."""
        for number in count(1):  # those after the first one were copied from an address
            try:
                yield (name := index_name(number)), (self.folder / name).read_bytes()
            except FileNotFoundError:
                return

    def add(self, stems: Mapping[str, str], new: Iterable[str]) -> bool:
        """See `OutputPlace`."""
        del new  # the whole file is written
        write_atomic(self.folder / INDEX, index_rows(stems, stems))
        return True

    def prepare(self, folders: Iterable[str]) -> None:
        """See `OutputPlace`."""
        for name in folders:
            folder = self.shown(f"{name}/_" if name else "_").parent
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)

    def write(self, name: str, data: str | bytes, *, overwrite: bool) -> None:
        """See `OutputPlace`."""
        write_atomic(self.shown(name), data, overwrite=overwrite)


def write_file(path: Path | Address, data: str | bytes, *, overwrite: bool) -> None:
    """Write a whole file or object; see `OutputPlace.write`."""
    if not isinstance(path, Address):
        return write_atomic(path, data, overwrite=overwrite)
    return write_at(str(path), data, overwrite=overwrite)


def in_order(save: Callable[[Given], Found], given: Iterable[Given], writers: int
             ) -> Iterator[Found]:
    """`map`, with several at a time where waiting for a server is most of the work.

    Args:
        save: called from threads if there are several writers.
        given: what it is called with; taken while at most so many are in work.
        writers: see `OutputPlace`.
    """
    if writers == 1:
        yield from map(save, given)
        return
    with ThreadPoolExecutor(writers) as pool:
        begun: deque[Future[Found]] = deque()
        for one in given:
            begun.append(pool.submit(save, one))
            while begun and (begun[0].done() or len(begun) > writers):
                yield begun.popleft().result()
        for future in begun:
            yield future.result()


def not_written(path: Path | Address, error: OSError, remedy: str) -> AsrError:
    """The error of a file that `OutputPlace.write` could not write."""
    return AsrError(f"Cannot write {path}: {error.strerror}. Nothing was left there; {remedy}, "
                    "and run the same command again.", code="output.write", path=str(path))
