"""Read what people and other programs wrote: files within bounds, JSON and numbers strictly.

In: a path, a text. Out: values, or a reason for a sentence. Python's own reader of JSON takes NaN,
Infinity and repeated keys, and overflows its stack on deep nesting; its numbers may have
underscores and digits of any script.
"""

from __future__ import annotations

import errno
import io
import json
import math
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

CONVERT = ("convert the file from the encoding that it has (iconv -f gb18030 -t utf-8 for Chinese, "
           "-f latin1 for Western European text)")  # the remedy for text that is not UTF-8
LONGEST_KEY = 80  # characters of a key that are shown
MAX_SETTINGS = 1 << 24  # bytes of a file that a person writes: a recipe, a list of words
MAX_DIGITS = 20  # of a whole number: 64 bits and a sign
_WAS_ADDRESS = re.compile(r"(?:^|[/\\])(s3|gs|https?):[/\\]")


def why_unread(path: str | os.PathLike, error: Exception) -> str:
    """Why a file could not be opened, for a sentence; of what was meant as an address, that."""
    if found := _WAS_ADDRESS.search(os.fspath(path)):  # a `Path` has taken a slash away
        return (f"this is an address ({found[1]}://), and asr reads it from a disk; copy the file "
                "there first")
    return getattr(error, "strerror", None) or str(error)


class StrictJsonError(ValueError):
    """Not JSON; the message is the reason, without file and line, which the caller knows."""


def parse_json(text: str | bytes, *, surrogates: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        text: one value; bytes are UTF-8.
        surrogates: let escapes of half a surrogate pair pass: Python writes the bytes of a file
            name that are not UTF-8 so.

    Raises:
        StrictJsonError: not JSON, NaN or Infinity, a repeated key in one object, half of
            a surrogate pair, nesting too deep for Python's stack, a whole number of more than
            `MAX_DIGITS` digits or another one that no float holds.

    Example:
        >>> parse_json('{"id": "a", "duration": 1.5}')
        {'id': 'a', 'duration': 1.5}
        >>> parse_json('{"id": "a", "id": "b"}')
        Traceback (most recent call last):
        asr.parsing.StrictJsonError: the key 'id' occurs twice
    """
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = _DECODER.decode(text)
        if not surrogates and "\\ud" in text.lower():  # an escape may be half of a surrogate pair
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise StrictJsonError("it is nested too deeply") from None
    except ValueError as error:
        raise StrictJsonError(str(error)) from None
    return value


def show(value: object) -> str:
    """A short, printable form of what JSON holds: null for None."""
    text = ascii(value) if isinstance(value, str) else json.dumps(value, default=ascii)
    return text if len(text) <= 80 else f"{text[:77]}..."


def number_of(text: str) -> float:
    """A finite number as other programs write it: no underscores, no digits of other scripts.

    Raises:
        ValueError: it is none.
    """
    value = math.nan
    if text.isascii() and "_" not in text:
        with suppress(ValueError):
            value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:LONGEST_KEY]!r} is no number")
    return value


def read_limited(path: str | Path, limit: int = MAX_SETTINGS) -> bytes:
    """All bytes of a file, a pipe or a device, of which some never end.

    Args:
        path: what to read.
        limit: bytes; more than `MAX_SETTINGS` for what is no page of settings.

    Raises:
        OSError: it cannot be read, or is larger.
    """
    with open(path, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:_} bytes", str(path))
    return data


def read_page(path: str | Path) -> str:
    """The text of a UTF-8 file that a person writes, its lines ended by a line feed.

    Raises:
        OSError: it cannot be read, or is larger than `MAX_SETTINGS`.
        UnicodeDecodeError: it is not UTF-8.
    """
    return io.StringIO(read_limited(path).decode("utf-8-sig"), newline=None).read()


def read_whole_objects(path: str | Path) -> tuple[list[dict], int]:
    """The JSON objects of a log, one a line; NaN and Infinity are numbers here.

    Returns:
        The objects, and how many lines are none: damaged, or not of ours. A last line without its
        end is what a killed process leaves, and not counted.

    Raises:
        OSError: the file cannot be read.
    """
    objects, damaged = [], 0
    *lines, last = Path(path).read_bytes().split(b"\n")
    for line in (*lines, last):
        try:
            value = json.loads(line) if line else None
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            objects.append(value)
        elif line and line is not last:
            damaged += 1
    return objects, damaged


def _pairs(pairs: list[tuple[str, object]]) -> dict:
    table = dict(pairs)
    if len(table) < len(pairs):
        keys = [key for key, _ in pairs]
        repeated = ascii(next(key for key in keys if keys.count(key) > 1))
        raise ValueError(f"the key {repeated[:LONGEST_KEY]} occurs twice")
    return table


def _constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number has {len(digits):,} digits; at most {MAX_DIGITS} make sense")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:LONGEST_KEY]} is too large a number")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant,
                            parse_int=_integer, parse_float=_real)
