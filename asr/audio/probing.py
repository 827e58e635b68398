"""Probe many recordings: what each declares, or why it cannot be used.

In: paths. Out: one `Probe` a path. One bad file is a result here, never an exception.
"""

from __future__ import annotations

import math
import multiprocessing
import sys
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from asr.audio import AudioInfo, probe_audio
from asr.audio.content_hashes import digest_of
from asr.audio.decoder import TRUNCATED
from asr.audio.loudness import CELL_SECONDS, LoudnessMeter, all_silent
from asr.audio.recording import open_recording
from asr.audio.remote import version_of
from asr.audio.source import open_regular
from asr.errors import AsrError, AudioError, InputWarning
from asr.kernels import processors
from asr.manifest.address import Address

# Starting a process costs about as much as looking at this many files (0.2 ms each).
_FILES_THAT_PAY_A_PROCESS = 4_000
_CHUNK = 100

Audio = str | Path | Address
Progress = Callable[[int], None]   # told the number of files that have just been done


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of one recording: `info`, or the `error` that makes it unusable.

    Args:
        info: what the header declares; None if there is an error.
        error: why the recording cannot be used.
        sha256: of the file's bytes, if asked for; of an address and its version.
        cut: it is cut, and `info` is of what is left.
        notes: (code, sentence) of what else is odd and was read all the same.
        powers: (cells,) float32, mean square of every 25 ms, if it was decoded: see
            `asr.audio.loudness`.
    """

    info: AudioInfo | None = None
    error: AudioError | None = None
    sha256: str = ""
    cut: bool = False
    notes: tuple[tuple[str, str], ...] = ()
    powers: np.ndarray | None = field(default=None, repr=False)

    def is_silent(self, offset: float, duration: float) -> bool:
        """Whether a part of a decoded recording holds no sound; False where that is not known.

        Args:
            offset, duration: seconds.
        """
        if self.powers is None:
            return False
        start = max(0, math.ceil(offset / CELL_SECONDS))
        part = self.powers[start:max(start + 1, int((offset + duration) / CELL_SECONDS))]
        return bool(len(part)) and all_silent(part)


Spread = Callable[[Callable[[Any], Probe], Iterable], Iterable[Probe]]


def probe_all(paths: Iterable[Audio], *, hashes: bool = False, decode: bool = False,
              allow_truncated: bool = False, num_workers: int = 0,
              progress: Progress | None = None,
              spread: Spread | None = None) -> dict[Audio, Probe]:
    """Look at every recording once.

    Args:
        paths: absolute; repeated ones are looked at once.
        hashes: also read each file for its SHA-256.
        decode: also decode each file, which finds damage that a header cannot show, and measures
            its loudness.
        allow_truncated: for a cut recording, take what is left: see `Probe.cut`.
        num_workers: processes; 0 starts one a core if there is enough to do. They are spawned,
            so a script that calls this needs the usual `if __name__ == "__main__":`.
        progress: called with the number of files done since its last call.
        spread: looks elsewhere: is given what looks at a path, picklable, and the paths, and
            returns what was found, in order; None: processes of this machine.

    Raises:
        AsrError: a process was killed from outside.
    """
    unique = list(dict.fromkeys(paths))
    look = partial(_probe, hashes=hashes, decode=decode, allow_truncated=allow_truncated)
    cost = len(unique) * (1 + 4 * hashes + 40 * decode)   # in header reads
    workers = num_workers or min(processors.usable(), cost // _FILES_THAT_PAY_A_PROCESS)
    probes: dict[Audio, Probe] = {}
    if spread or workers <= 1:
        for path, probe in zip(unique, spread(look, unique) if spread else map(look, unique),
                               strict=True):
            probes[path] = _with_shared_names(probe)
            if progress:
                progress(1)
        return probes
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
            for path, probe in zip(unique, pool.map(look, unique, chunksize=_CHUNK), strict=True):
                probes[path] = _with_shared_names(probe)
                if progress:
                    progress(1)
    except BrokenProcessPool as error:
        raise AsrError("A process that was reading audio was killed, perhaps for want of memory. "
                       "Run again, with fewer processes (--jobs 1).",
                       code="probe.killed") from error
    return probes


def _with_shared_names(probe: Probe) -> Probe:
    """The same, without copies of "WAV" and "PCM_16" of its own: 100 bytes a recording."""
    info = probe.info
    if info is None:
        return probe
    return replace(probe, info=replace(info, format=sys.intern(info.format),
                                       subtype=sys.intern(info.subtype)))


def _sha256(path: Audio) -> str:
    if isinstance(path, Address):
        return version_of(path.text)
    with open_regular(path) as file:
        return digest_of(file)


def _probe(path: Audio, *, hashes: bool, decode: bool, allow_truncated: bool) -> Probe:
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", InputWarning)
            info = probe_audio(path, allow_truncated=allow_truncated)
            powers = None
            if decode:
                num_samples, powers = _decode(path, info, allow_truncated)
                info = replace(info, num_samples=num_samples)
        notes = dict.fromkeys((one.message.code, str(one.message)) for one in said
                              if isinstance(one.message, InputWarning))
        return Probe(info, sha256=_sha256(path) if hashes else "", powers=powers,
                     cut=any(code == TRUNCATED for code, _ in notes),
                     notes=tuple(note for note in notes if note[0] != TRUNCATED))
    except AudioError as error:
        return Probe(error=error)
    except OSError as error:   # the file vanished between two looks
        return Probe(error=AudioError(f"{path}: {error.strerror or error}.",
                                      code="audio.unreadable", path=path))


def _decode(path: Audio, info: AudioInfo, allow_truncated: bool) -> tuple[int, np.ndarray]:
    """Samples that are there, and the loudness of every 25 ms of them."""
    meter = LoudnessMeter(info.sample_rate)
    with open_recording(path, sample_rate=info.sample_rate,
                        allow_truncated=allow_truncated) as recording:
        if (recording.info.sample_rate, recording.info.channels) != (info.sample_rate,
                                                                     info.channels):
            raise AudioError(f"{path} is another recording than a moment ago. Do not write to "
                             "recordings while they are read.", code="audio.changed", path=path)
        for _ in meter.listen(recording.blocks()):
            pass
    return meter.num_samples, meter.powers
