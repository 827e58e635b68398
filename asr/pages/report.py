"""A score as one HTML file: opens by e-mail, needs no network, and a hostile text stays text.

In: a `Score` (or a `Comparison`), recordings, word times. Out: HTML with everything inside; the
utterances as JSON that the page's own script shows in pages.

Nothing from a transcript becomes markup, see `asr.pages.frame`. 20,000 utterances of 10 words make
3.8 MB; recordings come on top, up to a budget.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from asr.errors import DataError
from asr.files import write_atomic
from asr.pages.charts import learning_curve
from asr.pages.clips import MAX_AUDIO_BYTES, Clips, read_clips
from asr.pages.components import (
    comparison_header,
    examples_section,
    score_header,
    skipped_section,
    utterance_section,
)
from asr.pages.confidence_charts import confidence_charts
from asr.pages.frame import escape, fill_page, section, visible
from asr.pages.tables import group_table, word_tables
from asr.parsing import read_whole_objects
from asr.scoring.breakdown import (
    Group,
    by_duration,
    by_snr,
    by_speaker,
    by_speaking_rate,
    operations,
    word_errors,
)
from asr.scoring.comparison import Comparison
from asr.scoring.confidence import ConfidenceReport
from asr.scoring.counts import Step
from asr.scoring.result import Score, ScoreRow, align_rows
from asr.scoring.storage import save, to_csv

if TYPE_CHECKING:
    from asr.manifest import Utterance

EXAMPLES = 5


class WordTimes(Protocol):
    """A word with its times in seconds, such as `asr.transcript.Word`."""

    @property
    def text(self) -> str: ...  # noqa: D102
    @property
    def start(self) -> float: ...  # noqa: D102
    @property
    def end(self) -> float: ...  # noqa: D102


def write_report(path: str | Path, result: Score, *, title: str = "",
                 audio: Mapping[str, Path | str | Utterance] | None = None,
                 words: Mapping[str, Sequence[WordTimes]] | None = None,
                 curve: Sequence[Mapping] = (), flags: Mapping[str, str] | None = None,
                 max_audio_bytes: int = MAX_AUDIO_BYTES, show: str = "all",
                 confidence: ConfidenceReport | None = None,
                 groups: Mapping[str, Sequence[Group]] | None = None,
                 tables: bool = True) -> list[Path]:
    """Write the report, and beside it the utterances as CSV and JSONL.

    Args:
        path: path of the HTML file.
        result: from `asr.scoring.score`.
        title: title of the page; "" is the file's name.
        audio: recordings by utterance id (a path, or a manifest row where an offset matters).
            Clips of the utterances with most errors, and of the examples, are embedded up to
            `max_audio_bytes`; the SNR of all is estimated.
        words: recognised words with times, drawn under the spectrogram.
        curve: epoch records with "epoch", "wer", "cer"; see `read_curve`.
        flags: remarks by utterance id, such as why `asr audit` doubts the reference.
        show: what the list shows first: "all", "errors" or "flagged".
        confidence: what the recogniser's confidences are worth, see `asr.scoring.confidence`.
        groups: more tables by title, such as from `asr.scoring.columns.group_by`.
        tables: also write `<name>.csv`, `<name>.jsonl` and `<name>.receipt.json`.

    Returns:
        The paths written.
    """
    path = Path(path)
    page = score_report(result, title=title or path.stem, audio=audio, words=words, curve=curve,
                        flags=flags, max_audio_bytes=max_audio_bytes, show=show,
                        confidence=confidence, groups=groups)
    write_atomic(path, page)
    if not tables:
        return [path]
    table, rows = path.with_suffix(".csv"), path.with_suffix(".jsonl")
    write_atomic(table, to_csv(result.rows))
    return [path, table, rows, save(result, rows)]


def score_report(result: Score, *, title: str = "Word error rate",
                 audio: Mapping[str, Path | str | Utterance] | None = None,
                 words: Mapping[str, Sequence[WordTimes]] | None = None,
                 curve: Sequence[Mapping] = (), flags: Mapping[str, str] | None = None,
                 max_audio_bytes: int = MAX_AUDIO_BYTES, show: str = "all",
                 confidence: ConfidenceReport | None = None,
                 groups: Mapping[str, Sequence[Group]] | None = None) -> str:
    """The HTML of one system; arguments as for `write_report`."""
    rows = result.rows
    steps = list(align_rows(rows, result.receipt.alignment))
    examples = pick_examples(rows)
    order = _audio_order(rows, examples, flags or {})
    clips = read_clips(audio or {}, order, max_bytes=max_audio_bytes)
    found = {**(groups or {}), "By speaker": by_speaker(rows), "By duration": by_duration(rows),
             "By speaking rate": by_speaking_rate(rows),
             "By signal-to-noise ratio (estimated)": by_snr(rows, clips.snr)}
    where = "".join(group_table(heading, some) for heading, some in found.items())
    drawn = learning_curve(curve)
    body = [score_header(result, title, confidence=confidence is not None),
            section("curve", "Learning curve", f"<div class='card'>{drawn}</div>" if drawn else ""),
            section("where", "Where the errors are",
                    f"<div class='grid roomy'>{where}</div>" if where else ""),
            section("confidence", "Confidence",
                    confidence_charts(confidence) if confidence else ""),
            section("words", "Which words", f"<div class='grid'>"
                    f"{word_tables(word_errors(steps))}</div>"),
            examples_section(examples),
            utterance_section(two=False, clips=clips),
            skipped_section(result.receipt.skipped, clips.failed)]
    data = _page_data(["hypothesis"], [[row] for row in rows], [[step] for step in steps], clips,
                      words or {}, flags or {}, examples) | {"show": show}
    return render(title, "".join(body), data)


def comparison_report(comparison: Comparison, a: Score, b: Score, *,
                      audio: Mapping[str, Path | str | Utterance] | None = None,
                      max_audio_bytes: int = MAX_AUDIO_BYTES) -> str:
    """The HTML of two systems side by side: which utterances changed, and how.

    Args:
        comparison: comparison of `a` and `b`.
        a, b: the scores, for their receipts.
        audio, max_audio_bytes: as for `write_report`.
    """
    pairs = comparison.pairs
    changed = [pair[0].id for pair in comparison.changed]
    clips = read_clips(audio or {}, changed, max_bytes=max_audio_bytes, measure_snr=False)
    sides = [list(align_rows([pair[k] for pair in pairs], side.receipt.alignment))
             for k, side in enumerate((a, b))]
    title = f"{comparison.names[0]} against {comparison.names[1]}"
    columns = "".join(
        f"<h3>{escape(name)}</h3>"
        f"<div class='grid'>{word_tables(word_errors(steps, limit=20))}</div>"
        for name, steps in zip(comparison.names, sides, strict=True))
    body = [comparison_header(comparison, (a, b)), utterance_section(two=True, clips=clips),
            section("words", "Which words", columns)]
    data = _page_data(list(comparison.names), [list(pair) for pair in pairs],
                      [list(pair) for pair in zip(*sides, strict=True)], clips, {}, {}, {})
    return render(title, "".join(body), data)


def pick_examples(rows: Sequence[ScoreRow], count: int = EXAMPLES) -> dict[str, list[int]]:
    """Indices of the worst, the median and the best utterances by word error rate.

    The worst are those with the most errors (one wrong word of one is no insight), the best those
    with the lowest rate, long ones first; utterances without reference words are left out.
    """
    scored = [index for index, row in enumerate(rows) if row.words.reference]
    by_rate = sorted(scored, key=lambda index: (rows[index].words.rate or 0,
                                                -rows[index].words.reference, index))
    worst = sorted((index for index in scored if rows[index].words.errors),
                   key=lambda index: (-rows[index].words.errors, index))[:count]
    middle = max(0, len(by_rate) // 2 - count // 2)
    best = [index for index in by_rate[:count] if index not in worst]
    median = [index for index in by_rate[middle:middle + count] if index not in worst + best]
    return {"worst": worst, "median": median, "best": best}


def read_curve(path: str | Path) -> list[dict]:
    """The epoch records of a run's log.jsonl; [] where there is no such file.

    Damaged lines are left out: it is a report for people. So are epochs whose numbers are none.
    """
    if not Path(path).is_file():
        return []
    return [row for row in read_whole_objects(path)[0] if row.get("event") == "epoch"
            and isinstance(row.get("epoch"), int)
            and all(row.get(key) is None or isinstance(row[key], (int, float))
                    for key in ("wer", "cer"))]


def render(title: str, body: str, data: dict) -> str:
    """The page with its parts put in."""
    return fill_page(title, body, data=data, styles=("report.css",),
                     scripts=("signal.js", "picture.js", "player.js", "report.js"))


def _audio_order(rows: Sequence[ScoreRow], examples: Mapping[str, Sequence[int]],
                 flags: Mapping[str, str]) -> list[str]:
    """Ids for clips: flagged and examples first, then by number of errors."""
    first = [row.id for row in rows if row.id in flags]
    first += [rows[index].id for indices in examples.values() for index in indices]
    rest = [row.id for row in sorted(rows, key=lambda row: -row.words.errors)]
    return list(dict.fromkeys(first + rest))


def _page_data(systems: list[str], rows: list[list[ScoreRow]], steps: list[list[list[Step]]],
               clips: Clips, words: Mapping[str, Sequence[WordTimes]], flags: Mapping[str, str],
               examples: Mapping[str, Sequence[int]]) -> dict:
    """What the script reads; positions as in report.js, to keep 20,000 utterances small."""
    index = {row[0].id: number for number, row in enumerate(rows)}
    if len(index) != len(rows):
        raise DataError("Utterance ids repeat; a report needs each id once.",
                        code="score.duplicate_id")
    table = []
    for versions, aligned in zip(rows, steps, strict=True):
        row = versions[0]
        snr = clips.snr.get(row.id)
        table.append([
            visible(row.id), visible(row.speaker), row.duration,
            None if snr is None else round(snr, 1), row.words.reference,
            visible(row.normalized_reference),
            [[visible(one.normalized_hypothesis), operations(path), one.words.substitutions,
              one.words.deletions, one.words.insertions,
              *_as_written(one.hypothesis, one.normalized_hypothesis)]
             for one, path in zip(versions, aligned, strict=True)],
            visible(flags.get(row.id, "")),
            *_as_written(row.written, row.normalized_reference)])
    return {"systems": [visible(name) for name in systems], "rows": table,
            "clips": {index[name]: base64.b64encode(clip).decode()
                      for name, clip in clips.mp3.items() if name in index},
            "words": {index[name]: [[visible(word.text), round(word.start, 3),
                                     round(word.end, 3)] for word in spoken]
                      for name, spoken in words.items() if name in clips.mp3 and name in index},
            "examples": {name: list(indices) for name, indices in examples.items()}}


def _as_written(text: str, normalized: str) -> list[str]:
    """The text as its file has it, unless that is how it is compared."""
    written = " ".join(text.split())
    return [] if written == normalized else [visible(written)]
