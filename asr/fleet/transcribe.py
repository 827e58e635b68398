"""Many recordings to transcripts, in a loop that cannot lose work.

In: what a person typed, and a recogniser. Out: one `Outcome` a recording, in order.
A recording that fails is a record with a code, never the end of the others; a finished transcript
is on disk, whole, before the next batch begins (at an address, a few may be on their way then);
what exists already is kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path, PurePath

from asr.audio import MAX_STREAM_BYTES, AudioInfo, read_header
from asr.errors import AsrError, AudioError, UsageError
from asr.files import failpoint
from asr.fleet.output_places import in_order, not_written
from asr.fleet.worklist import Item, OutputFolder
from asr.inference.loop import transcribe_tasks
from asr.inference.tasks import Result, Task, Timings
from asr.manifest.address import Address, is_address
from asr.recognizer import Recognizer
from asr.terminal import plural
from asr.transcript import FORMATS, Transcript, render
from asr.transcript.segments import merge_channels, speaker_names

EACH = -1  # of `transcribe_items`: every channel is a speaker


@dataclass(frozen=True)
class Outcome:
    """What became of one recording: exactly one of transcript, error and kept is set.

    Attributes:
        item: the recording.
        transcript: what was said.
        error: why there is none.
        stage: "load", "features", "model", "decode" or "write", of the error.
        output: the file or object that holds the transcript, if one was asked for.
        kept: the output existed already and was left as it is.
    """

    item: Item
    transcript: Transcript | None = None
    error: AsrError | None = None
    stage: str = ""
    output: Path | Address | None = None
    kept: bool = False

    def record(self) -> dict:
        """The JSON record of a failure: path, stage, code, message."""
        if self.error is None:
            raise UsageError(f"{self.item.name} did not fail; there is no record of it.")
        return self.error.as_record(self.stage) | {"path": self.item.name}


_Saved = tuple[Outcome, float]  # and the seconds that writing took


def transcribe_to_folder(recognizer: Recognizer, items: Sequence[Item], folder: OutputFolder,
                         formats: str | Sequence[str], *, overwrite: bool = False,
                         timings: Timings | None = None, escape_cells: bool = True,
                         characters: bool = False, paragraphs: bool = False,
                         transcriber: Callable[..., Iterator[Outcome]] | None = None,
                         **loading) -> Iterator[Outcome]:
    """Transcribe into files or objects; each is written, whole, before its outcome is yielded.

    Args:
        recognizer: the model.
        items: recordings, from `asr.fleet.worklist.find_items`.
        folder: where; see `OutputFolder` for the names.
        formats: one or some of `asr.transcript.FORMATS`, whose suffixes `folder` has.
        overwrite: write again what exists; False keeps it and yields `kept`.
        timings: filled while the loop runs.
        escape_cells, characters, paragraphs: see `asr.transcript.render`.
        transcriber: in place of `transcribe_items` with `recognizer`; called with items and
            timings, such as `asr.fleet.shards.transcribe_on` of a cluster.
        **loading: see `transcribe_items`.

    Raises:
        UsageError: an unknown format, or the folder cannot be written.
    """
    formats = (formats,) if isinstance(formats, str) else tuple(formats)
    for format_ in formats:
        if format_ not in FORMATS:
            raise UsageError(f"There is no format {format_!r}; choose one of "
                             f"{', '.join(FORMATS)}.")
    timings = timings if timings is not None else Timings()
    folder.claim(items)
    waiting = []
    for item in items:
        if overwrite or not all(map(folder.place.exists, folder.names(item))):
            waiting.append(item)
        elif item.path is None:  # has no name by which it could be known again
            yield Outcome(item, error=AsrError(
                f"{folder.output(item)} exists and may be of another recording: what is piped in "
                "has no name. Give --overwrite, or another folder.", code="output.exists",
                path="-"),
                stage="write")
        else:
            yield Outcome(item, output=folder.output(item), kept=True)
    transcriber = transcriber or partial(transcribe_items, recognizer)
    style = {"escape_cells": escape_cells, "characters": characters, "paragraphs": paragraphs}
    save = partial(_save, folder=folder, formats=formats, overwrite=overwrite, style=style)
    for outcome, seconds in in_order(save, transcriber(waiting, timings, **loading),
                                      folder.place.writers):
        timings.write += seconds
        yield outcome


def _save(outcome: Outcome, *, folder: OutputFolder, formats: Sequence[str], overwrite: bool,
          style: dict[str, bool]) -> _Saved:
    """Write a transcript in all its formats; what became of it, and the seconds this took."""
    if outcome.transcript is None:
        return outcome, 0.0
    started = time.perf_counter()
    path, place, is_new = folder.output(outcome.item), folder.place, False
    try:
        for format_, name in zip(formats, folder.names(outcome.item), strict=True):
            if len(formats) > 1 and not overwrite and place.exists(name):
                continue  # an earlier run was stopped between two formats
            text = render(outcome.transcript, format_, outcome.item.name, **style)
            with suppress(FileExistsError):  # another run has done the same recording meanwhile
                place.write(name, text, overwrite=overwrite)
                is_new = True
            failpoint(f"transcript.written:{PurePath(name).name}")
        outcome = Outcome(outcome.item, outcome.transcript if is_new else None, output=path,
                          kept=not is_new)
    except OSError as error:
        outcome = Outcome(outcome.item, error=not_written(path, error, place.remedy), stage="write")
    return outcome, time.perf_counter() - started


def transcribe_items(recognizer: Recognizer, items: Iterable[Item],
                     timings: Timings | None = None, *,
                     allow_truncated: bool = False,
                     notice: Callable[[str], None] | None = None, channel: int = 0,
                     speakers: Sequence[str] = (),
                     progress: Callable[[int, int], None] | None = None) -> Iterator[Outcome]:
    """Transcribe recordings; outcomes come in the order of the items, see `asr.inference.loop`.

    Args:
        recognizer: the model.
        items: recordings.
        timings: filled while the loop runs.
        allow_truncated: see `asr.audio.load_audio`.
        notice: told in a sentence when the first long recording begins, and at the end if
            recordings have a lower sample rate than the model and those it was trained on.
        channel: see `asr.audio.load_audio`; `EACH` makes one transcript of all channels, with a
            speaker on each.
        speakers: names of the channels; empty: left and right, or channel 1 and so on.
        progress: called with (done, all) seconds of a long recording.
    """
    low: dict[str, int] = {}
    trained = _trained_rate(recognizer)
    least = min(trained or recognizer.sample_rate, recognizer.sample_rate)

    def tasks() -> Iterator[Task[tuple[Item, int, int]]]:
        for item in items:
            source = cache(read_stdin) if item.path is None else item.path
            channels = [channel]
            is_far = item.path is None or is_address(item.path)  # fetched once, when it is loaded
            if not is_far or channel == EACH:
                info = _probe(source)
                if info is not None and info.sample_rate < least:
                    low[item.name] = info.sample_rate
                if channel == EACH:
                    count = info.channels if info is not None else 1
                    channels = [0] if count == 1 else list(range(1, count + 1))
                    if count > 1 and speakers and len(speakers) != count:
                        yield Task((item, 0, 1), partial(_refuse_names, item, count, speakers),
                                   item.name)
                        continue
            for number in channels:
                yield Task((item, number, len(channels)), source, item.name, channel=number)

    parts: list[Result] = []
    for result in transcribe_tasks(recognizer, tasks(), timings=timings, notice=notice,
                                   allow_truncated=allow_truncated, progress=progress):
        item, _, count = result.key
        parts.append(result)
        if len(parts) == count:
            yield _outcome(item, parts, speakers)
            parts = []
    if low and notice:
        name, rate = next(iter(low.items()))
        unless = "" if trained else ", unless the model was trained on such sound"
        notice(f"{len(low):,} recording{'s have' if len(low) > 1 else ' has'} a lower sample rate "
               f"than the {recognizer.sample_rate:,} Hz of the model ({name}: {rate:,} Hz): "
               f"expect more errors{unless}.")


def _trained_rate(recognizer: Recognizer) -> int:
    """The lowest sample rate in the training data, in Hz; 0: its bundle does not say."""
    rate = recognizer.bundle.training.get("lowest_sample_rate")
    return rate if isinstance(rate, int) and rate > 0 else 0


def _probe(source: str | Callable[[], bytes]) -> AudioInfo | None:
    """What a recording declares, a cut one too; None where loading will find the error."""
    try:
        return read_header(source() if callable(source) else source)
    except (AsrError, OSError):
        return None


def _refuse_names(item: Item, channels: int, speakers: Sequence[str]) -> bytes:
    """In place of reading a recording with another number of channels than names."""
    raise UsageError(f"{item.name} has {plural(channels, 'channel')}, but "
                     f"{plural(len(speakers), 'speaker is', 'speakers are')} named; name one a "
                     "channel.", code="audio.channel")


def _outcome(item: Item, parts: Sequence[Result], speakers: Sequence[str]) -> Outcome:
    """What became of one recording, of all its channels."""
    failed = next((part for part in parts if part.error), None)
    if failed is not None:
        return Outcome(item, error=failed.error, stage=failed.stage)
    found = [part.transcript for part in parts if part.transcript is not None]
    if len(found) == 1:
        return Outcome(item, found[0])
    return Outcome(item, merge_channels(found, speakers or speaker_names(len(found))))


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
