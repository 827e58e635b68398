"""The batch contract of `asr.data.pipeline` as TensorFlow has it: its signature and its checks.

In: a batch of anything. Out: its x and y, or an error that says what a batch must be. Imports
TensorFlow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

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


def check_batch(batch: Any) -> tuple[dict, dict]:
    """The x and y of one batch.

    Raises:
        UsageError: the batch is not of the contract.
    """
    parts = tuple(part for part in batch if part is not None) if isinstance(batch, (tuple, list)) \
        else (batch,)
    if len(parts) == 3:
        raise UsageError("Sample weights are not supported; repeat an utterance to weigh it more "
                         "(data.repeats in a recipe).")
    if len(parts) != 2 or not _has(parts[1], labels=2, num_labels=1):
        raise _not_of_the_contract(parts)
    check_inputs(parts[0])
    return ({"features": parts[0]["features"], "num_frames": parts[0]["num_frames"]},
            {"labels": parts[1]["labels"], "num_labels": parts[1]["num_labels"]})


def check_inputs(x: Any) -> None:
    """The x of one batch.

    Raises:
        UsageError: it is not of the contract.
    """
    if not _has(x, features=3, num_frames=1):
        raise _not_of_the_contract((x,))


def _has(part: Any, **ranks: int) -> bool:
    return isinstance(part, Mapping) and all(
        name in part and len(getattr(part[name], "shape", ())) == rank
        for name, rank in ranks.items())


def _not_of_the_contract(parts: Sequence) -> UsageError:
    def text(part) -> str:
        if isinstance(part, Mapping):
            return "{" + ", ".join(f"{name!r}: {text(value)}" for name, value in part.items()) + "}"
        return str(tuple(getattr(part, "shape", ()))) if hasattr(part, "shape") else repr(part)[:80]

    return UsageError(f"A batch must be {CONTRACT}, as asr.dataset(...) makes them; got "
                      f"{', '.join(map(text, parts))}.")
