"""Titles, streets and initials: "Gen. Lee", "St. John", "Main St.", "the US".

In: text as it was written, before it becomes lower case. Out: the same spoken words in full, and
initials letter by letter.

Many abbreviations are also words ("a sales rep.", "thanks to us"). There a capital letter decides,
here and on the name beside it; text in lower case is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_TITLES = {"Gen": "General", "Col": "Colonel", "Maj": "Major", "Adm": "Admiral", "Gov": "Governor",
           "Sen": "Senator", "Rep": "Representative", "Pres": "President", "Rev": "Reverend",
           "Hon": "Honorable", "Mt": "Mount", "Ft": "Fort"}
_GERMAN_TITLES = {"Hr": "Herr", "Hrn": "Herrn", "Fr": "Frau", "St": "Sankt", "Hl": "Heilige"}
_TITLE, _GERMAN_TITLE = (re.compile(rf"\b({'|'.join(titles)})\.(?=\s+[^\W\d_a-zß-ÿ])")
                         for titles in (_TITLES, _GERMAN_TITLES))
_WAYS = {"St": "Street", "Dr": "Drive", "Ave": "Avenue", "Rd": "Road", "Blvd": "Boulevard",
         "Ln": "Lane", "Ct": "Court", "Sq": "Square"}
# A street has a name with its number before it; "St." alone has a name before it and none behind.
_WAY = re.compile(rf"\b(\d+ (?:[A-Z][\w'-]* |\d+(?:st|nd|rd|th) ){{1,2}})({'|'.join(_WAYS)})\b")
_STREET = re.compile(r"\b(?!(?:In|At|On|To|From|Of|The|And|Or|Near|By|For|Old|Mount)\b)"
                     r"([A-Z][\w'-]*|\d+(?:st|nd|rd|th)) St\b(?!\.?\s+[A-Z])")
# Capitals that are said letter by letter, and words in lower case.
_LETTERS = ("US", "UN", "AI", "IQ", "ID", "HR", "PR", "OS")
_CAPITALS = re.compile(rf"\b(?:{'|'.join(_LETTERS)})\b")


def spell_abbreviations(text: str) -> str:
    """English titles, streets and initials, as far as capital letters tell them from words.

    Example:
        >>> spell_abbreviations("Gen. Lee left St. John for 12 Elm Dr. and Wall St. in the US")
        'General Lee left St. John for 12 Elm Drive. and Wall Street. in the U S'
    """
    if text.islower():
        return text
    if any(way in text for way in _WAYS):
        text = _WAY.sub(lambda match: match[1] + _WAYS[match[2]], text)
    if " St" in text:
        text = _STREET.sub(r"\1 Street", text)
    if any(letters in text for letters in _LETTERS) and not text.isupper():
        text = _CAPITALS.sub(lambda match: " ".join(match[0]), text)
    return _before_names(text, _TITLES, _TITLE)


def spell_german_abbreviations(text: str) -> str:
    """German titles before a name.

    Example:
        >>> spell_german_abbreviations("Hr. Beck am St. Pauli am Fr.")
        'Herr Beck am Sankt Pauli am Fr.'
    """
    return _before_names(text, _GERMAN_TITLES, _GERMAN_TITLE)


def split_initials(words: str) -> dict[str, str]:
    """Each word, and its letters apart.

    Example:
        >>> split_initials("usa dvd")
        {'usa': 'u s a', 'dvd': 'd v d'}
    """
    return {word: " ".join(word) for word in words.split()}


def _before_names(text: str, titles: Mapping[str, str], dotted: re.Pattern[str]) -> str:
    """Each of these abbreviations in full where it has its dot and a capital letter follows."""
    if "." not in text[:-1]:  # nothing follows the last one
        return text
    return dotted.sub(lambda match: titles[match[1]], text)
