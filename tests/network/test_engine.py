"""Engines: NumPy and Keras agree; batch, order and padding change no bit."""

from __future__ import annotations

import doctest
import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import random_weights

import asr.network.engine
import asr.network.numpy_layers
from asr.errors import BundleError, UsageError
from asr.features.lengths import output_length
from asr.network.engine import (
    ENGINES,
    NumpyAcousticModel,
    batches_by_length,
    build_engine,
    check_batch,
    conv_relu,
    layer_norm,
    pad_batch,
    stack_frames,
)
from asr.recipe import FeatureSettings, ModelSettings

FEATURES = FeatureSettings(n_mels=9)
STACK = ModelSettings(num_layers=2, units=7, stacking=4, subsampling=3, layer_norm=True)
CONV = ModelSettings(num_layers=2, units=7, front_end="conv", conv_channels=4, subsampling=4)


def numpy_model(model: ModelSettings, seed: int = 0) -> NumpyAcousticModel:
    return NumpyAcousticModel(model, 9, 5, random_weights(model, FEATURES, 5, seed))


def utterances(lengths, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(n, 9)).astype(np.float32) for n in lengths]


def test_doctests():
    assert doctest.testmod(asr.network.engine).failed == 0


# -- batch invariance


@pytest.mark.parametrize("model", [STACK, CONV], ids=["stack", "conv"])
def test_batch_size_order_and_padding_change_nothing(model):
    engine = numpy_model(model)
    rows = utterances([1, 2, 3, 50, 7, 120, 64, 31] * 4)
    alone = [engine.logits(row[np.newaxis], np.array([len(row)]))[0][0] for row in rows]
    for size, order in ((7, range(32)), (32, range(32)), (32, np.random.default_rng(1).permutation(
            32)), (7, range(31, -1, -1))):
        order = [int(i) for i in order]
        for start in range(0, 32, size):
            indices = order[start:start + size]
            batch, num_frames = pad_batch([rows[i] for i in indices])
            batch = np.pad(batch, ((0, 0), (0, 9), (0, 0)), constant_values=99.0)
            for i, row in enumerate(num_frames):
                batch[i, row:] = 99.0  # whatever stands in the padding
            logits, lengths = engine.logits(batch, num_frames)
            for i, row, length in zip(indices, logits, lengths, strict=True):
                assert length == len(alone[i]) == output_length(len(rows[i]), model)
                np.testing.assert_array_equal(row[:length], alone[i])
                assert not row[length:].any()


def check_bits(loop: bool) -> None:
    """Logits of utterances of mixed lengths are the same bits alone and in any batch."""
    if loop:
        asr.network.numpy_layers.compiled_kernels = lambda: None  # type: ignore
    rng = np.random.default_rng(3)
    features = FeatureSettings(n_mels=40)
    for model in (
            ModelSettings(num_layers=2, units=40, stacking=4, subsampling=3, layer_norm=True),
            ModelSettings(num_layers=1, units=33, front_end="conv", conv_channels=8)):
        engine = NumpyAcousticModel(model, 40, 29, random_weights(model, features, 29))
        rows = [rng.normal(size=(n, 40)).astype(np.float32)
                for n in (1, 2, 3, 50, 7, 120, 64, 31, 90, 5, 33, 77, 13, 28)]
        alone = [engine.logits(*pad_batch([row]))[0][0].tobytes() for row in rows]
        for size in (2, 3, 7):
            for padding in (0, 1, 9):
                order = rng.permutation(len(rows)).tolist()
                for start in range(0, len(rows), size):
                    indices = order[start:start + size]
                    batch, num_frames = pad_batch([rows[i] for i in indices])
                    batch = np.pad(batch, ((0, 0), (0, padding), (0, 0)), constant_values=9.0)
                    logits, lengths = engine.logits(batch, num_frames)
                    for i, row, length in zip(indices, logits, lengths, strict=True):
                        assert row[:length].tobytes() == alone[i], (model, size, padding, i)


