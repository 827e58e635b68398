"""No test skips everywhere: what `make install` does not bring has a leg of its own."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEGS = {target: re.findall(r"tests/[\w/]+\.py", commands) for target, commands in re.findall(
    r"^(test-\w+):.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)}
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
OTHER_NAMES = {"docx": "python-docx", "yaml": "pyyaml"}  # of the distribution
ELSEWHERE = {"torchcodec"}  # a second way of a test that has another one in its leg


def wanted() -> list[tuple[str, str]]:
    """(test file, package) where a test skips without a package."""
    return sorted({(str(path.relative_to(ROOT)), name)
                   for path in (ROOT / "tests").rglob("test_*.py")
                   for name in re.findall(r'importorskip\(\s*"(\w+)', path.read_text("utf-8"))})


def is_here(name: str) -> bool:
    """Whether a development environment has it: of Python, locked, or a file of ours."""
    return name in sys.stdlib_module_names | {"lstm_networks"} or any(
        (ROOT / folder / f"{name}.py").exists() for folder in ("benchmarks", "tests")) or any(
        f"\n{form}==" in LOCK for form in (OTHER_NAMES.get(name, name), name.replace("_", "-")))


@pytest.mark.parametrize(("file", "package"), wanted())
def test_what_skips_here_runs_in_a_leg(file, package):
    if is_here(package) or package in ELSEWHERE:
        return
    assert any(file in files for files in LEGS.values()), \
        f"{file} skips without {package}, which no target of the Makefile brings for it"


def test_legs_are_run_by_ci_and_their_files_exist():
    commands = (ROOT / ".ci/legs").read_text("utf-8")
    assert {"test-tfio", "test-ray", "test-peers"} <= set(LEGS)
    for target, files in LEGS.items():
        assert f"make {target}\n" in commands
        assert all((ROOT / file).exists() for file in files)


def test_packages_of_the_lock_are_here():
    """Or the rule above would hold nothing."""
    found = [name for _, name in wanted() if is_here(name)]
    assert len(found) > 10
