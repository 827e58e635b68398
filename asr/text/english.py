"""English for scoring: contractions, numbers and British spellings in one form.

In: lower-cased NFC text with plain apostrophes. Out: the same words, written out.

Every rule makes two spellings of the same spoken words equal; none removes a spoken word
(hesitations such as "uh" stay). Where a spelling is ambiguous it stays too: "'s" after a noun may
be "is", "has" or a possessive, and only after a pronoun is it read as "is".
"""

from __future__ import annotations

import re
from functools import lru_cache

_ONES = ("zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
         "fifteen sixteen seventeen eighteen nineteen").split()
_TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"))
_ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth",
             "eight": "eighth", "nine": "ninth", "twelve": "twelfth"}
_CURRENCIES = {"$": "dollar", "£": "pound", "€": "euro"}

_CONTRACTIONS = tuple((re.compile(rf"(?<!\w){pattern}(?!\w)"), replacement) for pattern, replacement
                      in (
    ("won't", "will not"), ("can't", "can not"), ("shan't", "shall not"), ("ain't", "is not"),
    ("let's", "let us"), ("y'all", "you all"), (r"(\w+)n't", r"\1 not"),
    ("(it|he|she|that|what|there|here|who|where|how|when)'s", r"\1 is"),
    (r"(\w+)'re", r"\1 are"), (r"(\w+)'ve", r"\1 have"), (r"(\w+)'ll", r"\1 will"),
    (r"(i|you|he|she|it|we|they|who|there|that)'d", r"\1 would"), ("i'm", "i am"),
))
_LONG_FORMS = {"cannot": "can not", "gonna": "going to", "wanna": "want to", "gotta": "got to",
               "gimme": "give me", "ok": "okay", "alright": "all right", "mr": "mister",
               "mrs": "missus", "dr": "doctor", "prof": "professor"}
_LONG = re.compile(rf"(?<!\w)({'|'.join(_LONG_FORMS)})(?!\w)")

_GROUPED = r"\d{1,3}(?:,\d{3})+|\d+"
_MONEY = re.compile(rf"([$£€])\s?({_GROUPED})(?:\.(\d\d)(?!\d)|\.(\d+))?")
_NUMBER = re.compile(rf"(?<![\w.])({_GROUPED})(?:\.(\d+))?(st|nd|rd|th|s)?(?!\w)")
_DIGITS_IN_WORD = re.compile(r"\d+")

_NUMBER_WORDS = "|".join(_ONES + _TENS[2:])
_UNIFY_NUMBERS = (
    (re.compile(r"\ba (?=(?:hundred|thousand|million|billion)\b)"), "one "),
    (re.compile(rf"\b(hundred|thousand|million|billion) and (?=(?:{_NUMBER_WORDS})\b)"), r"\1 "),
)

_ISE = ("apolog author capital categor central character civil computer critic crystall digital "
        "emphas equal familiar fertil final general global harmon hospital ideal immun "
        "industrial initial italic jeopard legal liberal local maxim mechan memor minim mobil "
        "modern monopol national natural neutral normal optim organ disorgan reorgan patron penal "
        "personal polar popular priorit privat public real recogn revolution sensit social special "
        "stabil standard steril subsid summar symbol sympath synchron terror util vandal verbal "
        "victim visual vocal").split()
_OUR = ("arb ard arm behavi cand clam col demean enam endeav fav ferv flav harb hon hum lab "
        "neighb od parl ranc rig rum sav savi splend succ tum val vap vig").split()
_DOUBLED = ("cancel channel counsel dial equal fuel jewel label level marvel model panel pencil "
            "quarrel rival signal spiral total travel tunnel").split()
