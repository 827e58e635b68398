"""One process that extracts features: recordings in, one shard a task out.

In: JSON lines on stdin (a configuration, then tasks). Out: JSON lines on stdout (progress, one
answer a task) and shards on disk. Imports NumPy, soundfile, soxr and librosa: no TensorFlow,
nothing of the calling program. `asr.data.extraction` starts it; `run_task` also serves small jobs
inside the calling process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr.audio import load_audio
from asr.audio.decoder import TRUNCATED
from asr.audio.tar import on_disk
from asr.audio.unchanged import stat_fingerprint
from asr.augment import change_speed
from asr.data.shards import write_shard
from asr.errors import AudioError, InputWarning
from asr.features import FeatureExtractor
from asr.files import failpoint
from asr.manifest.address import Address, is_address
from asr.recipe import FeatureSettings

REPORT_SECONDS = 0.2  # between two messages of progress


@dataclass(frozen=True)
class Cut:
    """One stretch of audio, at one or more speeds.

    Args:
        path: path of the recording.
        offset, duration: seconds; the part that is wanted.
        fingerprint: fingerprint of the file when it was hashed; it must still be the same.
        outputs: (key, speed) of each feature array.
        name: the utterance, for messages.
        channel: channel of the recording, see `asr.audio.load_audio`.
    """

    path: str
    offset: float
    duration: float
    fingerprint: tuple[int, ...]
    outputs: tuple[tuple[str, float], ...]
    name: str
    channel: int = 0


@dataclass(frozen=True)
class Shared:
    """What all tasks share: the features, the folder or address, the accepted lengths in seconds.

    `allow_truncated` is that of `load_audio`.
    """

    settings: FeatureSettings
    folder: str
    min_seconds: float | None
    max_seconds: float | None
    allow_truncated: bool = False


def run_task(config: Shared, jobs: list[Cut], report: Callable[[int, float], None]) -> list[dict]:
    """Make the features of some jobs and write them as one shard.

    Args:
        config: see `Shared`.
        jobs: in the order in which they are written.
        report: called with the arrays and the seconds of audio done since the last call.

    Returns:
        One record a job that failed: path, stage, code, message, keys.

    Raises:
        OSError: the shard cannot be written.
    """
    extractor = FeatureExtractor(config.settings)
    records, failed = [], []
    for job in jobs:
        try:
            audio, cut = _load_noting_cuts(job, config)
            made = []
            for key, speed in job.outputs:
                changed = change_speed(audio, speed)
                made.append((key, extractor.extract(changed), len(changed), cut))
            records += made
        except AudioError as error:
            failed.append({**error.as_record("features"), "path": job.path,
                           "keys": [key for key, _ in job.outputs]})
        failpoint("features.worker")
        report(len(job.outputs), sum(job.duration / speed for _, speed in job.outputs))
    if records:
        write_shard(Address(config.folder) if is_address(config.folder) else Path(config.folder),
                    records)
    return failed


def _load_noting_cuts(job: Cut, config: Shared) -> tuple[np.ndarray, bool]:
    """The samples, and whether they are what is left of a cut recording."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", InputWarning)
        audio = _load(job, config)
    for one in said:
        warnings.warn(one.message, stacklevel=2)  # type: ignore[arg-type]
    return audio, any(getattr(one.message, "code", "") == TRUNCATED for one in said)


def _load(job: Cut, config: Shared) -> np.ndarray:
    """The samples, from a file that is the same before and after as when it was hashed."""
    def check() -> None:
        if not job.fingerprint:  # an address; its bytes come in one piece
            return
        try:
            same = stat_fingerprint(os.stat(on_disk(job.path))) == tuple(job.fingerprint)
        except OSError:
            same = False
        if not same:
            raise AudioError(f"{job.path} changed while features were made of it. Do not write "
                             "to recordings while they are read.", code="audio.changed",
                             path=job.path)

    check()
    audio = load_audio(job.path, sample_rate=config.settings.sample_rate, offset=job.offset,
                       duration=job.duration, snap_to_end=True, min_seconds=config.min_seconds,
                       max_seconds=config.max_seconds, channel=job.channel,
                       allow_truncated=config.allow_truncated)
    check()
    return audio


def main() -> None:
    """Serve one parent until it closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    # Whatever a library prints must not get between our lines.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def send(message: dict) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    def note(message, *_, **__) -> None:
        if isinstance(message, InputWarning):
            send({"note": str(message), "code": message.code})

    warnings.simplefilter("always", InputWarning)
    warnings.showwarning = note
    first = json.loads(sys.stdin.readline())
    config = Shared(**{**first, "settings": FeatureSettings(**first["settings"])})
    for line in sys.stdin:
        jobs = [Cut(**job) for job in json.loads(line)]
        try:
            failed = run_task(config, jobs, _Throttle(send))
        except OSError as error:
            send({"fatal": error.strerror or str(error)})
            return
        send({"failed": failed})


class _Throttle:
    """Adds progress up and sends it now and then."""

    def __init__(self, send: Callable[[dict[str, Any]], None]):
        self.send, self.count, self.seconds, self.last = send, 0, 0.0, time.monotonic()

    def __call__(self, count: int, seconds: float) -> None:
        self.count += count
        self.seconds += seconds
        now = time.monotonic()
        if now - self.last >= REPORT_SECONDS:
            self.send({"count": self.count, "seconds": self.seconds})
            self.count, self.seconds, self.last = 0, 0.0, now
