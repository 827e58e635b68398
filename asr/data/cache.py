"""Extract features of many utterances once, in parallel; keep them on disk.

In: utterances and `[features]` settings. Out: a `FeatureCache`.
What is kept is named after what it was made from: the settings give the folder; the bytes of the
recording, the part of it and the speed give the key. A changed file or number is never found.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from asr.audio import RESAMPLER, check_length, display_name
from asr.audio.content_hashes import FileHash, hash_files
from asr.data.extraction import Progress, remedy, run_tasks, shown
from asr.data.shards import FORMAT_VERSION, Location, ShardReader
from asr.data.stores import Store, store_of
from asr.data.worker import Cut, Shared, run_task
from asr.errors import AsrError, AudioError, UsageError
from asr.features import FEATURES_VERSION, FeatureExtractor, global_cmvn_statistics
from asr.kernels import processors
from asr.manifest import Utterance
from asr.manifest.address import Address
from asr.recipe import FeatureSettings
from asr.versions import installed

SPAWN_ROWS = 200  # fewer arrays are made in this process: starting others would take longer
SPREAD_WORKERS = 64  # on a cluster; shards are cut as for so many
SHARD_SECONDS = 1_200.0  # of audio at most: 38 MB at 80 features and 100 frames a second
MIN_SHARD_SECONDS = 30.0  # a file costs a few milliseconds of fsync
ROW_BYTES = 4_096 // 16  # on disk, of an array besides its numbers: index, checksums, last frame

Spread = Callable[[Shared, list[list[Cut]]], Iterator[tuple[list[Cut], list[dict]]]]


@dataclass(frozen=True, slots=True)
class CacheRow:
    """One utterance at one speed.

    Args:
        id, speaker: id and speaker of the utterance.
        utterance_index: its place in the sequence that was given to `build_cache`.
        speed: 1.1 is a tenth faster, so shorter.
        num_frames: T.
        num_samples: number of samples of the audio at that speed.
        key: key of the content: another recording, part or speed has another one.
        cut: the recording is cut, and what is left is used.
    """

    id: str
    speaker: str
    utterance_index: int
    speed: float
    num_frames: int
    num_samples: int
    key: str
    cut: bool = False


class FeatureCache:
    """Features on disk, by row.

    Attributes:
        rows: one an utterance and speed that could be used, in the order of the utterances.
        failed: one record an utterance that could not: id, path, stage, code, message.
        folder: where the shards are.
        num_features: F.
        num_extracted: arrays that had to be made; the others were there.
    """

    def __init__(self, folder: Path | Address, rows: list[CacheRow], locations: list[Location],
                 failed: list[dict], num_features: int, num_extracted: int):
        self.folder = folder
        self.rows = rows
        self.failed = failed
        self.num_features = num_features
        self.num_extracted = num_extracted
        self._locations = locations
        self._reader = ShardReader(folder, num_features)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, row_index: int) -> np.ndarray:
        """Features of one row, before CMVN: (T, F) float32."""
        return self._reader.read(self._locations[row_index])

    def statistics(self, row_indices: Sequence[int] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, (F,) each, of some rows; None: of those at speed 1."""
        if row_indices is None:
            row_indices = [i for i, row in enumerate(self.rows) if row.speed == 1.0]
        return global_cmvn_statistics(self.read(i) for i in row_indices)


def build_cache(utterances: Sequence[Utterance], settings: FeatureSettings,
                cache_dir: str | os.PathLike, *, speeds: Sequence[float] = (1.0,),
                num_workers: int = 0, progress: Progress | None = None, on_error: str = "skip",
                min_seconds: float | None = None, max_seconds: float | None = None,
                allow_truncated: bool = False, spread: Spread | None = None) -> FeatureCache:
    """Extract what is not there yet, and open all of it.

    Interrupted work resumes: finished shards stay. Two processes may ask for the same folder;
    the second waits for the first. What is there is compared with its checksums; a damaged shard
    is made again, with a warning.

    Args:
        utterances: rows of manifests; several may share a recording.
        settings: what to extract; `cmvn` is applied by the reader and changes nothing here.
        cache_dir: made if missing; may serve any number of settings and manifests. It may be an
            address, such as s3://bucket/cache, which has no locks and remembers no hashes.
        speeds: factors, each cached once.
        num_workers: processes; 0: one a core, or none for little work.
        progress: called with (arrays done, arrays to do, seconds of audio done); None: a bar on
            stderr if that is a terminal.
        on_error: "skip" lists unusable recordings in `failed`; "fail" raises the first.
        min_seconds, max_seconds, allow_truncated: as for `load_audio`.
        spread: makes features elsewhere, in place of processes of this machine, such as
            `asr.fleet.features.extract_on` of a cluster.

    Raises:
        UsageError: arguments that cannot be; the folder cannot be made.
        AudioError: an unusable recording, with on_error "fail".
        AsrError: a worker died or the disk is full; finished shards stay.
    """
    speeds = _check_arguments(speeds, on_error)
    extractor = FeatureExtractor(settings)
    store = _store(cache_dir, settings)
    config = Shared(settings, str(store.folder), min_seconds, max_seconds, allow_truncated)
    hashes = hash_files((u.audio for u in utterances), memory=store.memory)
    wanted = _Wanted(utterances, speeds, on_error, hashes, config)
    with store.locked():
        locations = store.sound(wanted.keys, extractor.num_features)
        jobs = wanted.jobs(_usable(locations, allow_truncated))
        with shown(progress, sum(map(_seconds, jobs))) as report:
            if spread is None:
                _extract(config, jobs, _count_workers(num_workers, jobs), report, wanted.fail)
            else:
                _extract_elsewhere(spread, config, jobs, report, wanted.fail)
        if jobs:
            locations = store.there(extractor.num_features)
    rows, places, failed = wanted.rows(_usable(locations, allow_truncated))
    return FeatureCache(store.folder, rows, places, failed, extractor.num_features,
                        sum(len(job.outputs) for job in jobs))


