"""Closed grammars: the allowed sentences, as a list or as patterns with rules.

In: text. Out: a `Grammar`, and for one tokenizer the `GrammarPart` of a `Fusion`.

A line is one sentence or pattern; a line that begins with # is a comment:

    turn (on | off) the [kitchen] light        alternatives, and a part that may be left out
    call <name>                                a rule
    <name> = anna | bob | (dr who)             its definition
    <digit>+                                   one or more; * is none or more

A JSGF file is read too: header, `grammar x;`, `public` rules (what may be said) and `;` at the end
of a rule. Rules must not call themselves, so that every grammar is an automaton.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from asr.decoding.fusion import GrammarPart
from asr.errors import DataError, UsageError
from asr.text.tokenizer import CharTokenizer

MAX_STATES = 200_000
MAX_DEPTH = 100  # of brackets and rules in each other
_TOKEN = re.compile(r"\s*(<[^<>\s]+>|[()\[\]|*+]|[^\s()\[\]|*+<>]+)")
_RULE = re.compile(r"(public\s+)?(<[^<>\s]+>)\s*=(.*)", re.DOTALL)
_JSGF_ONLY = re.compile(r"/[\d.]+/|\{.*")  # weights and tags, which we do not read
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
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Cannot read the grammar {path}: {error}.", code="grammar.read",
                        path=path) from error
    return parse_grammar(text, name=str(path))


def parse_grammar(text: str, *, name: str = "grammar") -> Grammar:
    """A grammar from its text; see the head of this module.

    Raises:
        DataError: a line cannot be read, a rule is missing, defined twice or calls itself, or no
            sentence is left (codes "grammar...."); the message names the line.
    """
    rules: dict[str, tuple[list[str], str]] = {}
    said: list[tuple[list[str], str]] = []
    public: list[str] = []
    for number, line in _statements(text):
        where = f"{name}:{number}"
        rule = _RULE.fullmatch(line)
        if rule is None:
            said.append((_tokens(line, where), where))
            continue
        if rule[2] in rules:
            raise DataError(f"{where}: the rule {rule[2]} is defined twice.", code="grammar.rule")
        rules[rule[2]] = _tokens(rule[3], where), where
        if rule[1]:
            public.append(rule[2])
    said += [([rule], rules[rule][1]) for rule in public]
    if not said:
        raise DataError(f"{name} holds no sentence, pattern or public rule.", code="grammar.empty")
    net = _Net()
    start, end = net.state(), net.state()
    for tokens, where in said:
        parser = _Parser(net, rules, tokens, where, ())
        parser.whole(start, end)
    return _determinize(net, start, end, name)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments; in a JSGF file a statement goes on up to its semicolon."""
    jsgf = text.lstrip().startswith("#JSGF")
    if jsgf:
        text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)
        text = re.sub(r"//[^\n]*", "", text)
        text = re.sub(r"#JSGF[^\n;]*;?", "", text, count=1)
    number = 1
    for part in text.split(";" if jsgf else "\n"):
        line = part.strip()
        first = number + part[:len(part) - len(part.lstrip())].count("\n")
        if line and not line.startswith("#") and not (jsgf and line.startswith("grammar ")):
            yield first, line.rstrip(";").strip()
        number += part.count("\n") + (0 if jsgf else 1)


def _tokens(text: str, where: str) -> list[str]:
    tokens, place = [], 0
    text = text.strip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise DataError(f"{where}: cannot read {text[place:place + 40]!r}; a rule is written "
                            "<name>.", code="grammar.syntax")
        if _JSGF_ONLY.fullmatch(match[1]):
            raise DataError(f"{where}: {match[1]!r} is a weight or a tag of JSGF, which this "
                            "grammar does not have: it says what may be said. Leave it out.",
                            code="grammar.syntax")
        tokens.append(match[1])
        place = match.end()
    return tokens


