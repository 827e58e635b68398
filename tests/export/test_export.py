"""Exported files compute what the bundle computes, and a file that does not is refused."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import FEATURES, MODEL, TOKENIZER, random_weights, write_bundle

import asr
from asr.bundle import reference_clip
from asr.bundle.find import SHIPPED
from asr.cli import run
from asr.errors import AsrError, BundleError, UsageError
from asr.export import FORMATS, Options, certificate, export, html_format, onnx_format
from asr.manifest import read_manifest
from asr.network.onnx_engine import OnnxAcousticModel

onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")

CLIPS = SHIPPED.parent / "clips"
VARIANTS = {  # name: changes of features and of model; each has its own branch in a graph
    "stack": ({}, {}),
    "edges": ({"cmvn": "none"}, {"edge_frames": 2, "layer_norm": False}),
    "conv": ({"cmvn": "global"}, {"front_end": "conv", "conv_channels": 4}),
    "conv 4": ({"cmvn": "map"}, {"front_end": "conv", "conv_channels": 3, "subsampling": 4}),
    "stack 4 of 5": ({"cmvn": "map", "n_fft": 200, "f_min": 100.0},
                     {"stacking": 5, "subsampling": 4}),
    "pauses": ({"cmvn": "map", "cmvn_range_db": 30.0}, {"num_layers": 1}),
    "pauses, utterance": ({"cmvn_range_db": 20.0}, {"num_layers": 1}),
    "mfcc": ({"kind": "mfcc"}, {"num_layers": 1}),
    "odd": ({"n_fft": 257, "htk": True, "norm": "none", "window": "hamming"}, {"num_layers": 1}),
    "deltas": ({"kind": "mfcc", "deltas": 2}, {"num_layers": 1}),
}


@pytest.fixture(autouse=True)
def brief(request):
    """All but one test."""
    if "whole_certificate" not in request.keywords:
        request.getfixturevalue("brief_certificate")


def small(tmp_path, name="stack", **changes):
    """A recogniser with gentle random weights: large ones turn rounding into differences."""
    features, model = VARIANTS[name]
    features = dataclasses.replace(FEATURES, **features)
    model = dataclasses.replace(MODEL, **model)
    size = random_weights(model, features, TOKENIZER.vocab_size)
    rng = np.random.default_rng(5)
    weights = {name: (0.3 * array).astype(np.float32) for name, array in size.items()}
    dims = next(len(a) for n, a in [("", np.zeros(asr.features.FeatureExtractor(features)
                                                  .num_features))])
    statistics = (rng.normal(size=dims), rng.uniform(1, 2, dims))
    changes.setdefault("cmvn", statistics if features.cmvn in ("global", "map") else None)
    path = write_bundle(tmp_path / f"{name.replace(' ', '_')}.asr", features=features, model=model,
                        weights=weights, **changes)
    return asr.load(path, engine="numpy")


@pytest.mark.parametrize("variant", VARIANTS)
def test_onnx_agrees_for_every_front_end_and_normalisation(tmp_path, variant):
    recognizer = small(tmp_path, variant)
    path = tmp_path / "m.onnx"
    result = export(recognizer, path)
    assert result.largest_difference < 1e-4
    assert {batch.entry for batch in result.batches} == {"features", "samples"}
    assert {batch.batch for batch in result.batches} == {1, 7, 32}
    assert result.same_transcripts == (2, 2)
    assert json.loads((tmp_path / "m.onnx.certificate.json").read_text())["problem"] == ""
    graph = onnx.load(path).graph
    lstms = [node for node in graph.node if node.op_type == "LSTM"]
    assert len(lstms) == recognizer.bundle.model.num_layers
    assert all(node.input[4] for node in lstms), "sequence_lens"


def test_an_exported_file_is_an_engine_of_its_own(tmp_path, capsys):
    export(asr.load(engine="numpy"), tmp_path / "d.onnx")
    assert run(["transcribe", str(tmp_path / "d.onnx"), str(CLIPS / "1-rms.ogg")]) == 0
    text = capsys.readouterr().out
    assert text == asr.load().transcribe(CLIPS / "1-rms.ogg").text + "\n"
    assert run(["evaluate", str(tmp_path / "d.onnx"), str(CLIPS / "clips.jsonl"), "--json"]) == 0
    mine = json.loads(capsys.readouterr().out)
    assert run(["evaluate", str(SHIPPED), str(CLIPS / "clips.jsonl"), "--json"]) == 0
    assert mine["wer"] == json.loads(capsys.readouterr().out)["wer"]


def test_metadata_is_enough_for_another_program(tmp_path):
    export(asr.load(engine="numpy"), tmp_path / "d.onnx")
    known = {one.key: one.value for one in onnx.load(tmp_path / "d.onnx").metadata_props}
    assert json.loads(known["labels"]) == ["", *" efghinorstuvwxz"]
    assert json.loads(known["sample_rate"]) == 8000
    assert json.loads(known["frame_seconds"]) == pytest.approx(0.02)  # 10 ms, every second


def test_int8_is_smaller_and_its_cost_is_printed(tmp_path, capsys):
    assert run(["export", str(SHIPPED), str(tmp_path / "q.onnx"), "--quantize", "int8",
                "--verify", str(CLIPS / "clips.jsonl")]) == 0
    assert "WER" in capsys.readouterr().out
    assert (tmp_path / "q.onnx").stat().st_size < 0.35 * SHIPPED.stat().st_size


def test_a_quantised_file_that_costs_too_much_is_not_kept(tmp_path, monkeypatch):
    recognizer = asr.load(engine="numpy")

    def broken(path):  # int8 of a network whose output layer says nothing
        model = onnx.load(path)
        for tensor in model.graph.initializer:
            if tensor.name == "output/bias":
                tensor.CopyFrom(onnx.numpy_helper.from_array(
                    np.eye(17, dtype=np.float32)[0] * 1e3, tensor.name))
        onnx.save(model, path)

    monkeypatch.setattr(onnx_format, "quantize", broken)
    with pytest.raises(AsrError, match="WER is 100.00 %"):
        export(recognizer, tmp_path / "q.onnx", quantize="int8",
               verify=read_manifest(CLIPS / "clips.jsonl"))
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_graph_is_refused_and_its_first_wrong_layer_named(tmp_path, monkeypatch):
    from asr.export import onnx_graph
    monkeypatch.setattr(onnx_graph, "GATES", (0, 1, 2, 3))
    with pytest.raises(AsrError, match="first layer that differs is lstm_0") as caught:
        export(small(tmp_path), tmp_path / "out.onnx")
    assert caught.value.code == "export.parity"
    assert not list(tmp_path.glob("out*"))


@pytest.mark.tf
@pytest.mark.parametrize("name", ["out.savedmodel", "out.tflite", "out.keras", "out.html"])
def test_every_format_names_the_first_wrong_layer(tmp_path, monkeypatch, name):
    """Its file gets other weights in the second LSTM layer than the reference has."""
    if name.endswith("tflite"):
        pytest.importorskip("ai_edge_litert", reason="the extra litert is not installed")
    if name.endswith("html") and html_format.shutil.which("node") is None:
        pytest.skip("Node is not installed")
    right = small(tmp_path)
    wrong = dict(right.bundle.weights)
    kernel = "lstm_1/forward/kernel"
    wrong[kernel] = wrong[kernel][::-1].copy()
    right.bundle = dataclasses.replace(right.bundle, weights=wrong)  # the engine has the others
    monkeypatch.setattr(html_format, "PageEngine", page_of(right.engine))
    with pytest.raises(AsrError, match="first layer that differs is lstm_1"):
        export(right, tmp_path / name, quantize="float32" if name.endswith("html") else "")
    assert not list(tmp_path.glob("out*"))


def page_of(reference):
    """A page's engine that is compared with this one."""
    def engine(*arguments):
        made = PAGE_ENGINE(*arguments)
        made.reference = reference
        return made

    return engine


