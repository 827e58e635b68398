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


# Posteriors, loss and gradient of Graves's own program; TensorFlow (ctc_loss_op_test.py, testBasic)
# and warp-ctc (test_cpu.cpp, options_test) test with them. Their blank is the last class.
GRAVES = [
    ([0, 1, 2, 1, 0], 3.34211,
     [[0.633766, 0.221185, 0.0917319, 0.0129757, 0.0142857, 0.0260553],
      [0.111121, 0.588392, 0.278779, 0.0055756, 0.00569609, 0.010436],
      [0.0357786, 0.633813, 0.321418, 0.00249248, 0.00272882, 0.0037688],
      [0.0663296, 0.643849, 0.280111, 0.00283995, 0.0035545, 0.00331533],
      [0.458235, 0.396634, 0.123377, 0.00648837, 0.00903441, 0.00623107]],
     [[-0.366234, 0.221185, 0.0917319, 0.0129757, 0.0142857, 0.0260553],
      [0.111121, -0.411608, 0.278779, 0.0055756, 0.00569609, 0.010436],
      [0.0357786, 0.633813, -0.678582, 0.00249248, 0.00272882, 0.0037688],
      [0.0663296, -0.356151, 0.280111, 0.00283995, 0.0035545, 0.00331533],
      [-0.541765, 0.396634, 0.123377, 0.00648837, 0.00903441, 0.00623107]]),
    ([0, 1, 1, 0], 5.42262,
     [[0.30176, 0.28562, 0.0831517, 0.0862751, 0.0816851, 0.161508],
      [0.24082, 0.397533, 0.0557226, 0.0546814, 0.0557528, 0.19549],
      [0.230246, 0.450868, 0.0389607, 0.038309, 0.0391602, 0.202456],
      [0.280884, 0.429522, 0.0326593, 0.0339046, 0.0326856, 0.190345],
      [0.423286, 0.315517, 0.0338439, 0.0393744, 0.0339315, 0.154046]],
     [[-0.69824, 0.28562, 0.0831517, 0.0862751, 0.0816851, 0.161508],
      [0.24082, -0.602467, 0.0557226, 0.0546814, 0.0557528, 0.19549],
      [0.230246, 0.450868, 0.0389607, 0.038309, 0.0391602, -0.797544],
      [0.280884, -0.570478, 0.0326593, 0.0339046, 0.0326856, 0.190345],
      [-0.576714, 0.315517, 0.0338439, 0.0393744, 0.0339315, 0.154046]]),
]


def test_graves_own_numbers_which_tensorflow_and_warp_ctc_test_with():
    logits = np.full((2, 7, 6), np.nan, np.float32)  # two frames of padding, as testBasic has
    gradients = np.zeros((2, 7, 6))
    for i, (_, _, posteriors, gradient) in enumerate(GRAVES):
        logits[i, :5] = np.roll(np.log(posteriors), 1, axis=1)  # our blank is the first
        gradients[i, :5] = np.roll(gradient, 1, axis=1)
    labels = np.array([[1, 2, 3, 2, 1], [1, 2, 2, 1, 0]])
    losses, gradient = ctc_loss(logits, np.array([5, 5]), labels, np.array([5, 4]))
    np.testing.assert_allclose(losses, [loss for _, loss, _, _ in GRAVES], rtol=2e-6)
    np.testing.assert_allclose(gradient, gradients, atol=2e-6)


def test_warp_ctcs_other_cases(rng):
    rows = np.array([[0.1, 0.6, 0.1, 0.1, 0.1], [0.1, 0.1, 0.6, 0.1, 0.1]])  # small_test
    posteriors = np.exp(rows) / np.exp(rows).sum(axis=1, keepdims=True)
    assert np.exp(-one(rows, [1, 2])[0]) == pytest.approx(posteriors[0, 1] * posteriors[1, 2])
    logits = rng.uniform(0, 1, (50, 15))  # inf_test: theirs is inf, the exact loss is 1e30 nats
    logits[:, 2] = -1e30
    loss, gradient = one(logits, [2, *rng.integers(3, 15, 9)])
    assert loss == pytest.approx(1e30)
    assert np.isfinite(gradient).all()


# k2's ctc_gradients_test.py, cases 1 to 3; case 4 is all in a batch with the scales 1, -2, 3.5.
K2 = [([[0.2] * 5], [1], 1.6094379425049),
      (np.arange(1, 16).reshape(3, 5), [3, 3], 7.355742931366),
      ([[-5, -4, -3, -2, -1], [-10, -9, -8, -7, -6], [-15, -14, -13, -12, -11]], [2, 3],
       4.938850402832)]


def test_k2s_cases():
    logits, labels = np.zeros((3, 3, 5), np.float32), np.zeros((3, 2), int)
    for i, (rows, row_labels, loss) in enumerate(K2):
        assert one(rows, row_labels)[0] == pytest.approx(loss, rel=1e-6)
        logits[i, :len(rows)], labels[i, :len(row_labels)] = rows, row_labels
    losses, gradient = ctc_loss(logits, np.array([1, 3, 3]), labels, np.array([1, 2, 2]))
    np.testing.assert_allclose(losses, [loss for _, _, loss in K2], rtol=1e-6)
    assert not gradient[0, 1:].any()
    for i, (rows, row_labels, _) in enumerate(K2):
        np.testing.assert_array_equal(gradient[i, :len(rows)], one(rows, row_labels)[1])


def test_one_class_is_the_blank():
    """TensorFlow's testSingleClassBlankOnlyLabel: nothing can be said, at no cost."""
    loss, gradient = one([[-1.0]], [])
    assert loss == 0
    assert not gradient.any()


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
