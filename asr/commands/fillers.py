"""Speech that is no command: what the recogniser must learn to refuse.

In: the phrases and a list of other words. Out: texts for the voices.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.commands.pronunciation import Pronunciation, distance
from asr.errors import DataError
from asr.terminal import plural
from asr.text.reading import read_text_file

WORDS = Path(__file__).with_name("words.txt")
# Distances (see `distance`) of words that are worth saying often. Nearer ones are how some people
# say the phrase itself ("tree" for "three"): to refuse them is to refuse these people.
TOO_NEAR, ALIKE = 0.2, 0.5
PER_PHRASE = 12  # such words a phrase
LONGEST = 4  # words of a filler text


def read_filler_words(path: str | Path = WORDS) -> list[str]:
    """Words, one a line; lines with # are left out.

    Raises:
        DataError: the file cannot be read, or has fewer than 20 words.
    """
    lines = read_text_file(path, "words", code="commands.file").splitlines()
    words = [line.strip().lower() for line in lines if line.strip() and line[0] != "#"]
    if len(words) < 20:
        raise DataError(f"{path} holds {plural(len(words), 'word')} of other speech; give 20 or "
                        "more.",
                        code="commands.file", path=path)
    return list(dict.fromkeys(words))


def sound_alikes(phrases: dict[str, Pronunciation], words: dict[str, Pronunciation]
                 ) -> list[str]:
    """Words that are no command and sound nearly like one, nearest first for each phrase."""
    spoken = {said.phonemes for said in phrases.values()}
    parts = {part for phrase in phrases for part in phrase.split()}
    found: dict[str, None] = {}
    for said in phrases.values():
        near = sorted((distance(said.phonemes, other.phonemes), word)
                      for word, other in words.items()
                      if word not in parts and other.phonemes and other.phonemes not in spoken)
        near = [word for apart, word in near if TOO_NEAR < apart <= ALIKE]
        found.update(dict.fromkeys(near[:PER_PHRASE]))
    return list(found)


def filler_texts(phrases: Sequence[str], words: Sequence[str], alike: Sequence[str], count: int,
                 rng: np.random.Generator) -> list[str]:
    """Other speech: single words, a third of them like a command, short rows of words, and
    commands with other words around them.

    Args:
        phrases: the commands.
        words: other words, the most frequent first.
        alike: from `sound_alikes`.
        count: how many texts.
        rng: chooses.

    Returns:
        Texts, none of them a command.
    """
    commands, texts = set(phrases), []
    # Frequent words more often: rank r with a weight of 1 / (r + 20).
    weights = 1.0 / (np.arange(len(words)) + 20.0)
    weights /= weights.sum()

    def draw(number: int) -> list[str]:
        return [words[int(k)] for k in rng.choice(len(words), size=number, p=weights)]

    while len(texts) < count:
        kind = rng.uniform()
        if kind < 0.3 and alike:
            text = [alike[int(rng.integers(len(alike)))]]
        elif kind < 0.5:
            text = [words[int(rng.integers(len(words)))]]
        elif kind < 0.85:
            text = draw(int(rng.integers(1, LONGEST + 1)))
        else:
            phrase = phrases[int(rng.integers(len(phrases)))]
            text = [*draw(int(rng.integers(0, 3))), phrase, *draw(int(rng.integers(1, 3)))]
        if (said := " ".join(text)) not in commands:
            texts.append(said)
    return texts
