"""Shared by all importers: probe the recordings, keep the usable, count and list the others.

In: candidates, in the order of the corpus. Out: `Imported`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr.audio.probing import Probe, probe_all
from asr.corpora.tables import file_name, found_path
from asr.manifest import Utterance, duration_tolerance

EACH = -1   # of `Checks.channel`: the layout says which channel each utterance is on
SHOWN = 3   # of a kind, in a message
FIRST = 0.001  # seconds, see `_as_part`
OUTCOMES = ("ok", "failed", "too_short", "too_long", "invalid_text")

_SURROGATE = re.compile("[\ud800-\udfff]")
_SPLIT = re.compile(r"[\w+=@][\w.+=@ -]{0,79}")   # becomes the name of a file
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_DAMAGED = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffd]")   # U+FFFD: decoded wrongly once


@dataclass(frozen=True)
class Checks:
    """How recordings are checked while a corpus is imported.

    Args:
        min_seconds, max_seconds: utterances outside are left out, counted and listed.
        num_workers: processes that look at recordings; 0: as many as pay.
        progress: called with (done, total) recordings.
        allow_truncated: take what is left of a cut recording, and count it.
        audio_root: a folder in which paths of a list are looked for as well.
        extract_to: receives recordings that a corpus keeps inside other files.
        channel: in every recording: 1 is the first or left one, 0 the mix of all, `EACH` as the
            layout says.
        replacements: {letters: what is written in their place} for the texts.
        arrange: is given everything that the corpus lists, before recordings are looked at, and
            returns it with other splits; see `asr.corpora.splitting`.
    """

    min_seconds: float = 0.1
    max_seconds: float = 60.0
    num_workers: int = 0
    progress: Callable[[int, int], None] | None = None
    audio_root: Path | None = None
    extract_to: Path | None = None
    channel: int = 0
    allow_truncated: bool = False
    replacements: Mapping[str, str] = field(default_factory=dict)
    arrange: Callable[[list[Candidate | Excluded]], list[Candidate | Excluded]] | None = None

    def locate(self, folder: Path, name: str) -> Path:
        """The recording that a list means by a path: from the list's folder, or `audio_root`."""
        roots = [folder, *([self.audio_root.absolute()] if self.audio_root else []), Path.cwd()]
        places = [root / file_name(name) for root in roots]
        return next((place for place in places if os.path.isfile(found_path(place))), places[0])


@dataclass(frozen=True)
class Candidate:
    """One utterance as listed by the corpus; `source` is the place, such as "text:17".

    `duration` is None for a whole recording, else the seconds from `offset` on. `channel` counts
    from 1; 0 is the mix of all. `is_part` says that the corpus gives start and end: one that begins
    at 0 may end before its recording does.
    """

    split: str
    id: str
    audio: Path
    text: str
    source: str
    speaker: str = ""
    offset: float = 0.0
    duration: float | None = None
    channel: int = 0
    is_part: bool = False


@dataclass(frozen=True)
class Excluded:
    """One utterance that is not in the result, and why.

    Args:
        outcome: one of `OUTCOMES` but "ok".
        code: a dotted name for machines, such as "audio.truncated".
    """

    outcome: str
    id: str
    source: str
    path: str
    code: str
    message: str

    def as_record(self) -> dict:
        """One JSON record: path, stage, code, message, and which utterance it was."""
        return {"path": self.path, "stage": "prepare", "code": self.code,
                "message": self.message, "outcome": self.outcome, "id": self.id,
                "source": self.source}


class LeftAlone(str):
    """A note that files are not taken; its text names the first three, `files` has all."""

    reason: str
    files: list[str]

    def __new__(cls, files: Sequence[str], reason: str):
        """`files` are paths from the folder of the corpus; `reason` ends with what to do."""
        shown = f"{', '.join(files[:SHOWN])}{', ...' if files[SHOWN:] else ''}"
        self = super().__new__(cls, f"Left alone: {len(files):,} ({shown}). The reason: {reason}.")
        self.reason, self.files = reason, list(files)
        return self


class Imported(dict[str, list[Utterance]]):
    """{split: [Utterance]}, and in `excluded` what was left out, in the order of the corpus.

    `notes` has what a person should see, such as the columns that were taken. `columns` has what
    else the corpus says of utterances: {column: {id: value}}, for `asr evaluate --by`.
    """

    def __init__(self, notes: Sequence[str] = ()):
        super().__init__()
        self.excluded: list[Excluded] = []
        self.notes = list(notes)
        self.columns: dict[str, dict[str, str]] = {}
        self.num_cut = 0  # recordings that are cut, of which what is left is used

    @property
    def counts(self) -> dict[str, int]:
        """How many utterances had which outcome; the sum is everything the corpus lists."""
        counted = Counter(item.outcome for item in self.excluded)
        counted["ok"] = sum(map(len, self.values()))
        return {outcome: counted[outcome] for outcome in OUTCOMES}


