"""Draw the error surface of a tuning, and the trade-off of a refusal, as SVG.

In: a `Tuning`, or points. Out: text of an SVG file.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from asr.tuning import Tuning

CELL_WIDTH, CELL_HEIGHT, MARGIN = 76, 34, 110


def surface(result: Tuning) -> str:
    """A table of WERs, weight downwards, word bonus to the right; the darker, the better."""
    width = result.points[0].beam_width
    points = [p for p in result.points if p.beam_width == width]
    weights = sorted({p.lm_weight for p in points})
    bonuses = sorted({p.word_bonus for p in points})
    low = min(p.wer for p in points)
    high = max(p.wer for p in points)
    across, down = MARGIN + CELL_WIDTH * len(bonuses) + 20, MARGIN + CELL_HEIGHT * len(weights)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {across} {down}" '
             'font-family="sans-serif" font-size="13" text-anchor="middle">',
             f'<rect width="{across}" height="{down}" fill="#fff"/>',
             f'<text x="{across / 2}" y="24" font-size="15">WER % over language model weight and '
             f'word bonus, beam {width}</text>',
             f'<text x="{across / 2}" y="44">greedy {100 * result.greedy_wer:.2f}, best '
             f'{100 * result.best.wer:.2f}</text>',
             f'<text x="{MARGIN / 2}" y="{MARGIN - 14}">weight \\ bonus</text>']
    for i, bonus in enumerate(bonuses):
        parts.append(f'<text x="{MARGIN + CELL_WIDTH * (i + .5)}" y="{MARGIN - 14}">'
                     f'{bonus:g}</text>')
    for j, weight in enumerate(weights):
        parts.append(f'<text x="{MARGIN / 2}" y="{MARGIN + CELL_HEIGHT * (j + .5) + 5}">'
                     f'{weight:g}</text>')
    for p in points:
        share = (p.wer - low) / (high - low) if high > low else 0.0
        level = round(90 + 160 * min(1.0, share) ** 0.5)
        left = MARGIN + CELL_WIDTH * bonuses.index(p.word_bonus)
        top = MARGIN + CELL_HEIGHT * weights.index(p.lm_weight)
        won = (p.lm_weight, p.word_bonus) == (result.best.lm_weight, result.best.word_bonus)
        parts.append(
            f'<rect x="{left + 1}" y="{top + 1}" width="{CELL_WIDTH - 2}" '
            f'height="{CELL_HEIGHT - 2}" fill="rgb({level},{(level + 255) // 2},255)" '
            f'stroke="{"#c00" if won else "none"}" stroke-width="3"/>'
            f'<text x="{left + CELL_WIDTH / 2}" y="{top + CELL_HEIGHT / 2 + 5}">'
            f'{100 * p.wer:.2f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def det_curve(title: str, points: Sequence[tuple[float, float]],
              mark: tuple[float, float] | None = None) -> str:
    """Detection error trade-off: what is missed over false accepts an hour, which are logarithmic.

    Args:
        title: above the curve.
        points: (false accepts an hour, share missed), in any order.
        mark: the chosen point, drawn in red.

    Reference: Martin et al. 1997, "The DET curve in assessment of detection task performance",
    Eurospeech; here with hours in the place of trials, as for keyword spotting.
    """
    width, height, left, bottom = 620, 420, 70, 60
    lowest, highest = 0.1, max([10.0, *(x for x, _ in points)])
    decades = math.ceil(math.log10(highest / lowest))

    def place(per_hour: float, missed: float) -> tuple[float, float]:
        along = math.log10(max(per_hour, lowest) / lowest) / decades
        return (left + along * (width - left - 20),
                (height - bottom) - missed * (height - bottom - 50))

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
             'font-family="sans-serif" font-size="13" text-anchor="middle">',
             f'<rect width="{width}" height="{height}" fill="#fff"/>',
             f'<text x="{width / 2}" y="24" font-size="15">{html.escape(title)}</text>']
    for step in range(6):
        y = place(lowest, step / 5)[1]
        parts.append(f'<line x1="{left}" x2="{width - 20}" y1="{y:.1f}" y2="{y:.1f}" '
                     f'stroke="#ddd"/><text x="{left - 26}" y="{y + 4:.1f}">{20 * step} %</text>')
    for decade in range(decades + 1):
        x = place(lowest * 10 ** decade, 0)[0]
        label = f"{lowest * 10 ** decade:g}" if decade else f"≤ {lowest:g}"
        parts.append(f'<line y1="50" y2="{height - bottom}" x1="{x:.1f}" x2="{x:.1f}" '
                     f'stroke="#ddd"/><text x="{x:.1f}" y="{height - 40}">{label}</text>')
    # Where several limits let the same number through, the stricter ones miss more and come first.
    in_order = sorted(points, key=lambda point: (point[0], -point[1]))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*p) for p in in_order))
    parts += [f'<text x="{width / 2}" y="{height - 12}">false accepts an hour of other speech '
              '(vertical: phrases missed)</text>',
              f'<polyline points="{path}" fill="none" stroke="#036" stroke-width="2"/>']
    if mark is not None:
        x, y = place(*mark)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="#c00"/>')
    return "\n".join([*parts, "</svg>"]) + "\n"
