"""LJSpeech-style corpora: one speaker, one table; LJSpeech itself and the rhasspy voices.

    metadata.csv       {id}|{text}    or    {id}|{text}|{text with numbers written out}
    wavs/{id}.wav      or .flac, .ogg, .opus, .mp3

The third column is used where there is one: it is what was said. There is no official split;
every tenth id, in sorted order and starting with the first, goes to `dev`.
Source: https://keithito.com/LJ-Speech-Dataset/
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from asr.audio import display_name
from asr.audio.source import AUDIO_SUFFIXES
from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect
from asr.corpora.splitting import every_nth
from asr.corpora.tables import corpus_folder, file_name, read_lines
from asr.errors import CorpusError

SUMMARY = "LJSpeech style (metadata.csv, wavs/): one speaker"


def prepare(corpus_dir: str | Path, *, dev_every: int = 10,
            checks: Checks | None = None) -> Imported:
    """`train` and `dev`.

    Args:
        corpus_dir: the folder that holds metadata.csv; its name becomes the speaker's.
        dev_every: every n-th id goes to `dev`; 0: everything is `train`.
        checks: limits of duration.

    Raises:
        CorpusError: metadata.csv is missing, empty or cannot be read.
    """
    folder = corpus_folder(corpus_dir, "a folder with metadata.csv and wavs/")
    items = list(_candidates(folder))
    if not items:
        raise CorpusError(f"{folder / 'metadata.csv'} is empty; expected lines id|text.",
                          path=folder / "metadata.csv")
    return collect(every_nth(items, dev_every, by="utterance"), checks or Checks())


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    return (path / "metadata.csv").is_file() and (path / "wavs").is_dir()


def _candidates(folder: Path) -> Iterator[Candidate | Excluded]:
    for source, line in read_lines(folder / "metadata.csv"):
        identifier, *texts = line.split("|")
        if not 1 <= len(texts) <= 2:
            yield Excluded("failed", identifier[:80], source, "", "corpus.row",
                           f"{source}: expected id|text or id|text|normalised text, got "
                           f"{len(texts) + 1} columns.")
            continue
        if Path(identifier).name != identifier or "\0" in identifier:
            yield Excluded("failed", identifier[:80], source, "", "corpus.name",
                           f"{source}: the id {identifier[:80]!r} is no plain file name.")
            continue
        text = texts[-1] if texts[-1].strip() else texts[0]
        yield Candidate("train", identifier, _audio(folder / "wavs", identifier), text, source,
                        speaker=display_name(folder.name))


def _audio(folder: Path, identifier: str) -> Path:
    for suffix in AUDIO_SUFFIXES:
        path = folder / file_name(f"{identifier}{suffix}")
        if os.path.isfile(path):  # no error of the disk: collect() meets it
            return path
    return folder / file_name(f"{identifier}.wav")   # collect() says that it is missing
