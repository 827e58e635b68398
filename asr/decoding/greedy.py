"""Greedy decoding: the best label of every frame, repeats and blanks removed.

In: log-probabilities. Out: one hypothesis.
"""

from __future__ import annotations

import numpy as np

from asr.decoding.decoder import Decoder
from asr.decoding.hypothesis import Hypothesis, hypothesis_from_path


class GreedyDecoder(Decoder):
    """The text of the single best alignment path; `score` is that path's log-probability.

    `confidence` is the geometric mean over the words of their confidences.

    Example:
        >>> from asr.text.tokenizer import CharTokenizer
        >>> logits = np.log(np.array([[.1, .8, .1], [.1, .8, .1], [.8, .1, .1], [.1, .1, .8]]))
        >>> GreedyDecoder(CharTokenizer("ab")).decode(logits)[0].text
        'ab'

    Reference: Graves et al. 2006, ICML, section 3.2 ("best path decoding").
    """

    def search(self, log_probs: np.ndarray) -> list[Hypothesis]:
        """See `Decoder.search`; always one hypothesis."""
        path = log_probs.argmax(axis=1)
        return [hypothesis_from_path(path, log_probs, log_probs.max(axis=1).sum(),
                                     self.tokenizer)]
