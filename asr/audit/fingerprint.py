"""Find copies of a recording that a file hash misses: re-encoded, louder, cut or padded.

In: recordings. Out: pairs that hold the same waveform. Audio, features.

Two steps. A fingerprint of the log-mel spectrum, blind to level, finds the most similar recordings
of each (cosine, one matrix product). A copy is confirmed by its waveform: the highest normalised
cross-correlation in 150 to 1,600 Hz, which codecs keep. Two takes of one sentence by one speaker
have like spectra but not like waveforms. Measured on 500 takes of ARCTIC sentences by one woman and
400 read sentences: different recordings of a second or more reach 0.41, copies through MP3, Vorbis,
mu-law at 8 kHz, noise at 20 dB or a shift 0.99, Opus at 6 kbit/s 0.85. Below a second voiced sounds
are alike by their pitch alone (two "six"es of one speaker: 0.977), so the bar is higher there.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from asr.audio import load_utterance, resample
from asr.audio.loudness import is_silent
from asr.errors import AudioError, InputWarning
from asr.features import FeatureExtractor

if TYPE_CHECKING:
    from asr.manifest import Utterance
from asr.recipe import FeatureSettings

RATE = 8_000                 # Hz: telephone recordings have no more
COPY = 0.7                   # correlation that confirms a copy of a second or more
SHORT_COPY = 0.98            # and of a shorter one
SHORT_SECONDS = 1.0
_WAVE_RATE = 4_000           # Hz, of the waveforms that are compared
_KEPT_BYTES = 400_000_000    # of waveforms kept in memory, 14 h; others are read again
_MELS, _STEPS = 24, 24
_SETTINGS = FeatureSettings(sample_rate=RATE, n_fft=256, win_length=256, hop_length=80,
                            n_mels=_MELS, f_min=200.0, f_max=3_700.0)
_RANGE = 9.2                 # natural log of power, 40 dB: what is quieter depends on the codec
_SPEECH = 6.0                # 26 dB below the loudest frame the recording is taken to begin
_LIKE = 0.8                  # cosine from which waveforms are compared
_NEIGHBOURS = 3              # of each fingerprint half
_BLOCK = 1_024               # rows of a matrix product
_BAND = (150.0, 1_600.0)     # Hz


@dataclass(frozen=True)
class Copy:
    """Two utterances with the same sound; indices into the lists, `similarity` up to 1."""

    first: int
    second: int
    similarity: float


@dataclass(frozen=True)
class Fingerprints:
    """(N, D) float32 of N utterances; rows of recordings that cannot be read are 0.

    `waveforms` holds the first hours of the recordings at 4 kHz, float16, by index; `silent` are
    the indices of those that never get louder than silence.
    """

    vectors: np.ndarray
    failed: tuple[str, ...]
    waveforms: dict[int, np.ndarray]
    silent: tuple[int, ...] = ()


@dataclass(frozen=True)
class Print:
    """One recording: its fingerprint, None if it cannot be read; its waveform, if it is kept."""

    vector: np.ndarray | None = None
    waveform: np.ndarray | None = None
    silent: bool = False


def print_of(item: tuple[Utterance, bool], *, allow_truncated: bool = False) -> Print:
    """The fingerprint of one utterance.

    Args:
        item: a manifest row, and whether its waveform is wanted.
        allow_truncated: see `asr.audio.load_audio`.
    """
    utterance, keep = item
    try:
        audio = load_utterance(utterance, sample_rate=RATE, allow_truncated=allow_truncated)
        vector = fingerprint(audio)
    except AudioError:
        return Print()
    return Print(vector, resample(audio, RATE, _WAVE_RATE).astype(np.float16) if keep else None,
                 is_silent(audio, RATE))


def fingerprints(utterances: Sequence[Utterance],
                 progress: Callable[[int, int], None] | None = None, *,
                 allow_truncated: bool = False,
                 spread: Callable[[bool, Iterable[tuple[Utterance, bool]]], Iterable[Print]]
                 | None = None) -> Fingerprints:
    """The fingerprint of each utterance.

    Args:
        utterances: manifest rows.
        progress: called with (done, total).
        allow_truncated: see `asr.audio.load_audio`.
        spread: makes them elsewhere: is given `allow_truncated` and the items of `print_of`.
    """
    vectors = np.zeros((len(utterances), 2 * _STEPS * _MELS), np.float32)
    failed, silent, waveforms, kept = [], [], {}, 0
    items = ((utterance, kept < _KEPT_BYTES) for utterance in utterances)
    prints = (spread(allow_truncated, items) if spread else
              (print_of(item, allow_truncated=allow_truncated) for item in items))
    for index, found in enumerate(prints):
        if found.vector is None:
            failed.append(utterances[index].id)
        else:
            vectors[index] = found.vector
            if found.silent:
                silent.append(index)
            if found.waveform is not None and kept < _KEPT_BYTES:
                waveforms[index] = found.waveform
                kept += found.waveform.nbytes
        if progress:
            progress(index + 1, len(utterances))
    return Fingerprints(vectors, tuple(failed), waveforms, tuple(silent))


def fingerprint(audio: np.ndarray) -> np.ndarray:
    """The shape of a recording's spectrum over time, blind to its level.

    Args:
        audio: (num_samples,) float32 at `RATE`.

    Returns:
        (2 * 576,) float32: the whole recording, and the same without its quiet ends (a copy may
        be padded or cut), each as 24 steps of 24 mel bands with unit length.
    """
    spectrum = FeatureExtractor(_SETTINGS, quick_start=True).extract(audio)
    spectrum = np.maximum(spectrum, spectrum.max() - _RANGE)
    loudest = spectrum.max(axis=1)
    spoken = np.flatnonzero(loudest > loudest.max() - _SPEECH)
    return np.concatenate([_shape(spectrum), _shape(spectrum[spoken[0]:spoken[-1] + 1])])


def find_copies(utterances: Sequence[Utterance], prints: Fingerprints, *,
                progress: Callable[[int, int], None] | None = None,
                allow_truncated: bool = False) -> list[Copy]:
    """Pairs of utterances with the same sound, each pair once, the most similar first.

    Args:
        utterances: manifest rows; rows that share a recording and overlap are copies as well.
        prints: their `fingerprints`.
        progress: called with (done, total) comparisons.
        allow_truncated: see `asr.audio.load_audio`.

    A recording that was readable a moment ago and no longer is has no copy, with a warning.
    """
    pairs = sorted(_similar(prints.vectors))

    @lru_cache(maxsize=512)
    def wave(index: int) -> np.ndarray:
        if index in prints.waveforms:
            return prints.waveforms[index].astype(np.float32)
        return load_utterance(utterances[index], sample_rate=_WAVE_RATE,
                              allow_truncated=allow_truncated)

    copies = []
    for done, (first, second) in enumerate(pairs, 1):
        try:
            one, other = wave(first), wave(second)
        except AudioError as error:
            warnings.warn(InputWarning(f"Not compared: {error}", "audit.recording"), stacklevel=2)
            continue
        similarity = waveform_similarity(one, other)
        short = min(len(one), len(other)) < SHORT_SECONDS * _WAVE_RATE
        if similarity >= (SHORT_COPY if short else COPY):
            copies.append(Copy(first, second, similarity))
        if progress:
            progress(done, len(pairs))
    return sorted(copies, key=lambda copy: (-copy.similarity, copy.first, copy.second))


def waveform_similarity(first: np.ndarray, second: np.ndarray) -> float:
    """The highest normalised cross-correlation over all shifts, in 150 to 1,600 Hz; 0 .. 1.

    Args:
        first, second: (num_samples,) float32 at 4 kHz.
    """
    size = 1 << (len(first) + len(second) - 1).bit_length()
    frequencies = np.fft.rfftfreq(size, 1 / _WAVE_RATE)
    inside = (frequencies >= _BAND[0]) & (frequencies <= _BAND[1])
    one, other = (np.fft.rfft(audio, size) * inside for audio in (first, second))
    power = np.sqrt((np.abs(one) ** 2).sum() * (np.abs(other) ** 2).sum()) * 2 / size
    if power < 1e-9:
        return 0.0
    return float(np.clip(np.abs(np.fft.irfft(one * other.conj(), size)).max() / power, 0.0, 1.0))


def _shape(spectrum: np.ndarray) -> np.ndarray:
    """(T, mels) resampled to (steps, mels), without its mean, of unit length (0 for silence)."""
    starts = np.arange(4 * _STEPS) / (4 * _STEPS) * len(spectrum)
    shape = spectrum[starts.astype(int)].reshape(_STEPS, 4, -1).mean(axis=1)
    shape = (shape - shape.mean()).ravel()
    length = np.linalg.norm(shape)
    return shape / length if length > 1e-6 else np.zeros_like(shape)


def _similar(vectors: np.ndarray) -> set[tuple[int, int]]:
    """The nearest neighbours of each row, in either half of the fingerprint, as (low, high)."""
    pairs: set[tuple[int, int]] = set()
    if len(vectors) < 2:
        return pairs
    count = min(_NEIGHBOURS, len(vectors) - 1)
    for half in np.split(vectors, 2, axis=1):
        for start in range(0, len(half), _BLOCK):
            likeness = half[start:start + _BLOCK] @ half.T
            rows = np.arange(len(likeness))
            likeness[rows, start + rows] = -1.0
            near = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
            for row, neighbours in enumerate(near):
                for other in neighbours[likeness[row, neighbours] >= _LIKE]:
                    pairs.add((min(start + row, int(other)), max(start + row, int(other))))
    return pairs
