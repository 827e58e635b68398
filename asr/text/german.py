"""German for scoring: numbers, money, units and common abbreviations; umlauts and ß stay.

In: lower-cased NFC text. Out: the same words, written out.

Ordinals ("der 3. Tag") cannot be distinguished from a number at the end of a sentence and are read
as cardinals; hesitations stay.
"""

from __future__ import annotations

import re
import unicodedata

from asr.text.abbreviations import split_initials

_ONES = ("null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
         "fünfzehn sechzehn siebzehn achtzehn neunzehn").split()
_TENS = "_ _ zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig".split()

_ABBREVIATIONS = tuple((re.compile(rf"(?<!\w){pattern}(?!\w)"), words) for pattern, words in (
    (r"z\.\s?b\.", "zum beispiel"), (r"d\.\s?h\.", "das heißt"), (r"u\.\s?a\.", "unter anderem"),
    (r"usw\.", "und so weiter"), (r"bzw\.?", "beziehungsweise"), (r"ca\.", "circa"),
    (r"dr\.", "doktor"), (r"prof\.", "professor"), (r"nr\.", "nummer"), (r"str\.", "straße"),
    (r"max\.", "maximal"), (r"vgl\.", "vergleiche"),
)) + ((re.compile(r"(?<=\w)str\.(?!\w)"), "straße"),)
# Without their dots; none of these is a word.
_LONG_FORMS = {"dr": "doktor", "prof": "professor", "nr": "nummer", "usw": "und so weiter",
               "bzw": "beziehungsweise", "zb": "zum beispiel", "dh": "das heißt",
               "ggf": "gegebenenfalls", "evtl": "eventuell", "inkl": "inklusive",
               "bspw": "beispielsweise", "sog": "sogenannt", "zzgl": "zuzüglich",
               **split_initials("usa eu tv dvd cd pc lkw pkw ard zdf bmw vw dna edv gmbh spd cdu "
                                "csu fdp ddr brd")}
_LONG = re.compile(rf"\b({'|'.join(_LONG_FORMS)})\b")
_ONE_BEFORE = re.compile(r"\b(?:hundert|tausend)(?!e|s?t)")  # not Hunderte, hundertste
_CURRENCIES = {"$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pfund", "pence"),
               "¥": ("yen", ""), "¢": ("cent", "")}
_MAGNITUDES = {"tsd": ("tausend", "tausend"), "mio": ("million", "millionen"),
               "mrd": ("milliarde", "milliarden"), "bio": ("billion", "billionen")}
_UNITS = {
    "km": "kilometer", "m": "meter", "cm": "zentimeter", "mm": "millimeter", "nm": "nanometer",
    "µm": "mikrometer", "kg": "kilogramm", "g": "gramm", "mg": "milligramm", "t": "tonnen",
    "l": "liter", "ml": "milliliter", "cl": "zentiliter", "h": "stunden", "min": "minuten",
    "std": "stunden", "ct": "cent", "sek": "sekunden", "ms": "millisekunden",
    "km/h": "kilometer pro stunde",
    "m/s": "meter pro sekunde", "hz": "hertz", "khz": "kilohertz", "mhz": "megahertz",
    "ghz": "gigahertz", "w": "watt", "kw": "kilowatt", "kwh": "kilowattstunden", "v": "volt",
    "kv": "kilovolt", "db": "dezibel",  # codespell:ignore dezibel
    "kb": "kilobyte", "mb": "megabyte", "gb": "gigabyte",
    "tb": "terabyte", "kcal": "kilokalorien", "ha": "hektar", "km²": "quadratkilometer",
    "m²": "quadratmeter", "cm²": "quadratzentimeter", "qm": "quadratmeter", "m³": "kubikmeter",
    "cm³": "kubikzentimeter", "°c": "grad celsius", "°f": "grad fahrenheit", "°": "grad",
    "%": "prozent",
}
_ONE_UNIT = {"t": "eine tonne", "h": "eine stunde", "std": "eine stunde", "min": "eine minute",
             "sek": "eine sekunde", "ms": "eine millisekunde", "kwh": "eine kilowattstunde",
             "kcal": "eine kilokalorie"}
_ONLY_GLUED = {"t", "v", "w"}

