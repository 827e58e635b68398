"""Prepare a language model and a lexicon for one tokenizer.

In: a `LanguageModel`, a tokenizer, a list of words. Out: the parts of a `Fusion`. NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr.decoding.fusion import CharacterPart, WordPart
from asr.decoding.lexicon import MAX_WORD, check_words
from asr.errors import UsageError
from asr.language_model.model import SPECIAL, LanguageModel
from asr.language_model.prefix_tree import best_below, build_tree
from asr.terminal import plural
from asr.text.tokenizer import CharTokenizer

MAX_CELLS = 50_000_000  # words times letters of the longest, 8 bytes each
MIN_SPELLED = 0.1  # of the vocabulary; below, model and tokenizer do not belong together


def character_part(model: LanguageModel, tokenizer: CharTokenizer, weight: float) -> CharacterPart:
    """A character model for a tokenizer.

    Raises:
        UsageError: the model knows hardly any of the alphabet.
    """
    space = model.space or " "
    units = [space if character == " " else character for character in tokenizer.alphabet]
    known = sum(unit in model.word_numbers for unit in units)
    if known < MIN_SPELLED * len(units) or known == 0:
        raise UsageError(f"The character language model knows {known} of the {len(units)} "
                         "characters of the alphabet; train it on texts of the same normaliser.")
    numbers = [model.unknown, *(model.number(unit) for unit in units)]  # the blank is never asked
    return CharacterPart(model.arrays, model.handle, np.array(numbers, dtype=np.int32),
                         model.sentence_end, model.start_state, float(weight))


def fit_of_words(model: LanguageModel, words: Sequence[str], *, characters: bool) -> np.ndarray:
    """Probability of each word of a sentence, given its neighbours.

    Args:
        model: a model of words, or of characters.
        words: the sentence.
        characters: what the model's units are.

    Returns:
        (len(words),) float64, natural log: the geometric mean of the probability of the word after
        those before it and of what follows after it, the next word or </s>.
    """
    if not words:
        return np.empty(0)
    if characters:
        space = model.space or " "
        scores = model.score_words([space if unit == " " else unit for unit in " ".join(words)])
        ends = np.cumsum([len(word) + 1 for word in words])  # the space or </s> after it included
        scores = np.add.reduceat(scores, np.concatenate(([0], ends[:-1])))
    else:
        scores = model.score_words(words)
    own, following = scores[:len(words)], scores[1:]
    if len(following) < len(words):  # no </s>
        following = np.append(following, own[-1])
    return (own + following) / 2


def spelled_words(model: LanguageModel, tokenizer: CharTokenizer) -> list[str]:
    """The words of the model that the tokenizer can write.

    Raises:
        UsageError: they are hardly any: another case, another language, other units.
    """
    words = [word for word in model.vocabulary if word not in SPECIAL]
    spelled = [word for word in words if len(word) <= MAX_WORD and not tokenizer.unknown(word)]
    if not spelled or len(spelled) < MIN_SPELLED * len(words):
        example = next((word for word in words if tokenizer.unknown(word)), "")
        raise UsageError(
            f"The tokenizer can write {len(spelled):,} of the {plural(len(words), 'word')} of the "
            f"language model (not {example!r}, for example). Its alphabet is "
            f"{tokenizer.alphabet!r}: train "
            "the language model on texts of the same normaliser.", code="lm.units")
    return spelled


def word_part(model: LanguageModel | None, tokenizer: CharTokenizer, lexicon: Sequence[str] | None,
              extra: Sequence[str] = (), *, weight: float, look_ahead: bool, unknown_bonus: float,
              closed: bool) -> tuple[WordPart, list[str]]:
    """The lexicon tree with its language model, and the words that the tree spells.

    Args:
        model: scores the words; None: all words are alike.
        tokenizer: spells them.
        lexicon: the words; None: those of the model that the tokenizer can write.
        extra: further words, such as those of hot words.
        weight, look_ahead, unknown_bonus, closed: see `BeamSearchDecoder`.

    Raises:
        UsageError: no words, an empty word, one with a space, hardly a word can be written, or
            the model knows none of them.
        TextError: a lexicon word with characters outside the alphabet.
    """
    if lexicon is None:
        if model is None:
            raise UsageError("Give a lexicon or a language model.")
        lexicon = spelled_words(model, tokenizer)
    else:
        check_words(lexicon)
    if model is not None and lexicon and not any(word in model.word_numbers for word in lexicon):
        raise UsageError("The language model knows none of the words of the lexicon (not "
                         f"{lexicon[0]!r}, for example): train it on texts of the same "
                         "normaliser.", code="lm.units")
    words = list(dict.fromkeys([*lexicon, *extra]))
    if not words:
        raise UsageError("The lexicon is empty; give at least one word.")
    spellings = [tokenizer.encode(word) for word in words]
    lengths = np.array([len(spelling) for spelling in spellings])
    if len(words) * lengths.max() > MAX_CELLS:
        raise UsageError(f"A vocabulary of {plural(len(words), 'word')} of up to {lengths.max()} "
                         "characters is too large; prune the language model.", code="lm.size")
    sequences = np.zeros((len(words), lengths.max()), dtype=np.int64)
    for row, spelling in zip(sequences, spellings, strict=True):
        row[:len(spelling)] = spelling
    tree = build_tree(sequences, lengths)
    numbers = np.full(len(tree.symbols), -1, dtype=np.int32)
    ahead = np.zeros(len(tree.symbols))
    unknown_ahead = 0.0
    if model is None:
        numbers[tree.nodes] = 0
        unknown, end, start = 0, -1, 0
    else:
        numbers[tree.nodes] = [model.number(word) for word in words]
        unknown, end, start = model.unknown, model.sentence_end, model.start_state
        if look_ahead:
            unigrams = np.full(len(tree.symbols), -np.inf)
            unigrams[tree.nodes] = model.unigrams(numbers[tree.nodes])
            ahead = weight * best_below(tree, unigrams)
            ahead[0] = 0.0
            unknown_ahead = weight * float(model.unigrams([unknown])[0]) + unknown_bonus
    part = WordPart(tree.first_child, tree.symbols, numbers, ahead, unknown_ahead,
                    None if model is None else model.arrays,
                    None if model is None else model.handle, unknown, float(unknown_bonus), end,
                    start, float(weight), closed)
    return part, words
