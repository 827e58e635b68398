"""Read and write manifests: recordings and their texts, as JSON lines.

In: a manifest, one JSON object a line. Out: a list of `Utterance`, or one `ManifestError` that
lists what is wrong, line by line.

    {"id": "yes_0017", "audio_filepath": "clips/yes_0017.wav", "text": "yes",
     "duration": 0.81, "speaker": "mia", "offset": 0.0, "channel": 2}

The field names are NeMo's, plus `id`, `speaker` and `channel` (from 1; without it, the mix of all).
`audio_filepath` is relative to the manifest's folder and must lead to a file inside that folder,
inside `audio_root`, or inside a folder that this user's `asr prepare` wrote down beside it
(`asr.manifest.roots`): a manifest from another person cannot make this program read /etc/passwd.
"""

from __future__ import annotations

import json
import os
import stat
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from asr.errors import ManifestError, shorten
from asr.files import write_atomic
from asr.manifest.address import Address, is_address
from asr.manifest.rows import (
    AudioFolders,
    Fault,
    parse_line,
    read_lines,
    relative_path,
    row_faults,
)
from asr.parsing import why_unread
from asr.results import current

MAX_PROBLEMS = 50              # read_manifest stops looking after this many
LINES_OF_PROGRESS = 1_000
# Faults of a row that can still be understood, so that its recording is checked as well.
_MILD = frozenset(("manifest.unknown_key", "manifest.duplicate_id"))


def duration_tolerance(duration: float) -> float:
    """Seconds by which a row and its recording may differ: manifests round their durations."""
    return max(0.1, 0.01 * duration)


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording and its reference.

    Args:
        id: unique in its manifest; no control characters.
        audio: absolute path of the recording, or its address.
        text: the reference, as the corpus writes it; not normalised.
        duration: seconds.
        speaker: who speaks; empty when the corpus does not say.
        offset: seconds into the recording at which the utterance begins.
        channel: which one of the recording, 1 is the first or left one; 0: the mix of all.
    """

    id: str
    audio: Path | Address
    text: str
    duration: float
    speaker: str = ""
    offset: float = 0.0
    channel: int = 0


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one row.

    Args:
        path: the manifest.
        line: 1-based; 0 when the whole file is meant.
        id: the utterance, empty when it is not known.
        code: a dotted name for machines, such as "manifest.path_escape".
        message: what was received, what was expected, what to do.
    """

    path: str
    line: int
    id: str
    code: str
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return f"{place}{f' utterance {self.id!r}' if self.id else ''}: {self.message}"


class Findings(list[Problem]):
    """Problems, the first few of each code, and how many there are of each.

    Args:
        per_code: how many of a code are kept; None: all.

    Attributes:
        counts: by code, also of those that are not kept.
    """

    def __init__(self, per_code: int | None = None):
        super().__init__()
        self.per_code = per_code
        self.counts: Counter[str] = Counter()

    def add(self, path: object, line: int, identifier: str, code: str, message: str) -> None:
        """Count a problem, and keep it if it is among the first of its code."""
        self.counts[code] += 1
        if self.per_code is None or self.counts[code] <= self.per_code:
            self.append(Problem(str(path), line, identifier, code, shorten(message)))


class Row(NamedTuple):
    """An utterance and its line."""

    line: int
    utterance: Utterance


def read_manifest(path: str | Path, *, audio_root: str | Path | None = None,
                  allow_outside_root: bool = False) -> list[Utterance]:
    """Read a manifest; no audio file is opened.

    Args:
        path: a JSONL file, UTF-8. A byte order mark and lines that end with CR LF, as editors on
            Windows write them, are read, with a warning.
        audio_root: a folder, besides the manifest's own, that may hold the audio.
        allow_outside_root: accept audio anywhere; for manifests that you wrote yourself.

    Returns:
        The utterances in the order of the file, at least one.

    Raises:
        ManifestError: the file cannot be read or rows are wrong; `problems` lists up to
            `MAX_PROBLEMS` of them with their lines. Nothing is skipped or repaired.
    """
    rows, problems = scan_manifest(path, audio_root=audio_root, limit=MAX_PROBLEMS,
                                   allow_outside_root=allow_outside_root)
    if problems:
        raise _error(Path(path), problems, "no row was used")
    return [row.utterance for row in rows]


def scan_manifest(path: str | Path, *, audio_root: str | Path | None = None,
                  allow_outside_root: bool = False,
                  limit: int | None = None, notes: list[Problem] | None = None,
                  findings: Findings | None = None,
                  progress: Callable[[int, int], None] | None = None,
                  as_path: Callable[[str], Any] = Path) -> tuple[list[Row], Findings]:
    """The rows that can be understood and all problems, for `read_manifest` and `asr validate`.

    A row with an unknown key or a repeated id is among both.

    Args:
        path, audio_root, allow_outside_root: see `read_manifest`.
        limit: stop after this many problems; None looks at every line.
        findings: gets the problems, and is returned; None: a new one, which keeps all of them.
        notes: receives what is unusual and was read (manifest.bom: a byte order mark,
            manifest.crlf: line ends); None: it becomes a warning.
        progress: called with (done, all) bytes, now and then.
        as_path: makes `Utterance.audio` of a path. `str` takes a quarter of the memory of a `Path`,
            for rows that are only looked at.

    Raises:
        ManifestError: the file cannot be opened.
    """
    path = Path(path)
    odd: list[tuple[int, Fault]] = []
    findings = Findings() if findings is None else findings
    folders = AudioFolders(path, audio_root, allow_outside_root)
    result = _scan(path, folders, limit, odd, findings, progress, as_path), findings
    found = [Problem(str(path), line, "", *fault) for line, fault in odd]
    if notes is not None:
        notes += found
    elif found:
        warnings.warn(" ".join(map(str, found)), stacklevel=2)
    return result


