"""ELAN: recordings with an .eaf file of the same name beside each; annotations become utterances.

    village/story.wav   village/story.eaf

Each annotation of the tier is one utterance with its offset; one without times (a translation) has
those of the annotation that it refers to. The tier is the only one with annotations, one with a
usual name, or `--tier NAME`; repeat it where each speaker has a tier. A tier's PARTICIPANT is the
speaker.
"""

from __future__ import annotations

from pathlib import Path

from asr.annotations import Tiers
from asr.annotations.elan import read_eaf
from asr.corpora.beside import find_pairs, has_pair, tier_candidates
from asr.corpora.collect import Checks, Imported, collect
from asr.corpora.tables import read_bytes

SUMMARY = "ELAN: recordings with an .eaf file beside each; a tier becomes utterances"
SUFFIXES = (".eaf",)


def prepare(corpus_dir: str | Path, *, tiers: tuple[str, ...] = (),
            checks: Checks | None = None) -> Imported:
    """One utterance an annotation.

    Args:
        corpus_dir: the folder; subfolders are looked into.
        tiers: which tiers hold what is said; empty: the one that must be meant.
        checks: limits of duration, and channels.

    Raises:
        CorpusError: no recording has an .eaf file beside it.
        UsageError: it is not clear which tier is meant, or none has that name.
    """
    checks, notes = checks or Checks(), []
    pairs = find_pairs(corpus_dir, SUFFIXES, "recordings with one .eaf file each", notes)
    return collect(tier_candidates(pairs, tuple(tiers), checks, ".eaf file", _read, notes), checks,
                   notes)


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    return has_pair(path, SUFFIXES)


def _read(path: Path) -> tuple[Tiers, dict[str, str]]:
    tiers, speakers, _ = read_eaf(read_bytes(path), path.name)
    return tiers, speakers
