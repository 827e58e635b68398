"""Kill a piece of work before each of its file operations, and look at what is left on the disk.

The work runs in a forked child whose audit hook (PEP 578) ends the process, with no chance to tidy
up, before the n-th operation that creates, opens for writing, renames or removes something below
the folder; n runs from the first to the last. `python killing.py JOB FOLDER` runs one job of
test_kills.py.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

KILLED = 77
OPERATIONS = frozenset((
    "open", "os.chmod", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir",
    "os.symlink", "os.truncate", "shutil.move"))
MAX_KILLS = 400


def survive(before: Path, scratch: Path, work: Callable[[Path], None],
            check: Callable[[Path], None]) -> int:
    """Kill `work` before every operation; `check` looks at each folder that is left.

    Args:
        before: the folder as it is when the work begins.
        scratch: where copies of it are worked on.
        work: is given a copy.
        check: is given what is left; raises AssertionError.

    Returns:
        How often it was killed.
    """
    for number in range(1, MAX_KILLS):
        folder = scratch / f"{number}"
        shutil.copytree(before, folder)
        child = os.fork()
        if not child:
            try:
                sys.addaudithook(_killer(str(folder), number))
                work(folder)
                os._exit(0)
            except BaseException as error:
                print(f"before operation {number}: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, KILLED), f"operation {number}: the work ended with {code}"
        try:
            check(folder)
        except Exception as error:
            raise AssertionError(f"killed before operation {number}: {error!r}; left were "
                                 f"{sorted(p.name for p in folder.rglob('*'))}") from error
        shutil.rmtree(folder)
        if code == 0:
            return number - 1
    raise AssertionError(f"the work has more than {MAX_KILLS} operations")


def _killer(folder: str, number: int):
    left = number

    def hook(event: str, arguments: tuple) -> None:
        nonlocal left
        if event not in OPERATIONS or not _is_inside(folder, event, arguments):
            return
        left -= 1
        if not left:
            os._exit(KILLED)

    return hook


def _is_inside(folder: str, event: str, arguments: tuple) -> bool:
    if event == "open" and not (isinstance(arguments[2], int)
                                and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
        return False
    return any(isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith(folder)
               for path in arguments[:2])


if __name__ == "__main__":
    from test_kills import JOBS

    print(JOBS[sys.argv[1]](Path(sys.argv[2])))
