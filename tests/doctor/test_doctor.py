"""asr doctor: healthy, and with one thing after another broken on purpose."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import content, write_bundle

from asr import doctor
from asr.bundle import Reference, load_bundle, reference_clip
from asr.cli import run
from asr.doctor import kernels, machine, parity
from asr.doctor.report import render
from asr.features import FeatureExtractor, normalize_features
from asr.kernels import cpu, jit
from asr.network.engine import build_engine
from asr.recipe import ModelSettings

pytestmark = pytest.mark.tf
SMALL = ModelSettings(units=8, num_layers=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Time the kernels on three frames."""
    monkeypatch.setattr(kernels, "FRAMES", 3)


@pytest.fixture
def bundle(tmp_path) -> Path:
    """A bundle whose reference clip this machine reproduces."""
    values = content()
    audio = reference_clip(values["features"].sample_rate)[:2_400]
    features = normalize_features(FeatureExtractor(values["features"]).extract(audio),
                                  values["features"], values.get("cmvn"))
    engine = build_engine("numpy", values["model"], 20, values["tokenizer"].vocab_size,
                          values["weights"])
    logits, _ = engine.logits(features[None], np.array([len(features)]))
    reference = Reference(audio, features, logits[0])
    return write_bundle(tmp_path / "good.asr", reference=reference)


