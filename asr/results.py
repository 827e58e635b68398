"""Several files that are one result: all of the old ones or all of the new ones, never a mixture.

In: a folder and the content of its files. Out: the files, by way of a staging folder and a journal.

    .asr-result-XXXXXXXX/   the new files, complete and on disk, before anything changes
    .asr-result.json        the journal; that it exists means that the new result counts

A process that is killed before the journal is there leaves the old result; afterwards `current`
finds every file of the new one, and the next process that writes into the folder puts them in
their places. Old files are removed before new ones are moved, so that even a program that knows
nothing of the journal misses files and never reads old and new ones together.
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from asr.files import alone, sync_folder, write_atomic
from asr.parsing import StrictJsonError, parse_json

JOURNAL = ".asr-result.json"
_STAGING = ".asr-result-"
_STAGING_NAME = re.compile(r"\.asr-result-[a-z0-9_]{8}")


def write_together(folder: str | Path, files: Mapping[str, str | bytes], *,
                   remove: Iterable[str] = (), overwrite: bool = True) -> None:
    """Write the files of one result; a crash at any point leaves the old result or the new one.

    Args:
        folder: exists.
        files: content by name, in the order in which they are put in their places.
        remove: names of files of an earlier result, which the new one does not have.
        overwrite: False makes an existing file an error instead of replacing it.

    Raises:
        FileExistsError: a file exists and `overwrite` is False; nothing is written.
        OSError: the disk is full or the folder cannot be written; the old result is whole.
    """
    folder = Path(folder)
    remove = tuple(remove)
    with alone(folder):
        staging, name = folder, next(iter(files), "")
        try:
            _settle(folder)
            for name in (*files, *remove):
                if (folder / name).is_dir():  # which would stop the moves after the journal
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                if not overwrite and name in files and os.path.lexists(folder / name):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            name = next(iter(files), "")
            staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=folder))
            staging.chmod(0o755)
            for name, content in files.items():
                write_atomic(staging / name, content)
            sync_folder(staging)
            journal = {"staging": staging.name, "files": list(files), "remove": list(remove)}
            write_atomic(folder / JOURNAL, json.dumps(journal) + "\n")
        except BaseException as error:
            if staging != folder:
                shutil.rmtree(staging, ignore_errors=True)
            if isinstance(error, OSError):  # a person knows the final name
                error.filename = str(folder / name)
            raise
        _settle(folder)


def settle(folder: str | Path) -> None:
    """Put the files of a result whose writer was killed in their places, and clear up after it.

    For commands that write into the folder; those that only read use `current`.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    if any(name.startswith(_STAGING) or name == JOURNAL for name in _names(folder)):
        with alone(folder):
            _settle(folder)


def current(path: str | Path) -> Path:
    """Where the content of a file of a result is: `path` itself, but for an unfinished move.

    Args:
        path: path of a file that `write_together` may have written; nothing is changed.
    """
    path = Path(path)
    journal = _read_journal(path.parent)
    if journal is None:
        return path
    staging, files, remove = journal
    staged = path.parent / staging / path.name
    if path.name in files and staged.is_file():
        return staged
    if path.name in remove:
        return path.parent / staging / path.name  # which is not there: it is no longer
    return path


def _settle(folder: Path) -> None:
    """Finish what the journal says; whatever is staged without one was never meant to count."""
    journal = _read_journal(folder)
    if journal is not None:
        staging, files, remove = journal
        staged = [name for name in files if (folder / staging / name).is_file()]
        for name in (*remove, *staged):
            (folder / name).unlink(missing_ok=True)
        for name in staged:
            os.replace(folder / staging / name, folder / name)
        sync_folder(folder)
    (folder / JOURNAL).unlink(missing_ok=True)
    for name in _names(folder):
        if _STAGING_NAME.fullmatch(name):
            shutil.rmtree(folder / name, ignore_errors=True)


def _names(folder: Path) -> list[str]:
    with suppress(OSError):
        return os.listdir(folder)
    return []


def _read_journal(folder: Path) -> tuple[str, list[str], list[str]] | None:
    """Staging folder, files, removed files; None where there is no journal of ours."""
    try:
        table = parse_json((folder / JOURNAL).read_bytes())
        staging, files, remove = (table[key] for key in ("staging", "files", "remove"))
    except (OSError, StrictJsonError, KeyError, TypeError):
        return None
    if not (isinstance(staging, str) and _STAGING_NAME.fullmatch(staging)):
        return None
    for names in (files, remove):  # a stranger's journal reaches plain files of its own folder
        if not isinstance(names, list) or not all(map(_is_plain, names)):
            return None
    return staging, files, remove


def _is_plain(name: object) -> bool:
    return (isinstance(name, str) and name[:1] not in ("", ".") and len(name.encode()) <= 255
            and not any(separator in name for separator in "\0/\\:"))
