"""How words sound, and which of them cannot be told apart.

In: texts. Out: phonemes by hibari's lexicon or by espeak-ng, or letters; a distance, warnings.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

SAME, SIMILAR = 0.0, 0.35
SHORTEST = 3  # phonemes
_MARKS = str.maketrans("", "", "ˈˌː̩ʲ‍ .,!?-‿()0123456789_")
_VOWELS = frozenset("AIOQWYaiueoyæɑɐɒɔəɛɜɝɚɪʊʌᵻᵊøœ")
# Consonants that are easily taken for each other: half a step apart.
_CLOSE = [frozenset(pair) for pair in ("pb", "td", "kɡ", "fv", "sz", "ʃʒ", "ʧʤ", "θð", "mn", "nŋ",
                                       "fθ", "vð", "lɹ", "wɹ", "θt", "sʃ", "bv", "td", "tT", "dT")]


@dataclass(frozen=True)
class Pronunciation:
    """How a text is said.

    Attributes:
        phonemes: without stress and length marks; "" if nothing can be said.
        guessed: words that no lexicon holds, so that their letters were read out.
    """

    phonemes: str
    guessed: tuple[str, ...] = ()


def pronounce(texts: Sequence[str]) -> dict[str, Pronunciation]:
    """The pronunciation of each text; its letters, if `can_pronounce` is False."""
    model = _hibari()
    if model is not None:
        return {text: _by_hibari(model, text) for text in texts}
    if shutil.which("espeak-ng"):
        return dict(zip(texts, _by_espeak(texts), strict=True))
    return {text: Pronunciation(text.translate(_MARKS)) for text in texts}


def can_pronounce() -> bool:
    """Whether hibari-tts or espeak-ng is installed."""
    return _hibari() is not None or shutil.which("espeak-ng") is not None


@lru_cache(maxsize=1)
def _hibari() -> Any:
    try:
        from hibari.g2p import G2P
    except ImportError:
        return None
    return G2P()


def _by_hibari(model: Any, text: str) -> Pronunciation:
    tokens = model.phonemize_tokens(model.tokenize(text))
    # Its ratings: 3 and more are its lexicons, 2 is the network for unknown words.
    guessed = tuple(token.text for token in tokens if (token.rating or 0) < 3)
    return Pronunciation("".join(token.phonemes or "" for token in tokens).translate(_MARKS),
                         guessed)


def _by_espeak(texts: Sequence[str]) -> list[Pronunciation]:
    """espeak-ng does not say which words are in its lexicon."""
    def said(lines: Sequence[str]) -> list[str]:
        done = subprocess.run(["espeak-ng", "-q", "--ipa", "-v", "en-us", "--stdin"],
                              input="\n\n".join(lines).encode(), capture_output=True, timeout=60,
                              check=False)
        return [" ".join(line.split()) for line in done.stdout.decode("utf-8", "replace")
                .splitlines() if line.strip()]

    together = said(texts)
    if len(together) != len(texts):  # a text became two lines or none
        together = [" ".join(said([text])) for text in texts]
    return [Pronunciation(line.translate(_MARKS)) for line in together]


def distance(a: str, b: str) -> float:
    """How differently two phoneme strings sound: 0 the same, 1 nothing in common.

    Levenshtein's distance with half steps between vowels and between consonants of a kind, over
    the length of the longer one.

    Example:
        >>> distance("pɪn", "bɪn") < distance("pɪn", "tɪk")
        True
    """
    row = [float(k) for k in range(len(b) + 1)]
    for i, left in enumerate(a, start=1):
        above, row = row, [float(i)]
        for j, right in enumerate(b, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + _apart(left, right)))
    return row[-1] / max(len(a), len(b), 1)


def _apart(left: str, right: str) -> float:
    if left == right:
        return 0.0
    if left in _VOWELS and right in _VOWELS or {left, right} in _CLOSE:
        return 0.5
    return 1.0


def warnings_of(phrases: dict[str, Pronunciation]) -> list[str]:
    """What a person should know before the training: a sentence each, with what to do."""
    found = []
    if not can_pronounce():
        found.append("Neither hibari-tts (pip install 'keras-asr[voices]') nor espeak-ng is "
                     "installed: words are compared by their letters, not by their sounds.")
    for phrase, said in phrases.items():
        if said.guessed:
            found.append(f"{', '.join(map(repr, said.guessed))} in {phrase!r} is in no lexicon: "
                         f"the voices say {said.phonemes}, a guess from the letters. If that is "
                         "wrong, write it as it sounds, or give recordings of it "
                         "(--recordings).")
        if len(said.phonemes) < SHORTEST:
            found.append(f"{phrase!r} is very short ({said.phonemes}): other speech is often taken "
                         "for it. A longer phrase is safer.")
    names = list(phrases)
    for index, first in enumerate(names):
        for second in names[index + 1:]:
            apart = distance(phrases[first].phonemes, phrases[second].phonemes)
            if apart == SAME:
                found.append(f"{first!r} and {second!r} sound the same; no recogniser can tell "
                             "them apart. Leave one out, or say it with another word.")
            elif apart <= SIMILAR:
                found.append(f"{first!r} and {second!r} sound alike ({phrases[first].phonemes}, "
                             f"{phrases[second].phonemes}): expect confusions. Choose another word "
                             "for one, or give recordings of both (--recordings).")
    return found
