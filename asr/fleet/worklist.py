"""Find the recordings to transcribe, and name their outputs.

In: what a person typed (files, folders, globs, "-"). Out: `Item`s, and names in an output folder
that stay the same from run to run.

A transcript is named after its recording: talk.wav becomes talk.txt; below a folder that was given
as input, subfolders are kept. If the name is taken by another recording, the folder's name goes in
front (monday-talk.txt), then a number (talk-2.txt). Names are claimed in index.jsonl, in the
output folder, before the first transcript is written, so a run that was killed goes on where it
stopped: a recording keeps its name, what exists is complete (files appear whole or not at all), and
files of other origin are never touched. Several runs may write into one folder at the same time.
The folder may be an address: `asr.fleet.output_places` says how files get there.
"""

from __future__ import annotations

import glob
import io
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import unquote

from asr.audio import av_decoder, display_name
from asr.audio.source import AUDIO_SUFFIXES, OTHER_MEDIA, is_recording, open_regular
from asr.audio.tar import SUFFIX, list_members, list_members_at, split_path
from asr.errors import NO_ROOM, AudioError, UsageError
from asr.fleet.bucket import INDEX
from asr.fleet.output_places import place_of
from asr.manifest.address import Address, is_address
from asr.parsing import parse_json

STDIN = "-"
MAX_STEM_BYTES = 180  # of 255 that file systems allow; the rest is for suffix and temporary name


@dataclass(frozen=True, slots=True)
class Item:
    """One recording to transcribe.

    Attributes:
        path: the file as it was found, or its address; None is standard input.
        below: path below the folder it was found in, or the file's name. Text, because a list may
            have millions: a `PurePath` takes four times the memory.
        inside: the tar file and the name in it, if that tar file is on another machine.
    """

    path: str | None
    below: str
    inside: str = ""

    @property
    def relative(self) -> PurePath:
        """`below` as a path."""
        return PurePath(self.below)

    @property
    def name(self) -> str:
        """The path as printable UTF-8; control characters are kept."""
        if is_address(self.path):
            return self.inside or str(self.path).partition("?")[0]
        return "-" if self.path is None else display_name(self.path)

    @property
    def source(self) -> str:
        """What identifies the recording: its absolute path, symbolic links kept; its address."""
        if is_address(self.path):
            return self.inside or str(self.path)
        return STDIN if self.path is None else _unicode(os.path.abspath(self.path))


def find_items(inputs: Iterable[str], *, recursive: bool = False) -> tuple[list[Item],
                                                                           list[AudioError]]:
    """The recordings named by the inputs, each once, in order.

    Args:
        inputs: files (taken whatever they are called), folders (their files with the suffix of
            audio, sorted), glob patterns ("**" included), addresses, "-" for standard input. A tar
            file means the recordings in it.
        recursive: look into subfolders too.

    Returns:
        (items, errors): an input that names nothing is an error of code audio.missing, a folder
        or subfolder that may not be listed one of code audio.unreadable.
    """
    items: dict[str, Item] = {}
    errors: list[AudioError] = []

    def unlisted(error: OSError) -> None:
        name = display_name(error.filename)
        errors.append(AudioError(f"{name} cannot be listed: {error.strerror}. Check the "
                                 "permissions of this folder.", code="audio.unreadable", path=name))

    for text in inputs:
        before = len(errors)
        found = []
        try:
            found += [one for item in _expand(text, recursive, unlisted) for one in _opened(item)]
        except AudioError as error:
            errors.append(error)
        for item in found:
            items.setdefault(item.source, item)
        if not found and len(errors) == before:
            errors.append(_nothing(text, recursive))
    return list(items.values()), errors