def missing_bytes(utterances: Sequence[Utterance], settings: FeatureSettings,
                  cache_dir: str | os.PathLike, *, speeds: Sequence[float] = (1.0,),
                  allow_truncated: bool = False) -> int:
    """About how many bytes `build_cache` will write for the same arguments."""
    store = _store(cache_dir, settings)
    config = Shared(settings, str(store.folder), None, None, allow_truncated)
    hashes = hash_files((u.audio for u in utterances), memory=store.memory)
    num_features = FeatureExtractor(settings).num_features
    jobs = _Wanted(utterances, tuple(speeds), "skip", hashes, config).jobs(
        _usable(store.there(num_features), allow_truncated))
    frames = sum(_seconds(job) * settings.sample_rate / settings.hop_length for job in jobs)
    return round(4 * num_features * frames) + ROW_BYTES * sum(len(job.outputs) for job in jobs)


def _usable(locations: dict[str, Location], allow_truncated: bool) -> dict[str, Location]:
    """Without those of cut recordings, unless they are wanted."""
    return {key: place for key, place in locations.items() if allow_truncated or not place.cut}


class _Wanted:
    """The wanted features, their keys on disk, and the failures.

    Args:
        utterances, speeds, on_error: as for `build_cache`.
        hashes: hash of every recording, or why it cannot be read.
        config: the accepted lengths.
    """

    def __init__(self, utterances: Sequence[Utterance], speeds: tuple[float, ...], on_error: str,
                 hashes: dict[Path | Address, FileHash | AudioError], config: Shared):
        self.utterances, self.speeds, self.on_error = utterances, speeds, on_error
        self.hashes = hashes
        self.config = config
        self.keys = [self._keys(u) for u in utterances]
        self._errors: dict[str, dict] = {}  # by key

    def _keys(self, u: Utterance) -> list[str]:
        """Names of the feature arrays of one utterance; none if its recording cannot be read."""
        hashed = self.hashes[u.audio]
        if isinstance(hashed, AudioError):
            return []
        part = f"{hashed.sha256} {u.offset!r} {u.duration!r}" + f" {u.channel}" * bool(u.channel)
        return [hashlib.sha256(f"{part} {speed!r}".encode()).hexdigest()[:32]
                for speed in self.speeds]

    def jobs(self, there: Container[str]) -> list[Cut]:
        """What has to be made, each array once."""
        jobs, planned = [], set()
        for u, keys in zip(self.utterances, self.keys, strict=True):
            hashed = self.hashes[u.audio]
            if isinstance(hashed, AudioError):
                self.fail([_record(hashed, u)])
                continue
            outputs = tuple((key, speed) for key, speed in zip(keys, self.speeds, strict=True)
                            if key not in there and key not in planned)
            planned.update(keys)
            if outputs:
                jobs.append(Cut(str(u.audio), u.offset, u.duration, hashed.fingerprint, outputs,
                                u.id, u.channel))
        return jobs

    def fail(self, records: list[dict]) -> None:
        """Remember, or raise, what could not be made."""
        for record in records:
            if self.on_error == "fail":
                raise AudioError(f"Utterance {record['id']!r}: {record['message']}",
                                 code=record["code"], path=record["path"])
            self._errors.update(dict.fromkeys(record.pop("keys", ()), record))

    def rows(self, locations: dict[str, Location]
             ) -> tuple[list[CacheRow], list[Location], list[dict]]:
        """What there is, where, and one record an utterance that lacks something."""
        rows, places, failed = [], [], []
        for index, (u, keys) in enumerate(zip(self.utterances, self.keys, strict=True)):
            error = self.hashes[u.audio]
            record = _record(error, u) if isinstance(error, AudioError) else None
            for key, speed in zip(keys, self.speeds, strict=False):
                place = locations.get(key)
                error = place and self._length_error(place, speed, u)
                if place and not error:
                    rows.append(CacheRow(u.id, u.speaker, index, speed, place.num_frames,
                                         place.num_samples, key, place.cut))
                    places.append(place)
                else:
                    record = _record(error, u) if error else {
                        **self._errors[key], "path": str(u.audio), "id": u.id}
            if record:
                self.fail([record])
                failed.append(record)
        return rows, places, failed

    def _length_error(self, place: Location, speed: float, u: Utterance) -> AudioError | None:
        """The error of cached features outside the limits; they may be from another run."""
        seconds = place.num_samples * speed / self.config.settings.sample_rate
        try:
            check_length(seconds, self.config.min_seconds, self.config.max_seconds,
                         display_name(u.audio))
        except AudioError as error:
            return error
        return None


