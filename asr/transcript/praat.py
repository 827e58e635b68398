"""Praat's TextGrid: tiers of labelled intervals over one recording.

In: labelled intervals in seconds. Out: text in Praat's long format. Standard library only.
Reference: the manual page "TextGrid file formats" (fon.hum.uva.nl/praat/manual).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SHORTEST = 0.001  # seconds; Praat refuses intervals without length

Interval = tuple[float, float, str]


def textgrid(tiers: Mapping[str, Sequence[Interval]], duration: float) -> str:
    """Interval tiers that cover the whole recording, as Praat wants them.

    Intervals without a label fill what is left between. One that is shorter than a millisecond
    gets one, at the cost of the interval after it.

    Args:
        tiers: name of the tier to (start, end, label), seconds, in order.
        duration: seconds of the recording.

    Example:
        >>> print(textgrid({"words": [(0.5, 0.9, 'a "no" b')]}, 1.0).split("intervals: ")[1])
        size = 3
                intervals [1]:
                    xmin = 0
                    xmax = 0.5
                    text = ""
                intervals [2]:
                    xmin = 0.5
                    xmax = 0.9
                    text = "a ""no"" b"
                intervals [3]:
                    xmin = 0.9
                    xmax = 1
                    text = ""
        <BLANKLINE>
    """
    spaced = {name: _spaced(intervals) for name, intervals in tiers.items()}
    end = max([duration, SHORTEST, *(found[-1][1] for found in spaced.values() if found)])
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0",
             f"xmax = {_number(end)}", "tiers? <exists>", f"size = {len(spaced)}", "item []:"]
    for number, (name, intervals) in enumerate(spaced.items(), start=1):
        filled = _filled(intervals, end)
        lines += [f"    item [{number}]:", '        class = "IntervalTier"',
                  f"        name = {_quoted(name)}", "        xmin = 0",
                  f"        xmax = {_number(end)}", f"        intervals: size = {len(filled)}"]
        for place, (start, stop, label) in enumerate(filled, start=1):
            lines += [f"        intervals [{place}]:", f"            xmin = {_number(start)}",
                      f"            xmax = {_number(stop)}",
                      f"            text = {_quoted(label)}"]
    return "\n".join(lines) + "\n"


def _spaced(intervals: Sequence[Interval]) -> list[Interval]:
    """In order, without overlap, none shorter than `SHORTEST`."""
    found: list[Interval] = []
    for start, end, label in intervals:
        start = max(round(start, 6), found[-1][1] if found else 0.0)
        found.append((start, max(round(end, 6), start + SHORTEST), label))
    return found


def _filled(intervals: Sequence[Interval], end: float) -> list[Interval]:
    """With empty intervals before, between and after."""
    found: list[Interval] = []
    reached = 0.0
    for interval in [*intervals, (end, end, "")]:
        if _number(interval[0]) != _number(reached) and interval[0] > reached:
            found.append((reached, interval[0], ""))
            reached = interval[0]
        if interval[1] > interval[0]:
            found.append((reached, interval[1], interval[2]))
            reached = interval[1]
    return found or [(0.0, end, "")]


def _number(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
