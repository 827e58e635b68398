"""Scores added to the acoustic score of a prefix: language model, lexicon, hot words, grammar.

In: a prefix's state and one more label. Out: nats to add, and the next state. Numba.

Every part may be None and then costs nothing: numba compiles one search for each combination of
parts and drops what is not there. A state is four integers: a node of the lexicon tree, of the
n-gram model, of the grammar and of the hot words.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from asr.kernels.jit import compiled
from asr.language_model.kenlm_kernel import step_outside
from asr.language_model.ngram_kernel import NgramArrays, ngram_step

FORBIDDEN = -np.inf


class WordPart(NamedTuple):
    """Words: a lexicon tree, and perhaps a word n-gram model that is asked at every word end.

    Tree nodes are in breadth-first order: the children of node k are first_child[k] up to
    first_child[k + 1] in label order; node 0 is the root, the start of a word. -1 means a
    prefix of no word.
    """

    first_child: np.ndarray  # (N + 1,) int32
    labels: np.ndarray  # (N,) int32
    words: np.ndarray  # (N,) int32, the n-gram model's number of the word that ends here, or -1
    ahead: np.ndarray  # (N,) float64, nats expected already inside the word; all 0: none
    unknown_ahead: float  # the same for prefixes of no word
    model: NgramArrays | None
    handle: int | None  # of a model that only Python can ask, instead
    unknown_word: int  # the n-gram model's <unk>
    unknown_bonus: float  # nats for a word outside the lexicon, on top of <unk>
    sentence_end: int  # the n-gram model's </s>, or -1
    sentence_start: int  # n-gram state after <s>
    weight: float
    closed: bool  # only words of the lexicon


class CharacterPart(NamedTuple):
    """A character n-gram model, asked at every label."""

    model: NgramArrays | None
    handle: int | None  # of a model that only Python can ask, instead
    words: np.ndarray  # (V,) int32, the model's number of each label
    sentence_end: int
    sentence_start: int
    weight: float


class GrammarPart(NamedTuple):
    """A deterministic automaton over labels; state 0 is the start."""

    targets: np.ndarray  # (S, V) int32, -1: not allowed
    accepting: np.ndarray  # (S,) bool


class PhrasePart(NamedTuple):
    """Hot words as a deterministic automaton over labels; state 0 is the start of a word."""

    targets: np.ndarray  # (S, V) int32
    gains: np.ndarray  # (S, V) float64, nats
    best_gain: np.ndarray  # (S,) float64, the highest of each row
    final: np.ndarray  # (S,) float64, nats when the text ends here


class Fusion(NamedTuple):
    """Everything that is added; `Fusion(space=-1)` adds nothing."""

    space: int  # label of the space, -1: the alphabet has none
    word_bonus: float = 0.0  # nats a word
    words: WordPart | None = None
    characters: CharacterPart | None = None
    grammar: GrammarPart | None = None
    phrases: PhrasePart | None = None


@compiled(inline=True)
def start_state(fusion):
    """The four states of the empty prefix: tree, n-gram, grammar, hot words."""
    return 0, _start_model(fusion.words, fusion.characters), 0, 0


@compiled(inline=True)
def advance(fusion, tree, model, grammar, phrase, last, label):
    """Nats for one more label, and the four states after it; minus infinity: not allowed.

    Args:
        fusion: what is added.
        tree, model, grammar, phrase: the prefix's states.
        last: its last label, 0 for the empty prefix.
        label: the label that follows.
    """
    gain = 0.0
    ends_word = label == fusion.space
    if ends_word and last != 0 and last != label:
        gain += fusion.word_bonus
    nats, tree, model = _advance_words(fusion.words, tree, model, label, ends_word)
    gain += nats
    nats, model = _advance_characters(fusion.characters, model, label)
    gain += nats
    nats, grammar = _advance_grammar(fusion.grammar, grammar, label)
    gain += nats
    nats, phrase = _advance_phrases(fusion.phrases, phrase, label)
    return gain + nats, tree, model, grammar, phrase


@compiled(inline=True)
def finish(fusion, tree, model, grammar, phrase, last):
    """Nats when the text ends with this prefix; minus infinity: it must not end here."""
    gain = 0.0
    if last != 0 and last != fusion.space:
        gain += fusion.word_bonus
    gain += _finish_words(fusion.words, tree, model, last != 0)
    gain += _finish_characters(fusion.characters, model)
    return gain + _finish_phrases(fusion.phrases, phrase) + _finish_grammar(fusion.grammar, grammar)


@compiled(inline=True)
def gain_bound(fusion, tree, phrase):
    """No single label adds more than this to the prefix: lets the search stop early."""
    bound = max(0.0, fusion.word_bonus)
    return bound + _bound_words(fusion.words, tree) + _bound_phrases(fusion.phrases, phrase)


@compiled(inline=True)
def _start_model(words, characters):
    if characters is not None:
        return characters.sentence_start
    if words is not None:
        return words.sentence_start
    return 0


@compiled(inline=True)
def _advance_words(words, tree, model, label, ends_word):
    if words is None:
        return 0.0, tree, model
    if ends_word:
        if tree == 0:  # a space without a word before it
            return (FORBIDDEN if words.closed else 0.0), tree, model
        nats, model = _end_word(words, tree, model)
        return nats, 0, model
    if tree < 0:
        return 0.0, tree, model
    for child in range(words.first_child[tree], words.first_child[tree + 1]):
        if words.labels[child] == label:
            return words.ahead[child] - words.ahead[tree], child, model
    if words.closed:
        return FORBIDDEN, -1, model
    return words.unknown_ahead - words.ahead[tree], -1, model


@compiled(inline=True)
def _end_word(words, tree, model):
    """The word's own score in place of what was expected inside it."""
    word = words.words[tree] if tree >= 0 else -1
    ahead = words.ahead[tree] if tree >= 0 else words.unknown_ahead
    gain = -ahead
    if word < 0:
        if words.closed:
            return FORBIDDEN, model
        gain += words.unknown_bonus
        word = words.unknown_word
    nats, model = _ask(words.model, words.handle, model, word)
    return gain + words.weight * nats, model


