"""English numbers, money, units and signs in words.

In: lower-cased NFC text with plain apostrophes. Out: the same text with what is written in digits
and symbols as it is spoken. Only a number makes a unit or a currency of the letters beside it.
"""

from __future__ import annotations

import re
import unicodedata

ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen").split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth",
             "eight": "eighth", "nine": "ninth", "twelve": "twelfth"}
# sign: one, many, and the hundredth part likewise ("" has none)
_CURRENCIES = {"$": ("dollar", "dollars", "cent", "cents"),
               "£": ("pound", "pounds", "penny", "pence"),
               "€": ("euro", "euros", "cent", "cents"), "¥": ("yen", "yen", "", ""),
               "₹": ("rupee", "rupees", "paisa", "paise")}
_MAGNITUDES = {"k": "thousand", "m": "million", "mn": "million", "mln": "million", "bn": "billion",
               "b": "billion", "tn": "trillion"}
_LONG_MAGNITUDE = "hundred|thousand|million|billion|trillion"
# unit: one, many. "5g" may be a network and "5 in" a preposition: see _UNIT.
_UNITS = {short: (one, many or one + "s") for short, one, many in (
    ("km", "kilometer", ""), ("kms", "kilometer", ""), ("m", "meter", ""), ("cm", "centimeter", ""),
    ("mm", "millimeter", ""), ("nm", "nanometer", ""), ("µm", "micrometer", ""),
    ("μm", "micrometer", ""), ("mi", "mile", ""), ("ft", "foot", "feet"),
    ("in", "inch", "inches"), ("yd", "yard", ""), ("yds", "yard", ""), ("kg", "kilogram", ""),
    ("g", "gram", ""), ("mg", "milligram", ""), ("lb", "pound", ""), ("lbs", "pound", ""),
    ("oz", "ounce", ""), ("l", "liter", ""), ("ml", "milliliter", ""), ("cl", "centiliter", ""),
    ("h", "hour", ""), ("hr", "hour", ""), ("hrs", "hour", ""), ("min", "minute", ""),
    ("mins", "minute", ""), ("sec", "second", ""), ("secs", "second", ""),
    ("ms", "millisecond", ""), ("mph", "mile per hour", "miles per hour"),
    ("km/h", "kilometer per hour", "kilometers per hour"),
    ("kph", "kilometer per hour", "kilometers per hour"),
    ("kmh", "kilometer per hour", "kilometers per hour"),
    ("m/s", "meter per second", "meters per second"), ("hz", "hertz", "hertz"),
    ("khz", "kilohertz", "kilohertz"), ("mhz", "megahertz", "megahertz"),
    ("ghz", "gigahertz", "gigahertz"), ("w", "watt", ""), ("kw", "kilowatt", ""),
    ("kwh", "kilowatt hour", ""), ("v", "volt", ""), ("kv", "kilovolt", ""),
    ("db", "decibel", ""), ("kb", "kilobyte", ""), ("mb", "megabyte", ""),
    ("gb", "gigabyte", ""), ("tb", "terabyte", ""), ("kcal", "kilocalorie", ""),
    ("km²", "square kilometer", ""), ("m²", "square meter", ""), ("cm²", "square centimeter", ""),
    ("mm²", "square millimeter", ""), ("m³", "cubic meter", ""), ("cm³", "cubic centimeter", ""),
    ("°c", "degree celsius", "degrees celsius"), ("°", "degree", ""),
    ("°f", "degree fahrenheit", "degrees fahrenheit"), ("%", "percent", "percent"),
    ("¢", "cent", ""))}
_ONLY_GLUED = {"in", "v", "w"}  # beside a space they are words or letters

_GROUPED = r"\d{1,3}(?:,\d{3})+(?!\d)|\d+"
_START = r"(?<![\w.,])"
_SIGN = re.compile(r"(?:(?<![\w\-.,)\]%°+])-|\u2212\s?)(?=[$£€¥₹¢]?\d)")
_AMOUNT = rf"({_GROUPED})(?:\.(\d\d)(?!\d)|\.(\d+))?"
_LETTERS = "|".join(sorted(_MAGNITUDES, key=len, reverse=True))
_MAGNITUDE = rf"(?:[ -]?({_LONG_MAGNITUDE})(?!\w)|\s?({_LETTERS})(?!\w))?"
_MONEY = re.compile(rf"([$£€¥₹])\s?{_AMOUNT}{_MAGNITUDE}")
_MONEY_AFTER = re.compile(rf"{_START}{_AMOUNT}{_MAGNITUDE}\s?([$£€¥₹])(?!\s?\d)")
_MONEY_RANGE = re.compile(rf"([$£€¥₹])\s?((?:{_GROUPED})(?:\.\d+)?)\s?[-\u2013]\s?"
                          r"\1?(?=\d)")
