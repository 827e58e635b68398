"""From a recording to logits with one bundle: samples, features, the network.

In: a bundle, audio. Out: samples, features, logits. `asr.recognizer.Recognizer` adds the decoder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from asr.audio import AudioInfo, load_audio, resample
from asr.bundle import Bundle
from asr.errors import UsageError
from asr.features import FeatureExtractor, normalize_features
from asr.inference.networks import engine_of
from asr.network.engine import Engine, KerasAcousticModel, batches_by_length, pad_batch
from asr.network.quantization import say_dequantized
from asr.text.tokenizer import CharTokenizer
from asr.transcript.timing import FrameClock

Audio = str | os.PathLike | np.ndarray
RATE_OF_A_FILE = "sample_rate belongs to an array; a file says its own."


class Acoustics:
    """The acoustic half of a recogniser.

    Args:
        bundle: from `asr.bundle.load_bundle`.
        engine, build: see `asr.recognizer.Recognizer`.
    """

    def __init__(self, bundle: Bundle, engine: str | Engine = "auto",
                 build: Callable | None = None):
        self.bundle = bundle
        self.engine = engine_of(bundle, engine, build) if isinstance(engine, str) else engine
        self._extractor = FeatureExtractor(bundle.features, quick_start=True)

    @property
    def tokenizer(self) -> CharTokenizer:
        """Labels and characters."""
        return self.bundle.tokenizer

    @property
    def sample_rate(self) -> int:
        """Hz; every recording is resampled to it."""
        return self.bundle.features.sample_rate

    @property
    def seconds_per_frame(self) -> float:
        """Duration of an output frame."""
        return self.clock.seconds_per_frame

    @property
    def clock(self) -> FrameClock:
        """When output frames are, by construction of the front end."""
        return FrameClock.of(self.bundle.features, self.bundle.model)

    def keras_model(self) -> Any:
        """The trained network as a Keras model, an `asr.AcousticModel` or a network of your own.

        Raises:
            UsageError: TensorFlow cannot be used.
        """
        engine = self.engine
        if not isinstance(engine, KerasAcousticModel):
            if self.bundle.quantized:
                say_dequantized("the Keras model has")
            engine = KerasAcousticModel(self.bundle.model, self.bundle.num_features,
                                        self.tokenizer.vocab_size, self.bundle.weights)
        return engine.model

    def load_audio(self, audio: Audio, sample_rate: int | None = None, *,
                   expected: AudioInfo | None = None, max_seconds: float | None = None,
                   allow_truncated: bool = False) -> np.ndarray:
        """Samples at the recogniser's rate, of a path or of an array.

        Args:
            audio: a path, or (num_samples,) floating point, mono, in [-1, 1].
            sample_rate: Hz of an array; None: it has the recogniser's rate already.
            expected, max_seconds, allow_truncated: for a path, see `asr.audio.load_audio`.

        Raises:
            AudioError: see `asr.audio.load_audio`.
            UsageError: an array that is not one-dimensional floating point, or a rate for a path.
        """
        if not isinstance(audio, np.ndarray):
            if sample_rate is not None:
                raise UsageError(RATE_OF_A_FILE)
            return load_audio(audio, sample_rate=self.sample_rate, expected=expected,
                              max_seconds=max_seconds, allow_truncated=allow_truncated)
        if audio.ndim != 1 or audio.dtype.kind != "f":
            raise UsageError(f"An array of shape {audio.shape} and type {audio.dtype} is not mono "
                             "audio; expected (num_samples,) floating point in [-1, 1].")
        audio = audio.astype(np.float32, copy=False)
        if sample_rate in (None, self.sample_rate):
            return audio
        return resample(audio, sample_rate, self.sample_rate)

    def features(self, audio: Audio, sample_rate: int | None = None) -> np.ndarray:
        """(T, F) float32 of a recording, before normalisation; see `asr.features`.

        Raises:
            AudioError, UsageError: see `load_audio` and `asr.features.log_mel`.
        """
        return self._extractor.extract(self.load_audio(audio, sample_rate))

    def seconds_trimmed(self, audio: np.ndarray) -> float:
        """How much of a recording's start `features` leaves out (features.trim_db); seconds."""
        return self._extractor.loud_part(audio)[0] / self.sample_rate

    def normalized(self, features: np.ndarray) -> np.ndarray:
        """Features as the network was trained on: after its mean and variance normalisation."""
        return normalize_features(features, self.bundle.features, self.bundle.cmvn)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(T', V) float32 of one utterance.

        Args:
            features: (T, F) float32 before normalisation, from `features` or `asr.log_mel`.

        Raises:
            UsageError: the shape is not this network's.
        """
        return self.logits_batch([features])[0]

    def logits_batch(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Logits of many utterances, in their order; batches of like lengths, bounded memory.

        Args:
            features: (T_i, F) float32 each, before normalisation.

        Raises:
            UsageError: a shape is not this network's.
        """
        for row in features:
            if row.ndim != 2 or row.shape[1] != self.bundle.num_features or not len(row):
                raise UsageError(f"Features of shape {row.shape} do not fit this recogniser; "
                                 f"expected (frames, {self.bundle.num_features}).")
        results: list[np.ndarray] = [np.empty(0)] * len(features)
        for batch in batches_by_length([len(row) for row in features]):
            logits, lengths = self.engine.logits(
                *pad_batch([self.normalized(features[i]) for i in batch]))
            for i, row, length in zip(batch, logits, lengths, strict=True):
                results[i] = row[:length].copy()
        return results
