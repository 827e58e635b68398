"""ARPA files: back-off n-gram models as text, the format that every toolkit reads and writes.

In: a file, plain or gz. Out: words, and arrays of n-grams. And back. NumPy.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.errors import DataError

MAX_ORDER = 10
LARGEST = 1e30  # of a number in the file: what float32 can hold, with room to add some up
UNKNOWN = ("<unk>", "<UNK>")
SENTENCE_START, SENTENCE_END = "<s>", "</s>"


@dataclass(frozen=True)
class ArpaTable:
    """All n-grams of one order.

    Attributes:
        words: (n, order) int32, numbers of words, oldest first.
        log_probs: (n,) float32, log10 as written.
        backoffs: (n,) float32, log10; 0 where none is written.
    """

    words: np.ndarray
    log_probs: np.ndarray
    backoffs: np.ndarray


def read_arpa(path: str | Path) -> tuple[list[str], list[ArpaTable]]:
    """The vocabulary in file order, and one table for each order from 1 up.

    Args:
        path: plain or gz text, UTF-8 (found out from the content, not from the name).

    Raises:
        DataError: not an ARPA file, cut short, or with a line that cannot be read (code
            "lm.arpa"); the message names file and line.
    """
    path = Path(path)
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.open(raw) if packed else raw
            with io.TextIOWrapper(stream, encoding="utf-8", newline="\n") as lines:  # type: ignore
                found = parse_arpa(lines, name=str(path))
                for _ in lines:  # the checksum of a .gz is at its end
                    pass
                return found
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"Cannot read the language model {path}: {error}.", code="lm.arpa",
                        path=path) from error


def parse_arpa(lines: Iterable[str], *, name: str) -> tuple[list[str], list[ArpaTable]]:
    """As `read_arpa`, from lines; `name` is used in messages."""
    numbered = _Lines(lines, name)
    counts = _read_counts(numbered)
    vocabulary: dict[str, int] = {}
    tables = []
    for order, count in enumerate(counts, start=1):
        numbered.expect(f"\\{order}-grams:")
        tables.append(_read_table(numbered, order, count, vocabulary))
    numbered.expect("\\end\\")
    return list(vocabulary), tables


def write_arpa(vocabulary: list[str], tables: list[ArpaTable]) -> str:
    """The text of an ARPA file; n-grams of the highest order have no back-off weight."""
    parts = ["\\data\\\n"]
    parts += [f"ngram {order}={len(table.words)}\n" for order, table in enumerate(tables, 1)]
    for order, table in enumerate(tables, start=1):
        parts.append(f"\n\\{order}-grams:\n")
        last = order == len(tables)
        for row, log_prob, backoff in zip(table.words.tolist(), table.log_probs.tolist(),
                                          table.backoffs.tolist(), strict=True):
            text = " ".join(vocabulary[word] for word in row)
            parts.append(f"{log_prob:.7g}\t{text}\n" if last else
                         f"{log_prob:.7g}\t{text}\t{backoff:.7g}\n")
    parts.append("\n\\end\\\n")
    return "".join(parts)


class _Lines:
    """Lines that are not empty, with their numbers, and the error that names them."""

    def __init__(self, lines: Iterable[str], name: str):
        self.name, self.number = name, 0
        self._lines = self._walk(lines)

    def _walk(self, lines: Iterable[str]) -> Iterator[str]:
        for self.number, line in enumerate(lines, start=1):  # noqa: B020
            if self.number == 1:
                line = line.removeprefix("\ufeff")  # a byte order mark, as Windows editors write
            line = line.strip(" \t\r\n")
            if line:
                yield line

    def next(self, expected: str) -> str:
        line = next(self._lines, None)
        if line is None:
            raise DataError(f"{self.name} ends after line {self.number}; expected {expected}. The "
                            "file is cut short or is not an ARPA file.", code="lm.arpa",
                            path=self.name)
        return line

    def expect(self, text: str) -> None:
        line = self.next(text)
        if line != text:
            raise self.error(f"expected {text}, got {line[:80]!r}")

    def error(self, message: str) -> DataError:
        return DataError(f"{self.name}:{self.number}: {message}.", code="lm.arpa", path=self.name)


def _read_counts(lines: _Lines) -> list[int]:
    while (line := lines.next("\\data\\")) != "\\data\\":
        if line.startswith("\\"):  # a comment may come before the header, another section not
            raise lines.error(f"expected \\data\\, got {line[:80]!r}")
    counts: list[int] = []
    line = lines.next("ngram 1=...")
    while line.startswith("ngram"):
        order, _, count = line[len("ngram"):].partition("=")
        if order.strip() != str(len(counts) + 1) or not re.fullmatch("[0-9]{1,12}", count.strip()):
            raise lines.error(f"expected ngram {len(counts) + 1}=<count>, got {line[:80]!r}")
        counts.append(int(count))
        if len(counts) > MAX_ORDER:
            raise lines.error(f"order {len(counts)} is above the limit of {MAX_ORDER}")
        line = lines.next("\\1-grams:")
    if not counts or line != "\\1-grams:":
        raise lines.error(f"expected \\1-grams:, got {line[:80]!r}")
    if not counts[0]:
        raise lines.error("the model has no words (ngram 1=0)")
    lines._lines = _chain(line, lines._lines)
    return counts


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _fields(line: str) -> list[str]:
    """Between tabs and spaces, as KenLM has it: a no-break space is part of its word."""
    return [field for field in line.replace("\t", " ").split(" ") if field]


def _read_table(lines: _Lines, order: int, count: int, vocabulary: dict[str, int]) -> ArpaTable:
    words: list[int] = []
    log_probs, backoffs = [], []
    for _ in range(count):
        line = lines.next(f"{count:,} {order}-grams")
        fields = line.split() if line.isascii() else _fields(line)
        try:
            if not order + 1 <= len(fields) <= order + 2:
                raise ValueError(f"{len(fields)} fields")
            log_probs.append(float(fields[0]))
            backoffs.append(float(fields[order + 1]) if len(fields) == order + 2 else 0.0)
            if order == 1:
                words.append(vocabulary.setdefault(fields[1], len(vocabulary)))
            else:
                words += [vocabulary[word] for word in fields[1:order + 1]]
        except ValueError as error:
            raise lines.error(f"expected log-probability, {order} word(s), perhaps a back-off "
                              f"weight; got {line[:80]!r} ({error})") from None
        except KeyError as error:
            raise lines.error(f"the word {error} is not among the 1-grams") from None
        if not (-LARGEST <= log_probs[-1] <= 0 and abs(backoffs[-1]) <= LARGEST):
            raise lines.error(f"a log-probability is finite and at most 0 (-99 for what never "
                              f"happens), a back-off weight is finite; got {line[:80]!r}")
    if order == 1 and len(vocabulary) != count:
        raise lines.error("a word appears twice among the 1-grams")
    return ArpaTable(np.array(words, dtype=np.int32).reshape(count, order),
                     np.array(log_probs, dtype=np.float32), np.array(backoffs, dtype=np.float32))
