"""Synthesise speech in many voices: one function an engine, one registry.

In: a voice and a text. Out: 16 kHz samples, or a corpus (`asr.voices.corpus`). An engine is a
function (voice, text, timeout in seconds) -> (samples, rate in Hz) and a line in `ENGINES`. What
the engines say belongs to the user: no licence named here (Apache-2.0, GPL, LGPL and BSD-like
ones) puts a condition on the recordings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.errors import CorpusError, UsageError
from asr.parsing import read_limited
from asr.voices import digits, kokoro, programs
from asr.voices import hibari as small
from asr.voices.respelling import DIGITS, FESTIVAL_PACKAGES, speaks_english
from asr.voices.sound import SAMPLE_RATE, resampled, trimmed, with_noise_bed
from asr.voices.speaker import Voice, blends, voice_of

__all__ = ["DIGITS", "ENGINES", "SAMPLE_RATE", "SETS", "Synthesizer", "Voice", "available_engines",
           "available_voices", "packages_of", "say", "speaks_english", "voice_of", "voices_named",
           "with_noise_bed"]

TIMEOUT = 30.0  # seconds for one text


@dataclass(frozen=True)
class Synthesizer:
    """One synthesiser.

    Args:
        speak: (voice, text, timeout in seconds) -> ((num_samples,) float32, rate in Hz).
        licence: what the engine and its voices are under, for a model card.
        install: what to do if it is missing.
    """

    speak: Callable[[Voice, str, float], tuple[np.ndarray, int]]
    licence: str
    install: str


_APT = "on Debian and Ubuntu: apt install "
ENGINES = {
    "espeak-ng": Synthesizer(programs.espeak_ng, "espeak-ng, GPL-3.0", f"{_APT}espeak-ng"),
    "flite": Synthesizer(programs.flite, "flite and its voices, BSD-like (Carnegie Mellon "
                         "University)", f"{_APT}flite"),
    "text2wave": Synthesizer(programs.festival, "festival, BSD-like; its voices have licences of "
                             "their own, from BSD-like to GPL", f"{_APT}festival"),
    "kokoro": Synthesizer(kokoro.kokoro, "Kokoro-82M, Apache-2.0 (hexgrad)",
                          f"{kokoro.INSTALL}, and name the two files: --kokoro MODEL VOICES"),
    "hibari": Synthesizer(small.hibari, "hibari-tts, Apache-2.0 (Maureese Williams), distilled "
                          "from Kokoro-82M", small.INSTALL),
}


def say(voice: Voice, text: str, *, timeout: float = TIMEOUT) -> np.ndarray:
    """One text in one voice.

    Args:
        voice: one whose engine is in `ENGINES`.
        text: words, with commas where a pause is wanted.
        timeout: seconds after which a program is stopped.

    Returns:
        (num_samples,) float32 at `SAMPLE_RATE`, peak 0.5, up to 0.1 s of silence at either end.

    Raises:
        CorpusError: the engine is missing, fails, takes too long, or makes no sound.
        UsageError: no engine has this name, or the voice cannot say this text.
    """
    if voice.engine not in ENGINES:
        raise UsageError(f"Unknown speech engine {voice.engine!r}; known are "
                         f"{', '.join(ENGINES)}.")
    audio, sample_rate = ENGINES[voice.engine].speak(voice, text, timeout)
    audio = trimmed(np.asarray(audio, np.float32), sample_rate)
    if not len(audio) or not np.isfinite(audio).all():
        raise CorpusError(f"{voice.id} wrote silence for {text!r}; leave this voice out.",
                          code="corpus.silent")
    return resampled(audio, sample_rate, voice.warp)


def available_engines() -> list[str]:
    """The engines that this machine has; for kokoro, `KOKORO_MODEL` and `KOKORO_VOICES`."""
    found = [*programs.available_programs(), *["kokoro"] * kokoro.is_available(),
             *["hibari"] * bool(small.available_names())]
    return [name for name in ENGINES if name in found]


def _of_programs(engine: str) -> Callable[[], list[Voice]]:
    return lambda: [voice for voice in digits.default_voices() if voice.engine == engine]


def _with_manners(engine: str, names: Sequence[str], seed: int, pitch: int = 0) -> list[Voice]:
    """Each with a rate of its own; the warp is 1 but for every third one."""
    rng = np.random.default_rng([4, seed])
    voices = []
    for index, name in enumerate(names):
        rate, warp = rng.uniform(0.8, 1.25), rng.uniform(0.88, 1.22)
        voices.append(Voice(engine, name, pitch, round(float(rate), 2),
                            round(float(warp), 2) if index % 3 == 2 else 1.0))
    return voices


def _hibari() -> list[Voice]:
    """Twelve of each voice: pitch 60 to 130 %, warp 0.85 to 1.2."""
    rng = np.random.default_rng([5, 1])
    voices = []
    for name in small.available_names() or ["heart"]:
        for index in range(12):
            pitch, warp = 60 + round(70 * (index + rng.uniform()) / 12), rng.uniform(0.85, 1.2)
            voices.append(Voice("hibari", name, pitch, round(float(rng.uniform(0.8, 1.25)), 2),
                                round(float(warp), 2)))
    return voices


SETS: dict[str, Callable[[], list[Voice]]] = {
    "programs": digits.default_voices,
    "espeak-ng": _of_programs("espeak-ng"),
    "flite": _of_programs("flite"),
    "text2wave": _of_programs("text2wave"),
    "kokoro": lambda: _with_manners("kokoro", [*kokoro.ENGLISH, *kokoro.ACCENTED], 1),
    "kokoro-english": lambda: _with_manners("kokoro", kokoro.ENGLISH, 1),
    "kokoro-blends": lambda: _with_manners("kokoro", blends(kokoro.ENGLISH, 56), 2),
    "kokoro-accents": lambda: _with_manners("kokoro", kokoro.accent_names(14), 3),
    "hibari": _hibari,
}


def available_voices(*, english: bool = True) -> list[Voice]:
    """The voices of `SETS` whose engines this machine has, English first in each engine.

    Args:
        english: without those that can say respelled digits alone.
    """
    engines = available_engines()
    voices = [voice for name in ("programs", "kokoro", "kokoro-blends", "hibari")
              for voice in SETS[name]() if voice.engine in engines]
    return [voice for voice in voices if speaks_english(voice)] if english else voices


def packages_of(voices: Sequence[Voice]) -> list[str]:
    """Debian's packages of the programs and of festival's voices, each once."""
    found = [programs.PACKAGES[v.engine] for v in voices if v.engine in programs.PACKAGES]
    found += [package for v in voices if v.engine == "text2wave"
              for package in FESTIVAL_PACKAGES.get(v.name, "").split()]
    return list(dict.fromkeys(found))


def voices_named(names: Sequence[str]) -> list[Voice]:
    """Voices by the name of a set, by id, or from a file with an id a line; each once.

    Args:
        names: keys of `SETS`, ids, or paths of text files ("#" starts a comment).

    Raises:
        UsageError: a name is none of these.
        OSError: a file cannot be read.
    """
    voices: list[Voice] = []
    for name in names:
        if name in SETS:
            voices += SETS[name]()
        elif Path(name).is_file():
            lines = (line.partition("#")[0].strip()
                     for line in read_limited(name).decode("utf-8").splitlines())
            voices += [voice_of(line) for line in lines if line]
        elif "." in name:
            voices.append(voice_of(name))
        else:
            raise UsageError(f"{name!r} is no set of voices, no id and no file; sets are "
                             f"{', '.join(SETS)}.")
    return list(dict.fromkeys(voices))
