"""The network of a bundle as an engine, and a Keras model as a bundle.

In: a bundle, perhaps the function that builds its network. Out: an `Engine`. Part of
`asr.recognizer`; TensorFlow is imported for the engine "keras" and for a user's own network alone.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from asr.bundle import Bundle, Reference, load_bundle, reference_clip, save_bundle
from asr.errors import UsageError
from asr.features import STATISTICS_NEEDED, FeatureExtractor, normalize_features
from asr.network.engine import Engine, KerasAcousticModel, NumpyAcousticModel, build_engine
from asr.network.weights import network_name
from asr.recipe import Recipe
from asr.text.tokenizer import CharTokenizer


def engine_of(bundle: Bundle, engine: str = "auto", build: Callable | None = None) -> Engine:
    """The engine that runs a bundle's network.

    Args:
        bundle: from `asr.bundle.load_bundle`.
        engine: "numpy", "keras" or "auto"; a user's own network is run by Keras.
        build: the function that builds the bundle's network, if it is a user's own.

    Raises:
        UsageError: the function is missing, not needed, or builds another network; an engine that
            cannot run.
        BundleError: see `build_engine`.
    """
    if not bundle.network:
        if build is not None:
            raise UsageError(f"{bundle.path} holds a network of asr.AcousticModel; leave out "
                             "build.")
        return build_engine(engine, bundle.model, bundle.num_features,
                            bundle.tokenizer.vocab_size, bundle.weights, bundle.quantized)
    if build is None:
        raise UsageError(f"The network of {bundle.path} is one of your own, and a bundle never "
                         f"holds code. Give the function that built it: "
                         f"asr.load({str(bundle.path)!r}, build={bundle.network})",
                         code="bundle.network", path=bundle.path)
    if engine == "numpy":
        raise UsageError("The engine numpy runs networks of asr.AcousticModel only; leave the "
                         "engine out.")
    from asr.network.framework import import_tensorflow

    import_tensorflow()
    from asr.network.own import build_own

    model = build_own(build, recipe_of(bundle), bundle.num_features, bundle.tokenizer.vocab_size)
    try:
        model.set_named_weights(bundle.weights)
    except UsageError as error:
        raise UsageError(f"{network_name(build)} builds another network than the one of "
                         f"{bundle.path}, which {bundle.network} built. {error}",
                         code="bundle.network", path=bundle.path) from error
    return KerasAcousticModel.of(model, bundle.model, bundle.num_features)


def recipe_of(bundle: Bundle) -> Recipe:
    """The recipe as far as a bundle has it: features, text, model, decoder."""
    return Recipe(features=bundle.features, text=bundle.text, model=bundle.model,
                  decoder=bundle.decoder)


def bundle_of(model: Any, recipe: Recipe, tokenizer: CharTokenizer,
              cmvn: tuple[np.ndarray, np.ndarray] | None, build: Callable | None) -> Bundle:
    """A checked bundle of a Keras model; see `asr.recognizer.Recognizer.from_keras`."""
    from asr.network.ctc_model import CTCModel
    from asr.network.model import AcousticModel

    network = CTCModel.of(model)
    if build is None:
        if not isinstance(network, AcousticModel):
            raise UsageError(f"{type(model).__name__} is a network of your own: give "
                             "build=function, the function that builds it, which loading its "
                             "bundle needs.")
        if network.settings != recipe.model:
            raise UsageError(f"The network has other settings than the recipe: {network.settings} "
                             f"and {recipe.model}. Give the recipe that it was built from.")
        if network.vocab_size != tokenizer.vocab_size:
            raise UsageError(f"The network has {network.vocab_size} outputs, the tokenizer "
                             f"{tokenizer.vocab_size} labels with the blank; give the tokenizer of "
                             "its training.")
    if recipe.features.cmvn in STATISTICS_NEEDED and cmvn is None:
        raise UsageError(f"features.cmvn = {recipe.features.cmvn!r} needs the mean and std of "
                         "training: cmvn=train.cmvn, of asr.dataset.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.asr"
        save_bundle(path, features=recipe.features, text=recipe.text, model=recipe.model,
                    decoder=recipe.decoder, tokenizer=tokenizer,
                    weights=network.get_named_weights(), cmvn=cmvn,
                    network=network_name(build), reference=reference_of(network, recipe, cmvn))
        return dataclasses.replace(load_bundle(path), path=None)


def reference_of(model: Any, recipe: Recipe,
                 cmvn: tuple[np.ndarray, np.ndarray] | None) -> Reference:
    """Features and logits of a synthetic clip, which `asr doctor --bundle` compares with.

    Args:
        model: a `CTCModel`.
        recipe, cmvn: how its features are made.
    """
    audio = reference_clip(recipe.features.sample_rate)
    untrimmed = dataclasses.replace(recipe.features, trim_db=0.0)
    features = normalize_features(FeatureExtractor(untrimmed).extract(audio), untrimmed, cmvn)
    logits = model({"features": features[np.newaxis],
                    "num_frames": np.array([len(features)], np.int32)}, training=False)
    return Reference(audio, features, np.asarray(logits)[0])


def reference_with(bundle: Bundle, weights: Mapping[str, np.ndarray]) -> Reference | None:
    """The reference clip of a bundle with the logits of other weights; None if it has no clip.

    Args:
        bundle: one whose network the engine numpy runs.
        weights: float32, as in `bundle.weights`.
    """
    if bundle.reference is None:
        return None
    engine = NumpyAcousticModel(bundle.model, bundle.num_features, bundle.tokenizer.vocab_size,
                                weights)
    features = bundle.reference.features[np.newaxis]
    logits, lengths = engine.logits(features, np.array([features.shape[1]]))
    return dataclasses.replace(bundle.reference, logits=logits[0, :lengths[0]])