def _record(error: AudioError, u: Utterance) -> dict:
    return {**error.as_record("features"), "path": str(u.audio), "id": u.id}


def _extract(config: Shared, jobs: list[Cut], num_workers: int, progress: Progress,
             fail: Callable[[list[dict]], None]) -> None:
    """Extract what is missing, here or in other processes, and report the progress."""
    total, done, seconds = sum(len(job.outputs) for job in jobs), 0, 0.0

    def report(count: int, more_seconds: float) -> None:
        nonlocal done, seconds
        done, seconds = done + count, seconds + more_seconds
        progress(done, total, seconds)

    tasks = _cut(jobs, max(num_workers, 1))
    if num_workers > 1:
        run_tasks(config, tasks, num_workers, report, fail)
        progress(total, total, sum(map(_seconds, jobs)))
        return
    for task in tasks:
        try:
            fail(run_task(config, task, report))
        except OSError as error:
            raise AsrError(f"The features cannot be written to {config.folder}: "
                           f"{error.strerror or error}. {remedy(config.folder)}; finished parts "
                           "stay.", code="cache.write") from error


def _extract_elsewhere(spread: Spread, config: Shared, jobs: list[Cut], progress: Progress,
                       fail: Callable[[list[dict]], None]) -> None:
    """Have others extract what is missing, a shard a task, and report the progress."""
    total, done, seconds = sum(len(job.outputs) for job in jobs), 0, 0.0
    if not jobs:
        return  # no cluster is started for nothing
    for task, failed in spread(config, _cut(jobs, SPREAD_WORKERS)):
        fail(failed)
        done += sum(len(job.outputs) for job in task)
        seconds += sum(map(_seconds, task))
        progress(done, total, seconds)


def _cut(jobs: list[Cut], num_workers: int) -> list[list[Cut]]:
    """Jobs in pieces of one shard: long enough to be worth a file, short enough to share out."""
    limit = sum(map(_seconds, jobs)) / (8 * num_workers) if num_workers > 1 else SHARD_SECONDS
    limit = min(max(limit, MIN_SHARD_SECONDS), SHARD_SECONDS)
    tasks: list[list[Cut]] = []
    length = limit
    for job in jobs:
        if length >= limit:
            tasks.append([])
            length = 0.0
        tasks[-1].append(job)
        length += _seconds(job)
    return tasks


def _seconds(job: Cut) -> float:
    return sum(job.duration / speed for _, speed in job.outputs)


def _count_workers(num_workers: int, jobs: list[Cut]) -> int:
    if num_workers:
        return num_workers
    if sum(len(job.outputs) for job in jobs) < SPAWN_ROWS:
        return 1
    return processors.usable()


def _check_arguments(speeds: Sequence[float], on_error: str) -> tuple[float, ...]:
    if not speeds or len(set(speeds)) < len(speeds) or not all(0.5 <= s <= 2 for s in speeds):
        raise UsageError(f"speeds must be different factors between 0.5 and 2, got {speeds!r}.")
    if on_error not in ("skip", "fail"):
        raise UsageError(f"on_error must be 'skip' or 'fail', got {on_error!r}.")
    return tuple(float(speed) for speed in speeds)


def cache_key(settings: FeatureSettings) -> str:
    """A name for everything that changes the numbers of a feature array, but for the audio."""
    return hashlib.sha256(json.dumps(_identity(settings), sort_keys=True).encode()).hexdigest()[:16]


def _identity(settings: FeatureSettings) -> dict:
    numbers = asdict(settings)
    for applied_after_the_cache in ("cmvn", "cmvn_prior", "cmvn_range_db"):
        del numbers[applied_after_the_cache]
    if settings.kind != "mfcc":
        del numbers["n_mfcc"]
    return {"settings": numbers, "features_version": FEATURES_VERSION, "resampler": RESAMPLER,
            "format_version": FORMAT_VERSION, **installed(("librosa",))}


def _store(cache_dir: str | os.PathLike, settings: FeatureSettings) -> Store:
    return store_of(cache_dir, f"features-{cache_key(settings)}", _identity(settings))
