"""Many recordings to transcripts, in a loop that cannot lose work.

In: what a person typed, and a recogniser. Out: one `Outcome` a recording, in order.
A recording that fails is a record with a code, never the end of the others; a finished transcript
is on disk, whole, before the next batch begins; what exists already is kept.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr.audio import MAX_STREAM_BYTES
from asr.errors import AsrError, AudioError, UsageError
from asr.files import failpoint, write_atomic
from asr.fleet.worklist import Item, OutputFolder
from asr.inference.loop import transcribe_tasks
from asr.inference.tasks import Task, Timings
from asr.recognizer import Recognizer
from asr.transcript import FORMATS, Transcript, render


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
    """Transcribe recordings; outcomes come in the order of the items, see `asr.inference.loop`.

    Args:
        recognizer: the model.
        items: recordings.
        timings: filled while the loop runs.
        allow_truncated: see `asr.audio.load_audio`.
        notice: told in a sentence when the first long recording begins.
    """
    tasks = (Task(item, read_stdin if item.path is None else item.path, item.name)
             for item in items)
    for result in transcribe_tasks(recognizer, tasks, timings=timings, notice=notice,
                                   allow_truncated=allow_truncated):
        yield Outcome(result.key, result.transcript, result.error,
                      result.stage if result.error else "")


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
