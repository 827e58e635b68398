"""The language model inside a bundle: gzipped ARPA text in memory, not trusted.

In: bytes. Out: an `NgramModel`. Nothing is unpacked to disk, and what unpacks to more
than the bounds below is refused while it is read.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path

from asr.errors import UsageError
from asr.language_model.arpa import errors_of, parse_arpa, text_lines
from asr.language_model.kenlm_model import is_kenlm_binary
from asr.language_model.ngram import NgramModel, build_ngram

MAX_NGRAMS = 5_000_000  # of a stranger's model; about half a minute and a gigabyte


def pack_lm(path: str | Path) -> bytes:
    """An ARPA file, plain or gzipped, as the bytes that a bundle stores; equal for equal text.

    Raises:
        DataError: the file cannot be read.
        UsageError: a binary file of KenLM, which no bundle carries.
    """
    refuse_kenlm(path)
    with errors_of(path):
        data = Path(path).read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
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
    with errors_of(name):
        lines = text_lines(io.BytesIO(data), name)
        return build_ngram(*parse_arpa(lines, name=name, max_ngrams=MAX_NGRAMS), name=name)
