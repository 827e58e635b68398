"""A progress bar with an ETA where a person waits, and nothing elsewhere.

In: counts. Out: a line on stderr, only if stderr is a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from asr.terminal import own_controls


@contextmanager
def count_on_stderr(label: str, *, unit: str = "files") -> Iterator[Callable[[int, int], None]]:
    """Show how far a piece of work is.

    Args:
        label: what is being done.
        unit: what is counted; "bytes" is shown in MB.

    Yields:
        A function to call with (done, total); a total of 0 means that it is not known.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
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
