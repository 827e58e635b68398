"""lhotse manifests: cuts, or recordings with supervisions; .jsonl or .jsonl.gz.

    cuts_train.jsonl.gz
    mini_recordings_dev.jsonl.gz   mini_supervisions_dev.jsonl.gz

Each supervision is one utterance. The rest of a file's name is the split, from the word train, dev,
valid or test on. Paths are taken from the
manifest's folder, from the working directory, or from `--audio-root`. Audio behind commands and
addresses, and features, are not read. Channels count from 0 in lhotse and from 1 here.
Format: https://lhotse.readthedocs.io/en/latest/corpus.html
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect
from asr.corpora.columns import words
from asr.corpora.naming import split_name
from asr.corpora.tables import MAX_TABLE_BYTES
from asr.errors import CorpusError
from asr.manifest.rows import parse_object
from asr.parsing import show

SUMMARY = "lhotse: cuts, or recordings and supervisions (.jsonl, .jsonl.gz)"

_NAME = re.compile(r"(?P<kind>cuts|recordings|supervisions)", re.IGNORECASE)


def prepare(corpus_dir: str | Path, *, checks: Checks | None = None) -> Imported:
    """One split a manifest of cuts, or a pair of recordings and supervisions.

    Args:
        corpus_dir: a manifest of cuts, or a folder.
        checks: limits of duration; `audio_root` is where paths are looked for as well.

    Raises:
        CorpusError: there are no such manifests, or one cannot be read.
    """
    checks = checks or Checks()
    files = _files(Path(corpus_dir).absolute())
    if not files:
        raise CorpusError(f"{corpus_dir} holds neither cuts nor recordings with supervisions; "
                          "expected .jsonl or .jsonl.gz files with these words in their names.",
                          path=corpus_dir)
    items: list[Candidate | Excluded] = []
    for split, path, other in files:
        recordings = None
        if other is not None:
            rows = list(_rows(other))
            recordings = {row["id"]: row for _, row in rows
                          if isinstance(row, dict) and isinstance(row.get("id"), str)}
            items += [Excluded("failed", "", source, "", "corpus.row", f"{source}: {row}")
                      for source, row in rows if isinstance(row, str)]
        for source, row in _rows(path):
            if recordings is None:
                items += _cut(row, split, source, path, checks)
            else:
                items.append(_supervision(row, recordings, split, source, path, checks, 0.0))
    return collect(items, checks)


def looks_like(path: Path) -> bool:
    """Whether there are such manifests."""
    return bool(_files(path))


def _files(path: Path) -> list[tuple[str, Path, Path | None]]:
    """(split, cuts, None) or (split, supervisions, recordings); cuts include the other two.

    Files belong together whose names differ in the kind alone; several may be of one split, as
    train-clean-100 and train-clean-360 are.
    """
    found: dict[tuple[str, str], Path] = {}
    for file in [path] if path.is_file() else sorted(path.glob("*.jsonl*")):
        kind = _NAME.search(file.name)
        if kind and file.name.endswith((".jsonl", ".jsonl.gz")):
            rest = _NAME.sub("", file.name.partition(".jsonl")[0])
            found[rest.strip("-_. "), kind["kind"].lower()] = file
    cuts = {rest for rest, kind in found if kind == "cuts"}
    return [(split_name(rest), file, None if kind == "cuts" else found[rest, "recordings"])
            for (rest, kind), file in found.items()
            if kind == "cuts" or kind == "supervisions" and rest not in cuts
            and (rest, "recordings") in found]


def _rows(path: Path) -> Iterator[tuple[str, dict | str]]:
    try:
        opened = gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb")
        with opened as file:
            data = file.read(MAX_TABLE_BYTES + 1)
        if len(data) > MAX_TABLE_BYTES:
            raise CorpusError(f"{path} has more than {MAX_TABLE_BYTES:,} bytes; expected a list "
                              "of utterances.", path=path)
        lines = data.decode("utf-8-sig").split("\n")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise CorpusError(f"Cannot read {path}: {error}. Copy it again.", path=path) from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield f"{path.name}:{number}", parse_object(line)


def _cut(row: dict | str, split: str, source: str, path: Path, checks: Checks
         ) -> Iterator[Candidate | Excluded]:
    """One candidate a supervision; those of a cut count their times from its start."""
    if isinstance(row, str) or not isinstance(row.get("recording"), dict):
        kind = row if isinstance(row, str) else (
            f"a {row.get('type', 'row')} without a recording; write the cuts again with "
            "cuts.save_audios(...) or as MonoCut")
        yield Excluded("failed", "", source, "", "corpus.row", f"{source}: {kind.rstrip('.')}.")
        return
    supervisions = row.get("supervisions") or []
    recordings = {"": row["recording"]}
    if not supervisions:
        yield Excluded("invalid_text", str(row.get("id", "")), source, "", "text.empty",
                       f"{source}: the cut has no supervision.")
    for supervision in supervisions if isinstance(supervisions, list) else [supervisions]:
        try:
            if not isinstance(supervision, dict):
                raise ValueError(f"a supervision is {show(supervision)}, expected an object")
            shift, start = _number(row, "start"), _number(supervision, "start")
            # What begins before its cut is known from the cut on.
            end = start + _number(supervision, "duration")
            named = supervision | {"recording_id": "", "start": max(0.0, start),
                                   "duration": end - max(0.0, start)}
        except ValueError as error:
            yield Excluded("failed", str(row.get("id", "")), source, "", "corpus.row",
                           f"{source}: {error}.")
            continue
        if len(supervisions) == 1:
            named["id"] = row.get("id", supervision.get("id"))
        if "channel" in row and "channel" not in supervision:
            named["channel"] = row["channel"]
        yield _supervision(named, recordings, split, source, path, checks, shift)


def _supervision(row: dict | str, recordings: dict[str, dict], split: str, source: str,
                 path: Path, checks: Checks, shift: float) -> Candidate | Excluded:
    if isinstance(row, str):
        return Excluded("failed", "", source, "", "corpus.row", f"{source}: {row.rstrip('.')}.")
    try:
        identifier, of, text, speaker = (words(row, key) for key in (
            "id", "recording_id", "text", "speaker"))
        if of not in recordings:
            raise ValueError(f"the recording {of!r} is not in the recordings")
        name, count = _file(recordings[of])
        start, duration = shift + _number(row, "start"), _number(row, "duration")
    except ValueError as error:
        return Excluded("failed", str(row.get("id", "")), source, "", "corpus.row",
                        f"{source}: {error}.")
    channel = row.get("channel", 0)
    channel = channel[0] if isinstance(channel, list) and len(channel) == 1 else channel
    number = channel + 1 if isinstance(channel, int) and count > 1 else 0
    return Candidate(split, identifier, checks.locate(path.parent, name), text, source,
                     speaker, round(start, 6), duration or None, number, is_part=True)


def _file(recording: dict) -> tuple[str, int]:
    """The path of a recording and how many channels it has.

    Raises:
        ValueError: it is not one file, or has to be computed first.
    """
    places = recording.get("sources")
    place = places[0] if isinstance(places, list) and len(places) == 1 else None
    if not isinstance(place, dict) or place.get("type") != "file":
        raise ValueError(f"the recording has the sources {show(places)}, expected one of type "
                         "\"file\"; save the audio first: cuts.save_audios(...)")
    if recording.get("transforms"):
        raise ValueError("the recording has transforms, which are not applied; save it first: "
                         "cuts.save_audios(...)")
    name, channels = words(place, "source"), recording.get("channel_ids") or place.get("channels")
    if not name or "\0" in name:
        raise ValueError(f"the source of the recording is {name!r}, expected a path")
    if not isinstance(channels, list):
        raise ValueError(f"channels of the recording is {show(channels)}, expected a list")
    return name, len(channels)


def _number(row: dict, key: str) -> float:
    value = row.get(key) or 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{key} is {show(value)}, expected seconds")
    return float(value)