@dataclass
class _Parser:
    """Recursive descent over the tokens of one pattern, straight into the net."""

    net: _Net
    rules: dict[str, tuple[list[str], str]]
    tokens: list[str]
    where: str
    open_rules: tuple[str, ...]  # rules that are being expanded
    place: int = 0
    depth: int = 0  # brackets and rules around

    def whole(self, start: int, end: int) -> None:
        self.alternatives(start, end)
        if self.place < len(self.tokens):
            raise self.error(f"unexpected {self.tokens[self.place]!r}")

    def alternatives(self, start: int, end: int) -> None:
        while True:
            self.sequence(start, end)
            if self.peek() != "|":
                return
            self.place += 1

    def sequence(self, start: int, end: int) -> None:
        here, items = start, 0
        while (token := self.peek()) not in (None, "|", ")", "]"):
            here = self.item(here, token)
            items += 1
        if not items:
            raise self.error("an empty alternative; write [ ] around what may be left out")
        self.net.edges[here].append((EMPTY, end))

    def item(self, start: int, token: str) -> int:
        """One word, rule or group with its * or +; returns the state after it."""
        # An own entry and exit, so that a repetition cannot leak into its neighbours.
        entry, after = self.net.state(), self.net.state()
        self.net.edges[start].append((EMPTY, entry))
        self.place += 1
        if token in ("(", "["):
            self.deeper()
            self.alternatives(entry, after)
            self.depth -= 1
            closing = ")" if token == "(" else "]"
            if self.peek() != closing:
                raise self.error(f"{token} without {closing}")
            self.place += 1
            if token == "[":
                self.net.edges[entry].append((EMPTY, after))
        elif token in ("*", "+"):
            raise self.error(f"{token} with nothing before it")
        elif token.startswith("<"):
            self.rule(token, entry, after)
        else:
            self.net.edges[entry].append((token, after))
        while (repeat := self.peek()) in ("*", "+"):
            self.place += 1
            self.net.edges[after].append((EMPTY, entry))
            if repeat == "*":
                self.net.edges[entry].append((EMPTY, after))
        return after

    def rule(self, name: str, start: int, end: int) -> None:
        if name not in self.rules:
            raise self.error(f"the rule {name} is not defined")
        if name in self.open_rules:
            raise self.error(f"the rule {name} calls itself; write * or + for repetition")
        tokens, where = self.rules[name]
        self.deeper()
        _Parser(self.net, self.rules, tokens, where, (*self.open_rules, name),
                depth=self.depth).whole(start, end)
        self.depth -= 1

    def deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"more than {MAX_DEPTH} brackets and rules inside each other")

    def peek(self) -> str | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def error(self, message: str) -> DataError:
        return DataError(f"{self.where}: {message}.", code="grammar.syntax")


def _determinize(net: _Net, start: int, end: int, name: str) -> Grammar:
    """The subset construction (Rabin and Scott 1959)."""
    def closure(states: frozenset[int]) -> frozenset[int]:
        found, waiting = set(states), list(states)
        while waiting:
            for word, target in net.edges[waiting.pop()]:
                if word == EMPTY and target not in found:
                    found.add(target)
                    waiting.append(target)
        return frozenset(found)

    subsets = {closure(frozenset([start])): 0}
    edges: list[dict[str, int]] = []
    for subset in (order := list(subsets)):  # grows while it is walked
        reached: dict[str, set[int]] = {}
        for state in subset:
            for word, target in net.edges[state]:
                if word != EMPTY:
                    reached.setdefault(word, set()).add(target)
        row = {}
        for word in sorted(reached):
            following = closure(frozenset(reached[word]))
            if following not in subsets:
                subsets[following] = len(subsets)
                order.append(following)
                if len(order) > MAX_STATES:
                    raise DataError(f"{name} needs more than {MAX_STATES:,} states; make it "
                                    "smaller.", code="grammar.size")
            row[word] = subsets[following]
        edges.append(row)
    accepting = frozenset(number for subset, number in subsets.items() if end in subset)
    return Grammar(tuple(edges), accepting)


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
        if len(rows) >= MAX_STATES:
            raise DataError(f"The grammar needs more than {MAX_STATES:,} states; make it smaller.",
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
