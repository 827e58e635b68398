"""The interface of every decoder: `decode` an utterance, `decode_batch` many.

In: logits. Out: hypotheses, best first. NumPy.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import ClassVar, Self

import numpy as np

from asr.decoding.hypothesis import Hypothesis, check_logits, log_softmax
from asr.errors import UsageError
from asr.kernels import pool
from asr.language_model import LanguageModel
from asr.recipe import DECODERS, DecoderSettings
from asr.text.tokenizer import CharTokenizer


class Decoder(ABC):
    """Logits to hypotheses. A new decoder overrides `search`; one with settings also has `uses`.

    Args:
        tokenizer: tokenizer of the model that made the logits.

    Attributes:
        uses: names of the `DecoderSettings` that change the result of this decoder. They become
            keyword arguments of the class, options of the command line and a part of the receipt.
    """

    uses: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tokenizer: CharTokenizer):
        self.tokenizer = tokenizer

    @classmethod
    def from_settings(cls, settings: DecoderSettings, tokenizer: CharTokenizer,
                      language_model: LanguageModel | None = None) -> Self:
        """The decoder with these settings; see `asr.decoding.build_decoder`."""
        return cls(tokenizer, **{name: getattr(settings, name) for name in cls.uses})

    @classmethod
    def describe(cls, settings: DecoderSettings) -> str:
        """The decoder with the settings that it uses, for the receipt of a score."""
        return ", ".join([settings.kind, *(f"{name} {getattr(settings, name)}"
                                           for name in cls.uses)])

    def decode(self, logits: np.ndarray) -> list[Hypothesis]:
        """The readings of one utterance, best first; never an empty list.

        Args:
            logits: (T', V) float32, unnormalised; no padding.

        Raises:
            UsageError: the shape or the vocabulary is wrong.
            DataError: zero frames, NaN or infinite logits.
        """
        return self.search(log_softmax(check_logits(logits, self.tokenizer.vocab_size)))

    def text(self, logits: np.ndarray) -> str:
        """The best reading of one utterance, without its times and confidences; see `decode`."""
        return self.decode(logits)[0].text

    def score(self, logits: np.ndarray) -> float:
        """The score of the best reading: what the decoder maximised, natural log; see `decode`."""
        return self.decode(logits)[0].score

    def decode_batch(self, logits: np.ndarray, num_frames: Sequence[int] | np.ndarray, *,
                     num_threads: int = 0) -> list[list[Hypothesis]]:
        """`decode` of every utterance of a padded batch, on all cores.

        Each utterance is decoded by itself: batch size, order and padding change nothing.

        Args:
            logits: (B, T', V) float32, right-padded with anything.
            num_frames: (B,) integers, 1 .. T'.
            num_threads: 0: one a core, or ASR_NUM_THREADS.

        Raises:
            UsageError: shapes or lengths do not fit together.
            DataError: as `decode`.
        """
        logits = np.asarray(logits)
        lengths = [int(n) for n in num_frames]
        if logits.ndim != 3 or len(lengths) != len(logits):
            raise UsageError(f"A batch of logits of shape {logits.shape} does not fit "
                             f"{len(lengths)} lengths; expected (batch, frames, vocabulary) and "
                             "one length each.")
        if any(not 0 <= n <= logits.shape[1] for n in lengths):
            raise UsageError(f"Lengths {min(lengths)} .. {max(lengths)} do not fit batches of "
                             f"{logits.shape[1]} frames.")
        rows = [row[:n] for row, n in zip(logits, lengths, strict=True)]
        # The kernels release the interpreter lock.
        return pool.run([partial(self.decode, row) for row in rows],
                        num_threads or pool.default_threads())

    @abstractmethod
    def search(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """The readings of one utterance, best first; never an empty list.

        Args:
            log_probs: (T', V) float64, natural log, each row sums to 1; T' >= 1.
        """


def decoder_class(kind: str) -> type[Decoder]:
    """The class that `asr.recipe.DECODERS` lists under a name; imported when asked for.

    Raises:
        UsageError: there is no such decoder.
    """
    if kind not in DECODERS:
        raise UsageError(f"There is no decoder {kind!r}; choose one of {', '.join(DECODERS)}.")
    module, _, name = DECODERS[kind].rpartition(".")
    return getattr(importlib.import_module(module), name)
