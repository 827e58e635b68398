"""German for scoring: numbers and common abbreviations in one form; umlauts and ß stay.

In: lower-cased NFC text. Out: the same words, written out.

Ordinals ("der 3. Tag") cannot be told from a number at the end of a sentence and are read as
cardinals; hesitations stay.
"""

from __future__ import annotations

import re

_ONES = ("null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
         "fünfzehn sechzehn siebzehn achtzehn neunzehn").split()
_TENS = "_ _ zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()

_ABBREVIATIONS = tuple((re.compile(rf"(?<!\w){pattern}(?!\w)"), words) for pattern, words in (
    (r"z\.\s?b\.", "zum beispiel"), (r"d\.\s?h\.", "das heißt"), (r"u\.\s?a\.", "unter anderem"),
    (r"usw\.", "und so weiter"), (r"bzw\.?", "beziehungsweise"), (r"ca\.", "circa"),
    (r"dr\.", "doktor"), (r"prof\.", "professor"), (r"nr\.", "nummer"), (r"str\.", "straße"),
))
_NUMBER = re.compile(r"(?<![\w,])(\d{1,3}(?:\.\d{3})+|\d+)(?:,(\d+))?(?!\w)")
_DIGITS_IN_WORD = re.compile(r"\d+")


def expand_german(text: str) -> str:
    """Abbreviations, symbols and digits become words; punctuation is left alone."""
    for pattern, words in _ABBREVIATIONS:
        text = pattern.sub(words, text)
    text = text.replace("&", " und ").replace("%", " prozent ").replace("€", " euro ")
    text = text.replace("§", " paragraph ")
    if not any(character.isdigit() for character in text):
        return text
    text = _NUMBER.sub(_spell_number, text)
    return _DIGITS_IN_WORD.sub(lambda match: f" {_spell_digits(match[0])} ", text)


def spell_cardinal_german(number: int) -> str:
    """A number below 10 ** 9 in words, as one word up to 999,999.

    Example:
        >>> spell_cardinal_german(21_001)
        'einundzwanzigtausendeins'
    """
    if number >= 10**6:
        millions, rest = divmod(number, 10**6)
        head = "eine million" if millions == 1 else f"{spell_cardinal_german(millions)} millionen"
        return f"{head} {spell_cardinal_german(rest)}" if rest else head
    if number >= 1000:
        thousands, rest = divmod(number, 1000)
        return f"{_prefix(thousands)}tausend{spell_cardinal_german(rest) if rest else ''}"
    if number >= 100:
        hundreds, rest = divmod(number, 100)
        return f"{_prefix(hundreds)}hundert{spell_cardinal_german(rest) if rest else ''}"
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return f"{_prefix(ones)}und{_TENS[tens]}" if ones else _TENS[tens]


def _prefix(number: int) -> str:
    """A number in front of another part: "ein" instead of a final "eins"."""
    words = spell_cardinal_german(number)
    return words[:-1] if words.endswith("eins") else words


def _spell_digits(digits: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in digits)


def _spell_number(match: re.Match[str]) -> str:
    integer, fraction = match.groups()
    digits = integer.replace(".", "")
    number = int(digits)
    if len(digits) > 9 or (len(digits) > 1 and digits[0] == "0"):
        words = _spell_digits(digits)
    elif integer == digits and 1100 <= number < 2000:  # a year is read in hundreds
        rest = spell_cardinal_german(number % 100) if number % 100 else ""
        words = f"{_prefix(number // 100)}hundert{rest}"
    else:
        words = spell_cardinal_german(number)
    return f"{words} komma {_spell_digits(fraction)}" if fraction else words