def test_a_healthy_machine(bundle, capsys):
    assert run(["doctor", "--bundle", str(bundle), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert report["versions"]["tensorflow"] and report["versions"]["python"]
    assert report["numba"]["problem"] is None and Path(report["numba"]["cache"]).is_dir()
    assert [row["kernel"] for row in report["layers"]] == ["cpu", "cpu"]
    assert [c["name"] for c in report["layers"][0]["failed"]] == ["gpu"]
    assert set(report["timings"]["seconds"]) == {"cpu", "generic"}
    assert min(report["timings"]["times_fastest"].values()) == 1.0
    assert report["reference"]["engines"]["numpy"]["agrees"]
    assert report["reference"]["engines"]["keras"]["agrees"]
    assert all(report["reference"]["features"][name]["agrees"] for name in ("librosa", "numpy"))
    screen = render(report)
    assert "compiled CPU" in screen and "TensorFlow sees no GPU" in screen
    assert "numpy engine: agrees" in screen and screen.endswith("Nothing is broken.")
    assert max(map(len, screen.splitlines())) < 160


def test_a_recipe_or_nothing(tmp_path, capsys, monkeypatch):
    page = tmp_path / "small.toml"
    page.write_text("[model]\nunits = 5\nnum_layers = 1\n")
    assert run(["doctor", "--recipe", str(page), "--no-timing"]) == 0
    assert "240 -> 2 x 5" in capsys.readouterr().out
    monkeypatch.setattr("asr.bundle.find.SHIPPED", tmp_path / "none.asr")
    report = doctor.examine(measure=False)
    assert report["model"] == "the default recipe" and report["reference"] is None


def test_two_models_or_one_that_is_not_there(tmp_path, capsys):
    assert run(["doctor", "--bundle", "a", "--recipe", "b"]) == 2
    assert "not both" in capsys.readouterr().err
    assert run(["doctor", "--bundle", str(tmp_path / "none.asr")]) == 5


def test_a_bundle_that_this_machine_does_not_reproduce(bundle, tmp_path, capsys):
    loaded = load_bundle(bundle)
    drifted = dataclasses.replace(loaded.reference, logits=loaded.reference.logits + 1e-3)
    loaded.save(tmp_path / "drifted.asr", reference=drifted)
    assert run(["doctor", "--bundle", str(tmp_path / "drifted.asr"), "--no-timing"]) == 3
    output = capsys.readouterr().out
    assert "PROBLEM        The numpy engine does not reproduce" in output
    assert "1.0e-03" in output


def test_a_librosa_that_computes_something_else(bundle, monkeypatch, capsys):
    from asr.features import kinds

    original = kinds.log_mel
    monkeypatch.setattr(kinds, "log_mel", lambda audio, s: np.maximum(original(audio, s), -6.0))
    assert run(["doctor", "--bundle", str(bundle), "--no-timing"]) == 3
    output = capsys.readouterr().out
    assert "librosa features: DIFFERS" in output and "numpy features: agrees" in output
    assert "PROBLEM        The features of librosa are not those of the bundle" in output
    assert "It was trained with librosa 0." in output


def test_features_without_a_twin_are_compared_with_librosa(tmp_path):
    values = content()
    settings = dataclasses.replace(values["features"], kind="pcen")
    audio = reference_clip(settings.sample_rate)[:2_400]
    features = FeatureExtractor(settings).extract(audio)
    reference = Reference(audio, features, np.zeros((16, 10), np.float32))
    loaded = load_bundle(write_bundle(tmp_path / "pcen.asr", features=settings))
    result = parity.check_reference(dataclasses.replace(loaded, reference=reference),
                                    tensorflow=False)
    assert list(result["features"]) == ["librosa"]


def test_kernels_that_compute_no_numbers_are_told_in_json(bundle, monkeypatch, capsys):
    from asr.network import engine

    monkeypatch.setattr(
        engine, "bidirectional_layer", lambda forward, backward: lambda inputs, lengths: np.full(
            (*inputs.shape[:2], 2 * len(forward[1])), np.nan, np.float32))
    assert run(["doctor", "--bundle", str(bundle), "--no-timing", "--json"]) == 3
    report = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert report["reference"]["engines"]["numpy"] == {
        "agrees": False, "difference": None, "message": "logits are not finite"}


def test_a_reference_of_another_shape_and_none(bundle, tmp_path):
    loaded = load_bundle(bundle)
    short = dataclasses.replace(loaded.reference, logits=loaded.reference.logits[:-1])
    result = parity.check_reference(dataclasses.replace(loaded, reference=short),
                                    tensorflow=False)
    assert "logits have shape" in result["engines"]["numpy"]["message"]
    nothing = parity.check_reference(dataclasses.replace(loaded, reference=None),
                                     tensorflow=False)
    assert nothing == {"present": False, "features": {}, "engines": {}}


def test_numba_that_cannot_compile(monkeypatch):
    monkeypatch.setattr(cpu, "compile_problem", lambda: "LLVMError: no such processor")
    report = doctor.examine(measure=True)
    assert {row["kernel"] for row in report["layers"]} == {"generic"}
    assert [c["name"] for c in report["layers"][0]["failed"]] == ["gpu", "numba"]
    assert "cpu" not in report["timings"]["seconds"]
    screen = render(report)
    assert "compiled CPU does not run: numba: the kernels cannot be compiled: LLVMError" in screen
    assert "PROBLEM        The compiled kernels cannot run: LLVMError" in screen


def test_numba_that_is_not_there(monkeypatch):
    import asr.kernels

    monkeypatch.setitem(sys.modules, "asr.kernels.cpu", None)
    monkeypatch.delattr(asr.kernels, "cpu")
    monkeypatch.setitem(sys.modules, "asr.network.op", None)
    assert "asr.kernels.cpu" in machine.numba_state()["problem"]
    assert machine.threads(None)["kernels"] >= 1


def test_machine_code_that_can_be_kept_nowhere(monkeypatch):
    monkeypatch.setattr(jit, "cache_folder", lambda package: None)
    report = doctor.examine(measure=False)
    assert report["numba"]["cache"] is None
    assert "NOT KEPT, compiled in every process; make one of these writable" in render(report)


def test_without_tensorflow_transcribing_is_still_examined(monkeypatch):
    monkeypatch.setattr(doctor, "tensorflow_problem", lambda: "does not work: no module")
    report = doctor.examine(measure=True)
    assert report["threads"]["tensorflow"] is None
    assert [row["kernel"] for row in report["layers"]] == ["cpu"] * len(report["layers"])
    assert set(report["timings"]["seconds"]) == {"cpu"}
    assert "training cannot run, transcribing can" in report["problems"][0]
    monkeypatch.setattr(cpu, "compile_problem", lambda: "LLVMError: none")
    rows = kernels.layer_kernels(SMALL, 80, tensorflow=False)
    assert [c["name"] for c in rows[0]["failed"]] == ["tensorflow", "numba"]
    assert kernels.time_kernels(SMALL, 80, tensorflow=False)["seconds"] == {}


def test_tensorflow_that_fails_to_import(monkeypatch):
    from asr.errors import UsageError
    from asr.network import framework

    def fail(**_):
        raise UsageError("TensorFlow cannot be imported (no module).")

    monkeypatch.setattr(framework, "import_tensorflow", fail)
    assert machine.tensorflow_problem.__wrapped__() == (
        "does not work: TensorFlow cannot be imported (no module).")


def test_a_gpu_whose_memory_is_taken_whole(monkeypatch):
    import tensorflow as tf

    class Device:
        name = "/physical_device:GPU:0"

    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [Device()])
    monkeypatch.setattr(tf.config.experimental, "get_memory_growth", lambda gpu: False)
    gpus = machine.graphics_processors()
    assert gpus == [{"name": "/physical_device:GPU:0", "memory_growth": False}]
    monkeypatch.undo()
    report = doctor.examine(measure=False) | {"gpus": gpus}
    assert "TAKEN WHOLE (set memory growth)" in render(report)


def test_blas_without_threadpoolctl(monkeypatch):
    assert machine.blas()[0]["name"]
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert machine.blas()[0]["threads"] is None


def test_doctor_help_is_light():
    code = ("import sys; from asr.cli import run; run(['doctor', '--help'])\n"
            "print(sorted({'tensorflow', 'numba'} & set(sys.modules)))")
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                           timeout=60, env=os.environ, cwd=Path(__file__).parents[2])
    assert child.stdout.endswith("[]\n"), child.stdout + child.stderr
