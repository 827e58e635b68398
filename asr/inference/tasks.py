"""Input and output of the inference loop: tasks, results, seconds by stage.

`Model` is what the loop needs of a recogniser.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

import numpy as np

from asr.audio.recording import Blocks
from asr.audio.source import Source
from asr.errors import AsrError, out_of_memory
from asr.inference.long_recordings import Listener
from asr.inference.stopwatch import Stopwatch
from asr.manifest import Utterance
from asr.transcript import Transcript

Key = TypeVar("Key")


class Model(Listener, Protocol):
    """What the loop needs of a `Recognizer`."""

    @property
    def sample_rate(self) -> int:
        """Hz."""
        ...

    def load_audio(self, audio: np.ndarray, sample_rate: int | None = None) -> np.ndarray:
        """See `Recognizer.load_audio`."""
        ...

    def features(self, audio: np.ndarray) -> np.ndarray:
        """See `Recognizer.features`."""
        ...

    def seconds_trimmed(self, audio: np.ndarray) -> float:
        """See `Recognizer.seconds_trimmed`."""
        ...

    def logits_batch(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Recognizer.logits_batch`."""
        ...

    def decode(self, logits: np.ndarray, duration: float | None = None,
               features: np.ndarray | None = None, start: float = 0.0) -> Transcript:
        """See `Recognizer.decode`."""
        ...

    def transcribe_blocks(self, blocks: Blocks, watch: Stopwatch | None = None) -> Transcript:
        """See `Recognizer.transcribe_blocks`."""
        ...


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

    @property
    def real_time_factor(self) -> float | None:
        """RTF: seconds that passed per second of audio; None without audio."""
        return self.wall / self.audio if self.audio else None

    def to_dict(self) -> dict[str, float]:
        """The attributes and the RTF (0.0 without audio), rounded."""
        table = {name: round(value, 4) for name, value in vars(self).items()}
        return table | {"real_time_factor": round(self.real_time_factor or 0.0, 6)}


@dataclass(frozen=True)
class Task(Generic[Key]):
    """One recording to work on.

    Attributes:
        key: returned in the result.
        source: a path, bytes, a manifest row, an array (num_samples,), or a function that gives
            one of the first two when its turn comes.
        name: what messages call it.
        sample_rate: Hz of an array; None: the model's.
        channel: channel of a recording, see `asr.audio.load_audio`; a row has its own.
    """

    key: Key
    source: Source | Utterance | np.ndarray | Callable[[], Source]
    name: str
    sample_rate: int | None = None
    channel: int = 0


@dataclass
class Result(Generic[Key]):
    """What became of one task.

    Attributes:
        key: the task's.
        samples: (num_samples,) float32 if they were asked for; None for a long recording.
        features: (T, F) float32 before normalisation; (0, 0) for silence and long recordings.
        logits: (T', V) float32; None for silence, for an error, and from `transcribe_tasks` for a
            long recording.
        levels: (T,) float32 of `asr.transcript.pauses.speech_levels`, from `infer` for a long
            recording.
        transcript: from `transcribe_tasks`; None for an error.
        duration: seconds of the recording.
        start: seconds that were trimmed off in front of the features.
        warp: factor on the frequency axis that the logits are of; 1.0 for a long recording, whose
            windows choose theirs.
        error: why there is no result.
        stage: "load", "features", "model" or "decode", of the error.
    """

    key: Key
    samples: np.ndarray | None = None
    features: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    logits: np.ndarray | None = None
    levels: np.ndarray | None = None
    transcript: Transcript | None = None
    duration: float = 0.0
    start: float = 0.0
    warp: float = 1.0
    error: AsrError | None = None
    stage: str = "load"

    def raise_error(self) -> None:
        """Raise the error, if there is one; a fault of ours as it was."""
        if self.error is not None:
            internal = type(self.error) is AsrError and self.error.__cause__
            raise internal or self.error


def caught(work: Callable[[], None], name: str) -> AsrError | None:
    """Run; an error of one recording is returned and does not end the run.

    Internal errors are returned as well, with the code "internal": hours of other recordings may
    wait behind this one. The record and the exit code tell.
    """
    try:
        work()
    except AsrError as error:
        return error
    except Exception as error:
        if out_of_memory(error):
            wrapped = AsrError(f"{name}: out of memory. Give it less at a time, or a machine with "
                               "more.", code="memory", path=name)
        else:
            wrapped = AsrError(f"{name}: {type(error).__name__}: {error}. Run this file alone "
                               "with --debug and report the traceback.", path=name)
        wrapped.__cause__ = error
        return wrapped
    return None
