"""Audit data and results: leaks between splits, wrong references, invented words.

In: manifests, and a recogniser where references are to be doubted. Out: an `Audit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from asr.audio import probing
from asr.audit.fingerprint import Print, find_copies, fingerprints
from asr.audit.validate import SILENT, validate
from asr.errors import ManifestError
from asr.manifest import Problem, Utterance, scan_manifest
from asr.terminal import plural

if TYPE_CHECKING:
    from asr.audit.suspects import Suspect

SUSPECT_SHARE = 0.05
"""Share of the utterances that is listed, the most doubtful ones: where 2 % of the references were
swapped on purpose, nine of ten of those are in it."""


class AuditSpread(NamedTuple):
    """What does the work of `find_leaks` elsewhere, such as `asr.fleet.audit.spread_on`.

    `probes` is that of `asr.audio.probing.probe_all`, `prints` that of
    `asr.audit.fingerprint.fingerprints`.
    """

    probes: probing.Spread
    prints: Callable[[bool, Iterable[tuple[Utterance, bool]]], Iterable[Print]]


@dataclass
class Audit:
    """What was found.

    `leaks` make a result on the later manifest worthless, `notes` are worth knowing (shared
    sentences, recordings twice in one manifest), `suspects` are all utterances, the most doubtful
    reference first, and `silence` is words per minute without speech. `silent` are recordings
    without sound that have a text.
    """

    leaks: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    suspects: list[Suspect] = field(default_factory=list)
    silence: dict[str, float] = field(default_factory=dict)
    silent: list[Problem] = field(default_factory=list)

    @property
    def listed(self) -> list[Suspect]:
        """The suspects worth listening to: the first 5 %, at least one."""
        return self.suspects[:max(1, round(SUSPECT_SHARE * len(self.suspects)))]

    def to_dict(self) -> dict:
        """JSON-ready."""
        return {"leaks": [vars(problem) for problem in self.leaks],
                "silent": [vars(problem) for problem in self.silent],
                "notes": [vars(problem) for problem in self.notes],
                "suspects": [suspect.to_dict() for suspect in self.listed],
                "words_per_minute_without_speech": self.silence}


def find_leaks(manifests: Sequence[str | Path], *, audio_root: str | Path | None = None,
               allow_outside_root: bool = False, shared_speakers: bool = False,
               fingerprint: bool = True, allow_truncated: bool = False,
               progress: Callable[[int, int], None] | None = None,
               spread: AuditSpread | None = None) -> Audit:
    """Find what several manifests share, also where file hashes differ.

    Args:
        manifests: training set first, test set last.
        audio_root, allow_outside_root: see `asr.manifest.read_manifest`.
        shared_speakers: a speaker in two manifests is a note, not a leak.
        fingerprint: also look for re-encoded, louder, cut or padded copies, and for silence that
            has a text; reads all audio.
        allow_truncated: see `asr.audio.load_audio`.
        progress: called with (done, total) recordings.
        spread: reads the recordings elsewhere; None: here.

    Raises:
        ManifestError: a manifest that cannot be read.
    """
    report = validate(manifests, audio_root=audio_root, allow_outside_root=allow_outside_root,
                      shared_speakers=shared_speakers, allow_truncated=allow_truncated,
                      spread=spread and spread.probes)
    unreadable = [problem for problem in report.problems if problem.code.startswith("manifest.")]
    if unreadable:
        raise ManifestError(str(unreadable[0]), code=unreadable[0].code)
    audit = Audit([problem for problem in report.problems if problem.code.startswith("split.")],
                  [problem for problem in report.notes if problem.code.startswith("split.")])
    if fingerprint:
        _add_copies(audit, manifests, audio_root, allow_outside_root, allow_truncated, progress,
                    spread)
    return audit


def _add_copies(audit: Audit, manifests: Sequence[str | Path], audio_root: str | Path | None,
                allow_outside_root: bool, allow_truncated: bool,
                progress: Callable[[int, int], None] | None, spread: AuditSpread | None) -> None:
    """Add the copies that `find_shared` did not report by their hash, and silence with a text."""
    rows = [(str(path), row) for path in dict.fromkeys(map(str, manifests))
            for row in scan_manifest(path, audio_root=audio_root,
                                     allow_outside_root=allow_outside_root)[0]]
    known = {(problem.path, problem.line) for problem in audit.leaks
             if problem.code == "split.audio"}
    utterances = [row.utterance for _, row in rows]
    prints = fingerprints(utterances, progress, allow_truncated=allow_truncated,
                          spread=spread and spread.prints)
    for index in prints.silent:
        path, row = rows[index]
        if row.utterance.text.strip():
            audit.silent.append(Problem(path, row.line, row.utterance.id, *SILENT))
    for copy in find_copies(utterances, prints, allow_truncated=allow_truncated):
        (before, first), (path, row) = rows[copy.first], rows[copy.second]
        if (path, row.line) in known:
            continue
        across = before != path
        message = (f"the recording sounds like {before}:{first.line} utterance "
                   f"{first.utterance.id!r} (correlation {copy.similarity:.2f}): a copy, "
                   f"perhaps encoded again. {'Keep it in one split.' if across else 'Keep one.'}")
        (audit.leaks if across else audit.notes).append(
            Problem(path, row.line, row.utterance.id, "split.copy" if across else "audio.copy",
                    message))
    if prints.failed:
        audit.notes.append(Problem(str(manifests[0]), 0, "", "audio.unreadable",
                                   f"{plural(len(prints.failed), 'recording')} could not be read, "
                                   f"among them {prints.failed[0]!r}; `asr validate` says why."))
