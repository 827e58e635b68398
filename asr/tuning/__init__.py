"""Tune the weights of a language model on development data: one forward pass, many decodings.

In: a `Recognizer`, utterances, a language model. Out: a `Tuning`: the error surface, the winner
with its interval, and whether the model helps at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from asr.decoding import BeamSearchDecoder, Decoder, GreedyDecoder, build_decoder
from asr.decoding.phrases import normalize_hot_words
from asr.errors import UsageError
from asr.language_model import LanguageModel
from asr.recipe import DecoderSettings
from asr.recognizer import Recognizer
from asr.scoring.bootstrap import (
    FEW_CLUSTERS,
    Interval,
    cluster_sums,
    clusters_of,
    draw_sums,
    interval_of,
)
from asr.settings import settings_from_dict
from asr.tuning.dev_set import DevSet, read_dev_set, read_texts, word_errors
from asr.tuning.race import Key, Race

__all__ = ["BONUSES", "DRAWS", "WEIGHTS", "DevSet", "Point", "Tuning", "checked_settings",
           "narrow_notes", "read_dev_set", "read_texts", "tune", "unit_notes", "word_errors"]

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
BONUSES = (-2.0, 0.0, 1.0, 2.0, 4.0)  # nats a word
DRAWS = 10_000


@dataclass(frozen=True)
class Point:
    """One place of the error surface.

    Attributes:
        lm_weight, word_bonus, beam_width: the settings.
        wer: word error rate; see `Race.wer`.
        utterances: that were read.
    """

    lm_weight: float
    word_bonus: float
    beam_width: int
    wer: float
    utterances: int


@dataclass(frozen=True)
class Tuning:
    """What `tune` found.

    Attributes:
        greedy_wer: word error rate without any of this.
        without_wer: word error rate of the recogniser's own decoder without a language model.
        points: everything that was tried, in order.
        best: the winner.
        settings: settings of the decoder with the winner's numbers.
        gain: interval of `without_wer` minus the winner's, over drawn speakers or utterances. The
            winner was chosen on the same data, so the true gain is a little smaller.
        words: reference words.
        notes: sentences for the person.
    """

    greedy_wer: float
    without_wer: float
    points: tuple[Point, ...]
    best: Point
    settings: DecoderSettings
    gain: Interval
    words: int
    notes: tuple[str, ...]

    @property
    def helps(self) -> bool:
        """Whether the gain is more than chance."""
        return self.gain.above_zero

    def to_dict(self) -> dict:
        """Plain values, for JSON and for the bundle."""
        return {"greedy_wer": self.greedy_wer, "without_wer": self.without_wer,
                "wer": self.best.wer, "words": self.words,
                "gain": self.gain.to_dict(), "helps": self.helps,
                "lm_weight": self.best.lm_weight, "word_bonus": self.best.word_bonus,
                "beam_width": self.best.beam_width, "notes": list(self.notes)}


def tune(recognizer: Recognizer, dev: DevSet, model: LanguageModel, lm: str, *,
         beam_width: int = 32, weights: Sequence[float] = WEIGHTS,
         bonuses: Sequence[float] = BONUSES, lexicon_only: bool = False,
         progress: Callable[[int, int], None] | None = None) -> Tuning:
    """Sweep weight and bonus on a grid, then finer around the best, then wider beams.

    What falls behind is not read to the end where the set has many utterances, see `Race`; the
    winner is, and the interval of its gain is over all utterances.

    Args:
        recognizer: its lexicon, hot words and grammar stay; what is compared with is
            its own decoder without a language model.
        dev: from `read_dev_set`.
        model: the language model.
        lm: the file that the settings will name.
        beam_width: beam width of the sweep.
        weights, bonuses: the grid, each rising.
        lexicon_only: read only words of the language model.
        progress: called with (utterances read, utterances to be read, about).

    Raises:
        UsageError: an empty or falling grid, one beyond what a bundle may hold, or a model that
            cannot belong to the tokenizer.
    """
    for name, grid in (("weights", weights), ("bonuses", bonuses)):
        if not grid or list(grid) != sorted(set(grid)):
            raise UsageError(f"{name} {tuple(grid)} must be rising and not empty.")
    own = recognizer.decoder_settings
    base = dataclasses.replace(own, kind="beam", beam_width=beam_width, lm=lm,
                               lexicon_only=lexicon_only or own.lexicon_only)
    for weight, bonus in ((weights[0], bonuses[0]), (weights[-1], bonuses[-1])):
        checked_settings(base, lm_weight=weight, word_bonus=bonus)
    decoder = _decoder(recognizer, base, model)  # built once: a large vocabulary takes a while
    if not isinstance(decoder, BeamSearchDecoder):
        raise TypeError(f"The decoder of the sweep is a {type(decoder).__name__}.")
    grid = [Key(weight, bonus, beam_width) for weight in weights for bonus in bonuses]
    race = Race(dev, lambda key: decoder.reweighted(*key), progress, (len(grid), 8, 1))
    race.run(grid)
    best = race.winner
    steps = [_half_step(weights, best.lm_weight), _half_step(bonuses, best.word_bonus)]
    race.run(_possible(base, [Key(best.lm_weight + i * steps[0], best.word_bonus + j * steps[1],
                                  beam_width) for i in (-1, 0, 1) for j in (-1, 0, 1)]))
    race.run(_possible(base, [race.winner._replace(beam_width=2 * beam_width)]))
    return _summary(race, dataclasses.replace(base, **race.winner._asdict()), recognizer, model,
                    (weights, bonuses))


def _possible(base: DecoderSettings, keys: Sequence[Key]) -> list[Key]:
    """Without a finer step beyond the bounds, or a doubled beam that is too wide."""
    found = []
    for key in keys:
        try:
            checked_settings(base, **key._asdict())
        except UsageError:
            continue
        found.append(key)
    return found


def checked_settings(settings: DecoderSettings, **knobs) -> DecoderSettings:
    """With these knobs, if a bundle may hold them: no winner that cannot be stored.

    Raises:
        UsageError: a knob that is out of bounds.
    """
    return settings_from_dict(DecoderSettings, dataclasses.asdict(settings) | knobs,
                              source="decoder")


def _decoder(recognizer: Recognizer, settings: DecoderSettings,
             model: LanguageModel | None = None) -> Decoder:
    """Build the decoder without the bundle's language model."""
    settings = normalize_hot_words(settings, recognizer.bundle.text.normalizer)
    return build_decoder(settings, recognizer.tokenizer, language_model=model)


