"""The long-lag problems, their small networks, and the benchmark that is made of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import BENCHMARKS, script

from asr.network import equations

networks = script("lstm_networks")
problems = script("lstm_problems")
requirements = script("lstm_requirements")

SIZES = {"seed": st.integers(0, 10_000), "tens": st.integers(4, 12)}


# -- the problems, by the letter of the paper


@settings(max_examples=30, deadline=None)
@given(**SIZES)
def test_adding_asks_for_the_sum_of_the_two_marked_numbers(seed, tens):
    problem = problems.adding(10 * tens)
    batch = problem.sample(np.random.default_rng(seed), 16)
    for frames, n, target in zip(*batch, strict=True):
        assert 10 * tens <= n <= 11 * tens and not frames[n:].any()
        total, marked = 0.0, []
        for t in range(n):
            number, marker = frames[t]
            assert -1 <= number <= 1
            if t in (0, n - 1):
                assert marker == -1
            elif marker:
                assert marker == 1
                marked.append(t)
                total += number
        assert target == pytest.approx(0.5 + total / 4)
        assert len(marked) <= 2  # fewer where the first frame was drawn: it counts as 0
        assert all(t <= 5 * tens - 1 for t in marked)
        if len(marked) == 2:
            assert marked[0] < 10
        for t in marked:
            assert n - 1 - t >= problem.minimal_lag
        if len(marked) == 2:
            assert n - 1 - marked[0] >= problem.minimal_hold


def test_adding_marks_two_numbers_nearly_always(rng):
    batch = problems.adding(100).sample(rng, 2_000)
    marks = (batch.inputs[..., 1] == 1).sum(axis=1)
    assert (marks == 2).mean() == pytest.approx(1 - 0.1 - 0.9 / 49, abs=0.03)


@settings(max_examples=30, deadline=None)
@given(**SIZES)
def test_temporal_order_is_that_of_x_and_y(seed, tens):
    problem = problems.temporal_order(10 * tens)
    batch = problem.sample(np.random.default_rng(seed), 16)
    assert (batch.inputs.sum(axis=2) == (np.arange(11 * tens) < batch.num_frames[:, None])).all()
    for frames, n, target in zip(*batch, strict=True):
        text = "".join(problems.SYMBOLS[k] for k in frames[:n].argmax(axis=1))
        assert text[0] == "E" and text[-1] == "B" and 10 * tens <= n <= 11 * tens
        found = [(t, symbol) for t, symbol in enumerate(text) if symbol in "XY"]
        (first, one), (second, two) = found
        assert tens <= first + 1 <= 2 * tens and 5 * tens <= second + 1 <= 6 * tens
        assert set(text) - set("XY") <= set("abcdEB")
        assert problems.ORDERS[target] == one + two
        assert n - 1 - second >= problem.minimal_lag and n - 1 - first >= problem.minimal_hold


@pytest.mark.parametrize("same_channel", [True, False])
def test_noise_has_the_level_that_was_asked_for(rng, same_channel):
    problem = problems.noisy_message(100, 8, (-10, -10), same_channel=same_channel)
    batch = problem.sample(rng, 500)
    marked = batch.inputs[..., 1] == 1
    assert (marked.sum(axis=1) == 8).all()
    sign = 2 * batch.targets[:, None] - 1
    if same_channel:
        assert batch.inputs[~marked][:, 0].std() == pytest.approx(10 ** 0.5, rel=0.02)
        assert (batch.inputs[..., 0] * sign)[marked].mean() == pytest.approx(1, abs=0.2)
        assert not batch.inputs[..., 2].any()
    else:
        assert (batch.inputs[..., 0] == marked * sign).all()
        assert batch.inputs[..., 2].std() == pytest.approx(10 ** 0.5, rel=0.02)


def test_right_is_what_the_paper_calls_right():
    adding, order = problems.adding(40), problems.temporal_order(40)
    outputs = np.array([[0.53], [0.55], [0.47]])
    assert adding.correct(outputs, np.full(3, 0.5)).tolist() == [True, False, True]
    sure, unsure = [0.75, 0.25, 0, 0], [0.65, 0.35, 0, 0]
    assert order.correct(np.array([sure, unsure, sure]), np.array([0, 0, 1])).tolist() == [
        True, False, False]


# -- the networks


def textbook_output(layer, weights, frames):
    """The last output of one sequence, in float64."""
    if isinstance(layer, networks.Lstm):
        return equations.forward(frames, *(weights[n] for n in layer.weights)).output[-1]
    h = np.zeros(len(weights["bias"]))
    for frame in frames:
        h = frame @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights["bias"]
        h = np.maximum(h, 0) if layer.relu else np.tanh(h)
    return h


def textbook_loss(network, weights, batch):
    """What `Network.train` calls the loss, one sequence after another."""
    total = 0.0
    for frames, n, target in zip(*batch, strict=True):
        last = textbook_output(network.layer, weights, frames[:n].astype(float))
        logits = last @ weights["output"] + weights["offset"]
        total += ((logits[0] - target) ** 2 if network.problem.classes == 1 else
                  np.log(np.exp(logits).sum()) - logits[target])
    return total / len(batch.targets)


@pytest.mark.parametrize("name", requirements.UNITS)
@pytest.mark.parametrize("problem", [problems.adding(40), problems.temporal_order(40)],
                         ids=lambda problem: problem.name)
def test_gradients_are_those_of_finite_differences(name, problem, rng, monkeypatch):
    network = requirements.build(name, problem, 1e-2, seed=0)
    batch = problem.sample(rng, 3)
    seen = {}
    monkeypatch.setattr(network.optimizer, "step", lambda _, gradients: seen.update(gradients))
    network.clip = np.inf
    step = network.train(batch)
    weights = {key: weight.astype(float) for key, weight in
               (network.layer.weights | network.readout).items()}
    assert step.loss == pytest.approx(textbook_loss(network, weights, batch), rel=1e-4)
    assert step.gradient_norm == pytest.approx(
        np.sqrt(sum((g ** 2).sum() for g in seen.values())), rel=1e-4)
    for key, gradient in seen.items():
        direction = rng.normal(size=gradient.shape)
        up, down = (textbook_loss(network, weights | {key: weights[key] + move * direction}, batch)
                    for move in (1e-7, -1e-7))
        assert (up - down) / 2e-7 == pytest.approx((gradient * direction).sum(), rel=1e-3,
                                                   abs=1e-5), key


def test_clipping_shortens_the_gradient(rng, monkeypatch):
    problem = problems.adding(40)
    network = requirements.build("RNN ReLU", problem, 1e-2, seed=0)
    network.clip, seen = 1e-3, {}
    monkeypatch.setattr(network.optimizer, "step", lambda _, gradients: seen.update(gradients))
    assert network.train(problem.sample(rng, 3)).gradient_norm > 1e-3
    assert np.sqrt(sum((g ** 2).sum() for g in seen.values())) == pytest.approx(1e-3, rel=1e-4)


def test_the_lstm_is_the_textbook_cell_in_one_direction(rng):
    problem = problems.adding(40)
    network = requirements.build("LSTM", problem, 1e-2, seed=0)
    batch = problem.sample(rng, 4)
    last, _ = network.layer.forward(batch.inputs, batch.num_frames)
    for row, (frames, n) in enumerate(zip(batch.inputs, batch.num_frames, strict=True)):
        trace = equations.forward(frames[:n], **network.layer.weights)
        np.testing.assert_allclose(last[row], trace.output[-1], atol=1e-5)


def test_chrono_biases_cover_all_time_scales():
    bias = networks.Lstm(np.random.default_rng(0), 2, 500, chrono=1_000).weights["bias"]
    enter, stay = bias[:500], bias[500:1_000]
    np.testing.assert_array_equal(enter, -stay)
    assert 0 <= stay.min() and stay.max() <= np.log(999)
    memory = 1 / (1 - equations.sigmoid(stay))  # frames until a cell has forgotten
    assert np.median(memory) == pytest.approx(500, rel=0.15)
    assert (networks.Lstm(np.random.default_rng(0), 2, 3).weights["bias"][3:6] == 1).all()


def test_the_plain_network_is_its_equation(rng):
    for kind in ("tanh", "relu"):
        layer = networks.PlainRnn(rng, 2, 5, kind)
        inputs = rng.normal(size=(2, 6, 2)).astype("f4")
        last, _ = layer.forward(inputs, np.array([6, 4]))
        for row, n in ((0, 6), (1, 4)):
            np.testing.assert_allclose(
                last[row], textbook_output(layer, layer.weights, inputs[row, :n]), atol=1e-5)


def test_adam_goes_downhill():
    weights = {"w": np.array([5.0, -3.0], np.float32)}
    adam = networks.Adam(0.1)
    for _ in range(300):
        adam.step(weights, {"w": 2 * weights["w"]})
    assert np.abs(weights["w"]).max() < 0.05


def test_a_gradient_that_is_not_finite_changes_nothing(rng):
    problem = problems.adding(40)
    network = requirements.build("RNN ReLU", problem, 1e-2, seed=0)
    batch = problem.sample(rng, 2)
    before = {name: weight.copy() for name, weight in network.layer.weights.items()}
    batch.targets[:] = np.nan
    network.train(batch)
    for name, weight in network.layer.weights.items():
        np.testing.assert_array_equal(weight, before[name])


# -- the benchmark


def test_the_lstm_learns_a_short_lag_and_the_plain_network_does_not():
    problem = problems.temporal_order(40)
    results = {name: requirements.run_until_solved(
        requirements.build(name, problem, 1e-2, seed=0), seed=0, budget=12_000)
        for name in ("LSTM", "RNN tanh")}
    assert results["LSTM"]["solved"] and results["LSTM"]["sequences"] < 12_000
    assert not results["RNN tanh"]["solved"]


def test_runs_are_kept_and_not_repeated(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(requirements, "TESTED", 20)
    path = tmp_path / "runs.jsonl"
    first = requirements.report(requirements.Log(path), (40,), seeds=1, budget=80)
    kept = path.read_text("utf-8")
    assert len(kept.splitlines()) == len(first["runs"]) == 2 * 4 + 2 * 3
    monkeypatch.setattr(requirements, "run_until_solved", None)  # would fail if it were called
    again = requirements.report(requirements.Log(path), (40,), seeds=1, budget=80)
    assert again["table"] == first["table"] and path.read_text("utf-8") == kept
    assert {row["network"] for row in first["table"]} == set(requirements.UNITS)
    assert all(row["solved"] == 0 and row["sequences"] is None for row in first["table"])
    assert json.loads(requirements.as_json(first)) == json.loads(json.dumps(first))
    assert "wrong" in capsys.readouterr().err


def test_the_best_rate_solves_soonest_else_has_the_least_loss():
    runs = [{"rate": 1, "solved": False, "sequences": 9, "curve": [(9, 0.1, 0)]},
            {"rate": 2, "solved": True, "sequences": 8, "curve": []},
            {"rate": 3, "solved": True, "sequences": 7, "curve": []},
            {"rate": 4, "solved": False, "sequences": 9, "curve": [(9, None, 0)]}]
    assert requirements.best_rate(runs) == 3
    assert requirements.best_rate([runs[3], runs[0]]) == 1


def test_a_network_that_explodes_leaves_json(monkeypatch):
    monkeypatch.setattr(requirements, "TESTED", 20)
    run = requirements.memory_run("adding", 40, "RNN ReLU", 1e9, seed=0, budget=1_000)
    assert run["curve"][-1][1] is None and run["mse"] is None
    assert json.loads(json.dumps(run, allow_nan=False))["wrong"] == 20


def test_no_accuracy_is_better_than_the_best_possible():
    """A sum of 8 marked frames, drawn a hundred thousand times."""
    rng = np.random.default_rng(0)
    for level in (-20, -10, 0):
        sigma = 10 ** (-level / 20)
        right = (8 + sigma * rng.normal(size=(100_000, 8)).sum(axis=1) > 0).mean()
        assert requirements.best_possible(level) == pytest.approx(right, abs=0.005)
        assert requirements.best_possible(level, gated=False) < right


def test_the_committed_results_say_what_the_page_says():
    """LSTM: all solved in every run. Without gates: no addition; tanh: nothing at all."""
    text = (BENCHMARKS / "lstm_requirements.json").read_text("utf-8")
    result = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert {(row["problem"], row["length"]) for row in result["table"]} == {
        (name, length) for name in requirements.PROBLEMS for length in (100, 500, 1_000, 2_000)}
    for row in result["table"]:
        if row["network"] == "LSTM":
            assert row["solved"] == row["runs"] == 3 and row["wrong_percent"] < 0.5
        elif row["network"] == "RNN tanh" or row["problem"] == "adding":
            assert row["solved"] == 0
        assert row["rates_tried"] == 3 or row["solved"] == row["runs"]
    assert result["table"] == requirements.table(result["runs"])
    assert result["best_possible"] == pytest.approx(
        [requirements.best_possible(level) for level in requirements.LEVELS], rel=1e-3)


def test_pictures_are_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the development tools")
    plots = script("lstm_plots")
    result = json.loads((BENCHMARKS / "lstm_requirements.json").read_text("utf-8"))
    plots.save_all(result, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["learning.png", "noise.png", "time.png"]
    assert all(p.stat().st_size > 20_000 for p in tmp_path.iterdir())
