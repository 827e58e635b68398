"""Recordings with subtitles of the same name beside each: cues become utterances.

    talk.mp4   talk.srt       SubRip; talk.en.srt is not looked at
    news.mp3   news.vtt       WebVTT; <v Anna> is the speaker

Subtitles shorten what is said and their times are loose: look at what `asr audit` says of them.
The subfolder is the speaker where the cues name none.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from asr.annotations import Labelled
from asr.annotations.cues import read_subtitles
from asr.corpora.beside import Pair, annotated, find_pairs, has_pair, timed
from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect
from asr.corpora.tables import read_text

SUMMARY = "recordings with subtitles (.srt or .vtt) beside each; cues become utterances"
SUFFIXES = (".srt", ".vtt")


def prepare(corpus_dir: str | Path, *, encoding: str = "",
            checks: Checks | None = None) -> Imported:
    """One utterance a cue.

    Args:
        corpus_dir: the folder; subfolders are looked into.
        encoding: encoding of the text files where it is not UTF-8 or UTF-16, such as cp1252.
        checks: limits of duration.

    Raises:
        CorpusError: no recording has subtitles beside it.
    """
    notes: list[str] = []
    pairs = find_pairs(corpus_dir, SUFFIXES, "recordings with one .srt or .vtt file each", notes)
    found = annotated(pairs, "subtitle file (.srt or .vtt)", partial(_read, encoding), _candidates)
    return collect(found, checks or Checks(), notes)


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    return has_pair(path, SUFFIXES)


def _read(encoding: str, path: Path) -> list[tuple[Labelled, str]]:
    return read_subtitles(read_text(path, encoding), path.name)


def _candidates(pair: Pair, cues: list[tuple[Labelled, str]]) -> Iterator[Candidate | Excluded]:
    return timed(pair, [(cue, speaker, 0) for cue, speaker in cues])
