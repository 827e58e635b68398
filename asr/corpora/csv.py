"""A table of recordings and texts: CSV or TSV with a header line.

    table.csv          path,sentence,speaker          paths from the table's folder, or absolute
    clips/a.wav

Columns are found by the usual names and shown; `--column text=NAME` names one that is not. Times
(start, end or duration, in seconds, also as 0:01:23.5; in milliseconds if the name ends in _ms),
channel (1 is the first), speaker, split and id are used where there are such columns. Commas,
semicolons, tabs and bars separate; a number may have a decimal comma. Of several tables, or without
a split column, the file's name is the split, from the word train, dev, valid or test on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect, told_apart
from asr.corpora.columns import Taken, channel, guess_columns, segment
from asr.corpora.naming import split_word, unique_names
from asr.corpora.tables import read_table, table_header
from asr.errors import CorpusError, UsageError

SUMMARY = "a CSV or TSV table with a header; columns are found by their names"
SUFFIXES = (".csv", ".tsv")


def prepare(corpus_dir: str | Path, *, columns: tuple[str, ...] = (),
            encoding: str = "", checks: Checks | None = None) -> Imported:
    """One utterance a row.

    Args:
        corpus_dir: a table, or a folder of them.
        columns: "role=column" for what the names do not tell.
        encoding: encoding of the text files where it is not UTF-8 or UTF-16, such as cp1252.
        checks: limits of duration; `audio_root` is where paths are looked for as well.

    Raises:
        CorpusError: there is no table, or one cannot be read.
        UsageError: it is not clear which column holds the recordings or the texts.
    """
    checks, taken = checks or Checks(), Taken()
    tables = _tables(Path(corpus_dir).absolute())
    if not tables:
        raise CorpusError(f"{corpus_dir} is neither a table nor a folder with one; expected a .csv "
                          "or .tsv file with a header line.", path=corpus_dir)
    items = [item for table in tables
             for item in _candidates(table, tuple(columns), len(tables) == 1, encoding, checks,
                                     taken)]
    return collect(items, checks, taken.notes())


def looks_like(path: Path) -> bool:
    """Whether there is a table with a recording and a text column."""
    for table in _tables(path)[:1]:
        try:
            guess_columns(table_header(table)[1])
            return True
        except (CorpusError, UsageError):
            return False
    return False


def _tables(path: Path) -> list[Path]:
    return [path] if path.is_file() and path.suffix.lower() in SUFFIXES else sorted(
        p for p in path.glob("*") if p.suffix.lower() in SUFFIXES and p.is_file())


def _candidates(table: Path, given: tuple[str, ...], is_only: bool, encoding: str,
                checks: Checks, taken: Taken) -> Iterator[Candidate | Excluded]:
    delimiter, header = table_header(table, encoding)
    columns = guess_columns(header, given, table.name)
    taken.add(table.name, columns)
    rows = list(read_table(table, (), delimiter=delimiter, encoding=encoding))
    names = unique_names(row[columns["audio"]] for _, row in rows if isinstance(row, dict))
    split = "train" if is_only else split_word(table.stem)
    found = (Excluded("failed", "", source, "", "corpus.row", f"{source}: {row}.")
             if isinstance(row, str) else
             row_candidate(row, columns, names, table, source, split, checks)
             for source, row in rows)
    yield from told_apart(found) if has_own_ids(columns) else found


def has_own_ids(columns: dict[str, str]) -> bool:
    """Whether ids are made here from recordings and times, so that several may be the same."""
    return "start" in columns and "id" not in columns


def row_candidate(row: dict, columns: dict[str, str], names: dict[str, str], table: Path,
                  source: str, split: str, checks: Checks) -> Candidate | Excluded:
    """The utterance of one row.

    Args:
        row: {column: value}, strings.
        columns: {role: column}.
        names: {path: id} for rows without an id.
        table: the file, whose folder the paths start from.
        source: source of the row, for messages.
        split: where no column says one.
    """
    path = row[columns["audio"]]
    try:
        if not path or "\0" in path:
            raise ValueError(f"the path of the recording is {path!r}")
        offset, duration = segment(row, columns)
        number = channel(row, columns.get("channel"))
    except ValueError as error:
        return Excluded("failed", "", source, str(path)[:200], "corpus.row", f"{source}: {error}.")
    name = names[path]
    identifier = (row.get(columns.get("id", "")) or "").strip() or (
        f"{name}-{offset:.3f}{f'-{number}' * (number > 0)}" if "start" in columns else name)
    split = (row.get(columns.get("split", "")) or "").strip() or split
    return Candidate(split, identifier, checks.locate(table.parent, path),
                     " ".join(row[columns["text"]].split()), source,
                     (row.get(columns.get("speaker", "")) or "").strip(), offset, duration, number,
                     is_part="start" in columns)
