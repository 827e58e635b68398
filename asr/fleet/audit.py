"""An audit on a cluster: recordings looked at, fingerprinted, and their references doubted.

In: paths or rows. Out: the same outcomes, in order, as `asr.audit` computes on one machine. Workers
read the recordings; what a worker says of one is said here again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from asr.audio.probing import Probe
from asr.audit import AuditSpread
from asr.audit.fingerprint import Print, print_of
from asr.audit.suspects import Evidence, evidence_of, no_evidence
from asr.errors import AsrError, AudioError, InputWarning
from asr.fleet.cluster import SHARD_ITEMS, Cluster
from asr.fleet.shards import Open
from asr.manifest import Utterance

PROBE_ITEMS = 256  # a header is read in a millisecond


@dataclass(frozen=True)
class _Told:
    """An outcome and, with the first one of a piece of work, what the worker said."""

    outcome: Any
    said: tuple[tuple[str, str], ...] = ()


def spread_on(cluster: Cluster) -> AuditSpread:
    """Where `asr.audit.find_leaks` has recordings looked at and fingerprinted.

    Args:
        cluster: its nodes have the recordings on the same paths.
    """
    return AuditSpread(partial(_probes_on, cluster), partial(_prints_on, cluster))


def doubt_on(cluster: Cluster, open_: Open, utterances: Iterable[Utterance], *,
             allow_truncated: bool = False) -> Iterator[Evidence]:
    """`asr.audit.suspects.evidence_of`, on a cluster.

    Args:
        cluster: where.
        open_: opens the model in a worker; picklable.
        utterances: rows.
        allow_truncated: see `asr.audio.load_audio`.
    """
    return _heard(cluster, partial(_start_doubting, open_, allow_truncated), utterances,
                  lambda row, error: no_evidence(row, error.code))


def _probes_on(cluster: Cluster, look: Callable[[Any], Probe], paths: Iterable) -> Iterator[Probe]:
    def lost(path: object, error: AsrError) -> Probe:
        return Probe(error=AudioError(error.message, code=error.code, path=path))

    return _heard(cluster, partial(_start_each, look), paths, lost, PROBE_ITEMS)


def _prints_on(cluster: Cluster, allow_truncated: bool, items: Iterable[tuple[Utterance, bool]]
               ) -> Iterator[Print]:
    return _heard(cluster, partial(_start_each, partial(print_of, allow_truncated=allow_truncated)),
                  items, lambda item, error: Print())


def _heard(cluster: Cluster, start: Callable, items: Iterable, lost: Callable,
           shard_items: int = SHARD_ITEMS) -> Iterator:
    for told in cluster.run(start, items, lambda item, error: _Told(lost(item, error)),
                            shard_items=shard_items):
        for message, code in told.said:
            warnings.warn(InputWarning(message, code), stacklevel=2)
        yield told.outcome


def _start_each(work: Callable) -> Callable[[list], list[_Told]]:
    return partial(_each, work)


def _each(work: Callable, items: list) -> list[_Told]:
    return [told for item in items for told in _noting(lambda item=item: [work(item)])]


def _start_doubting(open_: Open, allow_truncated: bool) -> Callable[[list], list[_Told]]:
    return partial(_doubt, open_(), allow_truncated)


def _doubt(recognizer, allow_truncated: bool, rows: list[Utterance]) -> list[_Told]:
    return _noting(lambda: list(evidence_of(recognizer, rows, allow_truncated=allow_truncated)))


def _noting(work: Callable[[], Sequence]) -> list[_Told]:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", InputWarning)
        outcomes = work()
    noted = tuple((str(one.message), one.message.code) for one in said
                  if isinstance(one.message, InputWarning))
    return [_Told(outcome, () if index else noted) for index, outcome in enumerate(outcomes)]
