"""What every network that CTC trains has in common: the step, the checks, saving and export.

In: batches of the contract of `asr.data.pipeline`. Out: Keras logs. `AcousticModel` is a
`CTCModel`; so is a network of your own, as a subclass or through `CTCModel.of`. Imports TensorFlow.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import asr.network.metrics  # noqa: F401  (registered with Keras wherever a model is loaded)
from asr.errors import UsageError
from asr.network.contract import batch_signature, check_batch, check_inputs, check_metrics, explain
from asr.network.ctc import CTCLoss, count_labels, per_label
from asr.network.layer import portable_graph
from asr.network.named_weights import NamedWeightsModel
from asr.network.replicas import Replicas, StepGradients, share_metrics, shared_gradients
from asr.network.steps import CompiledParts, SkippedStep

logger = logging.getLogger(__name__)


class CTCModel(NamedWeightsModel):
    """A Keras model that CTC trains on the batch contract.

    A subclass defines `call(x, training)`, the x of the contract to logits (B, T', V) float32, and
    `output_length(num_frames)`, the exact T' of T input frames for integers, arrays and tensors.
    `compile`, `fit`, `evaluate`, `predict`, `save` and `export` are Keras's own.

    A step whose loss or gradient is not finite changes no weight, no optimizer slot and no counter;
    `on_skipped_step` tells.
    """

    on_skipped_step: Callable[[SkippedStep], None] | None = None
    data_wait_seconds = 0.0  # that steps waited for data, and the rest of their time
    step_seconds = 0.0
    replicas: Replicas | None = None  # that share every batch; None: one device has all of it
    _training: CompiledParts | None = None

    @staticmethod
    def of(network: keras.Model) -> CTCModel:
        """A Keras model as a `CTCModel`; one that is a `CTCModel` already is returned as it is.

        Args:
            network: maps the x of the batch contract to logits and has an attribute
                `output_length`, a function as described above.

        Raises:
            UsageError: it is no Keras model, or does not say its output length.
        """
        if isinstance(network, CTCModel):
            return network
        if not isinstance(network, keras.Model):
            raise UsageError(f"A network must be a keras.Model, got {type(network).__name__}.")
        return WrappedModel(network)

    def output_length(self, num_frames) -> Any:
        """T' of T >= 1 input frames; a number, an array or a tensor."""
        raise UsageError(f"{type(self).__name__} does not say its output length. Define "
                         "output_length(num_frames), for example: return -(-num_frames // 3)")

    def compile(self, optimizer="adam", loss: CTCLoss | None = None,
                metrics: Sequence[keras.metrics.Metric] | None = None,
                evaluation_metrics: Sequence[keras.metrics.Metric] | None = None,
                run_eagerly: bool = False, steps_per_execution: int = 1,
                auto_scale_loss: bool = True, jit_compile: bool | str = False) -> None:
        """As `keras.Model.compile`.

        Args:
            optimizer: a Keras optimizer or its name.
            loss: an `asr.CTCLoss`; None: `asr.CTCLoss()`.
            metrics: such as `asr.WordErrorRate(tokenizer)`, measured in training and evaluation.
            evaluation_metrics: measured in evaluation alone, where training would be too slow; not
                saved with the model.
            run_eagerly, steps_per_execution, auto_scale_loss: as Keras's.
            jit_compile: XLA cannot compile an LSTM of variable length; must be False or "auto".

        Raises:
            UsageError: another loss, a metric that is not an object or has another tokenizer than
                the network, jit_compile=True, or a network that does not say its output length.
        """
        if type(self).output_length is CTCModel.output_length \
                and "output_length" not in self.__dict__:
            self.output_length(1)  # which says what is missing
        if loss is not None and not isinstance(loss, CTCLoss):
            raise UsageError(f"loss={loss!r} is a loss on dense labels, and this network is "
                             "trained by CTC, from explicit lengths: compile(..., "
                             "loss=asr.CTCLoss()).")
        for given in (metrics, evaluation_metrics):
            check_metrics(given, getattr(self, "vocab_size", None))
        if jit_compile is True:
            raise UsageError("jit_compile=True: XLA cannot compile an LSTM over sequences of "
                             "different lengths; leave it out.")
        super().compile(optimizer=optimizer, run_eagerly=run_eagerly, jit_compile=False,
                        steps_per_execution=steps_per_execution, auto_scale_loss=auto_scale_loss)
        with tf.device("/CPU:0"):
            steps = tf.Variable(tf.constant(0, tf.int64), trainable=False, name="steps")
        self._training = CompiledParts(
            loss or CTCLoss(), keras.metrics.Mean(name="loss", dtype="float64"), steps,
            tuple(metrics or ()), tuple(evaluation_metrics or ()))

    def __call__(self, x, *args, **kwargs):
        """Logits of the x of the batch contract, which is looked at first."""
        check_inputs(x, getattr(self, "num_features", None))
        return super().__call__(x, *args, **kwargs)

    def get_compile_config(self) -> dict:
        """The arguments of `compile`, for `save`."""
        if self._training is None:
            return {}
        plain = {"optimizer": self.optimizer, "loss": self._training.loss,
                 "metrics": list(self._training.metrics),
                 "steps_per_execution": self.steps_per_execution}
        return {name: keras.saving.serialize_keras_object(value) for name, value in plain.items()}

    def compile_from_config(self, config: dict) -> None:
        """Called by `keras.saving.load_model`."""
        self.compile(jit_compile=False,
                     **{name: keras.saving.deserialize_keras_object(value)
                        for name, value in config.items()})
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list:
        """The loss and the metrics of `compile`."""
        training = self._training
        return [] if training is None else [training.loss_tracker, *training.metrics,
                                            *training.evaluation_metrics]

    def training_length(self, num_frames) -> Any:
        """`output_length` of a call with training=True, where that differs."""
        return self.output_length(num_frames)

    def targets(self, x: Mapping, y: Mapping, training: bool = False) -> dict:
        """The y of the contract with the output lengths: what the loss and the metrics take."""
        length = self.training_length if training else self.output_length
        return {**y, "num_frames": length(x["num_frames"])}

    def losses_of(self, x, y, logits, training: bool = False) -> Any:
        """(B,) CTC losses in nats; `training` as in the call that gave the logits."""
        loss = self._training.loss if self._training else CTCLoss()
        return loss.call(self.targets(x, y, training), logits)

    def compute_loss(self, x=None, y: Any = None, y_pred=None, sample_weight=None, training=True):
        """Nats a label of a batch, and what `add_loss` and regularisers add."""
        del sample_weight
        return tf.add_n([per_label(self.losses_of(x, y, y_pred, training), y), *self.losses])

    def objective(self, x, y) -> tuple[Any, Any, Any]:
        """What a training step minimises.

        Returns:
            logits (B, T', V); losses (B,), nats; the number that is minimised, () float32.
        """
        logits = self(x, training=True)
        losses = self.losses_of(x, y, logits, training=True)
        return logits, losses, tf.add_n([per_label(losses, y), *self.losses])

    def train_step(self, data) -> dict:
        """One step; returns the loss in nats a label and the metrics, of the epoch so far."""
        x, y = data
        training = self._compiled()
        found = (self._gradients(x, y) if self.replicas is None else
                 shared_gradients(self, self.replicas, x, y))
        losses, loss, num_labels = found.losses, found.loss, found.num_labels
        gradients = found.gradients
        norm = tf.linalg.global_norm([g for g in gradients if g is not None])
        finite = tf.math.is_finite(loss)
        if not isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer):
            finite &= tf.math.is_finite(norm)  # it searches for the scale at which this holds
        tf.cond(finite, lambda: self._apply(gradients),
                lambda: self._skip(tf.math.is_finite(losses), loss, norm))
        training.steps.assign_add(1)
        training.loss_tracker.update_state(tf.where(finite, loss, 0.0),
                                        sample_weight=tf.where(finite, num_labels, 0.0))
        return self._logs(self.targets(x, y, training=True), found.logits, training.metrics)

    def _gradients(self, x, y) -> StepGradients:
        """The gradients of a batch that one device computes."""
        weights = [v.value for v in self.trainable_variables]
        with tf.GradientTape() as tape:
            logits, losses, objective = self.objective(x, y)
            objective = self.optimizer.scale_loss(objective)
        gradients = tape.gradient(objective, weights)
        return StepGradients(logits, losses, gradients, count_labels(y), per_label(losses, y))

    def test_step(self, data) -> dict:
        """One batch of `evaluate`."""
        x, y = data
        logits = self(x, training=False)
        self._compiled().loss_tracker.update_state(
            self.compute_loss(x, y, logits, training=False), sample_weight=count_labels(y))
        return self._logs(self.targets(x, y), logits, self.metrics[1:])

    def predict_step(self, data) -> tf.RaggedTensor:
        """Logits of a batch without padding: row i has its T' frames."""
        x = data[0] if isinstance(data, tuple) else data
        logits = tf.convert_to_tensor(self(x, training=False))
        lengths = self.output_length(x["num_frames"])
        return tf.RaggedTensor.from_tensor(logits, lengths)  # type: ignore[attr-defined]

    def _logs(self, targets, logits, metrics) -> dict:
        logs = {"loss": self._compiled().loss_tracker.result()}
        for metric in metrics:
            metric.update_state(targets, logits)
            result = metric.result()
            logs.update(result if isinstance(result, dict) else {metric.name: result})
        return logs

    def _apply(self, gradients) -> Any:
        slow = [(v, tf.identity(v.value), factor) for v, factor in self.slowed()]
        self.optimizer.apply(gradients, self.trainable_variables)
        for variable, before, factor in slow:
            variable.assign(before + factor * (variable.value - before))
        self.update_ema()
        return tf.constant(True)

    def _skip(self, finite_rows, loss, norm) -> Any:
        """Tell Python about a step that was not finite; nothing else waits for the device."""
        def tell(step, rows, loss, norm):
            skipped = SkippedStep(int(step), rows, float(loss), float(norm))
            if self.on_skipped_step is not None:
                self.on_skipped_step(skipped)
            else:
                logger.warning("Step skipped: loss %s, gradient norm %s; no weight was changed.",
                               skipped.loss, skipped.gradient_norm)
            return np.bool_(False)

        return tf.ensure_shape(tf.numpy_function(
            tell, (self._compiled().steps, finite_rows, loss, norm), tf.bool), [])

    def make_train_function(self, force: bool = False):
        """Keras calls this. Logs stay on the device; the time that steps wait for data is kept."""
        if self.train_function is None or force:
            self.train_function = self._step_function(self.train_step)
        return self.train_function

    def make_test_function(self, force: bool = False):
        """Keras calls this."""
        if self.test_function is None or force:
            self.test_function = self._step_function(self.test_step)
        return self.test_function

    def _step_function(self, step: Callable) -> Callable:
        """`steps_per_execution` batches of an iterator, checked; one trace serves all shapes."""
        traced: dict[int, Callable] = {}

        def run(iterator: Iterator):
            logs: dict = {}
            for number in range(self.steps_per_execution):
                started = time.perf_counter()
                try:
                    batch = next(iterator)
                except StopIteration:
                    if not number:
                        raise
                    break
                fetched = time.perf_counter()
                x, y = check_batch(batch, getattr(self, "num_features", None))
                num_features = int(x["features"].shape[-1])
                if num_features not in traced:
                    self._make_variables(x)
                    traced[num_features] = step if self.run_eagerly else tf.function(
                        step, jit_compile=False,
                        input_signature=[batch_signature(num_features)])
                with nullcontext() if self.replicas is None else self.replicas.watched():
                    try:
                        logs = traced[num_features]((x, y))
                    except (tf.errors.InvalidArgumentError, tf.errors.UnknownError) as error:
                        explain(error, x, y)
                        raise
                self.data_wait_seconds += fetched - started
                self.step_seconds += time.perf_counter() - fetched
            return logs

        return run

    def _make_variables(self, x) -> None:
        """All of them before the first step is traced: inside of it none can be made."""
        if not self.built:
            self(x, training=False)
        if not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)

    def fit(self, x=None, *args, shuffle: bool | None = None, **kwargs):
        """As Keras's; the batches of a dataset come in its order."""
        if shuffle is None:  # Keras's default warns whenever a dataset is given
            shuffle = not isinstance(x, tf.data.Dataset)
        return super().fit(x, *args, shuffle=shuffle, **kwargs)

    def evaluate(self, *args, **kwargs):
        """As Keras's; of processes that share a validation set, each gets the figures of all."""
        logs = super().evaluate(*args, **kwargs)
        if self.replicas is None or self.replicas.world == 1:
            return logs
        share_metrics(self.replicas, self.metrics)
        results: dict = {}
        for metric in self.metrics:
            result = metric.result()
            results.update(result if isinstance(result, dict) else {metric.name: result})
        return {name: float(value) for name, value in results.items()}

    def count_steps_from(self, number: int) -> None:
        """The next step is the one of this number, in what `on_skipped_step` is told."""
        self._compiled().steps.assign(number)

    def _compiled(self) -> CompiledParts:
        if self._training is None:
            raise UsageError("The network is not compiled; call compile(optimizer, "
                             "loss=asr.CTCLoss()) first.")
        return self._training

    def predict(self, x, *args, **kwargs):
        """Logits of every utterance, as a tf.RaggedTensor (N, (T'), V): no row has padding.

        Args: as Keras's; x is the x of the contract or a dataset of it.

        Raises:
            UsageError: x is not of the contract.
        """
        spec = x.element_spec if isinstance(x, tf.data.Dataset) else x
        check_inputs(spec[0] if isinstance(spec, tuple) else spec,
                     getattr(self, "num_features", None))
        return super().predict(x, *args, **kwargs)

    def export(self, filepath, format: str = "tf_saved_model", verbose=None,  # noqa: A002
               input_signature=None, **kwargs) -> None:
        """As Keras's: what is written runs without this package, on a CPU and on a GPU.

        The compiled kernels and cuDNN give way to TensorFlow's own operations. `serve` takes the x
        of the batch contract and gives logits (B, T', V).
        """
        if input_signature is None:
            input_signature = [batch_signature(getattr(self, "num_features", None))[0]]
        with portable_graph():
            super().export(filepath, format=format, verbose=verbose,
                           input_signature=input_signature, **kwargs)

    def compile_for_training(self, optimizer, *, evaluation_metrics: Sequence = (),
                             ema: float = 0.0) -> None:
        """Attach the optimizer and, if asked for, an averaged copy of the weights.

        Args:
            optimizer: a Keras optimizer.
            evaluation_metrics: see `compile`.
            ema: momentum of the average; 0: none.
        """
        self.compile(optimizer, evaluation_metrics=evaluation_metrics, jit_compile=False)
        self.optimizer.build(self.trainable_variables)
        self.start_ema(ema)


