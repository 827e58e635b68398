"""Rank utterances by how probably their reference is wrong.

In: a recogniser and utterances. Out: a ranking with reasons.

The evidence is how much less likely the reference is, for the acoustic model, than the model's own
best path, per character: a recogniser that gets nine of ten words wrong still knows that another
sentence fits a recording worse. Speaking rate, silence and clipping are named as reasons beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from asr.decoding.alignment import align
from asr.decoding.hypothesis import log_softmax
from asr.errors import AudioError, DataError
from asr.inference.loop import infer
from asr.inference.tasks import Result, Task
from asr.manifest import Utterance
from asr.recognizer import Recognizer
from asr.text import normalize
from asr.transcript import Transcript

_CLIPPED = 0.999            # of full scale
_CLIPPED_SHARE = 0.01
_OUTLIER = 3.5              # robust standard deviations (Iglewicz and Hoaglin 1993)


@dataclass(frozen=True)
class Suspect:
    """One utterance in the ranking.

    `doubt` is the evidence in nats per character of the reference (inf where the reference cannot
    be said in the time, or the recording cannot be used); `reasons` lists what else is unusual.
    """

    utterance: Utterance
    transcript: Transcript
    doubt: float
    reasons: tuple[str, ...]

    def to_dict(self) -> dict:
        """JSON-ready; an infinite doubt is null."""
        return {"id": self.utterance.id, "audio": str(self.utterance.audio),
                "reference": self.utterance.text, "hypothesis": self.transcript.text,
                "doubt": round(self.doubt, 4) if math.isfinite(self.doubt) else None,
                "reasons": list(self.reasons)}


@dataclass(frozen=True)
class Evidence:
    """What is found of one utterance alone; `rate` is in characters a second."""

    utterance: Utterance
    transcript: Transcript
    doubt: float
    rate: float
    reasons: tuple[str, ...]


def rank_suspects(recognizer: Recognizer, utterances: Sequence[Utterance], *,
                  allow_truncated: bool = False,
                  progress: Callable[[int, int], None] | None = None,
                  spread: Callable[[Sequence[Utterance]], Iterable[Evidence]] | None = None
                  ) -> list[Suspect]:
    """All utterances, the one whose reference is most doubtful first.

    Args:
        recognizer: any that has learnt something of the language; a WER of 95 % is enough.
        utterances: manifest rows.
        allow_truncated: see `asr.audio.load_audio`.
        progress: called with (done, total).
        spread: computes `evidence_of` elsewhere.

    Raises:
        DataError: there is no utterance.
    """
    if not utterances:
        raise DataError("No utterance to examine.", code="audit.empty")
    evidence: list[Evidence] = []
    for found in (spread(utterances) if spread else
                  evidence_of(recognizer, utterances, allow_truncated=allow_truncated)):
        evidence.append(found)
        if progress:
            progress(len(evidence), len(utterances))
    rates = np.array([row.rate for row in evidence])
    usual = _usual_rates(rates)
    suspects = []
    for row in evidence:
        reasons = row.reasons
        if row.rate > 0 and not usual[0] <= row.rate <= usual[1]:
            reasons += (f"{row.rate:.1f} characters a second, others {usual[0]:.1f} to "
                        f"{usual[1]:.1f}",)
        suspects.append(Suspect(row.utterance, row.transcript, row.doubt, reasons))
    return sorted(suspects, key=lambda suspect: -suspect.doubt)


def evidence_of(recognizer: Recognizer, utterances: Sequence[Utterance], *,
                allow_truncated: bool = False) -> Iterator[Evidence]:
    """What speaks against the reference of each utterance.

    Args:
        recognizer, utterances, allow_truncated: as for `rank_suspects`.
    """
    for result in infer(recognizer, [Task(u, u, u.id) for u in utterances], keep_samples=True,
                        allow_truncated=allow_truncated):
        yield _examine(recognizer, result)


def no_evidence(utterance: Utterance, code: str) -> Evidence:
    """That of a recording which cannot be used.

    Args:
        utterance: its row.
        code: why, such as "audio.missing".
    """
    return Evidence(utterance, Transcript("", duration=utterance.duration), math.inf, 0.0, (code,))


def _examine(recognizer: Recognizer, result: Result[Utterance]) -> Evidence:
    utterance = result.key
    if not isinstance(result.error, AudioError):
        result.raise_error()
    text = normalize(utterance.text, recognizer.bundle.text.normalizer)
    rate = len(text) / utterance.duration
    if result.error is not None:
        return no_evidence(utterance, result.error.code)
    if result.logits is None:
        nothing = Transcript("", duration=utterance.duration)
        return Evidence(utterance, nothing, math.inf if text else 0.0, rate, ("silent recording",))
    doubt, reasons = _doubt(recognizer, result.logits, text)
    if result.samples is not None:
        clipped = (np.abs(result.samples) >= _CLIPPED).mean()
        if clipped > _CLIPPED_SHARE:
            reasons += (f"{clipped:.0%} of the samples clipped",)
    return Evidence(utterance, recognizer.decode(result.logits), doubt, rate, reasons)


def _doubt(recognizer: Recognizer, logits: np.ndarray, text: str) -> tuple[float, tuple[str, ...]]:
    """(best path - best path of the reference) / characters, in nats."""
    unknown = recognizer.tokenizer.unknown(text)
    kept = "".join(character for character in text if character not in unknown)
    reasons = (f"characters that the model does not have: {''.join(unknown)!r}",) if unknown else ()
    log_probs = log_softmax(logits)
    best = float(log_probs.max(axis=1).sum())
    try:
        reference = align(log_probs, recognizer.tokenizer.encode(kept)).score
    except DataError:
        return math.inf, (*reasons, "the reference cannot be said in this time")
    return max(0.0, best - reference) / max(1, len(kept)), reasons


def _usual_rates(rates: np.ndarray) -> tuple[float, float]:
    """The range of speaking rates within 3.5 robust standard deviations of the median."""
    known = np.log(rates[rates > 0])
    if len(known) < 10:
        return 0.0, math.inf
    middle = np.median(known)
    spread = 1.4826 * np.median(np.abs(known - middle))
    return float(np.exp(middle - _OUTLIER * spread)), float(np.exp(middle + _OUTLIER * spread))
