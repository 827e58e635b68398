"""Many recordings to transcripts, in a loop that cannot lose work.

In: what a person typed, and a recogniser. Out: one `Outcome` a recording, in order.
A recording that fails is a record with a code, never the end of the others; a finished transcript
is on disk, whole, before the next batch begins; what exists already is kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from asr.audio import MAX_STREAM_BYTES, load_audio, probe_audio
from asr.audio.loudness import is_silent
from asr.audio.recording import open_recording
from asr.audio.source import Source
from asr.errors import AsrError, AudioError, UsageError
from asr.files import failpoint, write_atomic
from asr.fleet.worklist import Item, OutputFolder
from asr.inference.stopwatch import Stopwatch
from asr.kernels import pool
from asr.recognizer import Recognizer
from asr.transcript import FORMATS, Transcript, render

GROUP_SECONDS = 900.0  # of audio that is loaded while the group before is computed
GROUP_ITEMS = 128
LOADERS = 4  # threads that decode audio; the libraries below release the interpreter lock


@dataclass
class Timings:
    """Seconds of work by stage; loading and features run in parallel threads and are summed.

    Attributes:
        load, features, model, decode, write: seconds.
        audio: seconds of recordings.
        wall: seconds that passed.
    """

    load: float = 0.0
    features: float = 0.0
    model: float = 0.0
    decode: float = 0.0
    write: float = 0.0
    audio: float = 0.0
    wall: float = 0.0

    def to_dict(self) -> dict[str, float]:
        """Seconds by stage, and how many times faster than the recordings."""
        names = ("load", "features", "model", "decode", "write", "audio", "wall")
        table = {name: round(getattr(self, name), 4) for name in names}
        return table | {"real_time_factor": round(self.audio / self.wall, 1) if self.wall else 0.0}


@dataclass(frozen=True)
class Outcome:
    """What became of one recording: exactly one of transcript, error and kept is set.

    Attributes:
        item: the recording.
        transcript: what was said.
        error: why there is none.
        stage: "load", "features", "model", "decode" or "write", of the error.
        output: the file that holds the transcript, if one was asked for.
        kept: the output existed already and was left as it is.
    """

    item: Item
    transcript: Transcript | None = None
    error: AsrError | None = None
    stage: str = ""
    output: Path | None = None
    kept: bool = False

    def record(self) -> dict:
        """The JSON record of a failure: path, stage, code, message."""
        if self.error is None:
            raise UsageError(f"{self.item.name} did not fail; there is no record of it.")
        return self.error.as_record(self.stage) | {"path": self.item.name}


@dataclass
class _Loaded:
    """One recording on its way: features, none for silence or a long one, or an error."""

    item: Item
    long: Source | None = None  # too long to be loaded: where it comes from
    features: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    duration: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)
    error: AsrError | None = None
    stage: str = "load"


def transcribe_to_folder(recognizer: Recognizer, items: Sequence[Item], folder: OutputFolder,
                         format: str, *, overwrite: bool = False, timings: Timings | None = None,
                         escape_cells: bool = True, characters: bool = False,
                         allow_truncated: bool = False,
                         notice: Callable[[str], None] | None = None) -> Iterator[Outcome]:
    """Transcribe into files; each is written, whole, before its outcome is yielded.

    Args:
        recognizer: the model.
        items: recordings, from `asr.fleet.worklist.find_items`.
        folder: where; see `OutputFolder` for the names.
        format: one of `asr.transcript.FORMATS`.
        overwrite: write again what exists; False keeps it and yields `kept`.
        timings: filled while the loop runs.
        escape_cells, characters: see `asr.transcript.render`.
        allow_truncated: see `asr.audio.load_audio`.
        notice: see `transcribe_items`.

    Raises:
        UsageError: an unknown format, or the folder cannot be written.
    """
    if format not in FORMATS:
        raise UsageError(f"There is no format {format!r}; choose one of {', '.join(FORMATS)}.")
    timings = timings if timings is not None else Timings()
    outputs = folder.claim(items)
    waiting = []
    for item in items:
        if overwrite or not outputs[item].exists():
            waiting.append(item)
        elif item.path is None:  # has no name by which it could be known again
            yield Outcome(item, error=AsrError(
                f"{outputs[item]} exists and may be of another recording: what is piped in has no "
                "name. Give --overwrite, or another folder.", code="output.exists", path="-"),
                stage="write")
        else:
            yield Outcome(item, output=outputs[item], kept=True)
    for outcome in transcribe_items(recognizer, waiting, timings, notice=notice,
                                    allow_truncated=allow_truncated):
        if outcome.transcript is None:
            yield outcome
            continue
        started = time.perf_counter()
        path = outputs[outcome.item]
        try:
            text = render(outcome.transcript, format, outcome.item.name, escape_cells=escape_cells,
                          characters=characters)
            write_atomic(path, text, overwrite=overwrite)
            failpoint(f"transcript.written:{path.name}")
            yield Outcome(outcome.item, outcome.transcript, output=path)
        except FileExistsError:  # the name is claimed: another run has done the same recording
            yield Outcome(outcome.item, output=path, kept=True)
        except OSError as error:
            failure = AsrError(f"Cannot write {path}: {error.strerror}. Nothing was left there; "
                               "free some space or choose another folder, and run the same "
                               "command again.", code="output.write", path=path)
            yield Outcome(outcome.item, error=failure, stage="write")
        finally:
            timings.write += time.perf_counter() - started


def transcribe_items(recognizer: Recognizer, items: Iterable[Item],
                     timings: Timings | None = None, *,
                     allow_truncated: bool = False,
                     notice: Callable[[str], None] | None = None) -> Iterator[Outcome]:
    """Transcribe recordings; outcomes come in the order of the items, a group at a time.

    While the network works on one group, threads load the next; memory is bounded by two groups.
    A recording that is too long for one pass (`Recognizer.windows`) is read in pieces when its turn
    comes, one at a time, in memory that does not depend on its length.

    Args:
        recognizer: the model.
        items: recordings.
        timings: filled while the loop runs.
        allow_truncated: see `asr.audio.load_audio`.
        notice: told in a sentence when the first long recording begins.
    """
    timings = timings if timings is not None else Timings()
    started = time.perf_counter()
    groups = _groups(items)
    with ThreadPoolExecutor(LOADERS, thread_name_prefix="asr-load") as pool:
        def submit(group: list[Item]) -> list[Future[_Loaded]]:
            return [pool.submit(_load, recognizer, item, allow_truncated) for item in group]

        try:
            coming = submit(next(groups, []))
            while coming:
                following = submit(next(groups, []))
                loaded = [job.result() for job in coming]
                for one in loaded:
                    timings.load += one.seconds.get("load", 0.0)
                    timings.features += one.seconds.get("features", 0.0)
                    timings.audio += one.duration
                if notice and any(one.long is not None for one in loaded):
                    notice(recognizer.windows.sentence)
                    notice = None
                yield from _finish(recognizer, loaded, timings, allow_truncated)
                timings.wall = time.perf_counter() - started
                coming = following
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def read_stdin() -> bytes:
    """The recording that is piped in.

    Raises:
        AudioError: it is closed, or holds more than `asr.audio.MAX_STREAM_BYTES`.
    """
    if sys.stdin is None:
        raise AudioError("Standard input is closed. Pipe a recording in: asr transcribe - < FILE",
                         code="audio.missing", path="-")
    data = sys.stdin.buffer.read(MAX_STREAM_BYTES + 1)
    if len(data) > MAX_STREAM_BYTES:
        raise AudioError(f"Standard input holds more than {MAX_STREAM_BYTES:_} bytes. Save it to a "
                         "file and give its path.", code="audio.too_long", path="-")
    return data


def _groups(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Items in groups that fit in memory, by the duration that their headers declare."""
    group: list[Item] = []
    seconds = 0.0
    for item in items:
        duration = 0.0
        if item.path is not None:
            try:
                duration = probe_audio(item.path).duration
            except AsrError:
                pass  # loading will find the same, and record it
        if group and (len(group) >= GROUP_ITEMS or seconds + duration > GROUP_SECONDS):
            yield group
            group, seconds = [], 0.0
        group.append(item)
        seconds += duration
    if group:
        yield group