_SPELLING = tuple((re.compile(pattern), replacement) for pattern, replacement in (
    (rf"\b((?:dis|mis|un|re|multi)?(?:{'|'.join(_OUR)}))our", r"\1or"),
    (rf"\b((?:un|re|de)?(?:{'|'.join(_ISE)}))is(e[sdr]?|ers|ing|ations?|able)\b", r"\1iz\2"),
    (r"\b((?:psycho)?anal|paral|catal)ys(ed?|ers?|ing)\b", r"\1yz\2"),
    (r"\b((?:kilo|centi|milli)?(?:met|lit)|cent|theat|fib|calib|spect|lust|somb|meag)re(s|d)?\b",
     r"\1er\2"),
    (r"\b(cent|somb)erd\b", r"\1ered"),
    (rf"\b({'|'.join(_DOUBLED)})l(ed|ers?|ing|ings)\b", r"\1\2"),
    (r"\b(fulfi|enro|disti|insti)l(s|ments?)?\b", r"\1ll\2"),
    (r"\b(ski|wi)lful(ly|ness)?\b", r"\1llful\2"),
    (r"\b(def|off|lic|pret)ence(s|d|less)?\b", r"\1ense\2"),
    (r"\bpractis(e[sd]?|ing)\b", r"practic\1"),
    (r"\b(cata|ana)logue(s?)\b", r"\1log\2"),
    (r"\b(an)aesth", r"\1esth"), (r"\bp(?:ae)(diatri)", r"pe\1"), (r"\bhaem", "hem"),
    (r"\boe(strogen|sophag)", r"e\1"), (r"\bf(?:oe)(tus|tal)", r"fe\1"),
    (r"aemi(a|c)\b", r"emi\1"), (r"paedia\b", "pedia"), (r"\barchae", "arche"),
    (r"\bjewellery\b", "jewelry"), (r"\bmarvellous", "marvelous"),
    (r"\bmanoeuvre(s?|d)\b", r"maneuver\1"), (r"\bmaneuverd\b", "maneuvered"),
    (r"\b(m|sm)ould(s|y|er|ers|ing|ering|ed|ered)?\b", r"\1old\2"),
    (r"\bsceptic", "skeptic"), (r"\bsulph", "sulf"),
))
_WORDS: dict[str, str] = dict((pair.split(":")[0], pair.split(":")[1]) for pair in (
    "grey:gray greyish:grayish tyre:tire tyres:tires plough:plow ploughed:plowed ploughs:plows "
    "cheque:check cheques:checks programme:program programmes:programs aluminium:aluminum "
    "cosy:cozy moustache:mustache pyjamas:pajamas storey:story storeys:stories towards:toward "
    "forwards:forward backwards:backward afterwards:afterward whilst:while amongst:among "
    "learnt:learned burnt:burned dreamt:dreamed spelt:spelled spoilt:spoiled leant:leaned "
    "judgement:judgment judgements:judgments ageing:aging artefact:artifact artefacts:artifacts "
    "kerb:curb draught:draft draughts:drafts axe:ax"
).split())


def expand_english(text: str) -> str:
    """Contractions, titles, symbols and digits become words; punctuation is left alone."""
    if any(character.isdigit() for character in text):  # first: "ok5" holds a short form, too
        text = _MONEY.sub(_spell_money, text)
        text = _NUMBER.sub(_spell_number, text)
        text = _DIGITS_IN_WORD.sub(lambda match: f" {_spell_digits(match[0])} ", text)
    if "'" in text:
        for pattern, replacement in _CONTRACTIONS:
            text = pattern.sub(replacement, text)
    text = _LONG.sub(lambda match: _LONG_FORMS[match[0]], text)
    return text.replace("&", " and ").replace("%", " percent ")


def unify_english(text: str) -> str:
    """American spelling, and one way to say "two hundred (and) five"; after punctuation is gone."""
    for pattern, replacement in _UNIFY_NUMBERS:
        text = pattern.sub(replacement, text)
    return " ".join(map(_american, text.split(" ")))


@lru_cache(maxsize=100_000)
def _american(word: str) -> str:
    for pattern, replacement in _SPELLING:
        word = pattern.sub(replacement, word)
    return _WORDS.get(word, word)


def spell_cardinal(number: int) -> str:
    """A number below 10 ** 15 in words, without "and".

    Example:
        >>> spell_cardinal(1205)
        'one thousand two hundred five'
    """
    if number < 20:
        return _ONES[number]
    if number < 100:
        return _TENS[number // 10] + (f" {_ONES[number % 10]}" if number % 10 else "")
    if number < 1000:
        rest = f" {spell_cardinal(number % 100)}" if number % 100 else ""
        return f"{_ONES[number // 100]} hundred{rest}"
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
    return " ".join(_ONES[int(digit)] for digit in digits)


def _spell_integer(digits: str) -> str:
    plain = digits.replace(",", "")
    if len(plain) > 15 or (len(plain) > 1 and plain[0] == "0"):
        return _spell_digits(plain)
    number = int(plain)
    if digits == plain and len(plain) == 4 and (1100 <= number < 2000 or 2010 <= number < 2100):
        return _spell_year(number)
    return spell_cardinal(number)


def _spell_number(match: re.Match[str]) -> str:
    integer, fraction, suffix = match.groups()
    words = _spell_integer(integer)
    if fraction:
        return f"{words} point {_spell_digits(fraction)} {suffix or ''}".rstrip()
    if suffix == "s":
        return words[:-1] + "ies" if words.endswith("y") else words + "s"
    if suffix:
        head, _, last = spell_cardinal(int(integer.replace(",", ""))).rpartition(" ")
        ordinal = _ORDINALS.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
        return f"{head} {ordinal}".lstrip()
    return words


def _spell_money(match: re.Match[str]) -> str:
    symbol, integer, cents, fraction = match.groups()
    unit = _CURRENCIES[symbol]
    plain = integer.replace(",", "")
    words = _spell_integer(f"{plain}") if len(plain) > 15 else spell_cardinal(int(plain))
    if fraction:
        return f" {words} point {_spell_digits(fraction)} {unit}s "
    words = f" {words} {unit}{'' if int(plain) == 1 else 's'} "
    return words + f"{spell_cardinal(int(cents))} " if cents and int(cents) else words
