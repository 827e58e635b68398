"""The compiled CTC loss: equal to enumeration, and to a plain float64 recursion when long."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import ctc_loss_by_enumeration

from asr.errors import UsageError
from asr.kernels import ctc
from asr.kernels.ctc import ctc_loss


def one(logits, labels) -> tuple[float, np.ndarray]:
    """Loss and gradient of an utterance; labels may be empty."""
    labels = np.asarray(labels, np.int64)[np.newaxis]
    losses, gradient = ctc_loss(np.asarray(logits, np.float32)[np.newaxis],
                                np.array([len(logits)]), labels, np.array([labels.shape[1]]))
    return float(losses[0]), gradient[0]


def recursion(logits, labels) -> float:
    """The forward recursion of the paper in float64, every state at every frame."""
    x = np.asarray(logits, np.float64)
    x = x - np.logaddexp.reduce(x, axis=1, keepdims=True)
    states = [0, *(k for label in labels for k in (label, 0))]
    alpha = np.full(len(states), -np.inf)
    alpha[:2] = x[0, states[:2]]
    for row in x[1:]:
        new = alpha.copy()
        new[1:] = np.logaddexp(new[1:], alpha[:-1])
        for s in range(2, len(states)):
            if states[s] not in (0, states[s - 2]):
                new[s] = np.logaddexp(new[s], alpha[s - 2])
        alpha = new + row[states]
    return -float(np.logaddexp.reduce(alpha[-2:]))


def test_it_runs_here():
    assert ctc.problem() is None


def test_a_posterior_too_small_for_float32():
    loss, gradient = one([[88, 0, 0]], [1])
    assert loss == 88.0
    np.testing.assert_allclose(gradient, [[1, -1, 0]], atol=1e-7)
    loss, gradient = one([[1e4, -1e4, 0]] * 3, [1, 2])
    assert loss == pytest.approx(3e4 - np.log(3), rel=1e-7)  # a blank before, between, behind
    np.testing.assert_allclose(gradient.sum(axis=0), [2, -1, -1], atol=1e-6)


@settings(max_examples=150, deadline=None)
@given(frames=st.integers(1, 5), vocab=st.integers(2, 3), seed=st.integers(0, 10_000),
       scale=st.sampled_from([0.1, 1.0, 30.0, 1e3, 1e4]), data=st.data())
def test_equals_enumeration(frames, vocab, seed, scale, data):
    labels = data.draw(st.lists(st.integers(1, vocab - 1), max_size=frames))
    rng = np.random.default_rng(seed)
    logits = rng.uniform(-scale, scale, (frames, vocab)).astype(np.float32)
    wanted = ctc_loss_by_enumeration(logits.astype(np.float64), labels)
    loss, gradient = one(logits, labels)
    assert loss == pytest.approx(wanted, rel=1e-6, abs=1e-5)
    if np.isinf(wanted):
        assert not gradient.any()
        return
    np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-5)
    step = 1e-5 * max(1.0, scale / 1e3)
    for place in np.ndindex(logits.shape):
        near = np.repeat(logits.astype(np.float64)[np.newaxis], 2, axis=0)
        near[0][place] += step
        near[1][place] -= step
        above, below = (ctc_loss_by_enumeration(x, labels) for x in near)
        assert gradient[place] == pytest.approx((above - below) / (2 * step), abs=1e-3)


@pytest.mark.parametrize(("frames", "vocab", "count"), [(200, 29, 60), (150, 301, 20),
                                                        (80, 6, 0), (70, 3, 35)])
def test_long_utterances_in_a_batch(frames, vocab, count, rng):
    logits = rng.normal(0, 3, (3, frames, vocab)).astype(np.float32)
    labels = rng.integers(1, vocab, (3, max(count, 1)))
    labels[:, 1::2] = 1 + labels[:, ::2][:, :labels[:, 1::2].shape[1]] % (vocab - 1)
    num_frames, num_labels = np.array([frames, frames - 7, 2]), np.array([count, count // 2, 1])
    results = [ctc_loss(logits, num_frames, labels, num_labels, threads=n) for n in (1, 2, 5)]
    for losses, gradient in results[1:]:
        assert losses.tobytes() == results[0][0].tobytes()
        assert gradient.tobytes() == results[0][1].tobytes()
    for i, (loss, gradient) in enumerate(zip(*results[0], strict=True)):
        x, y = logits[i, :num_frames[i]].astype(np.float64), labels[i, :num_labels[i]]
        assert loss == pytest.approx(recursion(x, y), rel=1e-6)
        assert not gradient[num_frames[i]:].any()
        direction = rng.normal(size=x.shape)
        slope = (recursion(x + 1e-5 * direction, y) - recursion(x - 1e-5 * direction, y)) / 2e-5
        assert (gradient[:len(x)] * direction).sum() == pytest.approx(slope, rel=1e-4, abs=1e-4)


def test_no_labels_cost_the_blanks(rng):
    logits = rng.normal(size=(4, 3))
    cost = np.logaddexp.reduce(logits, axis=1) - logits[:, 0]
    assert one(logits, [])[0] == pytest.approx(cost.sum(), rel=1e-6)
    assert one(np.zeros((0, 3)), [])[0] == 0
    assert one(np.zeros((0, 3)), [1])[0] == np.inf


def test_infeasible_rows_have_no_gradient():
    for labels in ([1, 2, 1], [1, 1]):
        loss, gradient = one(np.zeros((2, 3)), labels)
        assert loss == np.inf
        assert not gradient.any()
    loss, gradient = one([[0, -np.inf, 0]], [1])  # probability zero
    assert loss == np.inf
    assert not gradient.any()


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0), (1, 2), (2, 1)])
def test_what_is_not_a_number_stays_so(odd, place):
    logits = np.zeros((3, 3))
    logits[place] = odd
    loss, gradient = one(logits, [1])
    assert np.isnan(loss)
    assert np.isnan(gradient).all()


def test_padding_is_not_read():
    logits = np.zeros((1, 5, 3), np.float32)
    wanted = one(logits[0, :3], [1])
    logits[:, 3:] = np.nan
    losses, gradient = ctc_loss(logits, np.array([3]), np.array([[1, 99]]), np.array([1]))
    assert losses[0] == wanted[0]
    np.testing.assert_array_equal(gradient[0, :3], wanted[1])
    assert not gradient[0, 3:].any()
    nothing = ctc_loss(logits[:0], np.zeros(0, int), np.zeros((0, 2), int), np.zeros(0, int))
    assert nothing[0].shape == (0,)


@pytest.mark.parametrize(("change", "message"), [
    ({"logits": np.zeros((2, 3))}, "logits have shape"), ({"labels": [[1]]}, "labels"),
    ({"num_frames": [3, 4]}, r"0 \.\. 3"), ({"num_frames": [-1, 3]}, r"from -1"),
    ({"num_frames": [3.0, 3.0]}, "one per utterance"), ({"num_labels": [3, 1]}, r"0 \.\. 2"),
    ({"num_labels": [1]}, "one per utterance"), ({"labels": [[1, 4], [1, 1]]}, r"1 \.\. 3"),
    ({"labels": [[0, 1], [1, 1]]}, "run from 0"), ({"labels": [[1.0, 1], [1, 1]]}, "integers")])
def test_refusals(change, message):
    arguments = {"logits": np.zeros((2, 3, 4)), "num_frames": [3, 3], "labels": [[1, 2], [1, 1]],
                 "num_labels": [2, 1], **change}
    with pytest.raises(UsageError, match=message):
        ctc_loss(*map(np.asarray, arguments.values()))
