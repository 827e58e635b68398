"""The notebooks run from the first cell to the last, offline and with a read-only home.

Each trains, the quickstart what test_readme.py trains too: .ci/legs executes them. `make test`
checks that the names they import exist, and that they were executed as they are.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asr.kernels.jit import cache_folder

nbformat = pytest.importorskip("nbformat", reason="needs the development tools")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
PAGES = sorted(FOLDER.glob("*.ipynb"))
SCRIPT = FOLDER / "execute.py"
RESULTS = {  # what each must have shown again, on whatever machine
    "00_quickstart": ["WER ", "best validation WER 0.00 %"],
    "01_inside_the_lstm": ["4,513 weights", "sequences: solved", "% right"],
    "02_forecasting": ["LSTM - linear", "the LSTM wins", "90 % band"],
    "03_your_own_network": ["GRU stack: best validation WER ", "CNN: best validation WER ",
                            "read: ", "never holds code", "output_length(4) is 1; the recipe"],
    "04_keras": ["largest difference after loading: 0.0", "close after export: True",
                 "AcousticModel", "by asr.train", "val_wer", "WER "],
}
PICTURES = {"03_your_own_network": 2, "04_keras": 2}  # of the others 5 at least
PROXY = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https")}  # no network


def outputs(notebook, kind: str) -> list:
    return [output["data"][kind] for cell in notebook.cells for output in cell.get("outputs", [])
            if kind in output.get("data", {})]


def printed(notebook) -> str:
    return "".join(output["text"] for cell in notebook.cells for output in cell.get("outputs", [])
                   if output["output_type"] == "stream")


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request) -> Path:
    return request.param


def execute(page: Path, folder: Path):
    """The notebook as it is after a run from a home directory that cannot be written to."""
    home = "/proc/no-home" if Path("/proc").is_dir() else str(folder / "home")
    compiled = cache_folder("asr.kernels")  # not once more for this home
    caches = {"XDG_CACHE_HOME": str(compiled.parents[1])} if compiled else {}
    done = subprocess.run([sys.executable, str(SCRIPT), str(folder), page.stem],
                          capture_output=True, text=True, timeout=900,
                          env={**os.environ, **PROXY, **caches, "HOME": home})
    assert done.returncode == 0, done.stderr[-3_000:]
    assert {path.suffix for path in FOLDER.iterdir() if path.is_file()} == {".ipynb", ".py"}
    return nbformat.read(folder / page.name, as_version=4)


def names_of_asr(source: str) -> list[tuple[str, str]]:
    """(module, name) of every `from asr.x import y`, and of every `asr.y`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "asr":
            found += [(node.module, alias.name) for alias in node.names]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) \
                and node.value.id == "asr":
            found.append(("asr", node.attr))
    return found


@pytest.mark.tf
def test_the_names_of_asr_exist(page):
    cells = [cell.source for cell in nbformat.read(page, as_version=4).cells
             if cell.cell_type == "code"]
    found = names_of_asr("\n".join(cells))
    assert found
    for module, name in found:
        exec(f"from {module} import {name}", {})  # noqa: S102


def test_the_scan_for_names_can_fail():
    found = names_of_asr("from asr.errors import Nothing\nasr.nothing(asr_)\nimport os")
    assert found == [("asr.errors", "Nothing"), ("asr", "nothing")]
    for module, name in found:
        with pytest.raises(ImportError):
            exec(f"from {module} import {name}", {})  # noqa: S102


def test_there_is_a_quickstart():
    assert "00_quickstart" in [page.stem for page in PAGES]


@pytest.mark.slow
@pytest.mark.tf
def test_runs_from_first_to_last(page, tmp_path):
    fresh, kept = execute(page, tmp_path), nbformat.read(page, as_version=4)
    assert len(outputs(fresh, "image/png")) == len(
        outputs(kept, "image/png")) >= PICTURES.get(page.stem, 5)
    for result in RESULTS[page.stem]:
        assert result in printed(fresh)
    assert "Warning" not in printed(fresh)


def test_is_committed_as_executed(page):
    """Readers on a web page see the pictures; every cell ran, in order, and none failed."""
    notebook = nbformat.read(page, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs
                if output.output_type == "error"]
    assert page.stat().st_size < 1_000_000
    for word in ("/work/", "/root/", "oneDNN", "cuInit"):
        assert word not in printed(notebook)
