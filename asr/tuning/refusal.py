"""Calibrate what a grammar refuses: `decoder.max_gap` or `max_doubt` from development data.

In: a recogniser with a grammar, utterances with their texts and durations. Those whose text the
grammar holds are to be read; all others are other speech, to be refused. Out: a `Refusal`: the
measure and the limit that lets at most so many of the others through an hour, or that reads such a
share of the sentences, and what it costs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from asr.decoding import BeamSearchDecoder, check_logits, log_softmax, parse_grammar
from asr.decoding.alignment import doubt, worst_gap
from asr.decoding.evidence import CalibratedDecoder
from asr.errors import DataError, UsageError
from asr.kernels import pool
from asr.recipe import NEVER_REFUSED, DecoderSettings
from asr.recognizer import Recognizer
from asr.terminal import plural
from asr.text import normalize
from asr.tuning.dev_set import DevSet

MEASURES = ("max_gap", "max_doubt")
FEWEST = 10  # utterances of each kind
SILENT = math.inf  # the gap of a recording without sound: always refused


@dataclass(frozen=True)
class Judgement:
    """Utterances read by the grammar without any refusal.

    Attributes:
        measure: "max_gap" or "max_doubt", the setting that limits the gaps.
        gaps: (N,) float64, nats a character; `SILENT` in silence.
        inside: (N,) bool, the grammar holds the text.
        right: (N,) bool, read as what was said.
        seconds: (N,) float64.
    """

    measure: str
    gaps: np.ndarray
    inside: np.ndarray
    right: np.ndarray
    seconds: np.ndarray

    @property
    def hours(self) -> float:
        """Of other speech."""
        return float(self.seconds[~self.inside].sum()) / 3600

    def at(self, limit: float) -> Limit:
        """What a limit does."""
        kept = self.gaps <= limit
        inside, others = self.inside, ~self.inside
        return Limit(limit, float((kept & self.right)[inside].mean()),
                     float((~kept)[inside].mean()), int(kept[others].sum()),
                     float(kept[others].sum() / self.hours))

    def curve(self) -> list[Limit]:
        """One point for each limit at which another utterance of other speech is let through."""
        limits = np.unique(self.gaps[np.isfinite(self.gaps)])
        if len(limits) > 200:
            limits = np.quantile(limits, np.linspace(0, 1, 200))
        return [self.at(float(limit)) for limit in limits]


@dataclass(frozen=True)
class Limit:
    """One limit.

    Attributes:
        limit: nats a character.
        right: share of the grammar's utterances that are read rightly and not refused.
        refused: share of them that are refused.
        accepted: utterances of other speech that are taken for a sentence.
        per_hour: the same an hour of it.
    """

    limit: float
    right: float
    refused: float
    accepted: int
    per_hour: float


@dataclass(frozen=True)
class Refusal:
    """What `tune_refusal` found.

    Attributes:
        measure: which setting it is.
        settings: settings of the decoder, with the limit.
        point: what the limit does on the development data.
        never: what happens without refusing.
        allowed: false accepts an hour that were asked for; None: `keep` was.
        inside, others: utterances of each kind.
        hours: of other speech.
        keep: share of the sentences that was to be read; None: `allowed` was asked for.
    """

    measure: str
    settings: DecoderSettings
    point: Limit
    never: Limit
    allowed: float | None
    inside: int
    others: int
    hours: float
    keep: float | None = None

    @property
    def keeps_its_word(self) -> bool:
        """Whether no more pass than were allowed; at a limit of 0 more may."""
        return self.allowed is None or self.point.accepted <= self.allowed * self.hours

    def to_dict(self) -> dict:
        """Plain values, for JSON and for the bundle."""
        return {"measure": self.measure, "limit": self.point.limit, "right": self.point.right,
                "refused": self.point.refused, "false_accepts": self.point.accepted,
                "per_hour": self.point.per_hour,
                "allowed_per_hour": self.allowed, "keep": self.keep,
                "right_without": self.never.right, "accepted_without": self.never.accepted,
                "inside": self.inside, "others": self.others, "hours": self.hours}

    def lines(self) -> list[str]:
        """The result for people."""
        lines = [f"{plural(self.inside, 'utterance')} of the grammar, {self.others:,} of other "
                 f"speech ({self.hours:.2f} h)",
                 f"never refusing: {100 * self.never.right:.1f} % read rightly, "
                 f"{self.never.accepted:,} of other speech taken for a sentence",
                 f"{self.measure} {self.point.limit:.3f}: {100 * self.point.right:.1f} % read "
                 f"rightly, {100 * self.point.refused:.1f} % refused, {self.point.accepted:,} of "
                 f"other speech taken for a sentence, {self.point.per_hour:.2f} an hour"]
        if not self.keeps_its_word:
            lines.append("More of it passes than was asked for, and no limit is lower: it cannot "
                         "be told from the sentences.")
        elif self.allowed is not None and self.allowed * self.hours < 1:
            lines.append(f"With {self.hours:.2f} h of other speech, none of it may pass; give more "
                         "of it, and the limit becomes less strict.")
        return lines


def judge_refusals(recognizer: Recognizer, dev: DevSet, seconds: Sequence[float]
                   ) -> dict[str, Judgement]:
    """Read all utterances with the grammar of the recogniser, on all cores.

    Returns:
        The same readings by each measure of `MEASURES`.

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
    decoder = recognizer.with_decoder(settings, max_gap=NEVER_REFUSED,
                                      max_doubt=NEVER_REFUSED).decoder
    if isinstance(decoder, CalibratedDecoder):
        decoder = decoder.decoder
    if not isinstance(decoder, BeamSearchDecoder):
        raise TypeError(f"The decoder of a grammar is a {type(decoder).__name__}.")

    def read(logits: np.ndarray | None) -> tuple[str, float, float]:
        if logits is None:
            return "", SILENT, SILENT
        log_probs = log_softmax(check_logits(logits, decoder.tokenizer.vocab_size))
        best = decoder.search(log_probs)[0]
        if not best.text:
            return "", SILENT, SILENT
        return best.text, worst_gap(log_probs, best), doubt(best, settings.word_bonus)

    found = pool.run([partial(read, logits) for logits in dev.logits], pool.default_threads())
    texts = [" ".join(normalize(text, dev.normalizer).split()) for text, *_ in found]
    references = [" ".join(reference.split()) for reference in dev.references]
    inside = np.array([grammar.accepts(reference) for reference in references], dtype=bool)
    right = np.array([text == reference for text, reference in zip(texts, references, strict=True)],
                     dtype=bool)
    return {measure: Judgement(measure, np.array([row[place] for row in found], dtype=np.float64),
                               inside, right, np.asarray(seconds, dtype=np.float64))
            for place, measure in enumerate(MEASURES, start=1)}


