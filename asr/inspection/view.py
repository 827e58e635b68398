"""Choose what of an inspection is shown: layer, direction, units, and explain it.

In: an `Inspection`. Out: a `View`, which the picture and the page draw alike. NumPy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asr.errors import UsageError
from asr.inspection.network import Inspection
from asr.network.equations import Trace
from asr.pages.frame import visible

LIVELY_UNITS = 16  # shown when none are named
DYNAMIC_RANGE = 80.0  # dB below the loudest point of the log-mel picture that are distinguished
MAX_HEADLINE = 110  # characters; the words are above the sound anyway
MAX_LABELS = 40  # rows of the posteriors; a larger alphabet shows those that come up most
DECIBELS = 10.0 / np.log(10.0)  # a natural log of power in dB


class Panel(NamedTuple):
    """One array of a `Trace` with its names."""

    name: str  # the field
    title: str
    symbol: str
    meaning: str
    kind: str  # "gate": 0 .. 1; "signed": -1 .. 1; "memory": around 0, any size


# In the order of the equations.
PANELS = (
    Panel("input_gate", "Input gate", "i", "what may enter: 1 open, 0 shut", "gate"),
    Panel("candidate", "Candidate", "g", "what would enter", "signed"),
    Panel("forget_gate", "Forget gate", "f", "what may stay: 1 keeps, 0 erases", "gate"),
    Panel("memory", "Memory cell", "c", "f × the memory before + i × g", "memory"),
    Panel("output_gate", "Output gate", "o", "what may be seen: 1 shows, 0 hides", "gate"),
    Panel("output", "Output", "h", "o × tanh(c), which the next layer reads", "signed"),
)


@dataclass(frozen=True, eq=False)
class View:
    """A part of an inspection, checked.

    Attributes:
        inspection: everything.
        layer: from 1.
        direction: "forward" or "backward".
        units: unit numbers from 0, in the order of the rows, top row first.
        named: whether a person named the units; otherwise they are the liveliest.
        span: seconds, first and last; a picture ends there, a page opens there.
    """

    inspection: Inspection
    layer: int
    direction: str
    units: tuple[int, ...]
    named: bool
    span: tuple[float, float]

    @property
    def trace(self) -> Trace:
        """The arrays of these units only, (T', rows) float64."""
        trace = self.inspection.trace(self.layer, self.direction)
        return Trace(*(array[:, self.units] for array in trace))

    @property
    def memory_limit(self) -> float:
        """Where the colours of the memory cells end, on both sides of 0.

        The magnitude that all but 2 % of the values stay below, so that one cell that counts
        far does not leave the others pale.
        """
        high = np.quantile(np.abs(self.trace.memory), 0.98)
        return float(np.ceil(10.0 * max(high, 0.1)) / 10.0)

    def headline(self) -> str:
        """What was understood, in quotes, cut to MAX_HEADLINE characters."""
        text = visible(self.inspection.text)
        if len(text) > MAX_HEADLINE:
            text = text[:MAX_HEADLINE - 1].rstrip() + "…"
        return f"“{text}”" if text else "(nothing was understood)"

    def which(self) -> str:
        """Layer, direction and units in words."""
        view = self.inspection
        rows = (f"unit{'s' * (len(self.units) > 1)} {compact(self.units)}" if self.named else
                f"the {len(self.units)} of {view.num_units} cells whose memory moves most, in the "
                "order of their peaks" if len(self.units) < view.num_units else
                f"all {view.num_units} cells, in the order of their peaks")
        return f"Layer {self.layer} of {len(view.layers)}, {self.direction}; {rows}"

    def how_to_read(self, *, both: bool = False) -> list[str]:
        """Sentences with the picture: what one sees, and how to read it.

        Args:
            both: the reader can switch to the other direction.
        """
        milliseconds = 1000 * self.inspection.seconds_per_frame
        sentences = [
            f"Time runs to the right, {milliseconds:g} ms a step, the same in all panels; each row "
            "of a gate panel is one cell. Dashed lines: where a word begins.",
            "At every step a cell becomes c = f × (c before) + i × g: the forget gate f keeps a "
            "share of what it held, the input gate i lets in a share of the candidate g. The "
            "output gate o decides how much of it the next layer sees.",
            "Where f is near 1 and i near 0 a row of the memory keeps its colour: that cell "
            "remembers."]
        if both or self.direction == "backward":
            sentences.append(f"{'The backward' if both else 'This'} direction reads the recording "
                             "from its end: follow its memory from right to left.")
        if self.inspection.start < -self.inspection.seconds_per_frame:
            sentences.append("The steps before 0 and behind the recording are quiet frames that "
                             "the network adds.")
        sentences.append(
            "At the bottom, what the network says: at each step a probability for every character "
            "and for the blank, “nothing new”. CTC reads the spikes from left to right and drops "
            "blanks and repeats.")
        return sentences


def choose(inspection: Inspection, layer: int | None = None, direction: str = "forward",
           units: str = "", seconds: str = "") -> View:
    """A checked view.

    Args:
        inspection: from `Recognizer.inspect`.
        layer: from 1; None: the last one, which the text is read from.
        direction: "forward" or "backward".
        units: such as "0-15" or "3,7,20-24", rows in this order; "": the liveliest.
        seconds: such as "1.5-4"; "": the whole recording.

    Raises:
        UsageError: there is no such layer, direction, unit or time.
    """
    layer = len(inspection.layers) if layer is None else layer
    trace = inspection.trace(layer, direction)
    span = parse_seconds(seconds, inspection) if seconds else (inspection.start, inspection.end)
    first, last = (round((time - inspection.start) / inspection.seconds_per_frame) for time in span)
    rows = parse_units(units, inspection.num_units) if units else \
        lively_units(trace.memory[first:max(last, first + 1)])
    return View(inspection, layer, direction, rows, bool(units), span)


def parse_seconds(text: str, inspection: Inspection) -> tuple[float, float]:
    """First and last second of a text such as "1.5-4", within the recording.

    Raises:
        UsageError: it is not such a text, or lies outside the recording.
    """
    number = r"\s*([0-9]{1,5}(?:\.[0-9]{1,6})?)\s*"
    match = re.fullmatch(f"{number}-{number}", text)
    if not match:
        raise UsageError(f"--seconds {text!r} is not a stretch of time; write it like 1.5-4.")
    first, last = float(match[1]), min(float(match[2]), inspection.end)
    if last - first < inspection.seconds_per_frame:
        raise UsageError(f"--seconds {text} shows nothing: the recording lasts "
                         f"{inspection.transcript.duration:.2f} s, and the stretch must go upwards "
                         f"by {inspection.seconds_per_frame:g} s or more.")
    return first, last


def parse_units(text: str, num_units: int) -> tuple[int, ...]:
    """Unit numbers of a text such as "0-15" or "3,7,20-24".

    Raises:
        UsageError: it is not such a text, names a unit twice, or one that does not exist.

    Example:
        >>> parse_units("3, 7, 20-22", 128)
        (3, 7, 20, 21, 22)
    """
    units: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?", part)
        if not match:
            raise UsageError(f"--units {text!r} is not a list of units; write them like 0-15 or "
                             "3,7,20-24.")
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < num_units:
            raise UsageError(f"--units {part.strip()} is outside this network: a layer has "
                             f"{num_units} units a direction, 0 to {num_units - 1}, and a range "
                             "goes upwards.")
        units += range(first, last + 1)
    if len(set(units)) < len(units):
        raise UsageError(f"--units {text!r} names a unit twice; name each once.")
    return tuple(units)


def lively_units(memory: np.ndarray, count: int = LIVELY_UNITS) -> tuple[int, ...]:
    """The units whose memory varies most, in the order of the times at which they peak.

    Args:
        memory: (T', U).
        count: at most.
    """
    liveliest = np.argsort(-memory.std(axis=0), kind="stable")[:count]
    peaks = np.abs(memory[:, liveliest]).argmax(axis=0)
    return tuple(int(unit) for unit in liveliest[np.argsort(peaks, kind="stable")])


def loudness(inspection: Inspection) -> np.ndarray:
    """(T, M) float64: the log-mel energies in dB below the loudest, at most DYNAMIC_RANGE."""
    decibels = DECIBELS * inspection.log_mel.astype(np.float64)
    return np.maximum(decibels - decibels.max(), -DYNAMIC_RANGE)


def shown_labels(inspection: Inspection) -> list[int]:
    """Classes of the posterior panel, top row first: characters in order, the blank last."""
    labels = range(1, len(inspection.labels))
    if len(labels) >= MAX_LABELS:
        peaks = inspection.posteriors.max(axis=0)
        labels = sorted(sorted(labels, key=lambda v: -peaks[v])[:MAX_LABELS - 1])
    return [*labels, 0]


def label_name(label: str) -> str:
    """A class for people: the blank and white space in words."""
    return "blank" if not label else "space" if label.isspace() else label


def compact(units: tuple[int, ...]) -> str:
    """Unit numbers with ranges.

    Example:
        >>> compact((0, 1, 2, 7, 9, 8))
        '0–2, 7, 9, 8'
    """
    runs: list[list[int]] = []
    for unit in units:
        if runs and unit == runs[-1][1] + 1:
            runs[-1][1] = unit
        else:
            runs.append([unit, unit])
    return ", ".join(f"{a}–{b}" if b > a else str(a) for a, b in runs)
