"""Options that say where work is done: on this machine, or on a Ray cluster.

In: a command. Out: the same with `--engine`, `--address` and `--workers`; it gets the engine of
the network as `engine` and the cluster, or None for this machine, as `cluster`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from asr.cli.decoding import with_knobs
from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.recognizer import Recognizer

NETWORKS = ("auto", "numpy", "keras", "onnx")
PLACES = ("local", "ray")
_OPTIONS = (
    click.option("--engine", "engines", type=click.Choice(NETWORKS + PLACES), multiple=True,
                 help="What computes: auto is numpy, which starts quickly, or what an exported "
                 "file is made for; keras uses a GPU if there is one. Where: local, this machine, "
                 "or ray, a cluster. Give both kinds by repeating it."),
    click.option("--address", metavar="auto|HOST:PORT", help="With --engine ray: the cluster that "
                 "this machine belongs to, or the one with this head. Default: Ray is started on "
                 "this machine."),
    click.option("--workers", type=click.IntRange(min=1), help="With --engine ray: processes, "
                 "each with the model on one processor. Default: one for each processor."),
)


def place_options(command: Callable) -> Callable:
    """Add the options; the command gets `engine`, a network's, and `cluster`."""
    @functools.wraps(command)
    def wrapped(*arguments, engines, address, workers, **others):
        networks = [name for name in engines if name in NETWORKS]
        places = [name for name in engines if name in PLACES]
        if len(set(networks)) > 1 or len(set(places)) > 1:
            raise UsageError(f"--engine {' --engine '.join(engines)}: give one of "
                             f"{', '.join(NETWORKS)} and one of {', '.join(PLACES)} at most.")
        cluster = None
        if "ray" in places:
            from asr.fleet.cluster import Cluster

            cluster = Cluster(address or "", workers or 0)
        elif address or workers:
            raise UsageError(f"--{'address' if address else 'workers'} is about a cluster. Give "
                             "--engine ray, too.")
        return command(*arguments, engine=networks[0] if networks else "auto", cluster=cluster,
                       **others)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def absolute(bundle: str | os.PathLike | None) -> str | None:
    """The path of a bundle for workers, which may be in another folder."""
    return None if bundle is None else os.path.abspath(bundle)


def open_recognizer(bundle: str | None, engine: str, knobs: dict) -> Recognizer:
    """The recogniser of a command's options; each worker of a cluster calls it."""
    from asr.recognizer import load

    return with_knobs(load(bundle, engine=engine), knobs)
