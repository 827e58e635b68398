"""The CTC loss: equal to enumeration and to TensorFlow's dense form, blind to padding."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import ctc_loss_by_enumeration

from asr.features.lengths import feasible

tf = pytest.importorskip("tensorflow")
pytestmark = pytest.mark.tf

from asr.network.ctc import ctc_loss  # noqa: E402


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
    labels = data.draw(st.lists(st.integers(1, vocab - 1), min_size=1, max_size=frames))
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
    ours = ctc_loss(logits, frames, labels, counts).numpy()
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
