"""A reader of Praat's long text format, independent of the writer."""

from __future__ import annotations

import re


def read_textgrid(text: str) -> dict[str, list[tuple[float, float, str]]]:
    """A strict reader, independent of the writer: tiers with their intervals; every count, every
    boundary and the quoting must agree, as Praat demands."""
    lines = iter(text.splitlines())

    def value(key: str) -> str:
        name, separator, rest = next(lines).strip().partition(" = ")
        assert (name, separator) == (key, " = ")
        return rest

    def string(key: str) -> str:
        quoted = value(key)
        assert re.fullmatch(r'"(?:[^"]|"")*"', quoted)
        return quoted[1:-1].replace('""', '"')

    assert [next(lines), next(lines), next(lines)] == [
        'File type = "ooTextFile"', 'Object class = "TextGrid"', ""]
    assert float(value("xmin")) == 0.0
    end = float(value("xmax"))
    assert end > 0 and next(lines) == "tiers? <exists>"
    count = int(value("size"))
    assert next(lines) == "item []:"
    tiers = {}
    for number in range(1, count + 1):
        assert next(lines) == f"    item [{number}]:"
        assert string("class") == "IntervalTier"
        name = string("name")
        assert (float(value("xmin")), float(value("xmax"))) == (0.0, end)
        size, reached, intervals = int(value("intervals: size")), 0.0, []
        assert size > 0
        for place in range(1, size + 1):
            assert next(lines).strip() == f"intervals [{place}]:"
            start, stop = float(value("xmin")), float(value("xmax"))
            assert start == reached < stop
            reached = stop
            intervals.append((start, stop, string("text")))
        assert reached == end
        tiers[name] = intervals
    assert next(lines, None) is None
    return tiers
