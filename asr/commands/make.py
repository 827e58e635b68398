"""From a list of phrases to a bundle, on one page.

In: phrases, a folder for the work. Out: a bundle that knows exactly these phrases.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from asr.bundle import load_bundle
from asr.bundle.find import LETTERS, find_bundle
from asr.commands.corpus import default_voices, make_material, split_voices
from asr.commands.phrases import NORMALIZER
from asr.commands.pronunciation import pronounce, warnings_of
from asr.commands.settings import MAX_PAUSE, recipe_of
from asr.errors import UsageError
from asr.export.int8_bundle import quantize_bundle
from asr.files import write_atomic
from asr.manifest import Utterance, read_manifest
from asr.recipe import NEVER_REFUSED, DecoderSettings, Recipe, dump_recipe
from asr.recognizer import Recognizer, load
from asr.terminal import plural
from asr.text import normalize
from asr.training import train
from asr.tuning import read_dev_set
from asr.tuning.refusal import Refusal, judge_refusals, tune_refusal
from asr.voices import Voice

MAX_BYTES = 1_000_000
BEAM = 16
KEEP = 0.99  # of the phrases, in voices that had no part in training
MOST_DOUBT = 1.1  # nats a character, docs/commands.md
REAL_SHARE = 0.25  # of an epoch, where recordings are given
MAX_REPEATS = 50

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclass(frozen=True)
class Made:
    """What `make_commands` wrote.

    Attributes:
        bundle, recipe: paths.
        size: bytes of the bundle.
        refusal: how the limit was found.
        wer: word error rate of the phrases in held-out voices, before the closed vocabulary;
            None: not measured.
        minutes: of training.
    """

    bundle: Path
    recipe: Path
    size: int
    refusal: Refusal
    wer: float | None
    minutes: float


def make_commands(phrases: Sequence[str], out: Path, work: Path, *, minutes: float = 15.0,
                  seed: int = 1, voices: Sequence[Voice] | None = None,
                  recordings: Sequence[Path] = (), noise: Path | None = None,
                  filler_words: Path | None = None, per_hour: float | None = None, epochs: int = 0,
                  allow_truncated: bool = False,
                  base: Path | None = LETTERS, overwrite: bool = False,
                  say: Callable[[str], None] = lambda line: None,
                  progress: Progress | None = None) -> Made:
    """Synthesise, train, calibrate and write; run again, it goes on where it stopped.

    Args:
        phrases: from `read_phrases`.
        out: the bundle; `out` with the suffix .toml is the recipe.
        work: folder of the voices and of the run; can be deleted afterwards.
        minutes: of training.
        seed: for every random choice.
        voices: None: `default_voices`.
        recordings: manifests of phrases, or of other speech, said by people; an empty text says
            that nothing is said.
        allow_truncated: for `recordings` and `noise`, see `asr.audio.load_audio`.
        noise: folder with recordings of noise; None: made ones.
        filler_words: list of words that are no command; None: the shipped one.
        per_hour: how much other speech may be taken for a phrase, on voices; None: the limit reads
            `KEEP` of the phrases.
        epochs: at most; 0: as the minutes allow.
        base: a bundle of English letters to begin from; None: random weights.
        overwrite: replace `out` and its recipe.
        say: called with lines for people.
        progress: opens a display of counted work, by its name.

    Raises:
        BundleError: `base` is damaged.
        UsageError: fewer than three voices.
        CorpusError, DataError and the errors of `asr.train`: see there.
    """
    start = load_bundle(base) if base else None  # before minutes of work
    for line in warnings_of(pronounce(phrases)):
        say(f"Warning: {line}")
    voices = list(voices) if voices is not None else default_voices(seed)
    if len(voices) < 3:
        raise UsageError(f"{plural(len(voices), 'voice is', 'voices are')} too few: one trains, "
                         "one validates, one tunes. Install hibari-tts (pip install "
                         "'keras-asr[voices]') or espeak-ng.")
    say(f"{plural(len(phrases), 'phrase')}, {plural(len(voices), 'voice')}, of which "
        f"{len(split_voices(voices, seed)[0])} train")
    work = work.resolve()
    shown = progress or (lambda name: nullcontext(lambda done, total: None))
    with shown("speaking") as count:
        material = make_material(work, phrases, voices, seed=seed, noise=noise,
                                 filler_words=filler_words, progress=count)
    repeats = [_repeats(material.clips, len(_rows(path, phrases, say))) for path in recordings]
    recipe = recipe_of([material.train, *(path.resolve() for path in recordings)], [1, *repeats],
                       material.valid,
                       (noise or material.noise).resolve(), minutes=minutes, seed=seed,
                       epochs=epochs, base=start)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(
        recipe.data, allow_truncated=allow_truncated))
    trained = train(recipe, work / "run")
    recognizer = load(_small(work)).with_decoder(
        DecoderSettings(kind="beam", beam_width=BEAM, grammar="\n".join(phrases),
                        max_pause=MAX_PAUSE))
    refusal = calibrate(recognizer, material.tuning, phrases, per_hour)
    for line in refusal.lines():
        say(line)
    size = _write(out, recognizer, recipe, refusal, voices, overwrite)
    return Made(out, out.with_suffix(".toml"), size, refusal, trained.best_wer, trained.minutes)


def _small(work: Path) -> Path:
    """The best bundle of the run, or, if it is too large, the same with weights of 8 bits."""
    best = find_bundle(work / "run")
    if best.stat().st_size <= MAX_BYTES:
        return best
    small = work / "int8.asr"
    small.unlink(missing_ok=True)
    return quantize_bundle(load(best, engine="numpy"), small).path


def calibrate(recognizer: Recognizer, tuning: Sequence[Utterance], phrases: Sequence[str],
              per_hour: float | None = None) -> Refusal:
    """Find the limit beyond which a recording is refused, on voices that did not train.

    The other words of `tuning` were chosen because they sound like the phrases, thousands an hour;
    talk is not so. A limit for once an hour of them refuses people: 1 % of FSDD's digits are read.

    Single words are refused by `max_doubt`: on people it reads more of them than `max_gap` at each
    rate of false accepts, in the mean of three trainings (docs/commands.md), which voices do not
    show. What a limit lets through of talk and noise hardly depends on the training, while the one
    that the voices ask for does: it is `MOST_DOUBT` at most. Of longer phrases one word can be
    wrong, and the voices choose.
    """
    dev = read_dev_set(recognizer, tuning)
    judged = judge_refusals(recognizer, dev, [u.duration for u in tuning])
    at_most = NEVER_REFUSED
    if not any(" " in phrase for phrase in phrases):
        judged, at_most = {"max_doubt": judged["max_doubt"]}, MOST_DOUBT
    if per_hour is None:
        return tune_refusal(recognizer, judged, keep=KEEP, at_most=at_most)
    return tune_refusal(recognizer, judged, per_hour=per_hour)


def _rows(path: Path, phrases: Sequence[str], say: Callable[[str], None]) -> list[Utterance]:
    """The recordings; says how many are phrases."""
    rows = read_manifest(path)
    known = sum(" ".join(normalize(u.text, NORMALIZER).split()) in set(phrases) for u in rows)
    noises = sum(not u.text for u in rows)
    say(f"{path}: {plural(known, 'recording')} of the phrases, {len(rows) - known - noises} of "
        f"other speech and {noises} of noise (an empty text), which are to be refused")
    return rows


def _repeats(clips: int, real: int) -> int:
    """How often an epoch repeats few recordings, so that they are a quarter of it."""
    return max(1, min(MAX_REPEATS, round(REAL_SHARE / (1 - REAL_SHARE) * clips / max(real, 1))))


def _write(out: Path, recognizer: Recognizer, recipe: Recipe, refusal: Refusal,
           voices: Sequence[Voice], overwrite: bool) -> int:
    """The bundle and, beside it, the recipe."""
    bundle = recognizer.bundle
    training = {**bundle.training, "refusal": refusal.to_dict(), "voices": len(voices)}
    bundle.save(out, overwrite=overwrite, decoder=refusal.settings, training=training)
    full = dataclasses.replace(recipe, decoder=refusal.settings)
    write_atomic(out.with_suffix(".toml"), dump_recipe(full), overwrite=overwrite)
    return out.stat().st_size
