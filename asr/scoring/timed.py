"""NIST's stm (reference segments), and which words of a ctm belong to which of them.

In: a path, words. Out: segments; words assigned to segments by their middle, as in sclite.
Times are seconds, as in the files.
"""

from __future__ import annotations

import re
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr.errors import DataError
from asr.files import write_atomic
from asr.scoring.ctm import CtmWord, entries, refuse_blanks, seconds
from asr.terminal import plural

IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"
_BRACES, _ALTERNATION = re.compile(r"[{}]"), re.compile(r"<ALT", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class StmLine:
    """One line of an stm: who said what, from `start` to `end` seconds."""

    file: str
    channel: str
    speaker: str
    start: float
    end: float
    text: str
    label: str = ""
    line: int = field(default=0, compare=False)
    beside: int = field(default=0, compare=False)

    @property
    def ignored(self) -> bool:
        """Whether the text says so, in any case and anywhere, as sclite reads it."""
        return IGNORED.casefold() in self.text.casefold()

    @property
    def id(self) -> str:
        """file-channel-start-end, times in milliseconds.

        The speaker follows where a segment before has the same times (`beside`), and a number
        where that is there, too.
        """
        return (f"{self.file}-{self.channel}-{round(1000 * self.start):07d}-"
                f"{round(1000 * self.end):07d}" + f"-{self.speaker}" * (self.beside > 0)
                + f"-{self.beside}" * (self.beside > 1))


def read_stm(path: str | Path, *, braces: bool = False) -> list[StmLine]:
    """The segments of an stm; the label `<...>` is optional, lines from ;; are comments.

    Args:
        path: the file, UTF-8.
        braces: the caller understands alternatives such as { a / b }.

    Raises:
        DataError: a line that is no segment, alternatives that the caller does not understand.
    """
    segments: list[StmLine] = []
    seen: set[str] = set()
    again: dict[tuple, int] = {}  # segments with these fields and times
    for number, line in entries(path):
        where = f"{path}:{number}"
        parts = line.split(maxsplit=5)
        start, end = (seconds(part) for part in parts[3:5]) if len(parts) >= 5 else (None, None)
        if start is None or end is None or end < start:
            raise DataError(f"{where}: expected 'file channel speaker start end [<label>] words' "
                            f"as in stm, got {line[:80]!r}.", code="text.stm", path=path)
        label, text = "", parts[5] if len(parts) == 6 else ""
        if text.startswith("<"):
            label, *rest = text.split(maxsplit=1)
            text = rest[0] if rest else ""
            if not label.endswith(">"):
                raise DataError(f"{where}: got the label {label[:80]!r}, expected '<...>' without "
                                "blanks inside; what follows the blank would be scored as words. "
                                "Remove the blanks.", code="text.stm", path=path)
        if _ALTERNATION.search(text) or (not braces and _BRACES.search(text)):
            raise DataError(f"{where}: alternatives such as {{ a / b }} are not supported; write "
                            "one variant.", code="text.alternation", path=path)
        segment = StmLine(parts[0], parts[1], parts[2], start, end, text.strip(), label, number,
                          again.get(tuple(parts[:5]), 0))
        while segment.id in seen:
            segment = replace(segment, beside=segment.beside + 1)
        seen.add(segment.id)
        again[tuple(parts[:5])] = segment.beside + 1
        segments.append(segment)
    return segments


def segment_texts(segments: Sequence[StmLine]) -> tuple[dict[str, str], dict[str, str],
                                                        dict[str, float]]:
    """Texts, speakers and durations by segment id; segments marked as ignored are left out."""
    scored = [segment for segment in segments if not segment.ignored]
    return ({segment.id: segment.text for segment in scored},
            {segment.id: segment.speaker for segment in scored},
            {segment.id: segment.end - segment.start for segment in scored})


def assign_words(words: Iterable[CtmWord], segments: Sequence[StmLine],
                 path: str | Path = "ctm") -> dict[str, list[CtmWord]]:
    """The words of each segment, by its id, as sclite assigns them.

    The segments of a channel are gone through in order of time; each takes the words, in order of
    time, up to the first whose middle is not before its end; the last takes all that are left. So
    a word in a gap belongs to the segment after it, and of segments that overlap the first has the
    words. Words in ignored segments are dropped; no other word is, so that text invented between
    the segments counts as insertions.

    Raises:
        DataError: a word of a file and channel that the references do not have.
    """
    by_channel: dict[tuple[str, str], list[StmLine]] = defaultdict(list)
    for segment in sorted(segments, key=lambda segment: segment.start):
        by_channel[segment.file, segment.channel].append(segment)
    spoken: dict[tuple[str, str], list[CtmWord]] = defaultdict(list)
    for word in words:
        key = word.file, word.channel
        if key not in by_channel:
            raise DataError(f"{path}:{word.line}: {word.text[:80]!r} belongs to file "
                            f"{word.file[:80]!r} channel {word.channel[:80]!r}, which the "
                            "references do not have. Correct the word or the references.",
                            code="score.ids", path=path)
        spoken[key].append(word)
    found: dict[str, list[CtmWord]] = {segment.id: [] for segment in segments}
    for key, channel in by_channel.items():
        left = deque(sorted(spoken[key], key=lambda word: word.start))
        for segment in channel:
            while left and (segment is channel[-1]
                            or left[0].middle < segment.end):
                found[segment.id].append(left.popleft())
    return {segment.id: found[segment.id] for segment in segments if not segment.ignored}


def in_case_of(words: Iterable[CtmWord], segments: Sequence[StmLine],
               path: str | Path = "ctm") -> tuple[list[CtmWord], tuple[str, ...]]:
    """The words with the files and channels of the segments, as far as only the case differs.

    sclite does not mind the case. Where two channels of the references differ in nothing else, a
    word that has neither keeps its own.

    Returns:
        The words, and a sentence about those that were written otherwise.
    """
    known = {(segment.file, segment.channel) for segment in segments}
    alike: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
    for key in known:
        alike[key[0].casefold(), key[1].casefold()].append(key)
    found, changed = [], []
    for word in words:
        same = alike.get((word.file.casefold(), word.channel.casefold()), [])
        if len(same) == 1 and (word.file, word.channel) not in known:
            changed.append(word)
            word = replace(word, file=same[0][0], channel=same[0][1])
        found.append(word)
    notes = [f"{path}: file and channel of {plural(len(changed), 'word')} differ from those of the "
             f"references only in case (the first in line {changed[0].line}: "
             f"{changed[0].file[:80]!r} {changed[0].channel[:80]!r}); they were taken for the "
             "same, as in sclite."] if changed else []
    return found, tuple(notes)


def write_stm(path: str | Path, segments: Iterable[StmLine]) -> None:
    """Write segments as stm; `read_stm` gives them back (times to the millisecond)."""
    lines = []
    for segment in segments:
        refuse_blanks(segment.file, segment.channel, segment.speaker)
        label = f" {segment.label}" if segment.label else ""
        lines.append(f"{segment.file} {segment.channel} {segment.speaker} {segment.start:.3f} "
                     f"{segment.end:.3f}{label} {' '.join(segment.text.split())}".rstrip())
    write_atomic(path, "".join(line + "\n" for line in lines))
