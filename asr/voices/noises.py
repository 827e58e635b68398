"""Sounds without speech: made ones, and pieces of recordings as utterances without text.

In: a folder, a seed. Out: FLAC files of 5 s of coloured noise, hum, knocks, murmur, bursts, music;
FLAC files of pieces, and utterances with an empty text. With `data.non_speech` in a recipe these
teach a network to read nothing where nothing is said; mixed under speech alone, as
`augment.noise_dir` does it, noise does not.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.audio import load_audio, probe_audio
from asr.errors import UsageError
from asr.files import write_atomic
from asr.manifest import Utterance
from asr.voices.sound import SAMPLE_RATE, flac_bytes

COUNT = 40  # noises that are made
SECONDS = 5  # of each
KINDS = ("coloured", "hum", "knocks", "murmur", "bursts", "music")
PIECE_SECONDS = (0.5, 4.0)
# Seconds at both ends of a piece. Sounds that begin all at once teach that what begins all at once
# is no word, and a word that is cut where it begins does so.
FADE = 0.15
_MADE = re.compile(rf"({'|'.join(KINDS)})-\d{{2,}}[.]flac|noise_\d{{5,}}_.*[.]flac")
QUIETEST = 1e-3  # peak of a piece, of full scale; what is below is digital silence


def make_noises(folder: Path, seed: int, count: int = COUNT, kinds: Sequence[str] = KINDS, *,
                keep: bool = True) -> list[Path]:
    """Write noises of each kind in turn.

    Args:
        folder: made where it is missing.
        seed: for all of them.
        count: of noises.
        kinds: of KINDS.
        keep: write only those that are not there yet; otherwise all, and those that an earlier
            call made beyond `count` go.

    Returns:
        The paths of all, sorted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        path = folder / f"{kind}-{number:02d}.flac"
        if not (keep and path.exists()):
            rng = np.random.default_rng([seed, number])
            write_atomic(path, flac_bytes(noise(kind, rng)))
        paths.append(path)
    if not keep:
        _remove_others(folder, paths)
    return sorted(paths)


def _remove_others(folder: Path, written: Sequence[Path]) -> None:
    """Files that an earlier call has written; other files stay."""
    for path in set(folder.glob("*.flac")) - set(written):
        if _MADE.fullmatch(path.name):
            path.unlink()


def cut_pieces(recordings: Sequence[Path], folder: Path, count: int = 0, *,
               seconds: tuple[float, float] = PIECE_SECONDS, seed: int = 1,
               allow_truncated: bool = False) -> list[Utterance]:
    """Write pieces of random length at random places, of each recording in turn.

    Args:
        recordings: such as those of `asr.augment.noise_files`.
        folder: for the pieces, FLAC at 16 kHz, with `FADE` at both ends. Those that an earlier
            call has written there go.
        count: of pieces; 0: as many as are as long as all recordings together.
        seconds: shortest and longest piece; of a shorter recording all of it.
        seed: for lengths and places.
        allow_truncated: see `asr.audio.load_audio`.

    Returns:
        Utterances without text, the recording's name as speaker, so that no split divides it.
        Pieces of digital silence are left out.

    Raises:
        AudioError: one cannot be read.
        UsageError: the lengths are not 0.1 s or more, the shorter one first.
    """
    low, high = seconds
    if not 0.1 <= low <= high:
        raise UsageError(f"Pieces of {low:g} to {high:g} s; give 0.1 s or more, the shortest "
                         "first.")
    sources = [(path, probe_audio(path, allow_truncated=allow_truncated).duration)
               for path in recordings]
    count = count or math.ceil(sum(length for _, length in sources) / ((low + high) / 2))
    folder.mkdir(parents=True, exist_ok=True)
    pieces = []
    for number in range(count):
        path, whole = sources[number % len(sources)]
        rng = np.random.default_rng([seed, number])
        length = round(min(float(rng.uniform(low, high)), whole), 3)
        offset = round(float(rng.uniform()) * (whole - length), 3)
        audio = load_audio(path, sample_rate=SAMPLE_RATE, offset=offset, duration=length,
                           snap_to_end=True, allow_truncated=allow_truncated)
        if np.abs(audio).max() > QUIETEST:
            name = re.sub(r"[^\w.+=@-]", "_", path.stem)
            piece = folder.absolute() / f"noise_{number:05d}_{name}.flac"
            write_atomic(piece, flac_bytes(faded(audio)))
            pieces.append(Utterance(piece.stem, piece, "", len(audio) / SAMPLE_RATE, name))
    _remove_others(folder, [folder / f"{piece.id}.flac" for piece in pieces])
    return pieces


