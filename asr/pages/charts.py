"""Charts and tables of a report, as HTML without a script.

In: groups, word errors, a learning curve. Out: escaped HTML and inline SVG.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

from asr.scoring.breakdown import Group, WordErrors
from asr.scoring.result import with_interval

# C0 controls become their pictures, C1 controls, bidi overrides and half surrogates a box.
_VISIBLE = {code: 0x2400 + code for code in range(32)} | {0x7F: 0x2421}
_VISIBLE |= dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A),
                           *range(0xD800, 0xE000)], 0xFFFD)


def visible(text: object) -> str:
    """A text whose control characters can be seen instead of obeyed."""
    return str(text).translate(_VISIBLE)


def escape(text: object) -> str:
    """A text that stays text in HTML, in an element as in an attribute."""
    return html.escape(visible(text), quote=True)


def group_table(title: str, groups: Sequence[Group]) -> str:
    """A card with one line a group: its word error rate, interval, and both as a bar."""
    if not groups:
        return ""
    top = max((group.interval.high if group.interval else group.words.rate or 0)
              for group in groups) or 1.0
    rows = []
    for group in groups:
        rows.append(
            f"<tr><td><bdi>{escape(group.label)}</bdi></td>"
            f"<td class='n wide'>{group.utterances:,}</td>"
            f"<td class='n'>{group.words.reference:,}</td>"
            f"<td class='n'>{with_interval('', group.words.rate, group.interval)}</td>"
            f"<td class='wide'>{_bar(group, top)}</td></tr>")
    return _table_card(title, "<th></th><th class='n wide'>Utterances</th><th class='n'>Words</th>"
                       "<th class='n'>WER</th><th class='wide'></th>", "".join(rows))


def word_tables(words: WordErrors) -> str:
    """Confusion pairs, most-missed and most-invented words, one card each."""
    return (
        count_table("Confused", ("Said", "Heard", "Times"), words.confusions)
        + count_table("Missed or confused", ("Said", "Errors", "Spoken"), words.missed)
        + count_table("Invented", ("Heard", "Times"), words.invented))


def count_table(title: str, heads: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A card with a table; strings to the left, numbers to the right."""
    if not rows:
        return f"<div class='card'><h3>{escape(title)}</h3><p class='soft'>None.</p></div>"
    kinds = ["n" if isinstance(value, (int, float)) else "" for value in rows[0]]
    head = "".join(f"<th class='{kind}'>{escape(name)}</th>"
                   for kind, name in zip(kinds, heads, strict=True))
    body = "".join("<tr>" + "".join(
        f"<td class='{kind}'><bdi>{value if kind and isinstance(value, int) else escape(value)}"
        "</bdi></td>" for kind, value in zip(kinds, row, strict=True)) + "</tr>" for row in rows)
    return _table_card(title, head, body)


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
    width, height, left, right, bottom = 840, 250, 60, 120, 28
    epochs = [x for points in series.values() for x, _ in points]
    # a multiple of 4 %, so that the grid's quarters are whole numbers
    top = min(1.2, math.ceil(25 * max(y for points in series.values() for _, y in points)) / 25)
    top = top or 0.04
    low, high = min(epochs), max(epochs)

    def place(x: float, y: float) -> tuple[float, float]:
        return (left + (x - low) / max(high - low, 1e-9) * (width - left - right),
                (height - bottom) - min(y, top) / top * (height - bottom - 12))

    parts = []
    for step in range(5):
        value = top * step / 4
        y = place(low, value)[1]
        parts.append(f"<line class='axis' x1='{left}' x2='{width - right}' y1='{y:.1f}' "
                     f"y2='{y:.1f}'/><text x='{left - 6}' y='{y + 4:.1f}' text-anchor='end'>"
                     f"{100 * value:g} %</text>")
    for x in (low, high):
        parts.append(f"<text x='{place(x, 0)[0]:.1f}' y='{height - 8}' text-anchor='middle'>"
                     f"epoch {x:g}</text>")
    ends = [place(*points[-1]) for points in series.values()]
    beside = spread([y for _, y in ends], 22, height - bottom)
    for index, (name, points) in enumerate(series.items()):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        x, y = ends[index]
        parts.append(f"<polyline class='curve c{index}' points='{path}'/>"
                     f"<circle class='f{index}' cx='{x:.1f}' cy='{y:.1f}' r='3'/>"
                     f"<text class='f{index}' x='{x + 8:.1f}' y='{beside[index] + 4:.1f}'>"
                     f"{name.upper()} {100 * points[-1][1]:.1f} %</text>")
    return ("<svg class='across' role='img' aria-label='Word and character error rate by epoch' "
            f"viewBox='0 0 {width} {height}'>{''.join(parts)}</svg>")


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


def _table_card(title: str, head: str, body: str) -> str:
    """A titled card; the table inside scrolls and can be reached by keyboard."""
    return (f"<div class='card'><h3>{escape(title)}</h3><div class='scroll' tabindex='0' "
            f"role='region' aria-label='{escape(title)}'><table><thead><tr>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div></div>")


def _bar(group: Group, top: float) -> str:
    rate, interval = group.words.rate or 0.0, group.interval
    scale = 150 / top
    whisker = ""
    if interval and interval.clusters > 1:
        low, high = (4 + scale * min(value, top) for value in (interval.low, interval.high))
        whisker = (f"<path class='whisker' d='M{low:.1f} 8H{high:.1f}M{low:.1f} 4v8"
                   f"M{high:.1f} 4v8'/>")
    return (f"<svg aria-hidden='true' viewBox='0 0 160 16' width='160' height='16'>"
            f"<rect class='bar' x='4' y='2' height='12' width='{scale * min(rate, top):.1f}'/>"
            f"{whisker}</svg>")


def _finite(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