_GROUPED = r"\d{1,3}(?:\.\d{3})+(?!\d)|\d+"
_SIGN = re.compile(r"(?:(?<![\w\-.,)\]%°+])-|\u2212\s?)(?=[$€£¥¢]?\d)")
_MAGNITUDE = rf"(?:\s?({'|'.join(_MAGNITUDES)})(?!\w)\.?)?"
_AMOUNT = rf"({_GROUPED})(?:,(\d\d)(?!\d)|,(\d+)|\.(\d\d)(?!\d))?{_MAGNITUDE}"
_MONEY = re.compile(rf"([$€£¥¢])\s?{_AMOUNT}")
_MONEY_AFTER = re.compile(rf"(?<![\w,.]){_AMOUNT}(?:\s?([$€£¥¢])(?!\s?\d)|\s(euro|dollar)(?!\w))")
_SCALED = re.compile(rf"(?<![\w,.])({_GROUPED})(?:,(\d+))?\s?({'|'.join(_MAGNITUDES)})(?!\w)\.?")
_UNIT = re.compile(rf"(?<![\w,.])({_GROUPED})(?:,(\d+))?([ -]?)"
                   rf"({'|'.join(sorted(map(re.escape, _UNITS), key=len, reverse=True))})(?!\w)")
_CLOCK = re.compile(r"(?<![\w:.,])([01]?\d|2[0-4])[:.]([0-5]\d)\s?uhr(?!\w)")
_VULGAR = re.compile("[\u00bc-\u00be\u2150-\u215e]")
_FRACTION = re.compile(r"(?<![\w./,])(?:(\d+)\s+)?(\d{1,2})[/\u2044](\d{1,2})(?![\d/\u2044])"
                       rf"(?:\s*({'|'.join(sorted(map(re.escape, _UNITS), key=len, reverse=True))})"
                       r"(?!\w))?")
_PARTS = {2: "halb", 3: "drittel", 4: "viertel", 5: "fünftel", 6: "sechstel", 7: "siebtel",
          8: "achtel", 9: "neuntel", 10: "zehntel", 16: "sechzehntel", 20: "zwanzigstel"}
_COMPOUND = re.compile(r"(?<![\w.,-])(\d{1,4})-?(%ig\w*|(?:jährig|prozentig|fach|stündig|minütig|"
                       r"tägig|stellig|stöckig)\w*|mal|x|er[ns]?)(?!\w)")
_NUMBER = re.compile(rf"(?<![\w,])({_GROUPED})(?:,(\d+))?(?!\w)")
_COMMA_IN_WORD = re.compile(rf"(?<![\d.,])({_GROUPED}),(\d+)(?!,?\d)(?=[^\W\d])")
_DIGITS_IN_WORD = re.compile(r"\d+")


def expand_german(text: str) -> str:
    """Abbreviations, symbols and digits become words; punctuation is left alone."""
    for pattern, words in _ABBREVIATIONS:
        text = pattern.sub(words, text)
    if any(character.isnumeric() for character in text):
        for pattern, replacement in _STEPS:
            text = pattern.sub(replacement, text)
    for symbol, words in _SPOKEN:
        text = text.replace(symbol, words)
    return text


def unify_german(text: str) -> str:
    """Abbreviations and initials without dots, "hundert" as "einhundert"; no punctuation left."""
    text = _LONG.sub(lambda match: _LONG_FORMS[match[0]], text)
    return _ONE_BEFORE.sub(r"ein\g<0>", text)


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


def _spell_integer(digits: str, *, year: bool = False) -> str:
    plain = digits.replace(".", "")
    number = int(plain)
    if len(plain) > 9 or (len(plain) > 1 and plain[0] == "0"):
        return _spell_digits(plain)
    if year and plain == digits and 1100 <= number < 2000:  # a year is read in hundreds
        rest = spell_cardinal_german(number % 100) if number % 100 else ""
        return f"{_prefix(number // 100)}hundert{rest}"
    return spell_cardinal_german(number)


def _spell_decimal(integer: str, fraction: str | None) -> str:
    """A quantity, which is never a year."""
    words = _spell_integer(integer)
    return f"{words} komma {_spell_digits(fraction)}" if fraction else words


def _before_noun(words: str) -> str:
    """The same number before a noun: "ein" instead of "eins", "hundertein" likewise."""
    return words[:-1] if words.endswith("eins") and " komma " not in words else words


def _spell_number(match: re.Match[str]) -> str:
    integer, fraction = match.groups()
    return _spell_decimal(integer, fraction) if fraction else _spell_integer(integer, year=True)