_CENTS = re.compile(rf"¢\s?({_GROUPED})")
_ANY_UNIT = "|".join(sorted(map(re.escape, _UNITS), key=len, reverse=True))
_UNIT = re.compile(rf"{_START}({_GROUPED})(?:\.(\d+))?([ -]?)({_ANY_UNIT})(?!\w)")
_TIME = re.compile(r"(?<![\w:.,])([01]?\d|2[0-3]):([0-5]\d)(?![\d:])(\s?[ap]\.?\s?m\b\.?)?")
_HALF_DAY = re.compile(r"(?<=\d)\s?([ap])\.?\s?m\b\.?(?!\w)")
_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215e]")
_FRACTION = re.compile(r"(?<![\w./,])(?:(\d+)\s+)?(\d{1,2})[/\u2044](\d{1,3})(?![\d/\u2044])"
                       rf"(?:(?:\s*|-)({_ANY_UNIT})(?!\w))?")
_DENOMINATORS = {2: "half", 3: "third", 4: "quarter", 5: "fifth", 6: "sixth", 7: "seventh",
                 8: "eighth", 9: "ninth", 10: "tenth", 12: "twelfth", 16: "sixteenth",
                 20: "twentieth", 32: "thirty second", 64: "sixty fourth", 100: "one hundredth"}
_NUMBER = re.compile(rf"(?<![\w.])({_GROUPED})(?:\.(\d+))?(?:\s?(th)|(st|nd|rd|s))?(?!\w)")
_POINT_IN_WORD = re.compile(rf"(?<![\d.,])({_GROUPED})\.(\d+)(?!\.?\d)(?=[^\W\d])")
_POINT_AFTER_WORD = re.compile(rf"(?<=[^\W\d])({_GROUPED})\.(\d+)(?!\.?\d)")
_WORD_OF_NUMBER = re.compile(r"(?<![\w.,])([1-9]\d{0,3})(?=[^\W\d_])")  # "10k", "3x"
_DIGITS_IN_WORD = re.compile(r"\d+")


def spell_symbols(text: str) -> str:
    """Digits, and the signs that are spoken, in words; other symbols are left alone."""
    if (_DIGITS_IN_WORD.search(text) if text.isascii() else
            any(character.isnumeric() for character in text)):
        for pattern, replacement in _STEPS:
            text = pattern.sub(replacement, text)
    for symbol, word in _SPOKEN:
        text = text.replace(symbol, word)
    return text


def spell_cardinal(number: int) -> str:
    """A number below 10 ** 15 in words, without "and".

    Example:
        >>> spell_cardinal(1205)
        'one thousand two hundred five'
    """
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f" {ONES[number % 10]}" if number % 10 else "")
    if number < 1000:
        rest = f" {spell_cardinal(number % 100)}" if number % 100 else ""
        return f"{ONES[number // 100]} hundred{rest}"
    for size, name in _SCALES:
        if number >= size:
            rest = f" {spell_cardinal(number % size)}" if number % size else ""
            return f"{spell_cardinal(number // size)} {name}{rest}"
    raise AssertionError("unreachable")


def _spell_year(number: int) -> str:
    """Four digits without a comma, 1100 to 1999 and 2010 to 2099, are read in pairs."""
    low = number % 100
    if low == 0:
        return f"{spell_cardinal(number // 100)} hundred"
    return f"{spell_cardinal(number // 100)} {'o ' if low < 10 else ''}{spell_cardinal(low)}"


def _spell_digits(digits: str) -> str:
    return " ".join(ONES[int(digit)] for digit in digits)


def _spell_integer(digits: str, *, year: bool = True) -> str:
    plain = digits.replace(",", "")
    if len(plain) > 15 or (len(plain) > 1 and plain[0] == "0"):
        return _spell_digits(plain)
    number = int(plain)
    if (year and digits == plain and len(plain) == 4
            and (1100 <= number < 2000 or 2010 <= number < 2100)):
        return _spell_year(number)
    return spell_cardinal(number)


def _spell_decimal(integer: str, fraction: str | None) -> str:
    """A quantity, which is never a year."""
    words = _spell_integer(integer, year=False)
    return f"{words} point {_spell_digits(fraction)}" if fraction else words


def _spell_number(match: re.Match[str]) -> str:
    integer, fraction, th, suffix = match.groups()
    suffix = th or suffix
    if fraction:
        return f"{_spell_decimal(integer, fraction)} {suffix or ''}".rstrip()
    words = _spell_integer(integer)
    if suffix == "s":
        return words[:-1] + "ies" if words.endswith("y") else words + "s"
    if suffix:
        return _ordinal(integer)
    return words


def _ordinal(digits: str) -> str:
    head, _, last = _spell_integer(digits, year=False).rpartition(" ")
    ordinal = _ORDINALS.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return f"{head} {ordinal}".lstrip()