def _half_step(grid: Sequence[float], value: float) -> float:
    """Half of the smaller distance to the neighbours on the grid."""
    distances = [abs(value - other) for other in grid if other != value]
    return min(distances) / 2 if distances else 0.25


def _summary(race: Race, settings: DecoderSettings, recognizer: Recognizer, model: LanguageModel,
             grids: tuple[Sequence[float], Sequence[float]]) -> Tuning:
    dev, best = race.dev, race.winner
    greedy = word_errors(dev, GreedyDecoder(recognizer.tokenizer))
    own = recognizer.decoder_settings
    without = word_errors(dev, _decoder(recognizer, dataclasses.replace(
        own, lm="", lexicon_only=own.lexicon_only and bool(own.lexicon))))
    words = int(greedy[:, 1].sum())
    unit, group = clusters_of(len(greedy), dev.speakers)
    saved = without[:, 0] - race.in_order(best)[:, 0]
    sums = draw_sums(cluster_sums(np.stack([saved, greedy[:, 1]], axis=1), group), DRAWS, 0)
    gain = interval_of(sums[:, 0], sums[:, 1], 0.95, unit, int(group.max()) + 1)
    points = tuple(Point(*key, race.wer(key), len(errors)) for key, errors in race.errors.items())
    won = points[list(race.errors).index(best)]
    notes = narrow_notes(gain)
    if any(point.utterances < len(dev.ids) for point in points):
        notes.append("Settings that fell behind early have read a part of the utterances; their "
                     "WER is estimated from the difference to the best one there.")
    if gain.clusters > 1 and gain.low <= 0:
        decoding = "greedy decoding" if own.kind == "greedy" else "this bundle's decoder without it"
        notes.append(f"The language model does not help: the gain over {decoding} is within chance "
                     "on this development set.")
    elif best[0] == 0:
        notes.append("The best weight is 0: the model's probabilities do not help, only its list "
                     "of words does.")
    for name, value, grid in (("weight", best[0], grids[0]), ("word bonus", best[1], grids[1])):
        if len(grid) > 1 and value >= grid[-1] or value <= grid[0] < 0:
            notes.append(f"The best {name} {value:g} lies at the edge of the grid; widen it.")
    notes += unit_notes(dev.references, model, recognizer)
    greedy_wer, without_wer = (float(errors[:, 0].sum() / words) for errors in (greedy, without))
    return Tuning(greedy_wer, without_wer, points, won, settings, gain, words, tuple(notes))


def narrow_notes(gain: Interval) -> list[str]:
    """A sentence where an interval means little or nothing."""
    if gain.clusters == 1:
        return [f"One {gain.unit} says nothing about chance: the interval has no meaning. Use more "
                "development data."]
    if gain.clusters < FEW_CLUSTERS:
        return [f"Only {gain.clusters} {gain.unit}s: the interval is likely too narrow."]
    return []


def unit_notes(references: Sequence[str], model: LanguageModel,
               recognizer: Recognizer) -> list[str]:
    """A note if the model does not know many words of the texts."""
    if model.space:
        return []
    words = [word for reference in references for word in reference.split()]
    unknown = [word for word in words if word not in model.word_numbers]
    if len(unknown) < 0.1 * len(words):
        return []
    return [f"The language model does not know {len(unknown) / len(words):.0%} of the words of the "
            f"development set ({', '.join(sorted(set(unknown))[:5])}, ...): is it of the same "
            "normaliser and language?"]
