"""Build what the epochs need: augmenter, network, optimiser, validator.

In: a recipe and its prepared data. Out: each part by one function, and a trial step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from asr.augment import load_noise_bank
from asr.augment.graph import FeatureAugmenter
from asr.bundle import load_bundle
from asr.bundle.find import find_bundle
from asr.data.batches import Batch, largest_batch, plan_epoch, plan_evaluation
from asr.data.cache import FeatureCache
from asr.data.items import DEFAULT_FRAMES
from asr.data.pipeline import evaluation_dataset, training_dataset
from asr.data.recordings import Recordings
from asr.decoding import build_decoder
from asr.errors import DataError, TrainingStopped, UsageError
from asr.features import FeatureExtractor
from asr.features.lengths import output_length
from asr.network.ctc_model import CTCModel
from asr.network.layer import gpu_is_visible
from asr.network.metrics import CharacterErrorRate, WordErrorRate
from asr.network.model import AcousticModel
from asr.network.own import Build, build_own
from asr.network.quantization import say_dequantized
from asr.network.replicas import Replicas
from asr.recipe import Recipe, TrainSettings
from asr.terminal import plural
from asr.text.tokenizer import CharTokenizer
from asr.training.coach import listening_floor
from asr.training.initial import remap_rows, slow_layers
from asr.training.preparation import Prepared
from asr.training.run_directory import RunDirectory
from asr.training.validation import Listening

FLOOR_SAMPLE = 60  # utterances
MOST_FRAMES = 512_000  # of a batch that `choose_batch_frames` tries
WORTHWHILE = 1.1  # twice the frames must give so many times the speed
MIN_BATCH_FOR_COACH = 8  # utterances; the coach exchanges transcripts within a batch


def build_augmenter(recipe: Recipe, cmvn: tuple[np.ndarray, np.ndarray] | None,
                    cache_dir: str | Path) -> FeatureAugmenter:
    """The augmenter of the training batches; the noise features are cached in `cache_dir`."""
    augment, features = recipe.augment, recipe.features
    extractor = FeatureExtractor(features)
    mean, std = cmvn or (None, None)
    noise = None
    if augment.noise_probability:
        noise = load_noise_bank(augment.noise_dir, extractor, cache_dir=cache_dir,
                                names=augment.noise_names,
                                allow_truncated=recipe.data.allow_truncated)
    mel = extractor.mel_frequencies if features.kind == "log_mel" else None
    return FeatureAugmenter(augment, features, mel_frequencies=mel, noise=noise, mean=mean, std=std)


def build_network(recipe: Recipe, tokenizer: CharTokenizer, build: Build | None = None
                  ) -> CTCModel:
    """The network with random weights, or with those of `train.initial_bundle`, compiled.

    Args:
        recipe: the settings.
        tokenizer: tokenizer of the training texts.
        build: makes a network of the user's own, see `build_own`; None: `AcousticModel`.

    Raises:
        UsageError: the network does not fit the recipe, or has no layer of train.freeze or slow.
    """
    settings = recipe.train
    keras.utils.set_random_seed(recipe.seed)
    with precision(settings.mixed_precision):
        num_features = FeatureExtractor(recipe.features).num_features
        model = (build_own(build, recipe, num_features, tokenizer.vocab_size) if build else
                 AcousticModel(recipe, num_features, tokenizer.vocab_size))
    if settings.initial_bundle:
        model.set_named_weights(initial_weights(recipe, tokenizer))
    model.set_speeds(settings.freeze, slow_layers(settings.slow))
    decoder = build_decoder(recipe.decoder, tokenizer)
    model.compile_for_training(build_optimizer(settings), ema=settings.ema, evaluation_metrics=[
        WordErrorRate(tokenizer, decoder=decoder), CharacterErrorRate(tokenizer, decoder=decoder),
        Listening()])
    return model


@contextmanager
def precision(kind: str) -> Iterator[None]:
    """Layers made inside compute in "bfloat16" or "float16" and keep float32 weights; "": none."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(f"mixed_{kind}" if kind else before)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def build_optimizer(settings: TrainSettings) -> keras.optimizers.Optimizer:
    """AdamW without weight decay on biases and normalisation parameters."""
    optimizer = keras.optimizers.AdamW(learning_rate=settings.learning_rate,
                                       weight_decay=settings.weight_decay,
                                       global_clipnorm=settings.clip_norm)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def initial_weights(recipe: Recipe, tokenizer: CharTokenizer) -> dict[str, np.ndarray]:
    """The weights of the initial bundle, with the output layer mapped to this alphabet."""
    bundle = load_bundle(find_bundle(recipe.train.initial_bundle))
    weights = dict(bundle.weights)
    if bundle.quantized:
        say_dequantized("training starts from")
    if not bundle.network:
        weights["output/kernel"], weights["output/bias"] = remap_rows(
            bundle.tokenizer, tokenizer, weights["output/kernel"], weights["output/bias"],
            np.random.default_rng(recipe.seed))
    return weights


