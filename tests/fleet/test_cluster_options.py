"""What can be said of a cluster without one."""

from __future__ import annotations

import importlib.util

import pytest

from asr.cli import run
from asr.errors import EXIT_USAGE, UsageError
from asr.fleet.cluster import Cluster


@pytest.mark.parametrize(("options", "says"), [
    (["--workers", "2"], "--engine ray"),
    (["--engine", "ray", "--engine", "local"], "one of"),
    (["--engine", "numpy", "--engine", "keras"], "one of"),
    (["--address", "auto"], "--engine ray")])
def test_contradictions(options, says, capsys):
    assert run(["transcribe", "a.wav", *options]) == EXIT_USAGE
    assert says in capsys.readouterr().err


def test_without_ray_one_sentence_says_what_to_install(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec",
                        lambda name, *rest: None if name == "ray" else find(name, *rest))
    with pytest.raises(UsageError, match=r"keras-asr\[ray\]"):
        next(Cluster().run(lambda: list, [1], lambda item, error: error))
