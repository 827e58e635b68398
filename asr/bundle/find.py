"""Find a model: a bundle file, the best one of a run directory, or the shipped one.

In: a path or nothing. Out: the path of an .asr file. Part of `asr.bundle`.
"""

from __future__ import annotations

import os
from pathlib import Path

from asr.bundle import refuse_foreign
from asr.errors import BundleError

SHIPPED = Path(__file__).parents[1] / "assets" / "digits.asr"
LETTERS = SHIPPED.with_name("letters.asr")  # of read English: where `asr commands` begins
BEST = "best.asr"  # of a run directory


def find_bundle(path: str | os.PathLike | None = None) -> Path:
    """The bundle file that `load` reads for this path.

    Raises:
        BundleError: a folder without best.asr, or nothing is shipped.
        UsageError: a TensorFlow SavedModel folder.
    """
    if path is None:
        if not SHIPPED.is_file():
            raise BundleError("This installation ships no bundle; give the path of one.",
                              code="bundle.open", path=SHIPPED)
        return SHIPPED
    path = Path(path)
    if not path.is_dir():
        return path
    refuse_foreign(path)
    if not (path / BEST).is_file():
        raise BundleError(f"{path} holds no {BEST}: it is no run directory, or training has not "
                          "finished its first epoch. Give an .asr file.", code="bundle.open",
                          path=path)
    return path / BEST
