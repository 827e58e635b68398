"""Several threads on one sequence: each computes some of the units, and all meet at every step.

In: the step that a thread has reached. Out: once all have reached it, how long it may still wait.
Floor 2; needs numba.

One utterance alone has only its two directions to divide, and a recurrent matrix of 256 units
fills the second-level cache of a core. Two threads with half of the units each read half of it.
They meet some thousand times a second, so they wait by looking, not by sleeping. Threads that have
slept for long may be woken on the same processor, so who has looked for a microsecond lets another
thread run. That is good only while each of them has a processor for itself before long. On a busy
machine one is late at every meeting by what the system gives to others, so whoever has waited too
long leaves, the work is done again without teams, and for a while none is formed. The results are
the same bits either way.
"""

from __future__ import annotations

import ctypes
import sys
import time
from functools import cache

import numpy as np

from asr.jit import compiled
from asr.lstm.simd import call, signal, signalled

SLOT = 64  # bytes from one member's step to the next: a cache line each
PATIENCE = 4_000_000  # looks at the others' steps, a few milliseconds; each step earns some back
LOOKS = 2_000  # about a microsecond, before another thread may run
TICK = PATIENCE  # looks that a tick of the system's clock, 10 to 16 ms, counts for in a wait
REST, LONGEST_REST = 0.1, 10.0  # seconds without teams after one has broken up
MOST = 4  # members; more spend their time on meeting
FEWEST_UNITS = 96  # for each member: 128 by two take longer than by one
_LEFT = -1  # in the place of a step
_next_rest, _rests_until = REST, 0.0


def size(threads: int, pieces: int, units: int) -> int:
    """Members of each team when `pieces` of work with so many units each share threads."""
    return max(1, min(threads // max(pieces, 1), MOST, units // FEWEST_UNITS))


def ended(together: bool) -> bool:
    """Take note of whether the teams of one call stayed together; returns the same."""
    global _next_rest, _rests_until
    if together:
        _next_rest = REST
    else:
        _rests_until = time.monotonic() + _next_rest
        _next_rest = min(2 * _next_rest, LONGEST_REST)
    return together


def resting() -> bool:
    """Whether a team has broken up lately."""
    return time.monotonic() < _rests_until


class Meeting:
    """Where the members of one team see how far the others are."""

    def __init__(self, members: int):
        self.steps = np.zeros((members, SLOT // 8), np.int64)


@cache
def c_functions() -> tuple[int, int]:
    """Addresses of the C functions that let another thread run, and that count ticks; else 0, 0."""
    try:
        library, names = ((ctypes.CDLL("kernel32"), ("SwitchToThread", "GetTickCount64"))
                          if sys.platform == "win32" else
                          (ctypes.CDLL(None), ("sched_yield", "times")))  # times: NULL will do
        yields, ticks = (ctypes.cast(getattr(library, name), ctypes.c_void_p).value
                         for name in names)
    except (OSError, AttributeError):
        return 0, 0
    return (yields, ticks) if yields and ticks else (0, 0)


@compiled
def meet(meeting, member, members, step, patience, give_way, ticks):
    """Say that this member has reached `step`, and wait until all others have.

    What each stored before is seen by the others after.

    Args:
        meeting: address of `Meeting.steps`.
        patience: looks at most.
        give_way, ticks: addresses from `c_functions()`, or 0.

    Returns:
        The looks that are left; -1 if this member, or another one, has left the team.
    """
    if members < 2:
        return patience
    signal(meeting + member * SLOT, step)
    for other in range(members):
        reached = signalled(meeting + other * SLOT)
        looks = 0
        while reached < step:
            looks += 1
            patience -= 1
            if give_way != 0 and looks % LOOKS == 0:
                before = call(ticks)
                call(give_way)
                if call(ticks) != before:
                    patience -= TICK
            if patience < 0 or reached == _LEFT:
                signal(meeting + member * SLOT, _LEFT)
                return -1
            reached = signalled(meeting + other * SLOT)
    return patience
