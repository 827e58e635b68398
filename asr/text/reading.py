"""Text files that a user writes: lists of words, phrases, hot words; grammars.

In: a path. Out: the text. UTF-8, with or without the byte order mark of editors on Windows.
"""

from __future__ import annotations

import errno
from pathlib import Path

from asr.errors import DataError
from asr.parsing import CONVERT, MAX_SETTINGS


def read_text_file(path: str | Path, what: str, *, code: str, most: int = -1) -> str:
    """The text of a UTF-8 file, its lines ended by a line feed.

    Args:
        path: the file.
        what: what it holds, for the message: "words".
        code: what the error gets.
        most: characters that are read; -1: all, and more than `MAX_SETTINGS` are refused, since
            a device may never end.

    Raises:
        DataError: the file cannot be read, or is not UTF-8; the message names the byte.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(most if most >= 0 else MAX_SETTINGS + 1)
        if most < 0 and len(text) > MAX_SETTINGS:
            raise OSError(errno.EFBIG, f"it has more than {MAX_SETTINGS:_} characters")
        return text
    except OSError as error:
        raise DataError(f"Cannot read the {what} {path}: {error.strerror or error}. Give the path "
                        "of a text file.", code=code, path=path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"Cannot read the {what} {path}: byte {error.object[error.start]:#04x} is "
                        f"not UTF-8; {CONVERT}.", code=code, path=path) from error
