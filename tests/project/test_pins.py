"""What `make install` installs is pinned with hashes, the build tools too."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def entries() -> dict[str, tuple[str, int]]:
    """Version and number of hashes by name."""
    joined = re.sub(r"\\\n\s*", " ", LOCK)
    found = {}
    for line in joined.splitlines():
        if line and not line.startswith("#"):
            name, version = re.match(r"([\w.-]+)==([\w.+!]+)", line).groups()
            found[normal(name)] = (version, len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", line)))
    return found


def test_every_package_has_a_version_and_hashes():
    assert len(entries()) > 100
    assert not [name for name, (_, hashes) in entries().items() if not hashes]


def test_the_lock_is_that_of_the_constraints():
    pinned = {normal(name): version for name, version in re.findall(
        r"^([\w.-]+)==([\w.+!]+)", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)}
    locked = {name: version for name, (version, _) in entries().items()}
    # A constraint may also be of what only other extras need.
    other = {name for name, version in pinned.items() if locked.get(name, version) != version}
    assert len(pinned.keys() & locked.keys()) > 100
    assert not other, f"run `make lock`: {sorted(other)}"


def test_all_that_the_project_names_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    named = [*project["build-system"]["requires"], *project["project"]["dependencies"],
             *(one for extra in ("dev", "docs")
               for one in project["project"]["optional-dependencies"][extra]), "pip", "editables"]
    missing = {normal(re.match(r"[\w.-]+", one)[0]) for one in named} - set(entries())
    assert not missing, f"run `make lock`: {sorted(missing)}"


def test_make_install_believes_the_hashes_and_builds_nothing():
    page = (ROOT / "Makefile").read_text("utf-8")
    installs = re.findall(r"pip install (?:.*\\\n)*.*", page)
    assert len(installs) == 3
    assert "--require-hashes" in installs[0] and "--only-binary :all:" in installs[0]
    assert "--no-deps" in installs[1] and "--no-build-isolation" in installs[1]
    assert "--only-binary :all:" in installs[2] and "--no-build-isolation" in installs[2]


def test_the_oldest_leg_installs_the_lower_end_of_every_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lowest = dict(re.match(r"([\w.-]+)>=([\d.]+)", one).groups() for one in project["dependencies"])
    page = (ROOT / "tests/oldest.txt").read_text("utf-8")
    oldest = dict(re.findall(r"^([\w.-]+)==([\d.]+)$", page, re.MULTILINE))
    assert oldest.keys() == lowest.keys()
    for name, version in lowest.items():  # 3 is 3.0.0, and 2.16 may be its first release, 2.16.1
        parts = version.split(".")
        assert oldest[name].split(".")[:len(parts)] == parts, name