def faded(audio: np.ndarray) -> np.ndarray:
    """(num_samples,) float32 that begins and ends with silence, over `FADE` at `SAMPLE_RATE`."""
    size = min(round(FADE * SAMPLE_RATE), len(audio) // 2)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.arange(size) / size)
    audio = audio.astype(np.float32)
    audio[:size] *= rise
    audio[len(audio) - size:] *= rise[::-1]
    return audio


def noise(kind: str, rng: np.random.Generator) -> np.ndarray:
    """(num_samples,) float32 with peak 0.5.

    Args:
        kind: one of KINDS. "murmur" is noise in syllables and bands of speech, "bursts" are like
            a sneeze, a cough or a box that falls.
        rng: chooses colour, pitch, times.
    """
    size = SECONDS * SAMPLE_RATE
    time = np.arange(size) / SAMPLE_RATE
    audio = 0.05 * _coloured(size, rng)
    if kind == "coloured":
        audio = _coloured(size, rng) * (1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0, 1) * time))
    elif kind == "hum":
        pitch = rng.uniform(45, 400)
        audio += sum(rng.uniform(0, 1) / k * np.sin(2 * np.pi * k * pitch * time + k)
                     for k in range(1, 12) if k * pitch < SAMPLE_RATE / 2)
    elif kind == "knocks":
        for start in rng.integers(0, size - 4000, size=int(rng.integers(4, 25))):
            length = int(rng.integers(200, 4000))
            burst = _coloured(length, rng) * np.exp(-np.linspace(0, rng.uniform(3, 9), length))
            audio[start:start + length] += rng.uniform(0.3, 1) * burst
    elif kind == "bursts":
        for start in rng.integers(0, size - 12_000, size=int(rng.integers(3, 10))):
            length = int(rng.integers(500, 12_000))
            rise = max(1, int(length * rng.uniform(0.01, 0.4)))
            since = np.arange(length) - rise
            shape = np.minimum(1 + since / rise,
                               np.exp(-np.maximum(since, 0) / length * rng.uniform(2, 8)))
            audio[start:start + length] += rng.uniform(0.3, 1) * shape * _resonant(length, rng)
    elif kind == "music":
        audio += _notes(size, rng)
    else:
        for _ in range(5):
            carrier = np.sin(2 * np.pi * np.cumsum(
                rng.uniform(300, 2500) * (1 + 0.1 * _slow(size, rng))) / SAMPLE_RATE)
            audio += carrier * np.maximum(_slow(size, rng), 0) * _coloured(size, rng)
    return (0.5 / np.abs(audio).max() * audio).astype(np.float32)


def _notes(size: int, rng: np.random.Generator) -> np.ndarray:
    """One to four voices of notes in a row, each with harmonics that decay; no two runs alike."""
    audio = np.zeros(size)
    for _ in range(int(rng.integers(1, 5))):
        place, harmonics = 0, int(rng.integers(1, 9))
        fall, decay = rng.uniform(0.5, 2.0), rng.uniform(0.5, 12.0)
        while place < size:
            length = min(size - place, int(SAMPLE_RATE * rng.choice([0.12, 0.25, 0.5, 1.0])))
            time = np.arange(length) / SAMPLE_RATE
            pitch = 55 * 2 ** (rng.integers(0, 49) / 12)  # four octaves from A1, in half tones
            for k in range(1, harmonics + 1):
                if k * pitch < SAMPLE_RATE / 2:
                    audio[place:place + length] += (k ** -fall * np.exp(-decay * time)
                                                    * np.sin(2 * np.pi * k * pitch * time))
            place += length
    return audio / np.sqrt(np.mean(audio ** 2))


def _coloured(size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise from white to brown with a root mean square of 1."""
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum *= np.maximum(np.arange(len(spectrum)), 1.0) ** -rng.uniform(0, 1)
    audio = np.fft.irfft(spectrum, size)
    return audio / np.sqrt(np.mean(audio ** 2))


def _resonant(size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise with up to four peaks in its spectrum, as of a mouth or a box; root mean square 1."""
    frequency = np.linspace(0, SAMPLE_RATE / 2, size // 2 + 1)
    gain = np.full(len(frequency), 0.1)
    for _ in range(int(rng.integers(1, 5))):
        distance = (frequency - rng.uniform(200, 6_000)) / rng.uniform(80, 800)
        gain += rng.uniform(0.2, 1) * np.exp(-0.5 * distance ** 2)
    audio = np.fft.irfft(gain * np.fft.rfft(rng.standard_normal(size)), size)
    return audio / np.sqrt(np.mean(audio ** 2))


def _slow(size: int, rng: np.random.Generator) -> np.ndarray:
    """A random curve with about four turns a second, root mean square 1."""
    points = rng.standard_normal(4 * SECONDS + 1)
    return np.interp(np.linspace(0, len(points) - 1, size), np.arange(len(points)), points)
