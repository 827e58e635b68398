"""Subtitles (SubRip, WebVTT) and Audacity's label tracks, read into intervals.

In: text. Out: a list of `Labelled` in the order of the file, without empty labels.
References: WebVTT (W3C); SubRip as VLC and mpv read it; Audacity's manual, "Importing and Exporting
Labels".
"""

from __future__ import annotations

import html
import re

from asr.annotations import Labelled
from asr.errors import DataError
from asr.parsing import number_of

_CLOCK = r"(?:([0-9]{1,4}):)?([0-9]{1,4}):([0-9]{1,4})[,.]([0-9]{1,3})"
_TIMES = re.compile(rf"^\s*{_CLOCK}\s*-->\s*{_CLOCK}(?:\s.*)?$")
_TAG = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")   # <i>, <v Anna>, {\an8}
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?\s+([^>]+)>")


def read_subtitles(text: str, name: str) -> list[tuple[Labelled, str]]:
    r"""The cues of SubRip or WebVTT: (interval, speaker); markup is removed.

    Args:
        text: text of the file.
        name: what messages call it.

    Returns:
        The speaker is that of a WebVTT voice tag; empty without one, or if there are several.

    Raises:
        DataError: there is a time line whose times cannot be, or none at all.

    Example:
        >>> read_subtitles("1\n00:00:01,000 --> 00:00:02,500\n<i>Good</i>\nday\n", "a.srt")
        [(Labelled(start=1.0, end=2.5, text='Good day'), '')]
    """
    found: list[tuple[Labelled, str]] = []
    lines = text.lstrip("\ufeff").split("\n")
    number, seen = 0, False
    while number < len(lines):
        times = _TIMES.match(lines[number])
        number += 1
        if not times:
            if "-->" in lines[number - 1]:
                raise _broken(name, number, f"{lines[number - 1].strip()[:60]!r} is not a line "
                                            "of two times")
            continue
        seen = True
        start, end = _seconds(*times.groups()[:4]), _seconds(*times.groups()[4:])
        if not start <= end:
            raise _broken(name, number, f"the cue ends at {end:g} s, before it starts")
        body: list[str] = []
        while number < len(lines) and lines[number].strip():
            body.append(lines[number].strip())
            number += 1
        voices = {voice.strip() for voice in _VOICE.findall(" ".join(body))}
        words = html.unescape(_TAG.sub("", " ".join(body))).strip()
        if words and start < end:
            found.append((Labelled(start, end, words), voices.pop() if len(voices) == 1 else ""))
    if not seen and text.strip():
        raise _broken(name, 1, "there is no line with two times")
    return found


def read_labels(text: str, name: str, *, points: bool = False) -> list[Labelled]:
    """An Audacity label track: start, end and label, separated by tabs; seconds.

    Lines with frequencies, which start with a backslash, are left out.

    Args:
        text: text of the file.
        name: what messages call it.
        points: labels of a point, without duration, are returned as well, with start = end.

    Raises:
        DataError: a line that is not of this kind.
    """
    found = []
    for number, line in enumerate(text.lstrip("\ufeff").split("\n"), start=1):
        if not line.strip() or line.startswith("\\"):
            continue
        cells = line.split("\t")
        try:
            start, end = (number_of(cell.replace(",", ".")) for cell in cells[:2])
        except ValueError:
            raise _broken(name, number, f"{line[:60]!r} is not start, end and label with tabs "
                                        "between") from None
        if not 0 <= start <= end:
            raise _broken(name, number, f"{start:g} to {end:g} s is not a stretch of time")
        label = " ".join(cells[2:]).strip()
        if label and (start < end or points):
            found.append(Labelled(start, end, label))
    return found


def _seconds(hours: str | None, minutes: str, seconds: str, fraction: str) -> float:
    return int(hours or 0) * 3_600 + int(minutes) * 60 + int(seconds) + \
        int(fraction.ljust(3, "0")) / 1_000


def _broken(name: str, line: int, reason: str) -> DataError:
    return DataError(f"{name}:{line}: {reason}. Correct the line, or export the file again.",
                     code="annotation.cues", path=name)