def collect(items: Iterable[Candidate | Excluded], checks: Checks,
            notes: Sequence[str] = ()) -> Imported:
    """Candidates become utterances; one that cannot is counted and listed.

    A path with the backslashes of Windows is found, too.

    Args:
        items: candidates, and rows that the importer itself had to exclude.
        checks: limits of duration, processes, progress, splits.
        notes: become those of the result; read after all items are there.
    """
    items = [replace(item, audio=found_path(item.audio), channel=item.channel or
                     max(0, checks.channel), text=_written(item.text, checks.replacements))
             if isinstance(item, Candidate) else item for item in items]
    if checks.arrange:
        items = checks.arrange(items)
    paths = dict.fromkeys(item.audio for item in items if isinstance(item, Candidate))
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if checks.progress:
            checks.progress(done, len(paths))

    probes = probe_all(paths, num_workers=checks.num_workers, progress=advance,
                       allow_truncated=checks.allow_truncated)
    prepared, seen, begins = Imported(notes), {}, set()
    prepared.num_cut = sum(probe.cut for probe in probes.values())
    for item in items:
        if isinstance(item, Excluded):
            prepared.excluded.append(item)
            continue
        if _SPLIT.fullmatch(item.split):
            prepared.setdefault(item.split, [])
        result = (_name_fault(item, seen) or _text_fault(item)
                  or _utterance(item, probes[item.audio], checks))
        if isinstance(result, Excluded):
            prepared.excluded.append(result)
        else:
            seen[item.id] = item.source
            prepared[item.split].append(result)
            if item.is_part and not result.offset:
                begins.add(item.id)
    for rows in prepared.values():
        used = Counter(u.audio for u in rows)
        rows[:] = [_as_part(u, probes[u.audio]) if u.id in begins and used[u.audio] == 1 else u
                   for u in rows]
    return prepared


def _as_part(u: Utterance, probe: Probe) -> Utterance:
    """A row without an offset means a whole recording: the only part of one begins 1 ms later."""
    if probe.info and probe.info.duration - u.duration > duration_tolerance(u.duration):
        return replace(u, offset=FIRST, duration=round(u.duration - FIRST, 6))
    return u


def _written(text: str, replacements: Mapping[str, str]) -> str:
    for letters, others in replacements.items():
        text = text.replace(letters, others)
    return text


def told_apart(items: Iterable[Candidate | Excluded]) -> Iterator[Candidate | Excluded]:
    """The same items; ids made from a start get a number where several utterances start there.

    People who talk at once do. A copy, of the same length, text and speaker, keeps its id, so that
    `collect` leaves it out.
    """
    seen: dict[str, list[tuple]] = {}
    for item in items:
        if isinstance(item, Candidate):
            same = seen.setdefault(item.id, [])
            what = (item.split, item.text, item.speaker, item.duration)
            if what not in same:
                same.append(what)
            if number := same.index(what):
                item = replace(item, id=f"{item.id}_{number + 1}")
        yield item


def exclude(item: Candidate, outcome: str, code: str, message: str) -> Excluded:
    """A candidate with the reason why it is left out."""
    return Excluded(outcome, item.id, item.source, str(item.audio), code, message)


def _name_fault(item: Candidate, seen: dict[str, str]) -> Excluded | None:
    if item.id in seen:
        return exclude(item, "failed", "corpus.duplicate_id",
                       f"{item.source}: the id {item.id!r} is already that of {seen[item.id]}.")
    if not _SPLIT.fullmatch(item.split):
        return exclude(item, "failed", "corpus.name", f"{item.source}: the split {item.split!r} "
                       "is no name of a file; use letters and digits.")
    for what, name in (("id", item.id), ("speaker", item.speaker)):
        if _CONTROL.search(name) or _SURROGATE.search(name) or what == "id" and not name:
            return exclude(item, "failed", "corpus.name",
                           f"{item.source}: the {what} {name!r} is empty or holds a character "
                           "that no name can have.")
    return None


def _text_fault(item: Candidate) -> Excluded | None:
    if not item.text.strip():
        return exclude(item, "invalid_text", "text.empty",
                       f"{item.source}: utterance {item.id!r} has no text.")
    damage = _DAMAGED.search(item.text)
    if damage:
        return exclude(item, "invalid_text", "text.character",
                       f"{item.source}: the text of {item.id!r} holds U+{ord(damage[0]):04X}, "
                       "which no transcript should.")
    return None


def _time(value: float) -> str:
    return f"{value:.3f} s" if abs(value) < 1e6 else f"{value:g} s"   # not 300 digits


def _utterance(item: Candidate, probe: Probe, checks: Checks) -> Utterance | Excluded:
    if probe.info is None:
        error = probe.error
        return exclude(item, "failed", error.code if error else "audio",
                       f"{item.source}: {error}")
    if item.channel > probe.info.channels:
        return exclude(item, "failed", "audio.channel",
                       f"{item.source}: channel {item.channel} of {item.audio} is asked for, but "
                       f"it has {probe.info.channels}.")
    whole = probe.info.duration
    duration = whole - item.offset if item.duration is None else item.duration
    tolerance = duration_tolerance(duration)
    if not (item.offset >= 0 and 0 < duration and item.offset + duration <= whole + tolerance):
        return exclude(item, "failed", "corpus.duration",
                       f"{item.source}: utterance {item.id!r} should be {_time(duration)} from "
                       f"{_time(item.offset)} on, but {item.audio} has {_time(whole)}.")
    # The tolerance is not audio; 1.0 - 0.9 is 0.1 s.
    duration = round(min(duration, whole - item.offset), 6)
    if duration < checks.min_seconds:
        return exclude(item, "too_short", "audio.too_short",
                       f"{item.source}: utterance {item.id!r} has {duration:.3f} s, less than "
                       f"{checks.min_seconds} s.")
    if duration > checks.max_seconds:
        return exclude(item, "too_long", "audio.too_long",
                       f"{item.source}: utterance {item.id!r} has {duration:.3f} s, more than "
                       f"{checks.max_seconds} s.")
    return Utterance(item.id, item.audio, item.text.strip(), duration, item.speaker,
                     item.offset, item.channel)
