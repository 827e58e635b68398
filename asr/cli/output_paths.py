"""Check output paths before the work: not an existing file, and in a usable folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from asr.errors import UsageError


def refuse_existing(path: Path, overwrite: bool, *, other: str) -> None:
    """Refuse to replace a file without --overwrite.

    Args:
        path: path of a result.
        overwrite: whether the person said so.
        other: what to give instead, such as "another --output".

    Raises:
        UsageError: it exists.
    """
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists and is kept. Give {other}, or --overwrite.", path=path)


def refuse_no_file(path: Path, option: str) -> None:
    """Refuse an output that is a folder, or that is in no folder.

    Raises:
        UsageError: it is a folder, or in none.
    """
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"{option} {path}: expected the name of a file in a folder that exists.",
                         path=path)


def refuse_inputs(outputs: Iterable[Path | None], inputs: Iterable[Path | None], *,
                  as_: str = "read by this command") -> None:
    """Refuse an output that would replace an input.

    Args:
        outputs, inputs: files; None is passed over.
        as_: what the inputs are.

    Raises:
        UsageError: one would, under this name or another.
    """
    read = [path for path in inputs if path is not None and path.exists()]
    for output in outputs:
        if output is not None and output.exists() and any(map(output.samefile, read)):
            raise UsageError(f"{output} is {as_}; writing the result there would destroy it. Give "
                             "another name.", path=output)
