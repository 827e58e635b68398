"""The examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path for path in (ROOT / "asr").rglob("*.py") if ">>> " in path.read_text("utf-8"))


def imports_tensorflow(path: Path) -> bool:
    return "\nimport tensorflow" in path.read_text("utf-8")


@pytest.mark.parametrize("path", [
    pytest.param(path, id=path.relative_to(ROOT).as_posix(),
                 marks=[pytest.mark.tf] if imports_tensorflow(path) else [])
    for path in PAGES])
def test_examples(path):
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    result = doctest.testmod(importlib.import_module(name), verbose=False,
                             optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert result.attempted > 0
    assert result.failed == 0


def test_there_are_examples():
    assert len(PAGES) > 20
