"""The cases of whisper's English normaliser, as equalities: both spellings normalise alike.

The pairs are those of tests/test_normalizer.py in openai-whisper 20250625, copyright 2022 OpenAI,
MIT licence. Whisper writes digits where this package writes words, so a pair is compared after
both its sides are normalised. Where the two sides are different spoken words, or where digits can
be read in several ways, this package keeps them apart on purpose: DIFFERENT says why.
"""

from __future__ import annotations

import pytest

from asr.text import normalize

SAME = [
    ("two", "2"), ("thirty one", "31"), ("nineteen ninety nine", "1999"),
    ("twenty nineteen", "2019"), ("200 thousand", "200000"),
    ("200 thousand dollars", "$200000"), ("$20 million", "$20000000"),
    ("three thousand twenty nine", "3029"), ("forty three thousand two hundred sixty", "43260"),
    ("forty three thousand two hundred and sixty", "43260"), ("nineteen fifties", "1950s"),
    ("thirty first", "31st"),
    ("thirty three thousand and three hundred and thirty third", "33333rd"),
    ("three billion", "3000000000"), ("july third twenty twenty", "july 3rd 2020"),
    ("august twenty sixth twenty twenty one", "august 26th 2021"), ("3 14", "3 14"),
    ("3.14", "3.14"), ("3 point 2", "3.2"), ("fourteen point 4", "14.4"),
    ("two hundred million dollars", "$200000000"), ("ninety percent", "90%"),
    ("seventy six per cent", "76%"), ("two thousandth", "2000th"),
    ("thirty two thousandth", "32000th"), ("minus 500", "-500"),
    ("two dollars and seventy cents", "$2.70"), ("3 cents", "¢3"), ("$0.36", "¢36"),
    ("three euros and sixty five cents", "€3.65"), ("10 th", "10th"), ("10th", "10th"),
    ("mobilisation", "mobilization"), ("Let's", "let us"),
    ("cancelation", "cancellation"),  # codespell:ignore cancelation
    ("he's like", "he is like"), ("she's been like", "she has been like"), ("10km", "10 km"),
    ("10mm", "10 mm"),
    ("Mr. Park visited Assoc. Prof. Kim Jr.",
     "mister park visited associate professor kim junior"),
]
EXPANDED = "a decimal before a magnitude is spoken as it is written, not multiplied out"
DIGITS = "the digits are read as one number; digit by digit is another reading"
WORDS = "other words are spoken"
DIFFERENT = [
    ("five twenty four", "524", DIGITS), ("two point five million", "2500000", EXPANDED),
    ("four point two billions", "4200000000s", EXPANDED),
    ("€52.4 million", "€52400000", EXPANDED), ("£77 thousands", "£77000s", WORDS),
    ("two double o eight", "2008", DIGITS), ("millions", "1000000s", WORDS),
    ("3 point 14", "3.14", "decimals are read digit by digit"),
    ("two point two five dollars", "$2.25", WORDS), ("$20.1 million", "$20100000", EXPANDED),
    ("double oh seven", "007", DIGITS), ("double zero seven", "007", DIGITS),
    ("nine one one", "911", DIGITS), ("nine double one", "911", DIGITS),
    ("one triple oh one", "10001", DIGITS), ("positive twenty thousand", "+20000", WORDS),
    ("three and a half million", "3500000", EXPANDED),
    ("forty eight and a half dollars", "$48.5", WORDS),
    ("b747", "b 747", DIGITS), ("RC232", "rc 232", DIGITS),
]


@pytest.mark.parametrize("one, other", SAME)
def test_whisper_pairs_agree(one, other):
    assert normalize(one, "english") == normalize(other, "english")


@pytest.mark.parametrize("one, other, reason", DIFFERENT)
def test_deliberate_differences(one, other, reason):
    assert normalize(one, "english") != normalize(other, "english"), reason
