"""What a normaliser drops from some texts, and whether it may be letters.

In: transcripts as written. Out: counts, and sentences for a person. The standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from asr.text import INSIDE_MARKS, normalize

MIN_WORDS = 10       # with a mark at the edge or inside, before it can be a letter
MIN_SHARE = 0.02     # of all words
_MAX_SHOWN = 12

_EDGE = re.compile(r"(?<![^\s(\[„“\"-])(['’`]?)"
                   r"(\w(?:[\w'’:\u00b7\u05f4-]*\w)?)(['’`]?)(?![^\s.,;:!?)\]“”\"-])")


def dropped(texts: Iterable[str], normalizer: str) -> Counter[str]:
    """How often each character of the texts is missing after a normaliser; case and spaces aside.

    Args:
        texts: as written.
        normalizer: a name in `asr.text.NORMALIZERS`.

    Example:
        >>> dropped(["Yes, sir!", "No."], "basic")
        Counter({',': 1, '!': 1, '.': 1})
    """
    lost: Counter[str] = Counter()
    for text in texts:
        written = Counter(unicodedata.normalize("NFC", text.lower()))
        lost += written - Counter(normalize(text, normalizer))
    return Counter({c: n for c, n in lost.most_common()
                    if not c.isspace() and unicodedata.category(c) != "Cf"})


def marks_that_are_letters(texts: Iterable[str]) -> dict[str, int]:
    """Marks that `basic` drops or splits words at and that are used like letters in many words.

    An apostrophe at one edge of a word (o', haʼ) counts if there is none at the other, as quotes
    have; a colon, a middle dot and a gershayim count between two letters (ka:na, col·legi).

    Returns:
        {mark: words that have it}, only of marks in at least `MIN_WORDS` words and `MIN_SHARE`
        of all.
    """
    found: Counter[str] = Counter()
    total = 0
    for text in texts:
        text = unicodedata.normalize("NFC", text)
        total += len(text.split())
        opened = closed = 0
        for before, word, after in _EDGE.findall(text):
            for mark in INSIDE_MARKS:
                found[mark] += bool(re.search(rf"[^\W\d]{mark}[^\W\d]", word))
            opened += bool(before) and not after
            closed += bool(after) and not before
        found["'"] += abs(opened - closed)   # quotes around several words come in pairs
    return {mark: count for mark, count in found.items()
            if count >= MIN_WORDS and count >= MIN_SHARE * total}


def report(texts: list[str], normalizer: str) -> list[str]:
    """Sentences: what is dropped, and what of it may be letters; none where nothing is."""
    lost = dropped(texts, normalizer)
    if not lost:
        return []
    shown = ", ".join(f"{show(c)} {n:,}" for c, n in lost.most_common(_MAX_SHOWN))
    more = len(lost) - _MAX_SHOWN
    lines = [f"The normaliser {normalizer} drops: {shown}"
             f"{f' and {more} more characters' if more > 0 else ''}."]
    if normalizer == "basic":
        lines += [f"{show(mark)} may be a letter here: {count:,} words have it where letters are. "
                  'To keep it, set text.normalizer = "marks".'
                  for mark, count in marks_that_are_letters(texts).items()]
    return lines


def show(character: str) -> str:
    """A character that can be told from others like it."""
    if unicodedata.combining(character) or not character.isprintable():
        return f"U+{ord(character):04X}"
    return character if character.isascii() else f"{character} (U+{ord(character):04X})"