def _scan(path: Path, folders: AudioFolders, limit: int | None, odd: list[tuple[int, Fault]],
          problems: Findings, progress: Callable[[int, int], None] | None,
          as_path: Callable[[str], Any]) -> list[Row]:
    rows: list[Row] = []
    first_line: dict[str, int] = {}
    line = 0
    with _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        for line, (raw, faults) in enumerate(read_lines(file, odd), start=1):
            if line == 1 and raw and b"\0" in raw:   # one sentence, not one a line
                problems.add(path, 1, "", "manifest.encoding", "the file holds NUL bytes: it is "
                             "not UTF-8 text but UTF-16, or no text at all. Save it as UTF-8, or "
                             "give a manifest.")
                return []
            if progress and line % LINES_OF_PROGRESS == 0:
                progress(file.tell(), size)
            row, row_problems = ({}, []) if raw is None else parse_line(raw)
            faults = faults + row_problems
            identifier = row.get("id")
            identifier = identifier if isinstance(identifier, str) else ""
            earlier = first_line.setdefault(identifier, line) if identifier else line
            if earlier != line:
                faults.append(("manifest.duplicate_id",
                               f"this id is already that of line {earlier}; make ids unique."))
            if all(code in _MILD for code, _ in faults):
                audio, reason = folders.place(row["audio_filepath"])
                if reason:
                    faults.append(("manifest.path_escape", reason))
                else:
                    rows.append(Row(line, Utterance(
                        identifier, Address(audio) if is_address(audio) else as_path(audio),
                        row["text"], float(row["duration"]),
                        sys.intern(row.get("speaker", "")), float(row.get("offset", 0.0)),
                        row.get("channel", 0))))
            for fault in faults:
                problems.add(path, line, identifier, *fault)
            if limit is not None and len(problems) >= limit:
                del problems[limit:]
                return rows
    if not line:
        problems.add(path, 0, "", "manifest.empty",
                     "the file is empty; a manifest has one JSON object a line.")
    return rows


def write_manifest(path: str | Path, utterances: Iterable[Utterance], *,
                   overwrite: bool = True) -> None:
    """Write a manifest as a whole or not at all, audio paths relative to its folder.

    Args:
        path: the file; its folder must exist.
        utterances: at least one, ids unique.
        overwrite: False makes an existing file an error.

    Raises:
        ManifestError: there is no utterance, `read_manifest` would refuse a row, or the file
            exists and `overwrite` is False. Nothing is written then.
        OSError: the disk is full, or the folder is missing or read-only.
    """
    path = Path(path)
    content = manifest_content(path, utterances)
    try:
        write_atomic(path, content, overwrite=overwrite)
    except FileExistsError as error:
        raise ManifestError(f"{path} exists and was left as it is; allow overwriting, or choose "
                            "another name.", code="manifest.exists", path=path) from error


def manifest_content(path: Path, utterances: Iterable[Utterance]) -> str:
    """What `write_manifest` writes into `path`.

    Raises:
        ManifestError: there is no utterance, or `read_manifest` would refuse a row.
    """
    folder = os.path.realpath(path.parent)
    lines: list[str] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for line, utterance in enumerate(utterances, start=1):
        row = _row(utterance, folder)
        faults = row_faults(row)
        if seen.setdefault(utterance.id, line) != line:
            faults.append(("manifest.duplicate_id",
                           f"row {seen[utterance.id]} has the same id; make ids unique."))
        problems += [Problem(str(path), line, str(utterance.id), *fault) for fault in faults]
        if not faults:
            lines.append(_dump(row))
    if not lines and not problems:
        raise ManifestError(f"{path}: there is no utterance to write; a manifest has at least "
                            "one row.", code="manifest.empty", path=path)
    if problems:
        raise _error(path, problems[:MAX_PROBLEMS], "nothing was written")
    return "\n".join(lines) + "\n"


def _open(path: Path) -> BinaryIO:
    """Open the manifest; refuse a folder, a pipe or a device before it can block."""
    path = current(path)
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ManifestError(f"{path} is not a regular file; expected a JSONL manifest, as "
                                "`asr prepare` writes it.", code="manifest.unreadable", path=path)
        return open(path, "rb")
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        if isinstance(error, ManifestError):
            raise
        raise ManifestError(f"Cannot read the manifest {path}: {why_unread(path, error)}. `asr "
                            "prepare` writes manifests.",
                            code="manifest.unreadable", path=path) from error


def _row(utterance: Utterance, folder: str) -> dict:
    row = {"id": utterance.id, "audio_filepath": relative_path(utterance.audio, folder),
           "text": utterance.text, "duration": utterance.duration,
           "speaker": utterance.speaker, "offset": utterance.offset}
    return row | {"channel": utterance.channel} if utterance.channel else row


def _dump(row: dict) -> str:
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a file name that is not UTF-8, as os.fsdecode writes it
        return json.dumps(row)
    return text


def _error(path: Path, problems: list[Problem], consequence: str) -> ManifestError:
    """One exception for all problems; its code is theirs if they agree."""
    codes = {problem.code for problem in problems}
    more = f" The first {MAX_PROBLEMS} are listed." if len(problems) >= MAX_PROBLEMS else ""
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    if len(problems) == 1:
        message = f"{problems[0]} ({consequence[0].upper()}{consequence[1:]}.)"
    else:
        message = "\n  ".join([f"{path} has {count}; {consequence}.{more}", *map(str, problems)])
    return ManifestError(message, code=codes.pop() if len(codes) == 1 else "manifest",
                         path=path, problems=tuple(problems))
