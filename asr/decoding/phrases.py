"""Hot words: expected phrases, compiled to an automaton over labels.

In: phrases with boosts. Out: the `PhrasePart` of a `Fusion`. NumPy.

The unit is nats per character of the phrase, spaces included: "new york" with 2 adds 16 nats to
every text that holds it as whole words. The credit is given along the phrase, character by
character, so that its beginning survives in the beam, and is taken back with the first character
that leaves the phrase: a text that does not hold it scores as if there were no hot word.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.decoding.fusion import PhrasePart
from asr.errors import DataError, UsageError
from asr.parsing import number_of
from asr.recipe import DecoderSettings
from asr.terminal import plural
from asr.text import normalize
from asr.text.reading import read_text_file
from asr.text.tokenizer import CharTokenizer

DEFAULT_BOOST = 1.5  # nats per character
MAX_BOOST = 100.0  # either way; a character that the network is sure of costs 20 at most
MAX_HOT_WORDS = 10_000
MAX_PHRASE = 200  # characters
MAX_CHARACTERS = 200_000  # of all phrases
MAX_CELLS = 20_000_000  # states times labels, 12 bytes each
WORD_START, OTHER_WORD = 0, 1  # states: at the start of a word, inside a word of no phrase


@dataclass(frozen=True)
class HotWord:
    """A phrase and its boost.

    Attributes:
        phrase: one or more words, in the recogniser's alphabet, single spaces.
        boost: nats per character; negative makes the phrase less likely.
    """

    phrase: str
    boost: float = DEFAULT_BOOST


def parse_hot_word(text: str) -> HotWord:
    """`PHRASE` or `PHRASE:BOOST`, as on the command line: "Weißenburg:8".

    Raises:
        UsageError: no phrase, a phrase beyond `MAX_PHRASE`, or a boost that is no number or beyond
            `MAX_BOOST`.
    """
    if len(text) > MAX_PHRASE:
        raise UsageError(f"Hot word {text[:40]!r}... has {len(text):,} characters, at most "
                         f"{MAX_PHRASE} are allowed; give the words that matter.",
                         code="hot_words.size")
    phrase, separator, boost = text.rpartition(":")
    if not separator:
        phrase, boost = text, str(DEFAULT_BOOST)
    try:
        value = number_of(boost)
    except ValueError:
        value = math.nan
    phrase = " ".join(phrase.split())
    if not phrase or not math.isfinite(value):
        raise UsageError(f"Hot word {text!r}: write PHRASE or PHRASE:BOOST, the boost in nats per "
                         "character, for example \"new york:2\".")
    if abs(value) > MAX_BOOST:
        raise UsageError(f"Hot word {text!r}: the boost is in nats per character, between "
                         f"{-MAX_BOOST:g} and {MAX_BOOST:g}; 1 to 2 is usual.")
    return HotWord(phrase, value)


def normalize_hot_word(text: str, normalizer: str) -> str:
    """`PHRASE:BOOST` with the phrase as the transcripts write it: "Weißenburg" is "weißenburg".

    Raises:
        UsageError: see `parse_hot_word`, or the normaliser leaves nothing of the phrase.
    """
    hot_word = parse_hot_word(text)
    phrase = " ".join(normalize(hot_word.phrase, normalizer).split())
    if not phrase:
        raise UsageError(f"Hot word {text!r}: the normaliser {normalizer!r} leaves nothing of it; "
                         "give a phrase with letters.")
    return f"{phrase}:{hot_word.boost!r}"


def normalize_hot_words(settings: DecoderSettings, normalizer: str) -> DecoderSettings:
    """The settings with every hot word as the transcripts write it, see `normalize_hot_word`.

    Raises:
        UsageError: see there, or too many of them.
    """
    _check_size(settings.hot_words)
    return dataclasses.replace(settings, hot_words=tuple(
        normalize_hot_word(text, normalizer) for text in settings.hot_words))


def read_hot_words(path: str | Path) -> list[HotWord]:
    """The phrases of a text file (UTF-8), one `PHRASE` or `PHRASE:BOOST` a line; empty lines count
    for nothing.

    Raises:
        DataError: the file cannot be read, or holds no phrase.
        UsageError: a line that is no phrase; the message names file and line.
    """
    lines = read_text_file(path, "hot words", code="hot_words.file").splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found += [parse_hot_word(line)] if line.strip() else []
        except UsageError as error:
            raise UsageError(f"{path}:{number}: {error}", path=path) from error
    if not found:
        raise DataError(f"{path} holds no hot word; write one phrase a line.",
                        code="hot_words.file", path=path)
    return found


def phrase_part(hot_words: Iterable[HotWord], tokenizer: CharTokenizer) -> PhrasePart:
    """The automaton of some phrases.

    Its states are the beginnings of phrases. Where a phrase is left, the longest end of what was
    read that starts at a word and begins a phrase goes on (Aho and Corasick 1975). In an alphabet
    without a space, phrases are found anywhere.

    Raises:
        UsageError: an empty phrase, a boost that is not finite or beyond `MAX_BOOST`, or more than
            the bounds above.
        TextError: a phrase with characters outside the alphabet.
    """
    space = tokenizer.encode(" ")[0] if " " in tokenizer.alphabet else -1
    boosts: dict[tuple[int, ...], float] = {}
    hot_words = list(hot_words)
    _check_size([hot_word.phrase for hot_word in hot_words])
    for hot_word in hot_words:
        phrase = " ".join(hot_word.phrase.split())
        if not phrase or not abs(hot_word.boost) <= MAX_BOOST:
            raise UsageError(f"{hot_word}: the phrase must not be empty and the boost be finite, "
                             f"between {-MAX_BOOST:g} and {MAX_BOOST:g}.")
        tokenizer.require_writable("The hot word", phrase)
        boosts[tuple(tokenizer.encode(phrase))] = float(hot_word.boost)
    states, potential = _beginnings(boosts)
    size = max(states.values()) + 1
    if size * tokenizer.vocab_size > MAX_CELLS:
        raise UsageError(f"The hot words need {size:,} states of {tokenizer.vocab_size:,} labels; "
                         f"the product must not exceed {MAX_CELLS:,}. Give fewer of them.",
                         code="hot_words.size")
    following: list[list[tuple[int, int]]] = [[] for _ in range(size)]
    for path, state in states.items():
        if path:
            following[states[path[:-1]]].append((path[-1], state))
    targets = np.empty((size, tokenizer.vocab_size), dtype=np.int32)
    commits = np.zeros(size)  # credit of the phrases that are complete in a state
    elsewhere = OTHER_WORD if space >= 0 else WORD_START
    targets[OTHER_WORD] = elsewhere
    if space >= 0:
        targets[OTHER_WORD, space] = WORD_START
    for path, state in states.items():  # shorter ones first: their rows are finished
        fallback = _fallback(path, states, space)
        if path:
            commits[state] = boosts.get(path, 0.0) * len(path) + commits[fallback]
            targets[state] = targets[fallback]
        else:
            targets[state] = elsewhere
            if space >= 0:
                targets[state, space] = WORD_START
        for label, after in following[state]:
            targets[state, label] = after
    ends = np.full(tokenizer.vocab_size, space < 0)
    ends[max(space, 0)] = True
    gains = potential[targets] - potential[:, None] + np.where(ends, commits[:, None], 0.0)
    final = commits - potential
    gains[:, 0] = 0.0
    return PhrasePart(targets, gains, gains.max(axis=1), final)


def _check_size(phrases: Sequence[str]) -> None:
    """Refuse, before any work, what would take the machine."""
    characters = sum(map(len, phrases))
    if len(phrases) > MAX_HOT_WORDS or characters > MAX_CHARACTERS:
        raise UsageError(f"{plural(len(phrases), 'hot word')} of "
                         f"{plural(characters, 'character')}; at most "
                         f"{MAX_HOT_WORDS:,} of {MAX_CHARACTERS:,} are allowed. A language model "
                         "is the place for a whole vocabulary.", code="hot_words.size")


def _beginnings(boosts: dict[tuple[int, ...], float]) -> tuple[dict[tuple[int, ...], int],
                                                               np.ndarray]:
    """Every beginning of a phrase with its state, short ones first, and the credit given there."""
    best: dict[tuple[int, ...], float] = {}
    for phrase, boost in boosts.items():
        for length in range(1, len(phrase) + 1):
            path = phrase[:length]
            best[path] = max(best.get(path, -math.inf), boost * length)
    states: dict[tuple[int, ...], int] = {(): WORD_START}
    for path in sorted(best, key=lambda path: (len(path), path)):
        states[path] = len(states) + 1  # state 1 is OTHER_WORD
    potential = np.zeros(len(states) + 1)
    for path, credit in best.items():
        potential[states[path]] = credit
    return states, potential


def _fallback(path: Sequence[int], states: dict[tuple[int, ...], int], space: int) -> int:
    """The state of the longest proper end of the path that begins at a word, or OTHER_WORD."""
    for start in range(1, len(path) + 1):
        if space < 0 or path[start - 1] == space:
            state = states.get(tuple(path[start:]))
            if state is not None:
                return state
    return OTHER_WORD if path else WORD_START
