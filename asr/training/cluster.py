"""The processes that train together: who this one is, where it writes, what it takes over.

In: TF_CONFIG, as TensorFlow defines it, with the same command on every host. Out: the place of this
process; a scratch run directory for every one but the chief, who alone writes. The standard library
alone, until `agree`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import UsageError
from asr.recipe import Recipe, recipe_to_dict
from asr.training.run_directory import RunDirectory

if TYPE_CHECKING:
    from asr.network.replicas import Replicas
    from asr.training.checkpoints import Checkpoints, TrainingState
    from asr.training.preparation import Prepared

EXAMPLE = ('{"cluster": {"worker": ["host-a:12345", "host-b:12345"]}, '
           '"task": {"type": "worker", "index": 0}}')
_HOST = re.compile(r"[^\s/]+:[0-9]{1,5}")
OF_THE_HOST = ("cache_dir", "audio_root", "num_workers", "train", "valid")  # of data; may differ
SEED_STRIDE = 7_919  # between the dropout seeds of two processes


@dataclass(frozen=True)
class Place:
    """This process among those that train together: `rank` 0 is the chief, of `world`."""

    rank: int = 0
    world: int = 1


def place_of_process() -> Place:
    """From the environment variable TF_CONFIG; alone without.

    Raises:
        UsageError: TF_CONFIG is not what TensorFlow takes, or names parameter servers.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return Place()
    try:
        config = json.loads(text)
        cluster = config.get("cluster", {})
        named = [host for hosts in cluster.values() for host in _hosts(hosts)]
        if not cluster:
            return Place()
        if len({*named}) < len(named):
            raise ValueError("it has the same HOST:PORT twice")
        kind, index = config["task"]["type"], int(str(config["task"]["index"]))
        others = set(cluster) - {"chief", "worker"}
        order = [(k, i) for k in ("chief", "worker") for i in range(len(cluster.get(k, ())))]
        if others:
            raise ValueError(f"it names {', '.join(sorted(others))}")
        if (kind, index) not in order:
            raise ValueError(f"it has no {kind} of index {index}")
        return Place(order.index((kind, index)), len(order))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = error if isinstance(error, ValueError) else "it is no table of this form"
        raise UsageError(f"TF_CONFIG cannot be used ({reason}); got {text[:200]}. Name the workers "
                         f"and which of them this is: TF_CONFIG='{EXAMPLE}'",
                         code="usage.tf_config") from error


def _hosts(hosts: object) -> list[str]:
    if not isinstance(hosts, list) or not all(
            isinstance(host, str) and _HOST.fullmatch(host) for host in hosts):
        raise ValueError("its workers are no list of HOST:PORT")
    return hosts


@contextmanager
def room_of(recipe: Recipe, run_dir: str | Path, place: Place
            ) -> Iterator[tuple[Recipe, RunDirectory]]:
    """The run directory of this process, open; the settings it works with.

    Only the chief writes into `run_dir`. Another process has a scratch folder, and fills or reads
    the feature cache of the run: one after the other on a shared disk.
    """
    if not place.rank:
        with RunDirectory(run_dir) as run:
            yield recipe, run
        return
    cache_dir = recipe.data.cache_dir or str(Path(run_dir) / "cache")
    with tempfile.TemporaryDirectory(prefix="asr-worker-") as folder, RunDirectory(folder) as run:
        yield replace(recipe, data=replace(recipe.data, cache_dir=cache_dir)), run


def agree(replicas: Replicas, recipe: Recipe, data: Prepared) -> None:
    """Make sure that all processes train the same.

    Raises:
        UsageError: their recipes or their data differ.
    """
    if replicas.world == 1:
        return
    table = recipe_to_dict(recipe)
    table["data"] = {k: v for k, v in table["data"].items() if k not in OF_THE_HOST}
    facts = {"recipe": repr(table), "data": data.data_hash, "alphabet": data.tokenizer.alphabet}
    numbers = [int(hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12], 16)
               for text in facts.values()]
    wrong = replicas.total_of(replicas.of_chief(numbers) != numbers)
    names = [name for name, count in zip(facts, wrong, strict=True) if count]
    if names:
        raise UsageError(f"The processes of TF_CONFIG do not train the same: {', '.join(names)} "
                         "differ. Start the same command with the same files on every host.",
                         code="usage.cluster")


def take_over(replicas: Replicas, checkpoints: Checkpoints, state: TrainingState, model
              ) -> TrainingState:
    """Begin where the chief begins: its weights, optimizer, averages and progress.

    Each process draws its own dropout; the seeds follow from the chief's, so that a resumed run
    draws what an uninterrupted one does.
    """
    if replicas.world == 1:
        return state
    replicas.load_from_chief(checkpoints.variables)
    for seed in model.non_trainable_variables:
        if "seed_generator" in seed.path:
            start, count = seed.numpy().ravel()[:2]
            seed.assign([start + SEED_STRIDE * replicas.rank, count])
    found = json.loads(replicas.text_of_chief(json.dumps(asdict(state))))
    return type(state)(**found)
