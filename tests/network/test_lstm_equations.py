"""The textbook cell: hand-worked numbers, finite differences, its reason to exist."""

from __future__ import annotations

import numpy as np
import pytest

from asr.network import equations


def random_cell(rng, features, units, scale=0.5):
    return (rng.normal(size=(features, 4 * units)) * scale,
            rng.normal(size=(units, 4 * units)) * scale, rng.normal(size=4 * units) * scale)


def test_one_step_by_hand():
    """z = (0, 0, 1, 0): gates are one half, the candidate tanh 1."""
    trace = equations.forward(np.ones((1, 1)), np.array([[0.0, 0.0, 1.0, 0.0]]),
                              np.zeros((1, 4)), np.zeros(4))
    assert trace.input_gate[0, 0] == trace.forget_gate[0, 0] == trace.output_gate[0, 0] == 0.5
    assert trace.candidate[0, 0] == pytest.approx(0.7615941559557649)
    assert trace.memory[0, 0] == pytest.approx(0.38079707797788243)
    assert trace.output[0, 0] == pytest.approx(0.5 * np.tanh(0.38079707797788243))


def test_two_steps_by_hand():
    """The forget gate halves the memory, and the recurrent weight brings the output back."""
    recurrent = np.array([[0.0, 0.0, 2.0, 0.0]])
    trace = equations.forward(np.array([[1.0], [0.0]]), np.array([[0.0, 0.0, 1.0, 0.0]]),
                              recurrent, np.zeros(4))
    c1 = 0.5 * np.tanh(1.0)
    c2 = 0.5 * c1 + 0.5 * np.tanh(2.0 * 0.5 * np.tanh(c1))
    assert trace.memory[:, 0] == pytest.approx([c1, c2])


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_gradients_match_finite_differences(rng, steps):
    x = rng.normal(size=(steps, 3))
    weights = random_cell(rng, 3, 2)
    upstream = rng.normal(size=(steps, 2))
    gradients = equations.backward(x, *weights[:2], equations.forward(x, *weights), upstream)
    for number, array in enumerate((x, *weights)):
        numeric = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            change = []
            for sign in (1, -1):
                moved = [a.copy() for a in (x, *weights)]
                moved[number][index] += sign * 1e-6
                change.append((equations.forward(*moved).output * upstream).sum())
            numeric[index] = (change[0] - change[1]) / 2e-6
        np.testing.assert_allclose(gradients[number], numeric, rtol=1e-6, atol=1e-8)


def test_an_open_forget_gate_keeps_memory_and_gradient_for_a_thousand_steps():
    """The constant error carousel of the 1997 paper."""
    steps = 1000
    x = np.zeros((steps, 1))
    x[0] = 1.0
    kernel = np.array([[40.0, 0.0, 3.0, 0.0]])  # only the first frame opens the input gate
    bias = np.array([-20.0, 20.0, 0.0, 20.0])  # forget gate open, output gate open
    recurrent = np.zeros((1, 4))
    trace = equations.forward(x, kernel, recurrent, bias)
    assert trace.memory[-1, 0] == pytest.approx(trace.memory[0, 0], rel=1e-5)
    upstream = np.zeros((steps, 1))
    upstream[-1] = 1.0
    gradients = equations.backward(x, kernel, recurrent, trace, upstream)
    alone = equations.backward(x[:1], kernel, recurrent, equations.forward(x[:1], kernel,
                               recurrent, bias), upstream[-1:])
    assert gradients.inputs[0, 0] == pytest.approx(alone.inputs[0, 0], rel=1e-4)


def test_sigmoid_does_not_overflow():
    with np.errstate(all="raise"):
        assert equations.sigmoid(np.array([-1e6, 0.0, 1e6])).tolist() == [0.0, 0.5, 1.0]


def test_batch_of_two_directions_is_each_sequence_alone(rng):
    directions = [(*random_cell(rng, 3, 2), False), (*random_cell(rng, 3, 2), True)]
    x = rng.normal(size=(2, 5, 3))
    y = equations.forward_batch(x, np.array([5, 3]), directions)
    assert (y[1, 3:] == 0).all()
    back = equations.forward(x[1, :3][::-1], *directions[1][:3]).output[::-1]
    np.testing.assert_array_equal(y[1, :3, 2:], back)
    dx, sums = equations.backward_batch(x, np.array([5, 3]), directions, np.ones_like(y))
    assert (dx[1, 3:] == 0).all()
    assert [part.shape for part in sums[0]] == [(3, 8), (2, 8), (8,)]
