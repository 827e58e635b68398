"""Kaldi data directories, one split each; speechocean762 is one.

    train/wav.scp      {recording or utterance id} {path}
    train/text         {utterance id} {words}
    train/utt2spk      {utterance id} {speaker}                          optional
    train/segments     {utterance id} {recording id} {start s} {end s}   optional
    train/spk2age, spk2gender, utt2lang ...   {speaker or utterance id} {value}   optional

Paths are taken from the data directory's parent, then from the data directory itself, then from
`--audio-root`. A command (`sox ... |`) is never run, it is listed as failed; so is an archive
(`foo.ark:17`). What is known of speakers and utterances becomes columns, see
`asr.corpora.collect.Imported`.
Format: https://kaldi-asr.org/doc/data_prep.html
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from asr.corpora.collect import Candidate, Checks, Excluded, Imported, collect
from asr.corpora.splitting import every_nth
from asr.corpora.tables import corpus_folder, file_name, read_lines
from asr.errors import CorpusError
from asr.parsing import number_of

SUMMARY = "Kaldi data directory (wav.scp, text, utt2spk, segments), such as speechocean762"

AUDIO_BESIDE = True   # a data directory may name recordings in folders beside it

_ABOUT = re.compile(r"(spk|utt)2([a-z]\w*)")
_NOT_ABOUT = ("spk2utt", "utt2spk", "utt2dur", "utt2num_frames", "utt2max_frames_diff")

_ARCHIVE = re.compile(r".*\.ark:\d+(\[.*\])?")


def prepare(corpus_dir: str | Path, *, dev_every: int = 0,
            checks: Checks | None = None) -> Imported:
    """One split a data directory, named as the directory is.

    Args:
        corpus_dir: a data directory (it holds wav.scp), or a folder of several.
        dev_every: every n-th speaker of `train`, in sorted order and starting with the
            first, goes to `dev` with all its utterances; 0: no dev split.
        checks: limits of duration.

    Raises:
        CorpusError: there is no data directory, or a list in it cannot be read.
        UsageError: a dev split is asked for where there is one, or speakers are unknown.
    """
    folder = corpus_folder(corpus_dir, "a Kaldi data directory, or a folder of them")
    is_one = (folder / "wav.scp").is_file()
    splits = [folder] if is_one else sorted(path.parent for path in folder.glob("*/wav.scp"))
    if not splits:
        raise CorpusError(f"Neither {folder} nor a folder in it holds wav.scp; expected a Kaldi "
                          "data directory.", path=folder)
    checks = checks or Checks()
    items = [item for split in splits for item in _candidates(split, checks)]
    prepared = collect(every_nth(items, dev_every, by="speaker"), checks)
    for split in splits:
        _add_columns(split, prepared)
    return prepared


def looks_like(path: Path) -> bool:
    """Whether the folder is a data directory, or has some."""
    return any(path.glob("wav.scp")) or any(path.glob("*/wav.scp"))


class _Segment(NamedTuple):
    recording: str
    offset: float            # seconds
    duration: float | None   # seconds; None: to the end of the recording


def _candidates(folder: Path, checks: Checks) -> Iterator[Candidate | Excluded]:
    recordings = _pairs(folder / "wav.scp")
    speakers = _pairs(folder / "utt2spk") if (folder / "utt2spk").is_file() else {}
    segments = _segments(folder / "segments") if (folder / "segments").is_file() else None
    texts = _pairs(folder / "text")
    located: dict[str, Path | str] = {}
    for identifier, (source, text) in texts.items():
        source = f"{folder.name}/{source}"
        segment = _Segment(identifier, 0.0, None)
        if segments is not None:
            segment = segments.get(identifier, f"{source}: {identifier!r} is not in segments.")
        if isinstance(segment, str):
            yield Excluded("failed", identifier, source, "", "corpus.segment", segment)
            continue
        if segment.recording not in located:
            entry = recordings.get(segment.recording)
            located[segment.recording] = (_locate(folder, entry[1], checks) if entry else
                                          f"{segment.recording!r} is not in wav.scp.")
        audio = located[segment.recording]
        if isinstance(audio, str):
            yield Excluded("failed", identifier, source, "", "corpus.audio", f"{source}: {audio}")
        else:
            yield Candidate(folder.name, identifier, audio, text, source,
                            speakers.get(identifier, ("", ""))[1].strip(), segment.offset,
                            segment.duration, is_part=segments is not None)
    for identifier in (segments if segments is not None else recordings):
        if identifier not in texts:
            yield Excluded("invalid_text", identifier, f"{folder.name}/text", "", "text.empty",
                           f"{folder.name}/text: there is no line for {identifier!r}.")


def _add_columns(folder: Path, prepared: Imported) -> None:
    """What the lists `spk2...` and `utt2...` of a data directory say, by utterance."""
    listed = _pairs(folder / "text").keys()
    chosen = [u for found in prepared.values() for u in found if u.id in listed]
    for path in sorted(folder.glob("*2*")):
        match = _ABOUT.fullmatch(path.name)
        if match is None or path.name in _NOT_ABOUT or not path.is_file():
            continue
        values = _pairs(path)
        for utterance in chosen:
            key = utterance.speaker if match[1] == "spk" else utterance.id
            if value := values.get(key, ("", ""))[1]:
                prepared.columns.setdefault(match[2], {})[utterance.id] = value


def _pairs(path: Path) -> dict[str, tuple[str, str]]:
    """{first word: (source, rest of the line)}; Kaldi requires the first word to be unique."""
    pairs: dict[str, tuple[str, str]] = {}
    for source, line in read_lines(path):
        identifier, _, rest = line.strip().replace("\t", " ", 1).partition(" ")
        if identifier in pairs:
            raise CorpusError(f"{path}: {identifier!r} is on two lines ({pairs[identifier][0]} "
                              f"and {source}); run Kaldi's utils/fix_data_dir.sh.", path=path)
        pairs[identifier] = (source, rest.strip())
    return pairs


def _segments(path: Path) -> dict[str, _Segment | str]:
    segments: dict[str, _Segment | str] = {}
    for identifier, (source, rest) in _pairs(path).items():
        try:
            recording, start, end = rest.split()
            offset, stop = number_of(start), number_of(end)
        except ValueError:
            segments[identifier] = f"{source}: expected recording, start and end, got {rest!r}."
            continue
        to_the_end = stop == -1   # Kaldi's way to say so
        if not (0 <= offset and (to_the_end or offset < stop)):
            segments[identifier] = f"{source}: {start} to {end} is no stretch of time."
            continue
        segments[identifier] = _Segment(recording, offset,
                                        None if to_the_end else stop - offset)
    return segments


def _locate(folder: Path, entry: str, checks: Checks) -> Path | str:
    """The recording that an entry of wav.scp means, or why there is none."""
    if entry.endswith("|") or entry.startswith("|"):
        return (f"wav.scp names a command, {entry[:80]!r}, which is not run; write the recording "
                "to a file and name that.")
    if _ARCHIVE.fullmatch(entry) or entry in ("", "-") or "\0" in entry:
        return f"wav.scp names {entry[:80]!r}, expected the path of a recording."
    for base in (folder.parent, folder):
        if os.path.isfile(base / file_name(entry)):   # no error of the disk: collect() meets it
            return base / file_name(entry)
    return checks.locate(folder.parent, entry)   # collect() says if it is missing
