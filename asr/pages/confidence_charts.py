"""The section on confidence of a report: reliability diagram and risk-coverage curve.

In: a `ConfidenceReport`. Out: HTML and inline SVG that need no script.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from asr.pages.charts import Plot
from asr.pages.frame import escape
from asr.scoring.confidence import ConfidenceReport
from asr.scoring.reliability import Reliability
from asr.scoring.risk import STORED_POINTS, RiskCoverage, share
from asr.terminal import plural

QUARTERS = {number / 4: f"{25 * number} %" for number in range(5)}


def confidence_charts(report: ConfidenceReport) -> str:
    """Two cards: whether confidences keep their word, and what a person is needed for."""
    cards = ""
    if report.words is not None:
        cards += _card("Are the confidences true?", reliability_diagram(report.words),
                       [_sentence(report.words.line()),
                        f"{plural(len(report.words.bins), 'group')} of words of like confidence. "
                        "On the dashed line as many words are right as claimed; above it the "
                        "recogniser is too modest, below it too sure."])
    cards += _card("What should a person look at?", risk_curve(report.utterances), [
        _sentence(line) for line in report.utterances.lines()])
    left_out = ""
    if report.left_out:
        left_out = (f"<p class='note'>{plural(report.left_out, 'utterance is', 'utterances are')} "
                    "not among the words, because the normaliser joins or splits them.</p>")
    return f"<div class='grid roomy'>{cards}</div>{left_out}"


def reliability_diagram(words: Reliability) -> str:
    """Share of right words over confidence, one point a bin; the dashed line is exact."""
    plot = Plot()
    points = "".join(plot.dot((b.confidence, b.right), "f0", 4,
                              f"claimed {share(b.confidence)}, right {share(b.right)}, "
                              f"{plural(b.words, 'word')}") for b in words.bins)
    (x1, y1), (x2, y2) = plot.place(0, 0), plot.place(1, 1)
    exact = f"<line class='ideal' x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}'/>"
    return plot.svg("Share of right words by confidence",
                    exact + plot.line([(b.confidence, b.right) for b in words.bins], "c0") + points,
                    QUARTERS, below="confidence", beside="right")


def risk_curve(curve: RiskCoverage) -> str:
    """Word error rate of what is kept, over the share of utterances that a person gets."""
    step = max(1, len(curve.points) // STORED_POINTS)
    chosen = sorted({*range(0, len(curve.points), step), len(curve.points) - 1})
    kept = [curve.points[i] for i in chosen]
    # The last few utterances alone may have any rate; they do not set the scale.
    top = max((p.wer for p in kept if p.sent <= 0.95), default=kept[-1].wer)
    plot = Plot(y=(0.0, _round_up(max(top, kept[-1].wer, 1e-3) * 1.05)))
    ours = [(p.sent, p.wer) for p in kept]
    best = [(p.sent, curve.ideal[i]) for i, p in zip(chosen, kept, strict=True)]
    reached: dict[tuple[float, float], list[str]] = {}
    for target, point in curve.targets.items():
        if point is not None:
            reached.setdefault((point.sent, point.wer), []).append(f"{100 * target:g} %")
    marks = "".join(_mark(plot, point, "WER " + ", ".join(targets))
                    for point, targets in reached.items())
    legend = (f"<text x='{plot.width - plot.right}' y='{plot.top + 12}' text-anchor='end'>"
              "<tspan class='f0'>by confidence</tspan> · "
              "<tspan class='f1'>if errors were known</tspan></text>")
    return plot.svg("Risk and coverage",
                    plot.line(ours, "c0") + plot.line(best, "c1") + marks + legend, QUARTERS,
                    below="utterances for a person", beside="WER of the rest")


def _mark(plot: Plot, point: tuple[float, float], name: str) -> str:
    x, y = plot.place(*point)
    anchor, dx = ("end", 10) if x > 0.85 * plot.width else ("start", 4)  # the curve falls
    return (plot.dot(point, "f0", 5) + f"<text x='{x + dx:.1f}' y='{y - 9:.1f}' "
            f"text-anchor='{anchor}'>{name}</text>")


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