def _load(recognizer: Recognizer, item: Item, allow_truncated: bool) -> _Loaded:
    """Decode one recording and extract its features; whatever goes wrong is in the result."""
    loaded = _Loaded(item)
    started = time.perf_counter()

    def work() -> None:
        source = read_stdin() if item.path is None else item.path
        try:
            audio = load_audio(source, sample_rate=recognizer.sample_rate,
                               allow_truncated=allow_truncated,
                               max_seconds=recognizer.windows.threshold_seconds)
        except AudioError as error:
            if error.code != "audio.too_long":
                raise
            loaded.long = source
            return
        loaded.duration = len(audio) / recognizer.sample_rate
        decoded = time.perf_counter()
        loaded.stage = "features"
        if not is_silent(audio, recognizer.sample_rate):
            loaded.features = recognizer.features(audio)
        loaded.seconds = {"load": decoded - started, "features": time.perf_counter() - decoded}

    loaded.error = _caught(work, item)
    return loaded


def _finish(recognizer: Recognizer, group: Sequence[_Loaded], timings: Timings,
            allow_truncated: bool) -> Iterator[Outcome]:
    """Network and decoder for a loaded group; outcomes in its order."""
    spoken = [one for one in group if one.error is None and len(one.features)]
    started = time.perf_counter()
    logits: dict[Item, np.ndarray] = {}

    def together() -> None:
        rows = recognizer.logits_batch([one.features for one in spoken])
        logits.update(zip([one.item for one in spoken], rows, strict=True))

    if spoken and _caught(together, spoken[0].item) is not None:
        for one in spoken:  # one of them is the culprit: find it, save the others
            one.stage = "model"
            one.error = _caught(lambda one=one: logits.update(
                {one.item: recognizer.logits(one.features)}), one.item)
    timings.model += time.perf_counter() - started
    decoded = pool.stream(
        [partial(_decode, recognizer, one, logits[one.item]) for one in group
         if one.error is None and one.item in logits], pool.default_threads())
    for one in group:
        if one.error is not None:
            yield Outcome(one.item, error=one.error, stage=one.stage)
            continue
        if one.long is not None:
            yield _transcribe_long(recognizer, one.item, one.long, timings, allow_truncated)
            continue
        started = time.perf_counter()
        outcome = (next(decoded) if one.item in logits else
                   Outcome(one.item, Transcript("", duration=one.duration)))
        timings.decode += time.perf_counter() - started
        yield outcome


