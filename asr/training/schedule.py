"""The learning rate of every step, the end of a run, and which of two epochs is the better one.

In: the [train] section and the progress of the run. Out: numbers. Pure functions.
"""

from __future__ import annotations

import math
from dataclasses import replace

from asr.recipe import TrainSettings

# Above this WER hardly a word is right, and which epoch has one more of them is chance.
CHANCE_WER = 0.8


def progress(settings: TrainSettings, step: int, total_steps: int, seconds: float) -> float:
    """Finished fraction of the run, 0 .. 1: the larger one of steps and wall time.

    With a time budget (`max_minutes`) the decay follows the clock, so a slow machine also ends with
    the final learning rate.
    """
    by_steps = step / max(1, total_steps)
    by_clock = seconds / (60 * settings.max_minutes) if settings.max_minutes else 0.0
    return min(1.0, max(by_steps, by_clock))


def is_over(settings: TrainSettings, *, epoch: int, best_epoch: int, seconds: float) -> bool:
    """Whether the epochs, the time budget or the patience of a run are spent.

    Args:
        settings: the [train] section.
        epoch: finished epochs.
        best_epoch: the epoch with the lowest validation WER; 0: none yet.
        seconds: training time so far.
    """
    return bool(epoch >= settings.epochs
                or (settings.max_minutes and seconds >= 60 * settings.max_minutes)
                or (settings.patience and epoch and epoch - best_epoch >= settings.patience))


def learning_rate(settings: TrainSettings, step: int, done: float) -> float:
    """Linear warm-up from 0, then constant, linear or cosine decay to `final_learning_rate`.

    Args:
        settings: the [train] section.
        step: optimizer steps so far.
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


def scaled(settings: TrainSettings, replicas: int) -> TrainSettings:
    """The settings with the learning rates that train.scale_learning_rate makes of them.

    Example:
        >>> scaled(TrainSettings(learning_rate=0.01, scale_learning_rate="sqrt"), 4).learning_rate
        0.02
    """
    factor = {"none": 1.0, "linear": float(replicas), "sqrt": math.sqrt(replicas)}[
        settings.scale_learning_rate]
    return replace(settings, learning_rate=factor * settings.learning_rate,
                   final_learning_rate=factor * settings.final_learning_rate)


def rank(wer: float, cer: float, loss: float) -> tuple[bool, float, float]:
    """Lower is better: by WER, by CER among epochs above 80 % WER; equal ones by loss.

    Near 100 % the WER counts the few words that are right by chance, while the CER falls steadily:
    the epoch of lowest WER was one of the first in runs that learnt until the end.

    Example:
        >>> rank(0.98, 0.64, 2.0) < rank(0.97, 0.74, 1.9)
        True
    """
    hopeless = wer > CHANCE_WER
    return hopeless, cer if hopeless else wer, loss
