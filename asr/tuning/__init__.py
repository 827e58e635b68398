"""The weights of a language model, found on development data: one forward pass, many decodings.

In: a `Recognizer`, utterances, a language model. Out: a `Tuning`: the error surface, the winner
with its interval, and whether the model helps at all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from asr.decoding import Decoder, GreedyDecoder, LanguageModel, build_decoder
from asr.decoding.ngram_fusion import is_character_model
from asr.decoding.phrases import normalize_hot_words
from asr.errors import DataError, UsageError
from asr.inference.loop import infer
from asr.inference.tasks import Task
from asr.kernels import pool
from asr.manifest import Utterance
from asr.recipe import DecoderSettings, settings_from_dict
from asr.recognizer import Recognizer
from asr.scoring.bootstrap import Interval, cluster_sums, clusters_of, draw_sums, interval_of
from asr.scoring.counts import count_words
from asr.text import normalize

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
BONUSES = (-2.0, 0.0, 1.0, 2.0, 4.0)  # nats a word
DRAWS = 10_000


@dataclass(frozen=True)
class DevSet:
    """Logits and normalised references, so that decoding is all that is left to do.

    Attributes:
        ids, references, speakers: one an utterance.
        logits: (T', V) float32 each; None for a silent recording, which reads "".
    """

    ids: tuple[str, ...]
    references: tuple[str, ...]
    speakers: tuple[str, ...]
    logits: tuple[np.ndarray | None, ...]
    normalizer: str


@dataclass(frozen=True)
class Point:
    """One place of the error surface."""

    lm_weight: float
    word_bonus: float
    beam_width: int
    wer: float


@dataclass(frozen=True)
class Tuning:
    """What `tune` found.

    Attributes:
        greedy_wer: word error rate without any of this.
        without_wer: of the recogniser's own decoder without a language model.
        points: everything that was tried, in order.
        best: the winner.
        settings: of the decoder with the winner's numbers.
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
        """Whether the gain is more than chance: the whole interval lies above zero."""
        return self.gain.low > 0

    def to_dict(self) -> dict:
        """Plain values, for JSON and for the bundle."""
        return {"greedy_wer": self.greedy_wer, "without_wer": self.without_wer,
                "wer": self.best.wer, "words": self.words,
                "gain": self.gain.to_dict(), "helps": self.helps,
                "lm_weight": self.best.lm_weight, "word_bonus": self.best.word_bonus,
                "beam_width": self.best.beam_width, "notes": list(self.notes)}


def read_dev_set(recognizer: Recognizer, utterances: Sequence[Utterance], *,
                 allow_truncated: bool = False,
                 progress: Callable[[int, int], None] | None = None) -> DevSet:
    """The forward pass.

    Raises:
        AudioError: a recording cannot be used.
        DataError: no utterance, or no word in any reference.
    """
    normalizer = recognizer.bundle.text.normalizer
    references = tuple(normalize(u.text, normalizer) for u in utterances)
    if not any(reference.split() for reference in references):
        raise DataError("The development set holds no word to compare with.", code="tune.empty")
    logits: list[np.ndarray | None] = []
    for result in infer(recognizer, [Task(u, u, u.id) for u in utterances],
                        allow_truncated=allow_truncated):
        result.raise_error()
        logits.append(result.logits)
        if progress:
            progress(len(logits), len(utterances))
    return DevSet(tuple(u.id for u in utterances), references,
                  tuple(u.speaker for u in utterances), tuple(logits), normalizer)


def read_texts(dev: DevSet, decoder: Decoder) -> list[str]:
    """What a decoder reads in each utterance, normalised as the references are; on all cores."""
    def read(logits: np.ndarray | None) -> str:
        return "" if logits is None else decoder.decode(logits)[0].text
    texts = pool.run([partial(read, logits) for logits in dev.logits], pool.default_threads())
    return [normalize(text, dev.normalizer) for text in texts]


def word_errors(dev: DevSet, decoder: Decoder) -> np.ndarray:
    """(N, 2) int64: word errors and reference words of each utterance."""
    counts = count_words([" ".join(r.split()) for r in dev.references], read_texts(dev, decoder))
    return np.stack([counts[:, :3].sum(axis=1), counts[:, 3]], axis=1)


def tune(recognizer: Recognizer, dev: DevSet, model: LanguageModel, lm: str, *,
         beam_width: int = 32, weights: Sequence[float] = WEIGHTS,
         bonuses: Sequence[float] = BONUSES, lexicon_only: bool = False,
         progress: Callable[[int, int], None] | None = None) -> Tuning:
    """Sweep weight and bonus on a grid, then finer around the best, then wider beams.

    Args:
        recognizer: of the bundle. Its lexicon, hot words and grammar stay; what is compared with is
            its own decoder without a language model.
        dev: from `read_dev_set`.
        model: the language model.
        lm: the file that the settings will name.
        beam_width: of the sweep.
        weights, bonuses: the grid, each rising.
        lexicon_only: read only words of the language model.
        progress: called with (points done, points at most).

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
    tried: dict[tuple[float, float, int], np.ndarray] = {}
    most = len(weights) * len(bonuses) + 10

    def attempt(weight: float, bonus: float, width: int = beam_width) -> None:
        if (weight, bonus, width) in tried:
            return
        try:
            settings = checked_settings(base, lm_weight=weight, word_bonus=bonus, beam_width=width)
        except UsageError:  # a finer step beyond the grid, or the doubled beam
            return
        tried[weight, bonus, width] = word_errors(dev, _decoder(recognizer, settings, model))
        if progress:
            progress(len(tried), most)

    def winner() -> tuple[float, float, int]:  # of equals, the smaller numbers
        return min(tried, key=lambda key: (tried[key][:, 0].sum(), key[2], key[0], abs(key[1])))

    for weight in weights:
        for bonus in bonuses:
            attempt(weight, bonus)
    weight, bonus, _ = winner()
    steps = [_half_step(weights, weight), _half_step(bonuses, bonus)]
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            attempt(weight + i * steps[0], bonus + j * steps[1])
    weight, bonus, _ = winner()
    attempt(weight, bonus, 2 * beam_width)
    best = winner()
    return _summary(dev, tried, best, dataclasses.replace(
        base, lm_weight=best[0], word_bonus=best[1], beam_width=best[2]), recognizer, model,
        (weights, bonuses))


def checked_settings(settings: DecoderSettings, **knobs) -> DecoderSettings:
    """With these knobs, if a bundle may hold them: no winner that cannot be stored.

    Raises:
        UsageError: a knob that is out of bounds.
    """
    return settings_from_dict(DecoderSettings, dataclasses.asdict(settings) | knobs,
                              source="decoder")


def _decoder(recognizer: Recognizer, settings: DecoderSettings,
             model: LanguageModel | None = None) -> Decoder:
    """As the recogniser would build it, but never with the bundle's language model."""
    settings = normalize_hot_words(settings, recognizer.bundle.text.normalizer)
    return build_decoder(settings, recognizer.tokenizer, language_model=model)


def _half_step(grid: Sequence[float], value: float) -> float:
    """Half of the smaller distance to the neighbours on the grid."""
    distances = [abs(value - other) for other in grid if other != value]
    return min(distances) / 2 if distances else 0.25


def _summary(dev: DevSet, tried: dict, best: tuple[float, float, int], settings: DecoderSettings,
             recognizer: Recognizer, model: LanguageModel,
             grids: tuple[Sequence[float], Sequence[float]]) -> Tuning:
    greedy = word_errors(dev, GreedyDecoder(recognizer.tokenizer))
    own = recognizer.decoder_settings
    without = word_errors(dev, _decoder(recognizer, dataclasses.replace(
        own, lm="", lexicon_only=own.lexicon_only and bool(own.lexicon))))
    words = int(greedy[:, 1].sum())
    unit, group = clusters_of(len(greedy), dev.speakers)
    saved = without[:, 0] - tried[best][:, 0]
    sums = draw_sums(cluster_sums(np.stack([saved, greedy[:, 1]], axis=1), group), DRAWS, 0)
    gain = interval_of(sums[:, 0], sums[:, 1], 0.95, unit, int(group.max()) + 1)
    points = tuple(Point(key[0], key[1], key[2], float(errors[:, 0].sum() / words))
                   for key, errors in tried.items())
    won = next(p for p in points if (p.lm_weight, p.word_bonus, p.beam_width) == best)
    notes = []
    if gain.low <= 0:
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


def unit_notes(references: Sequence[str], model: LanguageModel,
               recognizer: Recognizer) -> list[str]:
    """Sentences where model and texts do not speak of the same words."""
    if is_character_model(model, recognizer.tokenizer):
        return []
    words = [word for reference in references for word in reference.split()]
    unknown = [word for word in words if word not in model.word_numbers]
    if len(unknown) < 0.1 * len(words):
        return []
    return [f"The language model does not know {len(unknown) / len(words):.0%} of the words of the "
            f"development set ({', '.join(sorted(set(unknown))[:5])}, ...): is it of the same "
            "normaliser and language?"]
