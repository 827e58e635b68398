"""What else is known about the utterances: the columns of a manifest or of a table.

In: JSON lines, CSV or TSV with a column id. Out: values by column and utterance; groups of rows
that have the same value, each with its own error rate.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from asr.errors import DataError
from asr.parsing import number_of, show
from asr.scoring.breakdown import Group, group_of
from asr.scoring.result import ScoreRow, with_interval
from asr.scoring.text_lines import read_lines, read_objects
from asr.terminal import plural

MAX_VALUES = 1_000
"""A column with more different values describes single utterances, not conditions."""
FEW_NUMBERS = 12
"""Up to so many different numbers each is a group; more are divided into ranges."""
_RANGES = 5
_UNKNOWN = "(unknown)"
_IDENTITY = ("id", "audio_filepath", "text")

Columns = Mapping[str, Mapping[str, object]]
"""Column, utterance id, value."""


class Known(Protocol):
    """What knows its speaker and duration by itself: a row of a score, or of a manifest."""

    @property
    def id(self) -> str: ...  # noqa: D102
    @property
    def speaker(self) -> str: ...  # noqa: D102
    @property
    def duration(self) -> float | None: ...  # noqa: D102


def read_columns(paths: Iterable[str | Path], items: Sequence[Known]) -> Columns:
    """The columns of some tables; a later file adds to or replaces what an earlier one says.

    Args:
        paths: .csv or .tsv with a header, anything else is read as JSON lines. Each row names its
            utterance as "id" (or "audio_filepath", as in NeMo's manifests).
        items: the utterances; their "speaker" and "duration" are columns, too.

    Raises:
        DataError: not readable, no id, an id twice in one file; with file and line.
    """
    columns: dict[str, dict[str, object]] = {
        "speaker": {item.id: item.speaker for item in items if item.speaker},
        "duration": {item.id: item.duration for item in items if item.duration is not None}}
    for path in map(Path, paths):
        seen: dict[str, int] = {}
        for number, row in _rows(path):
            name = row.get("id", row.get("audio_filepath"))
            if not isinstance(name, str) or not name:
                raise DataError(f"{path}:{number}: got {'none' if name is None else show(name)} as "
                                "id, expected the id of an utterance in a column id. Add it.",
                                code="columns.id", path=path)
            if seen.setdefault(name, number) != number:
                raise DataError(f"{path}:{number}: the id {name!r} occurs twice, first in line "
                                f"{seen[name]}; ids must be unique.", code="columns.id", path=path)
            for key, value in row.items():
                columns.setdefault(key, {})[name] = value
    return columns


def label_by(ids: Sequence[str], column: str, columns: Columns) -> dict[str, tuple[float, str]]:
    """The group of each utterance: its place in the order of groups, and its label.

    More than `FEW_NUMBERS` different numbers are divided into five ranges of about equally many
    utterances, or in two at a number that is given, as in "age<18"; any other value is a group of
    its own.

    Raises:
        DataError: there is no such column, or it has lists, objects or too many values.
    """
    column, limit = _limit(column) if column not in columns else (column, None)
    values = [columns.get(column, {}).get(name) for name in ids]
    values = [None if value == "" else value for value in values]
    if all(value is None for value in values):
        names = sorted(name for name, found in columns.items() if name not in _IDENTITY
                       and any(found.get(one) not in (None, "") for one in ids))
        raise DataError(f"got the column {column!r}, in which no utterance has a value; expected "
                        f"one of: {', '.join(names) or 'none is known'}. Name another, or give a "
                        "table that has it.", code="columns.none")
    odd = next((value for value in values if isinstance(value, (list, dict))), None)
    if odd is not None:
        raise DataError(f"column {column!r}: got {str(odd)[:80]!r}, expected texts, numbers, true "
                        "or false. Choose another column.", code="columns.value")
    numbers = [_number(value) for value in values]
    if limit is not None:
        labels = [_side(number, limit) for number in numbers]
    elif any(number is None and value is not None
           for number, value in zip(numbers, values, strict=True)):
        labels = [(0.0, _UNKNOWN if value is None else str(value)) for value in values]
    elif len(set(numbers) - {None}) > FEW_NUMBERS:
        labels = _ranges(numbers)
    else:
        labels = [(math.inf, _UNKNOWN) if number is None else (number, f"{number:g}")
                  for number in numbers]
    if len(set(labels)) > MAX_VALUES:
        raise DataError(f"column {column!r}: got {plural(len(set(labels)), 'different value')} for "
                        f"{plural(len(ids), 'utterance')}, expected at most {MAX_VALUES:,}. "
                        "Choose another column.", code="columns.many")
    return dict(zip(ids, labels, strict=True))


def group_by(rows: Sequence[ScoreRow], labels: Mapping[str, tuple[float, str]]) -> list[Group]:
    """The error rate of each group of rows.

    Args:
        rows: rows of a score.
        labels: from `label_by`.

    Returns:
        Numbers in their order; texts with the highest error rate first.
    """
    members: dict[tuple[float, str], list[ScoreRow]] = {}
    for row in rows:
        members.setdefault(labels[row.id], []).append(row)
    found = [(order, group_of(label, some)) for (order, label), some in members.items()]
    found.sort(key=lambda entry: (entry[0], -(entry[1].words.rate or 0), entry[1].label))
    return [group for _, group in found]


def group_lines(column: str, groups: Sequence[Group]) -> list[str]:
    """A table of groups for a terminal: value, utterances, words, WER with its interval."""
    cells = [(column, "utterances", "words", "WER"), *(
        (group.label, f"{group.utterances:,}", f"{group.words.reference:,}",
         with_interval("", group.words.rate, group.interval)) for group in groups)]
    wide = [max(len(row[k]) for row in cells) for k in range(3)]
    return [f"{value:<{wide[0]}}  {number:>{wide[1]}}  {words:>{wide[2]}}  {rate}"
            for value, number, words, rate in cells]


def _rows(path: Path) -> Iterator[tuple[int, dict]]:
    separator = {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower())
    if separator is None:
        yield from read_objects(path)
        return
    reader = csv.reader((line + "\n" for line in read_lines(path)), delimiter=separator,
                        quoting=csv.QUOTE_MINIMAL if separator == "," else csv.QUOTE_NONE,
                        strict=True)
    try:
        heads = next(reader, [])
        if len(set(heads)) != len(heads):
            raise DataError(f"{path}:1: got a header with a name twice, expected each once. "
                            "Rename one.", code="columns.header", path=path)
        for row in reader:
            if row and len(row) != len(heads):
                raise DataError(f"{path}:{reader.line_num}: got {plural(len(row), 'field')}, "
                                f"expected {len(heads)} as in the header. Correct the line.",
                                code="columns.fields", path=path)
            if row:
                yield reader.line_num, dict(zip(heads, row, strict=True))
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: this is not CSV: {error}. Correct the line.",
                        code="columns.csv", path=path) from None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        return number_of(str(value))
    except ValueError:
        return None


def _limit(column: str) -> tuple[str, float | None]:
    """The name and the number of "age<18"; None: there is no number."""
    name, _, text = column.partition("<")
    limit = _number(text)
    return (name.strip(), limit) if name.strip() and limit is not None else (column, None)


def _side(number: float | None, limit: float) -> tuple[float, str]:
    if number is None:
        return math.inf, _UNKNOWN
    return (0.0, f"below {limit:g}") if number < limit else (1.0, f"from {limit:g}")


def _ranges(numbers: Sequence[float | None]) -> list[tuple[float, str]]:
    """Order and label of the range that each number is in, by quantiles of all."""
    known = np.array([number for number in numbers if number is not None])
    edges = np.unique(np.quantile(known, np.linspace(0, 1, _RANGES + 1)))
    labels = []
    for number in numbers:
        if number is None:
            labels.append((math.inf, _UNKNOWN))
            continue
        place = min(int(np.searchsorted(edges, number, side="right")), len(edges) - 1)
        labels.append((edges[place - 1], f"{edges[place - 1]:.4g} to {edges[place]:.4g}"))
    return labels
