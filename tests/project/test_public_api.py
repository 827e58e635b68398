"""What `import asr` promises: every name is there, and nothing heavy comes along."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import asr

ROOT = Path(__file__).parents[2]
HEAVY = ("tensorflow", "keras", "librosa", "numba", "scipy", "rapidfuzz", "soundfile")
LIGHT_MODULES = ["asr", "asr.cli", "asr.errors", "asr.recipe", "asr.manifest", "asr.text",
                 "asr.text.tokenizer", "asr.features.lengths", "asr.files", "asr.corpora"]
WITHOUT_TENSORFLOW = ["asr.audio", "asr.features", "asr.augment", "asr.data.cache",
                      "asr.data.batches", "asr.bundle", "asr.network.engine", "asr.recognizer",
                      "asr.decoding", "asr.scoring", "asr.evaluation", "asr.fleet.transcribe",
                      "asr.inspection", "asr.inspection.page", "asr.inspection.plot",
                      "asr.audit.validate", "asr.training", "asr.doctor", "asr.kernels.cpu",
                      "asr.network.equations", "asr.corpora.tones"]


def heavy_after(statement: str, heavy: tuple[str, ...]) -> list[str]:
    """Which of these modules a fresh process has loaded after the statement."""
    code = f"import sys\n{statement}\nprint(*[m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True,
                          text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", asr.__all__)
def test_every_name_imports_and_explains_itself(name):
    value = getattr(asr, name)
    if name == "__version__":
        return
    home = importlib.import_module(asr._HOME[name])
    assert value is getattr(home, name)
    assert inspect.getdoc(value), f"asr.{name} has no docstring"


@pytest.mark.parametrize("name", sorted(set(asr.__all__) - {"__version__"}))
def test_public_functions_are_typed(name):
    value = getattr(asr, name)
    function = value.__init__ if inspect.isclass(value) else value
    if not function.__module__.startswith("asr"):
        return  # of Keras
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name != "self" and parameter.kind is not parameter.VAR_KEYWORD:
            assert parameter.annotation is not inspect.Parameter.empty, (name, parameter.name)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match="no attribute 'transcrib'; it offers .*load_audio"):
        asr.transcrib  # noqa: B018


def test_dir_is_the_public_list():
    assert dir(asr) == sorted(asr.__all__)
    assert len(set(asr.__all__)) == len(asr.__all__)


def test_type_checkers_see_the_same_names():
    """The lazy table and the imports below TYPE_CHECKING say the same."""
    tree = ast.parse((ROOT / "asr/__init__.py").read_text("utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom)
            for alias in node.names}
    assert seen == asr._HOME


def test_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == asr.__version__
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"## {asr.__version__}" in changes


def test_import_asr_is_light():
    assert heavy_after("\n".join(f"import {name}" for name in LIGHT_MODULES),
                       (*HEAVY, "numpy")) in ([], ["numpy"])
    assert heavy_after("import asr, asr.cli, asr.recipe, asr.manifest", (*HEAVY, "numpy")) == []


def test_what_transcribes_and_scores_needs_no_tensorflow():
    imports = "\n".join(f"import {name}" for name in WITHOUT_TENSORFLOW)
    assert heavy_after(imports, ("tensorflow", "keras")) == []


def test_the_check_can_fail():
    assert heavy_after("import rapidfuzz", HEAVY) == ["rapidfuzz"]


def test_the_wheel_holds_what_the_package_reads():
    """Files beside the code are read by path, so they must lie inside of the package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == ["asr"]
    for name in ("assets/clips/clips.jsonl", "pages/assets/frame.html",
                 "pages/assets/inspect.css", "pages/assets/inspect.js"):
        assert (ROOT / "asr" / name).is_file()