def _transcribe_long(recognizer: Recognizer, item: Item, source: Source, timings: Timings,
                     allow_truncated: bool) -> Outcome:
    """A recording that is read, window by window, in this thread."""
    found: list[Transcript] = []
    watch = Stopwatch()

    def work() -> None:
        with open_recording(source, sample_rate=recognizer.sample_rate,
                            allow_truncated=allow_truncated,
                            max_seconds=recognizer.windows.max_seconds) as recording:
            found.append(recognizer.transcribe_blocks(recording.blocks, watch))

    error = _caught(work, item)
    for stage, seconds in watch.seconds.items():
        setattr(timings, stage, getattr(timings, stage) + seconds)
    if error is not None:
        return Outcome(item, error=error, stage=watch.failed or "load")
    timings.audio += found[0].duration
    return Outcome(item, found[0])


def _decode(recognizer: Recognizer, one: _Loaded, logits: np.ndarray) -> Outcome:
    found: list[Transcript] = []
    error = _caught(lambda: found.append(
        recognizer.decode(logits, one.duration, one.features)), one.item)
    if error is not None:
        return Outcome(one.item, error=error, stage="decode")
    return Outcome(one.item, found[0])


def _caught(work: Callable[[], None], item: Item) -> AsrError | None:
    """Run; what one recording does wrong comes back as an error and does not end the run.

    Faults of ours are caught as well, with the code "internal", because hours of other people's
    recordings wait behind this one; the record and the exit code tell.
    """
    try:
        work()
    except AsrError as error:
        return error
    except Exception as error:
        wrapped = AsrError(f"{item.name}: {type(error).__name__}: {error}. Run this file alone "
                           "with --debug and report the traceback.", path=item.name)
        wrapped.__cause__ = error
        return wrapped
    return None
