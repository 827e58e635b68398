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
    from asr.fleet.cluster import Cluster
    from asr.recognizer import Recognizer

NETWORKS = ("auto", "numpy", "keras", "onnx")
PLACES = ("local", "ray")
_BOTH = click.option(
    "--engine", "engines", type=click.Choice(NETWORKS + PLACES), multiple=True,
    help="What computes: auto is numpy, which starts quickly, or what an exported file is made "
    "for; keras uses a GPU if there is one. Where: local, this machine, or ray, a cluster. Give "
    "both kinds by repeating it.")
_PLACE = click.option("--engine", "engines", type=click.Choice(PLACES), multiple=True,
                      help="Where: local, this machine (the default), or ray, a cluster.")
_OTHERS = (
    click.option("--address", metavar="auto|HOST:PORT", help="With --engine ray: the cluster that "
                 "this machine belongs to, or the one with this head. Default: Ray is started on "
                 "this machine."),
    click.option("--workers", type=click.IntRange(min=1), help="With --engine ray: processes, "
                 "each on one processor. Default: one for each processor."),
)


def place_options(command: Callable) -> Callable:
    """Add the options; the command gets `engine`, a network's, and `cluster`."""
    @functools.wraps(command)
    def wrapped(*arguments, engines, address, workers, **others):
        networks = [name for name in engines if name in NETWORKS]
        if len(set(networks)) > 1:
            raise UsageError(f"--engine {' --engine '.join(networks)}: give one of "
                             f"{', '.join(NETWORKS)}.")
        return command(*arguments, engine=networks[0] if networks else "auto",
                       cluster=_cluster(engines, address, workers), **others)

    return _with(_BOTH, wrapped)


def cluster_options(command: Callable) -> Callable:
    """Add the options where no network is at work; the command gets `cluster`."""
    @functools.wraps(command)
    def wrapped(*arguments, engines, address, workers, **others):
        return command(*arguments, cluster=_cluster(engines, address, workers), **others)

    return _with(_PLACE, wrapped)


def _with(engine: Callable, command: Callable) -> Callable:
    for option in reversed((engine, *_OTHERS)):
        command = option(command)
    return command


def _cluster(engines: tuple[str, ...], address: str | None, workers: int | None
             ) -> Cluster | None:
    """The cluster that the options name; None for this machine."""
    places = {name for name in engines if name in PLACES}
    if len(places) > 1:
        raise UsageError(f"--engine {' --engine '.join(engines)}: give one of "
                         f"{', '.join(PLACES)}.")
    if places == {"ray"}:
        from asr.fleet.cluster import Cluster

        return Cluster(address or "", workers or 0)
    if address or workers:
        raise UsageError(f"--{'address' if address else 'workers'} is about a cluster. Give "
                         "--engine ray, too.")
    return None


def absolute(bundle: str | os.PathLike | None) -> str | None:
    """The path of a bundle for workers, which may be in another folder."""
    return None if bundle is None else os.path.abspath(bundle)


def open_recognizer(bundle: str | None, engine: str, knobs: dict) -> Recognizer:
    """The recogniser of a command's options; each worker of a cluster calls it."""
    from asr.recognizer import load

    return with_knobs(load(bundle, engine=engine), knobs)
