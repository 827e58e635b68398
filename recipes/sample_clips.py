"""The sample clips in `asr/assets/clips`: digit strings in eight synthesised voices.

In: a folder. Out: eight small recordings and `clips.jsonl`. Only a developer runs it; the
clips are committed. Training holds out every string, and the voices of half of the clips:

    python recipes/sample_clips.py asr/assets/clips
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np

from asr.errors import CorpusError
from asr.files import write_atomic
from asr.manifest import Utterance, write_manifest
from asr.voices import SAMPLE_RATE, Voice, say, with_noise_bed
from asr.voices.digits import SAMPLE_CLIPS, default_voices


def write(folder: str | Path) -> list[Utterance]:
    """Make the clips: Ogg Opus at 16 kHz, those named "phone" 8 kHz FLAC.

    Raises:
        CorpusError: a speech program is missing or fails, or no voice has such an id.
    """
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    utterances = []
    for number, (name, voice_id, text) in enumerate(SAMPLE_CLIPS, start=1):
        rng = np.random.default_rng(number)
        # With pauses, as people read out a number: some of these voices join five words a second.
        audio = with_noise_bed(say(voice_named(voice_id), text.replace(" ", ", ")), rng)
        data, suffix, duration = _encoded(audio, phone="phone" in name)
        path = folder / f"{number}-{name}{suffix}"
        write_atomic(path, data)
        utterances.append(Utterance(id=f"{number}-{name}", audio=path, text=text,
                                    duration=duration, speaker=voice_named(voice_id).id))
    write_manifest(folder / "clips.jsonl", utterances)
    return utterances


def voice_named(beginning: str) -> Voice:
    """The first default voice whose id begins so.

    Raises:
        CorpusError: there is none.
    """
    for voice in default_voices():
        if voice.id.startswith(beginning):
            return voice
    raise CorpusError(f"No default voice has an id that begins with {beginning!r}; see "
                      "asr prepare voices --list.")


def _encoded(audio: np.ndarray, *, phone: bool) -> tuple[bytes, str, float]:
    """A file's bytes, its suffix, and its duration in seconds."""
    import soundfile
    import soxr

    rate = 8_000 if phone else SAMPLE_RATE
    audio = soxr.resample(audio, SAMPLE_RATE, rate)
    container, subtype = ("FLAC", "PCM_16") if phone else ("OGG", "OPUS")
    buffer = io.BytesIO()
    soundfile.write(buffer, audio, rate, format=container, subtype=subtype)
    buffer.seek(0)
    return buffer.getvalue(), ".flac" if phone else ".ogg", soundfile.info(buffer).duration


if __name__ == "__main__":
    write(sys.argv[1])
