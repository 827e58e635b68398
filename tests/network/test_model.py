"""The network: padding, batch size and order change nothing; a bad step changes nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from asr.features.lengths import output_length
from asr.recipe import ModelSettings, recipe_from_dict

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tf

import keras  # noqa: E402

from asr.errors import RecipeError, UsageError  # noqa: E402
from asr.network.contract import batch_signature  # noqa: E402
from asr.network.model import AcousticModel, build_model  # noqa: E402
from asr.network.weights import weight_shapes  # noqa: E402

STACK = ModelSettings(stacking=3, subsampling=2, num_layers=2, units=5, dropout=0.2)
CONV = ModelSettings(front_end="conv", conv_channels=3, subsampling=3, num_layers=1, units=4,
                     layer_norm=True)
EDGES = dataclasses.replace(STACK, edge_frames=2)
ONE_EDGE = dataclasses.replace(STACK, edge_frames=1)


def batch_of(rng, lengths, num_features=6):
    features = np.zeros((len(lengths), max(lengths), num_features), np.float32)
    for row, length in zip(features, lengths, strict=True):
        row[:length] = rng.normal(size=(length, num_features))
    return {"features": features, "num_frames": np.array(lengths, np.int32)}


@pytest.mark.parametrize("settings", [STACK, CONV, EDGES], ids=["stack", "conv", "edges"])
def test_padding_batch_and_order_change_no_logit(settings, rng):
    model = build_model(settings, 6, 9, seed=3)
    lengths = [1, 2, 3, 17, 40, 8]
    x = batch_of(rng, lengths)
    together = model(x).numpy()
    for order in ([0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 4, 2]):
        shuffled = model({k: v[order] for k, v in x.items()}).numpy()
        np.testing.assert_allclose(shuffled, together[order], atol=1e-5)
    for i, length in enumerate(lengths):
        alone = model({"features": x["features"][i:i + 1, :length],
                       "num_frames": x["num_frames"][i:i + 1]}).numpy()[0]
        assert len(alone) == output_length(length, settings)
        np.testing.assert_allclose(together[i, :len(alone)], alone, atol=1e-5)


@pytest.mark.parametrize("front_end", ["stack", "conv"])
@pytest.mark.parametrize("subsampling", [1, 2, 3, 4])
@pytest.mark.parametrize("edge_frames", [0, 3])
def test_output_length_is_exact(front_end, subsampling, edge_frames, rng):
    settings = ModelSettings(front_end=front_end, stacking=4, subsampling=subsampling,
                             conv_channels=2, num_layers=1, units=2, edge_frames=edge_frames)
    model = build_model(settings, 5, 3)
    for length in [*range(1, 14), 63, 64]:
        logits = model(batch_of(rng, [length], 5))
        assert logits.shape[1] == output_length(length, settings)
        assert logits.dtype == tf.float32


@pytest.mark.parametrize("settings", [STACK, CONV], ids=["stack", "conv"])
def test_named_weights_are_those_of_the_bundle(settings):
    model = build_model(settings, 6, 9)
    weights = model.get_named_weights()
    assert {k: v.shape for k, v in weights.items()} == weight_shapes(settings, 6, 9)
    other = build_model(settings, 6, 9)
    other.set_named_weights(weights)
    for name, value in other.get_named_weights().items():
        np.testing.assert_array_equal(value, weights[name])
    with pytest.raises(UsageError, match="differ in"):
        other.set_named_weights({})
    with pytest.raises(UsageError, match="needs"):
        other.set_named_weights({**weights, "output/bias": np.zeros(3, np.float32)})


def trained(model, x, y, steps=1) -> list[float]:
    """Train for some epochs of one step; the loss of each."""
    dataset = tf.data.Dataset.from_tensors((x, y))
    return model.fit(dataset, epochs=steps, verbose=0).history["loss"]


def test_a_step_that_is_not_finite_changes_nothing_and_names_its_row(rng):
    model = build_model(STACK, 6, 9, seed=3)
    model.compile_for_training(keras.optimizers.AdamW(1e-2), ema=0.9)
    x = batch_of(rng, [12, 20, 16])
    y = {"labels": np.array([[1, 2], [3, 0], [4, 4]], np.int32),
         "num_labels": np.array([2, 1, 2], np.int32)}
    skipped = []
    model.on_skipped_step = skipped.append
    trained(model, x, y)
    assert skipped == []
    assert model.jit_compile is False
    before = [v.numpy() for v in [*model.trainable_variables, *model.optimizer.variables]]
    average = [v.numpy() for v in model.ema_weights]
    x["features"][1, 3, 2] = np.nan
    model.count_steps_from(7)
    assert trained(model, x, y) == [0.0]  # no step of this epoch counts
    (one,) = skipped
    assert (one.step, one.finite_rows.tolist()) == (7, [True, False, True])
    assert not np.isfinite(one.loss)
    after = [v.numpy() for v in [*model.trainable_variables, *model.optimizer.variables]]
    for old, new in zip(before + average, after + [v.numpy() for v in model.ema_weights],
                        strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_loss_falls_and_swapping_the_average_twice_is_the_identity(rng):
    model = build_model(STACK, 6, 9, seed=3)
    model.compile_for_training(keras.optimizers.AdamW(2e-2), ema=0.5)
    x = batch_of(rng, [30, 26])
    y = {"labels": np.array([[1, 2, 3], [3, 4, 0]], np.int32),
         "num_labels": np.array([3, 2], np.int32)}
    losses = trained(model, x, y, steps=40)
    assert losses[-1] < 0.3 * losses[0]
    weights = model.get_named_weights()
    model.swap_ema()
    assert any((model.get_named_weights()[k] != v).any() for k, v in weights.items())
    model.swap_ema()
    for name, value in model.get_named_weights().items():
        np.testing.assert_array_equal(value, weights[name])


def test_fewer_edge_frames_in_training(rng):
    x = batch_of(rng, [30, 26])
    y = {"labels": np.array([[1, 2, 3], [3, 4, 0]], np.int32),
         "num_labels": np.array([3, 2], np.int32)}
    recipe = recipe_from_dict({"model": {**dataclasses.asdict(STACK), "edge_frames": 2},
                               "train": {"edge_frames": 1}})
    model = AcousticModel(recipe, num_features=6, vocab_size=9)
    same = build_model(ONE_EDGE, 6, 9)
    same.set_named_weights(model.get_named_weights())
    read = build_model(EDGES, 6, 9)
    read.set_named_weights(model.get_named_weights())
    np.testing.assert_array_equal(model(x), read(x))
    np.testing.assert_array_equal(model(x, training=True), same(x, training=True))
    assert AcousticModel.from_config(model.get_config()).training_settings == ONE_EDGE
    for network in (model, same, read):
        network.compile_for_training(keras.optimizers.SGD(0.1))
    assert float(model.test_step((x, y))["loss"]) == float(read.test_step((x, y))["loss"])
    model.reset_metrics()
    for _ in range(2):
        assert float(model.train_step((x, y))["loss"]) == float(same.train_step((x, y))["loss"])
    trained = same.get_named_weights()
    for name, weight in model.get_named_weights().items():
        np.testing.assert_array_equal(weight, trained[name])
    with pytest.raises(RecipeError, match="must not exceed model.edge_frames 0"):
        recipe_from_dict({"train": {"edge_frames": 1}})


def test_the_intermediate_loss_trains_the_lower_layers_and_leaves_no_trace_in_the_bundle(rng):
    settings = ModelSettings(stacking=2, subsampling=1, num_layers=3, units=4)
    x = batch_of(rng, [9, 12])
    y = {"labels": np.array([[1, 2], [3, 0]], np.int32), "num_labels": np.array([2, 1], np.int32)}
    plain = build_model(settings, 6, 5, seed=3)
    deep = build_model(settings, 6, 5, seed=3, intermediate_ctc=0.9)
    assert deep.get_named_weights().keys() == plain.get_named_weights().keys()
    deep.set_named_weights(plain.get_named_weights())
    losses, moved = [], []
    for model in (plain, deep):
        model.compile_for_training(keras.optimizers.SGD(0.1))
        before = model.get_named_weights()
        losses.append(float(model.train_step((x, y))["loss"]))
        after = model.get_named_weights()
        moved.append({name: float(np.abs(after[name] - before[name]).max()) for name in before})
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)  # the loss told is that of the output
    top, middle = "lstm_2/forward/kernel", "lstm_1/forward/kernel"
    assert moved[1][top] == pytest.approx(0.1 * moved[0][top], rel=1e-3)
    assert moved[1][middle] != pytest.approx(0.1 * moved[0][middle], rel=1e-1)
    kernel = deep.intermediate_layer.kernel.numpy()
    deep.train_step((x, y))
    assert np.abs(deep.intermediate_layer.kernel.numpy() - kernel).max() > 0


def nodes_of(function) -> list[str]:
    """Operation types of a traced function, those of its inner functions included."""
    graph = function.graph.as_graph_def()
    return [node.op for node in graph.node] + [
        node.op for inner in graph.library.function for node in inner.node_def]


@pytest.fixture
def as_if_on_a_gpu(monkeypatch):
    """This machine's graphs are traced as if a GPU were there; they cannot run."""
    import importlib

    from asr.network import ctc, layer
    rnn = importlib.import_module("keras.src.backend.tensorflow.rnn")  # a function hides it
    monkeypatch.setattr(rnn, "_is_gpu_available", lambda: True)
    monkeypatch.setattr(layer, "gpu_is_visible", lambda: True)
    monkeypatch.setattr(ctc, "gpu_is_visible", lambda: True)


