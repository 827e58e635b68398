"""The pictures of `lstm_requirements`: what was solved, how fast, and through how much noise.

In: the report of that script. Out: matplotlib figures. Also used by the notebooks, for one look.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D

# Okabe and Ito's colours, told apart by all kinds of colour vision, and in grey by their marks.
LOOKS: dict[str, tuple[str, Any, str]] = {
    "LSTM": ("#0072B2", "-", "o"), "LSTM, bias 1": ("#56B4E9", "--", "s"),
    "RNN tanh": ("#D55E00", "-", "^"), "RNN ReLU": ("#E69F00", "--", "v")}
NAMES = {"LSTM": "LSTM", "LSTM, bias 1": "LSTM, forget bias 1", "RNN tanh": "plain RNN, tanh",
         "RNN ReLU": "plain RNN, ReLU"}
INK = "#444444"
PAPER = {"adding": {100: 74_000, 500: 209_000, 1_000: 853_000},  # tables 7 and 9
         "temporal order": {100: 31_390}}
CHANCE = {"adding": 15, "temporal order": 0}  # % right of always giving the mean answer


def style(**more: Any) -> None:
    """Quiet axes and readable sizes for every figure that follows."""
    quiet: dict[Any, Any] = {
        "figure.figsize": (9, 3), "figure.dpi": 80, "figure.constrained_layout.use": True,
        "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK,
        "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "font.size": 10,
        "axes.titlesize": 11, "axes.titlelocation": "left", "savefig.dpi": 120}
    plt.rcParams.update(quiet | more)  # type: ignore  # the stub lists keys one by one


def label_ends(ax, ends: dict[str, tuple[float, float, str]], gap: float = 0.085) -> None:
    """Write each curve's name beside its end, pushed apart where ends are close.

    Args:
        ends: name to (x, y, colour), of the curve's last point.
        gap: least distance of two names, as a share of the axis.
    """
    low, high = ax.transData.transform([(0, y) for y in ax.get_ylim()])[:, 1]
    places, floor = [], -np.inf
    for name, (x, y, colour) in sorted(ends.items(), key=lambda item: item[1][1]):
        share = (ax.transData.transform((x, y))[1] - low) / (high - low)
        floor = max(share, floor + gap)
        places.append((name, x, floor, colour))
    over = max(0.0, places[-1][2] - 1) if places else 0.0
    for name, _, share, colour in places:
        ax.annotate(name, (1.0, share - over), xycoords="axes fraction", xytext=(5, 0),
                    textcoords="offset points", va="center", color=colour, annotation_clip=False)


def best_runs(report: dict, problem: str, length: int, network: str) -> list[dict]:
    """All runs of a case with the learning rate that the report's table chose."""
    rate = next(row["rate"] for row in report["table"] if (
        row["problem"], row["length"], row["network"]) == (problem, length, network))
    return [run for run in report["runs"] if run["requirement"] == "memory" and (
        run["problem"], run["length"], run["network"], run["rate"]) == (
            problem, length, network, rate)]


def learning(report: dict):
    """Share of right answers against sequences seen: a row per problem, a column per length."""
    problems = list(dict.fromkeys(row["problem"] for row in report["table"]))
    lengths = sorted({row["length"] for row in report["table"] if row["network"] != "LSTM"})
    fig, axes = plt.subplots(len(problems), len(lengths), sharex=True, sharey=True, squeeze=False,
                             figsize=(max(6.5, 1.6 + 2.7 * len(lengths)), 2.6 * len(problems)))
    for (row, column), ax in np.ndenumerate(axes):
        ends = {}
        for network in dict.fromkeys(r["network"] for r in report["table"]):
            colour, line, _ = LOOKS[network]
            for run in best_runs(report, problems[row], lengths[column], network):
                curve = np.array(run["curve"], float)  # None becomes NaN
                x, y = curve[:, 0] / 1_000, 100 * curve[:, 2]
                if run["solved"]:  # what is solved stays solved; the run ended here
                    ax.plot(x[-1], 100, "o", color=colour, markersize=5, clip_on=False, zorder=3)
                ax.plot(x, y, line, color=colour, linewidth=1.6, alpha=0.85)
                ends.setdefault(network, (x[-1], y[-1]))
        ax.axhline(CHANCE[problems[row]], color="0.6", linewidth=1, linestyle=":")
        ax.set(ylim=(-3, 104), xlim=(0, report["settings"]["budget"] / 1_000),
               title=f"{problems[row]}, T = {lengths[column]:,}")
        if column == 0:
            ax.set_ylabel("right answers, %")
        if row == len(problems) - 1:
            ax.set_xlabel("sequences seen, thousands")
    fig.canvas.draw()
    _key(fig, dict.fromkeys(r["network"] for r in report["table"]))
    return fig


def _key(fig, networks) -> None:
    """One line above the panels that names the curves, in their colours."""
    lines = [Line2D([], [], color=LOOKS[n][0], linestyle=LOOKS[n][1], linewidth=1.8)
             for n in networks]
    lines.append(Line2D([], [], color="0.6", linestyle=":"))
    names = [*(NAMES[n] for n in networks), "always the mean"]
    fig.legend(lines, names, loc="outside upper center", ncols=len(names), frameon=False,
               handlelength=2.2, columnspacing=1.4,
               labelcolor=[*(LOOKS[n][0] for n in networks), "0.45"])


