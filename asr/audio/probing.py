"""Probe many recordings: what each declares, or why it cannot be used.

In: paths. Out: one `Probe` a path. One bad file is a result here, never an exception.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from asr.audio import AudioInfo, load_audio, probe_audio
from asr.audio.remote import version_of
from asr.errors import AsrError, AudioError
from asr.files import sha256_file
from asr.kernels import processors
from asr.manifest.address import Address

# Starting a process costs about as much as looking at this many files (0.2 ms each).
_FILES_THAT_PAY_A_PROCESS = 4_000
_CHUNK = 100

Progress = Callable[[int], None]   # told the number of files that have just been done


@dataclass(frozen=True)
class Probe:
    """What is known of one recording: `info`, or the `error` that makes it unusable.

    Args:
        info: what the header declares; None if there is an error.
        error: why the recording cannot be used.
        sha256: of the file's bytes, if asked for; of an address and its version.
    """

    info: AudioInfo | None = None
    error: AudioError | None = None
    sha256: str = ""


def probe_all(paths: Iterable[Path | Address], *, hashes: bool = False, decode: bool = False,
              num_workers: int = 0, progress: Progress | None = None
              ) -> dict[Path | Address, Probe]:
    """Look at every recording once.

    Args:
        paths: absolute; repeated ones are looked at once.
        hashes: also read each file for its SHA-256.
        decode: also decode each file, which finds damage that a header cannot show.
        num_workers: processes; 0 starts one a core if there is enough to do. They are spawned,
            so a script that calls this needs the usual `if __name__ == "__main__":`.
        progress: called with the number of files done since its last call.

    Raises:
        AsrError: a process was killed from outside.
    """
    unique = list(dict.fromkeys(paths))
    look = partial(_probe, hashes=hashes, decode=decode)
    cost = len(unique) * (1 + 4 * hashes + 40 * decode)   # in header reads
    workers = num_workers or min(processors.usable(), cost // _FILES_THAT_PAY_A_PROCESS)
    probes: dict[Path | Address, Probe] = {}
    if workers <= 1:
        for path in unique:
            probes[path] = look(path)
            if progress:
                progress(1)
        return probes
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(workers, mp_context=spawn) as pool:
            for path, probe in zip(unique, pool.map(look, unique, chunksize=_CHUNK), strict=True):
                probes[path] = probe
                if progress:
                    progress(1)
    except BrokenProcessPool as error:
        raise AsrError("A process that was reading audio was killed, perhaps for want of memory. "
                       "Run again, with fewer processes (--jobs 1).",
                       code="probe.killed") from error
    return probes


def _sha256(path: Path | Address) -> str:
    return version_of(path.text) if isinstance(path, Address) else sha256_file(path)


def _probe(path: Path | Address, *, hashes: bool, decode: bool) -> Probe:
    try:
        info = probe_audio(path)
        if decode:
            load_audio(path, sample_rate=info.sample_rate, min_seconds=0.0, expected=info)
        return Probe(info, sha256=_sha256(path) if hashes else "")
    except AudioError as error:
        return Probe(error=error)
    except OSError as error:   # the file vanished between two looks
        return Probe(error=AudioError(f"{path}: {error.strerror or error}.",
                                      code="audio.unreadable", path=path))
