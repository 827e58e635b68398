"""The network: front end, stacked bidirectional LSTM, linear output; trained by CTC.

In: the batch contract of `asr.data.pipeline`. Out: logits (B, T', V) float32, with exactly
T' = output_length(T). Padding, batch size and batch order never change a logit: every layer gets
the integer lengths and leaves zeros beyond them. Reference: Graves, Mohamed, Hinton 2013, ICASSP
(deep bidirectional LSTM with CTC). `asr.network.engine` runs the same weights with NumPy alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from asr.errors import UsageError
from asr.features.lengths import CONV_TIME_STRIDES, output_length
from asr.network.chunks import Chunks, chunked_backward
from asr.network.contract import batch_signature
from asr.network.ctc import per_label
from asr.network.ctc_model import CTCModel
from asr.network.layer import BidirectionalLSTM
from asr.network.weights import LAYER_NORM_EPSILON
from asr.network.weights import num_features as count_features
from asr.recipe import ModelSettings, Recipe
from asr.settings import settings_from_dict


@keras.saving.register_keras_serializable(package="asr")
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

    def get_config(self) -> dict:
        """The arguments."""
        return {**super().get_config(), "stacking": self.stacking,
                "subsampling": self.subsampling}


@keras.saving.register_keras_serializable(package="asr")
class ConvFrontEnd(keras.layers.Layer):
    """Two 3x3 convolutions over (time, mel) with ReLU; halves the mel axis twice.

    (B, T, F) -> (B, T', ceil(ceil(F / 2) / 2) * channels). One zero of padding on each side, so
    output t reads inputs t stride - 1 .. t stride + 1, and T' is exact for every T >= 1.
    Frames beyond the length are set to zero after each convolution.
    """

    def __init__(self, channels: int, subsampling: int, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.subsampling = subsampling
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

    def get_config(self) -> dict:
        """The arguments."""
        return {**super().get_config(), "channels": self.channels,
                "subsampling": self.subsampling}


def quiet_edges(features: tf.Tensor, num_frames: tf.Tensor, count: int
                ) -> tuple[tf.Tensor, tf.Tensor]:
    """`count` frames of each bin's quietest value before and behind every utterance.

    Args:
        features: (B, T, F) float32, zeros beyond the lengths.
        num_frames: (B,) int32.
        count: feature frames on each side.

    Returns:
        (B, T + 2 count, F) and (B,). `numpy_layers.quiet_edges` is the same for one utterance.
    """
    inside = tf.sequence_mask(num_frames, tf.shape(features)[1])[:, :, tf.newaxis]
    quiet = tf.reduce_min(tf.where(inside, features, features.dtype.max), axis=1, keepdims=True)
    around = [[0, 0], [count, count], [0, 0]]
    longer = num_frames + 2 * count
    valid = tf.sequence_mask(longer, tf.shape(features)[1] + 2 * count)[:, :, tf.newaxis]
    filled = tf.where(tf.pad(inside, around), tf.pad(features, around), quiet)
    return tf.where(valid, filled, 0.0), longer


@keras.saving.register_keras_serializable(package="asr")
class AcousticModel(CTCModel):
    """Features to logits: a Keras model for `compile`, `fit`, `evaluate`, `predict` and `save`.

    Args:
        settings: a recipe, or its [model] section.
        num_features: F; None: that of the recipe's features.
        vocab_size: V, blank included: `tokenizer.vocab_size`.
        kernel: "auto", "cudnn", "cpu" or "generic", see `asr.network.layer`.
        seed: seed of dropout; None: that of the recipe, or 1.
        intermediate_ctc: share of a second CTC loss, read off the middle LSTM layer by an output
            layer that training alone has; None: that of the recipe, or 0. Reference: Lee and
            Watanabe 2021, ICASSP.
        chunks: of random length, for backward layers in training, see `asr.network.chunks`; None:
            those of the recipe, or none.
        training_edges: edge frames in training; None: those of the recipe, or as in `settings`.
        name, dtype: as of a `keras.Model`; dtype may be a policy such as "mixed_bfloat16".

    Raises:
        UsageError: no vocabulary size, or settings alone without the number of features.

    Example:
        model = asr.AcousticModel(recipe, vocab_size=tokenizer.vocab_size)
        model.compile("adam", loss=asr.CTCLoss(), metrics=[asr.WordErrorRate(tokenizer)])
    """

    def __init__(self, settings: Recipe | ModelSettings, num_features: int | None = None,
                 vocab_size: int | None = None, *, kernel: str = "auto", seed: int | None = None,
                 intermediate_ctc: float | None = None, chunks: Chunks | None = None,
                 training_edges: int | None = None, name: str = "acoustic_model",
                 dtype: str | None = None):
        super().__init__(name=name, dtype=dtype)
        if isinstance(settings, Recipe):
            recipe, settings = settings, settings.model
            num_features = num_features or count_features(recipe.features)
            seed = recipe.seed if seed is None else seed
            if intermediate_ctc is None:
                intermediate_ctc = recipe.train.intermediate_ctc
            chunks = chunks or Chunks.of(recipe)
            if training_edges is None:
                training_edges = recipe.training_model.edge_frames
        if not num_features or not vocab_size:
            raise UsageError("AcousticModel needs a recipe, or [model] settings and num_features; "
                             "and vocab_size=tokenizer.vocab_size.")
        self.settings = self.training_settings = settings
        if training_edges is not None:
            self.training_settings = dataclasses.replace(settings, edge_frames=training_edges)
        self.num_features = num_features
        self.vocab_size = vocab_size
        self.kernel = kernel
        self.seed = 1 if seed is None else seed
        self.intermediate_ctc = intermediate_ctc or 0.0
        self.chunks = Chunks._make(chunks) if chunks else Chunks()
        # Only where it is used: a run without chunks has the state that it always had.
        self.chunk_seeds = keras.random.SeedGenerator(self.seed) if self.chunks.probability \
            else None
        policy = self.dtype_policy
        self.front_end = (
            StackFrames(settings.stacking, settings.subsampling, name="stack", dtype=policy)
            if settings.front_end == "stack" else
            ConvFrontEnd(settings.conv_channels, settings.subsampling, name="conv", dtype=policy))
        self.lstm_layers = [BidirectionalLSTM(settings.units, kernel=kernel, name=f"lstm_{i}",
                                              dtype=policy) for i in range(settings.num_layers)]
        self.norms = [keras.layers.LayerNormalization(epsilon=LAYER_NORM_EPSILON, name=f"norm_{i}",
                                                      dtype=policy)
                      for i in range(settings.num_layers * settings.layer_norm)]
        self.dropouts = [keras.layers.Dropout(settings.dropout, seed=self.seed + 1 + i,
                                              dtype=policy)
                         for i in range(settings.num_layers + 1)]
        self.output_layer = keras.layers.Dense(vocab_size, dtype="float32", name="output")
        self.intermediate_layer = None
        if self.intermediate_ctc:
            self.intermediate_layer = keras.layers.Dense(vocab_size, dtype="float32",
                                                         name="intermediate")
            self.intermediate_layer.build((None, None, 2 * settings.units))
        # Traced, not run: every layer creates its weights, and no kernel needs to exist here.
        tf.function(self, jit_compile=False).get_concrete_function(
            batch_signature(num_features)[0])

    def get_config(self) -> dict:
        """Plain values, from which `from_config` makes the same network."""
        return {"settings": dataclasses.asdict(self.settings), "num_features": self.num_features,
                "vocab_size": self.vocab_size, "kernel": self.kernel, "seed": self.seed,
                "intermediate_ctc": self.intermediate_ctc, "chunks": list(self.chunks),
                "training_edges": self.training_settings.edge_frames, "name": self.name,
                "dtype": self.dtype_policy.name}

    @classmethod
    def from_config(cls, config: dict, custom_objects=None) -> AcousticModel:
        """A network with fresh weights; every setting is checked as in a recipe."""
        settings = settings_from_dict(ModelSettings, config["settings"], source="settings")
        return cls(**{**config, "settings": settings})

    def call(self, x: dict, training=False):
        """Logits (B, T', V) float32 of the x of the batch contract."""
        return self.output_layer(self.hidden_layers(x, training)[-1])

    def hidden_layers(self, x: dict, training=False) -> list[tf.Tensor]:
        """(B, T', 2 U) float32 of each LSTM layer, as the layer above it sees them."""
        outputs = []
        settings = self.training_settings if training else self.settings
        features, num_frames = x["features"], x["num_frames"]
        valid = tf.sequence_mask(num_frames, tf.shape(features)[1])[:, :, tf.newaxis]
        features = tf.where(valid, features, 0.0)
        lengths = _output_length(num_frames, settings)
        if settings.edge_frames:
            count = settings.edge_frames * settings.subsampling
            features, num_frames = quiet_edges(features, num_frames, count)
        hidden = self.front_end(features, num_frames)
        valid = tf.sequence_mask(lengths, tf.shape(hidden)[1])[:, :, tf.newaxis]
        hidden = self.dropouts[0](hidden, training=training)
        chunked = self.chunks.draw(keras.random.uniform((3,), seed=self.chunk_seeds)) \
            if training and self.chunk_seeds is not None else None
        for i, lstm in enumerate(self.lstm_layers):
            hidden = self._run_layer(lstm, hidden, lengths, training, chunked)
            if self.norms:
                hidden = tf.where(valid, self.norms[i](hidden), 0.0)
            hidden = self.dropouts[i + 1](hidden, training=training)
            outputs.append(hidden)
        return outputs

    @staticmethod
    def _run_layer(lstm: BidirectionalLSTM, hidden: tf.Tensor, lengths: tf.Tensor, training: bool,
                   chunked: tuple[tf.Tensor, tf.Tensor, tf.Tensor] | None) -> tf.Tensor:
        """(B, T', 2 U) of a layer, its backward half in chunks if they were drawn."""
        outputs = lstm(hidden, lengths, training=training)
        if chunked is None:
            return outputs
        wanted, length, before = chunked

        def layer(inputs, num_frames):
            return lstm(inputs, num_frames, training=training)

        back = tf.cond(wanted, lambda: chunked_backward(layer, hidden, lengths, length, before),
                       lambda: outputs[:, :, lstm.units:])
        return tf.concat([outputs[:, :, :lstm.units], back], axis=2)

    def output_length(self, num_frames):
        """T' of T >= 1 input frames, as `asr.features.lengths`; a number, an array or a tensor."""
        return _output_length(num_frames, self.settings)

    def training_length(self, num_frames):
        """See `CTCModel.training_length`."""
        return _output_length(num_frames, self.training_settings)

    def objective(self, x, y) -> tuple[Any, Any, Any]:
        """See `CTCModel.objective`; with the loss of the middle layer."""
        hidden = self.hidden_layers(x, training=True)
        logits = self.output_layer(hidden[-1])
        losses = self.losses_of(x, y, logits, training=True)
        objective = per_label(losses, y)
        if self.intermediate_layer is not None:
            middle = self.intermediate_layer(hidden[(len(hidden) - 1) // 2])
            share = self.intermediate_ctc
            objective = ((1.0 - share) * objective
                         + share * per_label(self.losses_of(x, y, middle, training=True), y))
        return logits, losses, objective

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


def _output_length(num_frames, settings: ModelSettings):
    if isinstance(num_frames, tf.Tensor):
        return -(-num_frames // settings.subsampling) + 2 * settings.edge_frames
    return output_length(num_frames, settings)


def build_model(settings: ModelSettings, num_features: int, vocab_size: int, *,
                kernel: str = "auto", seed: int | None = None, intermediate_ctc: float = 0.0,
                chunks: Chunks | None = None) -> AcousticModel:
    """A built network with fresh weights; the arguments of `AcousticModel`.

    A seed also seeds Python, NumPy and TensorFlow, so that the initial weights are reproducible;
    without one no global state is touched.
    """
    if seed is not None:
        keras.utils.set_random_seed(seed)
    return AcousticModel(settings, num_features, vocab_size, kernel=kernel, seed=seed,
                         intermediate_ctc=intermediate_ctc, chunks=chunks)
