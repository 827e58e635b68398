"""WebDataset: tar shards in which files of one key belong together.

    train-000000.tar    0001.flac  0001.txt        or 0001.json {"text": "...", "speaker": "anna"}
    train-000001.tar    0002.flac  0002.txt

The name of a shard without its numbers is the split, from the word train, dev, valid or test on.
Recordings are written to OUT/audio as they are, or stay in the shards: --recordings leave. `asr
shard` writes such shards. Links and paths in a shard lead nowhere. Format:
https://github.com/webdataset/webdataset
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from asr.audio.source import is_recording
from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect
from asr.corpora.columns import text_and_speaker
from asr.corpora.extracting import MAX_RECORDING_BYTES, write_recording
from asr.corpora.naming import split_name
from asr.errors import CorpusError, UsageError
from asr.manifest.rows import parse_object

SUMMARY = "WebDataset: tar shards with audio and .txt or .json of the same key"
SUFFIXES = (".tar", ".tar.gz", ".tgz")
PLACES = ("copy", "leave")

_MAX_TEXT_BYTES = 1 << 20


def prepare(corpus_dir: str | Path, *, recordings: str = "copy",
            checks: Checks | None = None) -> Imported:
    """One split a set of shards.

    Args:
        corpus_dir: a shard, or a folder of them.
        recordings: "copy" them to files of their own (the default), or "leave" them in the shards,
            which must not be compressed.
        checks: limits of duration; `extract_to` receives the recordings.

    Raises:
        CorpusError: there is no shard, one is no tar file, or recordings are to stay in one that
            is compressed.
        UsageError: `recordings` is something else.
    """
    checks = checks or Checks()
    if recordings not in PLACES:
        raise UsageError(f"--recordings is {recordings!r}; choose one of {', '.join(PLACES)}.")
    shards = _shards(Path(corpus_dir).absolute())
    if not shards:
        raise CorpusError(f"{corpus_dir} holds no .tar file; expected shards of WebDataset.",
                          path=corpus_dir)
    packed = [shard for shard in shards if not shard.name.endswith(SUFFIXES[0])]
    if recordings == "leave" and packed:
        raise CorpusError(f"{packed[0]} is compressed, so its recordings cannot be read in place. "
                          f"Unpack it (gunzip {packed[0].name}), or leave out --recordings.",
                          path=packed[0])
    leave = recordings == "leave"
    return collect([item for shard in shards for item in _candidates(shard, checks, leave)],
                   checks)


def looks_like(path: Path) -> bool:
    """Whether there are shards."""
    return bool(_shards(path))


def _shards(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.name.endswith(SUFFIXES) else []
    return sorted(p for p in path.glob("*") if p.name.endswith(SUFFIXES) and p.is_file())


def _candidates(shard: Path, checks: Checks, leave: bool) -> Iterator[Candidate | Excluded]:
    key, parts = "", {}   # of an utterance: {suffix: content, or where a recording is}
    try:
        with tarfile.open(shard) as archive:
            for member in archive:
                if not member.isfile() or PurePosixPath(member.name).name.startswith("."):
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, suffix = name.partition(".")
                this = f"{folder}/{stem}" if folder else stem
                if parts and this != key:
                    yield from _utterance(shard, key, parts, checks)
                    parts = {}
                key = this
                if leave and is_recording(f"x.{suffix}"):
                    parts[suffix.lower()] = Path(f"{shard}/{member.name}")  # never out of it
                    continue
                limit = MAX_RECORDING_BYTES if is_recording(f"x.{suffix}") else _MAX_TEXT_BYTES
                file = archive.extractfile(member)
                if file is not None and member.size <= limit:
                    parts[suffix.lower()] = file.read(limit)
        if parts:
            yield from _utterance(shard, key, parts, checks)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CorpusError(f"{shard} cannot be read as a tar file: {error}. Copy it again.",
                          path=shard) from error


def _utterance(shard: Path, key: str, parts: dict[str, Any], checks: Checks
               ) -> Iterator[Candidate | Excluded]:
    source = f"{shard.name}:{key}"
    kind = next((suffix for suffix in parts if is_recording(f"x.{suffix}")), None)
    if kind is None:
        yield Excluded("failed", key, source, "", "audio.missing",
                       f"{source}: no recording among {', '.join(sorted(parts))}.")
        return
    row: dict = {}
    try:
        if "json" in parts:
            found = parse_object(parts["json"].decode("utf-8-sig"))
            if isinstance(found, str):
                yield Excluded("failed", key, source, "", "corpus.row", f"{source}: {found}")
                return
            row = found
        beside = next((parts[name] for name in ("txt", "text", "lab", "transcript")
                       if name in parts), None)
        text, speaker = text_and_speaker(row if beside is None else {"text": None} | row)
        if not text and beside is not None:
            text = beside.decode("utf-8-sig")
    except UnicodeDecodeError:
        yield Excluded("invalid_text", key, source, "", "text.encoding",
                       f"{source}: the text is not UTF-8.")
        return
    except ValueError as error:
        yield Excluded("failed", key, source, "", "corpus.row", f"{source}: {error}.")
        return
    place = parts[kind]
    if isinstance(place, bytes):
        place = write_recording(checks, f"{shard.name.partition('.')[0]}/{key}", f".{kind}", place)
    yield Candidate(split_name(shard.name.partition(".")[0]), key, place, " ".join(text.split()),
                    source, speaker or "")
