"""Known texts to times: forced alignment of a manifest's utterances.

In: a recogniser and utterances. Out: one `Aligned` a row, in order. An utterance that
cannot be aligned is a record with a code, never the end of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from asr.errors import AsrError, UsageError
from asr.inference.loop import infer
from asr.inference.tasks import Task
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


def align_utterances(recognizer: Recognizer, utterances: Iterable[Utterance]) -> Iterator[Aligned]:
    """`Recognizer.align` of every row, in order; see `asr.inference.loop`.

    Args:
        recognizer: the model.
        utterances: rows with what is said in each.
    """
    for result in infer(recognizer, (Task(row, row, row.id) for row in utterances)):
        row, error = result.key, result.error
        try:
            yield Aligned(row, None if error else recognizer.align_result(result, row.text), error)
        except AsrError as found:
            yield Aligned(row, error=found)
