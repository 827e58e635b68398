"""The two walks of docs/architecture.md go where the code goes."""

from __future__ import annotations

import ast
import contextlib
import inspect
import re
import sys
import threading
from pathlib import Path

import pytest

from asr.cli import main

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/architecture.md").read_text("utf-8")
CLIP = ROOT / "asr/assets/clips/1-rms.ogg"
# Named for other settings or longer recordings, which the clip does not reach.
ELSEWHERE = {"asr/inference/long_recordings.py", "asr/files.py"}


def stops(number: int) -> list[str]:
    """The numbered paragraphs of a walk."""
    walk = TEXT.split(f"## Walk {number}")[1].split("\n## ")[0]
    return re.findall(r"^\d+\. (.*(?:\n   .*)*)", walk, re.MULTILINE)


def named(stop: str) -> list[tuple[str, str]]:
    """(file, function or class) of a stop, in the order of the text."""
    found = [(match.start(), match[1], match[2]) for match in
             re.finditer(r"`(asr/[\w/]+\.py)`,\s+`(\w+)`", stop)]
    found += [(match.start(), match[2], match[1]) for match in
              re.finditer(r"`(\w+)`\s+of\s+`(asr/[\w/]+\.py)`", stop)]
    return [(path, name) for _, path, name in sorted(found)]


@pytest.fixture(scope="module")
def called() -> dict[tuple[str, str], int]:
    """When each function of `asr/` was first called by `asr transcribe CLIP`, in any thread."""
    first: dict[tuple[str, str], int] = {}

    def profile(frame, event, _):
        path = frame.f_code.co_filename
        # Functions, not the bodies of classes and modules.
        if event == "call" and path.startswith(f"{ROOT}/asr/") and \
                frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            names = frame.f_code.co_qualname.split(".")
            for name in {names[0], names[-1]}:
                first.setdefault((path.removeprefix(f"{ROOT}/"), name), len(first))

    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        with contextlib.suppress(SystemExit):
            main(["transcribe", str(CLIP)])
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return first


def test_walk_1_is_what_transcribe_calls(called):
    walk = stops(1)
    assert {path for stop in walk for path in re.findall(r"`(asr/[\w/]+\.py)`", stop)} \
        - ELSEWHERE <= {path for path, _ in called}
    for pair in (pair for stop in walk for pair in named(stop) if pair[0] not in ELSEWHERE):
        assert pair in called, f"docs/architecture.md, walk 1: `asr transcribe` calls no {pair}"
    heads = [called[named(stop)[0]] for stop in walk if named(stop)]
    assert len(heads) == 9
    assert heads == sorted(heads), "docs/architecture.md, walk 1: the stops are in another order"


def test_each_stop_of_walk_2_is_imported_by_one_before_it():
    """A reader who follows the imports from stop to stop finds the way; a run is too slow here."""
    walk = stops(2)
    assert len(walk) == 5
    reached: set[str] = set()
    for stop in walk:
        here = set(re.findall(r"`(asr/[\w/]+\.py)`", stop))
        head = re.findall(r"`(asr/[\w/]+\.py)`", stop)[0]
        assert head in reached or not reached, f"no stop before {head} imports it"
        reached |= {head}.union(*map(imports_of, here))
        lost = here - reached - {"asr/cli/train.py"}
        assert not lost, f"docs/architecture.md, walk 2: nothing before {lost} imports it"


def imports_of(path: str) -> set[str]:
    """Files of asr/ that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("asr"):
            for name in (node.module, *(f"{node.module}.{alias.name}" for alias in node.names)):
                base = ROOT / name.replace(".", "/")
                found |= {f.relative_to(ROOT).as_posix()
                          for f in (base.with_suffix(".py"), base / "__init__.py") if f.exists()}
    return found
