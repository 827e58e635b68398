"""SavedModel: a folder that TensorFlow runs alone, from features or from samples."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.bundle.onnx_file import metadata
from asr.errors import UsageError
from asr.export.certificate import Exported

if TYPE_CHECKING:
    from asr.export import Options
    from asr.recognizer import Recognizer

SUMMARY = "SavedModel: TensorFlow, TensorFlow Serving; features or samples to logits"
SUFFIX = ".savedmodel"
QUANTIZED: tuple[str, ...] = ()
NEEDS, EXTRA = ("tensorflow",), ""


class SavedModelEngine:
    """The folder as `tf.saved_model.load` gives it."""

    name = "savedmodel"

    def __init__(self, path: Path):
        import tensorflow as tf

        self._loaded = tf.saved_model.load(str(path))  # kept: its signatures hold no reference
        self._tf = tf

    def logits(self, features: np.ndarray, num_frames: np.ndarray) -> tuple[np.ndarray,
                                                                            np.ndarray]:
        """See `asr.network.engine.NumpyAcousticModel.logits`."""
        return self._run("features", features=features, num_frames=num_frames)

    def samples_to_logits(self, samples: np.ndarray, num_samples: np.ndarray
                          ) -> tuple[np.ndarray, np.ndarray]:
        """The entry that takes samples."""
        return self._run("samples", samples=samples, num_samples=num_samples)

    def _run(self, signature: str, **inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        tensors = {name: self._tf.constant(
            value.astype(np.int32 if name.startswith("num") else np.float32))
            for name, value in inputs.items()}
        outputs = self._loaded.signatures[signature](**tensors)
        return outputs["logits"].numpy(), outputs["num_logits"].numpy().astype(np.int64)


def write(recognizer: Recognizer, path: Path, options: Options) -> Exported:
    """Write the folder PATH with the signatures "features" (the default) and "samples"."""
    from asr.network.framework import import_tensorflow

    import_tensorflow()
    import tensorflow as tf

    from asr.export.tensorflow_graph import (
        check_features,
        features_of_samples,
        fused_direction,
        network,
    )

    bundle, notes = recognizer.bundle, []

    class Exportable(tf.Module):
        """The two signatures; nothing of ours is needed to run them."""

        def __init__(self):
            super().__init__()
            # Variables, which both signatures share.
            self.weights = {name: tf.Variable(tf.constant(array), trainable=False)
                            for name, array in bundle.weights.items()}

        @tf.function(jit_compile=False, input_signature=[
            tf.TensorSpec([None, None, bundle.num_features], tf.float32, "features"),
            tf.TensorSpec([None], tf.int32, "num_frames")])
        def features(self, features, num_frames):
            logits, lengths = network(bundle, self.weights, features, num_frames,
                                      fused_direction)
            return {"logits": logits, "num_logits": lengths}

    def layers(features, num_frames):  # by the operations of the saved graph
        seen: dict[str, Any] = {}
        network(bundle, bundle.weights, tf.constant(features),
                tf.constant(num_frames.astype(np.int32)), fused_direction, seen)
        return {name: value.numpy() for name, value in seen.items()}

    module: Any = Exportable()
    signatures = {"features": module.features, "serving_default": module.features}
    try:
        check_features(bundle.features)
    except UsageError as error:
        notes.append(str(error))
    else:
        @tf.function(jit_compile=False, input_signature=[
            tf.TensorSpec([None, None], tf.float32, "samples"),
            tf.TensorSpec([None], tf.int32, "num_samples")])
        def samples(samples, num_samples):
            features, num_frames = features_of_samples(bundle, samples, num_samples)
            logits, lengths = network(bundle, module.weights, features, num_frames,
                                      fused_direction)
            return {"logits": logits, "num_logits": lengths}

        module.samples = signatures["samples"] = samples
    path.mkdir()
    try:
        tf.saved_model.save(module, str(path), signatures)
    except tf.errors.OpError as error:  # TensorFlow has errors of its own for a full disk
        found = next((code for code in errno.errorcode if os.strerror(code) in str(error)), 0)
        if not found:
            raise
        raise OSError(found, os.strerror(found)) from error
    assets = path / "assets"
    assets.mkdir(exist_ok=True)
    for name, text in metadata(bundle, "features").items():
        if name != "asr.entry":
            (assets / f"{name}.txt").write_text(text, encoding="utf-8")
    if bundle.lm is not None:
        (assets / "lm.arpa.gz").write_bytes(bundle.lm)
    engine = SavedModelEngine(path)
    return Exported("savedmodel", "", [path], engine,
                    engine.samples_to_logits if "samples" in signatures else None, notes=notes,
                    runtime=("tensorflow",), layers=layers)