@pytest.mark.parametrize("loop", [False, True], ids=["compiled", "loop"])
@pytest.mark.parametrize("core", ["", "Haswell", "SkylakeX"])
def test_every_bit_is_the_same_in_any_batch(core, loop):
    """OpenBLAS chooses its kernels once a process; a name this machine lacks changes nothing."""
    environment = {**os.environ, "OPENBLAS_CORETYPE": core,
                   "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run([sys.executable, "-c", f"import test_engine as t; t.check_bits({loop})"],
                         env=environment, cwd=os.path.dirname(__file__), capture_output=True,
                         text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.sampled_from([1, 2, 3, 4]),
       st.sampled_from(["stack", "conv"]), st.integers(0, 10**6))
def test_any_lengths(lengths, subsampling, front_end, seed):
    model = ModelSettings(num_layers=1, units=3, front_end=front_end, stacking=4, conv_channels=2,
                          subsampling=subsampling)
    engine = numpy_model(model, seed)
    rows = utterances(lengths, seed)
    logits, found = engine.logits(*pad_batch(rows))
    assert found.tolist() == [output_length(n, model) for n in lengths]
    for row, result, length in zip(rows, logits, found, strict=True):
        alone = engine.logits(row[np.newaxis], np.array([len(row)]))[0][0]
        np.testing.assert_allclose(result[:length], alone, atol=1e-4)


@pytest.mark.tf
@pytest.mark.parametrize("subsampling", [1, 2, 3, 4])
@pytest.mark.parametrize("front_end", ["stack", "conv"])
def test_numpy_and_keras_agree(front_end, subsampling):
    model = ModelSettings(num_layers=2, units=6, layer_norm=subsampling % 2 == 0, stacking=5,
                          edge_frames=subsampling // 2,
                          front_end=front_end, conv_channels=3, subsampling=subsampling)
    weights = random_weights(model, FEATURES, 5)
    batch, num_frames = pad_batch(utterances([23, 1, 7, 2, 16]))
    results = [build_engine(name, model, 9, 5, weights).logits(batch, num_frames)
               for name in ("numpy", "keras")]
    np.testing.assert_array_equal(results[0][1], results[1][1])
    np.testing.assert_allclose(results[0][0], results[1][0], atol=1e-4)


def test_the_numpy_loop_agrees_with_the_compiled_kernels(monkeypatch):
    engine = numpy_model(STACK)
    batch, num_frames = pad_batch(utterances([23, 1, 7, 2, 16]))
    compiled, _ = engine.logits(batch, num_frames)
    monkeypatch.setattr(asr.network.numpy_layers, "compiled_kernels", lambda: None)
    plain, _ = numpy_model(STACK).logits(batch, num_frames)
    np.testing.assert_allclose(plain, compiled, atol=1e-5)


def test_without_a_compiler_it_says_so_and_goes_on(monkeypatch, caplog):
    from asr.kernels import cpu

    monkeypatch.setattr(cpu, "forward_problem", lambda: "no compiler here")
    asr.network.numpy_layers.compiled_kernels.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert asr.network.numpy_layers.compiled_kernels() is None
        assert "no compiler here" in caplog.text
    finally:
        asr.network.numpy_layers.compiled_kernels.cache_clear()


def test_batches_by_length_bounds_frames_and_count(monkeypatch):
    monkeypatch.setattr(asr.network.engine, "BATCH_FRAMES", 100)
    monkeypatch.setattr(asr.network.engine, "BATCH_UTTERANCES", 3)
    lengths = [10, 90, 40, 500, 1, 2, 3, 4]
    batches = batches_by_length(lengths)
    assert sorted(i for b in batches for i in b) == list(range(8))
    for batch in batches:
        assert len(batch) <= 3
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 100
    assert batches_by_length([]) == []


# -- the parts, against slow and obvious ones


