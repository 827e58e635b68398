"""The network, and the way from samples to features, as plain TensorFlow operations.

In: a bundle and tensors. Out: tensors. No Keras layer and no code of ours is needed to run the
graph: it serves SavedModel and LiteRT. The numbers are those of `asr.network.engine` and
`asr.features`; lengths mask everything, so padding changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from asr.bundle import Bundle
from asr.errors import UsageError
from asr.export.spectrum import spectrum
from asr.features import LEVEL_FLOOR, VARIANCE_FLOOR
from asr.features.lengths import CONV_TIME_STRIDES
from asr.features.normalization import NEPERS_PER_DB, WEIGHT_RAMP_DB
from asr.features.twin import POWER_FLOOR
from asr.network.weights import LAYER_NORM_EPSILON
from asr.recipe import FeatureSettings

# x (B, T, D), lengths (B,), kernel, recurrent_kernel, bias, backward? -> (B, T, U)
Direction = Callable[..., tf.Tensor]


def network(bundle: Bundle, weights: Mapping, features: tf.Tensor, num_frames: tf.Tensor,
            direction: Direction, layers: dict[str, tf.Tensor] | None = None
            ) -> tuple[tf.Tensor, tf.Tensor]:
    """Normalised features to logits.

    Args:
        bundle: settings.
        weights: its weights, as arrays or as variables.
        features: (B, T, F) float32; what lies beyond a length is ignored.
        num_frames: (B,) int32.
        direction: computes one direction of an LSTM layer.
        layers: receives "front_end", "lstm_0", ..., (B, T', D) each.

    Returns:
        (B, T', V) float32, zero beyond each length, and (B,) int32.
    """
    settings = bundle.model
    edge = settings.edge_frames * settings.subsampling
    x = _masked(features, num_frames)
    if edge:
        inside = tf.sequence_mask(num_frames, tf.shape(x)[1])[..., tf.newaxis]
        quiet = tf.reduce_min(tf.where(inside, features, np.float32(3e38)), axis=1, keepdims=True)
        x = tf.pad(x, [[0, 0], [edge, edge], [0, 0]])
        at = tf.range(tf.shape(x)[1])[tf.newaxis, :, tf.newaxis]
        last = num_frames[:, tf.newaxis, tf.newaxis] + edge
        x = tf.where((at >= edge) & (at < last), x, tf.where(at < last + edge, quiet, 0.0))
        num_frames += 2 * edge
    if settings.front_end == "stack":
        step = settings.subsampling
        num_frames = (num_frames + step - 1) // step
        count = (tf.shape(x)[1] + step - 1) // step
        x = tf.pad(x, [[0, 0], [0, settings.stacking + step], [0, 0]])
        x = tf.concat([x[:, k:k + count * step:step] for k in range(settings.stacking)], axis=2)
    else:
        x = tf.expand_dims(x, -1)
        for index, stride in enumerate(CONV_TIME_STRIDES[settings.subsampling]):
            x = tf.nn.conv2d(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]),
                             weights[f"conv_{index}/kernel"], [1, stride, 2, 1], "VALID")
            num_frames = (num_frames + stride - 1) // stride
            x = _masked(tf.nn.relu(x + weights[f"conv_{index}/bias"]), num_frames)
        columns = (x.shape[2] or 0) * (x.shape[3] or 0)  # never None: only batch and time are
        x = tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1], columns])
    seen = {} if layers is None else layers
    seen["front_end"] = x
    for layer in range(settings.num_layers):
        x = tf.concat([direction(x, num_frames,
                                 *(weights[f"lstm_{layer}/{name}/{part}"]
                                   for part in ("kernel", "recurrent_kernel", "bias")),
                                 backward=name == "backward")
                       for name in ("forward", "backward")], axis=2)
        if settings.layer_norm:
            mean = tf.reduce_mean(x, axis=-1, keepdims=True)
            variance = tf.reduce_mean(tf.square(x - mean), axis=-1, keepdims=True)
            x = (x - mean) * tf.math.rsqrt(variance + LAYER_NORM_EPSILON) * \
                weights[f"norm_{layer}/gamma"] + weights[f"norm_{layer}/beta"]
        x = seen[f"lstm_{layer}"] = _masked(x, num_frames)
    size, inputs = tf.shape(x), x.shape[2]
    logits = tf.matmul(tf.reshape(x, [-1, inputs]), weights["output/kernel"])
    logits = tf.reshape(logits + weights["output/bias"], [size[0], size[1], bundle.
                                                          tokenizer.vocab_size])
    return _masked(logits, num_frames), num_frames


def fused_direction(x: tf.Tensor, lengths: tf.Tensor, kernel, recurrent_kernel, bias, *,
                    backward: bool) -> tf.Tensor:
    """One direction by TensorFlow's BlockLSTMV2, whose gates are in Keras's order."""
    units = recurrent_kernel.shape[0]
    if backward:
        x = tf.reverse_sequence(x, lengths, seq_axis=1)
    zeros = tf.zeros([tf.shape(x)[0], units])
    peephole = tf.zeros([units])
    _, _, _, _, _, _, hidden = tf.raw_ops.BlockLSTMV2(
        seq_len_max=tf.cast(tf.shape(x)[1], tf.int64), x=tf.transpose(x, [1, 0, 2]),
        cs_prev=zeros, h_prev=zeros, w=tf.concat([kernel, recurrent_kernel], 0),
        wci=peephole, wcf=peephole, wco=peephole, b=bias, cell_clip=0.0,
        use_peephole=False)
    y = _masked(tf.transpose(hidden, [1, 0, 2]), lengths)
    return tf.reverse_sequence(y, lengths, seq_axis=1) if backward else y


def loop_direction(x: tf.Tensor, lengths: tf.Tensor, kernel, recurrent_kernel, bias, *,
                   backward: bool) -> tf.Tensor:
    """One direction of one utterance as a loop of basic operations, which LiteRT has built in."""
    del lengths  # one utterance without padding
    units, row = recurrent_kernel.shape[0], x[0]
    count = tf.shape(row)[0]
    projected = tf.matmul(row, kernel) + bias
    if backward:
        projected = tf.reverse(projected, [0])

    def step(t, h, c, outputs):
        i, f, g, o = tf.split(tf.reshape(projected[t], [1, 4 * units])
                              + tf.matmul(h, recurrent_kernel), 4, axis=1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
        h = tf.sigmoid(o) * tf.tanh(c)
        return t + 1, h, c, outputs.write(t, h[0])

    start = tf.zeros([1, units])
    outputs = tf.TensorArray(tf.float32, size=count, element_shape=[units])
    y = tf.while_loop(lambda t, *_: t < count, step, [0, start, start, outputs])[3].stack()
    return (tf.reverse(y, [0]) if backward else y)[tf.newaxis]


def check_features(settings: FeatureSettings) -> None:
    """Before a graph is traced: TensorFlow would put its own error around ours.

    Raises:
        UsageError: a kind of features that the graph does not have.
    """
    if settings.deltas:
        raise UsageError("The graph from samples has no deltas: only the entry for features is "
                         "exported.")
    spectrum(settings)


def features_of_samples(bundle: Bundle, samples: tf.Tensor,
                        num_samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Samples (B, N) float32 and (B,) int32 -> normalised features (B, T, F) and num_frames.

    Raises:
        UsageError: a kind of features that the graph does not have.
    """
    s = bundle.features
    check_features(s)
    constants, odd = spectrum(s), s.n_fft % 2
    x = tf.where(tf.sequence_mask(num_samples, tf.shape(samples)[1]), samples, 0.0)
    count = 1 + (tf.shape(samples)[1] - odd) // s.hop_length
    num_frames = 1 + (num_samples - odd) // s.hop_length
    x = tf.pad(x, [[0, 0], [constants.before, s.win_length]])
    x = tf.signal.frame(x, s.win_length, s.hop_length)[:, :count]
    x = tf.cast(x, tf.float64)  # as the power of a quiet band beside a loud one needs
    power = sum(tf.square(tf.matmul(x, wave)) for wave in constants.waves)
    energy = tf.matmul(tf.cast(power, tf.float32), constants.filters.T.copy())
    x = tf.cast(tf.math.log(tf.maximum(energy, POWER_FLOOR)), tf.float64)
    if constants.cosines is not None:
        x = tf.matmul(x, constants.cosines)
    return tf.cast(_normalized(bundle, x, num_frames), tf.float32), num_frames


def _normalized(bundle: Bundle, x: tf.Tensor, num_frames: tf.Tensor) -> tf.Tensor:
    """As `asr.features.normalize_features`, each utterance by its own frames; float64."""
    s = bundle.features
    if s.cmvn == "none":
        return x
    statistics = [np.asarray(a, np.float64) for a in bundle.cmvn or ()]
    if s.cmvn == "global":
        return (x - statistics[0]) / np.maximum(statistics[1], np.sqrt(VARIANCE_FLOOR))
    inside = tf.sequence_mask(num_frames, tf.shape(x)[1])[..., tf.newaxis]
    count = tf.cast(num_frames, tf.float64)[:, tf.newaxis, tf.newaxis]

    def total(values):
        return tf.reduce_sum(tf.where(inside, values, tf.zeros([], tf.float64)), axis=1,
                             keepdims=True)

    weights = tf.ones([], tf.float64)

    def mean(values):
        return total(weights * values) / count

    peak = tf.reduce_max(tf.where(inside, x, tf.constant(-1e300, tf.float64)), axis=[1, 2],
                         keepdims=True)
    if s.cmvn_range_db:
        power = tf.reduce_mean(tf.exp(x - peak), axis=2, keepdims=True)
        above = (tf.math.log(power) - tf.math.log(mean(power))) / NEPERS_PER_DB + s.cmvn_range_db
        loud = tf.clip_by_value(above / WEIGHT_RAMP_DB, 0.0, 1.0)
        quiet = 1.0 - loud
        # The tensor first: a graph takes the type of a call from its first argument.
        weights = loud + quiet * tf.minimum(total(loud) / tf.maximum(total(quiet), 1e-9), 1.0)
        count = total(weights)
    if s.cmvn == "map":
        power = tf.reduce_mean(mean(tf.exp(x - peak)), axis=2, keepdims=True)
        x = tf.maximum(x - peak - tf.math.log(power), LEVEL_FLOOR)
    centre = own_mean = mean(x)
    variance = mean(tf.square(x - own_mean))
    if s.cmvn == "map":
        share = count / (count + s.cmvn_prior)
        centre = share * own_mean + (1 - share) * statistics[0]
        variance = share * (variance + tf.square(own_mean - centre)) + \
            (1 - share) * statistics[1] ** 2
    return (x - centre) / tf.sqrt(tf.maximum(variance, VARIANCE_FLOOR))


def _masked(x: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """(B, T, ...) with zeros beyond each length: not a product, for NaN times 0 is NaN."""
    inside = tf.sequence_mask(lengths, tf.shape(x)[1])
    return tf.where(tf.reshape(inside, [*tf.unstack(tf.shape(inside)), *[1] * (len(x.shape) - 2)]),
                    x, tf.zeros([], x.dtype))
