"""Scripts of benchmarks/ and recipes/voices/ as modules, for their tests."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
VOICES = BENCHMARKS.parent / "recipes" / "voices"


def script(name: str, folder: Path = BENCHMARKS) -> ModuleType:
    """FOLDER/NAME.py, which may import its neighbours, as it does when it runs.

    The folder does not stay on the path: names such as `data` would hide other modules.
    """
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(folder))
