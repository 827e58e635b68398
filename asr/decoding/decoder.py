"""The one shape that every decoder has: `decode` an utterance, `decode_batch` many.

In: logits. Out: hypotheses, best first. NumPy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import numpy as np

from asr.decoding.hypothesis import Hypothesis, check_logits, log_softmax
from asr.errors import UsageError
from asr.kernels import pool
from asr.text.tokenizer import CharTokenizer


class Decoder(ABC):
    """Logits to hypotheses. A decoder of your own overrides `search` and nothing else.

    Args:
        tokenizer: of the model that made the logits.
    """

    def __init__(self, tokenizer: CharTokenizer):
        self.tokenizer = tokenizer

    def decode(self, logits: np.ndarray) -> list[Hypothesis]:
        """The readings of one utterance, best first; never an empty list.

        Args:
            logits: (T', V) float32, unnormalised; no padding.

        Raises:
            UsageError: the shape or the vocabulary is wrong.
            DataError: zero frames, NaN or infinite logits.
        """
        return self.search(log_softmax(check_logits(logits, self.tokenizer.vocab_size)))

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
