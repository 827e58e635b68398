"""Praat's TextGrid, long or short, read into tiers of intervals.

In: text. Out: `Tiers`, without empty labels. Point tiers have no duration and are left out.
Both forms have the same values in the same order; the long one names each of them. Only numbers,
quoted strings and flags count, as in Praat itself.
Reference: the manual page "TextGrid file formats" (fon.hum.uva.nl/praat/manual).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from asr.annotations import Labelled, Tiers
from asr.errors import DataError
from asr.parsing import number_of

# What follows a name, such as `xmin =` or `intervals [1]:`, is not a value.
_VALUE = re.compile(r'"((?:[^"]|"")*)"|(?<![\w\[.])(-?\d[\d.]*(?:[eE][+-]?\d+)?)(?![\w\]])')


def read_textgrid(text: str, name: str) -> Tiers:
    """The interval tiers of a TextGrid.

    Args:
        text: text of the file, long or short form.
        name: what messages call it.

    Returns:
        Tiers in the order of the file; a repeated name gets a number.

    Raises:
        DataError: it is no TextGrid, or ends before its last value.

    Example:
        >>> read_textgrid('"ooTextFile" "TextGrid" 0 1 <exists> 1 "IntervalTier" "w" 0 1 '
        ...               '2 0 0.5 "yes" 0.5 1 ""', "a.TextGrid")
        {'w': [Labelled(start=0.0, end=0.5, text='yes')]}
    """
    values = _values(text, name)
    if next(values) != "ooTextFile" or next(values) != "TextGrid":
        raise _broken(name, "it does not start with ooTextFile and TextGrid")
    tiers: Tiers = {}
    _skip(values)   # the recording's start and end
    for number in range(1, _count(next(values), name) + 1):
        kind, title = next(values), str(next(values)) or f"tier {number}"
        _skip(values)
        size = _count(next(values), name)
        if kind not in ("IntervalTier", "TextTier"):
            raise _broken(name, f"tier {number} is of the class {kind!r}, expected IntervalTier")
        found = [_interval(values, name) if kind == "IntervalTier" else _skip(values)
                 for _ in range(size)]
        if kind == "IntervalTier":
            tiers[title if title not in tiers else f"{title} {number}"] = [
                interval for interval in found if interval and interval.text.strip()]
    return tiers


def _values(text: str, name: str) -> Iterator[str | float]:
    for match in _VALUE.finditer(text):
        if match[1] is not None:
            yield match[1].replace('""', '"')
        else:
            try:
                yield number_of(match[2])
            except ValueError:
                raise _broken(name, f"{match[2]!r} is not a number") from None
    raise _broken(name, "it ends before its last value")


def _interval(values: Iterator[str | float], name: str) -> Labelled | None:
    start, end, label = next(values), next(values), next(values)
    if not (isinstance(start, float) and isinstance(end, float) and isinstance(label, str)
            and 0 <= start <= end):
        raise _broken(name, f"an interval has the values {start!r}, {end!r}, {label!r}; expected "
                            "start, end and a label")
    return Labelled(start, end, label) if start < end else None


def _skip(values: Iterator[str | float]) -> None:
    """Two values: a start and an end, or a point and its label."""
    next(values)
    next(values)


def _count(value: str | float, name: str) -> int:
    if not (isinstance(value, float) and value.is_integer() and 0 <= value <= 10_000_000):
        raise _broken(name, f"{value!r} is not a number of tiers or intervals")
    return int(value)


def _broken(name: str, reason: str) -> DataError:
    return DataError(f"{name} is not a TextGrid that can be read: {reason}. Save it again in "
                     "Praat.", code="annotation.textgrid", path=name)
