"""A network of the user's own: built by a function, checked against the recipe.

In: a function `build(recipe, num_features, vocab_size)`. Out: a `CTCModel`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from asr.errors import UsageError
from asr.features.lengths import output_length
from asr.network.weights import network_name
from asr.recipe import Recipe

Build = Callable[[Recipe, int, int], Any]  # a keras.Model
LENGTHS = (*range(1, 33), 63, 64, 1_000)  # of T, where the output length is compared


def build_own(build: Build, recipe: Recipe, num_features: int, vocab_size: int) -> Any:
    """Call the function and check that what it returns fits the recipe.

    Args:
        build: takes the recipe, F and V, and returns a `keras.Model` from the x of the batch
            contract to logits (B, T', V), with `output_length`, see `CTCModel`.
        recipe: T' must be that of its [model] section, so that the data fit the network.
        num_features: F.
        vocab_size: V.

    Returns:
        A `CTCModel`.

    Raises:
        UsageError: it is no such model.
    """
    from asr.network.ctc_model import CTCModel

    name = network_name(build)
    if recipe.training_model != recipe.model:
        raise UsageError(f"train.edge_frames = {recipe.train.edge_frames} is for "
                         f"asr.AcousticModel; {name} adds its own quiet. Set it to -1.")
    model = CTCModel.of(build(recipe, num_features, vocab_size))
    expected = [output_length(n, recipe.model) for n in LENGTHS]
    found = [int(model.output_length(n)) for n in LENGTHS]
    for length, ours, theirs in zip(LENGTHS, expected, found, strict=True):
        if ours != theirs:
            raise UsageError(f"{name}: output_length({length}) is {theirs}; the recipe has "
                             f"model.subsampling = {recipe.model.subsampling} and "
                             f"model.edge_frames = {recipe.model.edge_frames}, which mean {ours}. "
                             "Make them agree: T' = ceil(T / subsampling).")
    lengths = np.array([13, 7], np.int32)
    logits = model({"features": np.zeros((2, 13, num_features), np.float32),
                    "num_frames": lengths}, training=False)
    shape = tuple(getattr(logits, "shape", ()))
    if shape != (2, int(model.output_length(13)), vocab_size):
        raise UsageError(f"{name}: 2 utterances of 13 frames give {shape or type(logits)}; "
                         f"expected logits of shape {(2, int(model.output_length(13)), vocab_size)}"
                         ", (B, T', V).")
    return model
