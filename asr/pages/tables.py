"""Tables of a report, as HTML without a script.

In: groups, word errors. Out: escaped HTML; a rate is also a bar, as inline SVG.
"""

from __future__ import annotations

from collections.abc import Sequence

from asr.pages.frame import escape
from asr.scoring.breakdown import Group, WordErrors
from asr.scoring.result import with_interval


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