def _spell_money(symbol: str, integer: str, hundredths: str | None, fraction: str | None,
                 long: str | None, letter: str | None) -> str:
    one, many, cent, cents = _CURRENCIES[symbol]
    magnitude = long or (_MAGNITUDES[letter] if letter else "")
    if magnitude or fraction or (hundredths and not cent):
        words = _spell_decimal(integer, hundredths or fraction)
        return f" {words} {magnitude} {many} "
    words = _spell_decimal(integer, None)
    if not (hundredths and int(hundredths)):
        return f" {words} {one if words == 'one' else many} "
    part = f"{spell_cardinal(int(hundredths))} {cent if int(hundredths) == 1 else cents}"
    if words == "zero":
        return f" {part} "
    return f" {words} {one if words == 'one' else many} and {part} "


def _spell_unit(match: re.Match[str]) -> str:
    integer, fraction, gap, unit = match.groups()
    if gap and unit in _ONLY_GLUED:
        return match[0]
    if unit == "g" and not gap and not fraction and len(integer) == 1 and integer in "23456":
        return match[0]  # a mobile network rather than a weight
    words = _spell_decimal(integer, fraction)
    return f" {words} {_UNITS[unit][words != 'one' and gap != '-']} "


def _plain_fraction(match: re.Match[str]) -> str:
    return f" {unicodedata.normalize('NFKC', match[0])} "


def _spell_fraction(match: re.Match[str]) -> str:
    whole, above, below = match[1], int(match[2]), int(match[3])
    if not (0 < above < below and below in _DENOMINATORS):
        return match[0]
    part = _DENOMINATORS[below]
    if above > 1:
        part = part[:-1] + "ves" if part == "half" else part + "s"
    words = f"{spell_cardinal(above)} {part.removeprefix('one ')}"
    unit = _UNITS[match[4]][bool(whole)] if match[4] else ""
    return f" {whole} and {words} {unit} " if whole else f" {words} {unit} "


def _spell_time(match: re.Match[str]) -> str:
    hour, minute, half_day = match.groups()
    words = _spell_integer(str(int(hour)))
    if half_day:
        after = f" {half_day.strip()[0]} m "
        return f" {words}{_spell_minutes(minute)}{after}"
    return f" {words}{_spell_minutes(minute)} " if int(minute) else f" {words} o'clock "


def _spell_minutes(minute: str) -> str:
    if not int(minute):
        return ""
    return f" {'o ' if minute[0] == '0' else ''}{spell_cardinal(int(minute))}"


_STEPS = (
    (re.compile("℃"), "°c"), (re.compile("℉"), "°f"), (re.compile(r"°\s(?=[cf]\b)"), "°"),
    (re.compile(r"(?<=\d)'(?=\d)"), " "), (re.compile(r"([$£€¥₹])-(?=\d)"), r"-\1"),
    (re.compile(r"\beur\s?(?=\d)"), "€"), (re.compile(r"(?<=\d)\s?eur\b"), " €"),
    (_MONEY_RANGE, r"\2 - \1"),
    (_VULGAR, _plain_fraction), (_SIGN, " minus "), (re.compile(r"#\s?(?=\d)"), " number "),
    (re.compile(r"(?<![\w.])([$£€¥₹])\.(?=\d)"), r"\g<1>0."),
    (re.compile(r"(?<![\w.,)])\.(\d+)(?![\w.])"), lambda m: f" point {_spell_digits(m[1])}"),
    (re.compile(r"(?<=\d)\s?×\s?(?=\d)"), " times "),
    (re.compile(r"(?<=\d)\s?÷\s?(?=\d)"), " divided by "),
    (re.compile(r"(?<=\d)\s?=\s?(?=\d)"), " equals "),
    (_TIME, _spell_time), (_HALF_DAY, r" \1 m "), (_FRACTION, _spell_fraction),
    (_CENTS, r" \1¢ "), (_MONEY, lambda m: _spell_money(m[1], *m.groups()[1:])),
    (_MONEY_AFTER, lambda m: _spell_money(m[6], *m.groups()[:5])), (_UNIT, _spell_unit),
    (_POINT_IN_WORD, lambda match: f" {_spell_decimal(match[1], match[2])} "),
    (_POINT_AFTER_WORD, lambda match: f" {_spell_decimal(match[1], match[2])} "),
    (_NUMBER, _spell_number),
    (_WORD_OF_NUMBER, lambda match: f" {_spell_integer(match[1], year=False)} "),
    (_DIGITS_IN_WORD, lambda match: f" {_spell_digits(match[0])} "),
)
_SPOKEN = (("&", " and "), ("±", " plus or minus "), ("%", " percent "), ("+", " plus "),
           ("°", " degrees "), ("²", " squared "), ("³", " cubed "))
