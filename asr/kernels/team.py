"""Several threads on one sequence: each computes some of the units, and all meet at every step.

In: the step that a thread has reached. Out: once all have reached it, how long it may still wait.
Needs numba.

One utterance alone has only its two directions to divide, and a recurrent matrix of 256 units
fills the second-level cache of a core. Two threads with half of the units each read half of it.
They meet about ten thousand times a second, so they busy-wait, and linger for the next layer's work
in the same way. That helps only while each has a processor for itself. A power-saving system may
wake several on the same processor: on Linux, a thread whose processor is taken moves to another and
stays there until the work is done. A thread that has waited a microsecond yields. On a busy machine
one member is late at every meeting, so a member that has waited too long leaves, the work is done
again without a team, and for a while no team is formed. The results are the same bits either way.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import numpy as np

from asr.kernels.jit import compiled
from asr.kernels.simd import call, signal, signalled

SLOT = 64  # bytes from one member's step to the next: a cache line each
PATIENCE = 12_000_000  # looks at the others' steps, some 10 ms; each step earns some back
LOOKS = 2_000  # about a microsecond, before another thread may run
# Looks that a tick of the system's clock, every 10 to 16 ms, counts for: a short wait may meet one.
TICK = PATIENCE // 3
REST, LONGEST_REST = 0.1, 10.0  # seconds without teams after one has broken up
MOST = 4  # members; more spend their time on meeting
LINGER = 1_000_000  # looks for the next work of a team, a millisecond or two: another layer's
FEWEST_UNITS = 96  # for each member: 128 by two take longer than by one
_LEFT = -1  # in the place of a step
_next_rest, _rests_until = REST, 0.0


def size(threads: int, pieces: int, units: int) -> int:
    """Members of each team when `pieces` of work with so many units each share threads."""
    return max(1, min(threads // max(pieces, 1), MOST, units // FEWEST_UNITS))


def ended(together: bool) -> bool:
    """Record whether the teams of one call stayed together; returns the same."""
    global _next_rest, _rests_until
    if together:
        _next_rest = REST
    else:
        _rests_until = time.monotonic() + _next_rest
        _next_rest = min(2 * _next_rest, LONGEST_REST)
    return together


def resting() -> bool:
    """Whether a team has broken up a short time ago."""
    return time.monotonic() < _rests_until


class Meeting:
    """The steps that the members of a team have reached."""

    def __init__(self, members: int):
        self.steps = np.zeros((members, SLOT // 8), np.int64)


class Processors:
    """The processors that the threads of one call work on: each has one of its own."""

    def __init__(self):
        self._lock, self._taken = threading.Lock(), set()

    def each_alone(self, work: Callable[[], bool]) -> Callable[[], bool]:
        """The work, done on a processor that no other thread of the call has, if there is one."""
        def placed() -> bool:
            allowed = self._settle()
            try:
                return work()
            finally:
                _allow(allowed)

        return placed

    def _settle(self) -> set[int]:
        """The processors that this thread may go back to; none: it has been left alone."""
        here, allowed = _processor(), _allowed()
        if here is None or not allowed:
            return set()
        with self._lock:
            if here() in self._taken and not _allow(allowed - self._taken):
                return set()
            self._taken.add(place := here())
        _allow({place})
        return allowed


def _allowed() -> set[int]:
    """The processors that this thread may run on; none where the system does not tell."""
    with suppress(OSError):
        return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    return set()


def _allow(processors: set[int]) -> bool:
    """Let this thread run on these alone; False if the system will not, or there is none."""
    with suppress(OSError, ValueError):  # a processor -1 is one that the system did not tell
        if processors:
            os.sched_setaffinity(0, processors)
            return True
    return False


@cache
def _processor() -> Callable[[], int] | None:
    """The C function that tells on which processor the thread runs, where threads can be kept."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    with suppress(OSError, AttributeError):
        return ctypes.CDLL(None).sched_getcpu
    return None


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


def linger(address: int, seen: int) -> None:
    """Wait a little for another number than `seen` at an address, see `asr.kernels.pool.run`."""
    _linger(address, seen, LINGER, *c_functions())


@compiled
def _linger(address, seen, looks, give_way, ticks):
    started = call(ticks) if ticks != 0 else 0
    while signalled(address) == seen and looks > 0:
        looks -= 1
        if give_way != 0 and looks % LOOKS == 0:
            call(give_way)
            if call(ticks) != started:  # others have work to do
                return


@compiled
def meet(meeting, member, members, step, patience, give_way, ticks):
    """Signal that this member has reached `step`, and wait for the others.

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
