"""One layer, three kernels: they agree, dispatch as promised, and travel with their weights."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from asr.errors import UsageError  # noqa: E402
from asr.kernels import cpu  # noqa: E402
from asr.network import equations, layer, op  # noqa: E402
from asr.network.layer import BidirectionalLSTM  # noqa: E402

pytestmark = pytest.mark.tf


def pair(units, features, seed=0):
    """The same weights under both CPU kernels; biases are random so that they matter."""
    layers = [BidirectionalLSTM(units, kernel=kernel) for kernel in ("cpu", "generic")]
    rng = np.random.default_rng(seed)
    for one in layers:
        one.build((None, None, features), (None,))
    weights = [rng.normal(size=w.shape).astype(np.float32) * 0.4 for w in layers[0].weights]
    for one in layers:
        one.set_weights(weights)
    return layers


def run_with_gradients(one, x, lengths, upstream, training=True):
    with tf.GradientTape() as tape:
        x = tf.convert_to_tensor(x)
        tape.watch(x)
        y = one(x, tf.constant(lengths), training=training)
        loss = tf.reduce_sum(y * upstream)
    return y.numpy(), [g.numpy() for g in tape.gradient(loss, [x, *one.trainable_weights])]


@settings(max_examples=8, deadline=None)
@given(batch=st.integers(1, 6), steps=st.integers(1, 9), features=st.integers(1, 7),
       units=st.integers(1, 9), seed=st.integers(0, 10 ** 6), training=st.booleans())
def test_the_kernels_agree_with_each_other_and_with_the_equations(batch, steps, features, units,
                                                                  seed, training):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, steps, features)).astype(np.float32)
    lengths = rng.integers(1, steps + 1, batch).astype(np.int32)
    upstream = rng.normal(size=(batch, steps, 2 * units)).astype(np.float32)
    layers = pair(units, features, seed)
    weights = [w.numpy() for w in layers[0].weights]
    directions = [(*weights[:3], False), (*weights[3:], True)]
    expected = equations.forward_batch(x, lengths, directions)
    dx, sums = equations.backward_batch(x, lengths, directions, upstream)
    for one in layers:
        y, gradients = run_with_gradients(one, x, lengths, upstream, training)
        np.testing.assert_allclose(y, expected, atol=1e-5)
        for got, want in zip(gradients, [dx, *sums[0], *sums[1]], strict=True):
            assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max() + 1e-7


@pytest.mark.parametrize("kernel", ["cpu", "generic"])
def test_padding_changes_nothing_bit_for_bit(rng, kernel):
    one = pair(5, 3)[kernel == "generic"]
    x = rng.normal(size=(3, 6, 3)).astype(np.float32)
    lengths = np.array([6, 1, 4], np.int32)
    upstream = rng.normal(size=(3, 6, 10)).astype(np.float32)
    other = x.copy()
    for b, length in enumerate(lengths):
        other[b, length:] = 1e3
    y, gradients = run_with_gradients(one, x, lengths, upstream)
    y2, gradients2 = run_with_gradients(one, other, lengths, upstream)
    np.testing.assert_array_equal(y, y2)
    assert all((y[b, length:] == 0).all() for b, length in enumerate(lengths))
    for first, second in zip(gradients, gradients2, strict=True):
        np.testing.assert_array_equal(first, second)
    assert (gradients[0][1, 1:] == 0).all()


def test_weights_are_keras_own_layout_and_names():
    one = BidirectionalLSTM(4, kernel="cpu")
    one.build((None, None, 3), (None,))
    named = one.named_weights()
    assert {name: tuple(w.shape) for name, w in named.items()} == {
        "forward/kernel": (3, 16), "forward/recurrent_kernel": (4, 16), "forward/bias": (16,),
        "backward/kernel": (3, 16), "backward/recurrent_kernel": (4, 16), "backward/bias": (16,)}
    np.testing.assert_array_equal(named["forward/bias"].numpy(),
                                  np.repeat([0.0, 1.0, 0.0, 0.0], 4))  # forget bias 1
    assert [id(w) for w in one.weights] == [id(w) for w in named.values()]


def test_stock_keras_bidirectional_gives_the_same_numbers(rng):
    one = pair(4, 3)[0]
    stock = keras.layers.Bidirectional(keras.layers.LSTM(4, return_sequences=True))
    stock.build((None, None, 3))
    stock.set_weights(one.get_weights())
    x = rng.normal(size=(2, 5, 3)).astype(np.float32)
    mask = tf.sequence_mask([5, 2], 5)
    np.testing.assert_allclose(one(x, tf.constant([5, 2])), stock(x, mask=mask), atol=1e-6)


def build_model(kernel, units=3):
    x, n = keras.Input((None, 2), name="features"), keras.Input((), dtype="int32", name="n")
    y = BidirectionalLSTM(units, kernel=kernel, name="lstm")(x, n)
    assert y.shape == (None, None, 2 * units)
    model = keras.Model({"features": x, "n": n}, keras.layers.Dense(1)(y))
    model.compile("adam", "mse", jit_compile=False)
    return model


def test_keras_fit_trains_both_kernels_alike(rng):
    data = {"features": rng.normal(size=(8, 5, 2)).astype(np.float32),
            "n": rng.integers(1, 6, 8).astype(np.int32)}
    target = rng.normal(size=(8, 5, 1)).astype(np.float32)
    losses = []
    models = [build_model(kernel) for kernel in ("cpu", "generic")]
    models[1].set_weights(models[0].get_weights())
    for model in models:
        losses.append(model.fit(data, target, epochs=4, batch_size=4, shuffle=False,
                                verbose=0).history["loss"])
        assert not model.jit_compile
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(*(m.predict(data, verbose=0) for m in models), atol=1e-4)


def test_one_trace_serves_every_length_and_batch(rng):
    one, _ = pair(3, 2)
    traces = []

    @tf.function(input_signature=[tf.TensorSpec((None, None, 2)),
                                  tf.TensorSpec((None,), tf.int32)])
    def call(x, n):
        traces.append(1)
        return one(x, n)

    for batch, steps in ((1, 1), (3, 7), (2, 40)):
        x = rng.normal(size=(batch, steps, 2)).astype(np.float32)
        np.testing.assert_array_equal(call(x, tf.fill([batch], steps)),
                                      one(x, tf.fill([batch], steps)))
    assert len(traces) == 1


def test_a_length_beyond_the_frames_is_an_error_not_a_crash():
    one, _ = pair(3, 2)
    arguments = tf.zeros((2, 5, 2)), tf.constant([1, 9])
    with pytest.raises(UsageError, match="num_frames runs from 1 to 9"):
        one(*arguments)
    with pytest.raises(tf.errors.InvalidArgumentError, match="num_frames runs from 1 to 9"):
        tf.function(one)(*arguments)


# --- dispatch ---------------------------------------------------------------------------------


@pytest.fixture
def pretend_gpu(monkeypatch):
    """Keras and the layer believe in a GPU; graphs can be traced, not run."""
    import importlib

    backend = importlib.import_module("keras.src.backend.tensorflow.rnn")
    monkeypatch.setattr(backend, "_is_gpu_available", lambda: True)
    monkeypatch.setattr(layer, "gpu_is_visible", lambda: True)


def training_graph(layers):
    """Names of the operations of a traced training step, those inside functions included."""
    @tf.function(jit_compile=False)
    def step(x, n):
        with tf.GradientTape() as tape:
            for one in layers:
                x = one(x, n, training=True)
            loss = tf.reduce_sum(x)
        return tape.gradient(loss, [w.value for one in layers for w in one.trainable_weights])

    for one in layers:
        one.build((None, None, 4), (None,))
    graph = step.get_concrete_function(tf.TensorSpec((None, None, 4)),
                                       tf.TensorSpec((None,), tf.int32)).graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return [node.op for node in nodes]


def test_with_a_gpu_every_direction_is_one_cudnn_operation_and_no_loop(pretend_gpu):
    layers = [BidirectionalLSTM(2) for _ in range(3)]
    assert [one.resolved_kernel for one in layers] == ["cudnn"] * 3
    ops = training_graph(layers)
    assert ops.count("CudnnRNNV3") == 2 * len(layers)
    assert ops.count("CudnnRNNBackpropV3") == 2 * len(layers)
    assert not [name for name in ops if "While" in name]


def test_the_cpu_kernel_is_one_operation_each_way_and_no_loop():
    ops = training_graph([BidirectionalLSTM(2, kernel="cpu") for _ in range(2)])
    assert ops.count("PyFuncStateless") == 4
    assert not [name for name in ops if "While" in name or "Cudnn" in name]


def test_the_generic_kernel_is_a_loop_that_runs_anywhere(pretend_gpu):
    ops = training_graph([BidirectionalLSTM(2, kernel="generic")])
    assert [name for name in ops if "While" in name]
    assert not [name for name in ops if "Cudnn" in name or "PyFunc" in name]


def test_export_goes_through_the_generic_kernel_even_with_a_gpu(pretend_gpu, tmp_path, rng):
    """FAULTS G2: trained with cuDNN, exported for a CPU."""
    trained = build_model("auto")
    assert trained.get_layer("lstm").resolved_kernel == "cudnn"
    exported = build_model("generic")
    exported.set_weights(trained.get_weights())

    @tf.function(input_signature=[tf.TensorSpec((None, None, 2)),
                                  tf.TensorSpec((None,), tf.int32)])
    def serve(features, n):
        return exported({"features": features, "n": n})

    module = tf.Module()
    module.model, module.serve = exported, serve
    tf.saved_model.save(module, str(tmp_path / "model"))
    assert b"CudnnRNN" not in (tmp_path / "model" / "saved_model.pb").read_bytes()
    x, n = rng.normal(size=(2, 4, 2)).astype(np.float32), np.array([4, 2], np.int32)
    again = tf.saved_model.load(str(tmp_path / "model"))
    np.testing.assert_allclose(again.serve(x, n), serve(x, n), atol=1e-6)


def test_config_keeps_what_was_asked_for(pretend_gpu):
    one = BidirectionalLSTM(5)
    config = one.get_config()
    assert (config["units"], config["kernel"]) == (5, "auto")
    assert BidirectionalLSTM.from_config(config).kernel == "auto"


def test_auto_without_a_gpu_takes_the_compiled_kernel():
    assert BidirectionalLSTM(2).resolved_kernel == "cpu"


def test_xla_is_not_offered_what_it_cannot_compile(pretend_gpu):
    """Keras's jit_compile="auto" is XLA where a GPU is in the machine, visible or not."""
    for kernel, supported in (("cpu", False), ("auto", False), ("generic", True)):
        assert BidirectionalLSTM(2, kernel=kernel).supports_jit is supported


