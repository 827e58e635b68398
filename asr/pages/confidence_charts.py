"""The section on confidence of a report: reliability diagram and risk-coverage curve.

In: a `ConfidenceReport`. Out: HTML and inline SVG that need no script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from asr.pages.charts import escape
from asr.scoring.confidence import ConfidenceReport
from asr.scoring.reliability import Reliability
from asr.scoring.risk import STORED_POINTS, RiskCoverage, share

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 24, 12, 44


def confidence_charts(report: ConfidenceReport) -> str:
    """Two cards: whether confidences keep their word, and what a person is needed for."""
    cards = ""
    if report.words is not None:
        cards += _card("Are the confidences true?", reliability_diagram(report.words),
                       [_sentence(report.words.line()),
                        f"{len(report.words.bins)} groups of words of like confidence. On the "
                        "dashed line as many words are right as claimed; above it the recogniser "
                        "is too modest, below it too sure."])
    cards += _card("What should a person look at?", risk_curve(report.utterances), [
        _sentence(line) for line in report.utterances.lines()])
    left_out = ""
    if report.left_out:
        left_out = (f"<p class='note'>{report.left_out:,} utterances are not among the words, "
                    "because the normaliser joins or splits them.</p>")
    return f"<div class='grid roomy'>{cards}</div>{left_out}"


def reliability_diagram(words: Reliability) -> str:
    """Share of right words over confidence, one point a bin; the dashed line is exact."""
    axes = _axes("confidence", "right", 1.0, "Share of right words by confidence")
    dots = [(*_place(b.confidence, b.right), b) for b in words.bins]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in dots)
    points = "".join(
        f"<circle class='f0' cx='{x:.1f}' cy='{y:.1f}' r='4'><title>claimed {share(b.confidence)}, "
        f"right {share(b.right)}, {b.words:,} words</title></circle>" for x, y, b in dots)
    (x1, y1), (x2, y2) = _place(0, 0), _place(1, 1)
    return (f"{axes}<line class='ideal' x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}'/>"
            f"<polyline class='curve c0' points='{path}'/>{points}</svg>")


def risk_curve(curve: RiskCoverage) -> str:
    """Word error rate of what is kept, over the share of utterances that a person gets."""
    step = max(1, len(curve.points) // STORED_POINTS)
    chosen = sorted({*range(0, len(curve.points), step), len(curve.points) - 1})
    kept = [curve.points[i] for i in chosen]
    # The last few utterances alone may have any rate; they do not set the scale.
    top = max((p.wer for p in kept if p.sent <= 0.95), default=kept[-1].wer)
    top = _round_up(max(top, kept[-1].wer, 1e-3) * 1.05)
    ours = [(p.sent, p.wer) for p in kept]
    best = [(p.sent, curve.ideal[i]) for i, p in zip(chosen, kept, strict=True)]
    marks = "".join(_mark(*_place(point.sent, min(point.wer, top) / top), target)
                    for target, point in curve.targets.items() if point is not None)
    legend = (f"<text x='{WIDTH - RIGHT}' y='{TOP + 12}' text-anchor='end'>"
              "<tspan class='f0'>by confidence</tspan> · "
              "<tspan class='f1'>if errors were known</tspan></text>")
    return (f"{_axes('utterances for a person', 'WER of the rest', top, 'Risk and coverage')}"
            f"{_line(ours, top, 'c0')}{_line(best, top, 'c1')}{marks}{legend}</svg>")


def _mark(x: float, y: float, target: float) -> str:
    anchor, dx = ("end", 10) if x > 0.85 * WIDTH else ("start", 4)  # the curve falls: room above
    return (f"<circle class='f0' cx='{x:.1f}' cy='{y:.1f}' r='5'/><text x='{x + dx:.1f}' "
            f"y='{y - 9:.1f}' text-anchor='{anchor}'>WER {100 * target:g} %</text>")


def _line(points: Sequence[tuple[float, float]], top: float, kind: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}"
                    for x, y in (_place(sent, min(wer, top) / top) for sent, wer in points))
    return f"<polyline class='curve {kind}' points='{path}'/>"


def _axes(below: str, beside: str, top: float, label: str) -> str:
    """The opening tag, grid lines and labels; x from 0 to 100 %, y from 0 to `top`."""
    parts = [f"<svg role='img' aria-label='{escape(label)}' viewBox='0 0 {WIDTH} {HEIGHT}' "
             f"width='{WIDTH}' height='{HEIGHT}'>"]
    for number in range(5):
        fraction = number / 4
        x, y = _place(fraction, fraction)
        parts.append(
            f"<line class='axis' x1='{LEFT}' x2='{WIDTH - RIGHT}' y1='{y:.1f}' y2='{y:.1f}'/>"
            f"<text x='{LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{100 * top * fraction:g} %"
            f"</text><text x='{x:.1f}' y='{HEIGHT - BOTTOM + 16}' text-anchor='middle'>"
            f"{100 * fraction:g} %</text>")
    middle = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(f"<text x='{(LEFT + WIDTH - RIGHT) / 2}' y='{HEIGHT - 8}' text-anchor='middle'>"
                 f"{escape(below)}</text><text x='12' y='{middle}' text-anchor='middle' "
                 f"transform='rotate(-90 12 {middle})'>{escape(beside)}</text>")
    return "".join(parts)


def _place(x: float, y: float) -> tuple[float, float]:
    """Fractions of the axes to the picture's units."""
    return (LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM))


def _round_up(value: float) -> float:
    """The next of 1, 2, 4, 5, 8, 10 times a power of ten, so that quarters are short numbers."""
    power = 10.0 ** math.floor(math.log10(value))
    return next((digit * power for digit in (1, 2, 4, 5, 8) if digit * power >= value), 10 * power)


def _card(title: str, picture: str, sentences: Sequence[str]) -> str:
    texts = "".join(f"<p class='soft'>{escape(sentence)}</p>" for sentence in sentences)
    return f"<div class='card'><h3>{escape(title)}</h3>{picture}{texts}</div>"


def _sentence(line: str) -> str:
    """A line of the terminal without the name before its colon, as a sentence."""
    text = line.partition(": ")[2]
    return f"{text[0].upper()}{text[1:]}."
