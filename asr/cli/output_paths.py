"""Check output paths before the work: not an existing file, and in a usable folder.

`OUTPUT` is the type of every option and argument that names an output on this machine, `PLACE` of
those that may be an address, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from asr.errors import UsageError
from asr.manifest.address import Address

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # one letter is a disk of Windows


class Output(click.Path):
    """A path on this machine; an address would become a folder called s3: here.

    Args:
        remedy: the sentence for a person who gave one.
    """

    def __init__(self, remedy: str):
        super().__init__(path_type=Path)
        self._remedy = remedy

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See click."""
        if found := scheme_of(str(value)):
            name = param.opts[0] if isinstance(param, click.Option) else "" if param is None \
                else param.human_readable_name
            raise UsageError(f"{name}: got an address ({found}://), but this command writes only "
                             f"to this machine. {self._remedy}.")
        return super().convert(value, param, ctx)


class _Place(click.Path):
    """A path on this machine, or an address that can be written, as an `Address`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if scheme_of(str(value)):
            from asr.audio.objects import check_address

            return Address(check_address(str(value)).rstrip("/"))
        return super().convert(value, param, ctx)


OUTPUT = Output("Give a path, and copy the result from there")
PLACE = _Place(path_type=Path)


def scheme_of(text: str) -> str:
    """Such as "s3" of s3://bucket/a; empty for a path."""
    found = _SCHEME.match(text)
    return found[1] if found else ""


def refuse_existing(path: Path | Address, overwrite: bool, *, other: str) -> None:
    """Refuse to replace a file or object without --overwrite.

    Args:
        path: path or address of a result.
        overwrite: whether the person said so.
        other: what to give instead, such as "another --output".

    Raises:
        UsageError: it exists, or is an address that cannot be reached or written.
    """
    if isinstance(path, Address):
        from asr.audio.objects import exists_at

        exists = exists_at(str(path))
    else:
        exists = path.exists()
    if exists and not overwrite:
        raise UsageError(f"{path} exists and is kept. Give {other}, or --overwrite.", path=path)


def refuse_any_existing(paths: Iterable[Path], overwrite: bool) -> None:
    """Refuse to replace files of a folder that a command fills without --overwrite.

    Raises:
        UsageError: one exists; the first is named.
    """
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise UsageError(f"{existing[0]} exists and was left as it is; give another folder, or "
                         "--overwrite.", path=existing[0])


def refuse_no_file(path: Path | Address, option: str) -> None:
    """Refuse an output that is a folder, or that is in no folder; buckets have none.

    Raises:
        UsageError: it is a folder, or in none.
    """
    if isinstance(path, Address):
        return
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