PAGE_ENGINE = html_format.PageEngine


@pytest.mark.tf
def test_litert_is_compared_over_short_recordings_too(tmp_path):
    """It takes one recording at a time: batches are run one by one, from one frame."""
    pytest.importorskip("ai_edge_litert", reason="the extra litert is not installed")
    found = export(small(tmp_path), tmp_path / "m.tflite")
    assert [(one.batch, one.seconds[0] < 0.001) for one in found.batches] == [
        (1, False), (7, True), (32, True)]


def test_a_quantised_file_without_a_manifest_says_that_its_cost_is_unknown(tmp_path):
    found = export(small(tmp_path), tmp_path / "q.onnx", quantize="int8")
    assert any("was not measured" in note and "--verify" in note for note in found.notes)
    assert found.tolerance is None


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "m.samples.onnx").write_text("mine")
    with pytest.raises(UsageError, match="exists and is not overwritten"):
        export(small(tmp_path), tmp_path / "m.onnx")
    assert (tmp_path / "m.samples.onnx").read_text() == "mine"
    assert not (tmp_path / "m.onnx").exists()


def test_a_disk_that_fills_up_inside_tensorflow_is_an_error_of_the_file(tmp_path):
    resource = pytest.importorskip("resource")
    recognizer, before = small(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    for name in ("m.savedmodel", "m.keras"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, before[1]))
        try:
            with pytest.raises(OSError) as error:
                export(recognizer, tmp_path / name)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert error.value.errno == errno.EFBIG and error.value.filename == str(tmp_path / name)
    with pytest.raises(OSError, match="File name too long"):
        export(recognizer, tmp_path / f"{'n' * 300}.savedmodel")
    assert [path.name for path in tmp_path.iterdir()] == ["stack.asr"]


