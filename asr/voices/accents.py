"""English with a foreign accent: phonemes as speakers of another language often say them.

In: phonemes of American English (IPA as espeak-ng writes it), an accent, a random generator. Out:
phonemes. Each speaker has each habit or not, so that two of one accent differ. The habits are
those that books on pronunciation name (Swan and Smith, Learner English, 2001), much shortened.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np


class Habit(NamedTuple):
    """What becomes of a phoneme.

    Attributes:
        pattern: regular expression over the phonemes.
        said: what is said in its place.
        share: how many of the speakers do so, 0 .. 1.
    """

    pattern: str
    said: str
    share: float


_SHORT_I = r"(?<![aeɔ])ɪ"  # not the second part of a diphthong
_FINAL = r"(?=[\s,.;:?!]|$)"
_MONOPHTHONGS = (Habit("oʊ|əʊ", "oː", 0.8), Habit("eɪ", "eː", 0.5))
# In this order; the first habits see the English phonemes.
ACCENTS: dict[str, tuple[Habit, ...]] = {
    "fr": (Habit(r"θ(?=ɹ)", "s", 0.5), Habit("θ", "t", 0.3), Habit("θ", "s", 0.7),
           Habit("ð", "z", 0.8), Habit("h", "", 0.8), Habit("tˈuː", "tsˈy", 0.3),
           Habit("oːɹ|ɔːɹ", "ɔʁ", 0.8), Habit("ɹ", "ʁ", 0.6), Habit("ʌ", "œ", 0.3),
           Habit("ʌ", "a", 0.6), Habit(_SHORT_I, "i", 0.7), Habit("ən", "ɛn", 0.5), *_MONOPHTHONGS,
           Habit("ː", "", 0.5)),
    "de": (Habit("θ", "s", 0.6), Habit("ð", "z", 0.6), Habit("oːɹ|ɔːɹ", "ɔɐ", 0.7),
           Habit("ɜːɹ|ɚ", "œɐ", 0.5), Habit("ɹ", "ʁ", 0.4), Habit("w", "v", 0.5),
           Habit("v" + _FINAL, "f", 0.7), Habit("z" + _FINAL, "s", 0.8),
           Habit("d" + _FINAL, "t", 0.6), Habit("ʌ", "a", 0.6), Habit("æ", "ɛ", 0.8),
           Habit(r"(?<!\S)z", "s", 0.2), *_MONOPHTHONGS),
    "south": (  # Greek, Italian, Spanish: five vowels, an r of the tongue's tip
        Habit("θ", "t", 0.3), Habit("ð", "d", 0.5), Habit("h", "x", 0.4),
        Habit("oːɹ|ɔːɹ", "oɾ", 0.8), Habit("ɹ", "ɾ", 0.5), Habit("ɹ", "r", 0.6),
        Habit(_SHORT_I, "i", 0.8), Habit("ʌ", "a", 0.8), Habit("æ", "a", 0.8),
        Habit("ə(?!ʊ)", "e", 0.5), Habit("z", "s", 0.3), *_MONOPHTHONGS, Habit("ː", "", 0.8)),
    "british": (  # not foreign, but few of Kokoro's voices have it
        Habit("oːɹ|ɔːɹ", "ɔː", 1.0), Habit("ɜːɹ", "ɜː", 1.0), Habit("ɚ", "ə", 1.0),
        Habit("ɹ" + _FINAL, "", 1.0), Habit("oʊ", "əʊ", 0.9), Habit("ɑː", "ɒ", 0.5)),
}


def accented(phonemes: str, accent: str, rng: np.random.Generator) -> str:
    """The phonemes as a speaker with this accent says them.

    Args:
        phonemes: IPA of American English.
        accent: a key of ACCENTS.
        rng: chooses the habits; the same for all texts of a speaker.
    """
    has = rng.uniform(size=len(ACCENTS[accent]))
    for habit, draw in zip(ACCENTS[accent], has, strict=True):
        if draw < habit.share:
            phonemes = re.sub(habit.pattern, habit.said, phonemes)
    return phonemes