def other_audio(inputs: Iterable[str], *, recursive: bool = False) -> dict[str, list[str]]:
    """{suffix: paths} of the files that look like recordings but are not taken from a folder."""
    wanted = OTHER_MEDIA | ({*av_decoder.SUFFIXES} - taken_suffixes())
    found: dict[str, list[str]] = {}
    for text in filter(os.path.isdir, inputs):
        for folder, files in _folders(text, recursive):
            for file in files:
                suffix = os.path.splitext(file)[1].lower()
                if file[:1] != "." and suffix in wanted:
                    found.setdefault(suffix, []).append(os.path.join(folder, file))
    return dict(sorted(found.items()))


def taken_suffixes() -> set[str]:
    """Suffixes of the files that are taken from a folder."""
    return {*AUDIO_SUFFIXES, *(av_decoder.SUFFIXES if av_decoder.is_available() else ())}


def _nothing(text: str, recursive: bool) -> AudioError:
    name = display_name(text)
    if os.path.isdir(text):
        deeper = "" if recursive else ", or add --recursive for its subfolders"
        message = (f"{name} holds no audio files ({', '.join(sorted(taken_suffixes()))}). Name the "
                   f"files{deeper}.")
    elif glob.has_magic(text):
        message = f"No file matches {name}. Check the pattern."
    else:
        message = f"{name or repr(text)} does not exist. Check the path."
    return AudioError(message, code="audio.missing", path=name)


def _expand(text: str, recursive: bool, unlisted: Callable[[OSError], None]) -> Iterable[Item]:
    if text == STDIN:
        yield Item(None, "stdin")
    elif is_address(text):
        yield Item(text, unquote(Address(text).name) or "recording")
    elif os.path.isdir(text):
        taken = taken_suffixes()
        for folder, files in _folders(text, recursive, unlisted):
            for file in files:
                if os.path.splitext(file)[1].lower() in taken and file[:1] != ".":
                    path = os.path.join(folder, file)
                    yield Item(path, os.path.relpath(path, text))
    elif os.path.lexists(text) or split_path(text):
        yield Item(text, os.path.basename(text))
    elif glob.has_magic(text):
        for path in sorted(glob.glob(text, recursive=True)):
            if not os.path.isdir(path):
                yield Item(path, os.path.basename(path))


def _opened(item: Item) -> Iterable[Item]:
    """The recordings in a tar file that was named; any other item itself."""
    if item.path is None or item.relative.suffix != SUFFIX:
        return [item]
    if is_address(item.path):
        places = list_members_at(item.path)
    elif os.path.isfile(item.path):
        with open_regular(item.path) as file:
            places = {name: f"{item.path}/{name}" for name in list_members(file, item.name)}
    else:
        return [item]
    inside = f"{item.name}/" if is_address(item.path) else ""
    found = [Item(place, str(item.relative.with_suffix("") / name), inside and inside + name)
             for name, place in places.items() if is_recording(name)]
    if not found:
        raise AudioError(f"{item.name} holds no recording ({', '.join(sorted(taken_suffixes()))}).",
                         code="audio.missing", path=item.name)
    return found


def _folders(text: str, recursive: bool, unlisted: Callable[[OSError], None] | None = None
             ) -> Iterator[tuple[str, list[str]]]:
    """(folder, its files), sorted; `unlisted` is called with folders that cannot be read."""
    for folder, subfolders, files in os.walk(text, onerror=unlisted):
        yield folder, sorted(files)
        if not recursive:
            return
        subfolders.sort()


