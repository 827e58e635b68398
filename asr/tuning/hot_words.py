"""Tune the boost of hot words on development data: one forward pass, many decodings.

In: a `Recognizer`, logits with references, phrases. Out: `HotCounts`, and a `HotTuning`: recall,
precision and word error rate at each boost, the winner by F-score, and whether it helps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from asr.decoding import Decoder, HotWord, build_decoder
from asr.decoding.phrases import MAX_BOOST
from asr.errors import DataError, UsageError
from asr.inference.decoders import language_model_of
from asr.recipe import DecoderSettings
from asr.recognizer import Recognizer
from asr.scoring.bootstrap import Interval, cluster_sums, clusters_of, draw_sums, interval_of
from asr.scoring.counts import count_words
from asr.terminal import plural
from asr.text import normalize
from asr.tuning import DRAWS, DevSet, narrow_notes, read_texts

BOOSTS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)  # nats per character


@dataclass(frozen=True)
class HotCounts:
    """How well a list of phrases is recognised.

    Attributes:
        spoken: places of a phrase in the references, as whole words.
        found: how many of these the hypothesis of the same utterance has too.
        false_alarms: places in the hypotheses beyond that.
        words: reference words of all utterances.
        errors: word errors of all utterances.
    """

    spoken: int
    found: int
    false_alarms: int
    words: int
    errors: int

    @property
    def recall(self) -> float | None:
        """Found of spoken; None where none is spoken."""
        return self.found / self.spoken if self.spoken else None

    @property
    def precision(self) -> float | None:
        """Found of reported; None where none is reported."""
        reported = self.found + self.false_alarms
        return self.found / reported if reported else None

    @property
    def f_score(self) -> float:
        """Harmonic mean of recall and precision; 0 where nothing is found."""
        return 2 * self.found / max(1, self.spoken + self.found + self.false_alarms)

    @property
    def false_alarms_per_thousand(self) -> float:
        """False alarms in 1,000 reference words."""
        return 1_000 * self.false_alarms / self.words

    @property
    def wer(self) -> float:
        """Word error rate."""
        return self.errors / self.words

    def to_dict(self) -> dict:
        """Plain values, for JSON and for the bundle."""
        return {**dataclasses.asdict(self), "recall": self.recall, "precision": self.precision,
                "f_score": self.f_score, "wer": self.wer,
                "false_alarms_per_thousand": self.false_alarms_per_thousand}


@dataclass(frozen=True)
class HotTuning:
    """What `tune_hot_words` found.

    Attributes:
        phrases: what was listened for, normalised.
        tried: boost -> counts, in the order of trial; 0 is the same decoder without hot words.
        boost: the winner, nats per character.
        settings: settings of the decoder with the winner.
        gain: interval of the winner's F-score minus that without hot words, over drawn speakers or
            utterances. The winner was chosen on the same data: the true gain is a little smaller.
        notes: sentences for the person.
    """

    phrases: tuple[str, ...]
    tried: dict[float, HotCounts]
    boost: float
    settings: DecoderSettings
    gain: Interval
    notes: tuple[str, ...]

    @property
    def helps(self) -> bool:
        """Whether the gain is more than chance."""
        return self.boost > 0 and self.gain.above_zero

    def to_dict(self) -> dict:
        """Plain values, for JSON and for the bundle."""
        return {"boost": self.boost, "helps": self.helps, "gain": self.gain.to_dict(),
                "phrases": list(self.phrases), "notes": list(self.notes),
                "without": self.tried[0.0].to_dict(), "with": self.tried[self.boost].to_dict()}


def count_hot_words(references: Sequence[str], hypotheses: Sequence[str],
                    phrases: Sequence[str]) -> np.ndarray:
    """(N, 5) int64 for each utterance: spoken, found, false alarms, words, word errors.

    A phrase is found as often as both texts of an utterance hold it as whole words.

    Args:
        references, hypotheses: normalised texts.
        phrases: normalised, single spaces.

    Example:
        >>> count_hot_words(["ann met ann", "an ant"], ["ann met anna", "ann"], ["ann"]).tolist()
        [[2, 1, 0, 3, 1], [0, 0, 1, 2, 2]]
    """
    rows = np.zeros((len(references), 5), np.int64)
    for row, reference, hypothesis in zip(rows, references, hypotheses, strict=True):
        for phrase in phrases:
            spoken, reported = (occurrences(text, phrase) for text in (reference, hypothesis))
            row[:3] += spoken, min(spoken, reported), max(0, reported - spoken)
    errors = count_words([" ".join(text.split()) for text in references], list(hypotheses))
    rows[:, 3], rows[:, 4] = errors[:, 3], errors[:, :3].sum(axis=1)
    return rows


def occurrences(text: str, phrase: str) -> int:
    """How often a text holds a phrase as whole words, overlaps included.

    Example:
        >>> occurrences("new york new york new", "new york new")
        2
    """
    words, wanted = text.split(), phrase.split()
    return sum(words[i:i + len(wanted)] == wanted for i in range(len(words) - len(wanted) + 1))


def total_counts(rows: np.ndarray) -> HotCounts:
    """The sums of what `count_hot_words` returns."""
    return HotCounts(*(int(number) for number in rows.sum(axis=0)))


class HotDecoders:
    """The decoders of a recogniser with hot words at one boost or another.

    A recogniser that reads greedily or by a lexicon is given a beam, without hot words too, so that
    what is compared differs in the hot words only.

    Args:
        recognizer: its settings are the base; hot words in them are left out.
        phrases: what to listen for; normalised with the recogniser's normaliser.

    Raises:
        UsageError: no phrase.
        TextError: a phrase with characters outside the alphabet.
    """

    def __init__(self, recognizer: Recognizer, phrases: Sequence[str]):
        self.tokenizer = recognizer.tokenizer
        normalizer = recognizer.bundle.text.normalizer
        self.phrases = tuple(dict.fromkeys(
            " ".join(normalize(phrase, normalizer).split()) for phrase in phrases))
        if not self.phrases or "" in self.phrases:
            raise UsageError(f"A list of hot words needs one phrase at least, and no phrase that "
                             f"the normaliser {normalizer!r} leaves nothing of; got "
                             f"{list(phrases)[:5]}.", code="hot_words.empty")
        for phrase in self.phrases:
            self.tokenizer.encode(phrase)
        self.settings = dataclasses.replace(recognizer.decoder_settings, kind="beam", hot_words=())
        self._model = language_model_of(recognizer.bundle, self.settings)

    def settings_at(self, boost: float) -> DecoderSettings:
        """Settings with all phrases at one boost; 0 leaves them out."""
        words = tuple(f"{phrase}:{boost:g}" for phrase in self.phrases) if boost else ()
        return dataclasses.replace(self.settings, hot_words=words)

    def at(self, boost: float) -> Decoder:
        """The decoder with all phrases at one boost."""
        return build_decoder(self.settings_at(boost), self.tokenizer, language_model=self._model)


def tune_hot_words(recognizer: Recognizer, dev: DevSet, hot_words: Sequence[HotWord | str], *,
                   boosts: Sequence[float] = BOOSTS,
                   progress: Callable[[int, int], None] | None = None) -> HotTuning:
    """Sweep the boost on a grid, then finer around the best F-score.

    Args:
        recognizer: recogniser of the bundle, with the decoder to add hot words to.
        dev: from `asr.tuning.read_dev_set`; utterances without any of the phrases too, or false
            alarms cannot be seen.
        hot_words: the phrases; boosts of their own play no part.
        boosts: the grid, nats per character, positive and rising.
        progress: called with (boosts done, boosts at most).

    Raises:
        UsageError: an empty, falling or too high grid, or no phrase.
        TextError: a phrase with characters outside the alphabet.
        DataError: no phrase is spoken in the development set.
    """
    if not boosts or list(boosts) != sorted(set(boosts)) or not 0 < boosts[0] <= MAX_BOOST \
            or not boosts[-1] <= MAX_BOOST:
        raise UsageError(f"boosts {tuple(boosts)} must be positive, rising, not empty and at most "
                         f"{MAX_BOOST:g}.")
    decoders = HotDecoders(recognizer, [w.phrase if isinstance(w, HotWord) else w
                                        for w in hot_words])
    missing = [phrase for phrase in decoders.phrases
               if not any(occurrences(text, phrase) for text in dev.references)]
    if len(missing) == len(decoders.phrases):
        raise DataError(f"None of the hot words ({', '.join(missing[:5])}"
                        f"{', ...' * (len(missing) > 5)}) is spoken in the development set, so "
                        "no boost can be chosen on it; take recordings that hold them.",
                        code="hot_words.unspoken")
    tried: dict[float, np.ndarray] = {}

    def attempt(boost: float) -> None:
        if boost not in tried:
            tried[boost] = count_hot_words(dev.references, read_texts(dev, decoders.at(boost)),
                                           decoders.phrases)
            if progress:
                progress(len(tried), len(boosts) + 3)

    def winner() -> float:  # of equals, the smaller boost
        return max(tried, key=lambda boost: (total_counts(tried[boost]).f_score, -boost))

    for boost in (0.0, *boosts):
        attempt(boost)
    if best := winner():
        below = max([b for b in tried if b < best])
        above = min([b for b in tried if b > best], default=best)
        attempt((below + best) / 2)
        attempt((best + above) / 2)
        best = winner()
    return _summary(dev, decoders, tried, best, boosts, missing)


def _summary(dev: DevSet, decoders: HotDecoders, tried: dict[float, np.ndarray], best: float,
             boosts: Sequence[float], missing: Sequence[str]) -> HotTuning:
    gain = f_score_gain(tried[0.0], tried[best], dev.speakers)
    notes = narrow_notes(gain)
    if best == 0 or gain.low <= 0:
        notes.append("Boosting these words does not help: the gain in F-score is within chance on "
                     "this development set.")
    if best >= boosts[-1]:
        notes.append(f"The best boost {best:g} lies at the edge of the grid; widen it.")
    if missing:
        all_of_them = plural(len(decoders.phrases), "phrase is", "phrases are")
        notes.append(f"{len(missing)} of {all_of_them} never spoken in the development set "
                     f"({', '.join(missing[:5])}); they count as false alarms only.")
    return HotTuning(decoders.phrases, {boost: total_counts(rows) for boost, rows in tried.items()},
                     best, decoders.settings_at(best), gain, tuple(notes))


def f_score_gain(before: np.ndarray, after: np.ndarray, speakers: Sequence[str]) -> Interval:
    """95 % interval of the F-score after minus the F-score before, paired.

    Args:
        before, after: results of `count_hot_words`, the same utterances.
        speakers: one an utterance.
    """
    unit, group = clusters_of(len(before), speakers)
    sums = draw_sums(cluster_sums(np.hstack([before[:, :3], after[:, :3]]), group), DRAWS, 0)
    scores = [2 * sums[:, i + 1] / np.maximum(1, sums[:, i:i + 3].sum(axis=1)) for i in (0, 3)]
    spoken = (sums[:, 0] > 0).astype(float)  # a draw without a spoken phrase says nothing
    return interval_of(scores[1] - scores[0], spoken, 0.95, unit, int(group.max()) + 1)
