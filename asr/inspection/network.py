"""Record the states of a network between the features and the text of one recording.

In: a bundle, samples. Out: an `Inspection`. NumPy; the cell is the textbook
one of `asr.network.equations`, in float64, so that what is shown is what is explained.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from asr.bundle import Bundle
from asr.decoding.alignment import character_spans
from asr.decoding.hypothesis import log_softmax
from asr.errors import UsageError
from asr.features import FeatureExtractor, normalize_features
from asr.network.engine import NumpyAcousticModel
from asr.network.equations import Trace, forward
from asr.network.numpy_layers import layer_norm
from asr.recipe import FeatureSettings, ModelSettings
from asr.transcript import Transcript, Word
from asr.transcript.timing import FrameClock

MAX_SECONDS = 60.0  # every gate of every step is kept: a 3 x 256 network makes 150 MB of a minute
DIRECTIONS = ("forward", "backward")


class LayerTrace(NamedTuple):
    """Both directions of one layer; every array is (T', U) float64, in the time of the recording.

    The backward direction reads the recording from its end: its step before frame t is t + 1.
    """

    forward: Trace
    backward: Trace


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class Inspection:
    """One recording on its way through a network.

    T feature frames, T' output frames (see `asr.features.lengths.output_length`), F features, M
    mel filters, U units a direction, V classes with the blank.

    Attributes:
        samples: (num_samples,) float32, the input, at `sample_rate`.
        sample_rate: Hz.
        log_mel: (T, M) float32, natural log of power; the features, or what they were made from.
        mel_frequencies: (M,) float64, Hz, where each filter peaks.
        features: (T, F) float32 before normalisation.
        normalized: (T, F) float32, what the network saw.
        layers: the two directions of each LSTM layer; each a `Trace` of input_gate, forget_gate,
            candidate, output_gate, memory and output, (T', U) float64.
        logits: (T', V) float32.
        posteriors: (T', V) float64, softmax of the logits; each row sums to 1.
        labels: V texts; the first is "", the blank.
        transcript: the text with word times, as `Recognizer.transcribe` gives it.
        characters: each character of the decoded text, spaces included, where the posteriors say
            it (Viterbi), in seconds; a word sounds longer than its spikes.
        start: seconds, where output frame 0 begins; before 0 where the network adds quiet frames.
        seconds_per_frame: duration of an output frame; frame t begins at start + t of them.
        seconds_per_feature_frame: duration of a feature frame; frame t is centred at t of them.
    """

    samples: np.ndarray
    sample_rate: int
    log_mel: np.ndarray
    mel_frequencies: np.ndarray
    features: np.ndarray
    normalized: np.ndarray
    layers: tuple[LayerTrace, ...]
    logits: np.ndarray
    posteriors: np.ndarray
    labels: tuple[str, ...]
    transcript: Transcript
    characters: tuple[Word, ...]
    start: float
    seconds_per_frame: float
    seconds_per_feature_frame: float

    @property
    def text(self) -> str:
        """What was understood."""
        return self.transcript.text

    @property
    def end(self) -> float:
        """Seconds, where the last output frame ends; a little after the recording."""
        return self.start + len(self.logits) * self.seconds_per_frame

    @property
    def num_units(self) -> int:
        """U, of each direction of each layer."""
        return self.layers[0].forward.memory.shape[1]

    def trace(self, layer: int, direction: str = "forward") -> Trace:
        """One direction of one layer.

        Args:
            layer: from 1, the one nearest to the sound.
            direction: "forward" or "backward".

        Raises:
            UsageError: there is no such layer or direction.
        """
        if not 1 <= layer <= len(self.layers):
            known = "only layer 1" if len(self.layers) == 1 else f"layers 1 to {len(self.layers)}"
            raise UsageError(f"There is no layer {layer}; this network has {known}.")
        if direction not in DIRECTIONS:
            raise UsageError(f"There is no direction {direction!r}; choose "
                             f"{' or '.join(DIRECTIONS)}.")
        return getattr(self.layers[layer - 1], direction)


def inspect_audio(bundle: Bundle, samples: np.ndarray,
                  decode: Callable[[np.ndarray, float, np.ndarray], Transcript]) -> Inspection:
    """Run the network step by step and keep everything.

    Args:
        bundle: the trained network.
        samples: (num_samples,) float32 at the bundle's rate.
        decode: logits (T', V), seconds and features (T, F) to a transcript, such as
            `Recognizer.decode`.

    Raises:
        UsageError: the recording is longer than MAX_SECONDS.
        AudioError: see `asr.features.log_mel`.
    """
    start, stop = FeatureExtractor(bundle.features, quick_start=True).loud_part(samples)
    samples = samples[start:stop]  # what the network reads
    settings = replace(bundle.features, trim_db=0.0)
    duration = len(samples) / settings.sample_rate
    if duration > MAX_SECONDS:
        raise UsageError(f"A recording of {duration:.1f} s is too long to look inside, where every "
                         f"gate of every step is kept: {MAX_SECONDS:g} s at most. Cut out the part "
                         "that you want to see.")
    extractor = FeatureExtractor(settings, quick_start=True)
    features = extractor.extract(samples)
    normalized = normalize_features(features, settings, bundle.cmvn)
    layers, logits = trace_network(bundle.model, bundle.weights, normalized,
                                   bundle.tokenizer.vocab_size)
    transcript = decode(logits, duration, features)
    clock = FrameClock.of(settings, bundle.model)
    log_probs = log_softmax(logits)
    spans = character_spans(log_probs, bundle.tokenizer.encode(transcript.text), bundle.tokenizer)
    return Inspection(
        samples=samples, sample_rate=settings.sample_rate,
        log_mel=_log_mel(samples, features, settings),
        mel_frequencies=extractor.mel_frequencies, features=features, normalized=normalized,
        layers=layers, logits=logits, posteriors=np.exp(log_probs),
        labels=("", *bundle.tokenizer.alphabet),
        transcript=transcript,
        characters=tuple(Word(span.text, float(clock.seconds(span.start)),
                              float(clock.seconds(span.end)), span.confidence) for span in spans),
        start=float(clock.seconds(0)), seconds_per_frame=clock.seconds_per_frame,
        seconds_per_feature_frame=clock.hop)


def trace_network(settings: ModelSettings, weights: Mapping[str, np.ndarray],
                  features: np.ndarray, vocab_size: int
                  ) -> tuple[tuple[LayerTrace, ...], np.ndarray]:
    """The network of `asr.network.engine`, layer by layer as equations.

    Args:
        settings, weights: settings and weights of the network.
        features: (T, F) float32, normalised.
        vocab_size: V.

    Returns:
        The layers, and the logits (T', V) float32; those of the engine to 1e-4.

    Raises:
        BundleError: the weights do not belong to the settings.
    """
    model = NumpyAcousticModel(settings, features.shape[1], vocab_size, weights)
    hidden = model.front_end(features).astype(np.float64)
    layers = []
    for index in range(settings.num_layers):
        layer = LayerTrace(*(trace_direction(hidden, weights, f"lstm_{index}/{direction}")
                             for direction in DIRECTIONS))
        layers.append(layer)
        hidden = np.concatenate([layer.forward.output, layer.backward.output], axis=1)
        if settings.layer_norm:
            hidden = layer_norm(hidden, weights[f"norm_{index}/gamma"],
                                weights[f"norm_{index}/beta"])
    logits = hidden @ weights["output/kernel"] + weights["output/bias"]
    return tuple(layers), logits.astype(np.float32)


def trace_direction(inputs: np.ndarray, weights: Mapping[str, np.ndarray], name: str) -> Trace:
    """One direction over one recording, in the time of the recording.

    Args:
        inputs: (T', D) float64.
        weights: by name.
        name: such as "lstm_0/backward", which reads the inputs from their end.
    """
    parts = (weights[f"{name}/{part}"].astype(np.float64)
             for part in ("kernel", "recurrent_kernel", "bias"))
    if name.endswith("/forward"):
        return forward(inputs, *parts)
    return Trace(*(array[::-1] for array in forward(inputs[::-1], *parts)))


def _log_mel(samples: np.ndarray, features: np.ndarray, settings: FeatureSettings) -> np.ndarray:
    if settings.kind == "log_mel":
        return features[:, :settings.n_mels]  # behind them are their deltas
    plain = replace(settings, kind="log_mel", deltas=0)
    return FeatureExtractor(plain, quick_start=True).extract(samples)
