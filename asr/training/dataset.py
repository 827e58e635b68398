"""Manifests as a tf.data.Dataset of the batch contract: what `fit` and `evaluate` take.

In: a manifest and a recipe. Out: the dataset that `asr train` uses, with the cache, augmentation,
buckets and normalisation behind it. Imports TensorFlow.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from itertools import count
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.data.batches import EpochPlans, plan_evaluation
from asr.data.items import PlanSettings
from asr.errors import UsageError
from asr.features import STATISTICS_NEEDED
from asr.manifest import Utterance, read_manifest
from asr.network.framework import import_tensorflow
from asr.recipe import Recipe
from asr.text import normalize
from asr.text.tokenizer import CharTokenizer, build_alphabet
from asr.training.preparation import (
    cached,
    labelled,
    of_usable_length,
    refuse_too_many,
    say_excluded,
    statistics_of,
    writable,
)

if TYPE_CHECKING:
    import tensorflow as tf

logger = logging.getLogger(__name__)

Manifest = str | PathLike | Sequence[Utterance]


def dataset(manifest: Manifest, recipe: Recipe, training: bool = False, *,
            tokenizer: CharTokenizer | None = None,
            cmvn: tuple[np.ndarray, np.ndarray] | None = None) -> tf.data.Dataset:
    """The utterances of a manifest as batches (x, y) of the batch contract.

    For training, every pass over it is another epoch: shuffled in buckets of like lengths,
    augmented, with new batches. Otherwise every utterance comes once, unchanged, shortest first.
    The features are extracted once and kept in `data.cache_dir`; without one, as long as the
    dataset lives.

    Args:
        manifest: a path, or the utterances themselves.
        recipe: its sections data (bounds, cache), text, features, augment, model and seed.
        training: shuffle and augment.
        tokenizer: tokenizer of the labels; None: of text.alphabet or, in training, of the texts.
        cmvn: (mean, std) of the training set, if features.cmvn is "global" or "map"; None: in
            training, of these utterances.

    Returns:
        A tf.data.Dataset that knows its number of batches, and has three attributes more:
        `tokenizer`, `cmvn` (None if features.cmvn needs none) and `excluded`, one record for each
        utterance that cannot be used: id, code, message.

    Raises:
        ManifestError: the manifest cannot be read.
        DataError: more than `data.max_bad_fraction` of the utterances cannot be used.
        UsageError: a dataset for evaluation without the tokenizer or the statistics of training;
            TensorFlow cannot be used.

    Example:
        train = asr.dataset("train.jsonl", recipe, training=True)
        valid = asr.dataset("valid.jsonl", recipe, tokenizer=train.tokenizer, cmvn=train.cmvn)
    """
    import_tensorflow()
    from asr.data.pipeline import epochs_dataset, evaluation_dataset
    from asr.training.setup import build_augmenter

    utterances = (read_manifest(Path(manifest), audio_root=recipe.data.audio_root or None)
                  if isinstance(manifest, (str, PathLike)) else list(manifest))
    name = "training" if training else "evaluation"
    texts = {u.id: normalize(u.text, recipe.text.normalizer) for u in utterances}
    tokenizer = tokenizer or _tokenizer(texts, recipe, training)
    needs = recipe.features.cmvn in STATISTICS_NEEDED
    if needs and cmvn is None and not training:
        raise UsageError(f"features.cmvn = {recipe.features.cmvn!r} needs the mean and std of the "
                         "training set: asr.dataset(..., cmvn=train.cmvn).")
    excluded: list[dict] = []
    kept = writable(of_usable_length(utterances, recipe, name, excluded), texts, tokenizer, name,
                    excluded, non_speech=recipe.data.non_speech)
    sizes = {name: len(utterances)}
    refuse_too_many(excluded, sizes, recipe)
    temporary = None if recipe.data.cache_dir else tempfile.TemporaryDirectory(prefix="asr-cache-")
    folder = Path(recipe.data.cache_dir or temporary.name)  # type: ignore[union-attr]
    speeds = recipe.augment.speeds if training else (1.0,)
    split = labelled(name, cached(kept, recipe, folder, speeds, logger.info), kept, texts,
                     tokenizer, recipe, excluded)
    refuse_too_many(excluded, sizes, recipe)
    say_excluded(excluded, sizes, None, logger.warning)
    if needs and cmvn is None:
        cmvn = statistics_of(split, recipe)
    augmenter = build_augmenter(recipe, cmvn, folder)
    bounds = PlanSettings.from_recipe(recipe, tokenizer)
    if training:
        plans, epochs = EpochPlans(split.clips, bounds, recipe.seed), count()
        result: Any = epochs_dataset(split.cache, lambda: (plans.plan(next(epochs)), 0), augmenter,
                                     plans.num_batches)
    else:
        result = evaluation_dataset(split.cache, plan_evaluation(split.clips, bounds),
                                    augmenter.without_augmentation())
    result.tokenizer, result.cmvn, result.excluded = tokenizer, cmvn if needs else None, excluded
    result.temporary_cache = temporary  # removed with the dataset
    return result


def _tokenizer(texts: dict[str, str], recipe: Recipe, training: bool) -> CharTokenizer:
    if not recipe.text.alphabet and not training:
        raise UsageError("A dataset for evaluation needs the labels of training: "
                         "asr.dataset(..., tokenizer=train.tokenizer), or text.alphabet in the "
                         "recipe.")
    return CharTokenizer(recipe.text.alphabet or build_alphabet(texts.values()))
