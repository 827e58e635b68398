"""Measure the words that a recogniser writes in a minute of silence, noise and music.

In: a recogniser. Out: words per minute by kind of sound.
A recogniser that invents text on a pause cannot be trusted with a meeting; word error rates on
trimmed test sets do not show it. The sounds are made here, from a seed; recordings can be added.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from asr.audio import load_utterance
from asr.errors import AudioError, DataError, InputWarning
from asr.manifest import Utterance
from asr.recognizer import Recognizer
from asr.scoring import Score, with_conditions

CLIP_SECONDS = 10.0
_CHORDS = ((220.0, 277.2, 329.6), (246.9, 311.1, 370.0), (196.0, 246.9, 293.7),
           (174.6, 220.0, 261.6))  # A, B, G, F major
_NOTE_SECONDS = 0.4


def words_without_speech(recognizer: Recognizer, *, seconds: float = 60.0, seed: int = 0,
                         recordings: Sequence[str | Path | Utterance] = ()) -> dict[str, float]:
    """Words per minute that a recogniser writes where no word is.

    Args:
        recognizer: from `asr.load`.
        seconds: seconds of each kind of sound.
        seed: seed of the sounds.
        recordings: recordings of noise or music, or utterances without a word, reported together as
            "recordings".

    Returns:
        Words per minute by kind: "silence" (digital), "quiet room" (-60 dB noise), "white noise",
        "pink noise" (-30 dB), "hum" (50 Hz and harmonics), "music" (plucked chords), and
        "recordings" where there are some. 0.0 throughout is what one hopes for.

    Raises:
        DataError: seconds is not positive.

    A recording that cannot be read is left out, with a warning.
    """
    if not seconds > 0:
        raise DataError(f"seconds is {seconds!r}; expected more than 0.", code="audit.seconds")
    rates = {}
    for name, audio in no_speech(seconds, recognizer.sample_rate, seed).items():
        size = int(CLIP_SECONDS * recognizer.sample_rate)
        rates[name] = _words_per_minute(recognizer, [audio[start:start + size] for start in
                                                     range(0, len(audio), size)])
    if recordings:
        rates["recordings"] = _words_per_minute(recognizer, list(_readable(recognizer, recordings)))
    return rates


def _readable(recognizer: Recognizer, recordings: Sequence[str | Path | Utterance]
              ) -> Iterator[np.ndarray]:
    for one in recordings:
        try:
            if isinstance(one, Utterance):
                yield load_utterance(one, sample_rate=recognizer.sample_rate)
            else:
                yield recognizer.load_audio(one)  # type: ignore[arg-type]
        except AudioError as error:
            warnings.warn(InputWarning(f"Left out: {error}", "audit.recording"), stacklevel=3)


def with_silence(result: Score, rates: Mapping[str, float]) -> Score:
    """The same score with the words per minute of each sound in its receipt.

    Args:
        result: from `asr.scoring.score`.
        rates: from `words_without_speech`.
    """
    conditions = result.receipt.conditions
    extra = {f"words per minute of {name}": rate for name, rate in rates.items()}
    return with_conditions(result, replace(conditions, extra={**conditions.extra, **extra}))


def no_speech(seconds: float, sample_rate: int, seed: int = 0) -> Mapping[str, np.ndarray]:
    """Sounds without a word, (num_samples,) float32 each, the same for the same seed."""
    random = np.random.default_rng(seed)
    size = max(1, int(seconds * sample_rate))
    time = np.arange(size) / sample_rate
    white = random.standard_normal(size)
    spectrum = np.fft.rfft(random.standard_normal(size))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), size)
    hum = np.sum([np.sin(2 * np.pi * 50 * k * time) / k for k in (1, 2, 3, 5, 7)], axis=0)
    sounds = {"silence": np.zeros(size), "quiet room": _at_level(white, -60),
              "white noise": _at_level(white, -30), "pink noise": _at_level(pink, -30),
              "hum": _at_level(hum, -30), "music": _at_level(_music(time, random), -20)}
    return {name: np.clip(audio, -1, 1).astype(np.float32) for name, audio in sounds.items()}


def _music(time: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Plucked chords with a melody: harmonics that decay, a new note every 0.4 s."""
    audio = np.zeros_like(time)
    starts = np.arange(0, time[-1] + _NOTE_SECONDS, _NOTE_SECONDS)
    for index, start in enumerate(starts):
        chord = _CHORDS[index // 8 % len(_CHORDS)]
        inside = (time >= start) & (time < start + 3 * _NOTE_SECONDS)
        local = time[inside] - start
        for pitch in (*chord, 2 * float(random.choice(chord))):
            for harmonic in range(1, 6):
                audio[inside] += (np.sin(2 * np.pi * pitch * harmonic * local) / harmonic**1.5
                                  * np.exp(-local * (3 + harmonic)))
    return audio


def _at_level(audio: np.ndarray, decibel: float) -> np.ndarray:
    """Scaled to a root mean square of `decibel` below full scale."""
    return audio * (10 ** (decibel / 20) / max(float(np.sqrt((audio**2).mean())), 1e-12))


def _words_per_minute(recognizer: Recognizer, clips: Sequence[np.ndarray]) -> float:
    clips = [clip for clip in clips if len(clip) >= 0.1 * recognizer.sample_rate]
    words = sum(len(transcript.text.split()) for transcript in recognizer.transcribe_batch(clips))
    minutes = sum(map(len, clips)) / recognizer.sample_rate / 60
    return round(words / minutes, 2) if minutes else 0.0