def test_on_a_gpu_every_layer_trains_on_cudnn_and_nothing_loops(as_if_on_a_gpu):
    # FAULTS.md G1
    function = traced_train_step(build_model(STACK, 6, 9))
    ops = nodes_of(function)
    assert ops.count("CudnnRNNV3") == 2 * STACK.num_layers
    assert not {"While", "StatelessWhile"} & set(ops)
    # Python is called in the branch of a step that is not finite, and nowhere else: nothing waits
    # for the device.
    definition = function.graph.as_graph_def()
    calls = [f.signature.name for f in definition.library.function
             if any(n.op in ("PyFunc", "EagerPyFunc") for n in f.node_def)]
    assert len(calls) == 1 and "cond_false" in calls[0]
    assert not any(n.op in ("PyFunc", "EagerPyFunc") for n in definition.node)


def test_an_export_made_on_a_gpu_runs_without_one(as_if_on_a_gpu):
    from asr.network.layer import portable_graph
    model = build_model(STACK, 6, 9)
    x = batch_signature(6)[0]
    assert "CudnnRNNV3" in nodes_of(tf.function(model).get_concrete_function(x))
    with portable_graph():
        ops = nodes_of(tf.function(model).get_concrete_function(x))
    assert not {"CudnnRNNV3", "PyFunc"} & set(ops)
    assert "CudnnRNNV3" in nodes_of(tf.function(model).get_concrete_function(x))


def traced_train_step(model):
    """The graph of a step, which need not be able to run here."""
    model.compile_for_training(keras.optimizers.AdamW(1e-3))
    return tf.function(lambda x, y: model.train_step((x, y))).get_concrete_function(
        *batch_signature(6))


@pytest.mark.parametrize("policy", [
    pytest.param("mixed_bfloat16", marks=pytest.mark.slow), "mixed_float16"])
def test_on_a_gpu_mixed_precision_runs_cudnn_in_16_bits(policy, as_if_on_a_gpu):
    from asr.network.model import AcousticModel
    function = traced_train_step(AcousticModel(STACK, 6, 9, dtype=policy))
    definition = function.graph.as_graph_def()
    types = {node.attr["T"].type for f in (definition.node, *[
        f.node_def for f in definition.library.function]) for node in f if node.op == "CudnnRNNV3"}
    assert types == {tf.as_dtype(policy.removeprefix("mixed_")).as_datatype_enum}
