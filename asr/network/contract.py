"""The batch contract of `asr.data.pipeline` as TensorFlow has it: its signature and its checks.

In: a batch of anything. Out: its x and y, or an error that says what a batch must be. Imports
TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from asr.errors import UsageError

CONTRACT = ('{"features": (B, T, F) float32, "num_frames": (B,) int32}, '
            '{"labels": (B, L) int32, "num_labels": (B,) int32}')


def batch_signature(num_features: int | None) -> tuple[dict, dict]:
    """The x and y of the batch contract for any B, T and L: one trace serves all batches."""
    def counts(name: str) -> tf.TensorSpec:
        return tf.TensorSpec([None], tf.int32, name=name)

    return ({"features": tf.TensorSpec([None, None, num_features], tf.float32, name="features"),
             "num_frames": counts("num_frames")},
            {"labels": tf.TensorSpec([None, None], tf.int32, name="labels"),
             "num_labels": counts("num_labels")})


def check_batch(batch: Any, num_features: int | None = None) -> tuple[dict, dict]:
    """The x and y of one batch.

    Args:
        batch: what a dataset gave.
        num_features: F of the network; None: any.

    Raises:
        UsageError: the batch is not of the contract, or has another number of features.
    """
    parts = tuple(part for part in batch if part is not None) if isinstance(batch, (tuple, list)) \
        else (batch,)
    if len(parts) == 3:
        raise UsageError("Sample weights are not supported; repeat an utterance to weigh it more "
                         "(data.repeats in a recipe).")
    if len(parts) != 2 or not (_has(parts[0], True, features=3, num_frames=1)
                               and _has(parts[1], True, labels=2, num_labels=1)):
        raise _not_of_the_contract(parts)
    _check_num_features(parts[0], num_features)
    return ({"features": parts[0]["features"], "num_frames": parts[0]["num_frames"]},
            {"labels": parts[1]["labels"], "num_labels": parts[1]["num_labels"]})


def check_inputs(x: Any, num_features: int | None = None) -> None:
    """The x of one batch, of any types: Keras casts some, and traces a network with others.

    Args:
        x: what a network was called with.
        num_features: F of the network; None: any.

    Raises:
        UsageError: it is not of the contract, or has another number of features.
    """
    if not _has(x, False, features=3, num_frames=1):
        raise _not_of_the_contract((x,))
    _check_num_features(x, num_features)


def check_metrics(given: Any, vocab_size: int | None) -> None:
    """What `compile` was given as metrics.

    Args:
        given: a list of Keras metrics, or None.
        vocab_size: V of the network; None: not known.

    Raises:
        UsageError: it is no list of metrics, or one has another tokenizer than the network.
    """
    metrics = given if isinstance(given, (list, tuple)) else [given] if given is not None else []
    odd = [m for m in metrics if not isinstance(m, keras.metrics.Metric)]
    if odd or (given is not None and metrics is not given):
        raise UsageError("metrics must be a list, and of objects that read logits and lengths, "
                         f"such as [asr.WordErrorRate(tokenizer)]; got {(odd or [given])[0]!r}.")
    for metric in metrics:
        labels = getattr(getattr(metric, "tokenizer", None), "vocab_size", vocab_size)
        if vocab_size and labels != vocab_size:
            raise UsageError(f"The tokenizer of the metric {metric.name!r} has {labels} labels and "
                             f"the network {vocab_size} outputs; give both that of the training "
                             "set: asr.dataset(...).tokenizer.")


def explain(error: Exception, x: Mapping, y: Mapping) -> None:
    """Raise the sentence of a step that failed, if it has one; TensorFlow's errors fill a page.

    Raises:
        UsageError: the numbers of the batch are not of the contract, or do not fit the network.
    """
    for part, length, array in ((x, "num_frames", "features"), (y, "num_labels", "labels")):
        least, most = int(length == "num_frames"), int(part[array].shape[1])
        odd = [int(n) for n in part[length] if not least <= int(n) <= most]
        if odd:
            raise UsageError(f"A batch has {length} {odd[0]}, and its {array} have room for "
                             f"{most}; expected {least} .. {most}.") from error
    said = re.search(r"UsageError: ([^\n]+)", str(error))
    if said:
        raise UsageError(said[1]) from error


def _check_num_features(x: Mapping, num_features: int | None) -> None:
    found = x["features"].shape[-1]
    if num_features and found is not None and int(found) != num_features:
        raise UsageError(f"The network takes {num_features} features a frame, and this batch has "
                         f"{int(found)}. Make the dataset with the recipe of the network: "
                         "asr.dataset(manifest, recipe).")


def _has(part: Any, exactly: bool, **ranks: int) -> bool:
    """Whether a table has arrays of these ranks and, exactly, of the types of the contract."""
    def fits(name: str, rank: int) -> bool:
        wanted, found = "float32" if name == "features" else "int32", _type(part[name])
        return len(getattr(part[name], "shape", ())) == rank and (
            found == wanted or not exactly)

    return isinstance(part, Mapping) and all(name in part and fits(name, rank)
                                             for name, rank in ranks.items())


def _type(array: Any) -> str:
    """The name of a type: of an array, a tensor, a specification or a symbolic tensor."""
    kind = getattr(array, "dtype", "")
    return str(getattr(kind, "name", kind))


def _not_of_the_contract(parts: Sequence) -> UsageError:
    def text(part) -> str:
        if isinstance(part, Mapping):
            return "{" + ", ".join(f"{name!r}: {text(value)}" for name, value in part.items()) + "}"
        return f"{tuple(part.shape)} {_type(part)}" if hasattr(part, "shape") else repr(part)[:80]

    return UsageError(f"A batch must be {CONTRACT}, as asr.dataset(...) makes them; got "
                      f"{', '.join(map(text, parts))}.")