def time_to_solve(report: dict):
    """Sequences and processor seconds until solved, against the length; a dot is a run."""
    fig, (*panels, clock) = plt.subplots(1, 3, figsize=(9.5, 3.4))
    for ax, problem in zip(panels, PAPER, strict=True):
        for network in LOOKS:
            if lengths := _solved_lengths(report, problem, network):
                _median_line(ax, report, problem, network, lengths, "sequences", 1e3)
        paper = PAPER[problem]
        ax.plot(list(paper), [n / 1e3 for n in paper.values()], "-D", color="#888888",
                linewidth=1, markersize=5, label="LSTM of 1997")
        ax.set(title=f"{problem}:\nsequences until solved", ylabel="thousands", ylim=(4, 1_500))
    for problem, filled in zip(PAPER, (True, False), strict=True):
        lengths = _solved_lengths(report, problem, "LSTM")
        _median_line(clock, report, problem, "LSTM", lengths, "cpu_seconds", 1, problem, filled)
    clock.set(title="LSTM:\ntime until solved, one core", ylabel="processor seconds")
    ticks = sorted({row["length"] for row in report["table"]})
    for ax in (*panels, clock):
        ax.set(xscale="log", yscale="log", xlabel="length T, frames")
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.set_xticks([], minor=True)
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
        ax.yaxis.set_minor_formatter("")
        lines, _ = ax.get_legend_handles_labels()
        ax.legend(frameon=False, fontsize=9, loc="upper left",
                  labelcolor=[line.get_color() for line in lines])
    return fig


def _solved_lengths(report: dict, problem: str, network: str) -> list[int]:
    """Lengths that the network solved in every run."""
    return [row["length"] for row in report["table"] if row["solved"] == row["runs"]
            and (row["problem"], row["network"]) == (problem, network)]


def _median_line(ax, report, problem, network, lengths, key, scale, name=None, filled=True) -> None:
    """Medians as a line with marks, single runs as small dots."""
    colour, line, mark = LOOKS[network]
    runs = [[run[key] / scale for run in best_runs(report, problem, length, network)]
            for length in lengths]
    ax.plot(lengths, [np.median(values) for values in runs], line if filled else "--",
            color=colour, linewidth=1.6, marker=mark, markersize=6, label=name or NAMES[network],
            markerfacecolor=colour if filled else "white")
    for length, values in zip(lengths, runs, strict=True):
        ax.plot([length] * len(values), values, ".", color=colour, alpha=0.5, markersize=4)


def noise(report: dict):
    """Accuracy against the level of what is irrelevant; mean and range of the seeds."""
    runs = [run for run in report["runs"] if run["requirement"] == "noise"]
    levels = runs[0]["levels_db"]
    fig, axes = plt.subplots(1, 2, sharey=True, figsize=(9, 3.4))
    for ax, same_channel in zip(axes, (False, True), strict=True):
        for network in LOOKS:
            mine = _noise_runs(runs, network, same_channel)
            if not mine:
                continue
            accuracy = 100 * np.array([run["accuracy"] for run in mine])
            colour, line, mark = LOOKS[network]
            ax.fill_between(levels, accuracy.min(axis=0), accuracy.max(axis=0), color=colour,
                            alpha=0.2, linewidth=0)
            ax.plot(levels, accuracy.mean(axis=0), line, color=colour, marker=mark,
                    markersize=5, linewidth=1.6, label=NAMES[network])
        if same_channel:
            ax.plot(levels, 100 * np.array(report["best_possible"]), color="black",
                    linewidth=1.2, linestyle=(0, (5, 2)), label="the best possible")
            ax.plot(levels, 100 * np.array(report["without_gating"]), color="0.5", linewidth=1.2,
                    linestyle=":", label="adding all frames alike")
            ax.legend(frameon=False, loc="lower right", fontsize=9)
        ax.set(xlabel="message over noise, dB", ylim=(48, 101.5), xticks=levels[::2],
               title="noise in the channel of the message" if same_channel else
               "noise in a channel of its own")
        ax.axhline(50, color="0.6", linewidth=1, linestyle=":")
    axes[0].set_ylabel("right answers, %")
    axes[0].annotate("guessing", (levels[-1], 50), ha="right", va="bottom", color="0.45",
                     fontsize=9)
    return fig


def _noise_runs(runs: list[dict], network: str, same_channel: bool) -> list[dict]:
    """The runs with the rate that was repeated with other seeds."""
    mine = [run for run in runs if run["network"] == network
            and run["same_channel"] == same_channel]
    rates = [run["rate"] for run in mine]
    return [run for run in mine if run["rate"] == max(rates, key=rates.count)]


def save_all(report: dict, folder: Path) -> None:
    """learning.png, time.png and noise.png."""
    plt.switch_backend("agg")
    style()
    for name, draw in (("learning", learning), ("time", time_to_solve), ("noise", noise)):
        figure = draw(report)
        figure.savefig(folder / f"{name}.png")
        plt.close(figure)
