"""Check on a layer every condition for the fastest kernel.

In: a Keras layer of ours or a stock one, perhaps a mask. Out: which kernel it runs, and each
condition that keeps it from a faster one. Imports TensorFlow inside functions.

Keras takes cuDNN only if all conditions hold and otherwise runs a loop of small operations,
several times slower, without a word. Source: keras/src/layers/rnn/lstm.py and
keras/src/backend/tensorflow/rnn.py of Keras 3.15.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from asr.errors import UsageError


class Condition(NamedTuple):
    """One thing that a faster kernel needs."""

    name: str  # "activation", "gpu", ...
    blocks: str  # the kernel that it blocks: "cudnn" or "cpu"
    message: str  # what was found, what is needed


class Examination(NamedTuple):
    """What runs for one layer, and what prevents something faster."""

    layer: str
    kernel: str  # "cudnn", "cpu" or "generic"
    failed: tuple[Condition, ...]  # empty when the fastest kernel of all runs


def examine(layer: Any, mask: np.ndarray | None = None) -> Examination:
    """Which kernel a layer runs on this machine, and why not a faster one.

    Args:
        layer: a BidirectionalLSTM, or keras.layers.LSTM, Bidirectional, or RNN over an LSTMCell.
        mask: (B, T) booleans that the layer will be called with, if any.

    Raises:
        UsageError: the layer has no LSTM in it.
    """
    import keras

    from asr.network.layer import BidirectionalLSTM

    if isinstance(layer, BidirectionalLSTM):
        return _examine_ours(layer)
    directions = ([layer.forward_layer, layer.backward_layer]
                  if isinstance(layer, keras.layers.Bidirectional) else [layer])
    failed: list[Condition] = []
    for inner in directions:
        if isinstance(inner, keras.layers.LSTM):
            failed += _configuration(inner)
        elif isinstance(getattr(inner, "cell", None), keras.layers.LSTMCell):
            failed.append(Condition("layer", "cudnn", "the layer is RNN(LSTMCell); only "
                                    "keras.layers.LSTM reaches cuDNN"))
        else:
            raise UsageError(f"{layer!r} has no LSTM in it; expected a BidirectionalLSTM or a "
                             f"keras.layers.LSTM, Bidirectional or RNN.")
    failed = [*dict.fromkeys(failed), *_mask(mask), *_gpu()]
    return Examination(layer.name, "generic" if failed else "cudnn", tuple(failed))


def _examine_ours(layer) -> Examination:
    from asr.network.layer import compiled_kernel_problem, gpu_is_visible

    runs = layer.resolved_kernel
    failed = []
    if runs != "cudnn":
        failed += _gpu()
        if gpu_is_visible():
            failed.append(Condition("kernel", "cudnn", f'kernel="{layer.kernel}" was asked for; '
                                    'kernel="auto" takes the GPU'))
    if runs == "generic":
        problem = compiled_kernel_problem()
        if layer.kernel == "generic":
            failed.append(Condition("kernel", "cpu", 'kernel="generic" was asked for; '
                                    'kernel="auto" takes the compiled kernels'))
        elif layer.compute_dtype == "float64":
            failed.append(Condition("dtype", "cpu", "the layer computes in float64; the compiled "
                                    "kernels need float32"))
        elif problem is not None:
            failed.append(Condition("numba", "cpu", f"the kernels cannot be compiled: {problem}"))
    return Examination(layer.name, runs, tuple(failed))


def _configuration(layer) -> list[Condition]:
    """What the arguments of a keras.layers.LSTM say."""
    dtype = layer.compute_dtype
    wrong = {
        "use_cudnn": (layer.use_cudnn is False, "use_cudnn is False; it must be True or 'auto'"),
        "activation": (_name(layer.activation) != "tanh",
                       f"activation is {_name(layer.activation)}; it must be tanh"),
        "recurrent_activation": (_name(layer.recurrent_activation) != "sigmoid",
                                 f"recurrent_activation is {_name(layer.recurrent_activation)}; "
                                 "it must be sigmoid"),
        "recurrent_dropout": (layer.recurrent_dropout > 0, f"recurrent_dropout is "
                              f"{layer.recurrent_dropout}; it must be 0 (dropout may be used)"),
        "bias": (not layer.use_bias, "use_bias is False; it must be True"),
        "unroll": (layer.unroll, "unroll is True; it must be False"),
        "dtype": (dtype not in ("float16", "bfloat16", "float32", "float64"),
                  f"the layer computes in {dtype}; it must be a floating type"),
    }
    return [Condition(name, "cudnn", message) for name, (bad, message) in wrong.items() if bad]


def _mask(mask: np.ndarray | None) -> list[Condition]:
    if mask is None:
        return []
    mask = np.asarray(mask, bool)
    lengths = mask.sum(axis=1)
    padded = mask == (np.arange(mask.shape[1]) < lengths[:, None])
    rows = np.flatnonzero(~padded.all(axis=1))
    empty = np.flatnonzero(lengths == 0)
    found = []
    if len(rows):
        found.append(f"is not right-padded in row {rows[0]}: valid frames must come first")
    if len(empty):
        found.append(f"has no valid frame in row {empty[0]}")
    return [Condition("mask", "cudnn", "the mask " + " and ".join(found))] if found else []


def _gpu() -> list[Condition]:
    from asr.network.layer import gpu_is_visible

    if gpu_is_visible():
        return []
    return [Condition("gpu", "cudnn", "TensorFlow sees no GPU")]


def _name(activation: Any) -> str:
    return getattr(activation, "__name__", str(activation))