def validation_dataset(recipe: Recipe, data: Prepared, augmenter: FeatureAugmenter,
                       failures: list[Exception], replicas: Replicas) -> tf.data.Dataset:
    """The validation set, shortest first, in batches that the coach can exchange texts in.

    Of several processes each has an equal part of it.

    Raises:
        DataError: there are more processes than utterances.
    """
    if replicas.world > len(data.valid.clips):
        raise DataError(f"The validation set has {plural(len(data.valid.clips), 'utterance')}, "
                        f"too few for {replicas.world} processes; use fewer.")
    clips = data.valid.clips[replicas.rank::replicas.world]
    bounds = replace(data.plan, max_utterances=max(MIN_BATCH_FOR_COACH, data.plan.max_utterances))
    return evaluation_dataset(data.valid.cache, plan_evaluation(clips, bounds),
                              augmenter.without_augmentation(), failures=failures)


def try_batch(model: CTCModel, batch: Batch, cache: FeatureCache | Recordings,
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
            f"The largest batch, {plural(len(batch), 'utterance')} of up to {batch.max_frames} "
            "frames, does not fit into memory. Lower data.batch_frames or data.max_seconds.",
            code="train.memory") from error
    for variable, value in zip(variables, before, strict=True):
        variable.assign(value)


def choose_batch_frames(rate: Callable[[int], float]) -> int:
    """The size of a batch that a GPU has room and use for: doubled as long as both hold.

    Args:
        rate: tries a batch of that many frames; returns frames a second, or raises
            TrainingStopped if there is no room.

    Raises:
        TrainingStopped: there is no room for the smallest.
    """
    frames = DEFAULT_FRAMES
    best = rate(frames)
    while frames < MOST_FRAMES:
        try:
            found = rate(2 * frames)
        except TrainingStopped:
            return frames
        if found < WORTHWHILE * best:
            return frames
        frames, best = 2 * frames, found
    return frames


def batch_frames_of(run: RunDirectory, recipe: Recipe, data: Prepared, model: CTCModel,
                    augmenter: FeatureAugmenter) -> int:
    """data.batch_frames, or what was found for it when the run began."""
    if recipe.data.batch_frames or not gpu_is_visible():
        return data.plan.batch_frames
    if model.replicas is not None:
        raise UsageError("data.batch_frames = 0 tries sizes on one GPU; with several devices give "
                         "the frames of all of them together: --set data.batch_frames=64_000")

    def rate(frames: int) -> float:
        bounds = replace(data.plan, batch_frames=frames)
        batch = largest_batch(plan_epoch(data.epoch_clips, bounds, recipe.seed, 0))
        for _ in range(2):  # the first one compiles and reserves memory
            started = time.perf_counter()
            try_batch(model, batch, data.train.cache, augmenter)
        return batch.padded_frames / (time.perf_counter() - started)

    return run.remembered("batch_frames", lambda: choose_batch_frames(rate))


def loss_floor(recipe: Recipe, data: Prepared) -> float:
    """`asr.training.coach.listening_floor` of a sample of the training set."""
    clips = [clip for clip in data.train.clips if clip.labels]
    sample = clips[::max(1, len(clips) // FLOOR_SAMPLE)]
    frames = [output_length(c.renditions[0].num_frames, recipe.training_model) for c in sample]
    return listening_floor(frames, [c.labels for c in sample], data.tokenizer.vocab_size)
