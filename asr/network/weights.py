"""The tensors of a network: the names and shapes that settings imply; safetensors, checked.

In: `FeatureSettings`, `ModelSettings`, bytes. Out: shapes, arrays. NumPy, safetensors.
The single source of names and shapes for the model builder, both engines and the bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from asr.errors import BundleError
from asr.recipe import FeatureSettings, ModelSettings

LAYER_NORM_EPSILON = 1e-3  # the default of Keras's LayerNormalization

CONV_MEL_STRIDE = 2  # of both convolutions of the "conv" front end


def num_features(settings: FeatureSettings) -> int:
    """F, the numbers per feature frame."""
    return settings.num_features


def lstm_inputs(settings: ModelSettings, num_features: int) -> int:
    """Inputs per frame of the first LSTM layer."""
    if settings.front_end == "conv":
        mels = _ceil_div(_ceil_div(num_features, CONV_MEL_STRIDE), CONV_MEL_STRIDE)
        return mels * settings.conv_channels
    return settings.stacking * num_features


def weight_shapes(settings: ModelSettings, num_features: int,
                  vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor of the network, from input to output.

    Args:
        settings: the network.
        num_features: F.
        vocab_size: V, the blank included.

    Returns:
        conv_{0,1}/{kernel,bias}; lstm_{i}/{forward,backward}/{kernel,recurrent_kernel,bias} in
        Keras's layout and gate order i, f, c, o; norm_{i}/{gamma,beta}; output/{kernel,bias}.

    Example:
        >>> weight_shapes(ModelSettings(num_layers=1, units=8), 80, 28)["lstm_0/forward/kernel"]
        (240, 32)
    """
    shapes: dict[str, tuple[int, ...]] = {}
    if settings.front_end == "conv":
        channels = settings.conv_channels
        for index, inputs in enumerate((1, channels)):
            shapes[f"conv_{index}/kernel"] = (3, 3, inputs, channels)
            shapes[f"conv_{index}/bias"] = (channels,)
    inputs, units = lstm_inputs(settings, num_features), settings.units
    for layer in range(settings.num_layers):
        for direction in ("forward", "backward"):
            name = f"lstm_{layer}/{direction}"
            shapes[f"{name}/kernel"] = (inputs, 4 * units)
            shapes[f"{name}/recurrent_kernel"] = (units, 4 * units)
            shapes[f"{name}/bias"] = (4 * units,)
        inputs = 2 * units
        if settings.layer_norm:
            shapes[f"norm_{layer}/gamma"] = (inputs,)
            shapes[f"norm_{layer}/beta"] = (inputs,)
    shapes["output/kernel"] = (inputs, vocab_size)
    shapes["output/bias"] = (vocab_size,)
    return shapes


def network_name(build: Callable | None) -> str:
    """What a bundle calls the function of a user's own network; "" for None."""
    return str(getattr(build, "__name__", type(build).__name__))[:200] if build else ""


def read_tensors(data: bytes, where: str, integers: Collection[str] = ()
                 ) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file in memory: float32, but int8 for the names in `integers`.

    Raises:
        BundleError: the bytes are not such a file; `where` opens the message.
    """
    from safetensors import SafetensorError, deserialize

    try:
        entries = deserialize(data)
    except (SafetensorError, ValueError, OverflowError) as error:
        raise BundleError(f"{where} is not a safetensors file ({error}).",
                          code="bundle.weights") from error
    tensors = {}
    for name, entry in entries:
        kind, numbers = ("I8", "i1") if name in integers else ("F32", "<f4")
        if entry["dtype"] != kind:
            raise BundleError(f"{where}: tensor {name[:80]} is {entry['dtype']}, must be {kind}.",
                              code="bundle.weights")
        tensors[name] = np.frombuffer(entry["data"], numbers).reshape(entry["shape"])
    return tensors


def check_tensors(tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]],
                  where: str) -> None:
    """Exactly these names, exactly these shapes, every number finite.

    Raises:
        BundleError: naming the first tensor that is not as it must be.
    """
    odd = sorted(set(tensors) ^ set(shapes))
    if odd:
        raise BundleError(f"{where}: tensors missing or not expected: "
                          f"{', '.join(name[:80] for name in odd[:5])}"
                          f"{' ...' if len(odd) > 5 else ''}.", code="bundle.weights")
    for name, shape in shapes.items():
        if tensors[name].shape != shape:
            raise BundleError(f"{where}: {name} has shape {tensors[name].shape}, the settings "
                              f"mean {shape}.", code="bundle.weights")
        if not np.isfinite(tensors[name]).all():
            raise BundleError(f"{where}: {name} holds NaN or infinite numbers.",
                              code="bundle.weights")


def _ceil_div(value: int, divisor: int) -> int:
    return -(-value // divisor)
