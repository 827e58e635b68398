"""Audacity: recordings with an exported label track of the same name beside each.

    talk.wav   talk.txt      0.512<tab>2.048<tab>what is said

Each label becomes one utterance with its offset; a point, without duration, is left out and
counted. The subfolder is the speaker.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from asr.annotations import Labelled
from asr.annotations.cues import read_labels
from asr.corpora.beside import Pair, annotated, find_pairs, timed
from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect
from asr.corpora.tables import read_text
from asr.errors import CorpusError, DataError

SUMMARY = "Audacity: recordings with a label track (.txt) beside each"
SUFFIXES = (".txt",)


def prepare(corpus_dir: str | Path, *, encoding: str = "",
            checks: Checks | None = None) -> Imported:
    """One utterance a label.

    Args:
        corpus_dir: the folder; subfolders are looked into.
        encoding: encoding of the text files where it is not UTF-8 or UTF-16, such as cp1252.
        checks: limits of duration.

    Raises:
        CorpusError: no recording has a label track beside it.
    """
    notes: list[str] = []
    pairs = find_pairs(corpus_dir, SUFFIXES, "recordings with one label track (.txt) each", notes)
    found = annotated(pairs, "label track (.txt)", partial(_read, encoding), _candidates)
    return collect(found, checks or Checks(), notes)


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    try:
        pair = next(p for p in find_pairs(path, SUFFIXES, "") if p.annotation)
        return bool(read_labels(read_text(pair.annotation), ""))   # type: ignore[arg-type]
    except (CorpusError, DataError):
        return False


def _read(encoding: str, path: Path) -> list[Labelled]:
    return read_labels(read_text(path, encoding), path.name, points=True)


def _candidates(pair: Pair, labels: list[Labelled]) -> Iterator[Candidate | Excluded]:
    return timed(pair, [(label, "", 0) for label in labels])
