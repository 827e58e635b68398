"""The CTC loss: equal to enumeration and to TensorFlow's forms, blind to padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import ctc_loss_by_enumeration

from asr.features.lengths import feasible

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tf

from asr.errors import UsageError  # noqa: E402
from asr.network import ctc  # noqa: E402
from asr.network.ctc import by_tensorflow, ctc_loss, per_label  # noqa: E402


def loss_of(logits: np.ndarray, labels: list[int]) -> float:
    (loss,) = ctc_loss(tf.constant(logits[None], tf.float32), tf.constant([len(logits)]),
                       tf.constant([labels], tf.int32), tf.constant([len(labels)])).numpy()
    return float(loss)


def test_enumeration_oracle_on_a_hand_worked_case():
    # Two frames, blank and "a", all probabilities 1/2: "a" is aa, a-, -a: 3/4.
    assert ctc_loss_by_enumeration(np.zeros((2, 2)), [1]) == pytest.approx(-np.log(0.75))


@settings(max_examples=60, deadline=None)
@given(frames=st.integers(1, 5), vocab=st.integers(2, 3), seed=st.integers(0, 10_000),
       data=st.data())
def test_equals_enumeration_and_is_finite_exactly_when_feasible(frames, vocab, seed, data):
    labels = data.draw(st.lists(st.integers(1, vocab - 1), max_size=frames))
    logits = np.random.default_rng(seed).normal(0, 2, (frames, vocab)).astype(np.float32)
    loss = loss_of(logits, labels)
    assert np.isfinite(loss) == feasible(frames, labels)
    if np.isfinite(loss):
        assert loss == pytest.approx(ctc_loss_by_enumeration(logits, labels), abs=1e-4)


def test_equals_the_dense_form_on_a_batch(rng):
    logits = rng.normal(0, 1, (4, 20, 7)).astype(np.float32)
    frames = np.array([20, 12, 9, 15], np.int32)
    counts = np.array([5, 3, 1, 4], np.int32)
    labels = np.zeros((4, 5), np.int32)
    for row, count in enumerate(counts):
        labels[row, :count] = rng.permutation(np.arange(1, 7))[:count]
    ours = ctc_loss(*map(tf.constant, (logits, frames, labels, counts))).numpy()
    dense = tf.nn.ctc_loss(labels, logits, counts, frames, logits_time_major=False,
                           blank_index=0).numpy()
    np.testing.assert_allclose(ours, dense, atol=1e-4)


def test_padding_changes_nothing_and_gets_no_gradient(rng):
    logits = rng.normal(0, 1, (1, 10, 5)).astype(np.float32)
    padded = np.concatenate([logits, np.full((1, 7, 5), np.nan, np.float32)], axis=1)
    labels, counts = tf.constant([[1, 2, 2]]), tf.constant([3])
    variable = tf.Variable(padded)
    with tf.GradientTape() as tape:
        loss = ctc_loss(variable, tf.constant([10]), tf.pad(labels, [[0, 0], [0, 4]]), counts)
    gradient = tape.gradient(loss, variable).numpy()
    assert loss.numpy() == ctc_loss(logits, tf.constant([10]), labels, counts).numpy()
    assert (gradient[:, 10:] == 0).all()
    assert np.isfinite(gradient).all()


def with_gradient(function, logits, *rest):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = function(logits, *rest)
        total = tf.reduce_sum(losses * tf.linspace(tf.ones((), logits.dtype), 0.5, len(losses)))
    return losses.numpy(), tape.gradient(total, logits).numpy()


@pytest.mark.parametrize("vocab", [5, 29, 130])
def test_equals_tensorflow_with_its_gradient(vocab, rng):
    logits = rng.normal(0, 1, (6, 30, vocab)).astype(np.float32)
    frames = tf.constant([30, 12, 9, 15, 30, 1])
    counts = tf.constant([5, 3, 0, 4, 7, 1])  # one in which nothing is said
    labels = tf.constant(rng.integers(1, vocab, (6, 7)), tf.int32)
    ours = with_gradient(ctc_loss, logits, frames, labels, counts)
    # In float64: in float32 it is wrong by 2e-5 where the loss is 100.
    theirs = with_gradient(by_tensorflow, logits.astype(np.float64), frames, labels, counts)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-6)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="TensorFlow's loss there")
def test_unlikely_labels_have_a_finite_loss_in_a_graph_too():
    one = tf.constant([1])
    logits = np.array([[[88, 0, 0]]], np.float32)
    for function in (ctc_loss, tf.function(ctc_loss)):
        losses, gradient = with_gradient(function, logits, one, tf.constant([[1]]), one)
        assert losses.tolist() == [88.0]
        np.testing.assert_allclose(gradient, [[[1, -1, 0]]], atol=1e-7)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="TensorFlow's loss there")
def test_a_label_out_of_range_is_refused():
    with pytest.raises((UsageError, tf.errors.InvalidArgumentError), match=r"in 1 \.\. 2"):
        loss_of(np.zeros((3, 3)), [3])


def test_an_utterance_without_a_word_counts_as_one_label():
    losses = tf.constant([3.0, 5.0, 2.0])
    assert float(per_label(losses, {"num_labels": tf.constant([4, 3, 1])})) == 10 / 8
    assert float(per_label(losses, {"num_labels": tf.constant([0, 3, 0])})) == 10 / 5
    assert float(per_label(losses, {"num_labels": tf.constant([0, 0, 0])})) == pytest.approx(10 / 3)


def test_without_a_compiler_tensorflow_computes_it(monkeypatch, caplog):
    monkeypatch.setattr(ctc.kernel, "problem", lambda: "no compiler here")
    ctc._compiles.cache_clear()
    try:
        assert loss_of(np.zeros((2, 2)), [1]) == pytest.approx(-np.log(0.75))
        assert "no compiler here" in caplog.text
    finally:
        ctc._compiles.cache_clear()