@keras.saving.register_keras_serializable(package="asr")
class WrappedModel(CTCModel):
    """Any Keras model that says its output length, as a `CTCModel`; see `CTCModel.of`.

    Args:
        network: the model.
        name: name of the model in Keras.
    """

    def __init__(self, network: keras.Model, name: str = "ctc", **kwargs):
        super().__init__(name=name, **kwargs)
        if not callable(getattr(network, "output_length", None)):
            raise UsageError(f"The network {network.name!r} does not say its output length. Give "
                             "it a method output_length(num_frames), or set the attribute: "
                             "network.output_length = lambda num_frames: -(-num_frames // 3)")
        self.network = network

    def call(self, x, training=False):
        """Logits (B, T', V) of the x of the batch contract."""
        return self.network(x, training=training)

    def output_length(self, num_frames) -> Any:
        """What the network says."""
        return self.network.output_length(num_frames)  # type: ignore[attr-defined]

    def get_config(self) -> dict:
        """The network inside; its class must be registered with Keras to be loaded."""
        return {"name": self.name,
                "network": keras.saving.serialize_keras_object(self.network)}

    @classmethod
    def from_config(cls, config: dict, custom_objects=None) -> WrappedModel:
        """Called by `keras.saving.load_model`."""
        network = keras.saving.deserialize_keras_object(config["network"], custom_objects)
        return cls(network, name=config["name"])
