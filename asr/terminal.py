r"""What reaches a terminal: every text passes through `visible`, whatever printed it.

In: text, some of it from strangers (file names, texts of manifests, answers of servers). Out: the
same text without a control character that a terminal obeys. The command line puts a `Terminal` in
the place of stdout and stderr, so print, warnings and tracebacks all go through here.
"""

from __future__ import annotations

import errno
import io
import os
import re
from typing import Any, TextIO

STDOUT = "standard output"

# C0 without tab and line feed, DEL, C1, and the bidirectional controls that reorder a line.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class ReaderGone(Exception):
    """Nothing reads what is written any more, as with `asr ... | head -1`."""


def plural(number: int, noun: str, many: str = "") -> str:
    """A count with its noun, and what follows it.

    Args:
        number: how many.
        noun: for one, such as "word" or "word is".
        many: for others; "": the noun with an s.

    Example:
        >>> plural(1, "word"), plural(2_500, "word"), plural(0, "word is", "words are")
        ('1 word', '2,500 words', '0 words are')
    """
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"


def visible(text: str) -> str:
    r"""The text with each control character as its escape; tab and line feed stay.

    JSON stays the same JSON: it has C0 escaped already, and `\u009b` means there what it says.

    Example:
        >>> visible("a\x1b[2Jb\x9b")
        'a\\x1b[2Jb\\u009b'
    """
    return _CONTROL.sub(_escape, text)


def _escape(match: re.Match) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x20 else f"\\u{number:04x}"


class Terminal:
    """A text stream whose every write passes through `visible`.

    Args:
        stream: where the text goes; None, if the program was started with it closed.
        name: what errors call it: `filename` of an OSError.
    """

    def __init__(self, stream: TextIO | None, name: str):
        self.closed_from_start = stream is None
        # Its number must not become that of a file with data.
        self.raw = stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        self.name = name
        if isinstance(self.raw, io.TextIOWrapper):
            # UTF-8 whatever the locale says; a line is written when it is printed, into a pipe or
            # file as on a terminal, so that it precedes what stderr says later and a full disk is
            # seen there.
            self.raw.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)

    def write(self, text: str) -> int:
        """Write all of it.

        Raises:
            OSError: `filename` is the stream's name; closed from the start: EBADF, for stdout.
            ReaderGone: the pipe has no reader.
        """
        if self.closed_from_start and text and self.name == STDOUT:
            raise OSError(errno.EBADF, "it is closed", self.name)
        return self._named(self.raw.write, visible(text))

    def writelines(self, lines) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Write what is held back; errors as those of `write`."""
        self._named(self.raw.flush)

    def _named(self, call, *arguments):
        try:
            return call(*arguments)
        except BrokenPipeError as error:
            raise ReaderGone(self.name) from error
        except OSError as error:
            error.filename = self.name
            raise

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


def own_controls(stream: Any) -> Any:
    """The stream for progress bars, which move the cursor themselves and print no stranger's text.

    Args:
        stream: a `Terminal`, or any other stream, which is returned as it is.
    """
    return stream.raw if isinstance(stream, Terminal) else stream
