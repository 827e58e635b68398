"""Find what two manifests share: ids, recordings, speakers, sentences.

In: rows of several manifests, hashes of their recordings. Out: problems and notes.
A test set that shares recordings with the training set measures memory; one that shares speakers
says nothing about a new voice; shared sentences flatter as well, and are often part of a corpus.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from itertools import accumulate, combinations
from typing import Any

from asr.manifest import Problem, Row
from asr.terminal import plural
from asr.text import normalize


def find_shared(tables: Mapping[str, list[Row]], hashes: Mapping[Any, str], *,
                shared_speakers: bool = False) -> tuple[list[Problem], list[Problem]]:
    """Every pair of manifests compared.

    Args:
        tables: {manifest: rows}.
        hashes: {recording of a row: SHA-256 of its bytes, empty if it could not be read}.
        shared_speakers: a shared speaker is a note, not a problem.

    Returns:
        (problems, notes), each at the line of the later manifest.
    """
    problems: list[Problem] = []
    notes: list[Problem] = []
    for (first, before), (second, after) in combinations(tables.items(), 2):
        problems += _shared_ids(first, before, second, after)
        problems += _shared_audio(first, before, second, after, hashes)
        (notes if shared_speakers else problems).extend(
            _shared_speakers(first, before, second, after))
        notes += _shared_texts(first, before, second, after)
    return problems, notes


def _shared_ids(first: str, before: list[Row], second: str, after: list[Row]) -> list[Problem]:
    lines = {row.utterance.id: row.line for row in before}
    return [Problem(second, row.line, row.utterance.id, "split.id", "this id is also that of "
                    f"{first}:{lines[row.utterance.id]}; an utterance belongs to one split.")
            for row in after if row.utterance.id in lines]


def _shared_audio(first: str, before: list[Row], second: str, after: list[Row],
                  hashes: Mapping[Any, str]) -> list[Problem]:
    """Recordings with the same bytes, if the parts that are used overlap."""
    stretches: dict[str, list[Row]] = defaultdict(list)
    for row in before:
        if digest := hashes.get(row.utterance.audio):
            stretches[digest].append(row)
    sorted_: dict[str, _Stretches] = {}
    problems = []
    for row in after:
        ours, digest = row.utterance, hashes.get(row.utterance.audio, "")
        if digest not in stretches:
            continue
        if digest not in sorted_:
            sorted_[digest] = _Stretches(stretches[digest])
        if other := sorted_[digest].overlapping(ours.offset, ours.offset + ours.duration):
            problems.append(Problem(
                second, row.line, ours.id, "split.audio", "the recording is also that of "
                f"{first}:{other.line} utterance {other.utterance.id!r}; keep it in one split."))
    return problems


class _Stretches:
    """Rows of one recording by where they begin, and which row up to there ends last.

    A recording of a day has thousands of rows, too many to compare each with each.
    """

    def __init__(self, rows: list[Row]):
        self._rows = sorted(rows, key=lambda row: row.utterance.offset)
        self._starts = [row.utterance.offset for row in self._rows]
        self._last = list(accumulate(self._rows, lambda a, b: b if _end(b) > _end(a) else a))

    def overlapping(self, start: float, stop: float) -> Row | None:
        """A row of which some part is between start and stop, in seconds."""
        before = bisect_left(self._starts, stop)
        if not before or _end(self._last[before - 1]) <= start:
            return None
        return self._last[before - 1]


def _end(row: Row) -> float:
    return row.utterance.offset + row.utterance.duration


def _shared_speakers(first: str, before: list[Row], second: str, after: list[Row]) -> list[Problem]:
    lines: dict[str, int] = {}
    for row in before:
        lines.setdefault(row.utterance.speaker, row.line)
    counts: dict[str, list[Row]] = defaultdict(list)
    for row in after:
        if row.utterance.speaker and row.utterance.speaker in lines:
            counts[row.utterance.speaker].append(row)
    return [Problem(second, rows[0].line, rows[0].utterance.id, "split.speaker",
                    f"the speaker {speaker!r} ({plural(len(rows), 'utterance')}, here first) also "
                    f"speaks in {first}:{lines[speaker]}; a result on this split says little "
                    "about new voices.")
            for speaker, rows in counts.items()]


def _shared_texts(first: str, before: list[Row], second: str, after: list[Row]) -> list[Problem]:
    known = {normalize(row.utterance.text, "basic") for row in before} - {""}
    count = sum(normalize(row.utterance.text, "basic") in known for row in after)
    if not count:
        return []
    return [Problem(second, 0, "", "split.text", f"{count:,} of {plural(len(after), 'text')} also "
                    f"occur in {first}.")]