class OutputFolder:
    """A folder of transcripts, here or at an address, with permanent file names.

    Args:
        folder: made if it does not exist; or an address, see `asr.fleet.bucket.Bucket`.
        suffixes: file endings, without dots; a name is free if it is for all of them.

    Raises:
        UsageError: the folder cannot be made, listed or written, or its index.jsonl is not ours.
    """

    def __init__(self, folder: str | os.PathLike, *suffixes: str):
        self.place = place_of(folder, suffixes)
        self.suffixes = suffixes
        self._stems: dict[str, str] = {}
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}  # by stem: the first number that may be free
        self._read_index()

    def claim(self, items: Sequence[Item]) -> None:
        """Give every item a name; it is in index.jsonl before this returns, see `output`.

        Raises:
            UsageError: the folder cannot be written.
        """
        try:
            while True:
                with self.place.alone():
                    self._read_index()   # another run may have claimed names meanwhile
                    self._taken = {_fold(stem) for stem in self._stems.values()}
                    new = self._name(items)
                    if not new or self.place.add(self._stems, new):
                        break
                for source in new:
                    del self._stems[source]
                self._numbers.clear()
            self.place.prepare({self._stems[item.source].rpartition("/")[0] for item in items})
        except OSError as error:
            if error.errno in NO_ROOM:
                raise
            raise UsageError(f"Cannot write into {self.place}: {error.strerror}.") from error

    def output(self, item: Item) -> Path | Address:
        """The transcript of an item that has a name, with the first suffix."""
        return self.place.shown(self.names(item)[0])

    def names(self, item: Item) -> list[str]:
        """The names of its files below the folder, one a suffix."""
        return [f"{self._stems[item.source]}.{suffix}" for suffix in self.suffixes]

    def _name(self, items: Iterable[Item]) -> list[str]:
        """Choose the stems that are missing; the sources that have new ones."""
        new = []
        for item in items:
            source = item.source
            if source not in self._stems:
                stem = next(s for s in self._candidates(item) if self._free(s))
                self._stems[source] = stem
                self._taken.add(_fold(stem))
                new.append(source)
        return new

    def _candidates(self, item: Item) -> Iterator[str]:
        """Stems in the order in which they are tried; the last ones never end."""
        *folders, file = map(_unicode, item.relative.parts or ("stdin",))
        folders = [_clean(folder) for folder in folders]
        stem = _clean(os.path.splitext(file)[0]) or "_"
        parent = _clean(os.path.basename(os.path.dirname(item.source)))
        first = "/".join([*folders, stem])
        yield first
        if parent:
            yield "/".join([*folders, f"{parent}-{stem}"])
        while True:  # a million recordings may be called audio.wav: numbers are tried once
            number = self._numbers.get(first, 2)
            self._numbers[first] = number + 1
            yield f"{first}-{number}"

    def _free(self, stem: str) -> bool:
        """Neither claimed, in any capitalisation, nor a file of another origin."""
        return _fold(stem) not in self._taken and all(
            self.place.is_free(f"{stem}.{suffix}") for suffix in self.suffixes)

    def _read_index(self) -> None:
        name = INDEX
        try:
            for name, data in self.place.index():
                self._read_rows(self.place.shown(name), data)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"Cannot read {self.place.shown(name)} ({error}). Choose another "
                             "output folder.") from error

    def _read_rows(self, path: Path | Address, data: bytes) -> None:
        lines = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8")  # one at a time in memory
        for number, line in enumerate(lines, start=1):
            try:
                row = parse_json(line, surrogates=True)
                source, stem = row["source"], row["output"]
                parts = PurePath(stem).parts
                if not isinstance(source, str) or PurePath(stem).is_absolute() or ".." in parts:
                    raise ValueError("a path outside this folder")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise UsageError(f"{path}:{number} is not a row that asr transcribe wrote "
                                 f"({error}). Choose another output folder.") from error
            self._stems[source] = stem


def _clean(name: str) -> str:
    """A file name that every system accepts: no controls, separators or reserved characters."""
    kept = "".join("_" if unicodedata.category(c) in ("Cc", "Cs") or c in '<>:"/\\|?*' else c
                   for c in name)
    kept = kept.encode("utf-8")[:MAX_STEM_BYTES].decode("utf-8", "ignore")
    return "_" + kept[1:] if kept.startswith(".") else kept.rstrip(" .")


def _unicode(path: str) -> str:
    """A path as the UTF-8 that its bytes are; under the locale C, Python sees them as ASCII."""
    return os.fsencode(path).decode("utf-8", "surrogateescape")


def _fold(stem: str) -> str:
    """A key that is equal for names that some file system treats as the same."""
    folded = unicodedata.normalize("NFC", stem).casefold()
    return stem if folded == stem else folded  # mostly: not a second string
