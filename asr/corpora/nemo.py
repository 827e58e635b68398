"""NeMo manifests: JSON lines, as NeMo, lhotse exports and the rhasspy voices write them.

    {"audio_filepath": "audio/a.wav", "text": "...", "duration": 3.2, "speaker": "kathleen"}

`audio_filepath` is relative to the manifest's folder, or absolute. `duration` and `offset` say
which part of the recording is meant; all keys but `audio_filepath` and `text` may be missing.
Further keys are ignored. Format: NeMo's documentation, "Preparing Custom ASR Data".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect
from asr.corpora.columns import words
from asr.corpora.naming import split_word, unique_names
from asr.corpora.tables import read_lines
from asr.errors import CorpusError
from asr.manifest.rows import parse_object
from asr.parsing import show

SUMMARY = "NeMo manifest (JSON lines with audio_filepath, text, duration)"

_SUFFIXES = (".jsonl", ".json")


def prepare(corpus_dir: str | Path, *, checks: Checks | None = None) -> Imported:
    """One split a manifest, named as the file is without "manifest"; a lone one is `train`.

    Args:
        corpus_dir: a manifest, or a folder of them.
        checks: limits of duration.

    Raises:
        CorpusError: there is no manifest, or one cannot be read.
    """
    path = Path(corpus_dir).absolute()
    manifests = [path] if path.is_file() else sorted(
        p for p in path.glob("*") if p.suffix in _SUFFIXES and p.is_file())
    if not manifests:
        raise CorpusError(f"{corpus_dir} is neither a manifest nor a folder with one; expected a "
                          "file of JSON lines, .jsonl or .json.", path=corpus_dir)
    checks = checks or Checks()
    return collect(_candidates(manifests, checks), checks)


def looks_like(path: Path) -> bool:
    """Whether there is a manifest of this kind."""
    return bool(path.is_file() and path.suffix in _SUFFIXES and _is_nemo(path)) or any(
        p.suffix in _SUFFIXES and p.is_file() and _is_nemo(p) for p in sorted(path.glob("*"))[:100])


def _is_nemo(path: Path) -> bool:
    with open(path, "rb") as file:
        return b'"audio_filepath"' in file.read(4_096)


def _candidates(manifests: list[Path], checks: Checks) -> Iterator[Candidate | Excluded]:
    rows = [(manifest, source, _row(line)) for manifest in manifests
            for source, line in read_lines(manifest)]
    names = unique_names(row["audio_filepath"] for _, _, row in rows if isinstance(row, dict))
    for manifest, source, row in rows:
        if isinstance(row, str):
            yield Excluded("failed", "", source, "", "corpus.row", f"{source}: {row}")
            continue
        offset = float(row.get("offset") or 0.0)
        name = names[row["audio_filepath"]]
        identifier = row["id"] or (f"{name}-{offset:.3f}" if "offset" in row else name)
        declared = row.get("duration")
        split = "train" if len(manifests) == 1 else _split_name(manifest)
        yield Candidate(split, identifier, checks.locate(manifest.parent, row["audio_filepath"]),
                        row["text"], source, row["speaker"], offset,
                        None if declared is None else float(declared))


def _split_name(manifest: Path) -> str:
    return split_word(re.sub(r"^manifest[_.-]|[_.-]manifest$", "", manifest.stem))


def _row(line: str) -> dict | str:
    """A row with checked types, or what is wrong with it."""
    row = parse_object(line)
    if isinstance(row, str):
        return row
    for key in ("audio_filepath", "text"):
        if not isinstance(row.get(key), str):
            return f"{key} must be a string, got {show(row.get(key))}."
    if not row["audio_filepath"] or "\0" in row["audio_filepath"]:
        return "audio_filepath is empty or holds a NUL character."
    for key in ("duration", "offset"):
        value = row.get(key, 0.0)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))
                                  or not 0 <= value < math.inf):
            return f"{key} must be a number of seconds, got {show(value)}."
    try:
        return row | {key: words(row, key) for key in ("id", "speaker")}
    except ValueError as error:
        return f"{error}."
