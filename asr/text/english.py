"""English for scoring: contractions, numbers and British spellings in one form.

In: lower-cased NFC text with plain apostrophes. Out: the same words, written out.

Every rule makes two spellings of the same spoken words equal; none removes a spoken word
(hesitations such as "uh" stay). Where a spelling is ambiguous it stays too: "'s" after a noun may
be "is", "has" or a possessive, and only after a pronoun is it read as "is", or as "has" where the
next word leaves no choice ("she's been"). "ain't" may be am, is, are, has or have.
"""

from __future__ import annotations

import re
from functools import lru_cache

from asr.text.abbreviations import split_initials
from asr.text.english_numbers import ONES, TENS, spell_cardinal, spell_symbols
from asr.text.english_spelling import american

__all__ = ["expand_english", "spell_cardinal", "unify_english"]

_ADVERBS = ("(?: (?:just|never|always|already|ever|also|only|not|really|recently|since|still|"
            "probably|long|all|even|often|once)){0,2}")
_ONLY_HAS = ("been|had|got|gotten|become|gone|come|begun|happened|occurred|arrived|appeared|"
             "disappeared|died|existed|remained")
# Participles that are no base form, so that "'d" before them cannot be "would".
_PARTICIPLES = ("been had done gone got gotten seen taken given known written spoken eaten fallen "
                "forgotten chosen begun broken driven grown thrown flown shown sworn worn torn "
                "hidden risen stolen drawn made said told heard kept lost sent brought bought "
                "thought caught taught built paid met won meant felt held agreed").split()
_REGULAR = r"(?!(?:shed|wed|embed|shred|bed|sled)\b)\w+[^\We]ed"

# what must be in the text, the rule, what becomes of it
_WORD_RULES = tuple((needed, re.compile(rf"(?<![\w']){pattern}(?![\w'])"), replacement)
                    for needed, pattern, replacement in (
    ("'d've", r"(\w+)'d've", r"\1 would have"),
    ("won't", "won't", "will not"), ("can't", "can't", "can not"),
    ("shan't", "shan't", "shall not"), ("let's", "let's", "let us"), ("y'all", "y'all", "you all"),
    ("n't", r"(?!ain't)(\w+)n't", r"\1 not"),
    ("'s", rf"(\w+)'s(?={_ADVERBS} (?:been|gotten)\b)", r"\1 has"),
    ("'s", rf"(it|he|she|that|what|there|here|who|where|how|when)'s(?={_ADVERBS} "
     rf"(?:{_ONLY_HAS})\b)", r"\1 has"),
    ("'s", "(it|he|she|that|what|there|here|who|where|how|when)'s", r"\1 is"),
    ("'re", r"(\w+)'re", r"\1 are"), ("'ve", r"(\w+)'ve", r"\1 have"),
    ("'ll", r"(\w+)'ll", r"\1 will"), ("'d", r"(\w+)'d(?= better\b)", r"\1 had"),
    ("'d", rf"(i|you|he|she|it|we|they|who|there|that)'d(?={_ADVERBS} "
     rf"(?:{'|'.join(_PARTICIPLES)}|{_REGULAR})\b)", r"\1 had"),
    ("'d", r"(i|you|he|she|it|we|they|who|there|that)'d", r"\1 would"),
    ("i'ma", "i'ma", "i am going to"), ("imma", "imma", "i am going to"), ("i'm", "i'm", "i am"),
    ("oulda", "(w|c|sh)oulda", r"\1ould have"), ("per cent", "per cent", "percent"),
))
# "st" is a street after a number and a name, at the end and before a word that is no name
_SAINT = (
    (re.compile(rf"\b({'|'.join(ONES + TENS[2:])})((?: \w+){{1,2}}) st\b"), r"\1\2 street"),
    (re.compile(r"(?<=\w )st\b(?=$| (?:in|at|on|and|or|to|from|of|near|is|was|the|a|an|for|by|"
                r"with|where|which|that|but|it|we|he|she|they|i)\b)"), "street"),
    (re.compile(r"\bst(?= [^\W\d_])"), "saint"),
)
_LONG_FORMS = {"cannot": "can not", "gonna": "going to", "wanna": "want to", "gotta": "got to",
               "gimme": "give me", "lemme": "let me", "ok": "okay", "alright": "all right",
               "mr": "mister", "mrs": "missus", "dr": "doctor", "prof": "professor",
               "jr": "junior", "sr": "senior", "capt": "captain", "lt": "lieutenant",
               "asst": "assistant", "assoc": "associate", "esq": "esquire", "vs": "versus",
               "sgt": "sergeant", "cpl": "corporal", "cmdr": "commander", "messrs": "messieurs",
               "blvd": "boulevard", "ltd": "limited", "dept": "department", "govt": "government",
               "bros": "brothers", "approx": "approximately", "e mail": "email",
               "e mails": "emails", "etc": "et cetera", "etcetera": "et cetera", "phd": "p h d",
               "ph d": "p h d",
               **split_initials("usa uk eu tv dvd cd pc ceo fbi cia bbc cnn nbc dna rna hiv gps "
                                "html pdf url mba nfl nba nhl atm usb nyc ufo eg ie")}
