"""The development set of a tuning: the network runs once, then only decoders do.

In: a `Recognizer`, utterances. Out: a `DevSet`, and the word errors of a decoder on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from asr.decoding import Decoder
from asr.errors import DataError
from asr.inference.loop import infer
from asr.inference.tasks import Task
from asr.kernels import pool
from asr.manifest import Utterance
from asr.recognizer import Recognizer
from asr.scoring.counts import count_words
from asr.text import normalize


@dataclass(frozen=True)
class DevSet:
    """Logits and normalised references, so that decoding is all that is left to do.

    Attributes:
        ids, references, speakers: one an utterance.
        logits: (T', V) float32 each; None for a silent recording, which reads "".
    """

    ids: tuple[str, ...]
    references: tuple[str, ...]
    speakers: tuple[str, ...]
    logits: tuple[np.ndarray | None, ...]
    normalizer: str


def read_dev_set(recognizer: Recognizer, utterances: Sequence[Utterance], *,
                 allow_truncated: bool = False,
                 progress: Callable[[int, int], None] | None = None) -> DevSet:
    """The forward pass.

    Raises:
        AudioError: a recording cannot be used.
        DataError: no utterance, or no word in any reference.
    """
    normalizer = recognizer.bundle.text.normalizer
    references = tuple(normalize(u.text, normalizer) for u in utterances)
    if not any(reference.split() for reference in references):
        raise DataError("The development set holds no word to compare with.", code="tune.empty")
    logits: list[np.ndarray | None] = []
    for result in infer(recognizer, [Task(u, u, u.id) for u in utterances],
                        allow_truncated=allow_truncated):
        result.raise_error()
        logits.append(result.logits)
        if progress:
            progress(len(logits), len(utterances))
    return DevSet(tuple(u.id for u in utterances), references,
                  tuple(u.speaker for u in utterances), tuple(logits), normalizer)


def read_texts(dev: DevSet, decoder: Decoder, rows: Sequence[int] | np.ndarray | None = None
               ) -> list[str]:
    """What a decoder reads in each utterance, normalised as the references are; on all cores.

    Args:
        dev: the utterances.
        decoder: any.
        rows: numbers of the utterances; None: all.
    """
    def read(logits: np.ndarray | None) -> str:
        return "" if logits is None else decoder.text(logits)
    wanted = range(len(dev.logits)) if rows is None else rows
    texts = pool.run([partial(read, dev.logits[row]) for row in wanted], pool.default_threads())
    return [normalize(text, dev.normalizer) for text in texts]


def word_errors(dev: DevSet, decoder: Decoder, rows: Sequence[int] | np.ndarray | None = None
                ) -> np.ndarray:
    """(N, 2) int64: word errors and reference words of each utterance, see `read_texts`."""
    wanted = range(len(dev.logits)) if rows is None else rows
    counts = count_words([" ".join(dev.references[row].split()) for row in wanted],
                         read_texts(dev, decoder, rows))
    return np.stack([counts[:, :3].sum(axis=1), counts[:, 3]], axis=1)
