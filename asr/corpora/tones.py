"""Generate a corpus: sentences of eight tone "words".

In: a folder, three counts and a seed. Out: 8 kHz WAV files and one manifest a split.
NumPy only. Every word glides between two of four pitches, so that a listener (or the smallest
network) can tell them apart, while speaker, pitch, level, pace, gaps and noise vary.
"""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path

import numpy as np

from asr.corpora.generated import CONTENT, content_hash, is_made
from asr.errors import UsageError
from asr.files import write_atomic
from asr.manifest import Utterance, read_manifest, write_manifest

SAMPLE_RATE = 8_000  # Hz
SPLITS = ("train", "valid", "test")
MAX_WORDS = 5
_LOW, _MIDDLE, _HIGH, _TOP = 400.0, 600.0, 900.0, 1_350.0  # Hz: fifths, beyond any jitter
WORDS = {  # word: (pitch at the start in Hz, at the end in Hz, typical duration in seconds)
    "do": (_LOW, _LOW, 0.16),
    "re": (_LOW, _MIDDLE, 0.18),
    "mi": (_MIDDLE, _MIDDLE, 0.16),
    "fa": (_MIDDLE, _HIGH, 0.18),
    "so": (_HIGH, _HIGH, 0.16),
    "la": (_HIGH, _MIDDLE, 0.18),
    "ti": (_TOP, _TOP, 0.16),
    "da": (_MIDDLE, _LOW, 0.18),
}
_SPEAKERS = {"train": range(0, 8), "valid": range(8, 10), "test": range(10, 12)}
_SETTINGS_NAME = "tones.json"
_VERSION = 1  # raised when the same seed gives other samples


def generate(out_dir: str | Path, *, num_train: int = 300, num_valid: int = 40,
             num_test: int = 40, seed: int = 1) -> dict[str, list[Utterance]]:
    """Make the corpus, or return it when the same one is already there.

    Args:
        out_dir: folder for `audio/*.wav`, `train.jsonl`, `valid.jsonl`, `test.jsonl` and
            `tones.json` (the settings, written last); made if it is missing.
        num_train, num_valid, num_test: utterances a split, at least 1; utterance k of a split is
            the same whatever the counts.
        seed: seed of every random choice; the same seed gives the same bytes.

    Returns:
        The utterances by split. Train, valid and test share no speaker.

    Raises:
        UsageError: a count below 1 or a negative seed.
        CorpusError: the folder holds something else, or tones with other settings.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     splits = generate(folder, num_train=2, num_valid=1, num_test=1)
        >>> [utterance.id for utterance in splits["train"]]
        ['train-0000', 'train-0001']
    """
    counts = {"train": num_train, "valid": num_valid, "test": num_test}
    for split, count in counts.items():
        if count < 1:
            raise UsageError(f"num_{split} is {count}; every split needs at least 1 utterance.")
    if seed < 0:
        raise UsageError(f"seed is {seed}; give a whole number of 0 or more.")
    out_dir = Path(out_dir).resolve()
    settings = {"version": _VERSION, "seed": seed, **counts}
    ours = {"audio", *(f"{split}.jsonl" for split in SPLITS)}
    if is_made(out_dir, _SETTINGS_NAME, settings, ours, "tones"):
        return {split: read_manifest(out_dir / f"{split}.jsonl") for split in SPLITS}
    (out_dir / "audio").mkdir(parents=True, exist_ok=True)
    splits = {split: [_write_utterance(out_dir, split, index, seed) for index in range(count)]
              for split, count in counts.items()}
    for split, utterances in splits.items():
        write_manifest(out_dir / f"{split}.jsonl", utterances)
    write_atomic(out_dir / _SETTINGS_NAME,
                 json.dumps(settings | {CONTENT: content_hash(out_dir)}) + "\n")
    return splits


def sing(words: list[str], *, speaker: int, rng: np.random.Generator) -> np.ndarray:
    """The sound of a sentence.

    Args:
        words: keys of `WORDS`.
        speaker: number of the voice: its pitch, timbre and pace.
        rng: chooses gaps, noise and what varies from word to word.

    Returns:
        (num_samples,) float32 in [-1, 1] at 8 kHz.
    """
    voice = np.random.default_rng([_VERSION, speaker])
    transposition = voice.uniform(0.95, 1.05)
    brightness = voice.uniform(0.3, 0.6)  # level of each harmonic against the one below it
    pace = voice.uniform(0.9, 1.2)
    pieces = [_silence(rng.uniform(0.05, 0.15))]
    for word in words:
        start, end, seconds = WORDS[word]
        jitter = transposition * rng.uniform(0.98, 1.02)
        pieces += [tone_of(start * jitter, end * jitter, seconds * pace * rng.uniform(0.85, 1.15),
                           brightness, level=10 ** (rng.uniform(-6, 0) / 20)),
                   _silence(rng.uniform(0.05, 0.15))]
    audio = np.concatenate(pieces)
    noise = rng.standard_normal(len(audio)) * 10 ** (rng.uniform(-50, -36) / 20)
    gain = 0.5 * 10 ** (rng.uniform(-12, 0) / 20)
    return np.clip(gain * (audio + noise), -1, 1).astype(np.float32)


def tone_of(start: float, end: float, seconds: float, brightness: float, *,
            level: float) -> np.ndarray:
    """A glide on a logarithmic pitch scale, five harmonics, 15 ms fades; peak about `level`."""
    num_samples = round(seconds * SAMPLE_RATE)
    # The glide fills the middle half, so that both ends have a steady pitch.
    position = np.clip(np.linspace(-0.5, 1.5, num_samples), 0, 1)
    phase = np.cumsum(2 * np.pi * start * (end / start) ** position / SAMPLE_RATE)
    top = SAMPLE_RATE / 2 / max(start, end)
    harmonics = [k for k in range(1, 6) if k < 0.95 * top]
    weights = brightness ** np.arange(len(harmonics))
    tone = sum(w * np.sin(k * phase) for k, w in zip(harmonics, weights, strict=True))
    fade = np.minimum(1, np.arange(num_samples) / (0.015 * SAMPLE_RATE))
    return level / weights.sum() * tone * fade * fade[::-1]


def _silence(seconds: float) -> np.ndarray:
    return np.zeros(round(seconds * SAMPLE_RATE))


def _write_utterance(out_dir: Path, split: str, index: int, seed: int) -> Utterance:
    # A generator of its own for each utterance: counts do not change what the others sound like.
    rng = np.random.default_rng([_VERSION, seed, SPLITS.index(split), index])
    words = [str(w) for w in rng.choice(list(WORDS), size=rng.integers(1, MAX_WORDS + 1))]
    speaker = int(rng.choice(_SPEAKERS[split]))
    audio = sing(words, speaker=speaker, rng=rng)
    utterance_id = f"{split}-{index:04d}"
    path = out_dir / "audio" / f"{utterance_id}.wav"
    write_atomic(path, _wav_bytes(audio))
    return Utterance(id=utterance_id, audio=path, text=" ".join(words),
                     duration=len(audio) / SAMPLE_RATE, speaker=f"singer-{speaker:02d}")


def _wav_bytes(audio: np.ndarray) -> bytes:
    """16-bit PCM WAV of float samples in [-1, 1]."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.round(audio * 32_767).astype("<i2").tobytes())
    return buffer.getvalue()
