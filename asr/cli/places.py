"""Where results go: never onto what they are made from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from asr.errors import UsageError


def refuse_inputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None]) -> None:
    """Before the work: no result may take the place of a file that is read.

    Raises:
        UsageError: one would, under this name or another.
    """
    read = [path for path in inputs if path is not None and path.exists()]
    for output in outputs:
        if output is not None and output.exists() and any(map(output.samefile, read)):
            raise UsageError(f"{output} is read by this command; writing the result there would "
                             "destroy it. Give another name.", path=output)
