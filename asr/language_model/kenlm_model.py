"""Query KenLM's binary files through the module `kenlm`, which the extra of that name installs.

In: a file of KenLM's build_binary, any of its data structures. Out: a `KenlmModel`.

The compiled search calls back into Python for each question, which costs some microseconds and the
interpreter lock: an ARPA file, held in our own arrays, is faster, decodes on all cores and can
travel in a bundle. A binary does not say its vocabulary through the module; it is at the end
of the file, where build_binary writes it unless told not to.

Layout of the header (KenLM's lm/binary_format.cc, version 5, 64 bits, little-endian): 52 bytes of
magic padded to 56, numbers for a check to 88, then order (uint8), at 96 the kind of structure
(int32), at 100 whether the vocabulary is there (uint8), from 108 the counts (uint64).
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.errors import DataError, UsageError
from asr.language_model.arpa import MAX_ORDER, SENTENCE_START, UNKNOWN
from asr.language_model.kenlm_kernel import MODELS
from asr.language_model.model import LN10, LanguageModel

MAGIC = b"mmap lm http://kheafield.com/code "
VERSION = b"format version 5\n\0"
EMPTY, START = 0, 1  # states that every model has


def is_kenlm_binary(path: str | Path) -> bool:
    """Whether a file begins as KenLM's binary files do; False where it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class KenlmModel(LanguageModel):
    """A model that the module `kenlm` holds; `asr.language_model.load_ngram` makes one.

    Its states are numbered as they are met, so a process that decodes for long remembers as many
    as there are contexts in its input.

    Args:
        path: a binary file, or an ARPA file together with its vocabulary and counts.
        vocabulary: the words, <unk> among them.
        counts: n-grams of each order.

    Raises:
        UsageError: the module is not installed.
        DataError: the module cannot read the file.
    """

    def __init__(self, path: str | Path, vocabulary: Sequence[str], counts: Sequence[int]):
        try:
            import kenlm
        except ImportError as error:
            raise UsageError(
                f"{path} is a binary file of KenLM, and the module kenlm is not installed here "
                f"({error}). Install the extra, pip install 'keras-asr[kenlm]' (it needs a C++ "
                "compiler and CMake), or give the ARPA file that the binary was built from.",
                code="lm.kenlm") from error
        try:
            self._model = kenlm.Model(str(path))
        except OSError as error:
            raise DataError(f"Cannot read the language model {path}: {error}.", code="lm.kenlm",
                            path=path) from error
        self.vocabulary = tuple(vocabulary)
        self.counts = tuple(counts)
        self.order = int(self._model.order)
        self._bytes = os.path.getsize(path)
        self._new_state = kenlm.State
        self._states = [kenlm.State(), kenlm.State()]
        self._model.NullContextWrite(self._states[EMPTY])
        self._model.BeginSentenceWrite(self._states[START])
        self._numbers = {state: n for n, state in reversed(list(enumerate(self._states)))}
        self._lock = threading.Lock()
        self.handle = id(self)
        MODELS[self.handle] = self

    @property
    def start_state(self) -> int:
        """See `LanguageModel`."""
        return START if SENTENCE_START in self.word_numbers else EMPTY

    @property
    def num_bytes(self) -> int:
        """Size of the file."""
        return self._bytes

    def step(self, state: int, word: int) -> tuple[float, int]:
        """Natural log of P(word | state), and the state after it."""
        after = self._new_state()
        score = self._model.BaseScore(self._states[state], self.vocabulary[word], after)
        with self._lock:
            number = self._numbers.setdefault(after, len(self._states))
            if number == len(self._states):
                self._states.append(after)
        return score * LN10, number

    def score_numbers(self, state: int, numbers: Sequence[int]) -> np.ndarray:
        """See `LanguageModel`."""
        scores = np.empty(len(numbers))
        for i, number in enumerate(numbers):
            scores[i], state = self.step(state, number)
        return scores

    def unigrams(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """See `LanguageModel`."""
        return np.array([self.step(EMPTY, int(number))[0] for number in numbers])


def load_kenlm(path: str | Path) -> KenlmModel:
    """A binary file of KenLM.

    Raises:
        UsageError: the module `kenlm` is not installed.
        DataError: another version, built without its vocabulary, or damaged (code "lm.kenlm").
    """
    vocabulary, counts = read_vocabulary(path)
    return KenlmModel(path, vocabulary, counts)


def read_vocabulary(path: str | Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The words of a binary file and the count of n-grams of each order.

    Raises:
        DataError: see `load_kenlm`.
    """
    def broken(what: str) -> DataError:
        return DataError(f"{path} is a binary file of KenLM that {what}. Build it again from its "
                         "ARPA file, or give that file.", code="lm.kenlm", path=path)

    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[len(MAGIC):len(MAGIC) + len(VERSION)] != VERSION:
            raise broken(f"begins with {data[:60]!r}: unfinished or of another version")
        if len(data) < 108:
            raise broken("ends within its header")
        order, with_vocabulary = data[88], data[100]
        if not 1 <= order <= MAX_ORDER or len(data) < 108 + 8 * order:
            raise broken(f"claims order {order}")
        counts = struct.unpack(f"<{order}Q", data[108:108 + 8 * order])
        if not with_vocabulary:
            raise broken("was built without its vocabulary (build_binary -v)")
        end = len(data)
        while (start := data.rfind(UNKNOWN[0].encode() + b"\0", 0, end)) >= 0:
            words = data[start:].split(b"\0")[:-1]
            if len(words) in (counts[0], counts[0] + 1):  # <unk> may be missing in the ARPA file
                break
            end = start + 1  # the end of a word such as "x<unk>"
        else:
            raise broken("does not end with its vocabulary: it is damaged")
    try:
        return tuple(word.decode("utf-8") for word in words), counts
    except UnicodeDecodeError as error:
        raise broken(f"has words that are not UTF-8 ({error})") from None
