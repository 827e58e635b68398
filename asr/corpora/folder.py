"""A folder of recordings with a text file of the same name beside each.

    anna/one.wav   anna/one.txt      what is said; .lab is read the same way
    ben/two.flac   ben/two.json      {"text": "...", "speaker": "ben"}

The subfolder is the speaker; subfolders train, dev, val, test and such are splits. White space and
line ends inside a text become single spaces. A JSON file may call the text "transcript" or
"sentence".
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from asr.corpora.beside import Pair, annotated, find_pairs, has_pair
from asr.corpora.collect import Candidate, Checks, Imported, collect
from asr.corpora.columns import text_and_speaker
from asr.corpora.tables import read_text
from asr.errors import DataError
from asr.manifest.rows import parse_object

SUMMARY = "recordings with a .txt, .lab or .json file of the same name beside each"
SUFFIXES = (".txt", ".lab", ".json")


def prepare(corpus_dir: str | Path, *, encoding: str = "",
            checks: Checks | None = None) -> Imported:
    """One utterance a recording.

    Args:
        corpus_dir: the folder; subfolders are looked into.
        encoding: encoding of the text files where it is not UTF-8 or UTF-16, such as cp1252.
        checks: limits of duration.

    Raises:
        CorpusError: there is no recording with a text beside it.
    """
    notes: list[str] = []
    pairs = find_pairs(corpus_dir, SUFFIXES, "recordings with one .txt, .lab or .json file each",
                       notes)
    found = annotated(pairs, "text file (.txt, .lab or .json)", partial(_read, encoding),
                      _candidates)
    return collect(found, checks or Checks(), notes)


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    return has_pair(path, SUFFIXES)


def _read(encoding: str, path: Path) -> tuple[str, str | None]:
    """Text and speaker; None where the file does not name one."""
    text = read_text(path, encoding)
    if path.suffix.lower() != ".json":
        return text, None
    row = parse_object(text)
    if isinstance(row, str):
        raise DataError(f"{path.name}: {row}", code="corpus.row")
    try:
        return text_and_speaker(row)
    except ValueError as error:
        raise DataError(f"{path.name}: {error}.", code="corpus.row") from error


def _candidates(pair: Pair, content: tuple[str, str | None]) -> Iterator[Candidate]:
    text, speaker = content
    yield Candidate(pair.split, pair.name, pair.audio, " ".join(text.split()), pair.source,
                    pair.speaker if speaker is None else speaker)
