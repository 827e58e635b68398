"""Known texts to times: forced alignment of a manifest's utterances.

In: a recogniser and utterances. Out: one `Aligned` a row, in order. An utterance that
cannot be aligned is a record with a code, never the end of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from asr.errors import AsrError, UsageError
from asr.inference.loop import infer
from asr.inference.tasks import Result, Task, caught
from asr.manifest import Utterance
from asr.recognizer import Recognizer
from asr.transcript import Transcript


@dataclass(frozen=True)
class Aligned:
    """What became of one utterance: exactly one of transcript and error is set.

    Attributes:
        utterance: the row.
        transcript: its text with times, which count from the utterance's offset.
        error: why there is none.
    """

    utterance: Utterance
    transcript: Transcript | None = None
    error: AsrError | None = None

    def record(self) -> dict:
        """The JSON record of a failure: id, path, stage, code, message."""
        if self.error is None:
            raise UsageError(f"Utterance {self.utterance.id!r} did not fail; there is no record "
                             "of it.")
        return self.error.as_record("align") | {"id": self.utterance.id}


def align_utterances(recognizer: Recognizer, utterances: Iterable[Utterance], *,
                     allow_truncated: bool = False) -> Iterator[Aligned]:
    """`Recognizer.align` of every row, in order; see `asr.inference.loop`.

    Args:
        recognizer: the model.
        utterances: rows with what is said in each.
        allow_truncated: see `asr.audio.load_audio`.
    """
    tasks = (Task(row, row, row.id) for row in utterances)
    for result in infer(recognizer, tasks, allow_truncated=allow_truncated):
        found: list[Transcript] = []
        error = result.error or caught(partial(_align, recognizer, result, found), result.key.id)
        yield Aligned(result.key, found[0] if found else None, error)


def _align(recognizer: Recognizer, result: Result[Utterance], found: list[Transcript]) -> None:
    found.append(recognizer.align_result(result, result.key.text))
