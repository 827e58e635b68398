"""The text of a grammar, lines of patterns or JSGF, as trees.

In: text. Out: the sentences that may be said and the rules, each a `Node`.

A tokeniser, then recursive descent. What JSGF has and a set of sentences does not (weights, import)
is refused by name; a tag, which gives a phrase a meaning, is left out, as pocketsphinx does.
Reference: JSpeech Grammar Format, W3C note of 5 June 2000.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from asr.errors import DataError

MAX_TEXT = 2_000_000  # characters
MAX_DEPTH = 100  # of brackets and rules in each other
NULL, VOID = "<NULL>", "<VOID>"

_SHARED = (r'(?P<rule><[^<>\n]+>)|(?P<tag>\{(?:\\.|[^\\{}])*\})|(?P<quoted>"(?:\\.|[^"\\\n])*")'
           r'|(?P<weight>/[0-9.]+(?:[eE][-+]?[0-9]+)?/)')
_PLAIN = re.compile(_SHARED + r'|(?P<mark>[()\[\]|*+])|(?P<word>[^\s()\[\]|*+<>{}"]+)')
_JSGF = re.compile(_SHARED + r'|(?P<mark>[()\[\]|*+;=])|(?P<word>[^\s()\[\]|*+<>{}";=/]+)')
_BLANK = re.compile(r"\s+")
_JSGF_BLANK = re.compile(r"(?:\s|//[^\n]*|/\*.*?\*/)+", re.DOTALL)


class Token(NamedTuple):
    """A piece of the text; `kind` is rule, tag, quoted, weight, mark or word."""

    kind: str
    text: str
    line: int


class Node(NamedTuple):
    """A tree of what may be said.

    `kind` is word (its text), rule (its name), sequence, alternatives, optional, star or plus (of
    `parts`). An empty sequence says nothing; an alternative of no parts cannot be said.
    """

    kind: str
    line: int
    text: str = ""
    parts: tuple[Node, ...] = ()


class Text(NamedTuple):
    """A grammar that has been read: what may be said, and the rules by name."""

    said: list[Node]
    rules: dict[str, Node]


def read_text(text: str, name: str) -> Text:
    """The trees of a grammar.

    Args:
        text: lines of patterns, or JSGF, which begins with #JSGF.
        name: opens the messages, which also have the line.

    Raises:
        DataError: see `asr.decoding.grammar.parse_grammar`.
    """
    if len(text) > MAX_TEXT:
        raise DataError(f"{name} has {len(text):,} characters, a grammar at most {MAX_TEXT:,}. Use "
                        "a language model instead.", code="grammar.size")
    jsgf = text.lstrip().startswith("#JSGF")
    found, own = Text([], {}), ""
    for tokens in _jsgf_statements(text, name) if jsgf else _lines(text, name):
        parser = _Parser(tokens, name)
        first = tokens[0]
        if jsgf and first.text == "grammar":
            own = "".join(token.text for token in tokens[1:])
        elif jsgf and first.text == "import":
            raise parser.error("import is not supported: a grammar is one text, which travels in "
                               "the model. Copy the rules", first)
        else:
            _add(found, parser, jsgf, own)
    return found


def _add(found: Text, parser: _Parser, jsgf: bool, own: str) -> None:
    """A rule, or a sentence that may be said."""
    tokens = parser.tokens
    public = len(tokens) > 1 and tokens[0].text == "public" and tokens[1].kind == "rule"
    head = tokens[1:] if public else tokens
    if len(head) < 2 or head[0].kind != "rule" or head[1].text != "=":
        if jsgf:
            raise parser.error("expected a rule: <name> = ... ;", tokens[0])
        found.said.append(parser.whole())
        return
    name = head[0].text
    if name in found.rules or name in (NULL, VOID):
        raise parser.error(f"the rule {name} is defined twice", head[0])
    parser.place = 3 if public else 2
    parser.own = f"<{own}." if own else ""
    found.rules[name] = parser.whole()
    if public:
        found.said.append(Node("rule", head[0].line, name))


def _tokens(text: str, line: int, blank: re.Pattern, pattern: re.Pattern, name: str
            ) -> Iterator[Token]:
    place = 0
    while place < len(text):
        if space := blank.match(text, place):
            place = space.end()
            line += space[0].count("\n")
            continue
        match = pattern.match(text, place)
        if match is None:
            rest = text[place:place + 40].split("\n")[0]
            raise DataError(f"{name}:{line}: cannot read {rest!r}; a rule is written <name>, a "
                            'phrase "in quotes".', code="grammar.syntax")
        yield Token(match.lastgroup or "", match[0], line)
        line += match[0].count("\n")
        place = match.end()


def _lines(text: str, name: str) -> Iterator[list[Token]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield list(_tokens(line, number, _BLANK, _PLAIN, name))


def _jsgf_statements(text: str, name: str) -> Iterator[list[Token]]:
    """Tokens up to each semicolon; the header is left out."""
    start = text.index("#JSGF")
    end = next((place for place in range(start, len(text)) if text[place] in ";\n"), len(text))
    statement: list[Token] = []
    for token in _tokens(text[end + 1:], text[:end + 1].count("\n") + 1, _JSGF_BLANK, _JSGF, name):
        if token.text != ";" or token.kind != "mark":
            statement.append(token)
        elif statement:
            yield statement
            statement = []
    if statement:
        yield statement


class _Parser:
    """Recursive descent over the tokens of one pattern."""

    def __init__(self, tokens: list[Token], name: str):
        self.tokens, self.name = tokens, name
        self.place = 0
        self.depth = 0  # brackets around
        self.own = ""  # how a JSGF grammar may begin the names of its own rules

    def whole(self) -> Node:
        node = self.alternatives()
        if self.place < len(self.tokens):
            raise self.error(f"unexpected {self.tokens[self.place].text!r}")
        return node

    def alternatives(self) -> Node:
        line, parts = self.line, [self.sequence()]
        while self.peek() == "|":
            self.place += 1
            parts.append(self.sequence())
        return parts[0] if len(parts) == 1 else Node("alternatives", line, parts=tuple(parts))

    def sequence(self) -> Node:
        line, parts, count = self.line, [], 0
        while self.peek() not in ("", "|", ")", "]"):
            node = self.item()
            count += 1
            if node is not None:
                parts.append(node)
        if not count:
            raise self.error("an empty alternative; write [ ] around what may be left out")
        return parts[0] if len(parts) == 1 else Node("sequence", line, parts=tuple(parts))

    def item(self) -> Node | None:
        """A word, rule or group with its * or +; None: a tag, or nothing."""
        token = self.tokens[self.place]
        self.place += 1
        if token.kind == "tag":
            return None
        node = self.single(token)
        while (repeat := self.peek()) in ("*", "+"):
            self.place += 1
            node = Node("star" if repeat == "*" else "plus", token.line, parts=(node,))
        return node

    def single(self, token: Token) -> Node:
        kind, text, line = token
        if kind == "weight":
            raise self.error(f"{text!r} is a weight of JSGF, which this grammar does not have: it "
                             "says what may be said, not how often. Leave it out", token)
        if kind == "rule":
            if text == VOID:
                return Node("alternatives", line)
            if self.own and text.startswith(self.own):
                text = "<" + text.removeprefix(self.own)
            return Node("sequence", line) if text == NULL else Node("rule", line, text)
        if kind == "quoted":
            words = re.sub(r"\\(.)", r"\1", text[1:-1]).split()
            if not words:
                raise self.error("a phrase without words", token)
            return Node("sequence", line, parts=tuple(Node("word", line, w) for w in words))
        if kind == "word":
            return Node("word", line, text)
        if text not in ("(", "["):
            raise self.error(f"{text} with nothing before it" if text in "*+" else
                             f"unexpected {text!r}", token)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"more than {MAX_DEPTH} brackets and rules inside each other", token)
        node = self.alternatives()
        self.depth -= 1
        closing = ")" if text == "(" else "]"
        if self.peek() != closing:
            raise self.error(f"{text} without {closing}", token)
        self.place += 1
        return Node("optional", line, parts=(node,)) if text == "[" else node

    def peek(self) -> str:
        """The mark that comes next; a word for whatever else comes, "" at the end."""
        if self.place >= len(self.tokens):
            return ""
        token = self.tokens[self.place]
        return token.text if token.kind == "mark" else token.kind

    @property
    def line(self) -> int:
        return self.tokens[min(self.place, len(self.tokens) - 1)].line

    def error(self, message: str, token: Token | None = None) -> DataError:
        line = token.line if token else self.line
        return DataError(f"{self.name}:{line}: {message}.", code="grammar.syntax")
