"""Alignments as sclite prints them with `-o pra`.

In: the rows of a score. Out: text that people and scripts who know sclite can read.

    id: (spk1_u1)
    Scores: (#C #S #D #I) 4 1 1 1
    REF:  the CAT sat **** on THE mat
    HYP:  the HAT sat DOWN on *** mat
    Eval:     S       I       D

The layout is sclite's; so is the alignment of a score that was counted with it. Otherwise every
error costs 1, where sclite weighs a substitution 4 and an insertion or deletion 3, so that its
split into S, D, I can differ, and its total is never lower.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from asr.scoring.counts import Step
from asr.scoring.result import ScoreRow, align_rows


def pra(rows: Sequence[ScoreRow], alignment: str = "unit") -> str:
    """The alignment of every row, in sclite's layout.

    Args:
        rows: the rows of a score.
        alignment: that of its receipt.

    Example:
        >>> from asr.scoring.counts import align_words
        >>> pra_block("u1", align_words("a b", "a c")).splitlines()[2:4]
        ['REF:  a B ', 'HYP:  a C ']
    """
    return "\n".join(pra_block(row.id, steps) for row, steps in
                     zip(rows, align_rows(rows, alignment), strict=True))


def pra_block(name: str, steps: list[Step]) -> str:
    """One utterance: id, counts, and the two texts with errors in capitals."""
    kinds = [step.kind for step in steps]
    counts = " ".join(str(kinds.count(kind))
                      for kind in ("equal", "substitute", "delete", "insert"))
    top, bottom, marks = [], [], []
    for step in steps:
        reference, hypothesis = step.reference or "", step.hypothesis or ""
        size = max(_columns(reference), _columns(hypothesis))
        if step.kind != "equal":
            reference, hypothesis = _capitals(reference), _capitals(hypothesis)
            size = max(_columns(reference), _columns(hypothesis))
        top.append(_pad(reference or "*" * size, size))
        bottom.append(_pad(hypothesis or "*" * size, size))
        marks.append({"equal": "", "substitute": "S", "delete": "D", "insert": "I"}[step.kind]
                     .ljust(size))
    rows = [("REF: ", top), ("HYP: ", bottom), ("Eval:", marks)]
    lines = [f"{head} {''.join(cell + ' ' for cell in cells)}" for head, cells in rows]
    return f"id: ({name})\nScores: (#C #S #D #I) {counts}\n" + "\n".join(lines) + "\n"


def _capitals(text: str) -> str:
    """In capitals where a letter has one: ß stays as it is."""
    return "".join(letter.upper() if len(letter.upper()) == 1 else letter for letter in text)


def _columns(text: str) -> int:
    """Columns in a terminal: combining marks take none, East Asian wide characters two."""
    return sum(0 if unicodedata.combining(character)
               else 2 if unicodedata.east_asian_width(character) in "WF" else 1
               for character in text)


def _pad(text: str, size: int) -> str:
    return text + " " * (size - _columns(text))
