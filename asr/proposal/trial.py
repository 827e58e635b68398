"""How long training takes here: a few steps of the proposed network on noise.

In: a recipe. Out: seconds per feature frame. Starts TensorFlow.
"""

from __future__ import annotations

import time

import numpy as np

from asr.network.framework import import_tensorflow
from asr.proposal.survey import Survey
from asr.recipe import Recipe
from asr.text.tokenizer import CharTokenizer

STEPS = 4
OVERHEAD = 1.35  # augmentation, reading and validation, against the bare step


def seconds_per_frame(recipe: Recipe, found: Survey) -> float:
    """Time a batch of a usual length; the fastest of some steps counts.

    Args:
        recipe: the network and the batches.
        found: what was found in the data, for the length of an utterance.
    """
    import_tensorflow(deterministic=False)
    import tensorflow as tf

    from asr.training.setup import build_network

    tokenizer = CharTokenizer(recipe.text.alphabet)
    model = build_network(recipe, tokenizer)
    frames = max(20, round(float(np.median(found.seconds)) * 100))
    count = max(1, min(recipe.data.max_utterances, recipe.data.batch_frames // frames))
    labels = max(1, min(round(float(np.median(found.labels))), frames // 8))
    rng = np.random.default_rng(1)
    x = {"features": tf.constant(rng.normal(size=(count, frames, model.num_features)), tf.float32),
         "num_frames": tf.fill([count], frames)}
    y = {"labels": tf.constant(rng.integers(1, tokenizer.vocab_size, (count, labels)), tf.int32),
         "num_labels": tf.fill([count], labels)}
    step = model.make_train_function()
    best = np.inf
    for _ in range(STEPS):
        started = time.perf_counter()
        float(step(iter(tf.data.Dataset.from_tensors((x, y))))["loss"])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return OVERHEAD * best / (count * frames)
