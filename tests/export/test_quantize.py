"""A bundle of 8 bits: smaller, the same transcripts, data only, and float32 for everyone else."""

import dataclasses
import json

import numpy as np
import pytest
from made_recordings import speech
from safetensors.numpy import load as read_safetensors
from safetensors.numpy import save as write_safetensors
from tiny_bundle import write_bundle

import asr
from asr.bundle import SCHEMA_VERSION, load_bundle
from asr.bundle.archive import write_archive
from asr.bundle.find import SHIPPED
from asr.cli import run
from asr.errors import AsrError, BundleError, UsageError
from asr.export import export
from asr.export.int8_bundle import float32_of, quantize_bundle
from asr.manifest import read_manifest
from asr.network.engine import pad_batch
from asr.recipe import DecoderSettings

CLIPS = SHIPPED.parent / "clips"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The digits model with 8 bits."""
    path = tmp_path_factory.mktemp("int8") / "small.asr"
    quantize_bundle(asr.load(), path)
    return path


def test_the_command_prints_sizes_and_the_paired_interval(tmp_path, capsys):
    out = tmp_path / "small.asr"
    assert run(["quantize", str(SHIPPED), "-o", str(out), "--verify",
                str(CLIPS / "clips.jsonl"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["bytes_after"] == out.stat().st_size <= 0.3 * SHIPPED.stat().st_size
    assert not found["comparison"]["different"]
    assert run(["quantize", str(SHIPPED), "-o", str(out)]) == 2
    assert "not overwritten" in capsys.readouterr().err
    assert run(["info", str(out)]) == 0
    assert "int8" in capsys.readouterr().out


def test_it_computes_almost_what_the_rounded_weights_mean(small):
    recognizer = asr.load(small)
    exact = float32_of(recognizer)
    clips = sorted(CLIPS.glob("*-*"))
    features = [recognizer.features(str(clip)) for clip in clips]
    for ours, theirs in zip(recognizer.logits_batch(features), exact.logits_batch(features),
                            strict=True):
        assert 0 < np.abs(ours - theirs).max() < 0.05
    for clip in clips:
        assert recognizer.transcribe(str(clip)).text == asr.load().transcribe(str(clip)).text


def test_no_bit_depends_on_the_batch(small):
    recognizer = asr.load(small)
    rows = [recognizer.normalized(recognizer.features(str(clip)))
            for clip in sorted(CLIPS.glob("*-*"))]
    together, lengths = recognizer.engine.logits(*pad_batch(rows))
    backwards, _ = recognizer.engine.logits(*pad_batch(rows[::-1]))
    for row, result, other, length in zip(rows, together, backwards[::-1], lengths, strict=True):
        alone, _ = recognizer.engine.logits(*pad_batch([row]))
        assert alone[0].tobytes() == result[:length].tobytes() == other[:length].tobytes()


def test_saving_again_changes_no_byte(small, tmp_path):
    bundle = load_bundle(small)
    bundle.save(tmp_path / "again.asr")
    assert (tmp_path / "again.asr").read_bytes() == small.read_bytes()
    bundle.save(tmp_path / "new.asr", weights=bundle.weights)
    assert not load_bundle(tmp_path / "new.asr").quantized, "new weights are float32"


def test_doctor_agrees(small):
    assert run(["doctor", "--bundle", str(small), "--no-timing"]) == 0


def test_an_export_has_the_same_weights_as_float32(small, tmp_path, brief_certificate):
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    found = export(asr.load(small), tmp_path / "m.onnx")
    assert found.problem == "" and "8 bits" in found.notes[0]


def test_an_export_leaves_the_choice_of_warps_to_who_loads_it(tmp_path, brief_certificate):
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    path = write_bundle(tmp_path / "w.asr", decoder=DecoderSettings(warps=(0.85, 1.2),
                                                                    warp_below=1.0))
    found = export(asr.load(path), tmp_path / "m.onnx")
    assert found.problem == "" and any("does not choose among decoder.warps" in note
                                       for note in found.notes)
    exported = asr.load(tmp_path / "m.onnx")
    audio = speech(2.0, seed=15)
    text = exported.transcribe(audio).text
    assert text == asr.load(path).transcribe(audio).text
    assert text != exported.with_decoder(warps=[]).transcribe(audio).text


@pytest.mark.tf
def test_keras_takes_float32_and_says_so(tmp_path, caplog):
    quantize_bundle(asr.load(write_bundle(tmp_path / "tiny.asr")), tmp_path / "small.asr")
    small = asr.load(tmp_path / "small.asr")
    caplog.clear()
    model = small.keras_model()
    assert "the Keras model has them as float32" in caplog.text
    for name, array in model.get_named_weights().items():
        np.testing.assert_array_equal(array, small.bundle.weights[name])
    caplog.clear()
    asr.load(tmp_path / "small.asr", engine="keras")
    assert "Keras computes with them as float32" in caplog.text


def test_what_has_no_8_bits_is_refused_in_one_sentence(small, tmp_path):
    with pytest.raises(UsageError, match="have 8 bits already"):
        quantize_bundle(asr.load(small), tmp_path / "x.asr")
    with pytest.raises(UsageError, match="does not exist"):
        quantize_bundle(asr.load(), tmp_path / "no" / "x.asr")
    own = asr.load()
    own.bundle = dataclasses.replace(own.bundle, network="my_network")
    with pytest.raises(UsageError, match=r"one of your own \(my_network\)"):
        quantize_bundle(own, tmp_path / "x.asr")
    assert not list(tmp_path.iterdir())


def test_a_cost_that_is_too_high_leaves_no_file(tmp_path):
    with pytest.raises(AsrError, match="was not written: its WER is") as caught:
        quantize_bundle(asr.load(), tmp_path / "x.asr", max_wer_cost=-1.0,
                        verify=read_manifest(CLIPS / "clips.jsonl"))
    assert caught.value.code == "quantize.wer"
    assert not list(tmp_path.iterdir())


def forged(small, tmp_path, change):
    """The bundle with tensors and config changed, its hashes made to fit."""
    import zipfile

    with zipfile.ZipFile(small) as archive:
        members = {name: archive.read(name) for name in archive.namelist()
                   if name != "manifest.json"}
    tensors = read_safetensors(members["weights.safetensors"])
    config = json.loads(members["config.json"])
    tensors = change(tensors, config) or tensors
    members["weights.safetensors"] = write_safetensors(tensors)
    members["config.json"] = json.dumps(config).encode()
    (tmp_path / "forged.asr").write_bytes(write_archive(members, SCHEMA_VERSION)[0])
    return tmp_path / "forged.asr"


def _negative_scale(tensors, config):
    tensors["output/kernel.scale"] = -tensors["output/kernel.scale"]


def _endless_scale(tensors, config):
    tensors["output/kernel.scale"] = tensors["output/kernel.scale"] * np.float32(np.inf)


def _below_range(tensors, config):
    tensors["output/kernel"] = np.full_like(tensors["output/kernel"], -128)


def _no_scale(tensors, config):
    del tensors["output/kernel.scale"]


def _float_values(tensors, config):
    tensors["output/kernel"] = tensors["output/kernel"].astype(np.float32)


def _other_kind(tensors, config):
    config["quantization"] = "int4"


def _not_said(tensors, config):
    del config["quantization"]


@pytest.mark.parametrize("change", [_negative_scale, _endless_scale, _below_range, _no_scale,
                                    _float_values, _other_kind, _not_said])
def test_hostile_tensors_are_refused(small, tmp_path, change):
    with pytest.raises(BundleError):
        load_bundle(forged(small, tmp_path, change))


def test_a_forged_bundle_without_change_loads(small, tmp_path):
    assert load_bundle(forged(small, tmp_path, lambda tensors, config: None)).quantized
