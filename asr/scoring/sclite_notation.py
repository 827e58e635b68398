"""Texts in sclite's notation: alternations, optionally deletable words, fragments and tags.

In: the words of a line, such as `{ one / 1 } two (uh) hel-`. Out: its readings as a graph of
words, and of two graphs the readings that sclite scores. Reference: NIST's SCTK, doc/infmts.htm,
src/sclite/net_adt.c, align.c and word.c.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr.errors import DataError
from asr.text import UNITS, normalize

_MOST_CELLS = 20_000_000
_DEEPEST = 50  # alternatives inside alternatives

_PIECES = re.compile(r"[{}]|[^\s{}]+")
_PIECES_INSIDE = re.compile(r"[{}/]|[^\s{}/]+")
_OPTIONAL = re.compile(r"\(+([^()\s]+)\)+")
_TAG = re.compile(r"(?<=[^\\]);")
FRAGMENT = re.compile(r"(?<!\S)\(*(?:-\S*\w|\S*\w-)\)*(?!\S)")


@dataclass(frozen=True, slots=True)
class Arc:
    """A step from one node of a word graph to another; `word` "" is no word (sclite's @).

    `place` counts the words of the text.
    """

    source: int
    target: int
    word: str
    optional: bool = False
    place: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What is scored of a reference and a hypothesis.

    `added` optional words were on one side only and are now on both; of `matched` fragments the
    hypothesis has the reference's spelling; so both count as correct. `path` is the alignment of
    the normalised words, a letter a step: = S D I. `places` says which word of the text (see
    `Arc`) each word of the hypothesis is, -1 for one that was added.
    """

    reference: str
    hypothesis: str
    added: int
    matched: int
    path: str
    places: tuple[int, ...]


def plain_word(piece: str) -> str:
    r"""A word as sclite reads it: no tags after `;`, no `*` at its end; "" for `@`.

    Example:
        >>> [plain_word(piece) for piece in ("a;noun;x", "a*", "@", "a\\;b", ";", "*")]
        ['a', 'a', '', 'a;b', ';', '*']
    """
    word = _TAG.split(piece, maxsplit=1)[0].replace("\\;", ";")
    return "" if word == "@" else word[:-1] if len(word) > 1 and word[-1] == "*" else word


def word_graph(text: str, where: str, *, optional: bool = False) -> list[Arc]:
    """All readings of a text in sclite's notation: `{ a / b c / @ }`, and `(uh)` if asked for.

    Braces and, inside them, slashes cut words without blanks too; `@` is no word; alternatives
    may hold alternatives.

    Args:
        text: the words of an utterance.
        where: file and line, for the message.
        optional: whether a word in parentheses may be left out; it then loses them.

    Returns:
        Arcs from node 0 to node -1. An arc comes after all that lead to its source, in the order
        in which sclite goes through them.

    Raises:
        DataError: braces that do not match, an alternative without `@` or word, and, with
            `optional`, parentheses that are not around one word.
    """
    arcs: list[Arc] = []
    node = newest = 0
    opened: list[tuple[int, list[int]]] = []  # where the alternatives start, where each ended
    ends: dict[int, int] = {}  # the last node of an alternative: the node after its brace
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
            start, last = opened[-1]
            last.append(node)
            node, filled = start, piece == "}"
            if piece == "}":
                opened.pop()
                newest += 1
                ends |= dict.fromkeys(last, newest)
                node = newest
        else:
            word, may_go = _word(piece, where, text, optional)
            newest += 1
            arcs.append(Arc(node, newest, word, may_go, len(arcs)))
            node, filled = newest, True
    if opened:
        raise _notation(where, "a brace { that nothing closed", "{ a / b }", text)
    ends[node] = -1
    joined = []
    for arc in arcs:
        target = arc.target
        while target in ends:
            target = ends[target]
        joined.append(replace(arc, target=target))
    return _in_order(joined)


def _in_order(arcs: list[Arc]) -> list[Arc]:
    """As sclite numbers them: node by node, a node when all that leads to it is done."""
    leaving: dict[int, list[Arc]] = defaultdict(list)
    waiting: dict[int, int] = defaultdict(int)
    for arc in arcs:
        leaving[arc.source].append(arc)
        waiting[arc.target] += 1
    ordered, ready = [], [0]
    for node in ready:
        for arc in leaving[node]:
            ordered.append(arc)
            waiting[arc.target] -= 1
            if not waiting[arc.target]:
                ready.append(arc.target)
    return ordered


def _word(piece: str, where: str, text: str, optional: bool) -> tuple[str, bool]:
    word = plain_word(piece)
    if optional and ("(" in word or ")" in word):
        match = _OPTIONAL.fullmatch(word)
        if match is None:
            raise _notation(where, f"the parenthesis in {piece[:80]!r}",
                            "one word in parentheses, such as (uh)", text)
        return match[1], True
    return word, False


def _notation(where: str, got: str, expected: str, text: str) -> DataError:
    shown = text if len(text) <= 80 else text[:80] + "..."
    return DataError(f"{where}: got {got} in {shown!r}; expected {expected}. Correct the line.",
                     code="text.alternation")


def settle(reference: Sequence[Arc], hypothesis: Sequence[Arc], normalizer: str, where: str, *,
           fragments: bool = False) -> Settled:
    """The readings of a reference and a hypothesis that sclite scores.

    They are those with the least cost (substitution 4, deletion and insertion 3, an optional word
    that was not said 2), where several cost the same the one that sclite finds.

    Args:
        reference, hypothesis: from `word_graph`.
        normalizer: words are compared under it.
        where: file and line, for the message.
        fragments: as sclite -F: `hel-` is right for each word that begins so, `-lo` for each that
            ends so.

    Raises:
        DataError: the two are too long for it.
    """
    keys = {word: normalize(word, normalizer).split()
            for word in {arc.word for arc in (*reference, *hypothesis)}}
    sides = [_expanded(arcs, keys, normalizer.endswith(UNITS)) for arcs in (reference, hypothesis)]
    if (len(sides[0]) + 1) * (len(sides[1]) + 1) > _MOST_CELLS:
        raise DataError(f"{where}: got {len(sides[0]):,} words with alternatives, optional words "
                        f"or fragments against {len(sides[1]):,}; expected at most "
                        f"{_MOST_CELLS:,} pairs of words. Cut the utterance.", code="score.long")
    same = _same(sides[0], sides[1], normalizer, fragments)
    from asr.scoring.sclite_kernels import align_graphs  # numba takes a while to import
    path = [side.tolist() for side in
            align_graphs(*_arrays(sides[0]), *_arrays(sides[1]), same)]
    words: list[str] = []
    heard: list[str] = []
    places: list[int] = []
    steps: list[str] = []
    added = matched = 0
    for a, b in zip(*path, strict=True):
        spoken = sides[0][a - 1] if a > 0 else None
        said = sides[1][b - 1] if b > 0 else None
        if spoken and spoken.raw:
            words.append(spoken.raw)
        alone = (spoken or said) if a < 0 or b < 0 else None
        granted = alone is not None and alone.optional and alone.key != ""
        if alone and granted:
            (words if a < 0 else heard).append(alone.raw)
            places += [-1] * (b < 0)
            added += 1
        if said and said.raw:
            fits = spoken is not None and bool(same[a, b]) and spoken.key != said.key
            heard.append(spoken.raw if spoken and fits else said.raw)
            places.append(said.origin)
            matched += fits
        steps.append("=" if granted or (spoken and said and same[a, b]) else
                     ("I" if said and said.key else "") if not spoken or not spoken.key else
                     "S" if said and said.key else "D")
    return Settled(" ".join(words), " ".join(heard), added, matched, "".join(steps),
                   tuple(places))


@dataclass(frozen=True, slots=True)
class _KeyArc:
    """One word under the normaliser; only the first that a written word gives has `raw`.

    Each that an optional word gives has it, because each may be left out. `origin` is the place of
    the written word.
    """

    source: int
    target: int
    key: str
    raw: str
    optional: bool
    place: int
    origin: int


def _expanded(arcs: Sequence[Arc], keys: dict[str, list[str]],
              units: bool = False) -> list[_KeyArc]:
    """The graph of normalised words: a written word may be several of them, or none.

    With `units` the places are those that sclite -c gives: it replaces a word by its characters
    behind the words that it leaves alone, in the order of its walk.
    """
    found = []
    newest = max([0, *(arc.target for arc in arcs)])  # the end is -1
    walk = {arc: number for number, arc in enumerate(_walk(arcs))} if units else {}
    for arc in arcs:
        node, pieces = arc.source, keys[arc.word] or [""]
        place = arc.place
        if units and (len(pieces) > 1 or arc.optional):
            place = len(arcs) + walk[arc]
        for number, key in enumerate(pieces):
            newest += 1
            target = arc.target if number == len(pieces) - 1 else newest
            raw = key if arc.optional and len(pieces) > 1 else "" if number else arc.word
            found.append(_KeyArc(node, target, key, raw, arc.optional, place, arc.place))
            node = target
    return found


def _walk(arcs: Sequence[Arc]) -> list[Arc]:
    """As sclite walks through a graph to change its words: the node that was seen last is next."""
    leaving: dict[int, list[Arc]] = defaultdict(list)
    for arc in sorted(arcs, key=lambda arc: arc.place):
        leaving[arc.source].append(arc)
    walked, waiting, seen = [], [0], {0}
    while waiting:
        node = waiting.pop()
        for arc in leaving[node]:
            walked.append(arc)
            if arc.target not in seen:
                seen.add(arc.target)
                waiting.append(arc.target)
    return walked


def _arrays(arcs: Sequence[_KeyArc]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The graph as `align_graphs` takes it, with the arc before the first word."""
    into: dict[int, list[int]] = defaultdict(list, {0: [0]})
    for number in sorted(range(1, len(arcs) + 1), key=lambda number: arcs[number - 1].place):
        into[arcs[number - 1].target].append(number)  # as written: the first of equals is taken
    before = [into[arc.source] for arc in arcs]
    kinds = [0, *(1 if not arc.key else 2 if arc.optional else 0 for arc in arcs)]
    starts = np.cumsum([0, 0, *(len(found) for found in before)], dtype=np.int64)
    return (np.array(kinds, np.int8), starts,
            np.array([number for found in before for number in found], np.int64),
            np.array(into[-1] or [0], np.int64))


def _same(reference: Sequence[_KeyArc], hypothesis: Sequence[_KeyArc], normalizer: str,
          fragments: bool) -> np.ndarray:
    """Which words match; row and column 0 are no words."""
    numbers: dict[str, int] = {}
    sides = [np.array([-1, *(numbers.setdefault(arc.key, len(numbers)) for arc in arcs)])
             for arcs in (reference, hypothesis)]
    same = sides[0][:, None] == sides[1][None, :]
    if fragments:
        stems = [[_stem(arc.raw, normalizer) for arc in arcs] for arcs in (reference, hypothesis)]
        open_a, open_b = ([_counts_as_fragment(arc) for arc in arcs]
                          for arcs in (reference, hypothesis))
        for i, (spoken, stem_a) in enumerate(zip(reference, stems[0], strict=True)):
            for j, (said, stem_b) in enumerate(zip(hypothesis, stems[1], strict=True)):
                if open_a[i] or open_b[j]:  # a fragment of the reference decides alone
                    same[i + 1, j + 1] = (_fits(spoken.raw, stem_a, said.key) if stem_a else
                                          _fits(said.raw, stem_b, spoken.key) if stem_b else
                                          spoken.key == said.key)
    return same


def _counts_as_fragment(arc: _KeyArc) -> bool:
    """As in sclite, which sees no fragment in an optional `(-lo)`."""
    return arc.raw.endswith("-") or (arc.raw.startswith("-") and not arc.optional)


def _fits(fragment: str, stem: str, key: str) -> bool:
    return key.endswith(stem) if fragment[0] == "-" else key.startswith(stem)


def _stem(word: str, normalizer: str) -> str:
    """What a fragment must match, under the normaliser; "" for a whole word."""
    if len(word) < 2 or "-" not in (word[0], word[-1]):
        return ""
    pieces = normalize(word[1:] if word[0] == "-" else word[:-1], normalizer).split()
    return pieces[0] if len(pieces) == 1 else ""
