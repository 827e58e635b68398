"""The learning rate of every step.

In: the [train] section, how far the run is. Out: a learning rate. Pure functions.
"""

from __future__ import annotations

import math

from asr.recipe import TrainSettings


def progress(settings: TrainSettings, step: int, total_steps: int, seconds: float) -> float:
    """How much of the run is over, 0 .. 1: by steps, or by the clock if that is further.

    A wall-time budget (`max_minutes`) pulls the decay along, so that a slower machine ends with
    the same small learning rate instead of being cut off at a large one.
    """
    by_steps = step / max(1, total_steps)
    by_clock = seconds / (60 * settings.max_minutes) if settings.max_minutes else 0.0
    return min(1.0, max(by_steps, by_clock))


def is_over(settings: TrainSettings, *, epoch: int, best_epoch: int, seconds: float) -> bool:
    """Whether a run in this state has nothing left to do: epochs, clock or patience are spent.

    Args:
        settings: the [train] section.
        epoch: epochs finished.
        best_epoch: the one with the lowest validation WER; 0: none yet.
        seconds: training time so far.
    """
    return bool(epoch >= settings.epochs
                or (settings.max_minutes and seconds >= 60 * settings.max_minutes)
                or (settings.patience and epoch and epoch - best_epoch >= settings.patience))


def learning_rate(settings: TrainSettings, step: int, done: float) -> float:
    """Linear warm-up from 0, then constant, linear or cosine decay to `final_learning_rate`.

    Args:
        settings: the [train] section.
        step: optimizer steps taken so far.
        done: from `progress`, 0 .. 1.
    """
    peak, final = settings.learning_rate, settings.final_learning_rate
    if settings.decay == "linear":
        rate = final + (peak - final) * (1.0 - done)
    elif settings.decay == "cosine":
        rate = final + (peak - final) * 0.5 * (1.0 + math.cos(math.pi * done))
    else:
        rate = peak
    if step < settings.warmup_steps:
        rate *= (step + 1) / settings.warmup_steps
    return rate
