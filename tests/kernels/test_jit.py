"""Compiled kernels: kept where there is a place, compiled anew when any of their files changes."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from asr.decoding.prefix_search import prefix_search
from asr.kernels import jit

ROOT = Path(__file__).parents[2]


def run_child(code: str, **environment) -> subprocess.CompletedProcess:
    base = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    return subprocess.run([sys.executable, "-c", code], env={**base, **environment}, text=True,
                          capture_output=True, timeout=120, cwd=ROOT)


def test_compiled_code_goes_to_the_first_place_that_can_be_written(tmp_path):
    code = "import asr.kernels\nfrom asr.kernels import jit\nprint(jit.cache_folder('asr.kernels'))"
    home, chosen = tmp_path / "home", tmp_path / "chosen"
    home.mkdir()
    child = run_child(code, HOME=str(home), NUMBA_CACHE_DIR=str(chosen))
    assert child.stdout.startswith(str(chosen)), child.stderr
    child = run_child(code, HOME=str(home))
    kept = home / ".cache" / "keras-asr" / "asr.kernels-"
    assert child.stdout.startswith(str(kept)), child.stderr
    blocked = tmp_path / "a-file"
    blocked.write_text("not a folder")
    child = run_child(code, HOME=str(blocked), TMPDIR=str(tmp_path))
    assert child.stdout.startswith(str(tmp_path / "keras-asr-")), child.stderr


def test_a_system_without_a_temporary_folder_has_fewer_places(monkeypatch):
    def nowhere():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(jit.tempfile, "gettempdir", nowhere)
    assert jit.candidates() and all(path.name == "keras-asr" for path in jit.candidates())


@pytest.mark.slow
def test_runs_where_nothing_can_be_written(tmp_path):
    blocked = tmp_path / "a-file"
    blocked.write_text("not a folder")
    code = ("import tempfile; tempfile.tempdir = '/proc'\n"
            "from asr.kernels import cpu, jit\n"
            "assert jit.cache_folder('asr.kernels') is None\nprint(cpu.compile_problem())")
    child = run_child(code, HOME=str(blocked))
    assert child.stdout == "None\n", child.stderr


def test_a_folder_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setattr(jit, "candidates", lambda: [tmp_path / "open", tmp_path / "own"])
    (tmp_path / "open" / jit.sources_key("asr.decoding")).mkdir(parents=True)
    (tmp_path / "open" / jit.sources_key("asr.decoding")).chmod(0o777)
    assert jit.cache_folder.__wrapped__("asr.decoding").parent == tmp_path / "own"


def test_a_changed_callee_in_another_file_is_compiled_anew(tmp_path, monkeypatch):
    package = types.ModuleType("kernels_of_a_test")
    package.__file__ = str(tmp_path / "__init__.py")
    monkeypatch.setitem(sys.modules, package.__name__, package)
    keys = set()
    for a, b in (("1", "2"), ("1", "3"), ("2", "3")):
        (tmp_path / "a.py").write_text(f"from asr.kernels.jit import compiled\nx = {a}\n")
        (tmp_path / "b.py").write_text(f"import numba\nx = {b}\n")
        for text in ("x = 1", "y = 2"):  # a file without a kernel plays no part
            (tmp_path / "no_kernel.py").write_text(text)
            keys.add(jit.sources_key(package.__name__))
    assert len(keys) == 3


def test_callees_in_another_package_are_in_the_key(monkeypatch):
    before, read = jit.sources_key("asr.decoding"), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes",
                        lambda path: read(path) + b"#" * (path.name == "ngram_kernel.py"))
    assert before != jit.sources_key("asr.decoding")


def test_kernels_of_the_decoders_are_kept_there_too():
    folder = jit.cache_folder("asr.decoding")
    assert folder is not None
    assert Path(prefix_search._cache.cache_path).parent == folder


def test_every_file_with_a_kernel_is_in_the_key():
    for path in (ROOT / "asr").rglob("*.py"):
        source = path.read_bytes()
        if b"\n@compiled" in source or b"\n@intrinsic" in source:
            assert jit.HOLDS_KERNELS.search(source), path


def test_without_numba_everything_is_said_and_runs(tmp_path):
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 2.4 or less')")
    clip = ROOT / "asr" / "assets" / "clips" / "1-rms.ogg"
    code = ("import sys\nfrom asr.cli import main\n"
            f"sys.exit(main(['transcribe', {str(clip)!r}, '--decoder', 'beam']))")
    child = run_child(code, PYTHONPATH=str(tmp_path))
    assert (child.returncode, child.stdout) == (0, "four two zero nine\n"), child.stderr
    assert "numba cannot be imported (Numba needs NumPy 2.4 or less)" in child.stderr
    assert "Compiling" not in child.stderr
