"""ARPA files: back-off n-gram models as text, the format that every toolkit reads and writes.

In: a file, plain or gz. Out: an `Arpa`: words and arrays of n-grams. And back. NumPy.

Before the data there may be comments; `# normalizer: NAME` is ours and names the normaliser of the
training texts (KenLM reads past lines that begin with #). What a file may cost is bounded, because
it may be a stranger's: see MAX_....
"""

from __future__ import annotations

import gzip
import itertools
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from asr.errors import DataError

MAX_ORDER = 10
MAX_NGRAMS = 50_000_000
MAX_LINE_BYTES = 65_536
MAX_HEADER_LINES = 1_000  # before \\data\\
MAX_BLANK_LINES = 10_000
MAX_NOTES_BYTES = 1_000_000  # behind \\end\\
MAX_GZIP_RATIO = 50  # text bytes a packed byte; n-grams pack to a third or a tenth
FREE_TEXT_BYTES = 4_000_000  # a text up to this size may have any ratio
BLOCK_BYTES = 1 << 20
NORMALIZER = "# normalizer: "
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


class Arpa(NamedTuple):
    """The content of an ARPA file.

    Attributes:
        vocabulary: the words in file order.
        tables: one for each order from 1 up.
        normalizer: `asr.text.normalizer_id` of the training texts; "": the file does not say.
    """

    vocabulary: list[str]
    tables: list[ArpaTable]
    normalizer: str = ""


def read_arpa(path: str | Path) -> Arpa:
    """The content of a file.

    Args:
        path: plain or gz text, UTF-8 (found out from the content, not from the name).

    Raises:
        DataError: not an ARPA file, cut short, with a line that cannot be read, or beyond the
            bounds above (code "lm.arpa"); the message names file and line.
    """
    with errors_of(path), open(path, "rb") as file:
        return parse_arpa(text_lines(file, str(path)), name=str(path))


def parse_arpa(lines: Iterable[str], *, name: str, max_ngrams: int = MAX_NGRAMS) -> Arpa:
    """As `read_arpa`, from lines; `name` is used in messages."""
    numbered = _Lines(lines, name)
    normalizer, counts = _read_counts(numbered, max_ngrams)
    vocabulary: dict[str, int] = {}
    tables = []
    for order, count in enumerate(counts, start=1):
        numbered.expect(f"\\{order}-grams:")
        tables.append(_read_table(numbered, order, count, vocabulary))
    numbered.expect("\\end\\")
    numbered.skip_notes()  # also to the checksum at the end of a .gz
    return Arpa(list(vocabulary), tables, normalizer)


def text_lines(file: BinaryIO, name: str) -> Iterator[str]:
    """The lines of a file, plain or gz, without their ends; bounded memory.

    Raises:
        DataError: a line is longer, or the text larger beside its packed size, than the bounds.
        OSError, EOFError, UnicodeDecodeError, zlib.error: it cannot be read.
    """
    packed = file.read(2) == b"\x1f\x8b"
    most = max(FREE_TEXT_BYTES, MAX_GZIP_RATIO * file.seek(0, os.SEEK_END))
    file.seek(0)
    stream = gzip.open(file) if packed else file
    total, rest = 0, b""
    while block := stream.read(BLOCK_BYTES):
        total += len(block)
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > MAX_LINE_BYTES or packed and total > most:
            what = (f"a line of more than {MAX_LINE_BYTES:,} bytes" if len(rest) > MAX_LINE_BYTES
                    else f"more than {MAX_GZIP_RATIO} times as much text as packed bytes")
            raise DataError(f"The language model {name} holds {what}; no model does.",
                            code="lm.arpa", path=name)
        yield from b"\n".join(lines).decode("utf-8").split("\n") if lines else ()
    if rest:
        yield rest.decode("utf-8")


@contextmanager
def errors_of(path: str | Path) -> Iterator[None]:
    """A `DataError` that names the file, in place of what reading may raise."""
    try:
        yield
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"Cannot read the language model {path}: {error}.", code="lm.arpa",
                        path=path) from error


def write_arpa(vocabulary: list[str], tables: list[ArpaTable], *, normalizer: str = "") -> str:
    """The text of an ARPA file; n-grams of the highest order have no back-off weight.

    Args:
        vocabulary, tables, normalizer: as in `Arpa`.
    """
    parts = [f"{NORMALIZER}{normalizer}\n"] if normalizer else []
    parts.append("\\data\\\n")
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
        blank = 0
        for self.number, line in enumerate(lines, start=1):  # noqa: B020
            if self.number == 1:
                line = line.removeprefix("\ufeff")  # a byte order mark, as Windows editors write
            line = line.strip(" \t\r\n")
            if line:
                yield line
                continue
            blank += 1
            if blank > MAX_BLANK_LINES:
                raise self.error(f"more than {MAX_BLANK_LINES:,} empty lines; no model has them")

    def skip_notes(self) -> None:
        """Read past the notes that people write after the end."""
        size = 0
        for line in self._lines:
            size += len(line)
            if size > MAX_NOTES_BYTES:
                raise self.error(f"more than {MAX_NOTES_BYTES:,} bytes of text after \\end\\")

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


def _read_counts(lines: _Lines, max_ngrams: int) -> tuple[str, list[int]]:
    """Normaliser and the count of each order; the line of the 1-grams comes next."""
    normalizer = ""
    # Comments. That of the CMU-Cambridge toolkit explains the format: \1-grams: is a line of it.
    while (line := lines.next("\\data\\")) != "\\data\\":
        if line.startswith(NORMALIZER):
            normalizer = line.removeprefix(NORMALIZER).strip()[:80]
        if lines.number > MAX_HEADER_LINES:
            raise lines.error(f"no \\data\\ in the first {MAX_HEADER_LINES:,} lines; this is not "
                              "an ARPA file")
    counts: list[int] = []
    line = lines.next("ngram 1=...")
    while line.startswith("ngram"):
        order, _, count = line[len("ngram"):].partition("=")
        if order.strip() != str(len(counts) + 1) or not re.fullmatch("[ \t]*[0-9]{1,12}", count):
            raise lines.error(f"expected ngram {len(counts) + 1}=<count>, got {line[:80]!r}")
        counts.append(int(count))
        if len(counts) > MAX_ORDER:
            raise lines.error(f"order {len(counts)} is above the limit of {MAX_ORDER}")
        if sum(counts) > max_ngrams:
            raise lines.error(f"{sum(counts):,} n-grams are more than the limit of {max_ngrams:,}; "
                              "prune the model (asr lm train --prune 0,0,1)")
        line = lines.next("\\1-grams:")
    if not counts or line != "\\1-grams:":
        raise lines.error(f"expected \\1-grams:, got {line[:80]!r}")
    if not counts[0]:
        raise lines.error("the model has no words (ngram 1=0)")
    lines._lines = itertools.chain([line], lines._lines)
    return normalizer, counts


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
                if fields[1] in vocabulary:
                    raise lines.error(f"the word {fields[1]!r} appears twice among the 1-grams")
                vocabulary[fields[1]] = len(vocabulary)
                words.append(len(words))
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
    return ArpaTable(np.array(words, dtype=np.int32).reshape(count, order),
                     np.array(log_probs, dtype=np.float32), np.array(backoffs, dtype=np.float32))
