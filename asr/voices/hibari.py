"""The engine hibari: small English voices at about a hundred times real time.

In: a voice and a text. Out: samples. Needs the package hibari-tts, which holds the voice "heart";
the others are used if their files are in hibari's own cache, and are never downloaded.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from importlib import import_module

import numpy as np

from asr.errors import CorpusError, UsageError
from asr.voices.speaker import Voice

INSTALL = "pip install 'keras-asr[voices]'"
_LOCK = threading.Lock()  # text to phonemes keeps caches


def available_names() -> list[str]:
    """The voices that are on this machine; empty without the package."""
    try:
        voices = import_module("hibari.voices")
    except ImportError:
        return []
    names = []
    for name in voices.VOICES:
        try:
            voices.voice_path(name, download_missing=False)
        except OSError:
            continue
        names.append(name)
    return names


def hibari(voice: Voice, text: str, timeout: float) -> tuple[np.ndarray, int]:
    """One text by hibari; the pitch is changed without the formants.

    Args:
        voice: such as `heart`; its pitch is in percent of the voice's own.
        text: words with punctuation.
        timeout: is not needed: the model has no loop of its own.

    Returns:
        (num_samples,) float32 and their rate in Hz.

    Raises:
        CorpusError: the package is missing, or nothing was said.
        UsageError: the voice is not on this machine.
    """
    from zlib import crc32

    if voice.name not in available_names():
        if not available_names():
            raise CorpusError(f"hibari's voices need hibari-tts: {INSTALL}. Or leave them out.",
                              code="corpus.no_program")
        raise UsageError(f"hibari has no voice {voice.name!r} on this machine; it has "
                         f"{', '.join(available_names())}.")
    dsp = import_module("hibari.dsp")
    model = _model(voice.name)
    with _LOCK:
        sentences = model.phonemize(text)
    rng = np.random.default_rng(crc32(f"{voice.id} {text}".encode()))
    speed = np.array([np.clip(voice.rate / voice.warp, 0.5, 2)], np.float32)
    parts = []
    for phonemes in sentences:
        ids = model.ids(phonemes)
        if len(ids) < 3:
            continue
        outputs = model.sess.run(None, {"ids": np.array([ids], np.int64), "speed": speed})
        harmonic, angle, noise, rest, phase, pitch = (np.asarray(x)[0] for x in outputs)
        # Resampling to the warp raises the pitch too; the pulses take that back.
        factor = np.float32(voice.pitch / 100 / voice.warp)
        parts.append(dsp.synth(harmonic, angle, noise, rest, phase, pitch * factor, rng))
    if not parts:
        raise CorpusError(f"{voice.id} has nothing to say for {text!r}.", code="corpus.silent")
    return np.concatenate(parts), dsp.SR


@lru_cache(maxsize=8)
def _model(name: str):
    return import_module("hibari").Hibari(voice=name, threads=1)
