"""Mozilla Common Voice: read sentences from very many speakers, MP3, one folder a language.

    de/train.tsv  dev.tsv  test.tsv     client_id, path, sentence, and more columns
    de/clips/common_voice_de_17298952.mp3

The official splits share no speaker. `client_id` becomes the speaker. Other tables
(validated.tsv, other.tsv, invalidated.tsv) overlap with these or failed review; they are not read.
Source: https://commonvoice.mozilla.org, CC0. Reference: Ardila et al. 2020, LREC.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect
from asr.corpora.tables import corpus_folder, file_name, read_table
from asr.errors import CorpusError

SUMMARY = "Mozilla Common Voice, one language (train.tsv, dev.tsv, test.tsv, clips/)"
SPLITS = ("train", "dev", "test")


def prepare(corpus_dir: str | Path, *, checks: Checks | None = None) -> Imported:
    """The official splits that are there.

    Args:
        corpus_dir: the folder of a language: it holds train.tsv and clips/.
        checks: limits of duration.

    Raises:
        CorpusError: none of the tables is there, or one cannot be read.
    """
    folder = corpus_folder(corpus_dir, "a language of Common Voice: train.tsv and clips/")
    tables = [folder / f"{split}.tsv" for split in SPLITS if (folder / f"{split}.tsv").is_file()]
    if not tables:
        raise CorpusError(f"{folder} holds none of train.tsv, dev.tsv and test.tsv; give the "
                          "folder of one language.", path=folder)
    return collect([item for table in tables for item in _candidates(table)], checks or Checks())


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    return (path / "clips").is_dir() and any((path / f"{split}.tsv").is_file() for split in SPLITS)


def _candidates(table: Path) -> Iterator[Candidate | Excluded]:
    for source, row in read_table(table, ("client_id", "path", "sentence"), delimiter="\t",
                                  quotes=False):
        if isinstance(row, str):
            yield Excluded("failed", "", source, "", "corpus.row", f"{source}: {row}.")
            continue
        name = row["path"]
        if Path(name).name != name or "\0" in name:
            yield Excluded("failed", name[:80], source, "", "corpus.name",
                           f"{source}: the path {name[:80]!r} is no plain file name.")
            continue
        if "." not in name:   # the first releases left the suffix away
            name += ".mp3"
        yield Candidate(table.stem, Path(name).stem, table.parent / "clips" / file_name(name),
                        row["sentence"], source, row["client_id"])
