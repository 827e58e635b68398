"""Bundles that are too large for the package: their names, sizes and checksums.

In: a name such as "models/english". Out: the `Package` to fetch. The address is the user's choice:
a release page, a mirror or a local server; the checksum is not.
"""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path

from asr.bundle import load_bundle
from asr.corpora.download import Package, Progress, fetch_file
from asr.errors import UsageError

URL_VARIABLE = "ASR_MODELS_URL"  # the folder in which the bundles are, such as https://HOST/models
_ZIP_MAGIC = b"PK\x03\x04"


@dataclass(frozen=True)
class Published:
    """One bundle.

    Args:
        summary: one line, for help.
        sha256: checksum of the file; empty until it is published.
        size: bytes.
    """

    summary: str
    sha256: str = ""
    size: int = 0


MODELS = {
    "models/english": Published(
        "read English, 16 kHz, 48 % WER on accented speakers",
        sha256="00944c52c0de07b24f561694a8bc500a22215f7aacc364d6fe9e76554914a103",
        size=7_335_905),
}


def archive_of(name: str, url: str = "", sha256: str = "") -> Package:
    """Where a bundle is, and what it must be.

    Args:
        name: a key of `MODELS`.
        url: address of the file; empty: `$ASR_MODELS_URL` and the file's name.
        sha256: 64 hexadecimal digits; empty: as published.

    Raises:
        UsageError: no bundle has this name, no address is known, or no checksum.
    """
    if name not in MODELS:
        close = difflib.get_close_matches(name, MODELS, n=1)
        raise UsageError(f"There is no bundle {name!r}."
                         f"{f' Did you mean {close[0]}?' if close else ''} Known are "
                         f"{', '.join(MODELS)}.")
    known = MODELS[name]
    file = f"{Path(name).name}.asr"
    base = os.environ.get(URL_VARIABLE, "")
    if not url and not base:
        raise UsageError(f"It is not known where {name} is: give its address, --url, or set "
                         f"{URL_VARIABLE} to the address of the folder that holds {file}.")
    expected = (sha256 or known.sha256).lower()
    if not (len(expected) == 64 and set(expected) <= set("0123456789abcdef")):
        raise UsageError(f"{'--sha256' if sha256 else f'The checksum of {name}'} is {expected!r}; "
                         "expected 64 hexadecimal digits. A bundle is never taken without one: "
                         "give --sha256.")
    return Package(url or f"{base.rstrip('/')}/{file}", file, (), sha256=expected,
                   size=known.size if known.size and not sha256 else None, magic=_ZIP_MAGIC)


def fetch_bundle(archive: Package, path: Path, progress: Progress | None = None) -> str:
    """Fetch a bundle to a path; resumed after an interruption, and checked.

    Returns:
        Its SHA-256; empty if the very file was there already.

    Raises:
        CorpusError: the server has none, the transfer kept breaking, or it is another file.
        UsageError: another file has this path.
        BundleError: the file is as published but is no bundle of this version.
    """
    digest = fetch_file(archive, path, progress=progress)
    load_bundle(path)
    return digest
