"""Praat: recordings with a TextGrid of the same name beside each; labels become utterances.

    anna/talk.wav   anna/talk.TextGrid      long or short form, UTF-8 or UTF-16

Each label of the tier is one utterance with its offset. The tier is the only one with labels, one
with a usual name (utterance, transcription, text, ...), or `--tier NAME`. Where each speaker has a
tier, repeat `--tier`; with `--channel each` the n-th tier is about the n-th channel. The subfolder
is the speaker where tiers are not.
"""

from __future__ import annotations

from pathlib import Path

from asr.annotations import Tiers
from asr.annotations.textgrid import read_textgrid
from asr.corpora.beside import Pair, find_pairs, has_pair, tier_candidates
from asr.corpora.collect import Checks, Prepared, collect
from asr.corpora.tables import read_text

SUMMARY = "Praat: recordings with a TextGrid beside each; a tier becomes utterances"
SUFFIXES = (".TextGrid",)


def prepare(corpus_dir: str | Path, *, tiers: tuple[str, ...] = (),
            checks: Checks | None = None) -> Prepared:
    """One utterance a label.

    Args:
        corpus_dir: the folder; subfolders are looked into.
        tiers: which tiers hold what is said; empty: the one that must be meant.
        checks: limits of duration, and channels.

    Raises:
        CorpusError: no recording has a TextGrid beside it.
        UsageError: it is not clear which tier is meant, or none has that name.
    """
    checks, notes = checks or Checks(), []
    pairs = find_pairs(corpus_dir, SUFFIXES, "recordings with one .TextGrid file each", notes)
    return collect(tier_candidates(pairs, tuple(tiers), checks, "TextGrid", _read, notes), checks,
                   notes)


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    return has_pair(path, SUFFIXES)


def _read(pair: Pair) -> tuple[Tiers, dict[str, str]]:
    path = pair.annotation or pair.audio
    return read_textgrid(read_text(path), path.name), {}
