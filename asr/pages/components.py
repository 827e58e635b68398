"""The sections of a report around the tables: headline, receipt, controls, what was left out.

In: scores and comparisons. Out: escaped HTML.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from asr.pages.clips import CLIP_SECONDS, Clips
from asr.pages.frame import THEME, escape, section
from asr.scoring.comparison import Comparison, p_value, points
from asr.scoring.counts import Counts
from asr.scoring.result import Receipt, Score, percent, with_interval
from asr.terminal import plural

_KEYS = ("<p class='soft wide'>Keys: <kbd>/</kbd> search, <kbd>j</kbd> <kbd>k</kbd> next and "
         "previous utterance, <kbd>Enter</kbd> listen, <kbd>n</kbd> <kbd>p</kbd> pages.</p>")
_LEGEND = ("<div class='key al'><span>Top: what was said.</span><span class='w s'>"
           "<span class='r'>said</span><span class='h'>heard</span></span>"
           "<span>confused</span><span class='w d'><span class='r'>missed</span></span>"
           "<span>missed</span><span class='w i'><span class='h'>invented</span></span>"
           "<span>invented</span></div>")


def score_header(result: Score, title: str, *, confidence: bool = False) -> str:
    """Title, WER, CER, raw rates, notes, the receipt, and where to jump."""
    interval = result.wer_interval
    span = (f"95 % interval {points(interval.low)} to {points(interval.high)}, over "
            f"{plural(interval.clusters, interval.unit)}" if interval else "")
    if interval and interval.confidence != 0.95:
        span = span.replace("95 %", f"{100 * interval.confidence:g} %", 1)
    notes = "".join(f"<p class='note'>{escape(note)}</p>" for note in result.notes())
    jump = "<a href='#confidence'>Confidence</a>" if confidence else ""
    return (
        f"<header><div class='top'><h1>{escape(title)}</h1>{THEME}</div>"
        f"<p class='headline'>{with_interval('WER', result.wer, interval)} "
        f"<small>{_counts(result.words)}</small></p>"
        f"<p>{escape(span)}. {with_interval('CER', result.cer, result.cer_interval)}. "
        f"{escape(result.other_measures())}. Without normalising: "
        f"WER {percent(result.raw_words.rate)}, CER {percent(result.raw_characters.rate)}.</p>"
        f"{notes}{receipt_details(result.receipt)}"
        f"<nav class='jump'><a href='#where'>Where</a>{jump}<a href='#words'>Words</a>"
        "<a href='#examples'>Examples</a><a href='#utterances'>Utterances</a></nav></header>")


def comparison_header(comparison: Comparison, scores: tuple[Score, Score]) -> str:
    """The verdict, the numbers behind it, and both receipts."""
    interval, (a, b) = comparison.paired.interval, comparison.names
    notes = "".join(f"<p class='note'>{escape(note)}</p>" for note in comparison.notes)
    receipts = "".join(f"<div class='card'><h3>{escape(name)}: WER {percent(wer)}</h3>"
                       f"{receipt_details(score.receipt)}</div>"
                       for name, wer, score in zip(comparison.names, comparison.wers, scores,
                                                   strict=True))
    return (
        f"<header><div class='top'><h1>{escape(a)} against {escape(b)}</h1>{THEME}</div>"
        f"<p class='headline'>{escape(comparison.verdict)}</p>"
        f"<p>Difference {points(comparison.difference)} points, {100 * interval.confidence:g} % "
        f"interval {points(interval.low)} to {points(interval.high)} (paired bootstrap over "
        f"{plural(interval.clusters, interval.unit)}). Matched pairs (MAPSSWE): p "
        f"{escape(p_value(comparison.segments.p))}. McNemar on utterances: p "
        f"{escape(p_value(comparison.utterances.p))}. {len(comparison.changed):,} of "
        f"{plural(len(comparison.pairs), 'utterance')} changed.</p>{notes}"
        f"<div class='grid'>{receipts}</div></header>")


def receipt_details(receipt: Receipt) -> str:
    """The receipt, folded: one line, and every field."""
    known = receipt.conditions
    fields = [("Utterances", f"{receipt.utterances:,} scored, {len(receipt.skipped):,} skipped"),
              ("Words, characters", f"{receipt.words:,}, {receipt.characters:,}"),
              ("Speakers", "unknown" if receipt.speakers is None else f"{receipt.speakers:,}"),
              ("Normaliser", receipt.normalizer), ("References", receipt.reference_hash),
              ("Decoder", known.decoder), ("Bundle", known.bundle_hash),
              ("Manifest", known.manifest_hash), ("Seed", "" if known.seed is None else known.seed),
              ("Real-time factor", "" if known.real_time_factor is None
               else f"{known.real_time_factor:.3g}"),
              *((name, value) for name, value in known.extra.items()),
              ("Versions", ", ".join(f"{name} {version}"
                                     for name, version in receipt.versions.items()))]
    entries = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>"
                      for name, value in fields if value != "")
    return (f"<details class='receipt'><summary>Receipt: {receipt.utterances:,} scored, "
            f"{len(receipt.skipped):,} skipped, {escape(receipt.normalizer)}</summary>"
            f"<p class='soft'>{escape(receipt.line())}</p><dl>{entries}</dl></details>")


def examples_section(examples: Mapping[str, Sequence[int]]) -> str:
    """Empty tables that the script fills with the worst, median and best utterances."""
    names = {"worst": "Most errors", "median": "In the middle", "best": "Best"}
    cards = "".join(f"<div class='card'><h3>{names[name]}</h3><table id='examples-{name}'></table>"
                    "</div>" for name, indices in examples.items() if indices)
    return section("examples", "Examples", _LEGEND + f"<div class='grid'>{cards}</div>")


def utterance_section(*, two: bool, clips: Clips) -> str:
    """Search, filter, the table that the script fills, and the pager."""
    options = [("all", "All"), ("errors", "With errors"), ("right", "Without errors"),
               ("flagged", "Flagged"), ("sound", "With sound")]
    if two:
        options += [("better", "Fewer errors now"), ("worse", "More errors now")]
    chosen = "".join(f"<option value='{value}'>{name}</option>" for value, name in options)
    sizes = "".join(f"<option>{size}</option>" for size in (25, 50, 100, 200))
    sound = ""
    if clips.mp3 or clips.left_out:
        sound = (f"<p class='soft'>{plural(len(clips.mp3), 'recording')} embedded (the first "
                 f"{CLIP_SECONDS:g} s, as MP3), {clips.left_out:,} left out to keep the file "
                 "small.</p>")
    pager = ("<div class='pager'><button id='first' type='button'>First</button>"
             "<button id='previous' type='button'>Previous</button>"
             "<button id='next' type='button'>Next</button>"
             "<button id='last' type='button'>Last</button>"
             f"<label>Rows <select id='size'>{sizes}</select></label></div>")
    return section("utterances", "Utterances", (
        "<noscript><p class='note'>Search, alignments and sound need a browser with scripts on; "
        "the tables above do not.</p></noscript>"
        f"{'' if not two else _LEGEND}<div class='tools'>"
        "<input id='search' type='search' placeholder='Search words, ids, speakers' "
        "aria-label='Search words, ids, speakers'>"
        f"<label>Show <select id='show'>{chosen}</select></label>"
        "<span id='count' class='soft' role='status' aria-live='polite'></span></div>"
        f"{_KEYS}<table id='list'><thead></thead></table>{pager}{sound}"))


def skipped_section(skipped: Sequence[tuple[str, str]], silent: Mapping[str, str]) -> str:
    """Utterances without a score, and recordings that could not be embedded, with the reason."""
    parts = []
    for heading, entries in (("Not scored", skipped), ("Recordings not read", silent.items())):
        rows = "".join(f"<tr><td><bdi>{escape(name)}</bdi></td><td>{escape(reason)}</td></tr>"
                       for name, reason in entries)
        if rows:
            parts.append(f"<div class='card'><h3>{heading}</h3><div class='scroll'><table><tbody>"
                         f"{rows}</tbody></table></div></div>")
    return section("skipped", "Left out", f"<div class='grid'>{''.join(parts)}</div>"
                   if parts else "")


def _counts(counts: Counts) -> str:
    return (f"S {counts.substitutions:,} D {counts.deletions:,} I {counts.insertions:,} "
            f"N {counts.reference:,}")
