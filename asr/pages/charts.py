"""Line charts, as inline SVG without a script: one plot for all of them.

In: points. Out: escaped SVG. Colours and line styles are classes of assets/report.css.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from asr.pages.frame import escape

Point = tuple[float, float]


@dataclass(frozen=True)
class Plot:
    """The place of an axis system in a picture; lengths are units of the picture.

    Attributes:
        x, y: lowest and highest value of each axis.
        width, height: size of the picture.
        left, right, top, bottom: its margins.
    """

    x: tuple[float, float] = (0.0, 1.0)
    y: tuple[float, float] = (0.0, 1.0)
    width: int = 440
    height: int = 300
    left: int = 58
    right: int = 24
    top: int = 12
    bottom: int = 44

    def place(self, x: float, y: float) -> Point:
        """Values to the picture's units; y is cut at its highest value."""
        across = (x - self.x[0]) / max(self.x[1] - self.x[0], 1e-9)
        up = (min(y, self.y[1]) - self.y[0]) / max(self.y[1] - self.y[0], 1e-9)
        return (self.left + across * (self.width - self.left - self.right),
                self.height - self.bottom - up * (self.height - self.top - self.bottom))

    def line(self, points: Sequence[Point], kind: str) -> str:
        """A curve through values, of class `kind`."""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.place(*point) for point in points))
        return f"<polyline class='curve {kind}' points='{path}'/>"

    def dot(self, point: Point, kind: str, radius: int, title: str = "") -> str:
        """A value as a dot."""
        x, y = self.place(*point)
        shown = f"<circle class='{kind}' cx='{x:.1f}' cy='{y:.1f}' r='{radius}'"
        return f"{shown}><title>{escape(title)}</title></circle>" if title else f"{shown}/>"

    def svg(self, label: str, content: str, ticks: Mapping[float, str], *, below: str = "",
            beside: str = "", across: bool = False) -> str:
        """The picture: grid, labels, content.

        Args:
            label: what it shows, for those who do not see it.
            content: SVG, escaped by the caller.
            ticks: labels of the x axis by value; the y axis has quarters, in percent.
            below, beside: names of the axes.
            across: as wide as its card.
        """
        parts = []
        for step in range(5):
            value = self.y[0] + (self.y[1] - self.y[0]) * step / 4
            y = self.place(self.x[0], value)[1]
            parts.append(f"<line class='axis' x1='{self.left}' x2='{self.width - self.right}' "
                         f"y1='{y:.1f}' y2='{y:.1f}'/><text x='{self.left - 6}' y='{y + 4:.1f}' "
                         f"text-anchor='end'>{100 * value:g} %</text>")
        for value, text in ticks.items():
            x, y = self.place(value, self.y[0])
            parts.append(f"<text x='{x:.1f}' y='{y + (28 if across else 17):.1f}' "
                         f"text-anchor='middle'>{escape(text)}</text>")
        if below:
            parts.append(f"<text x='{(self.left + self.width - self.right) / 2}' "
                         f"y='{self.height - 8}' text-anchor='middle'>{escape(below)}</text>")
        if beside:
            middle = (self.top + self.height - self.bottom) / 2
            parts.append(f"<text x='12' y='{middle}' text-anchor='middle' "
                         f"transform='rotate(-90 12 {middle})'>{escape(beside)}</text>")
        size = "class='across'" if across else f"width='{self.width}' height='{self.height}'"
        return (f"<svg {size} role='img' aria-label='{escape(label)}' "
                f"viewBox='0 0 {self.width} {self.height}'>{''.join(parts)}{content}</svg>")


def learning_curve(records: Sequence[Mapping]) -> str:
    """WER and CER over the epochs as SVG; "" with fewer than two epochs.

    Args:
        records: with "epoch" and, as fractions, "wer" and "cer", as in a run's log.jsonl.
    """
    series = {name: [(float(record["epoch"]), float(record[name])) for record in records
                     if _finite(record.get("epoch")) and _finite(record.get(name))]
              for name in ("wer", "cer")}
    series = {name: points for name, points in series.items() if len(points) > 1}
    if not series:
        return ""
    epochs = [x for points in series.values() for x, _ in points]
    # a multiple of 4 %, so that the grid's quarters are whole numbers
    top = min(1.2, math.ceil(25 * max(y for points in series.values() for _, y in points)) / 25)
    plot = Plot(x=(min(epochs), max(epochs)), y=(0.0, top or 0.04), width=840, height=278, left=80,
                right=156, top=20, bottom=40)  # room for the larger letters on a phone
    ends = [plot.place(*points[-1]) for points in series.values()]
    beside = spread([y for _, y in ends], 27, plot.height - plot.bottom)
    parts = []
    for index, (name, points) in enumerate(series.items()):
        parts += [plot.line(points, f"c{index}"), plot.dot(points[-1], f"f{index}", 3),
                  f"<text class='f{index}' x='{ends[index][0] + 8:.1f}' "
                  f"y='{beside[index] + 4:.1f}'>{name.upper()} {100 * points[-1][1]:.1f} %</text>"]
    return plot.svg("Word and character error rate by epoch", "".join(parts),
                    {x: f"epoch {x:g}" for x in plot.x}, across=True)


def spread(places: Sequence[float], gap: float, last: float) -> list[float]:
    """Places for two labels or one, at least `gap` apart and none beyond `last`, moved evenly.

    Example:
        >>> spread([100.0, 104.0], 14, 200.0), spread([199.0, 198.0], 14, 200.0)
        ([95.0, 109.0], [200.0, 186.0])
    """
    if len(places) < 2 or abs(places[0] - places[1]) >= gap:
        return list(places)
    lower = min(max(places) / 2 + min(places) / 2 + gap / 2, last)
    return [lower - gap, lower] if places[0] <= places[1] else [lower, lower - gap]


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