@pytest.mark.parametrize("num_frames", [1, 2, 3, 7, 8])
@pytest.mark.parametrize(("stacking", "subsampling"), [(1, 1), (3, 2), (4, 4)])
def test_stack_frames(num_frames, stacking, subsampling):
    row = utterances([num_frames])[0]
    expected = [[row[t * subsampling + k] if t * subsampling + k < num_frames else np.zeros(9)
                 for k in range(stacking)] for t in range(-(-num_frames // subsampling))]
    np.testing.assert_array_equal(stack_frames(row, stacking, subsampling),
                                  np.reshape(expected, (-1, stacking * 9)))


def slow_conv(x, kernel, bias, stride):
    """The definition, one output at a time."""
    frames, mels = -(-x.shape[0] // stride), -(-x.shape[1] // 2)
    out = np.zeros((frames, mels, kernel.shape[3]))
    for t in range(frames):
        for m in range(mels):
            for dt in range(3):
                for dm in range(3):
                    at, am = t * stride + dt - 1, m * 2 + dm - 1
                    if 0 <= at < x.shape[0] and 0 <= am < x.shape[1]:
                        out[t, m] += x[at, am] @ kernel[dt, dm]
    return np.maximum(out + bias, 0)


@pytest.mark.parametrize("num_frames", [1, 2, 5, 6, 7])
@pytest.mark.parametrize("mels", [1, 2, 9])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_conv(num_frames, mels, stride, rng, monkeypatch):
    monkeypatch.setattr(asr.network.numpy_layers, "CONV_BLOCK", 2)
    x = rng.normal(size=(num_frames, mels, 2)).astype("f4")
    kernel, bias = rng.normal(size=(3, 3, 2, 3)).astype("f4"), rng.normal(size=3).astype("f4")
    np.testing.assert_allclose(conv_relu(x, kernel, bias, stride),
                               slow_conv(x, kernel, bias, stride), atol=1e-4)


def test_layer_norm_by_hand():
    result = layer_norm(np.array([[1.0, 3.0]], "f4"), np.array([2.0, 2.0], "f4"),
                        np.array([0.0, 1.0], "f4"))
    np.testing.assert_allclose(result, [[-2 / np.sqrt(1.001), 1 + 2 / np.sqrt(1.001)]], rtol=1e-6)


# -- refusals


def test_unknown_engine():
    with pytest.raises(UsageError, match="no engine 'torch'; choose one of auto, numpy, keras"):
        build_engine("torch", STACK, 9, 5, {})
    assert ENGINES == ("auto", "numpy", "keras")


@pytest.mark.tf
def test_a_front_end_that_numpy_lacks_is_run_by_keras_and_said(monkeypatch, caplog):
    monkeypatch.setattr(asr.network.engine, "NUMPY_FRONT_ENDS", ("conv",))
    weights = random_weights(STACK, FEATURES, 5)
    with caplog.at_level(logging.WARNING):
        assert build_engine("auto", STACK, 9, 5, weights).name == "keras"
    assert "NumPy has no front end 'stack': Keras transcribes" in caplog.text
    with pytest.raises(UsageError, match="numpy has no front end 'stack', only conv. Use the"):
        build_engine("numpy", STACK, 9, 5, weights)


def test_wrong_weights():
    with pytest.raises(BundleError, match="missing or not expected"):
        NumpyAcousticModel(STACK, 9, 5, {})


@pytest.mark.parametrize(("shape", "lengths", "message"), [
    ((2, 5), [1, 1], "do not fit this network"), ((2, 5, 8), [1, 1], r"\(batch, frames, 9\)"),
    ((0, 5, 9), [], "do not fit this network"), ((2, 5, 9), [1], "one integer a row"),
    ((2, 5, 9), [0, 5], "one integer a row"), ((2, 5, 9), [1, 6], "one integer a row"),
    ((2, 5, 9), [1.0, 5.0], "one integer a row")])
def test_wrong_batches(shape, lengths, message):
    with pytest.raises(UsageError, match=message):
        check_batch(np.zeros(shape), np.array(lengths), 9)