@pytest.mark.parametrize(("name", "options", "words"), [
    ("x.abc", {}, "ending of no format"), ("x.onnx", {"format": "tar"}, "no format 'tar'"),
    ("x.onnx", {"quantize": "float16"}, "no 'float16'"), ("no/x.onnx", {}, "does not exist")])
def test_wrong_use_is_one_sentence(tmp_path, name, options, words):
    with pytest.raises(UsageError, match=words):
        export(small(tmp_path), tmp_path / name, **options)


def test_a_missing_package_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_format, "NEEDS", ("not-a-package",))
    with pytest.raises(UsageError, match=r'pip install "keras-asr\[onnx\]"'):
        export(small(tmp_path), tmp_path / "x.onnx")


def test_files_that_are_not_ours_are_refused(tmp_path):
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(BundleError, match="not an ONNX file"):
        asr.load(tmp_path / "junk.onnx")
    export(small(tmp_path), tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="takes samples"):
        asr.load(tmp_path / "m.samples.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    with pytest.raises(BundleError, match="without the settings"):
        asr.load(tmp_path / "bare.onnx")
    with pytest.raises(UsageError, match="runs with the engine onnx"):
        asr.load(tmp_path / "m.onnx", engine="numpy")


def test_the_language_model_travels_beside_the_file(tmp_path):
    import gzip

    from tiny_bundle import ARPA

    from asr.recipe import DecoderSettings
    recognizer = small(tmp_path, lm=gzip.compress(ARPA.encode()),
                       decoder=DecoderSettings(kind="beam", lm="lm.arpa.gz"))
    export(recognizer, tmp_path / "m.onnx")
    clip = reference_clip(8000)
    assert asr.load(tmp_path / "m.onnx").transcribe(clip).text == recognizer.transcribe(clip).text
    beside = tmp_path / "m.onnx.lm.arpa.gz"
    beside.write_bytes(beside.read_bytes() + b"x")
    with pytest.raises(BundleError, match="not the language model"):
        asr.load(tmp_path / "m.onnx")
    beside.unlink()
    with pytest.raises(BundleError, match="Put it back"):
        asr.load(tmp_path / "m.onnx")


@pytest.mark.tf
@pytest.mark.parametrize("variant", VARIANTS)
def test_savedmodel_agrees_for_every_front_end_and_normalisation(tmp_path, variant):
    found = export(small(tmp_path, variant), tmp_path / "m.savedmodel")
    assert found.largest_difference < 1e-4
    entries = {"features"} if variant == "deltas" else {"features", "samples"}
    assert {one.entry for one in found.batches} == entries
    assert any("deltas" in note for note in found.notes) == (variant == "deltas")


@pytest.mark.tf
@pytest.mark.parametrize("variant", ["stack", "edges", "conv", "conv 4", "stack 4 of 5", "odd"])
def test_litert_agrees_for_every_front_end(tmp_path, variant):
    pytest.importorskip("ai_edge_litert", reason="the extra litert is not installed")
    assert export(small(tmp_path, variant), tmp_path / "m.tflite").largest_difference < 1e-4


@pytest.mark.tf
def test_litert_needs_no_operator_beyond_its_own(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="the extra litert is not installed")
    from asr.export import litert_format
    written = litert_format.write(small(tmp_path), tmp_path / "m.tflite", Options())
    assert not [name for name in written.engine.operators if name.startswith("Flex")]
    assert "CUSTOM" not in written.engine.operators


def test_every_format_says_what_it_is(tmp_path):
    import importlib
    for name, module in FORMATS.items():
        found = importlib.import_module(module)
        assert found.SUMMARY and found.SUFFIX.startswith("."), name
        assert isinstance(found.QUANTIZED, tuple) and found.write.__doc__, name


def test_padding_and_junk_in_it_change_nothing(tmp_path):
    export(small(tmp_path, "edges"), tmp_path / "m.onnx")
    engine = OnnxAcousticModel(tmp_path / "m.onnx", threads=1)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(1, 37, 20)).astype(np.float32)
    alone, _ = engine.logits(x, np.array([37]))
    padded = np.full((3, 80, 20), np.nan, np.float32)
    padded[1, :37] = x[0]
    padded[0, :80] = padded[2, :80] = 1.0
    beside, lengths = engine.logits(padded, np.array([80, 37, 1]))
    assert np.abs(beside[1, :lengths[1]] - alone[0]).max() < 1e-6
    assert np.all(beside[1, lengths[1]:] == 0)


@pytest.mark.whole_certificate
def test_a_certificate_counts_what_it_compared(tmp_path):
    recognizer = small(tmp_path)
    written = onnx_format.write(recognizer, tmp_path / "m.onnx", Options())
    result = certificate.certify(recognizer, written)
    assert result.same_transcripts == (9, 9)
    spans = {batch.batch: batch.seconds for batch in result.batches}
    assert spans[32][0] < 0.001 and spans[32][1] == 60.0


EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def exported_digits(tmp_path):
    """An exported model, a WAV file, and the text that greedy decoding gives."""
    recognizer = asr.load(engine="numpy")
    export(recognizer, tmp_path / "digits.onnx")
    samples = np.round(recognizer.load_audio(CLIPS / "5-kal-unseen.ogg") * 32767)
    with wave.open(str(tmp_path / "talk.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    with open(tmp_path / "talk.wav", "ab") as file:  # what editors put behind the samples
        file.write(b"LIST" + (4000).to_bytes(4, "little") + bytes(range(250)) * 16)
    with wave.open(str(tmp_path / "fast.wav"), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(bytes(200))
    text = recognizer.with_decoder(kind="greedy").transcribe(tmp_path / "talk.wav").text
    return tmp_path, text


def test_the_python_example_decodes(exported_digits):
    folder, text = exported_digits
    done = subprocess.run([sys.executable, EXAMPLES / "greedy.py", "digits.samples.onnx",
                           "talk.wav"], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout == text + "\n"


def test_the_javascript_example_decodes(exported_digits):
    modules = os.environ.get("NODE_PATH", "")
    if not (Path(modules or "no") / "onnxruntime-web").is_dir():
        pytest.skip("onnxruntime-web is not installed: npm install onnxruntime-web, and set "
                    "NODE_PATH to its node_modules")
    folder, text = exported_digits
    done = subprocess.run(["node", EXAMPLES / "greedy.js", "digits.samples.onnx",
                           "digits.onnx.certificate.json", "talk.wav"], cwd=folder,
                          capture_output=True, text=True, check=True)
    assert done.stdout == text + "\n"


def test_the_cpp_example_decodes(exported_digits):
    home = os.environ.get("ONNXRUNTIME_HOME", "")
    if not (Path(home or "no") / "include").is_dir():
        pytest.skip("onnxruntime's C++ library is not here: set ONNXRUNTIME_HOME")
    folder, text = exported_digits
    subprocess.run(["g++", "-std=c++17", f"-I{home}/include", EXAMPLES / "greedy.cc", "-o",
                    "greedy", f"-L{home}/lib", "-lonnxruntime", f"-Wl,-rpath,{home}/lib"],
                   cwd=folder, check=True)
    done = subprocess.run(["./greedy", "digits.samples.onnx", asr.load().tokenizer.alphabet,
                           "talk.wav"], cwd=folder, capture_output=True, text=True, check=True)
    assert done.stdout.split() == text.split()
    done = subprocess.run(["./greedy", "digits.samples.onnx", "abc", "fast.wav"], cwd=folder,
                          capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "fast.wav must be mono, 16 bit, 8000 Hz.\n")


FRESH = """
import sys
sys.modules["asr"] = None  # importing it is an error
import numpy as np, tensorflow as tf
clip, features = np.load("clip.npy")[None], np.load("features.npy")[None]
model = tf.saved_model.load("m.savedmodel")
y = model.signatures["samples"](samples=tf.constant(clip), num_samples=tf.constant([clip.shape[1]]))
np.save("samples.npy", y["logits"].numpy())
del sys.modules["asr"]
import asr, keras
asr.AcousticModel
model = keras.saving.load_model("m.keras")
y = model({"features": features, "num_frames": np.array([features.shape[1]], np.int32)})
np.save("keras.npy", np.asarray(y))
"""


@pytest.mark.tf
def test_a_fresh_process_runs_a_savedmodel_without_asr_and_a_keras_file(tmp_path):
    recognizer = small(tmp_path)
    export(recognizer, tmp_path / "m.savedmodel")
    assert export(recognizer, tmp_path / "m.keras").largest_difference < 1e-4
    assert json.loads((tmp_path / "m.keras.json").read_text())["sample_rate"] == 8000
    clip = reference_clip(8000)
    features = recognizer.features(clip)
    np.save(tmp_path / "clip.npy", clip)
    np.save(tmp_path / "features.npy", recognizer.normalized(features))
    subprocess.run([sys.executable, "-c", FRESH], cwd=tmp_path, check=True,
                   capture_output=True, timeout=300,
                   env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"})
    ours = recognizer.logits(features)
    for name in ("samples.npy", "keras.npy"):
        assert np.abs(np.load(tmp_path / name)[0] - ours).max() < 1e-4, name


def test_a_network_of_your_own_is_refused(tmp_path):
    own = small(tmp_path)
    own.bundle = dataclasses.replace(own.bundle, network="my_network")
    with pytest.raises(UsageError, match=r"one of your own \(my_network\)"):
        export(own, tmp_path / "x.onnx")
