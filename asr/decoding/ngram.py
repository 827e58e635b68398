"""Back-off n-gram language models, of words or of characters.

In: an ARPA file. Out: an `NgramModel`, from a memory-mapped cache the second time. Floor 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from asr.decoding.arpa import SENTENCE_END, SENTENCE_START, UNKNOWN, ArpaTable, read_arpa
from asr.decoding.ngram_cache import read_cache, write_cache
from asr.decoding.ngram_kernel import NgramArrays, find_child, ngram_step
from asr.decoding.trees import build_tree
from asr.errors import DataError
from asr.jit import compiled

LN10 = math.log(10.0)
MISSING_UNKNOWN = -100.0  # log10; KenLM's value for a model without <unk>


@dataclass(frozen=True, eq=False)
class NgramModel:
    """An n-gram model in flat arrays; `load_ngram` makes one.

    Attributes:
        vocabulary: the words by number, <unk> among them.
        order: words of the longest n-gram.
        counts: n-grams of each order, as in the file.
        arrays: what the kernels read.
    """

    vocabulary: tuple[str, ...]
    order: int
    counts: tuple[int, ...]
    arrays: NgramArrays

    @cached_property
    def word_numbers(self) -> dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self.vocabulary)}

    @cached_property
    def unknown(self) -> int:
        """The number of <unk>."""
        return next(self.word_numbers[word] for word in UNKNOWN if word in self.word_numbers)

    @property
    def sentence_end(self) -> int:
        """The number of </s>, or -1."""
        return self.word_numbers.get(SENTENCE_END, -1)

    @property
    def start_state(self) -> int:
        """The state after <s>; the empty context if the model has none."""
        return self.word_numbers.get(SENTENCE_START, -1) + 1

    @property
    def num_bytes(self) -> int:
        """Bytes of the arrays and of the vocabulary."""
        return (sum(array.nbytes for array in self.arrays)
                + sum(len(word.encode()) + 1 for word in self.vocabulary))

    def number(self, word: str) -> int:
        """The number of a word; that of <unk> if the model does not know it."""
        found = self.word_numbers.get(word)
        return self.unknown if found is None else found

    def score_words(self, words: Sequence[str], *, start: bool = True,
                    end: bool = True) -> np.ndarray:
        """Natural log of the probability of each word, given those before it.

        Args:
            words: the sentence, without <s> and </s>.
            start: begin after <s>; False begins in the empty context.
            end: add </s> at the end, if the model has one.

        Returns:
            (number of words, plus one with `end`) float64.
        """
        numbers = [self.number(word) for word in words]
        if end and self.sentence_end >= 0:
            numbers.append(self.sentence_end)
        return _score_sequence(self.arrays, self.start_state if start else 0,
                               np.array(numbers, dtype=np.int64))

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> tuple[float, int, int]:
        """(perplexity, scored tokens, unknown words) of sentences, </s> included."""
        total, tokens, unknown = 0.0, 0, 0
        for words in sentences:
            scores = self.score_words(words)
            total += float(scores.sum())
            tokens += len(scores)
            unknown += sum(word not in self.word_numbers for word in words)
        if not tokens:
            raise DataError("There is no sentence to compute a perplexity of.", code="lm.empty")
        return math.exp(-total / tokens), tokens, unknown

    def __repr__(self) -> str:
        return f"NgramModel(order={self.order}, counts={self.counts})"


def load_ngram(path: str | Path, *, cache: bool = True) -> NgramModel:
    """Read an ARPA file; the second time its arrays are memory-mapped from `<path>.cache`.

    The cache carries the size and time of the file that it was made of and a checksum; where it
    is not of this file, it is made anew. Where it cannot be written, the file is read each time.

    Raises:
        DataError: the file is not an ARPA model (code "lm.arpa").
    """
    path = Path(path)
    if cache and (found := read_cache(path)) is not None:
        return NgramModel(*found)
    model = build_ngram(*read_arpa(path), name=str(path))
    if cache:
        write_cache(path, model.vocabulary, model.order, model.counts, model.arrays)
    return model


def build_ngram(vocabulary: Sequence[str], tables: Sequence[ArpaTable], *,
                name: str = "language model") -> NgramModel:
    """Flat arrays of the tables of an ARPA file; `name` stands in messages.

    Raises:
        DataError: an n-gram appears twice.
    """
    vocabulary = list(vocabulary)
    counts = tuple(len(table.words) for table in tables)
    unigrams = tables[0]
    if not any(word in vocabulary for word in UNKNOWN):
        vocabulary.append(UNKNOWN[0])
        tables = [ArpaTable(np.append(unigrams.words, [[len(vocabulary) - 1]], axis=0),
                            np.append(unigrams.log_probs, np.float32(MISSING_UNKNOWN)),
                            np.append(unigrams.backoffs, np.float32(0))), *tables[1:]]
    order = len(tables)
    sequences = np.concatenate([
        np.pad(table.words, ((0, 0), (0, order - n)))
        for n, table in enumerate(tables, start=1)])
    lengths = np.repeat(np.arange(1, order + 1), [len(table.words) for table in tables])
    tree = build_tree(sequences, lengths)
    if len(np.unique(tree.nodes)) != len(tree.nodes):
        raise DataError(f"{name} holds an n-gram twice.", code="lm.arpa", path=name)
    # A prefix that no table lists (pruned models have such) is a node without a value.
    log_probs = np.full(len(tree.symbols), np.nan, dtype=np.float32)
    backoffs = np.zeros(len(tree.symbols), dtype=np.float32)
    log_probs[tree.nodes] = np.concatenate([table.log_probs for table in tables]) * LN10
    log_probs[0] = 0.0
    backoffs[tree.nodes] = np.concatenate([table.backoffs for table in tables]) * LN10
    contexts = int(np.searchsorted(tree.depths, order))
    arrays = NgramArrays(tree.symbols, log_probs, np.zeros(len(tree.symbols), dtype=np.int32),
                         tree.first_child[:contexts + 1], backoffs[:contexts])
    _link(arrays, tree.parents)
    for array in arrays:  # as when mapped from the cache: one kernel serves both
        array.flags.writeable = False
    return NgramModel(tuple(vocabulary), order, counts, arrays)


@compiled
def _link(model, parents):
    """Fill in suffixes, and the scores of prefixes that the file does not list.

    Breadth-first order: everything shorter is finished when a node's turn comes.
    """
    for node in range(1, len(parents)):
        parent = parents[node]
        if parent == 0:
            continue
        word = model.words[node]
        context = model.suffixes[parent]
        child = find_child(model, context, word)
        while child < 0:
            context = model.suffixes[context]
            child = find_child(model, context, word)
        model.suffixes[node] = child
        if np.isnan(model.log_probs[node]):
            shorter, _ = ngram_step(model, model.suffixes[parent], word)
            model.log_probs[node] = model.backoffs[parent] + shorter


@compiled
def _score_sequence(model, state, words):
    scores = np.empty(len(words))
    for i in range(len(words)):
        scores[i], state = ngram_step(model, state, words[i])
    return scores
