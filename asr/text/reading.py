"""Text files that a user writes: lists of words, phrases, hot words; grammars.

In: a path. Out: the text. UTF-8, with or without the byte order mark of editors on Windows.
"""

from __future__ import annotations

from pathlib import Path

from asr.errors import DataError


def read_text_file(path: str | Path, what: str, *, code: str, most: int = -1) -> str:
    """The text of a UTF-8 file, its lines ended by a line feed.

    Args:
        path: the file.
        what: what it holds, for the message: "words".
        code: what the error gets.
        most: characters that are read; -1: all.

    Raises:
        DataError: the file cannot be read, or is not UTF-8; the message names the byte.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            return file.read(most)
    except OSError as error:
        raise DataError(f"Cannot read the {what} {path}: {error.strerror or error}. Give the path "
                        "of a text file.", code=code, path=path) from error
    except UnicodeDecodeError as error:
        raise DataError(f"Cannot read the {what} {path}: byte {error.object[error.start]:#04x} is "
                        "not UTF-8. Convert the file, for example with iconv.", code=code,
                        path=path) from error
