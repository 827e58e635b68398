"""Lines of text files that other programs wrote, and the strict reading of JSON in them.

In: a path. Out: lines without surprises (UTF-8, no BOM, no CR, only LF ends a line).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.errors import DataError
from asr.parsing import CONVERT, StrictJsonError, parse_json, read_limited, show

MAX_TEXTS = 1 << 30  # bytes of a file of texts; a corpus of 10,000 hours has 0.5 GB


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file; an empty line in the middle counts, a final newline does not.

    Raises:
        DataError: the file cannot be read, or is not UTF-8 (with line and byte).
    """
    try:
        raw = read_limited(path, MAX_TEXTS)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}.",
                        code="text.unreadable", path=path) from None
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path}: this is UTF-16; save it as UTF-8.", code="text.encoding",
                        path=path)
    try:
        text = raw.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}:{line}: byte {raw[error.start]:#04x} is not UTF-8; {CONVERT}.",
                        code="text.encoding", path=path) from None
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def read_objects(path: str | Path) -> Iterator[tuple[int, dict]]:
    """Line number and JSON object of each line of a JSONL file; empty lines are passed over.

    Raises:
        DataError: a line that is not one JSON object, has a repeated key, NaN or Infinity.
    """
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        yield number, parse_object(line, f"{path}:{number}")


def parse_object(text: str, where: str) -> dict:
    """One JSON object, strictly.

    Raises:
        DataError: with `where` (file and line) in front.
    """
    try:
        row = parse_json(text)
    except StrictJsonError as error:
        raise DataError(f"{where}: this is not JSON: {error}.", code="text.json") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected a JSON object, got {show(row)}.",
                        code="text.json")
    return row
