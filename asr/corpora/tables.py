"""The text files in which corpora list their utterances.

In: lists, tables and folders made elsewhere. Out: rows, each with its source "name:line".
Other people's files may carry a byte order mark or CR LF; an importer lets both pass.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from asr.errors import CorpusError
from asr.files import CONVERT

MAX_TABLE_BYTES = 1 << 30   # of a file that lists utterances


def corpus_folder(corpus_dir: str | Path, wanted: str) -> Path:
    """The corpus folder, absolute.

    Raises:
        CorpusError: it is no folder; `wanted` says what one looks like.
    """
    path = Path(corpus_dir).absolute()
    if not path.is_dir():
        raise CorpusError(f"{corpus_dir} is not a folder; expected {wanted}.", path=corpus_dir)
    return path


def file_name(text: str) -> str:
    """A path of a list in the encoding of the file system: UTF-8, also in the locale C."""
    if text.isascii():
        return text
    try:
        return os.fsdecode(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:   # half a surrogate pair is no name; opening it says so
        return os.fsdecode(text.encode("utf-8", "surrogatepass"))


def found_path(path: Path) -> Path:
    """The path, or the one that it means if it was written on Windows and only that one exists.

    Args:
        path: path of a recording; in a list from Windows, a backslash separates folders.
    """
    if os.sep == "\\" or "\\" not in str(path) or os.path.exists(path):
        return path
    folder = next((parent for parent in path.parents if os.path.isdir(parent)), path.parent)
    other = folder / str(path.relative_to(folder)).replace("\\", "/")
    return other if os.path.exists(other) else path


def read_bytes(path: Path) -> bytes:
    """A file that lists utterances.

    Raises:
        CorpusError: it cannot be read, or is too big for a list.
    """
    try:
        if path.stat().st_size > MAX_TABLE_BYTES:
            raise CorpusError(f"{path} has more than {MAX_TABLE_BYTES:,} bytes; expected a list "
                              "of utterances.", path=path)
        return path.read_bytes()
    except OSError as error:
        raise CorpusError(f"Cannot read {path}: {error.strerror or error}.", path=path) from error


def read_text(path: Path, *, utf16: bool = False) -> str:
    """A file that lists utterances, as text; a byte order mark and CR LF are let pass.

    Args:
        path: the file.
        utf16: UTF-16 with a byte order mark is read, too, as Praat writes it.

    Raises:
        CorpusError: it cannot be read, is too big for a list, or is not UTF-8.
    """
    data = read_bytes(path)
    if utf16 and data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace").replace("\r\n", "\n")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{path}:{line}: byte {data[error.start]:#04x} is not UTF-8; {CONVERT}.",
                          path=path) from error


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(source, line) of every line that is not blank; source is "name:number"."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path.name}:{number}", line


def read_table(path: Path, columns: tuple[str, ...], *, delimiter: str,
               quotes: bool = True) -> Iterator[tuple[str, dict[str, str] | str]]:
    """Rows of a CSV or TSV file with a header line.

    Args:
        path: the file.
        columns: those that must be there; others are passed on as well.
        delimiter: one character.
        quotes: whether " encloses a field, which ends on its line; if not, it is a character
            like any other.

    Yields:
        (source, row) with a dictionary, or with a string that says why the row is unusable.

    Raises:
        CorpusError: the file cannot be read or lacks a column.
    """
    # Line by line: an unclosed quote must not swallow the lines behind it.
    lines = read_text(path).split("\n")
    quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE

    def fields(line: str) -> list[str]:
        return next(csv.reader([line], delimiter=delimiter, strict=True, quoting=quoting), [])

    try:
        header = fields(lines[0])
    except csv.Error as error:
        raise CorpusError(f"{path}:1: the header cannot be read: {error}.", path=path) from error
    missing = [column for column in columns if column not in header]
    if missing:
        raise CorpusError(f"{path} has no column {missing[0]!r}; its first line is "
                          f"{delimiter.join(header)[:200]!r}, expected at least "
                          f"{', '.join(columns)}.", path=path)
    for number, line in enumerate(lines[1:], start=2):
        source = f"{path.name}:{number}"
        try:
            row = fields(line)
        except csv.Error as error:
            yield source, f"the row cannot be read: {error}"
            continue
        if len(row) == len(header):
            yield source, dict(zip(header, row, strict=True))
        elif row:
            yield source, f"the row has {len(row)} columns, expected {len(header)}"