_LONG = re.compile(rf"(?<![\w'])({'|'.join(sorted(_LONG_FORMS, key=len, reverse=True))})"
                   r"(?!\w|'(?!s\b))")
_WORD = re.compile(r"\w+")
_ABBREVIATED = frozenset(form.split()[0] for form in _LONG_FORMS)

_ORDINAL_WORDS = ("first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|"
                  r"twelfth|\w+teenth|\w+ieth")
_NUMBER_WORDS = "|".join(ONES + TENS[2:])
_SCALE_WORDS = "hundred|thousand|million|billion|trillion"
_SCALES = ("hundred", "thousand", "illion")
_NUMBER_RULES = (  # one of these must be in the text, the rule, what becomes of it
    (_SCALES, re.compile(rf"\ba (?=(?:{_SCALE_WORDS})\b)"), "one "),
    (_SCALES, re.compile(rf"\b({_SCALE_WORDS}) and (?=(?:{_NUMBER_WORDS}|{_ORDINAL_WORDS})\b)"
                         r"(?!one (?:half|third|quarter)\b)"), r"\1 "),
    ((" and a ",), re.compile(rf"\b({_NUMBER_WORDS}|{_SCALE_WORDS}) and a "
                              r"(?=(?:half|third|quarter)\b)"), r"\1 and one "),
    (("three fourths",), re.compile(r"\bthree fourths\b"), "three quarters"),
    ((" oh ",), re.compile(rf"\b({_NUMBER_WORDS}|double|triple) oh(?= (?:{_NUMBER_WORDS})\b)"),
     r"\1 o"),
    ((" am", " pm"), re.compile(rf"\b({_NUMBER_WORDS}) (?:(p)|(?<!one )(a))m\b"), r"\1 \2\3 m"),
)


# Of each rule a word that it cannot do without: no text of plain words without these changes.
_RULED = _ABBREVIATED.union(
    "st cent imma woulda coulda shoulda half third quarter fourths oh am pm".split(),
    _SCALE_WORDS.split("|"))


@lru_cache(maxsize=100_000)
def _stays(word: str) -> bool:
    """Whether no rule changes a word, whatever is beside it; most words of most texts."""
    return (word.isascii() and word.isalnum() and word not in _RULED and american(word) == word)


def expand_english(text: str) -> str:
    """Symbols, digits and the signs beside them become words; punctuation is left alone."""
    if "@" in text:
        text = re.sub(r"(?<=\w)@(?=\w)", " at ", text)
    if "no." in text:
        text = re.sub(r"\bno\.\s?(?=\d)", "number ", text)
    if ".'s" in text:
        text = re.sub(r"(?<=\w)\.(?='s\b)", "", text)
    return spell_symbols(text)


def unify_english(text: str) -> str:
    """Contractions, titles, American spelling and "two hundred (and) five"; no punctuation left.

    Every rule sees words only, and the rules run until none changes anything, so that one
    rule's outcome cannot be news for another when the text is normalised again.
    """
    if all(map(_stays, text.split(" "))):
        return text
    for _ in range(20):
        before = text
        if "'" in text or "oulda" in text or "imma" in text or "per cent" in text:
            for needed, pattern, replacement in _WORD_RULES:
                if needed in text:
                    text = pattern.sub(replacement, text)
        words = _WORD.findall(text)
        if not _ABBREVIATED.isdisjoint(words):
            text = _LONG.sub(lambda match: _LONG_FORMS[match[0]], text)
        if "st" in words:
            for pattern, replacement in _SAINT:
                text = pattern.sub(replacement, text)
        for needs, pattern, replacement in _NUMBER_RULES:
            if any(needed in text for needed in needs):
                text = pattern.sub(replacement, text)
        text = " ".join(map(american, text.split(" ")))
        if text == before:
            break
    return text