@compiled(inline=True)
def _ask(model, handle, state, word):
    if model is not None:
        return ngram_step(model, state, word)
    if handle is not None:
        return step_outside(handle, state, word)
    return 0.0, state


@compiled(inline=True)
def _finish_words(words, tree, model, written):
    if words is None:
        return 0.0
    gain = 0.0
    if tree != 0:
        gain, model = _end_word(words, tree, model)
    elif words.closed and written:  # a space that no word follows
        return FORBIDDEN
    if words.sentence_end >= 0:
        nats, _ = _ask(words.model, words.handle, model, words.sentence_end)
        gain += words.weight * nats
    return gain


@compiled(inline=True)
def _bound_words(words, tree):
    if words is None:
        return 0.0
    ahead = words.ahead[tree] if tree >= 0 else words.unknown_ahead
    return max(0.0, words.unknown_bonus) - min(0.0, ahead)


@compiled(inline=True)
def _advance_characters(characters, model, label):
    if characters is None:
        return 0.0, model
    nats, model = _ask(characters.model, characters.handle, model, characters.words[label])
    return characters.weight * nats, model


@compiled(inline=True)
def _finish_characters(characters, model):
    if characters is None or characters.sentence_end < 0:
        return 0.0
    nats, _ = _ask(characters.model, characters.handle, model, characters.sentence_end)
    return characters.weight * nats


@compiled(inline=True)
def _advance_grammar(grammar, state, label):
    if grammar is None:
        return 0.0, state
    target = grammar.targets[state, label]
    return (FORBIDDEN if target < 0 else 0.0), target


@compiled(inline=True)
def _finish_grammar(grammar, state):
    if grammar is None or grammar.accepting[state]:
        return 0.0
    return FORBIDDEN


@compiled(inline=True)
def _advance_phrases(phrases, state, label):
    if phrases is None:
        return 0.0, state
    return phrases.gains[state, label], phrases.targets[state, label]


@compiled(inline=True)
def _finish_phrases(phrases, state):
    if phrases is None:
        return 0.0
    return phrases.final[state]


@compiled(inline=True)
def _bound_phrases(phrases, state):
    if phrases is None:
        return 0.0
    return max(0.0, phrases.best_gain[state])
