"""Where a run starts from: a bundle of another run, checked before any work.

In: a recipe with `train.initial_bundle`. Out: one sentence if it cannot be, the difference of the
alphabets, its weights for another alphabet. NumPy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from asr.bundle import load_bundle
from asr.bundle.find import find_bundle
from asr.errors import RecipeError, UsageError
from asr.recipe import Recipe
from asr.settings import to_toml
from asr.terminal import plural
from asr.text.tokenizer import CharTokenizer, describe

# What may differ between a bundle and the run that goes on from it: no weight depends on it.
# Another subsampling is another time step of the LSTM: the weights fit, and the first epochs adapt.
FREE = {"model.dropout", "model.subsampling", "model.edge_frames"}


def check_initial_bundle(recipe: Recipe, network: str = "") -> CharTokenizer | None:
    """Compare `train.initial_bundle`, if there is one, with the recipe; returns its tokenizer.

    Args:
        recipe: the settings of the run.
        network: name of the function that builds the user's own network; "": none.

    Raises:
        BundleError: there is no such bundle, or it is damaged.
        UsageError: features or network differ; each setting is named with both values.
        RecipeError: train.slow is not LAYER:FACTOR.
    """
    slow_layers(recipe.train.slow)
    if not recipe.train.initial_bundle:
        return None
    path = find_bundle(recipe.train.initial_bundle)
    bundle = load_bundle(path)
    if bool(bundle.network) != bool(network):
        raise UsageError(f"{path} holds the network {bundle.network or 'of asr.AcousticModel'!r} "
                         f"and this run builds {network or 'asr.AcousticModel'!r}; "
                         "its weights do not fit.", code="train.initial_bundle", path=path)
    differing = []
    for section in ("features", "model"):
        theirs, ours = (dataclasses.asdict(getattr(owner, section)) for owner in (bundle, recipe))
        differing += [(f"{section}.{name}", value, ours[name]) for name, value in theirs.items()
                      if value != ours[name] and f"{section}.{name}" not in FREE]
    if differing:
        listed = "; ".join(f"{name} is {theirs!r} there and {ours!r} here"
                           for name, theirs, ours in differing)
        remedy = " ".join(f"--set {name}={to_toml(theirs)}" for name, theirs, _ in differing)
        raise UsageError(f"train.initial_bundle {path} was trained with other settings, and its "
                         f"weights mean nothing with these: {listed}. Take over its settings: "
                         f"{remedy}", code="train.initial_bundle", path=path)
    return bundle.tokenizer


def alphabet_difference(old: CharTokenizer, new: CharTokenizer) -> str:
    """Which characters a network knows, which are new and which it loses: one line.

    Example:
        >>> alphabet_difference(CharTokenizer(" ab"), CharTokenizer(" bc"))
        "alphabet: 2 characters as before; new: 'c' (U+0063); no longer there: 'a' (U+0061)"
    """
    kept = [c for c in new.alphabet if c in old.alphabet]
    parts = [f"alphabet: {plural(len(kept), 'character')} as before"]
    for said, characters in (("new", [c for c in new.alphabet if c not in old.alphabet]),
                             ("no longer there", [c for c in old.alphabet
                                                  if c not in new.alphabet])):
        if characters:
            parts.append(f"{said}: {', '.join(map(describe, characters))}")
    return "; ".join(parts)


def slow_layers(entries: Sequence[str]) -> dict[str, float]:
    """train.slow as a table: layer to the factor on its steps.

    Raises:
        RecipeError: an entry is not LAYER:FACTOR with a factor from 0 to 1.
    """
    table = {}
    for entry in entries:
        name, _, number = entry.rpartition(":")
        try:
            factor = float(number)
        except ValueError:
            factor = -1.0
        if not name or not 0.0 <= factor <= 1.0:
            raise RecipeError(f"train.slow has {entry!r}; write LAYER:FACTOR with a factor from 0 "
                              "to 1, such as \"lstm_0:0.1\".")
        table[name] = factor
    return table


def remap_rows(old: CharTokenizer, new: CharTokenizer, kernel: np.ndarray, bias: np.ndarray,
               rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Map output weights to another alphabet, character by character.

    Args:
        old, new: tokenizers of the two alphabets; the blank keeps its weights.
        kernel: (H, V_old); bias: (V_old,).
        rng: draws the small random weights of new characters.

    Returns:
        (H, V_new) and (V_new,). For a permuted alphabet the loss at step 0 is unchanged. The bias
        of a new character is 5 nats below the mean, so it hardly affects the others.
    """
    columns = np.concatenate([[0], [old.alphabet.find(c) + 1 for c in new.alphabet]]).astype(int)
    known = np.concatenate([[True], columns[1:] > 0])
    new_kernel = np.where(known, kernel[:, columns],
                          rng.normal(0, 0.01, (len(kernel), len(columns)))).astype(np.float32)
    new_bias = np.where(known, bias[columns], bias.mean() - 5.0).astype(np.float32)
    return new_kernel, new_bias
