"""Recordings that a corpus keeps inside other files become files of their own.

In: bytes as they are. Out: a path below `Checks.extract_to`. Nothing is decoded here.
"""

from __future__ import annotations

import re
from pathlib import Path

from asr.corpora.collect import Checks
from asr.errors import DataError, UsageError
from asr.files import write_atomic

MAX_RECORDING_BYTES = 1 << 30

_ODD = re.compile(r"[^\w.+=,@/-]")
_SUFFIX = re.compile(r"\.\w{1,8}")


def write_recording(checks: Checks, name: str, suffix: str, data: bytes) -> Path:
    """Keep the bytes of one recording; a name from a stranger leads nowhere else.

    Args:
        checks: whose `extract_to` is the folder.
        name: relative, without suffix; odd characters become _.
        suffix: such as ".flac"; one that is none is left out, because only bytes tell what it is.
        data: the file.

    Raises:
        UsageError: there is no folder for it.
        DataError: it is too big for a recording.
    """
    if checks.extract_to is None:
        raise UsageError("This corpus keeps recordings inside other files; name a folder for them: "
                         "Checks(extract_to=...).")
    if len(data) > MAX_RECORDING_BYTES:
        raise DataError(f"{name} has {len(data):,} bytes; a recording in an archive has at most "
                        f"{MAX_RECORDING_BYTES:,}.", code="audio.too_long")
    parts = [part.strip(".") for part in _ODD.sub("_", name.replace("\\", "/")).split("/")]
    place = checks.extract_to.absolute().joinpath(*(part[:100] for part in parts if part))
    place = place.with_name(place.name + (suffix if _SUFFIX.fullmatch(suffix) else ".audio"))
    if not (place.is_file() and place.stat().st_size == len(data) and place.read_bytes() == data):
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(place, data)
    return place
