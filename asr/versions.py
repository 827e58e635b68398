"""Versions of installed packages, to record beside results.

In: package names. Out: versions. Nothing is imported for it.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable

PACKAGES = ("keras-asr", "tensorflow", "keras", "numpy", "scipy", "numba", "llvmlite", "librosa",
            "soundfile", "soxr", "jiwer", "rapidfuzz", "safetensors", "tensorflow-io")


def installed(names: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """Installed versions by package; None where a package is not installed."""
    found: dict[str, str | None] = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found
