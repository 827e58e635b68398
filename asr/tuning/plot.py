"""Draw the error surface of a tuning as SVG.

In: a `Tuning`. Out: text of an SVG file.
"""

from __future__ import annotations

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
