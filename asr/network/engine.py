"""Features to logits by a trained network: with NumPy and compiled kernels alone, or with Keras.

In: padded batches of normalised features. Out: logits (B, T', V) float32 and their lengths. The
two engines agree to 1e-4. Batch size, order and padding change no bit of what NumPy computes:
no matrix product here has a number of rows that depends on the batch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from asr.errors import UsageError
from asr.features.lengths import CONV_TIME_STRIDES, output_length
from asr.kernels import pool
from asr.kernels.matmul import serial_matmul
from asr.network.numpy_layers import (
    Layer,
    bidirectional_layer,
    conv_relu,
    layer_norm,
    quiet_edges,
    stack_frames,
)
from asr.network.quantization import Quantized, check_quantized, say_dequantized
from asr.network.weights import check_tensors, weight_shapes
from asr.recipe import ModelSettings

logger = logging.getLogger(__name__)

ENGINES = ("auto", "numpy", "keras")  # of a bundle; an exported file brings its own
NUMPY_FRONT_ENDS = ("stack", "conv")  # of all that `model.front_end` can be
BATCH_FRAMES = 12_000  # feature frames a batch at most, padding included: two minutes at 10 ms
BATCH_UTTERANCES = 32


class Engine(Protocol):
    """What the recogniser needs of an engine."""

    name: str

    def logits(self, features: np.ndarray, num_frames: np.ndarray) -> tuple[np.ndarray,
                                                                            np.ndarray]:
        """(B, T, F) float32 and (B,) -> (B, T', V) float32 and (B,) int64, see `check_batch`."""
        ...


def build_engine(name: str, settings: ModelSettings, num_features: int, vocab_size: int,
                 weights: Mapping[str, np.ndarray],
                 quantized: Mapping[str, Quantized] | None = None) -> Engine:
    """The engine of that name; "auto" is NumPy, which starts in a fraction of a second.

    A network with a front end that NumPy does not have is run by Keras, and a warning says so.

    Raises:
        UsageError: the name is not one of ENGINES, it is "numpy" and the front end is none of
            NUMPY_FRONT_ENDS, or TensorFlow cannot be used.
        BundleError: the weights are not those that the settings imply.
    """
    if name not in ENGINES:
        raise UsageError(f"There is no engine {name!r}; choose one of {', '.join(ENGINES)}.")
    if name != "keras" and settings.front_end not in NUMPY_FRONT_ENDS:
        if name == "numpy":
            raise UsageError(f"The engine numpy has no front end {settings.front_end!r}, only "
                             f"{' and '.join(NUMPY_FRONT_ENDS)}. Use the engine keras.")
        logger.warning("NumPy has no front end %r: Keras transcribes, which takes some seconds "
                       "more to start.", settings.front_end)
        name = "keras"
    if name != "keras":
        return NumpyAcousticModel(settings, num_features, vocab_size, weights, quantized)
    if quantized:
        say_dequantized("Keras computes with")
    return KerasAcousticModel(settings, num_features, vocab_size, weights)


class NumpyAcousticModel:
    """The network without TensorFlow: NumPy, and the compiled kernels of `asr.kernels.cpu`.

    Args:
        settings: the network.
        num_features: F.
        vocab_size: V, the blank included.
        weights: name -> float32 array, as `asr.network.weights.weight_shapes` says.
        quantized: the matrices among them as integers, which LSTM layers then compute with; None
            or empty: float32.

    Raises:
        BundleError: a tensor is missing, extra, of another shape, or not finite.
    """

    name = "numpy"

    def __init__(self, settings: ModelSettings, num_features: int, vocab_size: int,
                 weights: Mapping[str, np.ndarray],
                 quantized: Mapping[str, Quantized] | None = None):
        shapes = weight_shapes(settings, num_features, vocab_size)
        check_tensors(weights, shapes, "weights")
        if quantized:
            check_quantized(quantized, shapes, "weights")
        self._quantized = dict(quantized or {})
        self.settings = settings
        self.num_features = num_features
        self.vocab_size = vocab_size
        self._weights = {name: np.ascontiguousarray(array, np.float32)
                         for name, array in weights.items()}
        self._layers: dict[int, Layer] = {}

    def logits(self, features: np.ndarray, num_frames: np.ndarray) -> tuple[np.ndarray,
                                                                            np.ndarray]:
        """Logits of a padded batch.

        Args:
            features: (B, T, F) float32; values beyond a length are ignored.
            num_frames: (B,) integers, 1 .. T.

        Returns:
            (B, T', V) float32, zero beyond each length, and (B,) int64 lengths.

        Raises:
            UsageError: the shapes do not fit, or a length is outside 1 .. T.
        """
        hidden, lengths = np.empty((0, 0, 0), np.float32), np.empty(0, np.int64)
        for _, hidden, lengths in self.layers(features, num_frames):  # noqa: B007 (the last one)
            pass
        logits = np.zeros((*hidden.shape[:2], self.vocab_size), np.float32)
        for result, row, length in zip(logits, hidden, lengths, strict=True):
            result[:length] = serial_matmul(row[:length], self._weights["output/kernel"])
            result[:length] += self._weights["output/bias"]
        return logits, lengths

    def layers(self, features: np.ndarray, num_frames: np.ndarray
               ) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """What each layer gives of a padded batch, front end first.

        Args:
            features, num_frames: as for `logits`.

        Yields:
            "front_end", then "lstm_0", ...; (B, T', D) float32, zero beyond each length; the
            (B,) int64 lengths.
        """
        features, num_frames = check_batch(features, num_frames, self.num_features)
        lengths = output_length(num_frames, self.settings)
        rows = pool.run([lambda row=row, n=n: self.front_end(row[:n])
                         for row, n in zip(features, num_frames, strict=True)],
                        pool.default_threads())
        hidden = np.zeros((len(rows), int(lengths.max()), rows[0].shape[1]), np.float32)
        for index, row in enumerate(rows):
            hidden[index, :len(row)] = row
        yield "front_end", hidden, lengths
        for layer in range(self.settings.num_layers):
            hidden = self._lstm(layer, hidden, lengths)
            yield f"lstm_{layer}", hidden, lengths

    def front_end(self, features: np.ndarray) -> np.ndarray:
        """(T, F) of one utterance -> (T', inputs of the first LSTM layer).

        One utterance at a time, without padding: its result cannot depend on its neighbours.
        """
        features = quiet_edges(features, self.settings.edge_frames * self.settings.subsampling)
        if self.settings.front_end == "stack":
            return stack_frames(features, self.settings.stacking, self.settings.subsampling)
        hidden = features[:, :, np.newaxis]
        for index, stride in enumerate(CONV_TIME_STRIDES[self.settings.subsampling]):
            hidden = conv_relu(hidden, self._weights[f"conv_{index}/kernel"],
                               self._weights[f"conv_{index}/bias"], stride)
        return hidden.reshape(len(hidden), -1)

    def _lstm(self, layer: int, hidden: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        if layer not in self._layers:
            self._layers[layer] = bidirectional_layer(*(
                [self._quantized.get(name, self._weights[name]) for name in (
                    f"lstm_{layer}/{direction}/{part}"
                    for part in ("kernel", "recurrent_kernel", "bias"))]
                for direction in ("forward", "backward")))
        hidden = self._layers[layer](hidden, lengths)
        if not self.settings.layer_norm:
            return hidden
        hidden = layer_norm(hidden, self._weights[f"norm_{layer}/gamma"],
                            self._weights[f"norm_{layer}/beta"])
        for row, length in zip(hidden, lengths, strict=True):
            row[length:] = 0.0
        return hidden


class KerasAcousticModel:
    """The network as `asr.network.model` builds it: cuDNN on a GPU, the compiled kernels on a CPU.

    Args and raises: as `NumpyAcousticModel`; also UsageError if TensorFlow cannot be used.
    """

    name = "keras"

    def __init__(self, settings: ModelSettings, num_features: int, vocab_size: int,
                 weights: Mapping[str, np.ndarray]):
        from asr.network.framework import import_tensorflow

        check_tensors(weights, weight_shapes(settings, num_features, vocab_size), "weights")
        import_tensorflow()
        from asr.network.model import build_model

        model = build_model(settings, num_features, vocab_size)
        model.set_named_weights(weights)
        self._take(model, settings, num_features)

    @classmethod
    def of(cls, model: Any, settings: ModelSettings, num_features: int) -> KerasAcousticModel:
        """The engine of a `CTCModel` whose weights are set already.

        Args:
            model: a network with the time resolution of `settings`.
            settings: the network's.
            num_features: F.
        """
        engine = cls.__new__(cls)
        engine._take(model, settings, num_features)
        return engine

    def _take(self, model: Any, settings: ModelSettings, num_features: int) -> None:
        import tensorflow as tf

        self.model = model
        self.settings = settings
        self.num_features = num_features

        # One persistent function for every shape: a new one a request would trace each time.
        @tf.function(jit_compile=False, input_signature=[
            tf.TensorSpec([None, None, num_features], tf.float32), tf.TensorSpec([None], tf.int32)])
        def forward(features, num_frames):
            return model({"features": features, "num_frames": num_frames}, training=False)

        self._forward = forward

    def logits(self, features: np.ndarray, num_frames: np.ndarray) -> tuple[np.ndarray,
                                                                            np.ndarray]:
        """See `NumpyAcousticModel.logits`."""
        features, num_frames = check_batch(features, num_frames, self.num_features)
        lengths = output_length(num_frames, self.settings)
        logits = np.array(self._forward(features, num_frames.astype(np.int32)))
        for row, length in zip(logits, lengths, strict=True):
            row[length:] = 0.0
        return logits, lengths


def check_batch(features: np.ndarray, num_frames: np.ndarray | Sequence[int],
                num_features: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch whose shapes fit: (B, T, F) float32 and (B,) int64.

    Raises:
        UsageError: they do not, or a length is outside 1 .. T.
    """
    features, num_frames = np.asarray(features, np.float32), np.asarray(num_frames)
    if features.ndim != 3 or not features.shape[0] or features.shape[2] != num_features:
        raise UsageError(f"Features of shape {features.shape} do not fit this network; expected "
                         f"(batch, frames, {num_features}).")
    if num_frames.shape != features.shape[:1] or num_frames.dtype.kind not in "iu" or \
            num_frames.min() < 1 or num_frames.max() > features.shape[1]:
        raise UsageError(f"Lengths {num_frames} do not fit features of shape {features.shape}; "
                         "expected one integer a row, from 1 to the frames.")
    return features, num_frames.astype(np.int64)


def batches_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Indices in batches of like lengths, longest first, bounded by padded frames and by count.

    Example:
        >>> batches_by_length([5, 20_000, 7])
        [[1], [2, 0]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches:
            batch = batches[-1]
            padded = (len(batch) + 1) * lengths[batch[0]]
            if len(batch) < BATCH_UTTERANCES and padded <= BATCH_FRAMES:
                batch.append(index)
                continue
        batches.append([index])
    return batches


def pad_batch(features: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(T_i, F) arrays -> (B, T, F) float32, right-padded with zeros, and (B,) int64 lengths."""
    num_frames = np.array([len(row) for row in features], np.int64)
    batch = np.zeros((len(features), int(num_frames.max()), features[0].shape[1]), np.float32)
    for padded, row in zip(batch, features, strict=True):
        padded[:len(row)] = row
    return batch, num_frames
