"""NIST's formats with times: stm (reference segments) and ctm (recognised words).

In: a path. Out: segments or words; words assigned to segments by their middle, as in sclite.
Times are seconds, as in the files.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr.errors import DataError
from asr.files import write_atomic
from asr.scoring.text_lines import read_lines

IGNORED = "IGNORE_TIME_SEGMENT_IN_SCORING"
_BRACES, _ALTERNATION = re.compile(r"[{}]"), re.compile(r"<ALT", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Segment:
    """One line of an stm: who said what, from `start` to `end` seconds."""

    file: str
    channel: str
    speaker: str
    start: float
    end: float
    text: str
    label: str = ""
    line: int = field(default=0, compare=False)
    beside: bool = field(default=False, compare=False)

    @property
    def ignored(self) -> bool:
        """Whether the text says so, in any case and anywhere, as sclite reads it."""
        return IGNORED.casefold() in self.text.casefold()

    @property
    def id(self) -> str:
        """file-channel-start-end, times in milliseconds.

        The speaker follows where another speaks at the same time (`beside`).
        """
        return (f"{self.file}-{self.channel}-{round(1000 * self.start):07d}-"
                f"{round(1000 * self.end):07d}" + f"-{self.speaker}" * self.beside)


@dataclass(frozen=True, slots=True)
class TimedWord:
    """One line of a ctm: a word, from `start` for `duration` seconds."""

    file: str
    channel: str
    start: float
    duration: float
    text: str
    confidence: float | None = None
    line: int = field(default=0, compare=False)


def read_stm(path: str | Path, *, braces: bool = False) -> list[Segment]:
    """The segments of an stm; the label `<...>` is optional, lines from ;; are comments.

    Args:
        path: the file, UTF-8.
        braces: the caller understands alternatives such as { a / b }.

    Raises:
        DataError: a line that is no segment, two segments of one speaker and time, alternatives
            that the caller does not understand.
    """
    segments: list[Segment] = []
    seen: dict[str, set[str]] = {}  # the speakers of each id
    for number, line in _entries(path):
        where = f"{path}:{number}"
        parts = line.split(maxsplit=5)
        start, end = (_seconds(part) for part in parts[3:5]) if len(parts) >= 5 else (None, None)
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
        segment = Segment(parts[0], parts[1], parts[2], start, end, text.strip(), label, number)
        if segment.id in seen:
            segment = replace(segment, beside=True)
        if segment.id in seen or (segment.beside and segment.speaker in seen[
                replace(segment, beside=False).id]):
            raise DataError(f"{where}: a second segment with the id {segment.id[:80]!r}.",
                            code="text.duplicate_id", path=path)
        seen.setdefault(segment.id, set()).add(segment.speaker)
        segments.append(segment)
    return segments


def read_ctm(path: str | Path) -> list[TimedWord]:
    """The words of a ctm, in the order of the file.

    Raises:
        DataError: a line that is no word, or alternatives (<ALT_BEGIN>).
    """
    return read_ctm_noted(path)[0]


def read_ctm_noted(path: str | Path) -> tuple[list[TimedWord], tuple[str, ...]]:
    """As `read_ctm`, and sentences about negative times and confidences that are no numbers."""
    words: list[TimedWord] = []
    early, negative, unreadable = [], [], []
    for number, line in _entries(path):
        where, parts = f"{path}:{number}", line.split()
        if len(parts) >= 5 and (_BRACES.search(parts[4]) or _ALTERNATION.search(parts[4])):
            raise DataError(f"{where}: alternatives are not supported; write one variant.",
                            code="text.alternation", path=path)
        start = _number(parts[2]) if len(parts) >= 5 else None
        duration = _number(parts[3]) if len(parts) >= 5 else None
        if start is None or duration is None:
            raise DataError(f"{where}: expected 'file channel start duration word [confidence]' "
                            f"as in ctm, got {line[:80]!r}.", code="text.ctm", path=path)
        confidence = _seconds(parts[5]) if len(parts) > 5 else None
        if start < 0:
            early.append(number)
        if duration < 0:
            negative.append(number)
        if len(parts) > 5 and confidence is None:
            unreadable.append((number, parts[5]))
        words.append(TimedWord(parts[0], parts[1], start, duration, parts[4], confidence, number))
    notes = []
    if early:
        notes.append(f"{path}: {len(early):,} words start before 0 s (the first in line "
                     f"{early[0]}); their times were taken as they are, as in sclite.")
    if negative:
        notes.append(f"{path}: {len(negative):,} words have a negative duration (the first in line "
                     f"{negative[0]}); their middle was taken as it is, as in sclite.")
    if unreadable:
        number, text = unreadable[0]
        notes.append(f"{path}: {len(unreadable):,} confidences are no numbers (the first in line "
                     f"{number}: {text[:40]!r}); the words were scored, these confidences are "
                     "unknown. A field too many may also be a word with a blank.")
    return words, tuple(notes)


def segment_texts(segments: Sequence[Segment]) -> tuple[dict[str, str], dict[str, str],
                                                        dict[str, float]]:
    """Texts, speakers and durations by segment id; segments marked as ignored are left out."""
    scored = [segment for segment in segments if not segment.ignored]
    return ({segment.id: segment.text for segment in scored},
            {segment.id: segment.speaker for segment in scored},
            {segment.id: segment.end - segment.start for segment in scored})


def assign_words(words: Iterable[TimedWord], segments: Sequence[Segment],
                 path: str | Path = "ctm") -> dict[str, str]:
    """Hypotheses by segment id, as sclite assigns them.

    The segments of a channel are gone through in order of time; each takes the words, in order of
    time, up to the first whose middle is not before its end; the last takes all that are left. So
    a word in a gap belongs to the segment after it, and of segments that overlap the first has the
    words. Words in ignored segments are dropped; no other word is, so that text invented between
    the segments counts as insertions. A segment without words gets an empty hypothesis.

    Raises:
        DataError: a word of a file and channel that the references do not have.
    """
    by_channel: dict[tuple[str, str], list[Segment]] = defaultdict(list)
    for segment in sorted(segments, key=lambda segment: segment.start):
        by_channel[segment.file, segment.channel].append(segment)
    spoken: dict[tuple[str, str], list[TimedWord]] = defaultdict(list)
    for word in words:
        key = word.file, word.channel
        if key not in by_channel:
            raise DataError(f"{path}:{word.line}: {word.text[:80]!r} belongs to file "
                            f"{word.file[:80]!r} channel {word.channel[:80]!r}, which the "
                            f"references do not have{_only_case(key, by_channel)}. Correct the "
                            "word or the references.", code="score.ids", path=path)
        spoken[key].append(word)
    found: dict[str, list[str]] = {segment.id: [] for segment in segments}
    for key, channel in by_channel.items():
        left = deque(sorted(spoken[key], key=lambda word: word.start))
        for segment in channel:
            while left and (segment is channel[-1]
                            or left[0].start + left[0].duration / 2 < segment.end):
                found[segment.id].append(left.popleft().text)
    return {segment.id: " ".join(found[segment.id]) for segment in segments
            if not segment.ignored}


def _only_case(key: tuple[str, str], known: Iterable[tuple[str, str]]) -> str:
    """What to say where only the case of file and channel differs, which sclite does not mind."""
    for other in known:
        if [part.casefold() for part in other] == [part.casefold() for part in key]:
            return (f" (they have {other[0][:80]!r} channel {other[1][:80]!r}: only the case "
                    "differs)")
    return ""


def texts_of_ctm(words: Iterable[TimedWord]) -> dict[str, str]:
    """All words of each file and channel, in time order; the id is "file" or "file-channel"."""
    spoken: dict[tuple[str, str], list[TimedWord]] = defaultdict(list)
    for word in words:
        spoken[word.file, word.channel].append(word)
    files = [file for file, _ in spoken]
    return {file if files.count(file) == 1 else f"{file}-{channel}":
            " ".join(word.text for word in sorted(found, key=lambda word: word.start))
            for (file, channel), found in spoken.items()}


def write_stm(path: str | Path, segments: Iterable[Segment]) -> None:
    """Write segments as stm; `read_stm` gives them back (times to the millisecond)."""
    lines = []
    for segment in segments:
        _check_fields(segment.file, segment.channel, segment.speaker)
        label = f" {segment.label}" if segment.label else ""
        lines.append(f"{segment.file} {segment.channel} {segment.speaker} {segment.start:.3f} "
                     f"{segment.end:.3f}{label} {' '.join(segment.text.split())}".rstrip())
    write_atomic(path, "".join(line + "\n" for line in lines))


def write_ctm(path: str | Path, words: Iterable[TimedWord]) -> None:
    """Write words as ctm; `read_ctm` gives them back (times to the millisecond)."""
    lines = []
    for word in words:
        _check_fields(word.file, word.channel, word.text)
        confidence = "" if word.confidence is None else f" {word.confidence:.4f}"
        lines.append(f"{word.file} {word.channel} {word.start:.3f} {word.duration:.3f} "
                     f"{word.text}{confidence}")
    write_atomic(path, "".join(line + "\n" for line in lines))


def _check_fields(*fields: str) -> None:
    for value in fields:
        if not value or len(value.split()) != 1 or value != value.strip():
            raise DataError(f"{value!r} cannot be in stm or ctm; a field holds no space.",
                            code="text.id")


def _entries(path: str | Path) -> Iterable[tuple[int, str]]:
    for number, line in enumerate(read_lines(path), 1):
        if line.strip() and not line.lstrip().startswith(";;"):
            yield number, line.strip()


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _seconds(text: str) -> float | None:
    value = _number(text)
    return value if value is not None and value >= 0 else None
