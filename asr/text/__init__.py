"""Text normalisers, by name, with a version and a fingerprint.

In: a transcript. Out: the same transcript in a normal form, for comparison and training.
The standard library only.

    name      "Dr. Müller's  CAFÉ-Bar, No. 21!" becomes
    none      Dr. Müller's  CAFÉ-Bar, No. 21!            Unicode NFC, nothing else
    case      dr. müller's  café-bar, no. 21!            lower case, nothing else (as sclite does)
    basic     dr müller's café bar no 21                 lower case, no punctuation, single spaces
    marks     dr müller's café bar no 21                 basic, but ' beside a letter and : · ״
                                                         inside a word stay: letters in some
                                                         languages
    english   doctor müller's café bar number twenty one basic + numbers, contractions, spelling
    german    doktor müller's café bar no einundzwanzig  basic + numbers, abbreviations

A name may end in "+drop" ("basic+drop"): text in brackets that was not said, such as
[laughter], <unk> or (noise), is then no word. Without it, it is one. It may end in "+mixed"
("basic+mixed", "basic+drop+mixed"): each character beyond ASCII is then a word of its own; or in
"+characters": each character is.

A score under one normaliser cannot be compared with a score under another: every receipt carries
`normalizer_id`, which changes whenever the behaviour does.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable
from difflib import get_close_matches
from functools import lru_cache

from asr.errors import UsageError
from asr.text.abbreviations import spell_abbreviations, spell_german_abbreviations
from asr.text.english import expand_english, unify_english
from asr.text.german import expand_german, unify_german

_APOSTROPHES = "'\u2018\u2019\u201b\u02bc\u02b9\u00b4`\uff07"
_ONE_APOSTROPHE = {ord(character): "'" for character in _APOSTROPHES}
# Spacing modifier letters, tone letters, and the length marks of Unicode's Latin Extended-D.
_MODIFIERS = range(0x2B0, 0x300), range(0xA700, 0xA722), range(0xA788, 0xA78C)
# Of length (ka:na, sa\u00b7sa), of col\u00b7legi and of Hebrew acronyms: MidLetter in UAX #29.
INSIDE_MARKS = ":\u00b7\u05f4"
_MARK_INSIDE = re.compile(rf"[{INSIDE_MARKS}](?=[^\W\d_])")  # not that of 10:30
# Code points that no text has, in their place while punctuation is dropped.
_STAND_INS = {mark: chr(0xFDD0 + number) for number, mark in enumerate(INSIDE_MARKS)}
_RUN = re.compile("'+")   # of apostrophes


class _BasicTable(dict):
    """Code point to replacement, filled on first use, for `str.translate`.

    Args:
        letters: keep the modifier letters that look like an apostrophe, and the signs of length and
            tone that Unicode calls symbols (ma˥ma˩, ka꞉na): what is a letter by its class is never
            dropped.

    Letters, digits and combining marks stay. Punctuation, symbols, spaces and control characters
    become a space; invisible ones (zero width, bidi, soft hyphen, BOM, variation selectors) vanish,
    because they split words that a reader sees as one. Apostrophes become ' and are judged later.
    """

    def __init__(self, letters: bool):
        self._letters = letters

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if self._letters and (category == "Lm" or any(code in block for block in _MODIFIERS)):
            result = character
        elif character in _APOSTROPHES:
            result = "'"
        elif category == "Cf" or is_variation_selector(code):
            result = ""
        elif category[0] in "PSZ" or category in ("Cc", "Cs", "Co", "Cn"):
            result = " "
        else:
            result = character
        self[code] = result
        return result


_PLAIN_TABLE, _LETTERS_TABLE = _BasicTable(letters=False), _BasicTable(letters=True)
_MARKS_TABLE = _BasicTable(letters=True)
_MARKS_TABLE.update({ord(code): mark for mark, code in _STAND_INS.items()})
_NO_STAND_INS = dict.fromkeys(map(ord, _STAND_INS.values()))


def _none(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _lower(text: str) -> str:
    """Lower case in NFC; the dot that 'İ'.lower() leaves behind is dropped, ß stays ß."""
    text = unicodedata.normalize("NFC", text).lower().replace("i\u0307", "i")
    return unicodedata.normalize("NFC", text)


def _strip(text: str, table: _BasicTable = _PLAIN_TABLE) -> str:
    """Lower-cased text without punctuation; apostrophes only inside words; single spaces."""
    text = text.translate(table)
    if "'" in text:
        text = _RUN.sub(lambda found: "'" if found[0] == "'" and all(_beside(found)) else " ", text)
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _beside(found: re.Match[str]) -> tuple[bool, bool]:
    """Whether a letter, a digit or a combining mark is before, and behind, a match."""
    text, start, end = found.string, found.start(), found.end()
    before, behind = (side.isalnum() or side != "" and unicodedata.category(side)[0] == "M"
                      for side in (text[start - 1:start] if start else "", text[end:end + 1]))
    return before, behind


def is_variation_selector(code: int) -> bool:
    """Whether a code point only chooses the look of the character before it."""
    return 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF


def _basic(text: str) -> str:
    return _strip(_lower(text), _LETTERS_TABLE)


def _marks(text: str) -> str:
    """As `_basic`; an apostrophe beside a letter and marks between letters stay."""
    text = _MARK_INSIDE.sub(lambda found: _STAND_INS[found[0]] if _beside(found)[0] else found[0],
                            _lower(text).translate(_NO_STAND_INS))
    text = _RUN.sub(lambda found: found[0] if any(_beside(found)) else " ",
                    text.translate(_MARKS_TABLE))
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _english(text: str) -> str:
    text = _plain(_lower(spell_abbreviations(unicodedata.normalize("NFC", text))))
    return unify_english(_strip(expand_english(text)))


def _german(text: str) -> str:
    text = _plain(_lower(spell_german_abbreviations(unicodedata.normalize("NFC", text))))
    return unify_german(_strip(expand_german(text)))


def _plain(text: str) -> str:
    """One kind of apostrophe and no invisible characters, before words are looked at."""
    if text.isascii():
        return text.replace("`", "'")
    text = text.translate(_ONE_APOSTROPHE)
    return "".join(c for c in text if unicodedata.category(c) != "Cf")


# name: (version, function). Raise the version when the behaviour changes; a test pins the ids.
_NORMALIZERS: dict[str, tuple[int, Callable[[str], str]]] = {
    "none": (1, _none),
    "case": (1, _lower),
    "basic": (3, _basic),
    "marks": (3, _marks),
    "english": (4, _english),
    "german": (4, _german),
}
_DROP = "+drop"
# [] and <> around anything, () around one word; each by itself, so that neither "word(s)"
# nor "3 < 4" nor a spoken remark (like this one) is lost
_NOT_SAID = re.compile(r"\[[^\[\]]*\]|<(?![\s=])[^<>]*(?<!\s)>|(?<!\S)\([^()\s]*\)(?!\w)")
_UNITS = {"+mixed": re.compile(r"[^\x00-\x7f]"), "+characters": re.compile(r"\S")}

NORMALIZERS = tuple(_NORMALIZERS)
"""The names that `normalize` accepts."""
UNITS = tuple(_UNITS)
"""What may end a name: words are then characters, all or those beyond ASCII."""

# What the fingerprint in `normalizer_id` is computed on: one sample of every behaviour.
_PROBES = (
    "Hello,  World! It's 'quoted' and dogs' e\u0301te\u0301 \u00a0 x\u200by \ufb01n \u2460 I\u0307",
    "Dr. O\u2019Neil won't pay $1,250.50 or 3.14% of 1984, the 21st & 1990s; colour centre 007",
    "Zwei-Straßen: 21 Äpfel, 3,5 % von 1.234 im Jahr 1984, z. B. Nr. 7 & ẞ geht's",
    "two hundred and five organised neighbours cannot've gonna travelled "
    "\u4f60\u597d\u3002 100 000",
)
_COMBINING = "\u025b\u0300'\u025b ka\u0330:na \u0254\u0300' \u2764\ufe0f a''b"
# More behaviours of one normaliser; the ids of the others must not change with them.
_MORE_PROBES = {
    "basic": ("ha\u02bc ka\ua789na ma\u02e5ma\u02e9 \u02bbokina t\u02b0a 'o o' ka:na 10:30",
              _COMBINING),
    "marks": ("ha\u02bc ka\ua789na ma\u02e5ma\u02e9 \u02bbokina t\u02b0a 'o o' ka:na 10:30",
              "' : a: '", "0:_ _:a",
              "sa\u00b7sa \u00b7 a\u00b7 \u05e6\u05d4\u05f4\u05dc \u05f4\u05d0\u05f4",
              _COMBINING),
    "english": (
        "$20 million €3bn 3.5kg 10 km 5g 5% per cent -500 +3 20°C ¢3 1/2 2½ #1 $2.70 5:05 pm .5",
        "Jr. she's been he's here I'd better I'd been I'd go ain't one and a half nineteen oh two",
        "grey ploughing organisational customise dialogue yoghurt promise aesthetic fibreglass",
        "The U.S. and U.K. Ph.D. of Gen. Lee, Sgt. Po, St. John, Main St., No. 5, etc.; the U.K.'s "
        "10k 3x $20-30 million EUR 5 \u00b15 10 kms 3/4 e-mail i'd've what's happened approx.",
        _COMBINING,
    ),
    "german": (
        "$20 €20 20 Mio. Euro 1 Mrd. € 2,70 € 3,5kg 10 km 1 h 5% -500 +3 20°C 1/2 2½ #1 10:30 Uhr",
        "Dr Abt, Hr. Beck, Fr. Conz, St. Pauli, Hauptstr. 3, zB usw, U.S.A., ggf. evtl. inkl. "
        "EUR 5 3 Std. 2x 90er 10%ig 10-j\u00e4hrig 100 hundert 50 ct \u00b15", _COMBINING,
    ),
}


def normalize(text: str, name: str) -> str:
    """A transcript in the form that is compared.

    Args:
        text: any text.
        name: one of `NORMALIZERS`. `english` and `german` rewrite words ("21", "won't",
            "colour") and are for scoring; train with `basic`, `marks` or `none`. With "+drop" at
            the end [laughter], <unk> and (noise) are no words, with "+mixed" each character
            beyond ASCII is a word, with "+characters" each character.

    Returns:
        The normalised text, in Unicode NFC; it may be empty. Every normaliser is idempotent, but
        with "+characters" (the apostrophe of "it's" is then alone).

    Raises:
        UsageError: there is no normaliser of that name.

    Example:
        >>> normalize("It's “naïve”, isn't it?", "basic")
        "it's naïve isn't it"
        >>> normalize("She won't pay $21.", "english")
        'she will not pay twenty one dollars'
        >>> normalize("Straße Nr. 21", "german")
        'straße nummer einundzwanzig'
        >>> normalize("yes [laughter] <unk> (noise) no", "basic+drop")
        'yes no'
        >>> normalize("我用 Python 3", "basic+mixed")
        '我 用 python 3'
        >>> normalize("No 3", "case+characters")
        'n o 3'
    """
    function = _lookup(name)[1]
    text = function(_NOT_SAID.sub(" ", text) if _DROP in name else text)
    unit = _unit_of(name)
    return " ".join(_UNITS[unit].sub(r" \g<0> ", text).split()) if unit else text


def normalizer_name(name: str, non_speech: str = "words", units: str = "words") -> str:
    """The name with what was asked for beside it.

    Args:
        name: as for `normalize`.
        non_speech: "words", or "drop" for [laughter], <unk> and (noise).
        units: "words", "mixed" for characters beyond ASCII as words, or "characters" for all.

    Raises:
        UsageError: the name has other units than those that were asked for.

    Example:
        >>> normalizer_name("english", "drop"), normalizer_name("basic+drop", units="mixed")
        ('english+drop', 'basic+drop+mixed')
    """
    drop = non_speech == "drop" or _DROP in name
    named, asked = _unit_of(name), "" if units == "words" else "+" + units
    if named and asked and named != asked:
        raise UsageError(f"The normaliser {name!r} names other units than {units!r}; expected one "
                         "of them. Leave one out.")
    return _base(name) + _DROP * drop + (named or asked)


def normalizer_id(name: str) -> str:
    """A normaliser's name, version and fingerprint, such as "basic-1-5d3c1f2a".

    The fingerprint is over what the normaliser makes of fixed samples, so that two programs with
    the same id treat text alike, and a change of behaviour cannot hide behind an old name.

    Raises:
        UsageError: there is no normaliser of that name.
    """
    version, function = _lookup(name)
    probes = _PROBES + _MORE_PROBES.get(_base(name), ())
    outcome = "\n".join(map(function, probes))
    return f"{name}-{version}-{hashlib.sha256(outcome.encode()).hexdigest()[:8]}"


@lru_cache(maxsize=64)  # asked for every text
def _unit_of(name: str) -> str:
    """What ends the name, if its words are not those of the text."""
    return next((unit for unit in _UNITS if name.endswith(unit)), "")


@lru_cache(maxsize=64)
def _base(name: str) -> str:
    return name.removesuffix(_unit_of(name)).removesuffix(_DROP)


def _lookup(name: str) -> tuple[int, Callable[[str], str]]:
    try:
        return _NORMALIZERS[_base(name)]
    except (KeyError, TypeError, AttributeError):
        close = get_close_matches(str(name), NORMALIZERS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"Unknown normaliser {name!r}; expected one of "
                         f"{', '.join(NORMALIZERS)}.{hint}") from None
