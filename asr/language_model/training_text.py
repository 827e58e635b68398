"""Text for language models: lines of text, or the transcripts of manifests.

In: files. Out: sentences as lists of units, words or characters.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from asr.errors import DataError
from asr.language_model.model import SPACE_TOKENS
from asr.parsing import CONVERT, parse_json
from asr.text import normalize

MAX_LINE = 1 << 26  # characters


def read_sentences(paths: Sequence[str | Path], *, normalizer: str = "none",
                   units: str = "words") -> Iterator[list[str]]:
    """Sentences of all files in order; lines without a word are left out.

    Args:
        paths: UTF-8 text, one sentence a line, plain or .gz; of a .jsonl manifest the texts.
        normalizer: see `asr.text`; give the one of the recogniser.
        units: "words" or "characters" (the space between words becomes <space>).

    Raises:
        DataError: a file cannot be read, or a manifest row has no text.
    """
    for path in map(Path, paths):
        for text in _texts(path):
            text = normalize(text, normalizer)
            if units == "characters":
                text = " ".join(text.split())
                sentence = [SPACE_TOKENS[0] if c == " " else c for c in text]
            else:
                sentence = text.split()
            if sentence:
                yield sentence


def _texts(path: Path) -> Iterator[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            lines = iter(lambda: file.readline(MAX_LINE + 1), "")
            for number, line in enumerate(lines, start=1):
                if len(line) > MAX_LINE:
                    raise DataError(f"{path}:{number}: the line has more than {MAX_LINE:_} "
                                    "characters; expected a sentence a line.", code="lm.text",
                                    path=path)
                if path.suffix != ".jsonl":
                    yield line
                elif line.strip():
                    yield _manifest_text(line, f"{path}:{number}")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(f"Cannot read the text {path}: byte {byte:#04x} is not UTF-8; {CONVERT}.",
                        code="lm.text", path=path) from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"Cannot read the text {path}: {error}.", code="lm.text",
                        path=path) from error


def _manifest_text(line: str, where: str) -> str:
    try:
        text = parse_json(line)["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: expected a manifest row with a text, got {line[:80]!r}.",
                        code="lm.text") from error
    if not isinstance(text, str):
        raise DataError(f"{where}: the text must be a string, got {text!r}.", code="lm.text")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise DataError(f"{where}: the text holds half of a surrogate pair, which UTF-8 cannot "
                        "write.", code="lm.text")
    return text
