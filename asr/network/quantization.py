"""Weights of 8 bits: one scale for each output of a matrix.

In: float32 weights. Out: integers from -127 to 127 and scales, and back. NumPy only.
`asr.kernels.int8` computes LSTM layers with them; everything else takes `dequantized`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from asr.errors import BundleError

logger = logging.getLogger(__name__)

LARGEST = 127
KIND = "int8"  # as a bundle names it
SCALE = ".scale"  # behind the name of the tensor that it belongs to


class Quantized(NamedTuple):
    """A matrix as integers: w = values * scale."""

    values: np.ndarray  # (..., N) int8, from -127 to 127
    scale: np.ndarray  # (N,) float32, not negative

    @property
    def dequantized(self) -> np.ndarray:
        """(..., N) float32."""
        return self.values * self.scale


def quantized_names(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """The tensors that are stored as integers: all matrices and convolutions, no bias or norm."""
    return [name for name, shape in shapes.items() if len(shape) > 1]


def quantize(weights: Mapping[str, np.ndarray]) -> dict[str, Quantized]:
    """The matrices among the weights as integers; each column by its largest magnitude.

    Example:
        >>> one = quantize({"kernel": np.array([[0.5, 0.0], [-1.0, 0.0]], np.float32)})["kernel"]
        >>> one.values.tolist(), one.scale.tolist()[1]
        ([[64, 0], [-127, 0]], 0.0)
    """
    result = {}
    for name in quantized_names({name: array.shape for name, array in weights.items()}):
        array = np.asarray(weights[name], np.float32)
        most = np.abs(array).max(axis=tuple(range(array.ndim - 1)))
        scale = (most / LARGEST).astype(np.float32)
        safe = np.where(scale > 0, scale, np.float32(1))
        values = np.clip(np.rint(array / safe), -LARGEST, LARGEST).astype(np.int8)
        result[name] = Quantized(values, np.where(scale > 0, scale, 0).astype(np.float32))
    return result


def check_quantized(quantized: Mapping[str, Quantized], shapes: Mapping[str, tuple[int, ...]],
                    where: str) -> None:
    """Exactly the matrices of `shapes`, in range, with finite scales.

    Raises:
        BundleError: naming the first tensor that is not as it must be.
    """
    if set(quantized) != set(quantized_names(shapes)):
        odd = sorted(set(quantized) ^ set(quantized_names(shapes)))
        raise BundleError(f"{where}: integer tensors missing or not expected: "
                          f"{', '.join(name[:80] for name in odd[:5])}.", code="bundle.weights")
    for name, (values, scale) in quantized.items():
        if values.dtype != np.int8 or values.shape != shapes[name] \
                or scale.shape != shapes[name][-1:] or not np.isfinite(scale).all() \
                or scale.min() < 0 or values.min() < -LARGEST:
            raise BundleError(f"{where}: {name} must be int8 of shape {shapes[name]}, from "
                              f"-{LARGEST} to {LARGEST}, with {shapes[name][-1]} scales that are "
                              "finite and not negative.", code="bundle.weights")


def say_dequantized(use: str) -> None:
    """Log that float32 is computed where the weights have 8 bits."""
    logger.warning("The weights of this model have 8 bits: %s them as float32. Only the engine "
                   "numpy computes with integers.", use)
