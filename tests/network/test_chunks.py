"""Chunks in training: what the backward half may know, and that nothing else changes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from asr.errors import RecipeError
from asr.network.chunks import Chunks, chunked_backward
from asr.network.layer import BidirectionalLSTM
from asr.network.model import AcousticModel, build_model
from asr.recipe import ModelSettings, recipe_from_dict

pytestmark = pytest.mark.tf
SETTINGS = ModelSettings(stacking=3, subsampling=2, num_layers=2, units=4, edge_frames=1,
                         layer_norm=True)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def batch(rng) -> tuple[dict, dict]:
    lengths = np.array([30, 21], np.int32)
    features = rng.normal(size=(2, 30, 6)).astype(np.float32)
    features[1, 21:] = 0
    return ({"features": features, "num_frames": lengths},
            {"labels": np.array([[1, 2], [3, 0]], np.int32),
             "num_labels": np.array([2, 1], np.int32)})


@pytest.mark.parametrize(("length", "before"), [(4, 0), (4, 3), (1, 0), (50, 0), (50, 49)])
def test_each_chunk_is_a_sequence_of_its_own(rng, length, before):
    layer, lengths = BidirectionalLSTM(3), np.array([11, 6], np.int32)
    inputs = rng.normal(size=(2, 11, 4)).astype(np.float32)
    inputs[1, 6:] = 0
    got = chunked_backward(layer, tf.constant(inputs), tf.constant(lengths), tf.constant(length),
                           tf.constant(before)).numpy()
    assert got.shape == (2, 11, 3)
    for row, count in enumerate(lengths):
        assert not got[row, count:].any()
        edges = [max(0, edge) for edge in range(-before, 11 + length, length)]
        for first, last in zip(edges, np.minimum(edges[1:], count), strict=False):
            if first < last:
                alone = layer(inputs[row:row + 1, first:last], np.array([last - first])).numpy()
                np.testing.assert_allclose(got[row, first:last], alone[0, :, 3:], atol=1e-6)


def test_no_layer_looks_beyond_its_chunk(rng, monkeypatch):
    """Chunks of 4 output frames: what changes behind frame 8 changes nothing before it."""
    model = build_model(SETTINGS, 6, 5, seed=3, chunks=Chunks(1.0, 4, 4))
    monkeypatch.setattr(Chunks, "draw", lambda *_: (tf.constant(True), tf.constant(4),
                                                    tf.constant(0)))
    x, _ = batch(rng)
    x["features"][:, 0] = -9.0  # the quietest: the edge of the network stays the same
    other = {**x, "features": x["features"].copy()}
    other["features"][:, 18:20] += 5.0  # output frames from 9 on, stacked from 8 on
    first, second = model(x, training=True).numpy(), model(other, training=True).numpy()
    np.testing.assert_allclose(first[:, :8], second[:, :8], atol=1e-6)
    assert np.abs(first[:, 8:] - second[:, 8:]).max() > 1e-3
    whole = np.abs(model(x).numpy() - model(other).numpy())
    assert whole[:, :8].max() > 1e-4, "without chunks they do"


def test_a_network_without_chunks_is_what_it_was(rng):
    x, y = batch(rng)
    plain, off = (build_model(SETTINGS, 6, 5, seed=3, chunks=chunks)
                  for chunks in (None, Chunks(0.0, 2, 9)))
    assert off.chunk_seeds is None
    assert [v.shape for v in plain.variables] == [v.shape for v in off.variables]
    losses = []
    for model in (plain, off):
        model.compile_for_training(keras.optimizers.SGD(0.1))
        losses.append([float(model.train_step((x, y))["loss"]) for _ in range(2)])
    assert losses[0] == losses[1]


def test_chunks_train_and_leave_no_trace_in_inference(rng):
    x, y = batch(rng)
    plain = build_model(SETTINGS, 6, 5, seed=3)
    chunked = build_model(SETTINGS, 6, 5, seed=3, chunks=Chunks(1.0, 2, 3))
    chunked.set_named_weights(plain.get_named_weights())
    np.testing.assert_array_equal(plain(x).numpy(), chunked(x).numpy())
    assert np.abs(plain(x, training=True).numpy() - chunked(x, training=True).numpy()).max() > 1e-3
    chunked.compile_for_training(keras.optimizers.SGD(0.1))
    before = chunked.get_named_weights()
    losses = [float(chunked.train_step((x, y))["loss"]) for _ in range(20)]
    assert losses[-1] < losses[0]
    for name, weight in chunked.get_named_weights().items():
        assert np.abs(weight - before[name]).max() > 0, name


def test_what_is_drawn_lies_within_bounds(rng):
    chunks = Chunks(0.3, 2, 7)
    drawn = [[int(v) for v in chunks.draw(tf.constant(u, tf.float32))]
             for u in [*rng.random((300, 3)), [0, 0, 0], [0.999999, 0.999999, 0.999999]]]
    lengths = {length for _, length, _ in drawn}
    assert lengths == set(range(2, 8))
    assert all(0 <= before < length for _, length, before in drawn)
    assert 0.2 < np.mean([wanted for wanted, _, _ in drawn]) < 0.4


def test_the_recipe_says_seconds():
    recipe = recipe_from_dict({"train": {"chunk_probability": 0.5, "chunk_seconds_min": 0.3,
                                         "chunk_seconds_max": 1.5}})
    assert Chunks.of(recipe) == Chunks(0.5, 10, 50)
    model = AcousticModel(recipe, vocab_size=5)
    assert model.chunks == Chunks(0.5, 10, 50)
    assert AcousticModel.from_config(model.get_config()).chunks == model.chunks
    with pytest.raises(RecipeError, match="chunk_seconds_min must not exceed"):
        recipe_from_dict({"train": {"chunk_seconds_min": 3.0}})
