"""The Keras layer: one weight set, three kernels (cuDNN, compiled CPU, generic loop).

In: (B, T, F) right-padded with (B,) lengths. Out: (B, T, 2 * units), zero beyond each length.
Imports TensorFlow.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import keras
import tensorflow as tf

from asr.errors import UsageError

logger = logging.getLogger(__name__)

KERNELS = ("auto", "cudnn", "cpu", "generic")
_PORTABLE: ContextVar[bool] = ContextVar("portable", default=False)


@contextmanager
def portable_graph() -> Iterator[None]:
    """What is traced inside holds TensorFlow's own operations for a CPU or a GPU, nothing of ours.

    The compiled kernels call Python and cuDNN needs a GPU: neither runs from a file elsewhere.
    """
    token = _PORTABLE.set(True)
    try:
        yield
    finally:
        _PORTABLE.reset(token)


@keras.saving.register_keras_serializable(package="asr")
class BidirectionalLSTM(keras.layers.Layer):
    """A forward and a backward LSTM over right-padded sequences, concatenated.

    The backward direction reverses each sequence by its own length, so padding never reaches a
    valid frame. No Keras mask travels anywhere: lengths are an argument.

    The two directions are plain `keras.layers.LSTM` objects; their weights are Keras's own
    (kernel (F, 4U), recurrent_kernel (U, 4U), bias (4U,); gate order i, f, c, o; forget bias 1)
    whichever kernel runs, so weights move freely between machines.

    Args:
        units: U, width of one direction; at least 1.
        kernel: "cudnn" needs a visible GPU and fails without one instead of falling back;
            "cpu" are the compiled kernels of asr.kernels.cpu; "generic" is Keras's loop of small
            operations; "auto" takes cudnn with a GPU, else cpu, else generic, and logs why.

    Raises:
        UsageError: units or kernel out of range; a kernel was asked for that cannot run here.

    Example:
        >>> layer = BidirectionalLSTM(4, kernel="generic")
        >>> layer(tf.zeros((2, 5, 3)), tf.constant([5, 2])).shape
        TensorShape([2, 5, 8])

    Reference: Hochreiter and Schmidhuber 1997, Neural Computation 9(8); Gers et al. 2000 (forget
    gate); Schuster and Paliwal 1997 (both directions).
    """

    def __init__(self, units: int, kernel: str = "auto", **kwargs):
        super().__init__(**kwargs)
        if isinstance(units, bool) or not isinstance(units, int) or units < 1:
            raise UsageError(f"BidirectionalLSTM: units is {units!r}, expected an integer >= 1.")
        if kernel not in KERNELS:
            raise UsageError(f"BidirectionalLSTM: kernel is {kernel!r}, expected one of "
                             f"{', '.join(KERNELS)}.")
        self.units = units
        self.kernel = kernel
        self.resolved_kernel, self.kernel_reason = resolve_kernel(kernel, self.compute_dtype)
        # Keras asks on a machine with a GPU, also a hidden one, whether XLA may have the model.
        self.supports_jit = self.resolved_kernel == "generic"
        self.forward = self._direction("forward")
        self.backward = self._direction("backward")

    def _direction(self, name: str) -> keras.layers.LSTM:
        return keras.layers.LSTM(self.units, return_sequences=True, name=name,
                                 dtype=self.dtype_policy,
                                 # Keras's stub knows "auto" only, its code takes booleans
                                 use_cudnn=self.resolved_kernel == "cudnn"  # type: ignore
                                 )

    def build(self, inputs_shape, num_frames_shape=None) -> None:
        """Create the weights of both directions for inputs (B, T, F)."""
        for direction in (self.forward, self.backward):
            if not direction.built:
                direction.build(inputs_shape)
        self.built = True

    def call(self, inputs, num_frames, training: bool = False):
        """Run both directions.

        Args:
            inputs: (B, T, F) float, right-padded; values in the padding do not matter
                as long as it is finite.
            num_frames: (B,) integers, 1 <= num_frames <= T.
            training: unused by the arithmetic; accepted for Keras.

        Returns:
            (B, T, 2 * units): forward outputs then backward outputs, zero beyond num_frames.
        """
        num_frames = tf.cast(num_frames, tf.int32)
        portable = _PORTABLE.get()
        if self.resolved_kernel == "cpu" and not portable:
            from asr.network.op import bidirectional_lstm

            weights = [tf.cast(weight, tf.float32) for weight in self.named_weights().values()]
            outputs = bidirectional_lstm(tf.cast(inputs, tf.float32), num_frames, *weights,
                                         keep=training is not False)
            return tf.cast(outputs, self.compute_dtype)
        mask = tf.sequence_mask(num_frames, tf.shape(inputs)[1])
        mask.set_shape((None, inputs.shape[1]))
        for direction in (self.forward, self.backward):  # Keras reads it when it is called
            direction.use_cudnn = self.resolved_kernel == "cudnn" and not portable  # type: ignore
        ahead = self.forward(inputs, mask=mask)
        back = self.backward(tf.reverse_sequence(inputs, num_frames, seq_axis=1), mask=mask)
        back = tf.reverse_sequence(back, num_frames, seq_axis=1)
        both = tf.concat([ahead, back], axis=-1)
        return tf.where(mask[:, :, None], both, tf.zeros_like(both))

    def compute_output_shape(self, inputs_shape, num_frames_shape=None):
        """(B, T, F) becomes (B, T, 2 * units)."""
        return (*inputs_shape[:-1], 2 * self.units)

    def named_weights(self) -> dict[str, keras.Variable]:
        """The six variables by name: "forward/kernel" (F, 4U), "forward/recurrent_kernel" ..."""
        return {f"{name}/{part}": getattr(direction.cell, part)
                for name, direction in (("forward", self.forward), ("backward", self.backward))
                for part in ("kernel", "recurrent_kernel", "bias")}

    def get_config(self) -> dict:
        """Units and the kernel that was asked for, not the one that ran here."""
        return {**super().get_config(), "units": self.units, "kernel": self.kernel}


def resolve_kernel(kernel: str, dtype: str = "float32") -> tuple[str, str]:
    """Which kernel runs on this machine, and why.

    Args:
        kernel: one of KERNELS.
        dtype: the layer's compute type; float64 is more than the compiled kernels offer.

    Returns:
        ("cudnn" | "cpu" | "generic", one sentence of reason).

    Raises:
        UsageError: an explicit "cudnn" without a visible GPU, or an explicit "cpu" where the
            compiled kernels cannot run.
    """
    if kernel == "generic":
        return "generic", "asked for"
    if kernel in ("auto", "cudnn") and gpu_is_visible():
        return "cudnn", "a GPU is visible"
    if kernel == "cudnn":
        raise UsageError('kernel "cudnn" needs a GPU that TensorFlow can see and there is none. '
                         'Use kernel "auto" to run on the CPU.')
    problem = compiled_kernel_problem()
    if dtype == "float64":
        problem = "they compute in float32 and the layer in float64"
    if problem is None:
        return "cpu", "asked for" if kernel == "cpu" else "no GPU is visible"
    if kernel == "cpu":
        raise UsageError(f'kernel "cpu" cannot run here: {problem}. Use kernel "auto" or '
                         f'"generic".')
    _warn(problem)
    return "generic", f"no GPU is visible and the compiled kernels cannot run: {problem}"


@cache  # once, not once for every layer
def _warn(problem: str) -> None:
    logger.warning("The compiled LSTM kernels cannot run (%s); the generic loop runs instead, "
                   "several times slower. `asr doctor` explains.", problem)


def gpu_is_visible() -> bool:
    """True when TensorFlow may use a GPU; asking does not initialise it."""
    return bool(tf.config.get_visible_devices("GPU"))


def compiled_kernel_problem() -> str | None:
    """None if the compiled kernels run here, else the reason in one line."""
    try:
        from asr.kernels import cpu
    except ImportError as error:
        return f"{type(error).__name__}: {error}"
    return cpu.compile_problem()
