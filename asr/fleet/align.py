"""Known texts to times: forced alignment of a manifest's utterances.

In: a recogniser and utterances. Out: one `Aligned` a row, in order. An utterance that
cannot be aligned, or whose file cannot be written, is a record with a code, never the end of the
others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from asr.errors import AsrError, UsageError
from asr.files import failpoint
from asr.fleet.output_places import OutputPlace, in_order, not_written
from asr.fleet.worklist import MAX_STEM_BYTES
from asr.inference.loop import infer
from asr.inference.tasks import Result, Task, caught
from asr.manifest import Utterance
from asr.recognizer import Recognizer
from asr.transcript import SUFFIXES, Transcript, render


@dataclass(frozen=True)
class Aligned:
    """What became of one utterance: exactly one of transcript, error and kept is set.

    Attributes:
        utterance: the row.
        transcript: its text with times, which count from the utterance's offset.
        error: why there is none.
        stage: "align" or "write", of the error.
        kept: its file existed already and was left as it is.
    """

    utterance: Utterance
    transcript: Transcript | None = None
    error: AsrError | None = None
    stage: str = "align"
    kept: bool = False

    def record(self) -> dict:
        """The JSON record of a failure: id, path, stage, code, message."""
        if self.error is None:
            raise UsageError(f"Utterance {self.utterance.id!r} did not fail; there is no record "
                             "of it.")
        return self.error.as_record(self.stage) | {"id": self.utterance.id}


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


def align_to_place(place: OutputPlace, utterances: Sequence[Utterance], format_: str, *,
                   aligner: Callable[[Iterable[Utterance]], Iterable[Aligned]],
                   overwrite: bool = False) -> Iterator[Aligned]:
    """Align into files or objects; each is written, whole, before its `Aligned` is yielded.

    Args:
        place: where, see `asr.fleet.output_places.place_of`.
        utterances: rows; what exists is yielded first, as `kept`.
        format_: one of `asr.transcript.FORMATS`.
        aligner: `align_utterances` of a recogniser, or `asr.fleet.shards.align_on` of a cluster.
        overwrite: write again what exists.

    Raises:
        UsageError: two ids would share a file; nothing is done.
    """
    names = dict(zip((row.id for row in utterances),
                     output_names([row.id for row in utterances], format_), strict=True))
    waiting = []
    for row in utterances:
        if overwrite or not place.exists(names[row.id]):
            waiting.append(row)
        else:
            yield Aligned(row, kept=True)

    def save(aligned: Aligned) -> Aligned:
        if aligned.transcript is None:
            return aligned
        name = names[aligned.utterance.id]
        text = render(aligned.transcript, format_, aligned.utterance.id, characters=True)
        try:
            place.write(name, text, overwrite=overwrite)
        except FileExistsError:  # another run has done the same row meanwhile
            return Aligned(aligned.utterance, kept=True)
        except OSError as error:
            return replace(aligned, transcript=None, stage="write",
                           error=not_written(place.shown(name), error, place.remedy))
        failpoint(f"times.written:{name}")
        return aligned

    yield from in_order(save, aligner(waiting), place.writers)


def output_names(ids: Sequence[str], format_: str) -> list[str]:
    """A file name for each id, unique on every system.

    Raises:
        UsageError: two ids would share one.
    """
    stems = [_stem(name) for name in ids]
    seen: dict[str, str] = {}
    for name, stem in zip(ids, stems, strict=True):
        other = seen.setdefault(stem.casefold(), name)
        if other != name:
            raise UsageError(f"The ids {other!r} and {name!r} would share the file {stem}. Rename "
                             "one of them.")
    return [f"{stem}.{SUFFIXES[format_]}" for stem in stems]


def _stem(name: str) -> str:
    """A file name for an id; of a long one the start and a hash, which names it alone."""
    stem = re.sub(r"[^\w.+=,@-]", "_", name).lstrip(".") or "_"
    if len(stem.encode()) <= MAX_STEM_BYTES:
        return stem
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return stem.encode()[:MAX_STEM_BYTES - 17].decode("utf-8", "ignore") + "-" + digest


def _align(recognizer: Recognizer, result: Result[Utterance], found: list[Transcript]) -> None:
    found.append(recognizer.align_result(result, result.key.text))
