"""The network: front end, stacked bidirectional LSTM, linear output; trained by CTC.

In: the batch contract of `asr.data.pipeline`. Out: logits (B, T', V) float32, with exactly
T' = output_length(T). Padding, batch size and batch order never change a logit: every layer gets
the integer lengths and leaves zeros beyond them. Reference: Graves, Mohamed, Hinton 2013, ICASSP
(deep bidirectional LSTM with CTC). `asr.network.engine` runs the same weights with NumPy alone.
"""

from __future__ import annotations

import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from asr.errors import UsageError
from asr.features.lengths import CONV_TIME_STRIDES, output_length
from asr.network.ctc import ctc_loss
from asr.network.layer import BidirectionalLSTM
from asr.network.weights import LAYER_NORM_EPSILON
from asr.recipe import ModelSettings


class StackFrames(keras.layers.Layer):
    """Joins `stacking` consecutive frames every `subsampling` frames: (B, T, F) -> (B, T', S F).

    Output frame t holds input frames t s .. t s + stacking - 1, zeros beyond the end.
    """

    def __init__(self, stacking: int, subsampling: int, **kwargs):
        super().__init__(**kwargs)
        self.stacking = stacking
        self.subsampling = subsampling

    def call(self, features, num_frames):
        """(B, T, F) float32 and (B,) int32 -> (B, T', S F)."""
        del num_frames  # zeros beyond the length stay zeros
        s = self.subsampling
        num_outputs = -(-tf.shape(features)[1] // s)
        room = num_outputs * s + self.stacking - tf.shape(features)[1]
        padded = tf.pad(features, tf.stack([[0, 0], [0, room], [0, 0]]))
        return tf.concat([padded[:, k:k + num_outputs * s:s] for k in range(self.stacking)], -1)


class ConvFrontEnd(keras.layers.Layer):
    """Two 3x3 convolutions over (time, mel) with ReLU; halves the mel axis twice.

    (B, T, F) -> (B, T', ceil(ceil(F / 2) / 2) * channels). One zero of padding on each side, so
    output t reads inputs t stride - 1 .. t stride + 1, and T' is exact for every T >= 1.
    Frames beyond the length are set to zero after each convolution.
    """

    def __init__(self, channels: int, subsampling: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.time_strides = CONV_TIME_STRIDES[subsampling]

    def build(self, input_shape):
        """Create kernels and biases; the shapes depend on the settings alone."""
        shapes = [(3, 3, 1, self.channels), (3, 3, self.channels, self.channels)]
        self.kernels = [self.add_weight(shape=shape, initializer="he_uniform", name=f"kernel_{i}")
                        for i, shape in enumerate(shapes)]
        self.biases = [self.add_weight(shape=(self.channels,), initializer="zeros",
                                       name=f"bias_{i}") for i in range(2)]

    def call(self, features, num_frames):
        """(B, T, F) float32 and (B,) int32 -> (B, T', mel bins times channels)."""
        x = features[..., tf.newaxis]
        for kernel, bias, stride in zip(self.kernels, self.biases, self.time_strides, strict=True):
            x = tf.nn.conv2d(x, kernel, strides=(1, stride, 2, 1),
                             padding=[[0, 0], [1, 1], [1, 1], [0, 0]])  # type: ignore
            num_frames = -(-num_frames // stride)
            valid = tf.sequence_mask(num_frames, tf.shape(x)[1])[:, :, tf.newaxis, tf.newaxis]
            x = tf.where(valid, tf.nn.relu(x + bias), 0.0)
        width = -(-features.shape[-1] // 4) * self.channels  # halved twice, rounding up
        return tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1], width])


def quiet_edges(features: tf.Tensor, num_frames: tf.Tensor, count: int
                ) -> tuple[tf.Tensor, tf.Tensor]:
    """`count` frames of each bin's quietest value before and behind every utterance.

    Args:
        features: (B, T, F) float32, zeros beyond the lengths.
        num_frames: (B,) int32.
        count: feature frames on each side.

    Returns:
        (B, T + 2 count, F) and (B,). `engine.quiet_edges` is the same for one utterance.
    """
    inside = tf.sequence_mask(num_frames, tf.shape(features)[1])[:, :, tf.newaxis]
    quiet = tf.reduce_min(tf.where(inside, features, features.dtype.max), axis=1, keepdims=True)
    around = [[0, 0], [count, count], [0, 0]]
    longer = num_frames + 2 * count
    valid = tf.sequence_mask(longer, tf.shape(features)[1] + 2 * count)[:, :, tf.newaxis]
    filled = tf.where(tf.pad(inside, around), tf.pad(features, around), quiet)
    return tf.where(valid, filled, 0.0), longer


class AcousticModel(keras.Model):
    """Features to logits, with the CTC loss inside `train_step`.

    A step whose loss or gradient is not finite changes no weight, no optimizer slot and no
    counter; the batch logs tell (`finite` 0.0, `finite_rows` for the rows that are).

    Args:
        settings: the [model] section of a recipe.
        num_features: F.
        vocab_size: V, blank included.
        kernel: "auto", "cudnn", "cpu" or "generic", see `asr.network.layer`.
        seed: seed of dropout.
        ema: momentum of an averaged copy of the weights; 0: none.
        intermediate_ctc: share of a second CTC loss, read off the middle LSTM layer by an output
            layer that training alone has; 0: none. Reference: Lee and Watanabe 2021, ICASSP.
    """

    def __init__(self, settings: ModelSettings, num_features: int, vocab_size: int, *,
                 kernel: str = "auto", seed: int = 1, ema: float = 0.0,
                 intermediate_ctc: float = 0.0):
        super().__init__(name="acoustic_model")
        self.settings = settings
        self.num_features = num_features
        self.vocab_size = vocab_size
        self.front_end = (StackFrames(settings.stacking, settings.subsampling, name="stack")
                          if settings.front_end == "stack" else
                          ConvFrontEnd(settings.conv_channels, settings.subsampling, name="conv"))
        self.lstm_layers = [BidirectionalLSTM(settings.units, kernel=kernel, name=f"lstm_{i}")
                            for i in range(settings.num_layers)]
        self.norms = [keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=f"norm_{i}")
                      for i in range(settings.num_layers * settings.layer_norm)]
        self.dropouts = [keras.layers.Dropout(settings.dropout, seed=seed + 1 + i)
                         for i in range(settings.num_layers + 1)]
        self.output_layer = keras.layers.Dense(vocab_size, dtype="float32", name="output")
        self.intermediate_ctc = intermediate_ctc
        self.intermediate_layer = None
        if intermediate_ctc:
            self.intermediate_layer = keras.layers.Dense(vocab_size, dtype="float32",
                                                         name="intermediate")
            self.intermediate_layer.build((None, None, 2 * settings.units))
        self.ema_momentum = ema
        self.ema_weights: list[tf.Variable] = []
        self.data_wait_seconds = 0.0
        self.device_seconds = 0.0
        # Traced, not run: every layer creates its weights, and no kernel needs to exist here.
        tf.function(self, jit_compile=False).get_concrete_function(
            batch_signature(num_features)[0])

    def call(self, x: dict, training=False):
        """Logits (B, T', V) float32 of the x of the batch contract."""
        return self.output_layer(self.hidden_layers(x, training)[-1])

    def hidden_layers(self, x: dict, training=False) -> list[tf.Tensor]:
        """(B, T', 2 U) float32 of each LSTM layer, as the layer above it sees them."""
        outputs = []
        features, num_frames = x["features"], x["num_frames"]
        valid = tf.sequence_mask(num_frames, tf.shape(features)[1])[:, :, tf.newaxis]
        features = tf.where(valid, features, 0.0)
        lengths = self.output_length(num_frames)
        if self.settings.edge_frames:
            count = self.settings.edge_frames * self.settings.subsampling
            features, num_frames = quiet_edges(features, num_frames, count)
        hidden = self.front_end(features, num_frames)
        valid = tf.sequence_mask(lengths, tf.shape(hidden)[1])[:, :, tf.newaxis]
        hidden = self.dropouts[0](hidden, training=training)
        for i, lstm in enumerate(self.lstm_layers):
            hidden = lstm(hidden, lengths, training=training)
            if self.norms:
                hidden = tf.where(valid, self.norms[i](hidden), 0.0)
            hidden = self.dropouts[i + 1](hidden, training=training)
            outputs.append(hidden)
        return outputs

    def output_length(self, num_frames):
        """T' of T >= 1 input frames, as `asr.features.lengths`; a number, an array or a tensor."""
        if isinstance(num_frames, tf.Tensor):
            return -(-num_frames // self.settings.subsampling) + 2 * self.settings.edge_frames
        return output_length(num_frames, self.settings)

    def losses_of(self, x, y, logits):
        """(B,) CTC losses in nats."""
        return ctc_loss(logits, self.output_length(x["num_frames"]), y["labels"], y["num_labels"])

    def compute_loss(self, x=None, y: Any = None, y_pred=None, sample_weight=None, training=True):
        """Nats a label: the summed loss of a batch over its summed labels."""
        losses = self.losses_of(x, y, y_pred)
        return tf.reduce_sum(losses) / tf.cast(tf.reduce_sum(y["num_labels"]), tf.float32)

    def train_step(self, data):
        """One step; returns loss (nats a label), finite (0 or 1), finite_rows (B,) bool."""
        x, y = data
        with tf.GradientTape() as tape:
            hidden = self.hidden_layers(x, training=True)
            losses = self.losses_of(x, y, self.output_layer(hidden[-1]))
            num_labels = tf.cast(tf.reduce_sum(y["num_labels"]), tf.float32)
            loss = objective = tf.reduce_sum(losses) / num_labels
            if self.intermediate_layer is not None:
                middle = self.intermediate_layer(hidden[(len(hidden) - 1) // 2])
                share = self.intermediate_ctc
                objective = ((1.0 - share) * loss
                             + share * tf.reduce_sum(self.losses_of(x, y, middle)) / num_labels)
        weights = [v.value for v in self.trainable_variables]
        gradients = tape.gradient(objective, weights)
        norm = tf.linalg.global_norm(gradients)
        finite = tf.math.is_finite(loss) & tf.math.is_finite(norm)
        tf.cond(finite, lambda: self._apply(gradients), lambda: tf.constant(False))
        return {"loss": loss, "finite": tf.cast(finite, tf.float32), "gradient_norm": norm,
                "finite_rows": tf.math.is_finite(losses), "num_labels": num_labels}

    def _apply(self, gradients):
        self.optimizer.apply(gradients, self.trainable_variables)
        for average, weight in zip(self.ema_weights, self.trainable_variables, strict=False):
            average.assign_sub((1.0 - self.ema_momentum) * (average - weight.value))
        return tf.constant(True)

    def make_train_function(self, force=False):
        """Keras calls this; ours also measures how long a step waited for data."""
        if self.train_function is not None and not force:
            return self.train_function
        step = tf.function(lambda x, y: self.train_step((x, y)), jit_compile=False,
                           input_signature=batch_signature(self.num_features))

        def train_function(iterator):
            started = time.perf_counter()
            batch = next(iterator)
            fetched = time.perf_counter()
            logs = step(*batch)
            logs = {key: value.numpy() for key, value in logs.items()}  # wait for the device
            self.data_wait_seconds += fetched - started
            self.device_seconds += time.perf_counter() - fetched
            return logs

        self.train_function = train_function
        return train_function

    def compile_for_training(self, optimizer) -> None:
        """Attach the optimizer and, if asked for, the averaged copy of the weights."""
        self.compile(optimizer=optimizer, jit_compile=False)  # type: ignore[arg-type]
        optimizer.build(self.trainable_variables)
        if self.ema_momentum:
            self.ema_weights = [tf.Variable(v.value, trainable=False, name=f"ema_{i}")
                                for i, v in enumerate(self.trainable_variables)]

    def swap_ema(self) -> None:
        """Exchange weights and their average (nothing without one); twice is the identity."""
        for average, weight in zip(self.ema_weights, self.trainable_variables, strict=False):
            current = weight.numpy()
            weight.assign(average)
            average.assign(current)

    def named_variables(self) -> dict[str, keras.Variable]:
        """Bundle name to variable; `asr.bundle.weight_shapes` lists the same names."""
        named = {}
        if isinstance(self.front_end, ConvFrontEnd):
            for i in range(2):
                named[f"conv_{i}/kernel"] = self.front_end.kernels[i]
                named[f"conv_{i}/bias"] = self.front_end.biases[i]
        for i, lstm in enumerate(self.lstm_layers):
            named.update({f"lstm_{i}/{name}": v for name, v in lstm.named_weights().items()})
        for i, norm in enumerate(self.norms):
            named[f"norm_{i}/gamma"], named[f"norm_{i}/beta"] = norm.gamma, norm.beta
        named["output/kernel"] = self.output_layer.kernel
        named["output/bias"] = self.output_layer.bias
        return named

    def get_named_weights(self) -> dict[str, np.ndarray]:
        """Copies of all weights, float32, by bundle name."""
        return {name: variable.numpy().astype(np.float32)
                for name, variable in self.named_variables().items()}

    def set_named_weights(self, weights: dict[str, np.ndarray]) -> None:
        """Load weights by bundle name; a missing, extra or misshapen one is an error."""
        variables = self.named_variables()
        if set(weights) != set(variables):
            wrong = sorted(set(weights) ^ set(variables))
            raise UsageError(f"These weights are for another network; they differ in {wrong}.")
        for name, variable in variables.items():
            if tuple(weights[name].shape) != tuple(variable.shape):
                raise UsageError(f"{name} has shape {tuple(weights[name].shape)}, this network "
                                 f"needs {tuple(variable.shape)}.")
            variable.assign(weights[name])


def batch_signature(num_features: int) -> tuple[dict, dict]:
    """The x and y of the batch contract for any B, T and L: one trace serves all batches."""
    counts = tf.TensorSpec([None], tf.int32)
    return ({"features": tf.TensorSpec([None, None, num_features], tf.float32),
             "num_frames": counts},
            {"labels": tf.TensorSpec([None, None], tf.int32), "num_labels": counts})


def build_model(settings: ModelSettings, num_features: int, vocab_size: int, *,
                kernel: str = "auto", seed: int | None = None, ema: float = 0.0,
                intermediate_ctc: float = 0.0) -> AcousticModel:
    """A built network with fresh weights; the arguments of `AcousticModel`.

    A seed also seeds Python, NumPy and TensorFlow, so that the initial weights are reproducible;
    without one no global state is touched.
    """
    if seed is not None:
        keras.utils.set_random_seed(seed)
    return AcousticModel(settings, num_features, vocab_size, kernel=kernel,
                         seed=1 if seed is None else seed, ema=ema,
                         intermediate_ctc=intermediate_ctc)
