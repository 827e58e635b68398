"""The text files in which corpora list their utterances.

In: lists, tables and folders made elsewhere. Out: rows, each with its source "name:line".
Other people's files may carry a byte order mark, CR LF or CR, or be UTF-16 as Excel, Notepad and
Praat write it; an importer lets all of them pass.
"""

from __future__ import annotations

import codecs
import csv
import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from asr.errors import CorpusError, UsageError
from asr.parsing import CONVERT
from asr.terminal import plural

MAX_TABLE_BYTES = 1 << 30   # of a file that lists utterances
_MAX_ROW_LINES = 20   # of a row whose quoted fields have line ends
_BOMS_16 = (b"\xff\xfe", b"\xfe\xff")


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
    """The path, or the one that it means if it was written elsewhere and only that one exists.

    Args:
        path: path of a recording; in a list from Windows, a backslash separates folders; macOS and
            others spell é as one character or as two.
    """
    text = str(path)
    if text.isascii() and (os.sep == "\\" or "\\" not in text) or os.path.exists(path):
        return path
    folder = next((parent for parent in path.parents if os.path.isdir(parent)), path.parent)
    rest = str(path.relative_to(folder))
    if os.sep != "\\":
        rest = rest.replace("\\", "/")
    others = [folder / rest, *(folder / unicodedata.normalize(form, rest)
                               for form in ("NFC", "NFD"))]
    return next((other for other in others if os.path.exists(other)), path)


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


def read_text(path: Path, encoding: str | None = None) -> str:
    """A file that lists utterances, as text: UTF-8, or UTF-16 with a byte order mark.

    CR LF and CR become line feeds.

    Args:
        path: the file.
        encoding: one that the user named, for files without a byte order mark; "" where none was
            named although it could be.

    Raises:
        CorpusError: it cannot be read, is too big for a list, or is in another encoding.
        UsageError: there is no such encoding.
    """
    data = read_bytes(path)
    known = "utf-16" if data[:2] in _BOMS_16 else "utf-8-sig" if data[:3] == codecs.BOM_UTF8 else ""
    name = known or _encoding(encoding) or "utf-8"
    try:
        text = data.decode(name)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        remedy = "" if encoding is None else "give --encoding, such as cp1252 of Windows, or "
        raise CorpusError(f"{path}:{line}: byte {data[error.start]:#04x} is not "
                          f"{name.upper().removesuffix('-SIG')}; {remedy}{CONVERT}.",
                          path=path) from error
    text = text.replace("\r\n", "\n")
    return text if "\n" in text else text.replace("\r", "\n")   # CR alone: an old Macintosh


def _encoding(name: str | None) -> str:
    """The same name, if it is one of a text encoding.

    Raises:
        UsageError: it is not.
    """
    try:
        b"a".decode(name or "utf-8")
    except UnicodeDecodeError:   # UTF-16 needs two bytes
        pass
    except (LookupError, ValueError):
        raise UsageError(f"--encoding {name}: there is no such encoding; write cp1252, latin-1, "
                         "shift_jis or another name that Python knows.") from None
    return name or ""


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(source, line) of every line that is not blank; source is "name:number"."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield f"{path.name}:{number}", line


def table_header(path: Path, encoding: str | None = None) -> tuple[str, list[str]]:
    """What separates the columns of a CSV or TSV file, and their names.

    Returns:
        A tab, semicolon, comma or bar: what a line `sep=;` says, as Excel writes it, else the most
        frequent one outside of quotes; and the names without spaces around them.

    Raises:
        CorpusError: the file, or its header, cannot be read.
    """
    lines = read_text(path, encoding).split("\n")
    first, declared = _header_line(lines)
    plain = re.sub(r'"[^"]*"', "", lines[first])
    delimiter = declared or max("\t;,|", key=plain.count)
    return delimiter, _header(path, lines[first], first + 1, delimiter, quotes=True)


def read_table(path: Path, columns: tuple[str, ...], *, delimiter: str,
               quotes: bool = True, encoding: str | None = None
               ) -> Iterator[tuple[str, dict[str, str] | str]]:
    """Rows of a CSV or TSV file with a header line.

    Args:
        path: the file.
        columns: those that must be there; others are passed on as well.
        delimiter: one character.
        quotes: whether " encloses a field, which may hold line ends; if not, it is a character
            like any other.
        encoding: see `read_text`.

    Yields:
        (source, row) with a dictionary, or with a string that says why the row is unusable.

    Raises:
        CorpusError: the file cannot be read or lacks a column.
    """
    lines = read_text(path, encoding).split("\n")
    first, _ = _header_line(lines)
    header = _header(path, lines[first], first + 1, delimiter, quotes=quotes)
    missing = [column for column in columns if column not in header]
    if missing:
        raise CorpusError(f"{path} has no column {missing[0]!r}; its first line is "
                          f"{delimiter.join(header)[:200]!r}, expected at least "
                          f"{', '.join(columns)}.", path=path)
    number = first + 1
    while number < len(lines):
        source = f"{path.name}:{number + 1}"
        row, used = _row(lines[number:number + _MAX_ROW_LINES], len(header), delimiter, quotes)
        number += used
        if isinstance(row, str):
            yield source, f"the row cannot be read: {row}"
        elif len(row) == len(header):
            yield source, dict(zip(header, row, strict=True))
        elif row:
            yield source, f"the row has {plural(len(row), 'column')}, expected {len(header)}"


def _header_line(lines: list[str]) -> tuple[int, str]:
    """The number of the first line that is not blank, and what a line `sep=` before it says."""
    declared = ""
    for number, line in enumerate(lines):
        said = re.fullmatch(r"sep=(.)", line.strip("\ufeff\n\r "))
        if said:
            declared = said[1]
        elif line.strip():
            return number, declared
    return 0, declared


def _header(path: Path, line: str, number: int, delimiter: str, *, quotes: bool) -> list[str]:
    try:
        return [name.strip() for name in _fields([line], delimiter, quotes)]
    except csv.Error as error:
        raise CorpusError(f"{path}:{number}: the header cannot be read: {error}.",
                          path=path) from error


def _fields(lines: list[str], delimiter: str, quotes: bool) -> list[str]:
    try:
        return next(csv.reader([line + "\n" for line in lines], delimiter=delimiter, strict=True,
                               quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
                               skipinitialspace=delimiter in ",;"), [])
    except csv.Error as error:
        if str(error) != "unexpected end of data":
            raise
        raise csv.Error("a quotation mark is opened and not closed") from error


def _row(lines: list[str], width: int, delimiter: str, quotes: bool) -> tuple[list[str] | str, int]:
    """The fields of a row that begins with the first line, or what is wrong; and its lines.

    An unclosed quote must not swallow the lines behind it: what is read over several lines has to
    have all columns, and its quotes in the right places.
    """
    try:
        return _fields(lines[:1], delimiter, quotes), 1
    except csv.Error as error:
        reason = str(error)
    for count in range(2, len(lines) + 1) if quotes else ():
        try:
            fields = _fields(lines[:count], delimiter, quotes)
        except csv.Error:
            continue
        return (fields, count) if len(fields) == width else (reason, 1)
    return reason, 1
