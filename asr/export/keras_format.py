"""Keras: the `.keras` file of the network, for training and for Keras programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from asr.bundle.onnx_file import language_model_path, metadata_text
from asr.export.certificate import Exported

if TYPE_CHECKING:
    from asr.export import Options
    from asr.network.model import AcousticModel
    from asr.recognizer import Recognizer

SUMMARY = "Keras: asr.AcousticModel as a .keras file; features to logits"
SUFFIX = ".keras"
QUANTIZED: tuple[str, ...] = ()
NEEDS, EXTRA = ("tensorflow",), ""
METADATA = ".json"  # behind the name of the file


def write(recognizer: Recognizer, path: Path, options: Options) -> Exported:
    """Write PATH, features to logits, and PATH.json, what it says of itself."""
    from asr.network.framework import import_tensorflow

    import_tensorflow()
    import keras

    from asr.network.engine import KerasAcousticModel

    bundle = recognizer.bundle
    model = KerasAcousticModel(bundle.model, bundle.num_features, bundle.tokenizer.vocab_size,
                               bundle.weights).model
    named = path.with_name(f"{path.name}.keras")  # Keras wants this ending
    model.save(named)
    loaded = cast("AcousticModel", keras.saving.load_model(named))
    named.rename(path)
    description = path.with_name(path.name + METADATA)
    description.write_text(metadata_text(bundle, "features"), encoding="utf-8")
    files = [path, description]
    notes = ["keras.saving.load_model needs keras-asr installed, and `asr.AcousticModel` looked up "
             "before: its layers are those of this package."]
    if bundle.lm is not None:
        files.append(language_model_path(path))
        files[-1].write_bytes(bundle.lm)
        notes.append("The language model lies beside the file: logits hold none of it.")
    engine = KerasAcousticModel.of(loaded, bundle.model, bundle.num_features)

    def layers(features, num_frames):  # a wrong front end shows in the first of them
        hidden = loaded.hidden_layers({"features": features,
                                       "num_frames": num_frames.astype(np.int32)})
        return {f"lstm_{k}": np.asarray(x) for k, x in enumerate(hidden)}

    return Exported("keras", "", files, engine, notes=notes, runtime=("tensorflow", "keras"),
                    layers=layers)
