"""The address of a recording that lies on another machine, where a manifest has a path otherwise.

In: `audio_filepath` of a row. Out: an `Address`. Nothing is fetched here; `asr.audio.remote` does.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

_PART = re.compile(r"(.*)#bytes=(\d{1,15})-(\d{1,15})", re.DOTALL)
_ADDRESS = re.compile(r"(s3|gs|https?)://[^/\s]")


@dataclass(frozen=True, order=True)
class Address(os.PathLike):
    """An s3://, gs://, http:// or https:// address, with the part of `pathlib.Path` that rows need.

    Args:
        text: the address. A `Path` would take one of its slashes away. With #bytes=0-99 at its end
            it is of a part of a file, such as a recording in a tar file: the first and the last
            byte, as in HTTP's Range.
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


def split_part(address: str) -> tuple[str, tuple[int, int] | None]:
    """The address of the whole file, and (first byte, byte after the last) of the part meant.

    Example:
        >>> split_part("s3://speech/a.tar#bytes=512-1023")
        ('s3://speech/a.tar', (512, 1024))
        >>> split_part("s3://speech/a.wav")
        ('s3://speech/a.wav', None)
    """
    found = _PART.fullmatch(address)
    if not found or int(found[2]) > int(found[3]):
        return address, None
    return found[1], (int(found[2]), int(found[3]) + 1)


def is_address(path: object) -> bool:
    """Whether a path is an address that `asr.audio` fetches."""
    return isinstance(path, Address) or isinstance(path, str) and bool(_ADDRESS.match(path))
