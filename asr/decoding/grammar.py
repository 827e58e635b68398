"""Closed grammars: the allowed sentences, as a list or as patterns with rules.

In: text. Out: a `Grammar`, and for one tokenizer the `GrammarPart` of a `Fusion`.

A line is one sentence or pattern; a line that begins with # is a comment:

    turn (on | off) the [kitchen] light        alternatives, and a part that may be left out
    call <name>                                a rule
    <name> = anna | bob | "dr who"             its definition
    <digit>+                                   one or more; * is none or more

A JSGF file is read too: its public rules may be said. A rule may call itself at its end only, so
that every grammar is an automaton. A grammar may be a stranger's, so what it costs is bounded: see
MAX_... here and in `grammar_syntax`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asr.decoding.fusion import GrammarPart
from asr.decoding.grammar_syntax import MAX_DEPTH, MAX_TEXT, Node, Text, read_text
from asr.errors import DataError, UsageError
from asr.text.reading import read_text_file
from asr.text.tokenizer import CharTokenizer

MAX_STATES = 100_000
MAX_STEPS = 1_000_000  # of the subset construction: edges followed
MAX_CELLS = 20_000_000  # states times labels, 4 bytes each
EMPTY = ""  # an edge that reads no word


@dataclass(frozen=True)
class Grammar:
    """A deterministic automaton over words; state 0 is the start.

    Attributes:
        edges: for each state, word to state.
        accepting: the states in which a sentence may end.
    """

    edges: tuple[dict[str, int], ...]
    accepting: frozenset[int]

    @property
    def words(self) -> list[str]:
        """Every word that a sentence can hold, sorted."""
        return sorted({word for edges in self.edges for word in edges})

    def accepts(self, text: str) -> bool:
        """Whether the grammar holds this sentence."""
        state = 0
        for word in text.split():
            if word not in self.edges[state]:
                return False
            state = self.edges[state][word]
        return state in self.accepting


@dataclass
class _Net:
    """Edges (word or EMPTY, target) of a non-deterministic automaton under construction."""

    edges: list[list[tuple[str, int]]] = field(default_factory=list)

    def state(self) -> int:
        if len(self.edges) >= MAX_STATES:
            raise DataError(f"The grammar needs more than {MAX_STATES:,} states; make it smaller.",
                            code="grammar.size")
        self.edges.append([])
        return len(self.edges) - 1


def read_grammar(path: str | Path) -> Grammar:
    """A grammar from a UTF-8 file; raises like `parse_grammar`."""
    text = read_text_file(path, "grammar", code="grammar.read", most=MAX_TEXT + 1)
    return parse_grammar(text, name=str(path))


def parse_grammar(text: str, *, name: str = "grammar") -> Grammar:
    """A grammar from its text; see the head of this module.

    Raises:
        DataError: a line cannot be read, a rule is missing, defined twice or calls itself before
            its end, the grammar is too large, or no sentence is left (codes "grammar...."); the
            message names the line.
    """
    trees = read_text(text, name)
    if not trees.said:
        raise DataError(f"{name} holds no sentence, pattern or public rule.", code="grammar.empty")
    net = _Net()
    start, end = net.state(), net.state()
    for node in trees.said:
        _Builder(net, trees, name).add(node, start, end, None)
    return _determinize(net, start, end, name)


class _Tails(NamedTuple):
    """A rule at whose end something is, where it begins, and the rules at whose end it is."""

    name: str
    entry: int
    around: _Tails | None


@dataclass
class _Builder:
    """Writes trees into the net; rules are written where they are called."""

    net: _Net
    trees: Text
    name: str
    inside: set[str] = field(default_factory=set)  # the rules that are being written

    def add(self, node: Node, start: int, end: int, tails: _Tails | None) -> None:
        """Paths from start to end for everything that the node says.

        Args:
            node: the tree.
            start, end: states. Nothing leads back to `start`, so what leaves it may be shared.
            tails: the rules at whose end this node is.
        """
        edges = self.net.edges
        if node.kind == "word":
            edges[start].append((node.text, end))
        elif node.kind == "rule":
            self.rule(node, start, end, tails)
        elif node.kind == "sequence":
            for part in node.parts[:-1]:
                middle = self.net.state()
                self.add(part, start, middle, None)
                start = middle
            if node.parts:
                self.add(node.parts[-1], start, end, tails)
            else:
                edges[start].append((EMPTY, end))
        elif node.kind == "alternatives":
            for part in node.parts:
                self.add(part, start, end, tails)
        elif node.kind == "optional":
            self.add(node.parts[0], start, end, tails)
            edges[start].append((EMPTY, end))
        else:  # star or plus: an own entry and exit, so that it cannot leak into its neighbours
            entry, after = self.net.state(), self.net.state()
            edges[start].append((EMPTY, entry))
            self.add(node.parts[0], entry, after, None)
            edges[after] += [(EMPTY, entry), (EMPTY, end)]
            if node.kind == "star":
                edges[entry].append((EMPTY, after))

    def rule(self, node: Node, start: int, end: int, tails: _Tails | None) -> None:
        name = node.text
        if name not in self.trees.rules:
            raise self.error(node, f"the rule {name} is not defined")
        if name in self.inside:
            while tails is not None and tails.name != name:
                tails = tails.around
            if tails is None:
                raise self.error(node, f"the rule {name} calls itself before its end, which no "
                                       "automaton can follow; write * or + for repetition")
            # Right recursion is a way back to where the rule begins.
            self.net.edges[start].append((EMPTY, tails.entry))
            return
        if len(self.inside) >= MAX_DEPTH:
            raise self.error(node, f"more than {MAX_DEPTH} brackets and rules inside each other")
        entry = self.net.state()
        self.net.edges[start].append((EMPTY, entry))
        self.inside.add(name)
        self.add(self.trees.rules[name], entry, end, _Tails(name, entry, tails))
        self.inside.remove(name)

    def error(self, node: Node, message: str) -> DataError:
        return DataError(f"{self.name}:{node.line}: {message}.", code="grammar.syntax")


def _determinize(net: _Net, start: int, end: int, name: str) -> Grammar:
    """The subset construction (Rabin and Scott 1959), without states that lead nowhere."""
    steps = 0

    def closure(states: set[int]) -> frozenset[int]:
        nonlocal steps
        found, waiting = set(states), list(states)
        while waiting:
            edges = net.edges[waiting.pop()]
            steps += 1 + len(edges)
            if steps > MAX_STEPS:
                raise DataError(f"{name} is too intricate: its automaton takes more than "
                                f"{MAX_STEPS:,} steps to build. Fewer optional parts, or * and + "
                                "inside each other, make it simpler.", code="grammar.size")
            for word, target in edges:
                if word == EMPTY and target not in found:
                    found.add(target)
                    waiting.append(target)
        return frozenset(found)

    subsets = {closure({start}): 0}
    edges: list[dict[str, int]] = []
    for subset in (order := list(subsets)):  # grows while it is walked
        reached: dict[str, set[int]] = {}
        for state in subset:
            for word, target in net.edges[state]:
                if word != EMPTY:
                    reached.setdefault(word, set()).add(target)
        row = {}
        for word in sorted(reached):
            following = closure(reached[word])
            if following not in subsets:
                subsets[following] = len(subsets)
                order.append(following)
                if len(order) > MAX_STATES:
                    raise DataError(f"{name} needs more than {MAX_STATES:,} states; make it "
                                    "smaller.", code="grammar.size")
            row[word] = subsets[following]
        edges.append(row)
    accepting = frozenset(number for subset, number in subsets.items() if end in subset)
    useful = _leading_to(edges, accepting)
    if 0 not in useful:
        raise DataError(f"{name} holds no sentence that comes to an end.", code="grammar.empty")
    return Grammar(tuple({word: target for word, target in row.items() if target in useful}
                         for row in edges), accepting)


def _leading_to(edges: list[dict[str, int]], accepting: frozenset[int]) -> set[int]:
    """The states from which a sentence can end."""
    sources: list[list[int]] = [[] for _ in edges]
    for state, row in enumerate(edges):
        for target in row.values():
            sources[target].append(state)
    found, waiting = set(accepting), list(accepting)
    while waiting:
        for state in sources[waiting.pop()]:
            if state not in found:
                found.add(state)
                waiting.append(state)
    return found


def grammar_part(grammar: Grammar, tokenizer: CharTokenizer) -> GrammarPart:
    """The automaton over labels: words spelled out, one space between two.

    Raises:
        UsageError: sentences of several words, but the alphabet has no space.
        TextError: a word with characters outside the alphabet.
    """
    space = tokenizer.encode(" ")[0] if " " in tokenizer.alphabet else -1
    rows: list[np.ndarray] = []
    accepting: list[bool] = []

    def new_state(accepts: bool = False) -> int:
        most = min(MAX_STATES, MAX_CELLS // tokenizer.vocab_size)
        if len(rows) >= most:
            raise DataError(f"The grammar needs more than {most:,} states; make it smaller.",
                            code="grammar.size")
        rows.append(np.full(tokenizer.vocab_size, -1, dtype=np.int32))
        accepting.append(accepts)
        return len(rows) - 1

    for word in grammar.words:
        tokenizer.require_writable("The grammar's word", word)

    # One label state where the words of a word state begin; the very first also accepts silence.
    begins = [new_state() for _ in grammar.edges]
    first = new_state(0 in grammar.accepting)
    for state, edges in enumerate(grammar.edges):
        roots = (begins[state], first) if state == 0 else (begins[state],)
        for root in roots:
            for word, target in edges.items():
                node = root
                for label in tokenizer.encode(word):
                    if rows[node][label] < 0:
                        rows[node][label] = new_state()
                    node = int(rows[node][label])
                accepting[node] = target in grammar.accepting
                if grammar.edges[target]:
                    if space < 0:
                        raise UsageError("The grammar has sentences of several words, but the "
                                         "alphabet has no space.")
                    rows[node][space] = begins[target]
    # State 0 is the start.
    order = [first, *(n for n in range(len(rows)) if n != first)]
    number = np.empty(len(rows) + 1, dtype=np.int32)
    number[order] = np.arange(len(rows))
    number[-1] = -1  # also reached by the index -1: not allowed
    return GrammarPart(number[np.array(rows)[order]], np.array(accepting)[order])
