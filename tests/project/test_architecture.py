"""Arrows only point down: a stage may import what lies below it, never what lies above."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = {  # docs/architecture.md; a package is one room
    0: "errors feature_kinds files parsing recipe results settings terminal versions",
    1: "manifest text kernels annotations",
    2: "audio features scoring language_model",
    3: "augment corpora voices network decoding pages",
    4: "data bundle transcript",
    5: "inference inspection live",
    6: "recognizer",
    7: "training evaluation tuning audit fleet doctor export proposal serve "
       "commands",
    8: "cli __main__ __init__"}
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms.split()}
TENSORFLOW_AT_IMPORT = {"asr/network/layer.py", "asr/network/op.py", "asr/network/ctc.py",
                        "asr/network/model.py", "asr/network/ctc_model.py",
                        "asr/network/metrics.py", "asr/network/own.py", "asr/network/chunks.py",
                        "asr/network/replicas.py", "asr/network/contract.py",
                        "asr/network/named_weights.py", "asr/data/pipeline.py",
                        "asr/augment/effects.py", "asr/augment/graph.py",
                        "asr/data/recordings_graph.py", "asr/export/tensorflow_graph.py",
                        "asr/training"}


def imported(tree: ast.AST) -> set[str]:
    """Dotted names that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache  # reading all of asr/ takes a second
def rooms() -> dict[str, set[str]]:
    """Each room of asr/ and the rooms that it imports."""
    graph: dict[str, set[str]] = {}
    for path in sorted((ROOT / "asr").rglob("*.py")):
        room = path.relative_to(ROOT / "asr").parts[0].removesuffix(".py")
        found = {name.split(".")[1] for name in imported(ast.parse(path.read_text("utf-8")))
                 if name.startswith("asr.")}
        graph.setdefault(room, set()).update(found & FLOOR.keys() - {room})
    return graph


def test_every_room_has_a_floor():
    assert set(rooms()) - set(FLOOR) == set(), "add it to FLOORS (and to ARCHITECTURE.md)"


@pytest.mark.parametrize("room", sorted(rooms()))
def test_arrows_point_down(room):
    above = {other for other in rooms()[room] if FLOOR[other] > FLOOR.get(room, 5)}
    assert not above, f"{room} (floor {FLOOR.get(room)}) imports {above} from above"


def test_no_circles():
    graph = {room: found for room, found in rooms().items() if room != "__init__"}
    assert list(TopologicalSorter(graph).static_order())


def test_tensorflow_is_imported_where_it_is_needed_and_nowhere_else():
    for path in sorted((ROOT / "asr").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        body = [node for node in ast.parse(path.read_text("utf-8")).body
                if isinstance(node, ast.Import | ast.ImportFrom)]
        heavy = {n.split(".")[0] for node in body for n in imported(node)} & {
            "tensorflow", "keras", "librosa"}
        allowed = any(name.startswith(prefix) for prefix in TENSORFLOW_AT_IMPORT)
        assert not heavy or allowed, f"{name} imports {heavy} when it is imported"


def test_the_check_can_fail():
    source = "from asr.cli import run\nimport asr.train\nfrom asr import bundle\nimport os"
    assert {n for n in imported(ast.parse(source)) if n.startswith("asr")} == {
        "asr.cli.run", "asr.train", "asr.bundle"}
