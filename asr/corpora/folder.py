"""A folder of recordings with a text file of the same name beside each.

    anna/one.wav   anna/one.txt      what is said; .lab is read the same way
    ben/two.flac   ben/two.json      {"text": "...", "speaker": "ben"}

The subfolder is the speaker; subfolders train, dev, val, test and such are splits. White space and
line ends inside a text become single spaces. A JSON file may call the text "transcript" or
"sentence".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.corpora.beside import Pair, find_pairs, has_pair
from asr.corpora.collect import Candidate, Checks, Excluded, Prepared, collect
from asr.corpora.columns import GUESSES
from asr.corpora.tables import read_text
from asr.errors import DataError
from asr.manifest.rows import parse_object

SUMMARY = "recordings with a .txt, .lab or .json file of the same name beside each"
SUFFIXES = (".txt", ".lab", ".json")


def prepare(corpus_dir: str | Path, *, encoding: str = "",
            checks: Checks | None = None) -> Prepared:
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
    return collect(_candidates(pairs, encoding), checks or Checks(), notes)


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    return has_pair(path, SUFFIXES)


def _candidates(pairs: list[Pair], encoding: str) -> Iterator[Candidate | Excluded]:
    for pair in pairs:
        if pair.annotation is None:
            yield pair.without("text file (.txt, .lab or .json)")
            continue
        try:
            text, speaker = read_text(pair.annotation, encoding), pair.speaker
        except DataError as error:
            yield pair.failed(error)
            continue
        if pair.annotation.suffix.lower() == ".json":
            row = parse_object(text)
            if isinstance(row, str):
                yield pair.failed(DataError(f"{pair.source}: {row}", code="corpus.row"))
                continue
            named = {key.casefold(): value for key, value in row.items()}
            text = next((named[name] for name in GUESSES["text"]
                         if isinstance(named.get(name), str)), "")
            speaker = next((str(named[name]) for name in GUESSES["speaker"]
                            if isinstance(named.get(name), (str, int))), speaker)
        yield Candidate(pair.split, pair.name, pair.audio, " ".join(text.split()), pair.source,
                        speaker)
