"""Audacity: recordings with an exported label track of the same name beside each.

    talk.wav   talk.txt      0.512<tab>2.048<tab>what is said

Each label becomes one utterance with its offset. Labels of a point, without duration, are left out.
The subfolder is the speaker.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.annotations import Interval
from asr.annotations.cues import read_labels
from asr.corpora.beside import Pair, annotated, find_pairs, timed
from asr.corpora.collect import Candidate, Checks, Prepared, collect
from asr.corpora.tables import read_text
from asr.errors import CorpusError, DataError

SUMMARY = "Audacity: recordings with a label track (.txt) beside each"
SUFFIXES = (".txt",)


def prepare(corpus_dir: str | Path, *, checks: Checks | None = None) -> Prepared:
    """One utterance a label.

    Args:
        corpus_dir: the folder; subfolders are looked into.
        checks: limits of duration.

    Raises:
        CorpusError: no recording has a label track beside it.
    """
    pairs = find_pairs(corpus_dir, SUFFIXES, "recordings with one label track (.txt) each")
    return collect(annotated(pairs, "label track (.txt)", _read, _candidates), checks or Checks())


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    try:
        pair = next(p for p in find_pairs(path, SUFFIXES, "") if p.annotation)
        return bool(_read(pair.annotation))   # type: ignore[arg-type]
    except (CorpusError, DataError):
        return False


def _read(path: Path) -> list[Interval]:
    return read_labels(read_text(path), path.name)


def _candidates(pair: Pair, labels: list[Interval]) -> Iterator[Candidate]:
    return timed(pair, [(label, "", 0) for label in labels])
