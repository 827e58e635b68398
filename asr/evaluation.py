"""Measure the word error rate of a recogniser: utterances in = utterances scored + failed.

In: a `Recognizer` and utterances. Out: an `Evaluation`: the score with its receipt, and a
transcript an utterance. A recording that fails stops the evaluation, or is skipped, listed
and counted when the caller says so; it is never left out in silence.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from asr.audio.objects import Objects, exists_at
from asr.decoding import decoder_class
from asr.errors import AsrError, DataError, UsageError
from asr.inference.long_pauses import described_pauses
from asr.inference.loop import transcribe_tasks
from asr.inference.tasks import Result, Task, Timings
from asr.inference.warps import described_warps
from asr.manifest import Utterance
from asr.manifest.address import Address
from asr.recognizer import Recognizer
from asr.results import write_together
from asr.scoring import Conditions, Score, score
from asr.scoring.confidence import ConfidenceReport, assess_confidence
from asr.scoring.risk import check_targets
from asr.transcript import Transcript

ROWS, SCORE = "utterances.jsonl", "score.json"  # what `Evaluation.write` makes in a folder
STAGED = "new-"  # in front of the names of a result that is about to replace another at an address


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` returns; `print()` shows the WER line.

    Attributes:
        score: WER, CER, intervals, rows, receipt.
        transcripts: utterance id to transcript.
        failed: a record for every utterance that was skipped.
        timings: where the time went.
        confidence: whether confidences can be believed, and what a person should look at.
    """

    score: Score
    transcripts: dict[str, Transcript]
    failed: list[dict] = field(default_factory=list)
    timings: Timings = field(default_factory=Timings)
    confidence: ConfidenceReport | None = None

    @property
    def wer(self) -> float:
        """Word error rate, a fraction."""
        return self.score.wer

    @property
    def cer(self) -> float:
        """Character error rate, a fraction."""
        return self.score.cer

    def __str__(self) -> str:
        return str(self.score)

    def write(self, folder: str | Path) -> tuple[Path, Path]:
        """Write ROWS, a line an utterance, and SCORE, score and receipt; what exists is replaced.

        Returns:
            Their two paths.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_together(folder, self._files())
        return folder / ROWS, folder / SCORE

    def upload(self, address: str, *, overwrite: bool = False) -> tuple[Address, Address]:
        """Write the files of `write` to an address such as s3://bucket/results.

        SCORE comes last. What replaces an earlier result is stored beside it beforehand, under
        names that begin with `STAGED`; then the old SCORE goes: it is never there beside new rows,
        and there is a whole result at any time.

        Returns:
            Their two addresses.

        Raises:
            FileExistsError: one exists and `overwrite` is False.
            OSError: one cannot be written; `strerror` says why.
        """
        place, files = Objects(address), self._files()
        replaced = overwrite and exists_at(f"{place.address}/{SCORE}")
        if replaced:
            for name in (ROWS, SCORE):
                place.write(STAGED + name, files[name], overwrite=True)
            place.remove(SCORE)
        for name in (ROWS, SCORE):
            place.write(name, files[name], overwrite=overwrite)
        if replaced:
            with suppress(OSError):  # the result is there, and the next one replaces them
                for name in (ROWS, SCORE):
                    place.remove(STAGED + name)
        return Address(f"{place.address}/{ROWS}"), Address(f"{place.address}/{SCORE}")

    def _files(self) -> dict[str, str]:
        """Content by name."""
        lines = []
        for row in self.score.rows:
            transcript = self.transcripts[row.id]
            lines.append(json.dumps({
                "id": row.id, "reference": row.reference, "hypothesis": row.hypothesis,
                "speaker": row.speaker, "duration": row.duration,
                "words": asdict(row.words), "characters": asdict(row.characters),
                "confidence": round(transcript.confidence, 4),
                "word_confidences": [round(word.confidence, 4) for word in transcript.words]},
                ensure_ascii=False))
        table = {**self.score.to_dict(), "failed": self.failed,
                 "confidence": self.confidence and self.confidence.to_dict(),
                 "timings": self.timings.to_dict()}
        return {ROWS: "\n".join(lines) + "\n",
                SCORE: json.dumps(table, ensure_ascii=False, indent=2) + "\n"}


def evaluate(recognizer: Recognizer, utterances: Sequence[Utterance], *,
             normalizer: str | None = None, on_error: str = "fail",
             allow_truncated: bool = False,
             manifest_hash: str = "", target_wers: Sequence[float] = (),
             progress: Callable[[int, int], None] | None = None,
             listen: Callable[..., Iterable[Result[Utterance]]] | None = None) -> Evaluation:
    """Transcribe and score every utterance.

    Recordings of any length, as `asr transcribe` takes them: see `asr.inference.loop`.

    Args:
        recognizer: from `asr.load`.
        utterances: from `asr.read_manifest`.
        normalizer: applied to references and hypotheses; None: the one the model was trained with.
        on_error: "fail" stops at the first recording that cannot be used, "skip" lists it.
        allow_truncated: see `asr.audio.load_audio`.
        manifest_hash: hash of the manifests, for the receipt; see `hash_manifests`.
        target_wers: word error rates, fractions: how many utterances must go to a person to reach
            them? (): round ones, see `asr.scoring.risk`.
        progress: called with (utterances done, utterances in all).
        listen: transcribes rows, in place of `recognizer` in this process; called with the rows,
            timings and allow_truncated, such as `asr.fleet.shards.listen_on` of a cluster.

    Returns:
        An `Evaluation`; utterances scored + failed = utterances given.

    Raises:
        AudioError: with on_error="fail".
        DataError: no utterance, repeated ids, no word in any reference.
        UsageError: an unknown `on_error` or normaliser, or a target that is not a fraction.
    """
    check_targets(target_wers)
    if on_error not in ("fail", "skip"):
        raise UsageError(f"on_error is {on_error!r}; choose fail or skip.")
    if len({u.id for u in utterances}) != len(utterances):
        raise DataError("Utterance ids repeat; a test set needs each id once.",
                        code="manifest.duplicate_id")
    timings, failed = Timings(), []
    transcripts: dict[str, Transcript] = {}
    for result in (listen or partial(_listen, recognizer))(utterances, timings,
                                                           allow_truncated=allow_truncated):
        if result.transcript is not None:
            transcripts[result.key.id] = result.transcript
        else:
            failed.append(_failure(result, on_error))
        if progress:
            progress(len(transcripts) + len(failed), len(utterances))
    settings = recognizer.decoder_settings
    conditions = Conditions(
        decoder=decoder_class(settings.kind).describe(settings) + described_warps(settings)
        + described_pauses(settings),
        bundle_hash=recognizer.bundle.bundle_hash,
        manifest_hash=manifest_hash, seed=recognizer.bundle.training.get("seed"),
        real_time_factor=timings.real_time_factor)
    normalizer = normalizer or recognizer.bundle.text.normalizer
    result = score(
        {u.id: u.text for u in utterances}, {k: t.text for k, t in transcripts.items()},
        normalizer=normalizer,
        speakers={u.id: u.speaker for u in utterances} if any(u.speaker for u in utterances)
        else None,
        durations={u.id: u.duration for u in utterances},
        skipped={record["id"]: record["code"] for record in failed}, conditions=conditions)
    return Evaluation(result, transcripts, failed, timings,
                      assess_confidence(result, transcripts, normalizer, target_wers))


def hash_manifests(paths: Sequence[str | Path]) -> str:
    """SHA-256 over the bytes of manifests, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(Path(path).read_bytes())
    return digest.hexdigest()


def _listen(recognizer: Recognizer, utterances: Sequence[Utterance], timings: Timings, *,
            allow_truncated: bool) -> Iterable[Result[Utterance]]:
    return transcribe_tasks(recognizer, (Task(u, u, u.id) for u in utterances), timings=timings,
                            allow_truncated=allow_truncated)


def _failure(result: Result[Utterance], on_error: str) -> dict:
    """The record of an utterance that cannot be transcribed; on_error="fail" raises it."""
    error = result.error
    if error is None:
        raise ValueError(f"utterance {result.key.id!r} did not fail")
    if on_error == "fail":
        if error.__cause__ is not None and type(error) is AsrError:
            raise error.__cause__
        raise type(error)(f"Utterance {result.key.id!r}: {error} With on-error skip it is listed "
                          "and the others are scored.", code=error.code,
                          path=error.path) from error
    return {**error.as_record("evaluate"), "id": result.key.id}
