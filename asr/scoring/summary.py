"""The summary that sclite prints with `-o sum rsum dtl`, for scripts that read it.

In: a score. Out: text: percentages by speaker, counts by speaker, and the detailed report. Layout,
rounding and order are those of NIST's SCTK 2.4 (scores.c, rpg.c, sc_dtl.c), so that
`grep -e Avg -e SPKR -m 2` and the like find what they look for; character by character equal where
the alignment is sclite's, too.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from asr.scoring.counts import Step
from asr.scoring.result import Score, ScoreRow, align_rows, plural
from asr.text import UNITS, normalize

_PAGE = 80
_HEADS = ("Corr", " Sub", " Del", " Ins", " Err", "S.Err")
_BARS = (0, 2, 8)  # columns with a bar to their right
_SMALLEST = 1e-7  # of a confidence, and of its distance to 1
_NO_WORDS = ("\n* No Reference words for this/these speaker(s).  Word counts supplied\n"
             "  rather than percents.\n"
             "# No Reference words for this/these speaker(s).  NCE not computable.\n"
             "+ Speaker(s) with no reference data is ignored\n")


def sclite_summary(result: Score, title: str,
                   confidences: Mapping[str, Sequence[float | None]] | None = None) -> str:
    """Percentages by speaker (sclite's .sys), counts by speaker (.raw) and details (.dtl).

    Args:
        result: from `asr.scoring.score`. Speakers are the rows'; where none is known, each id is
            cut at its first "-", or else "_", as sclite -i rm does; where some id has neither,
            there is one speaker, "unknown".
        title: name of the system; sclite takes the name of the hypothesis file.
        confidences: those of the normalised words of each hypothesis by utterance id, from
            `word_confidences`; the tables then have sclite's column NCE.

    Returns:
        Text that ends with a line's end. Speakers come in the order of the utterances.
    """
    steps = dict(zip((row.id for row in result.rows),
                     align_rows(result.rows, result.receipt.alignment), strict=True))
    speakers = _by_speaker(result.rows)
    unit = "# Chr" if result.receipt.normalizer.partition("-")[0].endswith(UNITS) else "# Wrd"
    nce = [*(_nce(rows, steps, confidences, 0.0) for rows in speakers.values()),
           _nce(result.rows, steps, confidences, math.nan)] if confidences else []
    return (_table(speakers, title, unit, nce, raw=False)
            + _table(speakers, title, unit, nce, raw=True)
            + _details(result, title, list(steps.values())))


def word_confidences(result: Score, confidences: Mapping[str, Sequence[float | None]]
                     ) -> tuple[dict[str, list[float | None]], list[str]]:
    """The confidence of each normalised word of the hypotheses.

    Args:
        result: from `asr.scoring.score`.
        confidences: those of the words as they were given, see `asr.scoring.formats.TextFile`.

    Returns:
        Confidences by utterance id, and sentences for the person. Nothing by id where no word has a
        confidence or the normaliser joins words.
    """
    normalizer = result.receipt.normalizer.partition("-")[0]
    found: dict[str, list[float | None]] = {}
    for row in result.rows if confidences else ():
        given, words = confidences.get(row.id, ()), row.hypothesis.split()
        pieces = [normalize(word, normalizer).split() for word in words]
        whole = row.normalized_hypothesis.split()
        if len(given) != len(words) or [token for piece in pieces for token in piece] != whole:
            return {}, [f"Utterance {row.id[:80]!r}: the normaliser {normalizer} joins words, so "
                        "that no confidence belongs to the new one. The column NCE is left out; "
                        "choose --normalizer case for it."]
        found[row.id] = [value for value, piece in zip(given, pieces, strict=True) for _ in piece]
    unknown = sum(value is None for values in found.values() for value in values)
    return found, [f"{plural(unknown, 'word')} without a confidence that can be read; for NCE 0 "
                   "was taken, as in sclite."] if unknown else []


def _by_speaker(rows: Sequence[ScoreRow]) -> dict[str, list[ScoreRow]]:
    known = any(row.speaker for row in rows)
    in_ids = all(re.search("[-_]", row.id) for row in rows)
    speakers: dict[str, list[ScoreRow]] = {}
    for row in rows:
        name = row.id.partition("-" if "-" in row.id else "_")[0] if in_ids else "unknown"
        speakers.setdefault((row.speaker if known else name).lower(), []).append(row)
    return speakers


def _table(speakers: Mapping[str, Sequence[ScoreRow]], title: str, unit: str,
           nce: Sequence[float], *, raw: bool) -> str:
    """One table; `raw` counts, otherwise percentages.

    `unit` heads the number of words; `nce` is that of each speaker and of all, or empty.
    """
    counts = [_counts(rows) for rows in speakers.values()]
    without = not raw and any(row[1] == 0 for row in counts)
    lines: list[tuple[str, ...]] = [(" SPKR", " # Snt", unit, *_HEADS, *["NCE"] * bool(nce))]
    for number, (name, row) in enumerate(zip(speakers, counts, strict=True)):
        shown = row[2:] if raw else _percentages(row)
        if raw:
            cells = [f"{_round(value, 0):5.0f} " for value in shown]
        elif row[1] == 0:  # counts instead of percentages
            cells = [f"{value:5.0f}*" for value in row[2:7]] + [f"{_round(shown[5], 1):5.1f} "]
        else:
            cells = [f"{_round(value, 1):5.1f} " for value in shown]
        if nce:
            cells.append(f"{_round(nce[number], 3):7.3f} " if row[1] else "# ")
        lines.append((f" {name} ", f"{row[0]:5d}", f"{row[1]:5d}", *cells))
    sums = [sum(column) for column in zip(*counts, strict=True)]
    lines.append((" Sum" if raw else " Sum/Avg", f"{sums[0]:5d}", f"{sums[1]:5d}", *(
        f"{_round(value, 0):5.0f} " if raw else f"{_round(value, 1):5.1f} "
        for value in (sums[2:] if raw else _percentages(sums))),
        *(f"{_round(value, 3):7.3f} " for value in nce[-1:])))
    spoken = [row for row in counts if row[1] or raw]
    columns = [[row[0] for row in counts], [row[1] for row in counts],
               *([row[k] if raw else _percentages(row)[k - 2] for row in spoken]
                 for k in range(2, 7)),
               [row[7] if raw else _percentages(row)[5] for row in counts]]
    for name, function in ((" Mean ", statistics.fmean), (" S.D. ", _deviation),
                           ("Median", _median)):
        lines.append((name, *(f"{_round(function(column) if column else 0, 1):5.1f}"
                              f"{'+' if without and 2 <= k <= 6 else ' '}"
                              for k, column in enumerate(columns)),
                      *(f"{_round(function(found), 3):7.3f}{'#' if without else ' '}"
                        for found in [nce[:-1]] if nce)))
    return (f"\n\n\n{_centre('SYSTEM SUMMARY PERCENTAGES by SPEAKER', _PAGE)}\n\n"
            f"{_box(lines, title)}{_NO_WORDS if without else ''}")


def _counts(rows: Sequence[ScoreRow]) -> list[int]:
    """Sentences, words, correct, S, D, I, errors, sentences with errors."""
    spoken, wrong, lost, extra = (
        sum(getattr(row.words, field) for row in rows)
        for field in ("reference", "substitutions", "deletions", "insertions"))
    return [len(rows), spoken, spoken - wrong - lost, wrong, lost, extra, wrong + lost + extra,
            sum(row.words.errors > 0 for row in rows)]


def _percentages(counts: Sequence[int]) -> list[float]:
    """What follows the number of words, in percent: of words, the last one of sentences."""
    return [100 * value / counts[1] if counts[1] else 0.0 for value in counts[2:7]] + [
        100 * counts[7] / counts[0]]


def _nce(rows: Sequence[ScoreRow], steps: Mapping[str, Sequence[Step]],
         confidences: Mapping[str, Sequence[float | None]], without: float) -> float:
    """Normalised cross entropy; NaN where all words are right, or all wrong; or `without` a word.

    A word that was added, with the confidence NaN, counts among the right ones alone, as in sclite.
    """
    _, _, right, wrong, _, extra, *_ = _counts(rows)
    words, bits = 0, 0.0
    for row in rows:
        heard = [step for step in steps[row.id] if step.hypothesis is not None]
        for step, value in zip(heard, confidences[row.id], strict=True):
            if value is None or not math.isnan(value):
                sure = min(max(value or 0.0, _SMALLEST), 1 - _SMALLEST)
                bits += math.log2(sure if step.kind == "equal" else 1 - sure)
                words += 1
    if not words or not right or not wrong + extra:
        return math.nan if words else without
    whole = right + wrong + extra
    entropy = -sum(count * math.log2(count / whole) for count in (right, wrong + extra))
    return (entropy + bits) / entropy


def _box(lines: Sequence[tuple[str, ...]], title: str) -> str:
    """The table as sclite's report generator draws it, centred on a page of 80 columns.

    A title that is wider than the table widens its columns.
    """
    sizes = [max(map(len, column)) for column in zip(*lines, strict=True)]
    last = len(sizes) - 1
    inner = max(sum(sizes) + last, len(title))
    spare, added, wide = inner - sum(sizes) - last, 0, []
    for column in range(last + 1):
        more = int(spare / (last + 1) * (column + 1) + 0.5) - added
        added += more
        wide.append(sizes[column] + more)
    pad = " " * max(0, (_PAGE - inner - 2) // 2)

    def across(mark: str, crossing: str) -> str:
        return "".join(mark * size + (crossing if column in _BARS else mark) * (column < last)
                       for column, size in enumerate(wide))

    drawn = [f",{'-' * inner}.", f"|{_centre(title, inner)}|"]
    for number, line in enumerate(lines):
        totals = len(lines) - 4  # the row of sums, below it mean, deviation and median
        if number in (totals, totals + 1):
            drawn.append(f"|{'=' * inner}|")
        elif number < totals:
            drawn.append(f"|{across('-', '+' if number else '-')}|")
        cells = []
        for column, (text, size) in enumerate(zip(line, sizes, strict=True)):
            left = column == 0 and number <= totals
            cell = text.ljust(size) if left else _centre(text, size)
            cells.append(_centre(cell, wide[column]))
            cells.append(("|" if column in _BARS else " ") * (column < last))
        drawn.append(f"|{''.join(cells)}|")
    drawn.append(f"`{'-' * inner}'")
    return "".join(f"{pad}{line}\n" for line in drawn)


def _details(result: Score, title: str, steps: Sequence[Sequence[Step]]) -> str:
    rows = result.rows
    sentences, words, right, wrong, lost, extra, errors, with_errors = _counts(rows)
    with_wrong, with_lost, with_extra = (
        sum(getattr(row.words, kind) > 0 for row in rows)
        for kind in ("substitutions", "deletions", "insertions"))

    def share(label: str, number: int, whole: int, wide: int) -> str:
        percentage = f"{_round(100 * number / whole, 1):5.1f}%" if whole else "UNDEF%"
        return f"{label:<{wide}}{percentage}   ({number:4d})\n"

    accuracy = f"{_round(100 - 100 * errors / words, 1):5.1f}%" if words else "UNDEF%"
    return (
        f"DETAILED OVERALL REPORT FOR THE SYSTEM: {title}\n\nSENTENCE RECOGNITION PERFORMANCE\n\n"
        f"{' sentences':<50}{sentences:4d}\n"
        + share(" with errors", with_errors, sentences, 40) + "\n"
        + share("   with substitions", with_wrong, sentences, 40)
        + share("   with deletions", with_lost, sentences, 40)
        + share("   with insertions", with_extra, sentences, 40)
        + "\n\nWORD RECOGNITION PERFORMANCE\n\n"
        + share("Percent Total Error       =  ", errors, words, 0) + "\n"
        + share("Percent Correct           =  ", right, words, 0) + "\n"
        + share("Percent Substitution      =  ", wrong, words, 0)
        + share("Percent Deletions         =  ", lost, words, 0)
        + share("Percent Insertions        =  ", extra, words, 0)
        + f"Percent Word Accuracy     =  {accuracy}\n\n\n"
        f"Ref. words                =           ({words:4d})\n"
        f"Hyp. words                =           ({right + wrong + extra:4d})\n"
        f"Aligned words             =           ({words + extra:4d})\n"
        + _word_lists(steps))


def _word_lists(alignments: Sequence[Sequence[Step]]) -> str:
    by_kind: dict[str, list[Step]] = {"substitute": [], "insert": [], "delete": [], "equal": []}
    for steps in alignments:
        for step in steps:
            by_kind[step.kind].append(step)
    confused = by_kind["substitute"]
    return (
        "\n" + _list("CONFUSION PAIRS", [f"{step.reference} ==> {step.hypothesis}"
                                         for step in confused])
        + "\n\n" + _list("INSERTIONS", [str(step.hypothesis) for step in by_kind["insert"]])
        + "\n\n" + _list("DELETIONS", [str(step.reference) for step in by_kind["delete"]])
        + "\n\n" + _list("SUBSTITUTIONS", [str(step.reference) for step in confused])
        + "\n* NOTE: The 'Substitution' words are those reference words\n"
        "        for which the recognizer supplied an incorrect word.\n\n"
        + "\n" + _list("FALSELY RECOGNIZED", [str(step.hypothesis) for step in confused])
        + "\n* NOTE: The 'Falsely Recognized' words are those hypothesis words\n"
        "        which the recognizer incorrectly substituted for a reference word.\n\n")


def _list(heading: str, entries: Sequence[str]) -> str:
    """How often each entry occurs, the most frequent first, equal ones in order of their bytes."""
    found = sorted(Counter(entries).items(), key=lambda entry: (-entry[1], entry[0].encode()))
    lines = "".join(f"{number:4d}: {count:4d}  ->  {entry}\n"
                    for number, (entry, count) in enumerate(found, 1))
    return (f"{heading:<30}   Total                 ({len(found)})\n"
            f"{'':<30}   With >=  1 occurrences ({len(found)})\n\n{lines}"
            f"     -------\n     {len(entries):5d}\n\n")


def _centre(text: str, size: int) -> str:
    left = (size - len(text)) // 2
    return " " * left + text + " " * (size - len(text) - left)


def _round(value: float, digits: int) -> float:
    """Halves away from zero, as sclite rounds; Python's own go to the even digit.

    NaN is the number that sclite's rounding to a whole number of 32 bits makes of it.
    """
    scale = 10 ** digits
    whole = -2 ** 31 if math.isnan(value) else int(value * scale + math.copysign(0.5, value))
    return whole / scale


def _deviation(values: Sequence[float]) -> float:
    return (math.nan if any(map(math.isnan, values)) else
            statistics.stdev(values) if len(values) > 1 else 0.0)


def _median(values: Sequence[float]) -> float:
    """The middle of the sorted values; each NaN stays in its place, as in sclite's sorting."""
    ordered, block = [], []
    for value in (*values, math.nan):
        block.append(value)
        if math.isnan(value):
            ordered += [*sorted(block[:-1]), value]
            block = []
    half = len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2
