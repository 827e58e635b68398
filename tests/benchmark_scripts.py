"""Scripts of benchmarks/ as modules, for their tests."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[1] / "benchmarks"


def script(name: str) -> ModuleType:
    """benchmarks/NAME.py, which may import its neighbours, as it does when it runs.

    The folder does not stay on the path: names such as `data` would hide other modules.
    """
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(FOLDER))
