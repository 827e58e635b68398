"""The network, and the way from samples to features, as an ONNX graph.

In: the settings, weights and statistics of a bundle. Out: an `onnx.ModelProto` of standard
operators, opset 17. Each bidirectional layer is ONNX's own LSTM operator with `sequence_lens`, so
padding cannot change a result. Batch and time are dynamic.

Two entries, one file each:

    features: features (B, T, F) float32 normalised, num_frames (B,) int32
    samples:  samples (B, N) float32 in [-1, 1] at the sample rate, num_samples (B,) int32
    both give logits (B, T', V) float32, zero beyond each length, and num_logits (B,) int32
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from asr.bundle import Bundle
from asr.export.spectrum import spectrum
from asr.features import DELTA_WIDTH, LEVEL_FLOOR, VARIANCE_FLOOR
from asr.features.lengths import CONV_TIME_STRIDES
from asr.features.normalization import NEPERS_PER_DB, WEIGHT_RAMP_DB
from asr.features.twin import POWER_FLOOR, delta_kernels
from asr.network.weights import LAYER_NORM_EPSILON

OPSET = 17  # LayerNormalization is from 17; every runtime since 2022 has it
IR_VERSION = 8  # of the same release
FAR = np.float32(3e38)  # larger than any feature
GATES = (0, 3, 1, 2)  # Keras has i, f, c, o side by side; ONNX wants i, o, f, c


class Nodes:
    """Collects nodes and constants; `nodes(op, inputs...)` returns the name of the result."""

    def __init__(self):
        self.nodes: list = []
        self.constants: dict[str, np.ndarray] = {}
        self._count = 0

    def constant(self, value, dtype: Any = np.int64, name: str = "") -> str:
        """The name of a constant tensor."""
        array = np.asarray(value, dtype)
        if not name:
            name = f"c{self._new()}"
        self.constants[name] = array
        return name

    def __call__(self, op: str, *inputs: str, name: str = "", **attributes) -> str:
        """Add a node with one result."""
        from onnx import helper

        name = name or f"{op}_{self._new()}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=name, **attributes))
        return name

    def _new(self) -> int:
        self._count += 1
        return self._count

    def cast(self, x: str, dtype) -> str:
        """The same numbers as another type."""
        from onnx import helper

        return self("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def size(self, x: str, axis: int) -> str:
        """(1,) int64: the extent of an axis."""
        return self("Slice", self("Shape", x), self.constant([axis]), self.constant([axis + 1]))

    def add(self, x: str, number: int) -> str:
        """An int64 tensor plus a constant."""
        return self("Add", x, self.constant([number]))

    def ceil_div(self, x: str, divisor: int) -> str:
        """An int64 tensor over a constant, rounded up."""
        return x if divisor == 1 else self("Div", self.add(x, divisor - 1),
                                           self.constant([divisor]))

    def positions(self, count: str) -> str:
        """(1,) count -> (count,) int64: 0, 1, ..."""
        scalar = self("Squeeze", count, self.constant([0]))
        return self("Range", self.constant(0), scalar, self.constant(1))

    def mask(self, count: str, lengths: str, axes: tuple[int, ...] = ()) -> str:
        """(B, count) bool, true before each length; `axes` inserts axes of one behind."""
        inside = self("Less", self("Unsqueeze", self.positions(count), self.constant([0])),
                      self("Unsqueeze", lengths, self.constant([1])))
        return self("Unsqueeze", inside, self.constant(list(axes))) if axes else inside

    def keep(self, x: str, mask: str, other: Any = 0.0, dtype: Any = np.float32) -> str:
        """The tensor where the mask is true, `other` elsewhere; NaN times 0 is NaN."""
        return self("Where", mask, x, self.constant(other, dtype))

    def pad(self, x: str, before: tuple[int, ...], behind: tuple[int, ...]) -> str:
        """Zeros before and behind, a count for each axis."""
        return self("Pad", x, self.constant([*before, *behind]))


def network(nodes: Nodes, bundle: Bundle, features: str, num_frames: str) -> dict[str, str]:
    """Normalised features and their lengths (int64) -> the network's results.

    Returns:
        Names of "front_end", "lstm_0", ... (B, T', D), "logits" (B, T', V) and "num_logits".
    """
    settings, weights = bundle.model, bundle.weights
    frames = nodes.size(features, 1)
    edge = settings.edge_frames * settings.subsampling
    inside = nodes.mask(frames, num_frames, (2,))
    x = nodes.keep(features, inside)
    if edge:
        quiet = nodes("ReduceMin", nodes.keep(features, inside, FAR), axes=[1], keepdims=1)
        padded = nodes.pad(x, (0, edge, 0), (0, edge, 0))
        frames, num_frames = nodes.add(frames, 2 * edge), nodes.add(num_frames, 2 * edge)
        spoken = nodes.mask(frames, nodes.add(num_frames, -edge), (2,))
        first = nodes("Reshape", nodes("Less", nodes.positions(frames), nodes.constant([edge])),
                      nodes.constant([1, -1, 1]))
        own = nodes("And", spoken, nodes("Not", first))
        x = nodes.keep(nodes("Where", own, padded, quiet), nodes.mask(frames, num_frames, (2,)))
    if settings.front_end == "stack":
        x, lengths = _stack(nodes, x, frames, num_frames, settings.stacking, settings.subsampling)
    else:
        x, lengths = _convolve(nodes, x, frames, num_frames, settings.subsampling, weights)
    results = {"front_end": x}
    lengths32 = nodes.cast(lengths, np.int32)
    mask = nodes.mask(nodes.size(x, 1), lengths, (2,))
    for layer in range(settings.num_layers):
        x = _lstm(nodes, x, lengths32, weights, layer)
        if settings.layer_norm:
            x = nodes("LayerNormalization", x,
                      nodes.constant(weights[f"norm_{layer}/gamma"], np.float32),
                      nodes.constant(weights[f"norm_{layer}/beta"], np.float32),
                      axis=-1, epsilon=LAYER_NORM_EPSILON)
            x = nodes.keep(x, mask)
        results[f"lstm_{layer}"] = x
    x = nodes("MatMul", x, nodes.constant(weights["output/kernel"], np.float32, "output/kernel"))
    x = nodes("Add", x, nodes.constant(weights["output/bias"], np.float32, "output/bias"))
    return results | {"logits": nodes.keep(x, mask), "num_logits": lengths32}


def _stack(nodes: Nodes, x: str, frames: str, num_frames: str, stacking: int,
           subsampling: int) -> tuple[str, str]:
    """As `asr.network.numpy_layers.stack_frames`; x is zero beyond each length."""
    last = nodes("Mul", nodes.ceil_div(frames, subsampling), nodes.constant([subsampling]))
    padded = nodes.pad(x, (0, 0, 0), (0, stacking + subsampling, 0))
    parts = [nodes("Slice", padded, nodes.constant([k]), nodes.add(last, k), nodes.constant([1]),
                   nodes.constant([subsampling])) for k in range(stacking)]
    return nodes("Concat", *parts, axis=2), nodes.ceil_div(num_frames, subsampling)


def _convolve(nodes: Nodes, x: str, frames: str, num_frames: str, subsampling: int,
              weights: Mapping[str, np.ndarray]) -> tuple[str, str]:
    """Both convolutions, as `numpy_layers.conv_relu`: (B, T, F) -> (B, T', mels x channels).

    What lies beyond a length is zero before each: a neighbour's length changes nothing.
    """
    x = nodes("Unsqueeze", x, nodes.constant([1]))
    for index, stride in enumerate(CONV_TIME_STRIDES[subsampling]):
        kernel = weights[f"conv_{index}/kernel"].transpose(3, 2, 0, 1)
        x = nodes("Relu", nodes(
            "Conv", x, nodes.constant(kernel, np.float32, f"conv_{index}/kernel"),
            nodes.constant(weights[f"conv_{index}/bias"], np.float32),
            strides=[stride, 2], pads=[1, 1, 1, 1]))
        frames, num_frames = nodes.ceil_div(frames, stride), nodes.ceil_div(num_frames, stride)
        inside = nodes.mask(frames, num_frames)
        x = nodes.keep(x, nodes("Unsqueeze", inside, nodes.constant([1, 3])))
    x = nodes("Transpose", x, perm=[0, 2, 3, 1])
    shape = nodes("Concat", nodes.constant([0, 0]), nodes.constant([-1]), axis=0)
    return nodes("Reshape", x, shape), num_frames


def _lstm(nodes: Nodes, x: str, lengths: str, weights: Mapping[str, np.ndarray],
          layer: int) -> str:
    """One bidirectional layer: (B, T, D) -> (B, T, 2U), zero beyond each length."""
    parts: dict[str, list[np.ndarray]] = {"kernel": [], "recurrent_kernel": [], "bias": []}
    for direction in ("forward", "backward"):
        for part, arrays in parts.items():
            array = weights[f"lstm_{layer}/{direction}/{part}"]
            gates = np.split(array, 4, axis=-1)
            arrays.append(np.concatenate([gates[g] for g in GATES], axis=-1).T)
    units = weights[f"lstm_{layer}/forward/recurrent_kernel"].shape[0]
    bias = np.stack(parts["bias"])
    name = f"lstm_{layer}"
    y = nodes("LSTM", nodes("Transpose", x, perm=[1, 0, 2]),
              nodes.constant(np.stack(parts["kernel"]), np.float32, f"{name}/kernel"),
              nodes.constant(np.stack(parts["recurrent_kernel"]), np.float32,
                             f"{name}/recurrent_kernel"),
              nodes.constant(np.concatenate([bias, np.zeros_like(bias)], axis=1), np.float32,
                             f"{name}/bias"),
              lengths, direction="bidirectional", hidden_size=units)
    y = nodes("Transpose", y, perm=[2, 0, 1, 3])  # (T, 2, B, U) -> (B, T, 2, U)
    return nodes("Reshape", y, nodes.constant([0, 0, 2 * units]))


def features_of_samples(nodes: Nodes, bundle: Bundle, samples: str,
                        num_samples: str) -> tuple[str, str]:
    """Samples (B, N) and lengths (int64) -> normalised features (B, T, F) and num_frames.

    The spectrum is a product with windowed cosines and sines in float64, as the power of a quiet
    band beside a loud one needs; everything behind it is float32, as in `asr.features`.

    Raises:
        UsageError: a kind of features that the graph does not have.
    """
    s = bundle.features
    constants, odd = spectrum(s), s.n_fft % 2
    length = nodes.size(samples, 1)
    x = nodes.keep(samples, nodes.mask(length, num_samples))
    x = nodes.pad(x, (0, constants.before), (0, s.win_length))
    hop = nodes.constant([s.hop_length])
    frames = nodes.add(nodes("Div", nodes.add(length, -odd), hop), 1)
    num_frames = nodes.add(nodes("Div", nodes.add(num_samples, -odd), hop), 1)
    starts = nodes("Unsqueeze", nodes("Mul", nodes.positions(frames), hop), nodes.constant([1]))
    index = nodes("Add", starts, nodes.constant(np.arange(s.win_length)[np.newaxis]))
    windows = nodes.cast(nodes("Gather", x, index, axis=1), np.float64)  # (B, T, win)
    parts = [nodes("MatMul", windows, nodes.constant(wave, np.float64))
             for wave in constants.waves]
    power = nodes.cast(nodes("Add", *(nodes("Mul", part, part) for part in parts)), np.float32)
    energy = nodes("MatMul", power, nodes.constant(constants.filters.T, np.float32))
    x = nodes("Log", nodes("Max", energy, nodes.constant(POWER_FLOOR, np.float32)))
    if constants.cosines is not None:
        x = nodes("MatMul", x, nodes.constant(constants.cosines, np.float32))
    if s.deltas:
        x = _deltas(nodes, x, frames, num_frames, s.deltas)
    inside = nodes.mask(frames, num_frames, (2,))
    return nodes.cast(_normalize(nodes, bundle, x, num_frames, inside), np.float32), num_frames


def _deltas(nodes: Nodes, x: str, frames: str, num_frames: str, order: int) -> str:
    """As `asr.features.twin.add_deltas`: frame t reads t - 4 .. t + 4, clipped to its utterance."""
    kernels = delta_kernels(order)
    last = nodes("Unsqueeze", nodes.add(num_frames, -1), nodes.constant([1]))
    shape = nodes("Shape", x)
    slopes: list[str] = ["", ""][:order]
    for k in range(DELTA_WIDTH):
        offset = k - DELTA_WIDTH // 2
        at = nodes("Unsqueeze", nodes.add(nodes.positions(frames), offset),
                   nodes.constant([0]))
        at = nodes("Max", nodes("Min", at, last), nodes.constant([0]))
        at = nodes("Expand", nodes("Unsqueeze", at, nodes.constant([2])), shape)
        neighbour = nodes("GatherElements", x, at, axis=1)
        for index, kernel in enumerate(kernels):
            term = nodes("Mul", neighbour, nodes.constant(kernel[k], np.float32))
            slopes[index] = nodes("Add", slopes[index], term) if k else term
    return nodes("Concat", x, *slopes, axis=2)


def _normalize(nodes: Nodes, bundle: Bundle, x: str, num_frames: str, inside: str) -> str:
    """As `asr.features.normalize_features`, each utterance by its own frames; float64."""
    s, double = bundle.features, np.float64
    if s.cmvn == "none":
        return x
    x = nodes.cast(x, double)
    statistics = [np.asarray(a, double) for a in bundle.cmvn or ()]
    if s.cmvn == "global":
        scale = 1.0 / np.maximum(statistics[1], np.sqrt(VARIANCE_FLOOR))
        centred = nodes("Sub", x, nodes.constant(statistics[0], double))
        return nodes("Mul", centred, nodes.constant(scale, double))
    count = nodes.cast(nodes("Unsqueeze", num_frames, nodes.constant([1, 2])), double)

    def total(values: str) -> str:
        return nodes("ReduceSum", nodes.keep(values, inside, 0.0, double), nodes.constant([1]),
                     keepdims=1)

    weights = ""

    def mean(values: str) -> str:
        return nodes("Div", total(nodes("Mul", values, weights) if weights else values), count)

    if s.cmvn == "map" or s.cmvn_range_db:
        peak = nodes("ReduceMax", nodes.keep(x, inside, -1e300, double), axes=[1, 2], keepdims=1)
        powers = nodes("Exp", nodes("Sub", x, peak))
    if s.cmvn_range_db:
        power = nodes("ReduceMean", powers, axes=[2], keepdims=1)
        above = nodes("Sub", nodes("Log", power), nodes("Log", mean(power)))
        ramp = nodes("Mul", above, nodes.constant(1 / (NEPERS_PER_DB * WEIGHT_RAMP_DB), double))
        ramp = nodes("Add", ramp, nodes.constant(s.cmvn_range_db / WEIGHT_RAMP_DB, double))
        all_of_it, nothing = nodes.constant(1.0, double), nodes.constant(0.0, double)
        loud = nodes("Max", nodes("Min", ramp, all_of_it), nothing)
        quiet = nodes("Sub", all_of_it, loud)
        share = nodes("Div", total(loud), nodes("Max", total(quiet), nodes.constant(1e-9, double)))
        weights = nodes("Add", loud, nodes("Mul", quiet, nodes("Min", share, all_of_it)))
        count = total(weights)
    if s.cmvn == "map":
        mean_power = nodes("ReduceMean", mean(powers), axes=[2], keepdims=1)
        x = nodes("Sub", nodes("Sub", x, peak), nodes("Log", mean_power))
        x = nodes("Max", x, nodes.constant(LEVEL_FLOOR, double))
    own_mean = mean(x)
    off = nodes("Sub", x, own_mean)
    variance = mean(nodes("Mul", off, off))
    centre = own_mean
    if s.cmvn == "map":
        share = nodes("Div", count, nodes("Add", count, nodes.constant(s.cmvn_prior, double)))
        rest = nodes("Sub", nodes.constant(1.0, double), share)
        centre = nodes("Add", nodes("Mul", share, own_mean),
                       nodes("Mul", rest, nodes.constant(statistics[0], double)))
        shift = nodes("Sub", own_mean, centre)
        around = nodes("Add", variance, nodes("Mul", shift, shift))
        variance = nodes("Add", nodes("Mul", share, around),
                         nodes("Mul", rest, nodes.constant(statistics[1] ** 2, double)))
    spread = nodes("Sqrt", nodes("Max", variance, nodes.constant(VARIANCE_FLOOR, double)))
    return nodes("Div", nodes("Sub", x, centre), spread)


def build_graph(bundle: Bundle, entry: str, metadata: Mapping[str, str], *,
                layers: bool = False):
    """An `onnx.ModelProto` of one entry.

    Args:
        bundle: the trained model.
        entry: "features" or "samples".
        metadata: text by name, kept in the file.
        layers: also give the results of the front end and of every LSTM layer.

    Raises:
        UsageError: features that the entry for samples does not have.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes = Nodes()
    float_, int_ = TensorProto.FLOAT, TensorProto.INT32
    if entry == "samples":
        inputs = [helper.make_tensor_value_info("samples", float_, ["batch", "samples"]),
                  helper.make_tensor_value_info("num_samples", int_, ["batch"])]
        features, num_frames = features_of_samples(nodes, bundle, "samples",
                                                   nodes.cast("num_samples", np.int64))
    else:
        inputs = [helper.make_tensor_value_info("features", float_,
                                                ["batch", "frames", bundle.num_features]),
                  helper.make_tensor_value_info("num_frames", int_, ["batch"])]
        features, num_frames = "features", nodes.cast("num_frames", np.int64)
    results = network(nodes, bundle, features, num_frames)
    shown = [name for name in results if layers or name in ("logits", "num_logits")]
    for name in shown:
        nodes("Identity", results[name], name=f"{name}_value" if name == results[name] else name)
    outputs = [helper.make_tensor_value_info(name, int_, ["batch"]) if name == "num_logits" else
               helper.make_tensor_value_info(name, float_, ["batch", "output_frames", bundle.
                                             tokenizer.vocab_size if name == "logits" else None])
               for name in shown]
    graph = helper.make_graph(
        nodes.nodes, f"keras-asr {entry} to logits", inputs, outputs,
        [numpy_helper.from_array(np.ascontiguousarray(array), name)
         for name, array in nodes.constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)],
                              ir_version=IR_VERSION, producer_name="keras-asr")
    helper.set_model_props(model, dict(metadata))
    checker.check_model(model, full_check=True)
    return model
