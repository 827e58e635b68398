"""What a normaliser drops from some texts, and whether it may be letters.

In: transcripts as written. Out: counts, and sentences for a person. The standard library only.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from collections import Counter
from collections.abc import Iterable

from asr.terminal import plural
from asr.text import INSIDE_MARKS, is_variation_selector, normalize

# What keyboards have in the place of letters they lack (ha?a, !xoo, k@t), and where in a word it is
# one: a question mark at the end of a word is a question, a star at both ends is markup.
TYPED = "|?!*^~@‖‡$=+#%\\"
_FIRST, _LAST = "|?!*^~@‖‡", "|*^~@‖‡"
_LETTERS = {"|": "ǀ", "?": "ʔ", "!": "ǃ", "@": "ə", "‖": "ǁ", "‡": "ǂ", "=": "ǂ"}
_JOINERS = "\u200c\u200d"   # spelling in Persian and in scripts of India
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
    return Counter({c: n for c, n in lost.most_common() if not c.isspace()})


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
        text = _bare(text)
        total += len(text.split())
        opened = closed = 0
        for before, word, after in _EDGE.findall(text):
            for mark in INSIDE_MARKS:
                found[mark] += bool(re.search(rf"[^\W\d]{mark}[^\W\d]", word))
            opened += bool(before) and not after
            closed += bool(after) and not before
        found["'"] += abs(opened - closed)   # quotes around several words come in pairs
    return _many(found, total)


def typed_letters(texts: Iterable[str]) -> dict[str, int]:
    """Marks that no normaliser but `case` and `none` keeps, and that are used like letters.

    They count between two letters, some of them at one edge of a word; see `TYPED`.

    Returns:
        As `marks_that_are_letters`.
    """
    found: Counter[str] = Counter()
    edges: Counter[str] = Counter()   # at the start of words, less those at the end
    total = 0
    for text in texts:
        words = _bare(text).split()
        total += len(words)
        for word in words:
            for mark in {*TYPED, *_JOINERS}.intersection(word):
                inner = word.strip(".,;:\"()[]„“”«»…-")
                if re.search(rf"[^\W\d_]{re.escape(mark)}+[^\W\d_]", inner):
                    found[mark] += 1
                elif re.search(r"[^\W\d_]", inner):
                    edges[mark] += ((mark in _FIRST and inner[0] == mark)
                                    - (mark in _LAST and inner[-1] == mark))
    found.update({mark: abs(count) for mark, count in edges.items()})
    return _many(found, total)


def _bare(text: str) -> str:
    """The text without combining marks, which `re` takes for the end of a word."""
    text = unicodedata.normalize("NFC", text)
    return text if text.isascii() else "".join(
        c for c in text if unicodedata.category(c)[0] != "M")


def _many(found: Counter[str], total: int) -> dict[str, int]:
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
             f"{' and ' + plural(more, 'more character') if more > 0 else ''}."]
    letters = {mark: count for mark, count in typed_letters(texts).items() if mark in lost}
    kept = marks_that_are_letters(texts) if normalizer == "basic" else {}
    lines += [f"{show(mark)} may be a letter here: {plural(count, 'word has', 'words have')} it "
              f"where letters are. To keep it, {_remedy(mark, mark in kept)}."
              for mark, count in {**kept, **letters}.items()]
    return lines


def _remedy(mark: str, by_marks: bool) -> str:
    if by_marks:
        return 'set text.normalizer = "marks"'
    case = "make the recipe with asr init --normalizer case, which keeps all marks"
    change = shlex.quote(f"{mark}={_LETTERS.get(mark, 'LETTER')}")
    return case if mark in _JOINERS else (
        f"prepare the data again with --replace {change}, or {case}")


def show(character: str) -> str:
    """A character that can be told from others like it; an invisible one has its name."""
    code = f"U+{ord(character):04X}"
    if is_variation_selector(ord(character)) or not character.isprintable():
        return f"{unicodedata.name(character, 'control character')} ({code})"
    if unicodedata.combining(character):
        return code
    return character if character.isascii() else f"{character} ({code})"
