"""The bidirectional network on an utterance that is still going on, chunk by chunk.

In: blocks of samples. Out: logits, those that stay and those that may still change.

A backward layer needs what comes later. So each chunk is read with some seconds before it and some
after it (latency-controlled bidirectional LSTM: Zhang et al. 2016, "Highway long short-term memory
RNNs for distant speech recognition", section 5; here the left context is read again, instead of
keeping the state, so any network works). Its outputs stay once that much has come after them; the
outputs after those are provisional. Features are those of the whole utterance, bit for bit (pcen:
to 1e-5). What differs from a pass over the whole: the contexts, and a normalisation that knows only
what has come and the utterances before (`normalizing.py`; "global" is the same).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from asr.bundle import Bundle
from asr.features import FeatureExtractor
from asr.inference.windows import FeatureStream
from asr.live.normalizing import OnlineNormalizer
from asr.network.engine import Engine, pad_batch
from asr.transcript.pauses import speech_levels


class Network(Protocol):
    """What is needed of a `Recognizer`."""

    bundle: Bundle
    engine: Engine


@dataclass(frozen=True)
class Contexts:
    """Seconds that the network reads around a chunk, in output frames.

    Attributes:
        left, right: before and after.
    """

    left: int
    right: int


class ChunkedNetwork:
    """The logits of one utterance.

    Args:
        network: a recogniser.
        contexts: what is read around each chunk.
        normalize: normalises the features so far.
    """

    def __init__(self, network: Network, contexts: Contexts, normalize: OnlineNormalizer):
        self._network = network
        self._settings = network.bundle.features
        self._model = network.bundle.model
        self._contexts, self._normalize = contexts, normalize
        self._stream = FeatureStream(FeatureExtractor(replace(self._settings, trim_db=0.0),
                                                      quick_start=True))
        self._features: list[np.ndarray] = []
        self._num_frames = 0
        self._kept: list[np.ndarray] = []
        self._provisional = np.empty((0, network.bundle.tokenizer.vocab_size), np.float32)
        self.num_kept = 0  # output frames that stay, without those before the utterance

    def feed(self, samples: np.ndarray) -> None:
        """The next samples; nothing is computed but features."""
        features = self._stream.feed(samples)
        self._num_frames += len(features)
        self._features.append(features)

    def advance(self) -> None:
        """Run the network over what has come since the last time."""
        subsampling, edge = self._model.subsampling, self._model.edge_frames
        available = self._num_frames // subsampling
        if available <= self.num_kept:
            return
        features = self.features()
        first = max(0, self.num_kept - self._contexts.left)
        window = self._normalize(features)[first * subsampling:available * subsampling]
        logits, lengths = self._network.engine.logits(*pad_batch([window]))
        row = logits[0, :lengths[0]]
        keep = max(self.num_kept, available - self._contexts.right)
        start = self.num_kept - first + edge if self.num_kept else 0
        stop = keep - first + edge if keep else 0  # those before the utterance stay with its first
        self._kept.append(row[start:stop].copy())
        self._provisional = row[stop:].copy()
        self.num_kept = keep

    def features(self) -> np.ndarray:
        """(T, F) float32 so far, before normalisation."""
        self._features = [np.concatenate(self._features)] if self._features else [
            np.empty((0, self._network.bundle.num_features), np.float32)]
        return self._features[0]

    def logits(self) -> np.ndarray:
        """(T', V) float32 so far, the provisional ones at the end."""
        return np.concatenate([*self._kept, self._provisional])

    def levels(self) -> np.ndarray | None:
        """(T,) how loud each frame is; None for a kind of features that does not say."""
        return speech_levels(self.features(), self._settings)
