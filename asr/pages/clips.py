"""Recordings for a report, small enough to send by e-mail.

In: recordings by utterance id. Out: MP3 bytes within a budget, and an estimated SNR.
`soundfile` and `asr.audio` are imported when the first clip is read: scoring needs neither.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr.errors import AudioError

if TYPE_CHECKING:
    from asr.manifest import Utterance

CLIP_RATE = 16_000          # Hz
CLIP_SECONDS = 30.0         # a longer recording plays up to here
MAX_AUDIO_BYTES = 8_000_000
"""Budget of all clips of one report before base64, which adds a third; mail takes 10 to 25 MB."""
_MP3_LEVEL = 0.9            # libsndfile: 0 is best, 1 smallest; about 3 kB a second of speech
_FRAME = 320                # samples, 20 ms


@dataclass
class Clips:
    """What was read: MP3 bytes, SNR in dB, and why a recording could not be read, by id."""

    mp3: dict[str, bytes] = field(default_factory=dict)
    snr: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: int = 0       # recordings that did not fit the budget


def read_clips(audio: Mapping[str, Path | str | Utterance], order: Iterable[str], *,
               max_bytes: int = MAX_AUDIO_BYTES, measure_snr: bool = True) -> Clips:
    """Clips of the first recordings in `order` that fit, and the SNR of all.

    Args:
        audio: a path, or a manifest row where only a part of the recording is meant, by id.
        order: ids, the most interesting first; ids without a recording are passed over.
        max_bytes: total size of all clips together; 0 embeds none.
        measure_snr: also read the recordings that are not embedded.

    Returns:
        The clips; a recording that cannot be read is in `failed`, never an exception.
    """
    clips = Clips()
    spent = 0
    full = max_bytes <= 0
    for name in order:
        if name not in audio:
            continue
        if full and not measure_snr:
            clips.left_out += 1
            continue
        try:
            samples = _load(audio[name])
        except AudioError as error:
            clips.failed[name] = error.code
            continue
        clips.snr[name] = estimate_snr(samples)
        encoded = b"" if full else encode_mp3(samples[:int(CLIP_SECONDS * CLIP_RATE)])
        if full or spent + len(encoded) > max_bytes:
            full = True
            clips.left_out += 1
            continue
        spent += len(encoded)
        clips.mp3[name] = encoded
    return clips


def find_recordings(folder: str | Path, ids: Iterable[str]) -> dict[str, Path]:
    """Recordings in a folder (and below) whose name without ending is an utterance id."""
    wanted = set(ids)
    return {path.stem: path for path in sorted(Path(folder).rglob("*"))
            if path.stem in wanted and os.path.isfile(path)}


def encode_mp3(samples: np.ndarray) -> bytes:
    """(num_samples,) float32 at `CLIP_RATE` as MP3, which every browser plays."""
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", CLIP_RATE, 1, format="MP3", subtype="MPEG_LAYER_III",
                             compression_level=_MP3_LEVEL) as file:
        file.write(samples)
    return buffer.getvalue()


def estimate_snr(samples: np.ndarray) -> float:
    """Signal-to-noise ratio of a recording of speech, estimated in dB, within -10 .. 60.

    The power of 20 ms frames: the 10th percentile is taken as noise, the 90th as speech plus
    noise (pauses are quieter than speech in any utterance). Crude but monotonic: enough to sort
    utterances into bins, not a measurement.

    Args:
        samples: (num_samples,) float32.
    """
    frames = samples[:len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME).astype(np.float64)
    if len(frames) < 2:
        return 0.0
    noise, loud = np.percentile((frames**2).mean(axis=1), [10, 90])
    noise = max(noise, 1e-12)
    return float(np.clip(10 * np.log10(max(loud - noise, 0.1 * noise) / noise), -10, 60))


def _load(source: Path | str | Utterance) -> np.ndarray:
    from asr.audio import load_audio, load_utterance

    if isinstance(source, (str, Path)):
        return load_audio(source, sample_rate=CLIP_RATE)
    return load_utterance(source, sample_rate=CLIP_RATE)
