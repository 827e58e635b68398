"""LiteRT (TensorFlow Lite): one file for phones, of built-in operators alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr.bundle.onnx_file import metadata_text
from asr.export.certificate import Exported

if TYPE_CHECKING:
    from asr.export import Options
    from asr.recognizer import Recognizer

SUMMARY = "LiteRT (TFLite): phones and small devices; features to logits, one recording at a time"
SUFFIX = ".tflite"
QUANTIZED = ("float16", "int8")
NEEDS, EXTRA = ("tensorflow", "ai-edge-litert"), "litert"
METADATA = ".json"  # ending of the file beside the model: LiteRT has no place for text of ours


class LiteRtEngine:
    """The file as the LiteRT interpreter runs it, one utterance at a time."""

    name = "litert"

    def __init__(self, data: bytes, threads: int = 1):
        from ai_edge_litert.interpreter import Interpreter

        self._interpreter = Interpreter(model_content=data, num_threads=threads)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._frames = 0

    @property
    def operators(self) -> set[str]:
        """Names of the operators in the file."""
        return {one["op_name"] for one in self._interpreter._get_ops_details()}

    def logits(self, features: np.ndarray, num_frames: np.ndarray) -> tuple[np.ndarray,
                                                                            np.ndarray]:
        """See `asr.network.engine.NumpyAcousticModel.logits`; each row runs alone."""
        rows = [self._row(row[:n]) for row, n in zip(features, num_frames, strict=True)]
        lengths = np.array([len(row) for row in rows], np.int64)
        logits = np.zeros((len(rows), int(lengths.max()), rows[0].shape[1]), np.float32)
        for target, row in zip(logits, rows, strict=True):
            target[:len(row)] = row
        return logits, lengths

    def _row(self, features: np.ndarray) -> np.ndarray:
        if len(features) != self._frames:
            self._interpreter.resize_tensor_input(self._input, (1, *features.shape))
            self._interpreter.allocate_tensors()
            self._frames = len(features)
        self._interpreter.set_tensor(self._input, features[np.newaxis])
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)[0]


def write(recognizer: Recognizer, path: Path, options: Options) -> Exported:
    """Write PATH, features (1, T, F) to logits (1, T', V), and PATH.json, what it says of itself.

    int8 keeps activations in float32 where LiteRT needs them ("dynamic range"); float16 keeps
    weights in half precision and computes in float32.
    """
    from asr.network.framework import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    from asr.export.tensorflow_graph import loop_direction, network

    bundle = recognizer.bundle

    def convert(layer: str = "") -> bytes:
        @tf.function(jit_compile=False, input_signature=[
            tf.TensorSpec([1, None, bundle.num_features], tf.float32, "features")])
        def one(features):
            seen: dict = {}
            logits, _ = network(bundle, bundle.weights, features, tf.shape(features)[1:2],
                                loop_direction, seen)
            return {"logits": seen[layer] if layer else logits}

        converter = tf.lite.TFLiteConverter.from_concrete_functions([one.get_concrete_function()])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if options.quantize:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if options.quantize == "float16":
            converter.target_spec.supported_types = [tf.float16]
        return converter.convert()

    def layers(features, num_frames):  # a file for each: where a converted graph goes wrong
        names = ["front_end", *(f"lstm_{k}" for k in range(bundle.model.num_layers))]
        return {name: LiteRtEngine(convert(name)).logits(features, num_frames)[0]
                for name in names}

    data = convert()
    path.write_bytes(data)
    description = path.with_name(path.name + METADATA)
    description.write_text(metadata_text(bundle, "features"), encoding="utf-8")
    files, notes = [path, description], []
    if bundle.lm is not None:
        files.append(path.with_name(f"{path.name}.lm.arpa.gz"))
        files[-1].write_bytes(bundle.lm)
        notes.append("The language model lies beside the file: logits hold none of it.")
    return Exported("litert", options.quantize, files, LiteRtEngine(data), notes=notes,
                    runtime=("tensorflow", "ai-edge-litert"), layers=layers)
