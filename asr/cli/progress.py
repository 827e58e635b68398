"""A progress bar with an ETA on a terminal; lines in a log for work of minutes.

In: counts. Out: a line on stderr if it is a terminal, or some lines where they are asked for.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from asr.terminal import own_controls

FIRST_LINE, NEXT_LINE = 1.0, 10.0  # seconds: from the start, and from line to line


@contextmanager
def count_on_stderr(label: str, *, unit: str = "files", piped: bool = False
                    ) -> Iterator[Callable[[int, int], None]]:
    """Show the progress of some work.

    Args:
        label: what is being done.
        unit: what is counted; "bytes" is shown in MB.
        piped: where stderr is no terminal, write a line every 10 s instead, for work of minutes.

    Yields:
        A function to call with (done, total); a total of 0 means that it is not known.
    """
    if not sys.stderr.isatty():
        yield _lines(label) if piped else lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )
    counts = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    with Progress(TextColumn("{task.description}"), BarColumn(), counts, TimeRemainingColumn(),
                  console=Console(file=own_controls(sys.stderr)), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total or None)


def _lines(label: str) -> Callable[[int, int], None]:
    """Writes how much is done and how long the rest takes, the first time after a second."""
    start = time.monotonic()
    due = start + FIRST_LINE

    def show(done: int, total: int) -> None:
        nonlocal due
        now = time.monotonic()
        if now < due or not 0 < done < total:
            return
        due = now + NEXT_LINE
        left = (now - start) * (total - done) / done
        print(f"{label}: {done / total:.0%}, about "
              + (f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min") + " left",
              file=sys.stderr, flush=True)

    return show
