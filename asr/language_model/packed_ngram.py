"""The language model inside a bundle: gzipped ARPA text in memory, not trusted.

In: bytes. Out: an `NgramModel`. Nothing is unpacked to disk, and what unpacks to more
than the bounds below is refused while it is read.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path

from asr.errors import DataError, UsageError
from asr.language_model.arpa import parse_arpa
from asr.language_model.kenlm_model import is_kenlm_binary
from asr.language_model.ngram import NgramModel, build_ngram

MAX_LINE_BYTES = 65_536
MAX_TEXT_BYTES = 4_000_000_000


def pack_lm(path: str | Path) -> bytes:
    """An ARPA file, plain or gzipped, as the bytes that a bundle stores; equal for equal text.

    Raises:
        DataError: the file cannot be read.
        UsageError: a binary file of KenLM, which no bundle carries.
    """
    refuse_kenlm(path)
    try:
        with open(path, "rb") as file:
            data = file.read()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Cannot read the language model {path}: {error}.", code="lm.arpa",
                        path=path) from error
    return gzip.compress(data, compresslevel=6, mtime=0)


def refuse_kenlm(path: str | Path) -> None:
    """Refuse a binary file of KenLM: a bundle stores ARPA text, which every machine can read.

    Raises:
        UsageError: the file is a binary one of KenLM.
    """
    if is_kenlm_binary(path):
        raise UsageError(f"{path} is a binary file of KenLM; a bundle carries ARPA text, which "
                         "needs no module. Give the ARPA file that the binary was built from.",
                         code="lm.kenlm")


def unpack_lm(data: bytes, name: str) -> NgramModel:
    """The model of gzipped ARPA bytes; `name` is used in messages.

    Raises:
        DataError: no gzip, no ARPA, damaged, or larger than the bounds (code "lm.arpa").
    """
    try:
        return build_ngram(*parse_arpa(_lines(data, name), name=name), name=name)
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"Cannot read the language model in {name}: {error}.", code="lm.arpa",
                        path=name) from error


def _lines(data: bytes, name: str) -> Iterator[str]:
    total = 0
    with gzip.open(io.BytesIO(data), "rb") as stream:
        while line := stream.readline(MAX_LINE_BYTES):
            total += len(line)
            if len(line) == MAX_LINE_BYTES or total > MAX_TEXT_BYTES:
                raise DataError(f"The language model in {name} has lines above {MAX_LINE_BYTES:_} "
                                f"bytes or is larger than {MAX_TEXT_BYTES:_}.", code="lm.arpa",
                                path=name)
            yield line.decode("utf-8")
