"""Build what the epochs need: augmenter, network, optimiser, validator.

In: a recipe and its prepared data. Out: each part by one function, and a trial step.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from asr.augment import load_noise_bank
from asr.augment.graph import FeatureAugmenter
from asr.bundle import load_bundle
from asr.data.batches import Batch, plan_evaluation
from asr.data.cache import FeatureCache
from asr.data.pipeline import training_dataset
from asr.decoding import build_decoder
from asr.errors import TrainingStopped, UsageError
from asr.features import FeatureExtractor
from asr.features.lengths import output_length
from asr.network.model import AcousticModel, build_model
from asr.recipe import Recipe, TrainSettings
from asr.text.tokenizer import CharTokenizer
from asr.training.coach import listening_floor
from asr.training.preparation import Prepared, remap_rows
from asr.training.validation import Validator

FLOOR_SAMPLE = 60  # utterances
MIN_BATCH_FOR_COACH = 8  # utterances; the coach exchanges transcripts within a batch


def build_augmenter(recipe: Recipe, cmvn: tuple[np.ndarray, np.ndarray] | None,
                    cache_dir: str | Path) -> FeatureAugmenter:
    """The augmenter of the training batches; the noise features are cached in `cache_dir`."""
    augment, features = recipe.augment, recipe.features
    extractor = FeatureExtractor(features)
    mean, std = cmvn or (None, None)
    noise = None
    if augment.noise_probability:
        noise = load_noise_bank(augment.noise_dir, extractor, cache_dir=cache_dir)
    mel = extractor.mel_frequencies if features.kind == "log_mel" else None
    return FeatureAugmenter(augment, features, mel_frequencies=mel, noise=noise, mean=mean, std=std)


def build_network(recipe: Recipe, tokenizer: CharTokenizer) -> AcousticModel:
    """The network with random weights, or with those of `train.initial_bundle`, compiled.

    Raises:
        UsageError: the bundle has other [features] or [model] settings.
    """
    model = build_model(recipe.model, FeatureExtractor(recipe.features).num_features,
                        tokenizer.vocab_size, seed=recipe.seed, ema=recipe.train.ema,
                        intermediate_ctc=recipe.train.intermediate_ctc)
    if recipe.train.initial_bundle:
        model.set_named_weights(_initial_weights(recipe, tokenizer))
    model.compile_for_training(build_optimizer(recipe.train))
    return model


def build_optimizer(settings: TrainSettings) -> keras.optimizers.Optimizer:
    """AdamW without weight decay on biases and normalisation parameters."""
    optimizer = keras.optimizers.AdamW(learning_rate=settings.learning_rate,
                                       weight_decay=settings.weight_decay,
                                       global_clipnorm=settings.clip_norm)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _initial_weights(recipe: Recipe, tokenizer: CharTokenizer) -> dict[str, np.ndarray]:
    """The weights of the initial bundle, with the output layer mapped to this alphabet."""
    path = recipe.train.initial_bundle
    bundle = load_bundle(path)
    if bundle.model != recipe.model or bundle.features != recipe.features:
        raise UsageError(f"train.initial_bundle {path} has other [features] or [model] "
                         "settings than the recipe; copy them from its config.",
                         code="train.initial_bundle", path=path)
    weights = dict(bundle.weights)
    weights["output/kernel"], weights["output/bias"] = remap_rows(
        bundle.tokenizer, tokenizer, weights["output/kernel"], weights["output/bias"],
        np.random.default_rng(recipe.seed))
    return weights


def build_validator(recipe: Recipe, data: Prepared, model: AcousticModel,
                    normalizer: FeatureAugmenter) -> Validator:
    """The validation pass; `normalizer` is a `FeatureAugmenter` without augmentation."""
    bounds = replace(data.plan, max_utterances=max(MIN_BATCH_FOR_COACH, data.plan.max_utterances))
    return Validator(model, data.valid, plan_evaluation(data.valid.clips, bounds), normalizer,
                     build_decoder(recipe.decoder, data.tokenizer))


def try_batch(model: AcousticModel, batch: Batch, cache: FeatureCache,
              augmenter: FeatureAugmenter) -> None:
    """Run the forward and backward pass of one batch and update nothing.

    With the largest batch of a run, this shows before the first epoch whether memory suffices.

    Raises:
        TrainingStopped: the batch does not fit into memory.
    """
    variables = [v.value for v in model.non_trainable_variables]
    before = [v.numpy() for v in variables]
    x, y = next(iter(training_dataset(cache, [batch], augmenter)))
    try:
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True))
        tape.gradient(loss, [v.value for v in model.trainable_variables])
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise TrainingStopped(
            f"The largest batch, {len(batch)} utterances of up to {batch.max_frames} frames, "
            "does not fit into memory. Lower data.batch_frames or data.max_seconds.",
            code="train.memory") from error
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)


def loss_floor(recipe: Recipe, data: Prepared) -> float:
    """`asr.training.coach.listening_floor` of a sample of the training set."""
    clips = data.train.clips
    sample = clips[::max(1, len(clips) // FLOOR_SAMPLE)]
    frames = [output_length(c.renditions[0].num_frames, recipe.model) for c in sample]
    return listening_floor(frames, [c.labels for c in sample], data.tokenizer.vocab_size)
