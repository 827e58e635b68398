"""DeepSpeech and Coqui STT: a folder of CSV files, one a split.

    train.csv          wav_filename,wav_filesize,transcript
    clips/a.wav        wav_filename is relative to the CSV's folder, or absolute

wav_filesize sorts by length and is no checksum: a recording of another size is used, with a note.
Format: https://deepspeech.readthedocs.io, "Training Your Own Model". Speakers are not known.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect
from asr.corpora.naming import split_word, unique_names
from asr.corpora.tables import found_path, read_table
from asr.errors import CorpusError

SUMMARY = "DeepSpeech or Coqui CSV (wav_filename, wav_filesize, transcript)"
COLUMNS = ("wav_filename", "wav_filesize", "transcript")


def prepare(corpus_dir: str | Path, *, checks: Checks | None = None) -> Imported:
    """One split a CSV file, named as the file is.

    Args:
        corpus_dir: a CSV file, or a folder of them.
        checks: limits of duration.

    Raises:
        CorpusError: there is no CSV file, or one cannot be read.
    """
    path = Path(corpus_dir).absolute()
    tables = [path] if path.is_file() else sorted(path.glob("*.csv"))
    if not tables:
        raise CorpusError(f"{corpus_dir} is neither a CSV file nor a folder with one; expected "
                          f"columns {', '.join(COLUMNS)}.", path=corpus_dir)
    checks = checks or Checks()
    return collect(_candidates(tables, checks), checks)


def looks_like(path: Path) -> bool:
    """Whether there is a table of this kind."""
    tables = [path] if path.is_file() else sorted(path.glob("*.csv"))[:1]
    return any("wav_filename" in table.read_text("utf-8", errors="replace")[:1_000]
               for table in tables if table.suffix == ".csv")


def _candidates(tables: list[Path], checks: Checks) -> Iterator[Candidate | Excluded]:
    rows = [(table, source, row) for table in tables
            for source, row in read_table(table, COLUMNS, delimiter=",")]
    names = unique_names(row["wav_filename"] for _, _, row in rows if isinstance(row, dict))
    stale: list[str] = []
    for table, source, row in rows:
        if isinstance(row, str):
            yield Excluded("failed", "", source, "", "corpus.row", f"{source}: {row}.")
            continue
        name, size = row["wav_filename"], row["wav_filesize"].strip()
        audio = found_path(checks.locate(table.parent, name))
        reason = _fault(audio, size)
        if reason:
            yield Excluded("failed", names[name], source, str(audio), "corpus.audio",
                           f"{source}: {reason}")
            continue
        with suppress(OSError):  # the disk fails: collect() meets it
            if size and audio.is_file() and audio.stat().st_size != int(size):
                stale.append(f"{source}: {audio} has {audio.stat().st_size:,} bytes, wav_filesize "
                             f"says {int(size):,}")
        yield Candidate(split_word(table.stem), names[name], audio, row["transcript"], source)
    if stale:
        warnings.warn(f"{stale[0]}. It is used, since the size is not needed"
                      f"{f'; so are {len(stale) - 1:,} more like it' if stale[1:] else ''}. If the "
                      "recordings were replaced by mistake, copy them again.", stacklevel=2)


def _fault(audio: Path, size: str) -> str:
    if "\0" in str(audio):
        return "the path holds a NUL character."
    if size and not (size.isascii() and size.isdigit() and len(size) < 20):
        return f"wav_filesize must be a number of bytes, got {size[:80]!r}."
    return ""   # collect() says if it is missing