def tune_refusal(recognizer: Recognizer, judged: Mapping[str, Judgement], *,
                 per_hour: float = 1.0, keep: float | None = None,
                 at_most: float = NEVER_REFUSED) -> Refusal:
    """The better measure, at its limit: it keeps more of the sentences, or refuses more others.

    Args:
        recognizer: its settings become those of the result.
        judged: from `judge_refusals`.
        per_hour: false accepts, 0 or more; see `limit_of`.
        keep: share of the sentences to read, in place of `per_hour`; see `limit_that_keeps`.
        at_most: with `keep`, see there.

    Raises:
        DataError, UsageError: see `limit_of`.
    """
    if keep is not None:
        kept = [limit_that_keeps(recognizer, one, keep, at_most) for one in judged.values()]
        return min(kept, key=lambda one: (one.point.accepted, -one.point.right))
    found = [limit_of(recognizer, one, per_hour=per_hour) for one in judged.values()]
    return max(found, key=lambda one: (one.keeps_its_word, one.point.right))


def limit_that_keeps(recognizer: Recognizer, judged: Judgement, keep: float,
                     at_most: float = NEVER_REFUSED) -> Refusal:
    """The smallest limit at which this share of what the grammar reads rightly is not refused.

    For development data whose other speech is not that of the place of use, such as words chosen
    because they sound like the sentences.

    Args:
        recognizer: its settings become those of the result.
        judged: by one measure.
        keep: above 0, at most 1.
        at_most: the limit is no higher, although less is kept.

    Raises:
        DataError: fewer than 10 utterances of the grammar, or of other speech; or none is read.
        UsageError: `keep` is out of bounds.
    """
    if not 0 < keep <= 1:
        raise UsageError(f"A share of {keep:g} is to be read; give more than 0, at most 1.")
    _refuse_few(judged)
    gaps = np.sort(judged.gaps[judged.inside & judged.right & np.isfinite(judged.gaps)])
    if not len(gaps):
        raise DataError("No utterance of the grammar is read rightly; train longer, or look at the "
                        "phrases.", code="tune.none_right")
    limit = min(float(gaps[math.ceil(keep * len(gaps)) - 1]), at_most)
    return _refusal(recognizer, judged, limit, None, keep)


def limit_of(recognizer: Recognizer, judged: Judgement, *, per_hour: float = 1.0) -> Refusal:
    """The largest limit that lets at most `per_hour` utterances of other speech through an hour.

    It lies midway to the next one that would pass, and no higher than what keeps every utterance
    of the grammar: beyond that nothing is won.

    Args:
        recognizer: its settings become those of the result.
        judged: by one measure.
        per_hour: 0 or more.

    Raises:
        DataError: fewer than 10 utterances of the grammar, or of other speech.
        UsageError: `per_hour` is below 0.
    """
    if per_hour < 0:
        raise UsageError(f"{per_hour:g} false accepts an hour; give 0 or more.")
    _refuse_few(judged)
    wrong = np.sort(judged.gaps[~judged.inside])
    allowed = math.floor(per_hour * judged.hours)
    first_refused = wrong[allowed] if allowed < len(wrong) else math.inf
    last_taken = wrong[allowed - 1] if allowed else 0.0
    limit = (last_taken + first_refused) / 2
    if limit >= first_refused:  # ties; at 0 there is no lower limit, and too many pass
        limit = max(0.0, float(np.nextafter(first_refused, 0)))
    sounding = judged.gaps[judged.inside & np.isfinite(judged.gaps)]
    limit = min(limit, float(sounding.max(initial=0.0)) + 0.5, NEVER_REFUSED)
    return _refusal(recognizer, judged, limit, per_hour, None)


def _refuse_few(judged: Judgement) -> None:
    """Fewer than `FEWEST` of a kind say nothing."""
    inside, others = int(judged.inside.sum()), int((~judged.inside).sum())
    if min(inside, others) < FEWEST:
        raise DataError(f"{plural(inside, 'utterance')} of the grammar and {others} of other "
                        f"speech are too few to tune on; give at least {FEWEST} of each, which "
                        "the network was not trained on.", code="tune.few_words")


def _refusal(recognizer: Recognizer, judged: Judgement, limit: float, allowed: float | None,
             keep: float | None) -> Refusal:
    """What a limit does, as settings and numbers."""
    inside, others = int(judged.inside.sum()), int((~judged.inside).sum())
    limits = dict.fromkeys(MEASURES, NEVER_REFUSED) | {judged.measure: float(limit)}
    settings = dataclasses.replace(recognizer.decoder_settings, **limits)
    return Refusal(judged.measure, settings, judged.at(limit), judged.at(NEVER_REFUSED), allowed,
                   inside, others, judged.hours, keep)
