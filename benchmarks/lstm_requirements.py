"""What is asked of a recurrent network, measured: memory, resistance to noise, reasonable time.

    python benchmarks/lstm_requirements.py                          # lag 100, a minute
    python benchmarks/lstm_requirements.py --full --output results/lstm    # all, under an hour

Bengio, Simard and Frasconi 1994 ask three things: it stores information for an arbitrary time, it
resists noise (what is irrelevant), and it can be trained in reasonable time. Here one direction
of this project's compiled kernels (32 units, asr.kernels.cpu) is compared with plain recurrent
networks with as many weights (64 units), in NumPy. Problems: benchmarks/lstm_problems.py.

The rules are the same for all: batches of 20 new sequences, Adam, gradients clipped at length 1,
at most 40,000 sequences. The learning rate is the best of three at length 100; longer sequences
start from it, and where it fails the two others are tried. Rates that solved a problem, and the
best at length 100, are repeated with two more seeds. Solved, as in the paper: the last 2,000
sequences were all answered correctly, before they were learnt from; then 2,560 new ones are
tested. Prints JSON; with --output every finished run is kept and the same command goes on.

benchmarks/lstm_requirements.json is the full run of 2026-11-22 and 23, 24 minutes of one busy core.
A number that is not finite (the loss of a network that has exploded) is null there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from statistics import NormalDist

import numpy as np
from lstm_networks import Lstm, Network, PlainRnn
from lstm_problems import Problem, adding, noisy_message, temporal_order

from asr.files import write_atomic

PROBLEMS = {"adding": adding, "temporal order": temporal_order}
RATES = (1e-2, 1e-3, 1e-4)
BATCH, BUDGET, STREAK, TESTED = 20, 40_000, 2_000, 2_560  # sequences
UNITS = {"LSTM": 32, "LSTM, bias 1": 32, "RNN tanh": 64, "RNN ReLU": 64}
POINTS = 50  # of a learning curve
LEVELS = tuple(range(-20, 21, 5))  # dB


def build(network: str, problem: Problem, rate: float, seed: int) -> Network:
    """A network of the comparison with fresh weights.

    "LSTM" starts with chrono biases, which are told the length of the problem; "RNN tanh" from
    an orthogonal and "RNN ReLU" (IRNN) from an identity matrix.
    """
    rng = np.random.default_rng([seed, 1])
    units = UNITS[network]
    if network.startswith("LSTM"):
        chrono = problem.length if network == "LSTM" else None
        layer = Lstm(rng, problem.features, units, chrono)
    else:
        layer = PlainRnn(rng, problem.features, units, network.split()[1].lower())
    return Network(problem, layer, rng, learning_rate=rate)


def run_until_solved(network: Network, seed: int, budget: int = BUDGET,
                     streak: int = STREAK) -> dict:
    """Train until `streak` sequences in a row were right, or `budget` sequences are used up.

    Returns:
        solved, sequences used, the share of right answers among the last 2,000, a learning
        curve (sequences, loss, share correct), steps, wall and processor seconds.
    """
    rng = np.random.default_rng([seed, 2])
    every = max(1, budget // BATCH // POINTS)
    losses, shares, curve, streak_now = [], [], [], 0
    wall, cpu = time.perf_counter(), time.process_time()
    while streak_now < streak and len(losses) < budget // BATCH:
        step = network.train(network.problem.sample(rng, BATCH))
        losses.append(step.loss)
        shares.append(float(step.correct.mean()))
        streak_now = streak_now + BATCH if step.correct.all() else 0
        if len(losses) % every == 0:
            curve.append((len(losses) * BATCH, _short(np.mean(losses[-every:])),
                          _short(np.mean(shares[-every:]))))
    return {"solved": streak_now >= streak, "sequences": len(losses) * BATCH,
            "correct": _short(np.mean(shares[-STREAK // BATCH:])), "curve": curve,
            "steps": len(losses), "seconds": _short(time.perf_counter() - wall),
            "cpu_seconds": _short(time.process_time() - cpu)}


def examine(network: Network, seed: int) -> dict:
    """Wrong answers, and the mean squared error of numbers, on TESTED new sequences."""
    rng = np.random.default_rng([seed, 3])
    wrong, squares = 0, []
    for start in range(0, TESTED, 256):
        batch = network.problem.sample(rng, min(256, TESTED - start))
        outputs = network.answer(batch)
        wrong += int((~network.problem.correct(outputs, batch.targets)).sum())
        squares.append(float(((outputs[:, 0] - batch.targets) ** 2).mean()))
    result = {"tested": TESTED, "wrong": wrong}
    return result | ({"mse": _short(np.mean(squares))} if network.problem.classes == 1 else {})


def memory_run(name: str, lag: int, network: str, rate: float, seed: int, budget: int) -> dict:
    """One run of the first requirement."""
    problem = PROBLEMS[name](lag)
    net = build(network, problem, rate, seed)
    result = run_until_solved(net, seed, budget)
    return {"requirement": "memory", "problem": name, "length": lag,
            "minimal_lag": problem.minimal_lag, "minimal_hold": problem.minimal_hold,
            "network": network, "rate": rate, "seed": seed, "weights": net.num_weights,
            **result, **examine(net, seed)}


def best_rate(runs: list[dict]) -> float:
    """Rate of the run that solved with the fewest sequences, else of that with the least loss."""
    def loss(run: dict) -> float:
        last = run["curve"][-1][1]
        return np.inf if last is None else last

    return min(runs, key=lambda run: (not run["solved"], run["sequences"] if run["solved"] else
                                      loss(run)))["rate"]


def noise_run(same_channel: bool, network: str, rate: float, seed: int, budget: int) -> dict:
    """Train on all levels of noise between -20 and 20 dB, test each: the second requirement."""
    def problem(low, high):
        return noisy_message(100, 8, (low, high), same_channel=same_channel)

    net = build(network, problem(-20, 20), rate, seed)
    result = run_until_solved(net, seed, budget, streak=sys.maxsize)
    rng = np.random.default_rng([seed, 3])
    accuracy = []
    for level in LEVELS:
        batch = problem(level, level).sample(rng, TESTED)
        accuracy.append(_short((net.answer(batch).argmax(axis=1) == batch.targets).mean()))
    return {"requirement": "noise", "same_channel": same_channel, "network": network,
            "rate": rate, "seed": seed, "levels_db": LEVELS, "accuracy": accuracy, **result}


def best_possible(level_db: float, *, gated: bool = True) -> float:
    """Accuracy of adding the 8 marked frames only, or (not gated) all 100.

    The first is the optimum: a sum of 8 with noise of standard deviation sqrt(8) sigma.
    """
    return NormalDist().cdf(8 / (np.sqrt(8 if gated else 100) * 10 ** (-level_db / 20)))


class Log:
    """Finished runs, in memory and in a file; a run that is in the file is not run again."""

    def __init__(self, path: Path | None):
        self.path, self.runs = path, []
        if path is not None and path.exists():
            self.runs = [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    def run(self, work, **arguments) -> dict:
        """The kept result of work(**arguments), or a new one."""
        key = {"requirement": work.__name__.removesuffix("_run"), **arguments}
        for run in self.runs:
            if all(run.get({"name": "problem", "lag": "length"}.get(k, k)) == v
                   for k, v in key.items()):
                return run
        run = work(**arguments) | {"budget": arguments["budget"]}
        self.runs.append(run)
        print(", ".join(f"{k} {v}" for k, v in run.items() if k != "curve"), file=sys.stderr,
              flush=True)
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, "".join(json.dumps(r) + "\n" for r in self.runs).encode())
        return run


def measure(log: Log, lags: tuple[int, ...], seeds: int, budget: int) -> list[dict]:
    """All runs that the tables and pictures are made of.

    First the shortest length and the noise, with all rates; then every network at every length
    with the rate that was best before; last, where that failed, the other rates.
    """
    rates = RATES if seeds > 1 else RATES[:1]
    best = {}
    for network in UNITS:
        for name in PROBLEMS:
            case = {"name": name, "lag": lags[0], "network": network, "budget": budget}
            best[name, network] = search(log, memory_run, case, rates, seeds, stop=False)
    for same_channel in (True, False):
        for network in ("LSTM", "RNN tanh", "RNN ReLU"):
            case = {"same_channel": same_channel, "network": network, "budget": budget}
            search(log, noise_run, case, rates, seeds, stop=False)
    longer = [{"name": name, "lag": lag, "network": network, "budget": budget}
              for lag in lags[1:] for network in UNITS for name in PROBLEMS
              if lag <= 1_000 or network == "LSTM"]
    longer.sort(key=lambda case: case["network"] != "LSTM")
    for tried in (1, len(rates)):
        for case in longer:
            first = best[case["name"], case["network"]]
            ordered = sorted(rates, key=lambda rate: rate != first)[:tried]
            search(log, memory_run, case, ordered, seeds, stop=True)
    return log.runs


def search(log: Log, work, case: dict, rates: tuple[float, ...] | list[float], seeds: int, *,
           stop: bool) -> float:
    """Try the rates with seed 0, to the first that solves if `stop`; the best with all seeds."""
    found = []
    for rate in rates:
        found.append(log.run(work, **case, rate=rate, seed=0))
        if stop and found[-1]["solved"]:
            break
    best = best_rate(found)
    if not stop or found[-1]["solved"]:
        for seed in range(1, seeds):
            log.run(work, **case, rate=best, seed=seed)
    return best


def table(runs: list[dict]) -> list[dict]:
    """A row per problem, length and network: its runs with the best rate, in medians."""
    rows = []
    memory = [run for run in runs if run["requirement"] == "memory"]
    keys = {(r["problem"], r["length"], r["network"]) for r in memory}
    for key in sorted(keys, key=lambda key: (*key[:2], list(UNITS).index(key[2]))):
        mine = [r for r in memory if (r["problem"], r["length"], r["network"]) == key]
        rate = best_rate([r for r in mine if r["seed"] == 0])
        num_rates = len({r["rate"] for r in mine})
        mine = [r for r in mine if r["rate"] == rate]
        solved = [r for r in mine if r["solved"]]
        rows.append({
            "problem": key[0], "length": key[1], "network": key[2], "rate": rate,
            "rates_tried": num_rates,
            **{name: mine[0][name] for name in ("minimal_lag", "minimal_hold", "weights")},
            "runs": len(mine), "solved": len(solved),
            "sequences": _median(solved, "sequences"), "seconds": _median(solved, "seconds"),
            "cpu_seconds": _median(solved, "cpu_seconds"),
            "wrong_percent": _short(100 * np.mean([r["wrong"] / r["tested"] for r in mine])),
            "steps_per_cpu_second": _short(np.median([r["steps"] / r["cpu_seconds"]
                                                      for r in mine]))})
    return rows


def _median(runs: list[dict], name: str) -> float | None:
    return _short(np.median([run[name] for run in runs])) if runs else None


def _short(number) -> float | None:
    """Four digits are enough for a report; None for what JSON has no number for."""
    return float(f"{float(number):.4g}") if np.isfinite(number) else None


def report(log: Log, lags: tuple[int, ...], seeds: int, budget: int) -> dict:
    build("LSTM", adding(100), 1e-2, 0).train(adding(100).sample(np.random.default_rng(0), 2))
    runs = measure(log, lags, seeds, budget)  # after the kernels have been compiled
    return {"machine": {"processor": platform.processor() or platform.machine(), "threads": 1,
                        "load": os.getloadavg()},
            "settings": {"batch": BATCH, "budget": budget, "streak": STREAK, "rates": RATES,
                         "units": UNITS, "seeds": seeds},
            "table": table(runs), "runs": runs,
            "best_possible": [_short(best_possible(level)) for level in LEVELS],
            "without_gating": [_short(best_possible(level, gated=False)) for level in LEVELS]}


def as_json(result: dict) -> str:
    """One line a run, so that two reports can be compared."""
    parts = []
    for name, value in result.items():
        text = json.dumps(value)
        if name in ("table", "runs"):
            text = "[\n  " + ",\n  ".join(json.dumps(item) for item in value) + "\n ]"
        parts.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="lags to 2,000, three seeds and rates")
    parser.add_argument("--output", type=Path, help="folder for runs, results and pictures")
    arguments = parser.parse_args()
    log = Log(arguments.output / "runs.jsonl" if arguments.output else None)
    lags, seeds, budget = (((100, 500, 1_000, 2_000), 3, BUDGET) if arguments.full
                           else ((100,), 1, 25_000))
    result = report(log, lags, seeds, budget)
    if arguments.output:
        from lstm_plots import save_all
        write_atomic(arguments.output / "results.json", as_json(result).encode())
        save_all(result, arguments.output)
    print(as_json(result), end="")


if __name__ == "__main__":
    main()
