"""SIGINT and SIGTERM stop training after the current step.

In: signals. Out: `Interrupted`; the caller writes a checkpoint.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

from asr.errors import EXIT_INTERRUPTED, EXIT_TERMINATED, Interrupted


class SignalWatch:
    """Records the first SIGINT or SIGTERM; a second one exits at once.

    Outside of the main thread, where handlers cannot be set, it does nothing.
    """

    def __init__(self):
        self.received: int | None = None
        self._before: dict[int, Any] = {}

    def _handle(self, signum, frame):
        if self.received is not None:
            os._exit(_exit_code(signum))
        self.received = signum
        print(f"\n{signal.Signals(signum).name}: finishing this step and writing a checkpoint; "
              "once more leaves at once.", file=sys.stderr)

    def __enter__(self) -> SignalWatch:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, *exception) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def check(self) -> None:
        """Raise `Interrupted` if a signal was received."""
        if self.received is not None:
            name = signal.Signals(self.received).name
            raise Interrupted(f"Stopped by {name}; the checkpoint is written, the same command "
                              "goes on from there.", exit_code=_exit_code(self.received))


def _exit_code(signum: int) -> int:
    return EXIT_INTERRUPTED if signum == signal.SIGINT else EXIT_TERMINATED
