"""NIST's ctm: one recognised word a line, with times, and alternations between tags.

In: a path. Out: words. Times are seconds, as in the file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from asr.errors import DataError
from asr.files import write_atomic
from asr.parsing import number_of
from asr.scoring.text_lines import read_lines
from asr.terminal import plural

_BRACES = re.compile(r"[{}]")
_LONGEST = 1e9  # seconds; no recording lasts 30 years


@dataclass(frozen=True, slots=True)
class CtmWord:
    """One line of a ctm: a word, from `start` for `duration` seconds.

    Or the lines of an alternation, with the text `{ a / b c / @ }`, from its first word on;
    `latest` is the latest middle of its words, 0 without words, as in sclite; `pieces` are its
    words, and an @ for each variant without.
    """

    file: str
    channel: str
    start: float
    duration: float
    text: str
    confidence: float | None = None
    line: int = field(default=0, compare=False)
    latest: float | None = field(default=None, compare=False)
    pieces: tuple[CtmWord, ...] = field(default=(), compare=False)

    @property
    def middle(self) -> float:
        """The time that decides to which segment the word belongs, in seconds."""
        return self.start + self.duration / 2 if self.latest is None else self.latest


def read_ctm(path: str | Path) -> list[CtmWord]:
    """The words of a ctm, in the order of the file.

    Raises:
        DataError: a line that is no word, or alternatives (<ALT_BEGIN>; `read_ctm_noted` can
            read them).
    """
    return read_ctm_noted(path)[0]


def read_ctm_noted(path: str | Path, *,
                   braces: bool = False) -> tuple[list[CtmWord], tuple[str, ...]]:
    """As `read_ctm`, and sentences about negative times and confidences that are no numbers.

    Args:
        path: the file, UTF-8.
        braces: the caller understands alternatives; those between <ALT_BEGIN> and <ALT_END>
            become one word such as { a / b }.
    """
    words: list[CtmWord] = []
    early, negative, unreadable = [], [], []
    group: _Group | None = None
    for number, line in entries(path):
        where, parts = f"{path}:{number}", line.split()
        tag = parts[4].upper() if len(parts) >= 5 else ""
        if _BRACES.search(tag) or (tag.startswith("<ALT") and not braces):
            raise DataError(f"{where}: alternatives are not supported here, and braces not in a "
                            "ctm; write one variant.", code="text.alternation", path=path)
        if tag.startswith("<ALT") or group:
            group = _grouped(group, parts, tag, number, where, words)
            if tag.startswith("<ALT"):
                continue
        start = _number(parts[2]) if len(parts) >= 5 else None
        duration = _number(parts[3]) if len(parts) >= 5 else None
        if start is None or duration is None:
            raise DataError(f"{where}: expected 'file channel start duration word [confidence]' "
                            f"as in ctm, got {line[:80]!r}.", code="text.ctm", path=path)
        confidence = seconds(parts[5]) if len(parts) > 5 else None
        if start < 0:
            early.append(number)
        if duration < 0:
            negative.append(number)
        if len(parts) > 5 and confidence is None:
            unreadable.append((number, parts[5]))
        word = CtmWord(parts[0], parts[1], start, duration, parts[4], confidence, number)
        (group.variants[-1] if group else words).append(word)
    if group:
        raise _not_an_alternation(f"{path}:{group.line}", "an <ALT_BEGIN> that nothing closes")
    return words, tuple(_notes(path, early, negative, unreadable))


def _notes(path: str | Path, early: list[int], negative: list[int],
           unreadable: list[tuple[int, str]]) -> Iterable[str]:
    if early:
        yield (f"{path}: {plural(len(early), 'word starts', 'words start')} before 0 s (the first "
               f"in line {early[0]}); their times were taken as they are, as in sclite.")
    if negative:
        yield (f"{path}: {plural(len(negative), 'word has', 'words have')} a negative duration "
               f"(the first in line {negative[0]}); their middle was taken as it is, as in sclite.")
    if unreadable:
        number, text = unreadable[0]
        what = plural(len(unreadable), "confidence is no number", "confidences are no numbers")
        yield (f"{path}: {what} (the first in line {number}: {text[:40]!r}); the words were "
               "scored, these confidences are unknown. A field too many may also be a word with a "
               "blank.")


@dataclass(slots=True)
class _Group:
    """An alternation of a ctm that is being read."""

    file: str
    channel: str
    line: int
    variants: list[list[CtmWord]]


def _grouped(group: _Group | None, parts: list[str], tag: str, number: int, where: str,
             words: list[CtmWord]) -> _Group | None:
    """The alternation after one more line; when it ends it is appended to `words`."""
    if tag == "<ALT_BEGIN>" and group is None:
        return _Group(parts[0], parts[1], number, [[]])
    if group is None:
        raise _not_an_alternation(where, f"{tag[:80]} without <ALT_BEGIN>")
    if tag == "<ALT_BEGIN>" or parts[:2] != [group.file, group.channel]:
        raise _not_an_alternation(where, "the next alternation, file or channel before <ALT_END>")
    if tag == "<ALT>":
        group.variants.append([])
        return group
    if tag != "<ALT_END>":
        if tag.startswith("<ALT") or "/" in tag:
            raise _not_an_alternation(where, f"{tag[:80]} inside an alternation")
        return group
    found = [word for variant in group.variants for word in variant]
    near = [*found[:1], *words[-1:]][:1]  # without a word it stays where the file has it
    start = near[0].start if near else 0.0
    nothing = CtmWord(group.file, group.channel, start, 0.0, "@", line=group.line)
    variants = [variant or [nothing] for variant in group.variants]
    text = " / ".join(" ".join(word.text for word in variant) for variant in variants)
    words.append(CtmWord(group.file, group.channel, start, 0.0, f"{{ {text} }}",
                         line=group.line,
                         latest=max([0.0, *(word.middle for word in found)]),
                         pieces=tuple(chain.from_iterable(variants))))
    return None


def _not_an_alternation(where: str, got: str) -> DataError:
    return DataError(f"{where}: got {got}; expected <ALT_BEGIN>, words, <ALT>, words and <ALT_END> "
                     "of one file and channel, words without /. Correct the line.",
                     code="text.alternation")


def words_of_ctm(words: Iterable[CtmWord]) -> dict[str, list[CtmWord]]:
    """All words of each file and channel, in time order; the id is "file" or "file-channel"."""
    spoken: dict[tuple[str, str], list[CtmWord]] = defaultdict(list)
    for word in words:
        spoken[word.file, word.channel].append(word)
    files = [file for file, _ in spoken]
    return {file if files.count(file) == 1 else f"{file}-{channel}":
            sorted(found, key=lambda word: word.start) for (file, channel), found in spoken.items()}


def write_ctm(path: str | Path, words: Iterable[CtmWord]) -> None:
    """Write words as ctm; `read_ctm` gives them back (times to the millisecond)."""
    lines = []
    for word in words:
        refuse_blanks(word.file, word.channel, word.text)
        confidence = "" if word.confidence is None else f" {word.confidence:.4f}"
        lines.append(f"{word.file} {word.channel} {word.start:.3f} {word.duration:.3f} "
                     f"{word.text}{confidence}")
    write_atomic(path, "".join(line + "\n" for line in lines))


def refuse_blanks(*fields: str) -> None:
    """Refuse what cannot be a field of stm or ctm."""
    for value in fields:
        if not value or len(value.split()) != 1 or value != value.strip():
            raise DataError(f"{value!r} cannot be in stm or ctm; a field holds no space.",
                            code="text.id")


def entries(path: str | Path) -> Iterable[tuple[int, str]]:
    """The lines of an stm or ctm with their number, without comments (;;) and empty ones."""
    for number, line in enumerate(read_lines(path), 1):
        if line.strip() and not line.lstrip().startswith(";;"):
            yield number, line.strip()


def _number(text: str) -> float | None:
    try:
        value = number_of(text)
    except ValueError:
        return None
    return value if abs(value) <= _LONGEST else None


def seconds(text: str) -> float | None:
    """A number that is not negative, or None."""
    value = _number(text)
    return value if value is not None and value >= 0 else None