def test_auto_falls_back_to_generic_and_says_why(monkeypatch, caplog):
    monkeypatch.setattr(cpu, "compile_problem", lambda: "LoweringError: no such thing")
    with caplog.at_level(logging.WARNING):
        one = BidirectionalLSTM(2)
    assert one.resolved_kernel == "generic"
    assert "LoweringError: no such thing" in caplog.text
    with pytest.raises(UsageError, match='kernel "cpu" cannot run here: LoweringError'):
        BidirectionalLSTM(2, kernel="cpu")


def test_a_missing_numba_is_named(monkeypatch):
    import sys

    import asr.kernels

    monkeypatch.setitem(sys.modules, "asr.kernels.cpu", None)
    monkeypatch.delattr(asr.kernels, "cpu")
    assert "asr.kernels.cpu" in (layer.compiled_kernel_problem() or "")


@pytest.mark.parametrize("arguments, message", [
    (dict(units=0), "units is 0, expected an integer >= 1"),
    (dict(units=True), "units is True"),
    (dict(units=2.0), "units is 2.0"),
    (dict(units=2, kernel="fast"), "kernel is 'fast', expected one of auto, cudnn, cpu, generic"),
    (dict(units=2, kernel="cudnn"), 'kernel "cudnn" needs a GPU'),
])
def test_arguments_that_cannot_work_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        BidirectionalLSTM(**arguments)


def test_threads_follow_tensorflow_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.delenv("ASR_NUM_THREADS", raising=False)
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 3)
    assert op.num_threads() == 3
    monkeypatch.setenv("ASR_NUM_THREADS", "2")
    assert op.num_threads() == 2
