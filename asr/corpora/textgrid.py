"""Praat: recordings with a TextGrid of the same name beside each; labels become utterances.

    anna/talk.wav   anna/talk.TextGrid      long or short form, UTF-8 or UTF-16

Each label of the tier is one utterance with its offset. The tier is the only one with labels, one
with a usual name (utterance, transcription, text, ...), or `--tier NAME`. Where each speaker has a
tier, repeat `--tier`; with `--channel each` the n-th tier is about the n-th channel. The subfolder
is the speaker where tiers are not.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from asr.annotations import Tiers
from asr.annotations.textgrid import read_textgrid
from asr.corpora.beside import find_pairs, has_pair, tier_candidates
from asr.corpora.collect import Checks, Imported, collect
from asr.corpora.tables import read_text

SUMMARY = "Praat: recordings with a TextGrid beside each; a tier becomes utterances"
SUFFIXES = (".TextGrid",)


def prepare(corpus_dir: str | Path, *, tiers: tuple[str, ...] = (),
            encoding: str = "", checks: Checks | None = None) -> Imported:
    """One utterance a label.

    Args:
        corpus_dir: the folder; subfolders are looked into.
        tiers: which tiers hold what is said; empty: the one that must be meant.
        encoding: encoding of the text files where it is not UTF-8 or UTF-16, such as cp1252.
        checks: limits of duration, and channels.

    Raises:
        CorpusError: no recording has a TextGrid beside it.
        UsageError: it is not clear which tier is meant, or none has that name.
    """
    checks, notes = checks or Checks(), []
    pairs = find_pairs(corpus_dir, SUFFIXES, "recordings with one .TextGrid file each", notes)
    items = tier_candidates(pairs, tuple(tiers), checks, "TextGrid", partial(_read, encoding),
                            notes)
    return collect(items, checks, notes)


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    return has_pair(path, SUFFIXES)


def _read(encoding: str, path: Path) -> tuple[Tiers, dict[str, str]]:
    return read_textgrid(read_text(path, encoding), path.name), {}
