"""The interface of a language model: what the beam search, tuning and `asr lm info` call.

In: words. Out: natural logs of probabilities. Two classes hold models: `NgramModel`
(ARPA, flat arrays inside the compiled search) and `KenlmModel` (KenLM's binary files).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from asr.errors import DataError, UsageError
from asr.language_model.arpa import SENTENCE_END, SENTENCE_START, UNKNOWN
from asr.language_model.ngram_kernel import NgramArrays

LN10 = math.log(10.0)
SPECIAL = (SENTENCE_START, SENTENCE_END, *UNKNOWN)
# How character models write the space between words; the first that the model knows is taken.
SPACE_TOKENS = ("<space>", "|", "\u2581", "_")
MOST_NATS = 700.0  # a token; exp() of more overflows


class LanguageModel(ABC):
    """A back-off n-gram model.

    Attributes:
        vocabulary: the words by number, <unk> among them.
        order: words of the longest n-gram.
        counts: n-grams of each order, as in the file.
        normalizer: `asr.text.normalizer_id` of the training texts; "": the file does not say.
        arrays: what the compiled search reads, or None.
        handle: by what the compiled search asks a model that has no arrays, or None.
    """

    vocabulary: tuple[str, ...]
    order: int
    counts: tuple[int, ...]
    normalizer: str = ""
    arrays: NgramArrays | None = None
    handle: int | None = None

    @cached_property
    def word_numbers(self) -> dict[str, int]:
        """The number of each word."""
        return {word: number for number, word in enumerate(self.vocabulary)}

    @cached_property
    def unknown(self) -> int:
        """The number of <unk>."""
        return next(self.word_numbers[word] for word in UNKNOWN if word in self.word_numbers)

    @property
    def knows_unknown(self) -> bool:
        """Whether the file gives unknown words a probability; else ours for them is invented."""
        return self.counts[0] == len(self.vocabulary)

    def check_normalizer(self, name: str) -> None:
        """Refuse a model of other words than a recogniser writes.

        Texts may have been normalised before they came here, so `none` is held to fit all.

        Args:
            name: normaliser of the recogniser.

        Raises:
            UsageError: the model names another normaliser.
        """
        own = self.normalizer.partition("-")[0]
        if own not in ("", "none", name) and name != "none":
            raise UsageError(f"The language model was trained on texts of the normaliser "
                             f"{self.normalizer}, the recogniser writes those of {name}. Train it "
                             f"again: asr lm train TEXTS --normalizer {name}.",
                             code="lm.normalizer")

    @cached_property
    def space(self) -> str:
        """How a character model writes the space; "": the units of the model are words."""
        words = [word for word in self.vocabulary if word not in (*SPECIAL, *SPACE_TOKENS)]
        if any(len(word) != 1 for word in words):
            return ""
        return next((token for token in SPACE_TOKENS if token in self.word_numbers), "")

    @property
    def sentence_end(self) -> int:
        """The number of </s>, or -1."""
        return self.word_numbers.get(SENTENCE_END, -1)

    @property
    @abstractmethod
    def start_state(self) -> int:
        """The state after <s>; 0, the empty context, if the model has none."""

    @property
    @abstractmethod
    def num_bytes(self) -> int:
        """Bytes that the model takes."""

    def number(self, word: str) -> int:
        """The number of a word; that of <unk> if the model does not know it."""
        found = self.word_numbers.get(word)
        return self.unknown if found is None else found

    @abstractmethod
    def score_numbers(self, state: int, numbers: Sequence[int]) -> np.ndarray:
        """(n,) float64, natural log of each word's probability, from a state on."""

    @abstractmethod
    def unigrams(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        """(n,) floating point, natural log of the probability of each word without a context."""

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
        return self.score_numbers(self.start_state if start else 0, numbers)

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> tuple[float, int, int]:
        """(perplexity, scored tokens, unknown words) of sentences, </s> included.

        A model without <unk> says nothing of unknown words, so they are counted and not scored, as
        by SRILM's ngram -ppl; see `knows_unknown`.

        Raises:
            DataError: there is no word to score, or the model holds them to be impossible.
        """
        total, tokens, unknown = 0.0, 0, 0
        for words in sentences:
            scores = self.score_words(words)
            known = np.array([word in self.word_numbers for word in words], dtype=bool)
            unknown += int((~known).sum())
            if not self.knows_unknown:
                scores = np.append(scores[:len(words)][known], scores[len(words):])
            total += float(scores.sum())
            tokens += len(scores)
        if not tokens:
            raise DataError("There is no sentence, or no known word, to compute a perplexity of.",
                            code="lm.empty")
        if -total / tokens > MOST_NATS:
            raise DataError(f"The model gives this text 10^{total / tokens / LN10:.3g} a token, "
                            "too little for a perplexity; is it a model of this language?",
                            code="lm.impossible")
        if total > 1e-6 * tokens:
            raise DataError(f"The model gives this text 10^{total / tokens / LN10:.3g} a token, "
                            "and no probability is above 1: its back-off weights are damaged.",
                            code="lm.impossible")
        return math.exp(-total / tokens), tokens, unknown

    def __repr__(self) -> str:
        return f"{type(self).__name__}(order={self.order}, counts={self.counts})"