def _spell_scaled(integer: str, fraction: str | None, magnitude: str) -> str:
    one, many = _MAGNITUDES[magnitude]
    words = _spell_decimal(integer, fraction)
    if words == "eins":
        return "eintausend" if magnitude == "tsd" else f"eine {one}"
    if magnitude == "tsd" and not fraction and len(integer) < 4:
        return spell_cardinal_german(int(integer) * 1000)
    return f"{words} {many}"


def _spell_money(symbol: str, integer: str, cents: str | None, fraction: str | None,
                 dotted: str | None, magnitude: str | None) -> str:
    unit, part = _CURRENCIES[symbol]
    if magnitude:
        return f" {_spell_scaled(integer, cents or fraction or dotted, magnitude)} {unit} "
    cents = cents or dotted
    if fraction or (cents and not part):
        return f" {_spell_decimal(integer, fraction or cents)} {unit} "
    words = _before_noun(_spell_integer(integer))
    if not (cents and int(cents)):
        return f" {words} {unit} "
    if words == "null":
        return f" {_before_noun(spell_cardinal_german(int(cents)))} {part} "
    return f" {words} {unit} {spell_cardinal_german(int(cents))} "


def _spell_unit(match: re.Match[str]) -> str:
    integer, fraction, gap, unit = match.groups()
    if gap and unit in _ONLY_GLUED:
        return match[0]
    words = _spell_decimal(integer, fraction)
    if words == "eins" and unit in _ONE_UNIT:
        return f" {_ONE_UNIT[unit]} "
    return f" {_before_noun(words)} {_UNITS[unit]} "


def _spell_clock(match: re.Match[str]) -> str:
    hour, minute = _before_noun(spell_cardinal_german(int(match[1]))), int(match[2])
    return f" {hour} uhr {spell_cardinal_german(minute) if minute else ''} "


def _spell_fraction(match: re.Match[str]) -> str:
    whole, above, below = match[1], int(match[2]), int(match[3])
    if not (0 < above < below and below in _PARTS):
        return match[0]
    unit = _UNITS[match[4]] if match[4] else ""
    if whole and below == 2 and len(whole) < 9:
        head = "ein" if int(whole) == 1 else spell_cardinal_german(int(whole))
        return f" {head}einhalb {unit} "
    words = f"{_prefix(above)} {_PARTS[below]}"
    return f" {whole or ''} {words} {unit} "


def _spell_compound(match: re.Match[str]) -> str:
    """ "10-jährig", "90er", "2x": one word."""
    number, ending = match[1], match[2].replace("x", "mal").replace("%ig", "prozentig")
    words = _spell_integer(number, year=ending.startswith("er"))
    return f" {_before_noun(words)}{ending}"


_STEPS = (
    (re.compile("℃"), "°c"), (re.compile("℉"), "°f"), (re.compile(r"°\s(?=[cf]\b)"), "°"),
    (re.compile(r"(?<=\d)'(?=\d)"), " "), (re.compile(r"([$€£¥¢])-(?=\d)"), r"-\1"),
    (re.compile(r"\beur\s?(?=\d)"), "€"), (re.compile(r"(?<=\d)\s?eur\b"), " €"),
    (_COMPOUND, _spell_compound),
    (_VULGAR, lambda match: f" {unicodedata.normalize('NFKC', match[0])} "),
    (_SIGN, " minus "), (re.compile(r"#\s?(?=\d)"), " nummer "), (_CLOCK, _spell_clock),
    (re.compile(r"(?<=\d)\s?×\s?(?=\d)"), " mal "), (_FRACTION, _spell_fraction),
    (_MONEY, lambda m: _spell_money(*m.groups())),
    (_MONEY_AFTER, lambda m: _spell_money(m[6] or {"euro": "€", "dollar": "$"}[m[7]],
                                          *m.groups()[:5])),
    (_SCALED, lambda m: f" {_spell_scaled(m[1], m[2], m[3])} "), (_UNIT, _spell_unit),
    (_COMMA_IN_WORD, lambda m: f" {_spell_decimal(m[1], m[2])} "), (_NUMBER, _spell_number),
    (_DIGITS_IN_WORD, lambda match: f" {_spell_digits(match[0])} "),
)
_SPOKEN = (("&", " und "), ("±", " plus minus "), ("%", " prozent "), ("€", " euro "),
           ("§", " paragraph "), ("+", " plus "), ("°", " grad "),
           ("²", " quadrat "), ("³", " hoch drei "))
