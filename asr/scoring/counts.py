"""Word and character errors of many pairs at once, and the alignment of one.

In: normalised references and hypotheses. Out: substitutions, deletions, insertions, reference
length. Every error costs 1, and jiwer aligns the words; or a substitution costs 4, an insertion or
deletion 3, as in sclite. Characters are aligned by RapidFuzz, which jiwer uses: its objects for
100,000 texts of 100 characters would need a gigabyte. NumPy, and numba for sclite's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import jiwer
import numpy as np
from rapidfuzz.distance import Levenshtein

from asr.errors import DataError, UsageError
from asr.terminal import plural

ALIGNMENTS = ("unit", "sclite")
_BATCH = 100  # pairs at once; with more, the garbage collector walks their alignments for long
_MOST_PAIRS = {"unit": 10**11, "sclite": 4 * 10**9}  # of characters: each about 20 s on one core


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


def count_words(references: Sequence[str], hypotheses: Sequence[str],
                alignment: str = "unit") -> np.ndarray:
    """Word errors of each pair.

    Args:
        references, hypotheses: texts whose words are separated by single spaces.
        alignment: "unit" for the fewest errors (jiwer), or "sclite" for its weights and ties.

    Returns:
        (num_pairs, 4) int64: substitutions, deletions, insertions, reference words.

    Raises:
        ValueError: the two lists differ in length.
        UsageError: an unknown alignment.
    """
    return _count(references, hypotheses, alignment, str.split)


def count_characters(references: Sequence[str], hypotheses: Sequence[str],
                     alignment: str = "unit") -> np.ndarray:
    """Character errors of each pair, by code point, spaces between words included.

    Args:
        references, hypotheses: texts whose words are separated by single spaces.
        alignment: as in `count_words`.

    Returns:
        (num_pairs, 4) int64: substitutions, deletions, insertions, reference characters.

    Raises:
        ValueError: the two lists differ in length.
        UsageError: an unknown alignment.
    """
    return _count(references, hypotheses, alignment, str)


def refuse_long(names: Iterable[str], references: Iterable[str], hypotheses: Iterable[str],
                alignment: str = "unit") -> None:
    """Name the first utterance that is too long to be aligned in about 20 seconds.

    Raises:
        DataError: there is one.
    """
    most = _MOST_PAIRS[checked_alignment(alignment)]
    for name, reference, hypothesis in zip(names, references, hypotheses, strict=True):
        if len(reference) * len(hypothesis) > most:
            raise DataError(
                f"Utterance {name[:80]!r}: got {plural(len(reference), 'character')} in the "
                f"reference and {len(hypothesis):,} in the hypothesis, expected a product of at "
                f"most {most:,}. "
                "Cut the recording into utterances.", code="score.long")


def checked_alignment(name: str) -> str:
    """The name itself.

    Raises:
        UsageError: it is none of `ALIGNMENTS`.
    """
    if name not in ALIGNMENTS:
        raise UsageError(f"Unknown alignment {name!r}; expected {' or '.join(ALIGNMENTS)}.")
    return name


def align_words(reference: str, hypothesis: str, alignment: str = "unit") -> list[Step]:
    """The word alignment that the counts come from.

    Example:
        >>> steps = align_words("a b c", "a x c d")
        >>> [(step.kind, step.reference, step.hypothesis) for step in steps]
        [('equal', 'a', 'a'), ('substitute', 'b', 'x'), ('equal', 'c', 'c'), ('insert', None, 'd')]
    """
    return next(align_many([reference], [hypothesis], alignment))


def align_many(references: Sequence[str], hypotheses: Sequence[str],
               alignment: str = "unit") -> Iterator[list[Step]]:
    """The word alignment of each pair, in order."""
    if len(references) != len(hypotheses):
        raise ValueError(f"{plural(len(references), 'reference')} but "
                         f"{plural(len(hypotheses), 'hypothesis', 'hypotheses')}; "
                         "each reference needs one.")
    paths = (map(_sclite_path, references, hypotheses)
             if checked_alignment(alignment) == "sclite" else _unit_paths(references, hypotheses))
    for path, reference, hypothesis in zip(paths, references, hypotheses, strict=True):
        yield steps_of(path, reference, hypothesis)


class _Words(jiwer.AbstractTransform):
    """jiwer's own takes a second for 100,000 texts to look for repeated spaces, which none has."""

    def process_list(self, inp: list[str]) -> list[list[str]]:
        return [text.split() for text in inp]


