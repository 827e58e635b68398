"""Alignments as sclite prints them with `-o pra`.

In: the rows of a score. Out: text that people and scripts who know sclite can read.

    id: (spk1_u1)
    Scores: (#C #S #D #I) 4 1 1 1
    REF:  the CAT sat **** on THE mat
    HYP:  the HAT sat DOWN on *** mat
    Eval:     S       I       D

The layout is sclite's, the alignment ours: unit costs, where sclite weighs a substitution 4 and an
insertion or deletion 3, so that its split into S, D, I can differ, and its total is never lower.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from asr.scoring.counts import Step, align_words
from asr.scoring.result import Row


def pra(rows: Iterable[Row]) -> str:
    """The alignment of every row, in sclite's layout.

    Example:
        >>> pra_block("u1", align_words("a b", "a c")).splitlines()[2:4]
        ['REF:  a B ', 'HYP:  a C ']
    """
    return "\n".join(
        pra_block(row.id, align_words(row.normalized_reference, row.normalized_hypothesis))
        for row in rows)


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
            reference, hypothesis = reference.upper(), hypothesis.upper()
            size = max(_columns(reference), _columns(hypothesis))
        top.append(_pad(reference or "*" * size, size))
        bottom.append(_pad(hypothesis or "*" * size, size))
        marks.append({"equal": "", "substitute": "S", "delete": "D", "insert": "I"}[step.kind]
                     .ljust(size))
    rows = [("REF: ", top), ("HYP: ", bottom), ("Eval:", marks)]
    lines = [f"{head} {''.join(cell + ' ' for cell in cells)}" for head, cells in rows]
    return f"id: ({name})\nScores: (#C #S #D #I) {counts}\n" + "\n".join(lines) + "\n"


def _columns(text: str) -> int:
    """Columns in a terminal: combining marks take none, East Asian wide characters two."""
    return sum(0 if unicodedata.combining(character)
               else 2 if unicodedata.east_asian_width(character) in "WF" else 1
               for character in text)


def _pad(text: str, size: int) -> str:
    return text + " " * (size - _columns(text))
