"""Annotation files of other programs, read: labelled stretches of time over one recording.

In: the text of a file. Out: `Tiers`, or a `DataError` that names the line. Standard library only.

    textgrid.py   Praat's TextGrid, long and short
    elan.py       ELAN's .eaf
    cues.py       subtitles (SubRip, WebVTT) and the label tracks of Audacity
"""

from __future__ import annotations

from typing import NamedTuple


class Labelled(NamedTuple):
    """A stretch of time with its label.

    Attributes:
        start, end: seconds from the start of the recording, start < end.
        text: the label, as written.
    """

    start: float
    end: float
    text: str


Tiers = dict[str, list[Labelled]]   # name of the tier: its labelled intervals, in order of time
