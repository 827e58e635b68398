"""Utterances whose reference is probably wrong, the most suspicious first.

In: a recogniser and utterances. Out: a ranking with reasons.

The evidence is how much less likely the reference is, for the acoustic model, than the model's own
best path, per character: a recogniser that gets nine of ten words wrong still knows that another
sentence fits a recording worse. Speaking rate, silence and clipping are named as reasons beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from asr.audio import load_utterance
from asr.audio.loudness import is_silent
from asr.decoding.alignment import align
from asr.decoding.hypothesis import log_softmax
from asr.errors import AudioError, DataError
from asr.manifest import Utterance
from asr.recognizer import Recognizer
from asr.text import normalize
from asr.transcript import Transcript

CHUNK_SECONDS = 600.0       # of audio in memory at a time
_CLIPPED = 0.999            # of full scale
_CLIPPED_SHARE = 0.01
_OUTLIER = 3.5              # robust standard deviations (Iglewicz and Hoaglin 1993)


@dataclass(frozen=True)
class Suspect:
    """One utterance in the ranking.

    `doubt` is the evidence in nats per character of the reference (inf where the reference cannot
    be said in the time, or the recording cannot be used); `reasons` say what else stands out.
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
class _Evidence:
    utterance: Utterance
    transcript: Transcript
    doubt: float
    rate: float
    reasons: tuple[str, ...]


def rank_suspects(recognizer: Recognizer, utterances: Sequence[Utterance], *,
                  progress: Callable[[int, int], None] | None = None) -> list[Suspect]:
    """All utterances, the one whose reference is most doubtful first.

    Args:
        recognizer: any that has learnt something of the language; a WER of 95 % is enough.
        utterances: manifest rows.
        progress: called with (done, total).

    Raises:
        DataError: there is no utterance.
    """
    if not utterances:
        raise DataError("No utterance to examine.", code="audit.empty")
    evidence: list[_Evidence] = []
    for chunk in _chunks(recognizer, utterances):
        evidence += _examine(recognizer, chunk)
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


def _chunks(recognizer: Recognizer, utterances: Sequence[Utterance]
            ) -> Iterator[list[tuple[Utterance, np.ndarray | AudioError]]]:
    chunk, seconds = [], 0.0
    for utterance in utterances:
        try:
            audio: np.ndarray | AudioError = load_utterance(utterance,
                                                            sample_rate=recognizer.sample_rate)
        except AudioError as error:
            audio = error
        chunk.append((utterance, audio))
        seconds += utterance.duration
        if seconds >= CHUNK_SECONDS:
            yield chunk
            chunk, seconds = [], 0.0
    if chunk:
        yield chunk


def _examine(recognizer: Recognizer,
             chunk: list[tuple[Utterance, np.ndarray | AudioError]]) -> list[_Evidence]:
    heard = [index for index, (_, audio) in enumerate(chunk) if isinstance(audio, np.ndarray)
             and not is_silent(audio, recognizer.sample_rate)]
    logits = recognizer.logits_batch([recognizer.features(chunk[index][1])  # type: ignore[arg-type]
                                      for index in heard])
    by_index = dict(zip(heard, logits, strict=True))
    rows = []
    for index, (utterance, audio) in enumerate(chunk):
        text = normalize(utterance.text, recognizer.bundle.text.normalizer)
        rate = len(text) / utterance.duration
        nothing = Transcript("", duration=utterance.duration)
        if isinstance(audio, AudioError):
            rows.append(_Evidence(utterance, nothing, math.inf, 0.0, (audio.code,)))
        elif index not in by_index:
            doubt = math.inf if text else 0.0
            rows.append(_Evidence(utterance, nothing, doubt, rate, ("silent recording",)))
        else:
            doubt, reasons = _doubt(recognizer, by_index[index], text)
            if (np.abs(audio) >= _CLIPPED).mean() > _CLIPPED_SHARE:
                reasons += (f"{(np.abs(audio) >= _CLIPPED).mean():.0%} of the samples clipped",)
            rows.append(_Evidence(utterance, recognizer.decode(by_index[index]), doubt, rate,
                                  reasons))
    return rows


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
