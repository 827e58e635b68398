"""Lines of text files that other programs wrote, JSON in them, and sclite's notation in a line.

In: a path. Out: lines without surprises (UTF-8, no BOM, no CR, only LF ends a line); or a text
with alternatives as a graph of words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from asr.errors import DataError
from asr.files import StrictJsonError, parse_json


def read_lines(path: str | Path) -> list[str]:
    """The lines of a UTF-8 file; an empty line in the middle counts, a final newline does not.

    Raises:
        DataError: the file cannot be read, or is not UTF-8 (with line and byte).
    """
    try:
        raw = Path(path).read_bytes()
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
        raise DataError(f"{path}:{line}: byte {raw[error.start]:#04x} is not UTF-8; convert the "
                        "file (iconv -f latin1 -t utf-8).", code="text.encoding",
                        path=path) from None
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
        raise DataError(f"{where}: expected a JSON object, got {type(row).__name__}.",
                        code="text.json")
    return row


_PIECES = re.compile(r"[{}]|[^\s{}]+")
_PIECES_INSIDE = re.compile(r"[{}/]|[^\s{}/]+")
_OPTIONAL = re.compile(r"\(+([^()\s]+)\)+")
_TAGGED = re.compile(r";\w")
_DEEPEST = 50  # alternatives inside alternatives


@dataclass(frozen=True, slots=True)
class Arc:
    """A step from one node of a word graph to a later one; "" is no word."""

    source: int
    target: int
    word: str
    optional: bool = False


def word_graph(text: str, where: str, *, optional: bool = False) -> list[Arc]:
    """All readings of a text in sclite's notation: `{ a / b c / @ }`, and `(uh)` if asked for.

    Braces and, inside them, slashes cut words without blanks too; `@` is no word; alternatives
    may hold alternatives.

    Args:
        text: the words of an utterance.
        where: file and line, for the message.
        optional: whether a word in parentheses may be left out; it then loses them.

    Returns:
        Arcs from node 0 to the highest node, ordered by source; each leads to a later node.

    Raises:
        DataError: braces that do not match, an alternative without `@` or word, `word;tag`, and,
            with `optional`, parentheses that are not around one word.
    """
    arcs: list[Arc] = []
    node = newest = 0
    opened: list[tuple[int, list[int]]] = []  # where the alternatives start, where each ended
    filled, position = True, 0
    while match := (_PIECES_INSIDE if opened else _PIECES).search(text, position):
        piece, position = match[0], match.end()
        if piece == "{":
            opened.append((node, []))
            filled = False
            if len(opened) > _DEEPEST:
                raise _notation(where, f"more than {_DEEPEST} braces inside each other",
                                "fewer", text)
        elif piece == "}" and not opened:
            raise _notation(where, "a brace } that nothing opened", "{ a / b }", text)
        elif opened and piece in "/}":
            if not filled:
                raise _notation(where, "an empty alternative", "@ for no word", text)
            start, ends = opened[-1]
            ends.append(node)
            node, filled = start, piece == "}"
            if piece == "}":
                opened.pop()
                newest += 1
                arcs += [Arc(end, newest, "") for end in ends]
                node = newest
        else:
            word, may_go = _word(piece, where, text, optional)
            newest += 1
            arcs.append(Arc(node, newest, word, may_go))
            node, filled = newest, True
    if opened:
        raise _notation(where, "a brace { that nothing closed", "{ a / b }", text)
    return sorted(arcs, key=lambda arc: arc.source)


def _word(piece: str, where: str, text: str, optional: bool) -> tuple[str, bool]:
    if _TAGGED.search(piece):
        raise _notation(where, f"{piece!r}, which sclite reads as a word with a tag",
                        "the word alone", text)
    if piece == "@":
        return "", False
    if optional and ("(" in piece or ")" in piece):
        match = _OPTIONAL.fullmatch(piece)
        if match is None:
            raise _notation(where, f"the parenthesis in {piece!r}",
                            "one word in parentheses, such as (uh)", text)
        return match[1], True
    return piece, False


def _notation(where: str, got: str, expected: str, text: str) -> DataError:
    shown = text if len(text) <= 80 else text[:80] + "..."
    return DataError(f"{where}: got {got} in {shown!r}; expected {expected}. Correct the line.",
                     code="text.alternation")
