"""TensorFlow as this project needs it: its own backend, float32, and no XLA behind our back."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import asr

SOURCES = sorted(Path(asr.__file__).parent.rglob("*.py"))


def calls_without_jit(source: str) -> list[int]:
    """Lines that trace or compile and leave it to the hardware whether XLA is used."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = ast.unparse(node.func.value)
            if (owner, node.func.attr) == ("tf", "function") or node.func.attr == "compile" \
                    and owner in ("self", "model", "self.model"):
                given = {k.arg: ast.unparse(k.value) for k in node.keywords}
                if given.get("jit_compile") != "False":
                    lines.append(node.lineno)
        if isinstance(node, ast.FunctionDef):
            lines += [d.lineno for d in node.decorator_list if ast.unparse(d) == "tf.function"]
    return lines


def test_nothing_is_traced_or_compiled_with_xla_left_to_the_hardware():
    found = [f"{path.name}:{line}" for path in SOURCES
             for line in calls_without_jit(path.read_text(encoding="utf-8"))]
    assert found == []


def test_that_scan_can_fail():
    assert calls_without_jit("@tf.function\ndef f(): pass\n") == [1]
    assert calls_without_jit("tf.function(f)\nself.compile(optimizer=o)\n") == [1, 2]
    assert calls_without_jit("tf.function(f, jit_compile=False)\nre.compile('x')\n") == []


@pytest.mark.tf
def test_a_model_made_for_training_says_so():
    keras = pytest.importorskip("keras")
    from asr.network.model import build_model
    from asr.recipe import ModelSettings
    model = build_model(ModelSettings(units=4, num_layers=1), 8, 5)
    model.compile_for_training(keras.optimizers.AdamW())
    assert model.jit_compile is False


def run_training(tmp_path, inherited=os.environ, **environment) -> subprocess.CompletedProcess:
    code = ("import sys\nfrom asr.network.framework import import_tensorflow\n"
            "from asr.errors import AsrError\n"
            "try:\n    import_tensorflow()\nexcept AsrError as error:\n"
            "    print(error, file=sys.stderr)\n    sys.exit(error.exit_code)\n")
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300,
                          env={**inherited, "KERAS_HOME": str(tmp_path), **environment})


@pytest.mark.tf
def test_a_keras_json_with_another_number_type_is_refused(tmp_path):
    pytest.importorskip("keras")
    (tmp_path / "keras.json").write_text('{"floatx": "float16", "backend": "tensorflow"}',
                                         encoding="utf-8")
    done = run_training(tmp_path)
    assert done.returncode == 2
    assert done.stderr == ("Keras runs on tensorflow with float16; this project needs tensorflow "
                           "with float32. Look at KERAS_BACKEND and ~/.keras/keras.json.\n")


@pytest.mark.tf
def test_a_keras_json_with_the_backend_of_another_project_does_no_harm(tmp_path):
    pytest.importorskip("keras")
    (tmp_path / "keras.json").write_text('{"floatx": "float32", "backend": "jax"}',
                                         encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    done = run_training(tmp_path, environment)
    assert (done.returncode, done.stderr) == (0, "")


def test_another_backend_is_refused_before_it_is_imported(tmp_path):
    done = run_training(tmp_path, KERAS_BACKEND="jax")
    assert done.returncode == 2
    assert done.stderr == ("KERAS_BACKEND is 'jax'; this project runs on tensorflow. Unset it.\n")


@pytest.mark.parametrize("kind", ["ImportError", "FileNotFoundError"])  # no temporary folder
def test_a_tensorflow_that_cannot_be_imported_is_a_sentence(tmp_path, kind):
    (tmp_path / "keras.py").write_text(f"raise {kind}('no such library')", encoding="utf-8")
    done = run_training(tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "TensorFlow cannot be imported (no such library). Install keras-asr" in done.stderr
