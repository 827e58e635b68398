"""Back-off n-gram language models, of words or of characters.

In: an ARPA file. Out: an `NgramModel`, from a memory-mapped cache the second time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.errors import DataError
from asr.kernels.jit import compiled
from asr.language_model.arpa import SENTENCE_START, UNKNOWN, ArpaTable, read_arpa
from asr.language_model.kenlm_model import is_kenlm_binary, load_kenlm
from asr.language_model.model import LN10, LanguageModel
from asr.language_model.ngram_cache import read_cache, write_cache
from asr.language_model.ngram_kernel import NgramArrays, find_child, ngram_step
from asr.language_model.prefix_tree import build_tree

MISSING_UNKNOWN = -100.0  # log10; KenLM's value for a model without <unk>


@dataclass(frozen=True, eq=False)
class NgramModel(LanguageModel):
    """An n-gram model in flat arrays; `load_ngram` makes one."""

    vocabulary: tuple[str, ...]
    order: int
    counts: tuple[int, ...]
    arrays: NgramArrays
    normalizer: str = ""

    @property
    def start_state(self) -> int:
        """See `LanguageModel`."""
        state = self.word_numbers.get(SENTENCE_START, -1) + 1
        return state if state < len(self.arrays.backoffs) else 0  # unigrams know no context

    @property
    def num_bytes(self) -> int:
        """Bytes of the arrays and of the vocabulary."""
        return (sum(array.nbytes for array in self.arrays)
                + sum(len(word.encode()) + 1 for word in self.vocabulary))

    def score_numbers(self, state: int, numbers: Sequence[int]) -> np.ndarray:
        """See `LanguageModel`."""
        return _score_sequence(self.arrays, state, np.array(numbers, dtype=np.int64))

    def unigrams(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """See `LanguageModel`."""
        return self.arrays.log_probs[1 + np.asarray(numbers)]

    __repr__ = LanguageModel.__repr__


def load_ngram(path: str | Path, *, cache: bool = True) -> LanguageModel:
    """Read an ARPA file; the second time its arrays are memory-mapped from `<path>.cache`.

    A binary file of KenLM is recognised by its first bytes and read with the module `kenlm`, see
    `asr.language_model.kenlm_model`.

    The cache carries the size and time of the file that it was made of and a checksum; where it
    is not of this file, it is made again. Where it cannot be written, the file is read each time.

    Raises:
        DataError: the file is not an ARPA model (code "lm.arpa").
        UsageError: a binary file of KenLM where the extra `kenlm` is not installed.
    """
    path = Path(path)
    if is_kenlm_binary(path):
        return load_kenlm(path)
    if cache and (found := read_cache(path)) is not None:
        return NgramModel(*found)
    model = build_ngram(*read_arpa(path), name=str(path))
    if cache:
        write_cache(path, model.vocabulary, model.order, model.counts, model.arrays,
                    model.normalizer)
    return model


def build_ngram(vocabulary: Sequence[str], tables: Sequence[ArpaTable], normalizer: str = "", *,
                name: str = "language model") -> NgramModel:
    """Flat arrays of the content of an ARPA file, see `Arpa`; `name` is used in messages.

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
    return NgramModel(tuple(vocabulary), order, counts, arrays, normalizer)


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
