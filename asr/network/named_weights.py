"""The weights of a Keras model: their names in a bundle, how fast each learns, and their average.

In: a Keras model. Out: names, arrays. Imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from asr.errors import UsageError


class NamedWeightsModel(keras.Model):
    """A Keras model whose weights have names that are the same in every process."""

    ema_momentum = 0.0
    ema_weights: Sequence[tf.Variable] = ()
    _slow: Mapping[str, float] = {}

    def start_ema(self, momentum: float) -> None:
        """Keep an exponential moving average of the weights from now on; 0: none."""
        self.ema_momentum = momentum
        if momentum:
            self.ema_weights = [tf.Variable(v.value, trainable=False, name=f"ema_{i}")
                                for i, v in enumerate(self.trainable_variables)]

    def update_ema(self) -> None:
        """Move the average by one step, in TensorFlow's graph (nothing without one)."""
        for average, weight in zip(self.ema_weights, self.trainable_variables, strict=False):
            average.assign_sub((1.0 - self.ema_momentum) * (average - weight.value))

    def swap_ema(self) -> None:
        """Exchange weights and their average (nothing without one); twice is the identity."""
        for average, weight in zip(self.ema_weights, self.trainable_variables, strict=False):
            current = weight.numpy()
            weight.assign(average)
            average.assign(current)

    def set_speeds(self, freeze: Sequence[str] = (), slow: Mapping[str, float] | None = None
                   ) -> None:
        """Parts of the network that do not learn, or learn slowly; before `compile`.

        Args:
            freeze: names of layers, as they begin the names of `named_variables`, or as Keras
                names them.
            slow: name of a layer to the factor on each of its updates, 0 .. 1.

        Raises:
            UsageError: there is no such layer, or everything is frozen.
        """
        known: dict[str, list[keras.Variable]] = {}
        for name, variable in self.named_variables().items():
            for layer in dict.fromkeys((name.split("/")[0], *variable.path.split("/")[:-1])):
                known.setdefault(layer, []).append(variable)
        for name in (*freeze, *(slow or {})):
            if name not in known:
                raise UsageError(f"This network has no layer {name!r}; its layers are "
                                 f"{', '.join(known)}.")
        for name in freeze:
            for variable in known[name]:
                variable.trainable = False
        if not self.trainable_variables:
            raise UsageError("Every layer is frozen; leave one out of train.freeze.")
        self._slow = {variable.path: factor for name, factor in (slow or {}).items()
                      for variable in known[name] if variable.trainable}

    def slowed(self) -> list[tuple[keras.Variable, float]]:
        """The variables that learn slowly, with the factor on each of their updates."""
        return [(variable, self._slow[variable.path]) for variable in self.trainable_variables
                if variable.path in self._slow]

    def named_variables(self) -> dict[str, keras.Variable]:
        """Bundle name to variable: layer, number, name. The order is that of `weights`."""
        named = {}
        for number, variable in enumerate(self.weights):
            # A layer's automatic name counts up in a process; the number does not.
            named[f"{number:03d}/{variable.name}"] = variable
        return named

    def get_named_weights(self) -> dict[str, np.ndarray]:
        """Copies of all weights, float32, by bundle name."""
        return {name: np.asarray(variable.numpy(), np.float32)
                for name, variable in self.named_variables().items()}

    def set_named_weights(self, weights: Mapping[str, np.ndarray]) -> None:
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
