"""References in sclite's notation: alternations and optionally deletable words.

In: the words of a line, such as `{ one / 1 } two (uh)`. Out: its readings as a graph of words, and
the reading that is nearest to a hypothesis. Reference: NIST's SCTK, doc/infmts.htm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.errors import DataError
from asr.text import normalize

# sclite's weights decide between readings with the same number of errors
_ERROR = 1_000_000_000
_SUBSTITUTION, _OTHER, _LEFT_OUT = _ERROR + 4, _ERROR + 3, 2
_MOST_CELLS = 20_000_000

_PIECES = re.compile(r"[{}]|[^\s{}]+")
_PIECES_INSIDE = re.compile(r"[{}/]|[^\s{}/]+")
_OPTIONAL = re.compile(r"\(+([^()\s]+)\)+")
_TAGGED = re.compile(r";\w")
_DEEPEST = 50  # alternatives inside alternatives


@dataclass(frozen=True, slots=True)
class Arc:
    """A step from one node of a word graph to a later one; "" is no word."""

    source: int
    target: int
    word: str
    optional: bool = False


def word_graph(text: str, where: str, *, optional: bool = False) -> list[Arc]:
    """All readings of a text in sclite's notation: `{ a / b c / @ }`, and `(uh)` if asked for.

    Braces and, inside them, slashes cut words without blanks too; `@` is no word; alternatives
    may hold alternatives.

    Args:
        text: the words of an utterance.
        where: file and line, for the message.
        optional: whether a word in parentheses may be left out; it then loses them.

    Returns:
        Arcs from node 0 to the highest node, ordered by source; each leads to a later node.

    Raises:
        DataError: braces that do not match, an alternative without `@` or word, `word;tag`, and,
            with `optional`, parentheses that are not around one word.
    """
    arcs: list[Arc] = []
    node = newest = 0
    opened: list[tuple[int, list[int]]] = []  # where the alternatives start, where each ended
    filled, position = True, 0
    while match := (_PIECES_INSIDE if opened else _PIECES).search(text, position):
        piece, position = match[0], match.end()
        if piece == "{":
            opened.append((node, []))
            filled = False
            if len(opened) > _DEEPEST:
                raise _notation(where, f"more than {_DEEPEST} braces inside each other",
                                "fewer", text)
        elif piece == "}" and not opened:
            raise _notation(where, "a brace } that nothing opened", "{ a / b }", text)
        elif opened and piece in "/}":
            if not filled:
                raise _notation(where, "an empty alternative", "@ for no word", text)
            start, ends = opened[-1]
            ends.append(node)
            node, filled = start, piece == "}"
            if piece == "}":
                opened.pop()
                newest += 1
                arcs += [Arc(end, newest, "") for end in ends]
                node = newest
        else:
            word, may_go = _word(piece, where, text, optional)
            newest += 1
            arcs.append(Arc(node, newest, word, may_go))
            node, filled = newest, True
    if opened:
        raise _notation(where, "a brace { that nothing closed", "{ a / b }", text)
    return sorted(arcs, key=lambda arc: arc.source)


def _word(piece: str, where: str, text: str, optional: bool) -> tuple[str, bool]:
    if _TAGGED.search(piece):
        raise _notation(where, f"{piece!r}, which sclite reads as a word with a tag",
                        "the word alone", text)
    if piece == "@":
        return "", False
    if optional and ("(" in piece or ")" in piece):
        match = _OPTIONAL.fullmatch(piece)
        if match is None:
            raise _notation(where, f"the parenthesis in {piece!r}",
                            "one word in parentheses, such as (uh)", text)
        return match[1], True
    return piece, False


def _notation(where: str, got: str, expected: str, text: str) -> DataError:
    shown = text if len(text) <= 80 else text[:80] + "..."
    return DataError(f"{where}: got {got} in {shown!r}; expected {expected}. Correct the line.",
                     code="text.alternation")


def nearest_reading(arcs: Sequence[Arc], hypothesis: str, normalizer: str,
                    where: str) -> tuple[str, str, int]:
    """The reading of a reference that has the fewest errors against a hypothesis.

    Equal numbers of errors are decided by sclite's weights (substitution 4, deletion and insertion
    3). An optional word that was not said is no error: it is in both texts that come back, as
    it counts among the correct words in sclite -D.

    Args:
        arcs: from `word_graph`.
        hypothesis: what was recognised.
        normalizer: words are compared under it.
        where: file and line, for the message.

    Returns:
        The reference, the hypothesis, and how many optional words were added to the latter.

    Raises:
        DataError: the two are too long for it.
    """
    keys = {word: normalize(word, normalizer).split() for word in
            {arc.word for arc in arcs} | set(hypothesis.split())}
    raw = hypothesis.split()
    heard = [(key, index) for index, word in enumerate(raw) for key in keys[word]]
    if (sum(len(keys[arc.word]) + 1 for arc in arcs) + 1) * (len(heard) + 1) > _MOST_CELLS:
        raise DataError(f"{where}: got {len(arcs):,} words with alternatives or optional ones "
                        f"against {len(raw):,}; expected at most {_MOST_CELLS:,} pairs of words. "
                        "Cut the utterance.", code="score.long")
    numbers = {key: number for number, key in enumerate(dict.fromkeys(key for key, _ in heard))}
    spoken = np.array([numbers[key] for key, _ in heard], np.int64)
    steps = np.arange(len(heard) + 1) * _OTHER
    costs: dict[int, np.ndarray] = {0: steps.copy()}
    best: dict[int, list] = {}
    for arc in arcs:  # by source, so that what leads to it is complete
        # a node is closed under insertions when its first arc is followed
        column = costs[arc.source]
        column[:] = np.minimum.accumulate(column - steps) + steps
        table = [column]
        for key in keys[arc.word]:
            before = table[-1]
            after = before + _OTHER
            hit = before[:-1] + np.where(spoken == numbers.get(key, -1), 0, _SUBSTITUTION)
            after[1:] = np.minimum(after[1:], hit)
            table.append(np.minimum.accumulate(after - steps) + steps)
        end = table[-1].copy()
        if arc.optional:
            end = np.minimum(end, column + _LEFT_OUT)
        best.setdefault(arc.target, []).append((arc, table, end))
        costs[arc.target] = (np.minimum(costs[arc.target], end) if arc.target in costs
                             else end.copy())
    node, place, words, added = max(costs), len(heard), [], []
    last = costs[node]
    last[:] = np.minimum.accumulate(last - steps) + steps
    while node:
        while not any(end[place] == costs[node][place] for _, _, end in best[node]):
            place -= 1  # a word that was not said
        arc, table, end = next(way for way in best[node]
                               if way[2][place] == costs[node][place])
        if arc.word:
            words.append(arc.word)
        if arc.optional and end[place] == table[0][place] + _LEFT_OUT:
            added.append((heard[place - 1][1] + 1 if place else 0, arc.word))
        else:
            place = _back(table, [keys[arc.word], spoken, numbers], place)
        node = arc.source
    for index, word in added:  # from the last to the first
        raw.insert(index, word)
    return " ".join(reversed(words)), " ".join(raw) if added else hypothesis, len(added)


def _back(table: list[np.ndarray], known: list, place: int) -> int:
    """Where in the hypothesis the word began whose cost table this is."""
    keys, spoken, numbers = known
    for level in range(len(keys), 0, -1):
        before, after = table[level - 1], table[level]
        number = numbers.get(keys[level - 1], -1)
        while True:
            price = after[place]
            if place and price == before[place - 1] + (0 if spoken[place - 1] == number
                                                       else _SUBSTITUTION):
                place -= 1
                break
            if price == before[place] + _OTHER:
                break
            place -= 1  # an insertion after the word
    return place
