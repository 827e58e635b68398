"""Word and character errors of many pairs at once, and the alignment of one.

In: normalised references and hypotheses. Out: substitutions, deletions, insertions, reference
length. The counting is jiwer's (unit costs, RapidFuzz underneath), called on whole batches.
Jiwer and NumPy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

_BATCH = 2_000  # pairs a jiwer call; its alignment objects, not the result, need the memory


@dataclass(frozen=True, slots=True)
class Counts:
    """Errors against a reference of `reference` words (or characters).

    Example:
        >>> counts = Counts(substitutions=1, deletions=0, insertions=2, reference=4)
        >>> counts.errors, counts.rate
        (3, 0.75)
        >>> Counts(0, 0, 2, 0).rate is None
        True
    """

    substitutions: int
    deletions: int
    insertions: int
    reference: int

    @property
    def errors(self) -> int:
        """S + D + I."""
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float | None:
        """(S + D + I) / N, which may pass 1; None without reference words, never 0."""
        return self.errors / self.reference if self.reference else None

    def to_dict(self) -> dict:
        """JSON-ready, with the rate."""
        return {"substitutions": self.substitutions, "deletions": self.deletions,
                "insertions": self.insertions, "reference": self.reference, "rate": self.rate}


@dataclass(frozen=True, slots=True)
class Step:
    """One column of an alignment.

    `kind` is "equal", "substitute", "delete" or "insert"; `reference` is None for an insertion,
    `hypothesis` is None for a deletion.
    """

    kind: str
    reference: str | None
    hypothesis: str | None


def count_words(references: Sequence[str], hypotheses: Sequence[str]) -> np.ndarray:
    """Word errors of each pair.

    Args:
        references, hypotheses: texts whose words are separated by single spaces.

    Returns:
        (num_pairs, 4) int64: substitutions, deletions, insertions, reference words.

    Raises:
        ValueError: the two lists differ in length.
    """
    return _count(references, hypotheses, jiwer.process_words)


def count_characters(references: Sequence[str], hypotheses: Sequence[str]) -> np.ndarray:
    """Character errors of each pair, by code point, spaces between words included.

    Args:
        references, hypotheses: texts whose words are separated by single spaces.

    Returns:
        (num_pairs, 4) int64: substitutions, deletions, insertions, reference characters.

    Raises:
        ValueError: the two lists differ in length.
    """
    return _count(references, hypotheses, jiwer.process_characters)


def align_words(reference: str, hypothesis: str) -> list[Step]:
    """The word alignment that the counts come from.

    Example:
        >>> steps = align_words("a b c", "a x c d")
        >>> [(step.kind, step.reference, step.hypothesis) for step in steps]
        [('equal', 'a', 'a'), ('substitute', 'b', 'x'), ('equal', 'c', 'c'), ('insert', None, 'd')]
    """
    return next(align_many([reference], [hypothesis]))


def align_many(references: Sequence[str], hypotheses: Sequence[str]) -> Iterator[list[Step]]:
    """The word alignment of each pair, in order."""
    for start in range(0, len(references), _BATCH):
        output = jiwer.process_words(list(references[start:start + _BATCH]),
                                     list(hypotheses[start:start + _BATCH]))
        yield from map(_steps, output.references, output.hypotheses, output.alignments)


def _steps(words: list[str], heard: list[str], chunks: list) -> list[Step]:
    steps = []
    for chunk in chunks:
        spoken = words[chunk.ref_start_idx:chunk.ref_end_idx]
        written = heard[chunk.hyp_start_idx:chunk.hyp_end_idx]
        if chunk.type == "delete":
            steps += [Step("delete", word, None) for word in spoken]
        elif chunk.type == "insert":
            steps += [Step("insert", None, word) for word in written]
        else:
            steps += [Step(chunk.type, word, other)
                      for word, other in zip(spoken, written, strict=True)]
    return steps


def _count(references: Sequence[str], hypotheses: Sequence[str], process) -> np.ndarray:
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses; "
                         "each reference needs one.")
    counts = np.zeros((len(references), 4), np.int64)
    column = {"substitute": 0, "delete": 1, "insert": 2}
    for start in range(0, len(references), _BATCH):
        output = process(list(references[start:start + _BATCH]),
                         list(hypotheses[start:start + _BATCH]))
        for row, (reference, chunks) in enumerate(
                zip(output.references, output.alignments, strict=True), start):
            counts[row, 3] = len(reference)
            for chunk in chunks:
                if chunk.type != "equal":
                    counts[row, column[chunk.type]] += max(
                        chunk.ref_end_idx - chunk.ref_start_idx,
                        chunk.hyp_end_idx - chunk.hyp_start_idx)
    return counts
