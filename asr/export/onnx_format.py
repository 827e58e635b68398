"""ONNX: one file that takes features, one that takes samples; run by onnxruntime anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from asr.bundle.onnx_file import language_model_path, metadata
from asr.export.certificate import Exported
from asr.export.onnx_graph import build_graph
from asr.network.onnx_engine import OnnxAcousticModel

if TYPE_CHECKING:
    from asr.export import Options
    from asr.recognizer import Recognizer

SUMMARY = "ONNX: phones, browsers, C++, Rust; features or samples to logits"
SUFFIX = ".onnx"
QUANTIZED = ("int8",)
NEEDS, EXTRA = ("onnx", "onnxruntime"), "onnx"
SAMPLES = ".samples.onnx"  # ending of the second file


def write(recognizer: Recognizer, path: Path, options: Options) -> Exported:
    """Write PATH (features to logits) and PATH's stem.samples.onnx (samples to logits).

    A kind of features without a graph (see `asr.export.onnx_graph`) leaves the second file out,
    and a note says so.
    """
    from asr.errors import UsageError

    bundle, notes = recognizer.bundle, []
    files = [path]
    _write(bundle, "features", path, options)
    try:
        _write(bundle, "samples", path.with_name(path.stem + SAMPLES), options)
        files.append(path.with_name(path.stem + SAMPLES))
    except UsageError as error:
        notes.append(str(error))
    if bundle.lm is not None:
        language_model_path(path).write_bytes(bundle.lm)
        files.append(language_model_path(path))
        notes.append("The language model lies beside the file: logits hold none of it.")
    model = OnnxAcousticModel(path)
    from_samples = OnnxAcousticModel(files[1]).samples_to_logits if files[1:] and \
        files[1].name.endswith(SAMPLES) else None
    return Exported("onnx", options.quantize, files, model, from_samples, notes=notes,
                    runtime=("onnxruntime", "onnx"),
                    layers=lambda x, n: _layers(bundle, path, x, n))


def _write(bundle, entry: str, path: Path, options: Options) -> None:
    data = build_graph(bundle, entry, metadata(bundle, entry)).SerializeToString()
    path.write_bytes(data)
    if options.quantize == "int8":
        quantize(path)


def quantize(path: Path) -> None:
    """Weights of LSTM and output layer as int8, activations quantised as they come, in place."""
    import logging

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(path)
    # The products of the spectrum are float64 and stay: quantised they would be no spectrum.
    names = [node.name for node in model.graph.node if node.op_type == "LSTM" or
             node.op_type == "MatMul" and "output/kernel" in node.input]
    properties = {one.key: one.value for one in model.metadata_props}
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # it advises pre-processing for image models
    try:
        quantize_dynamic(path, path, weight_type=QuantType.QInt8, nodes_to_quantize=names,
                         per_channel=True)
    finally:
        root.setLevel(level)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)


def _layers(bundle, path: Path, features, num_frames) -> dict:
    """What each layer of the float32 graph gives, to find the first one that differs."""
    with_layers = path.with_name("layers.onnx")
    with_layers.write_bytes(build_graph(bundle, "features", {}, layers=True).SerializeToString())
    return OnnxAcousticModel(with_layers).layers(features, num_frames)