_WORDS = _Words()


def _aligned(references: Sequence[str], hypotheses: Sequence[str]
             ) -> Iterator[tuple[list[str], list[str], list]]:
    """The words of each pair and the chunks of its alignment, by jiwer."""
    for start in range(0, len(references), _BATCH):
        output = jiwer.process_words(list(references[start:start + _BATCH]),
                                     list(hypotheses[start:start + _BATCH]), _WORDS, _WORDS)
        yield from zip(output.references, output.hypotheses, output.alignments, strict=True)


def _unit_paths(references: Sequence[str], hypotheses: Sequence[str]) -> Iterator[str]:
    """The word alignment of each pair, as one letter a step."""
    letters = {"equal": "=", "substitute": "S", "delete": "D", "insert": "I"}
    for _, _, chunks in _aligned(references, hypotheses):
        yield "".join([letters[chunk.type] * max(chunk.ref_end_idx - chunk.ref_start_idx,
                                                 chunk.hyp_end_idx - chunk.hyp_start_idx)
                       for chunk in chunks])


def _sclite_path(reference: str, hypothesis: str) -> str:
    from asr.scoring.sclite_kernels import trace_sequences  # numba takes a while to import

    numbers: dict[str, int] = {}
    moves = trace_sequences(_numbered(reference.split(), numbers),
                            _numbered(hypothesis.split(), numbers))
    return "".join("SDI="[move] for move in moves.tolist())


def steps_of(path: str, reference: str, hypothesis: str) -> list[Step]:
    """An alignment from one letter of = S D I a step.

    Example:
        >>> [step.kind for step in steps_of("=I", "a", "a b")]
        ['equal', 'insert']
    """
    kinds = {"=": "equal", "S": "substitute", "D": "delete", "I": "insert"}
    spoken, heard = iter(reference.split()), iter(hypothesis.split())
    return [Step(kinds[letter], None if letter == "I" else next(spoken),
                 None if letter == "D" else next(heard)) for letter in path]


def _count(references: Sequence[str], hypotheses: Sequence[str], alignment: str,
           split: Callable[[str], Sequence[str]]) -> np.ndarray:
    if len(references) != len(hypotheses):
        raise ValueError(f"{plural(len(references), 'reference')} but "
                         f"{plural(len(hypotheses), 'hypothesis', 'hypotheses')}; "
                         "each reference needs one.")
    if checked_alignment(alignment) == "sclite":
        return np.concatenate([np.empty((0, 4), np.int64), *(
            _sclite_counts(references[start:start + _BATCH], hypotheses[start:start + _BATCH],
                           split) for start in range(0, len(references), _BATCH))])
    counts = np.empty((len(references), 4), np.int64)
    if split is str.split:
        for row, (spoken, heard, chunks) in enumerate(_aligned(references, hypotheses)):
            paired = replaced = 0  # words that have a partner, and those of them that differ
            for chunk in chunks:
                if chunk.type == "equal":
                    paired += chunk.ref_end_idx - chunk.ref_start_idx
                elif chunk.type == "substitute":
                    replaced += chunk.ref_end_idx - chunk.ref_start_idx
            paired += replaced
            counts[row] = replaced, len(spoken) - paired, len(heard) - paired, len(spoken)
        return counts
    for row, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        errors = [edit[0] for edit in Levenshtein.editops(reference, hypothesis).as_list()]
        replaced = errors.count("replace")
        inserted = (len(errors) - replaced + len(hypothesis) - len(reference)) // 2
        counts[row] = replaced, len(errors) - replaced - inserted, inserted, len(reference)
    return counts


def _sclite_counts(references: Sequence[str], hypotheses: Sequence[str],
                   split: Callable[[str], Sequence[str]]) -> np.ndarray:
    from asr.scoring.sclite_kernels import count_sequences

    numbers: dict[str, int] = {}
    sides = []
    for texts in (references, hypotheses):
        tokens = [split(text) for text in texts]
        sides += [_numbered(chain.from_iterable(tokens), numbers) if split is str.split
                  else _code_points("".join(texts)),
                  np.cumsum([len(found) for found in tokens], dtype=np.int64)]
    return count_sequences(*sides)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)


def _numbered(tokens: Iterable[str], numbers: dict[str, int]) -> np.ndarray:
    """Each token as a number, the same token the same one; `numbers` grows."""
    return np.array([numbers.setdefault(token, len(numbers)) for token in tokens], np.int64)
