"""The address of a recording that lies on another machine, where a manifest has a path otherwise.

In: `audio_filepath` of a row. Out: an `Address`. Nothing is fetched here; `asr.audio.remote` does.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"(s3|gs|https?)://[^/\s]")


@dataclass(frozen=True, order=True)
class Address(os.PathLike):
    """An s3://, gs://, http:// or https:// address, with the part of `pathlib.Path` that rows need.

    Args:
        text: the address. A `Path` would take one of its slashes away.
    """

    text: str

    def __str__(self) -> str:
        return self.text

    def __fspath__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        """The last part of its path, such as "a.wav"."""
        return PurePosixPath(urlsplit(self.text).path).name

    @property
    def suffix(self) -> str:
        """Such as ".wav"; empty if there is none."""
        return PurePosixPath(self.name).suffix


def is_address(path: object) -> bool:
    """Whether a path is an address that `asr.audio` fetches."""
    return isinstance(path, Address) or isinstance(path, str) and bool(_ADDRESS.match(path))
