"""Hugging Face data sets on disk: an audiofolder with metadata, or parquet with audio inside.

    train/metadata.csv (or .jsonl)     file_name, transcription; paths from this folder
    train/a.wav
    data/train-00000-of-00001.parquet  audio {bytes, path}, sentence

The columns are found by the usual names and shown. Audio inside parquet is written to OUT/audio as
it is, without decoding; reading parquet needs pyarrow (pip install "keras-asr[parquet]").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect, told_apart
from asr.corpora.columns import Taken, guess_columns, words
from asr.corpora.csv import has_own_ids, row_candidate
from asr.corpora.extracting import write_recording
from asr.corpora.naming import split_name, unique_names
from asr.corpora.tables import corpus_folder, read_lines, read_table
from asr.errors import CorpusError, DataError
from asr.manifest.rows import parse_object

SUMMARY = "Hugging Face on disk: audiofolder with metadata.csv/.jsonl, or parquet files"

_OF_PARQUET = ("audio", "text", "id", "speaker", "split")
_METADATA = ("metadata.csv", "metadata.jsonl")


def prepare(corpus_dir: str | Path, *, columns: tuple[str, ...] = (),
            checks: Checks | None = None) -> Imported:
    """One split a folder with metadata, or a group of parquet files.

    Args:
        corpus_dir: the folder of the data set.
        columns: "role=column" for what the names do not tell.
        checks: limits of duration; `extract_to` receives audio of parquet files.

    Raises:
        CorpusError: there is neither metadata nor parquet, or pyarrow is missing.
        UsageError: it is not clear which column holds the recordings or the texts.
    """
    checks, taken = checks or Checks(), Taken()
    folder = corpus_folder(corpus_dir, "a folder with metadata.csv, metadata.jsonl or parquet")
    tables, shards = _files(folder)
    if not tables and not shards:
        raise CorpusError(f"{corpus_dir} holds neither metadata.csv, metadata.jsonl nor a parquet "
                          "file; expected a data set as Hugging Face stores it.", path=corpus_dir)
    items: list[Candidate | Excluded] = []
    for table in tables:
        items += _of_metadata(table, folder, columns, checks, taken)
    for shard in shards:
        items += _of_parquet(shard, columns, checks, taken)
    return collect(items, checks, taken.notes())


def looks_like(path: Path) -> bool:
    """Whether the folder has this layout."""
    return path.is_dir() and any(_files(path))


def _files(folder: Path) -> tuple[list[Path], list[Path]]:
    tables = sorted(p for name in _METADATA for p in folder.rglob(name))
    # LJSpeech has a metadata.csv, too: without header, and with | between.
    tables = [p for p in tables if p.suffix == ".jsonl" or "file_name" in p.read_text(
        "utf-8", errors="replace")[:1_000].split("\n")[0]]
    return tables, sorted(folder.rglob("*.parquet"))


def _of_metadata(table: Path, folder: Path, given: tuple[str, ...], checks: Checks,
                 taken: Taken) -> Iterator[Candidate | Excluded]:
    if table.suffix == ".csv":
        rows = list(read_table(table, ("file_name",), delimiter=","))
    else:
        rows = [(source, parse_object(line)) for source, line in read_lines(table)]
    keys = dict.fromkeys(key for _, row in rows if isinstance(row, dict) for key in row)
    columns = guess_columns({"file_name": "", **keys}, ("audio=file_name", *given),
                            str(table.relative_to(folder)), ["text"] if keys else ())
    taken.add(str(table.relative_to(folder)), columns)
    split = "train" if table.parent == folder else table.parent.name
    rows = [(source, _in_words(row, columns.values())) for source, row in rows]
    names = unique_names(row["file_name"] for _, row in rows if isinstance(row, dict))
    found = (Excluded("failed", "", source, "", "corpus.row", f"{source}: {row.rstrip('.')}.")
             if isinstance(row, str) else
             row_candidate(row, columns, names, table, source, split, checks)
             for source, row in rows)
    yield from told_apart(found) if has_own_ids(columns) else found


def _in_words(row: dict | str, columns: Iterable[str]) -> dict[str, str] | str:
    """The columns of a row that are used, or what is wrong with it."""
    try:
        return row if isinstance(row, str) else {name: words(row, name) for name in columns}
    except ValueError as error:
        return str(error)


def _of_parquet(shard: Path, given: tuple[str, ...], checks: Checks, taken: Taken
                ) -> Iterator[Candidate | Excluded]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise CorpusError(f"Reading {shard.name} needs pyarrow: pip install "
                          "'keras-asr[parquet]'.", code="corpus.no_pyarrow", path=shard) from error
    try:
        file = ParquetFile(shard)
        # Start and end would be times of the source that the clip was cut from.
        columns = {role: name for role, name in guess_columns(
            file.schema_arrow.names, given, shard.name).items() if role in _OF_PARQUET}
        taken.add(shard.name, columns)
        number = 0
        for batch in file.iter_batches(batch_size=64, columns=list(columns.values())):
            for row in batch.to_pylist():
                number += 1
                yield _parquet_row(row, columns, shard, f"{shard.name}:{number}", number, checks)
    except (ArrowException, OSError) as error:
        raise CorpusError(f"{shard} cannot be read as parquet: {str(error)[:200]}. Download it "
                          "again.", path=shard) from error


def _parquet_row(row: dict, columns: dict[str, str], shard: Path, source: str, number: int,
                 checks: Checks) -> Candidate | Excluded:
    audio = row.get(columns["audio"])
    path = audio.get("path") if isinstance(audio, dict) else audio
    data = audio.get("bytes") if isinstance(audio, dict) else None
    name = f"{shard.stem}-{number:06d}"
    try:
        split, own, text, speaker = (words(row, columns.get(role))
                                     for role in ("split", "id", "text", "speaker"))
    except ValueError as error:
        return Excluded("failed", name, source, "", "corpus.row", f"{source}: {error}.")
    name = own or name
    try:
        if data:
            place = write_recording(checks, f"{shard.stem}/{number:06d}", Path(str(path)).suffix,
                                    data)
        elif isinstance(path, str) and path and "\0" not in path:
            place = checks.locate(shard.parent, path)
        else:
            raise DataError(f"{source}: neither audio bytes nor a path.", code="corpus.audio")
    except DataError as error:
        return Excluded("failed", name, source, "", error.code, error.message)
    return Candidate(split or split_name(shard.stem), name, place, text, source, speaker)


