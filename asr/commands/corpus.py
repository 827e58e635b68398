"""The material of a training: every phrase and other speech in many voices, in four manifests.

In: phrases and voices. Out: `Material`. The voices' files are kept, so that interrupted work goes
on; `asr.voices.corpus` makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.commands.fillers import TOO_NEAR, filler_texts, read_filler_words, sound_alikes
from asr.commands.pronunciation import distance, pronounce
from asr.manifest import Utterance, write_manifest
from asr.tuning.refusal import FEWEST
from asr.voices import Voice, available_voices
from asr.voices.corpus import prepare
from asr.voices.hibari import available_names
from asr.voices.noises import make_noises

HIBARI = 48  # speakers made of each of hibari's voices
HELD_OUT = 8  # every so many voices one validates, and one tunes
TUNING_TEXTS = 240  # of other speech, each voice that tunes
NOISES = ("coloured", "hum", "knocks", "murmur")  # that are made and mixed under the voices
_BOUNDS = (0.86, 1.22)  # warp of hibari's speakers: from a large man to a child


@dataclass(frozen=True)
class Material:
    """Manifests and a folder of noises.

    Attributes:
        train: phrases and other speech.
        valid: phrases in other voices; chooses the epoch.
        tuning: phrases and other speech in further voices; calibrates the refusal.
        noise: folder.
        clips: utterances of training.
    """

    train: Path
    valid: Path
    tuning: tuple[Utterance, ...]
    noise: Path
    clips: int


def default_voices(seed: int) -> list[Voice]:
    """The English voices of the engines that are here, without kokoro, which is slow; and hibari's
    with pitch, rate and size drawn at random.
    """
    rng = np.random.default_rng([seed, 7])
    voices = [v for v in available_voices() if v.engine not in ("kokoro", "hibari")]
    for name in available_names():
        for index in range(HIBARI):
            # Size and pitch go together, roughly: a large speaker has a low voice.
            warp = _BOUNDS[0] + (_BOUNDS[1] - _BOUNDS[0]) * (index + rng.uniform()) / HIBARI
            pitch = 100 * (0.45 + 0.9 * (warp - 0.8)) * rng.uniform(0.8, 1.5)
            voices.append(Voice("hibari", name, round(float(np.clip(pitch, 45, 150))),
                                round(float(rng.uniform(0.75, 1.35)), 2), round(float(warp), 2)))
    return list(dict.fromkeys(voices))


def split_voices(voices: Sequence[Voice], seed: int
                 ) -> tuple[list[Voice], list[Voice], list[Voice]]:
    """Voices to train, to validate and to tune; of two or three there is one each.

    Speakers made of one recorded voice are on both sides: what is measured on them flatters.
    """
    order = [voices[k] for k in np.random.default_rng([seed, 8]).permutation(len(voices))]
    step = max(3, min(HELD_OUT, len(order)))
    valid, tuning = order[::step], order[1::step]
    return [v for v in order if v not in valid and v not in tuning], valid, tuning


def make_material(folder: Path, phrases: Sequence[str], voices: Sequence[Voice], *, seed: int,
                  noise: Path | None = None, filler_words: Path | None = None,
                  progress: Callable[[int, int], None] | None = None) -> Material:
    """Synthesise what is missing and write the manifests.

    Args:
        folder: is made; kept files are used again.
        phrases: from `read_phrases`.
        voices: three or more.
        seed: for all random choices.
        noise: folder of recordings of noise; None: made ones.
        filler_words: a list of other words; None: the shipped one.
        progress: called with (files made, files in all), for each of two parts.

    Raises:
        CorpusError: an engine is missing or fails, or the folder has other material.
    """
    words = read_filler_words(filler_words) if filler_words else read_filler_words()
    spoken, others = pronounce(phrases), pronounce(words)
    # A word that sounds like one of a phrase would teach to refuse the phrase.
    sounds = {said.phonemes for said in pronounce(sorted({w for p in phrases for w in p.split()})
                                                  ).values()}
    words = [word for word in words
             if min(distance(others[word].phonemes, sound) for sound in sounds) > TOO_NEAR]
    alike = sound_alikes(spoken, {word: others[word] for word in words})
    rng = np.random.default_rng([seed, 9])
    train, valid, tuning = split_voices(voices, seed)
    per_voice = min(60, max(30, 2 * len(phrases)))
    fillers = filler_texts(phrases, words, alike, per_voice * len(train), rng)
    made = prepare(folder / "voices", fillers, [valid[0], *train], seed=seed, always=phrases,
                   texts_per_voice=per_voice, valid_every=len(train) + 2, progress=progress)
    # The refusal needs some of each kind, however few voices and phrases there are.
    often = -(-FEWEST // (len(tuning) * len(phrases)))
    # Everyday speech, without the words that were looked for because they sound like a phrase.
    everyday = filler_texts(phrases, words, (), TUNING_TEXTS * len(tuning), rng)
    held = prepare(folder / "held-out", everyday,
                   [*valid, *tuning], seed=seed + 1, always=[*phrases] * often,
                   texts_per_voice=TUNING_TEXTS, valid_every=len(valid) + len(tuning) + 1,
                   progress=progress)
    commands, validating = set(phrases), {voice.id for voice in valid}
    rows = [*held["train"], *held["valid"]]
    write_manifest(folder / "train.jsonl", made["train"])
    write_manifest(folder / "valid.jsonl", [u for u in rows if u.speaker in validating
                                            and u.text in commands])
    if noise is None:
        noise = folder / "noise"
        make_noises(noise, seed, kinds=NOISES)
    return Material(folder / "train.jsonl", folder / "valid.jsonl",
                    tuple(u for u in rows if u.speaker not in validating), noise,
                    len(made["train"]))


