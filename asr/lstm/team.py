"""Several threads on one sequence: each computes some of the units, and all meet at every step.

In: the step that a thread has reached. Out: nothing, once all have reached it. Floor 2; needs
numba.

One utterance alone has only its two directions to divide, and a recurrent matrix of 256 units
fills the second-level cache of a core. Two threads with half of the units each read half of it.
They meet some thousand times a second, so they wait by looking, not by sleeping; a thread that
has looked long enough lets another one run, since its partner may have no processor yet.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

import numpy as np

from asr.jit import compiled
from asr.lstm.memory import LINE
from asr.lstm.simd import call, signal, signalled

LOOKS = 2_000  # at a partner's step, about a microsecond, before another thread may run
MOST = 4  # members; more spend their time on meeting
FEWEST_PANELS = 2  # of units for each member
_END = np.iinfo(np.int64).max


def size(threads: int, pieces: int, panels: int) -> int:
    """Members of each team when `pieces` of work with `panels` panels of units share threads."""
    return max(1, min(threads // max(pieces, 1), MOST, panels // FEWEST_PANELS))


class Meeting:
    """Where the members of one team see how far the others are."""

    def __init__(self, members: int):
        self.steps = np.zeros((members, LINE // 8), np.int64)  # a cache line each

    def disperse(self) -> None:
        """Nobody is waited for any more: a member will not come."""
        self.steps.fill(_END)


@cache
def give_way() -> int:
    """Address of the system's function that lets another thread run; 0 if there is none."""
    library, name = ((ctypes.CDLL("kernel32"), "SwitchToThread") if sys.platform == "win32"
                     else (ctypes.CDLL(None), "sched_yield"))
    function = getattr(library, name, None)
    return ctypes.cast(function, ctypes.c_void_p).value or 0 if function else 0


@compiled
def meet(meeting, member, members, step, give_way):
    """Say that this member has reached `step`, and wait until all others have.

    What each stored before is seen by the others after.

    Args:
        meeting: address of `Meeting.steps`. give_way: address from `give_way()`, or 0.
    """
    if members < 2:
        return
    signal(meeting + member * LINE, step)
    for other in range(members):
        looks = 0
        while signalled(meeting + other * LINE) < step:
            looks += 1
            if looks > LOOKS and give_way != 0:
                call(give_way)
