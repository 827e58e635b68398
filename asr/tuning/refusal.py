"""Calibrate what a grammar refuses: `decoder.max_gap` from development data.

In: a recogniser with a grammar, utterances with their texts and durations. Those whose text the
grammar holds are to be read; all others are other speech, to be refused. Out: a `Refusal`: the
limit that lets at most so many of the others through an hour, and what it costs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from asr.decoding import BeamSearchDecoder, check_logits, log_softmax, parse_grammar
from asr.decoding.alignment import worst_gap
from asr.decoding.evidence import CalibratedDecoder
from asr.errors import DataError, UsageError
from asr.kernels import pool
from asr.recipe import NEVER_REFUSED, DecoderSettings
from asr.recognizer import Recognizer
from asr.text import normalize
from asr.tuning.dev_set import DevSet

FEWEST = 10  # utterances of each kind
SILENT = math.inf  # the gap of a recording without sound: always refused


@dataclass(frozen=True)
class Judgement:
    """Utterances read by the grammar without any refusal.

    Attributes:
        gaps: (N,) float64, nats a character; `SILENT` in silence.
        inside: (N,) bool, the grammar holds the text.
        right: (N,) bool, read as what was said.
        seconds: (N,) float64.
    """

    gaps: np.ndarray
    inside: np.ndarray
    right: np.ndarray
    seconds: np.ndarray

    @property
    def hours(self) -> float:
        """Of other speech."""
        return float(self.seconds[~self.inside].sum()) / 3600

    def at(self, max_gap: float) -> Point:
        """What a limit does."""
        kept = self.gaps <= max_gap
        inside, others = self.inside, ~self.inside
        return Point(max_gap, float((kept & self.right)[inside].mean()),
                     float((~kept)[inside].mean()), int(kept[others].sum()),
                     float(kept[others].sum() / self.hours))

    def curve(self) -> list[Point]:
        """One point for each limit at which another utterance of other speech is let through."""
        limits = np.unique(self.gaps[np.isfinite(self.gaps)])
        if len(limits) > 200:
            limits = np.quantile(limits, np.linspace(0, 1, 200))
        return [self.at(float(limit)) for limit in limits]


@dataclass(frozen=True)
class Point:
    """One limit.

    Attributes:
        max_gap: the limit.
        right: share of the grammar's utterances that are read rightly and not refused.
        refused: share of them that are refused.
        accepted: utterances of other speech that are taken for a sentence.
        per_hour: the same an hour of it.
    """

    max_gap: float
    right: float
    refused: float
    accepted: int
    per_hour: float


@dataclass(frozen=True)
class Refusal:
    """What `tune_refusal` found.

    Attributes:
        settings: settings of the decoder, with the limit.
        point: what the limit does on the development data.
        never: what happens without refusing.
        allowed: false accepts an hour that were asked for.
        inside, others: utterances of each kind.
        hours: of other speech.
    """

    settings: DecoderSettings
    point: Point
    never: Point
    allowed: float
    inside: int
    others: int
    hours: float

    def to_dict(self) -> dict:
        """Plain values, for JSON and for the bundle."""
        return {"max_gap": self.point.max_gap, "right": self.point.right,
                "refused": self.point.refused, "false_accepts": self.point.accepted,
                "per_hour": self.point.per_hour, "allowed_per_hour": self.allowed,
                "right_without": self.never.right, "accepted_without": self.never.accepted,
                "inside": self.inside, "others": self.others, "hours": self.hours}

    def lines(self) -> list[str]:
        """The result for people."""
        lines = [f"{self.inside:,} utterances of the grammar, {self.others:,} of other speech "
                 f"({self.hours:.2f} h)",
                 f"never refusing: {100 * self.never.right:.1f} % read rightly, "
                 f"{self.never.accepted:,} of other speech taken for a sentence",
                 f"max_gap {self.point.max_gap:.3f}: {100 * self.point.right:.1f} % read rightly, "
                 f"{100 * self.point.refused:.1f} % refused, {self.point.accepted:,} of other "
                 f"speech taken for a sentence, {self.point.per_hour:.2f} an hour"]
        if self.allowed * self.hours < 1:
            lines.append(f"With {self.hours:.2f} h of other speech, none of it may pass; give more "
                         "of it, and the limit becomes less strict.")
        return lines


def judge_refusals(recognizer: Recognizer, dev: DevSet, seconds: Sequence[float]) -> Judgement:
    """Read all utterances with the grammar of the recogniser, on all cores.

    Args:
        recognizer: its decoder settings name a grammar.
        dev: from `read_dev_set`.
        seconds: duration of each utterance.

    Raises:
        UsageError: the decoder has no grammar.
    """
    settings = recognizer.decoder_settings
    if settings.kind != "beam" or not settings.grammar:
        raise UsageError("Refusing belongs to a grammar, and this bundle's decoder has none. Give "
                         "one: --grammar FILE.", code="tune.no_grammar")
    grammar = parse_grammar(settings.grammar)
    decoder = recognizer.with_decoder(settings, max_gap=NEVER_REFUSED).decoder
    if isinstance(decoder, CalibratedDecoder):
        decoder = decoder.decoder
    if not isinstance(decoder, BeamSearchDecoder):
        raise TypeError(f"The decoder of a grammar is a {type(decoder).__name__}.")

    def read(logits: np.ndarray | None) -> tuple[str, float]:
        if logits is None:
            return "", SILENT
        log_probs = log_softmax(check_logits(logits, decoder.tokenizer.vocab_size))
        best = decoder.search(log_probs)[0]
        return best.text, worst_gap(log_probs, best) if best.text else SILENT

    found = pool.run([partial(read, logits) for logits in dev.logits], pool.default_threads())
    texts = [" ".join(normalize(text, dev.normalizer).split()) for text, _ in found]
    references = [" ".join(reference.split()) for reference in dev.references]
    return Judgement(
        np.array([gap for _, gap in found], dtype=np.float64),
        np.array([grammar.accepts(reference) for reference in references], dtype=bool),
        np.array([text == reference for text, reference in zip(texts, references, strict=True)],
                 dtype=bool), np.asarray(seconds, dtype=np.float64))


def tune_refusal(recognizer: Recognizer, judged: Judgement, *, per_hour: float = 1.0) -> Refusal:
    """The largest limit that lets at most `per_hour` utterances of other speech through an hour.

    It lies midway to the next one that would pass, and no higher than what keeps every utterance
    of the grammar: beyond that nothing is won.

    Args:
        recognizer: its settings become those of the result.
        judged: from `judge_refusals`.
        per_hour: 0 or more.

    Raises:
        DataError: fewer than 10 utterances of the grammar, or of other speech.
        UsageError: `per_hour` is below 0.
    """
    inside, others = int(judged.inside.sum()), int((~judged.inside).sum())
    if per_hour < 0:
        raise UsageError(f"{per_hour:g} false accepts an hour; give 0 or more.")
    if min(inside, others) < FEWEST:
        raise DataError(f"{inside} utterances of the grammar and {others} of other speech are too "
                        f"few to tune on; give at least {FEWEST} of each, which the network was "
                        "not trained on.", code="tune.few_words")
    wrong = np.sort(judged.gaps[~judged.inside])
    allowed = math.floor(per_hour * judged.hours)
    first_refused = wrong[allowed] if allowed < len(wrong) else math.inf
    last_taken = wrong[allowed - 1] if allowed else 0.0
    limit = (last_taken + first_refused) / 2
    sounding = judged.gaps[judged.inside & np.isfinite(judged.gaps)]
    limit = min(limit, float(sounding.max(initial=0.0)) + 0.5, NEVER_REFUSED)
    settings = dataclasses.replace(recognizer.decoder_settings, max_gap=float(limit))
    return Refusal(settings, judged.at(limit), judged.at(NEVER_REFUSED), per_hour, inside, others,
                   judged.hours)
