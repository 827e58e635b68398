"""Augment training data, the part without TensorFlow: speed, joining, a bank of noise.

In: audio or log-mel features of single clips. Out: the same kind of thing. NumPy, soxr.
The part that runs inside the tf.data graph is `asr.augment.graph`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import numpy as np

from asr.audio.content_hashes import hash_files
from asr.audio.source import AUDIO_SUFFIXES
from asr.errors import AsrError, DataError, InputWarning, UsageError
from asr.features import LOG_FLOOR
from asr.features.normalization import NEPERS_PER_DB
from asr.files import write_atomic
from asr.recipe import FeatureSettings
from asr.terminal import plural

# Gaps between joined clips lie at the quiet tenth of each bin of the clips, with at most this much
# flutter (nats; a stationary noise seen through mel filters has about this spread in log power).
QUIET_PERCENTILE = 10
MAX_FLUTTER = 0.5

# Frames at either end of a clip whose window reaches over its edge; a clip that was cut in the
# middle of a sound has a click there.
EDGE_FRAMES = 2

# Frames this far below the loudest frame of a noise recording are its digital silence, of which
# no signal-to-noise ratio can be made (ESC-10 pads a short bark to five seconds).
NOISE_RANGE_DB = 50.0




class Extractor(Protocol):
    """The part of `asr.features.FeatureExtractor` that a noise bank needs."""

    settings: FeatureSettings

    def extract(self, audio: np.ndarray) -> np.ndarray: ...  # noqa: D102


def change_speed(audio: np.ndarray, factor: float) -> np.ndarray:
    """Play audio faster or slower, with the pitch, like a tape.

    Args:
        audio: (num_samples,) float32.
        factor: 1.1 is a tenth faster, so shorter and higher.

    Returns:
        (about num_samples / factor,) float32; the same array for factor 1.

    Raises:
        UsageError: the factor is not between 0.5 and 2.

    Reference: Ko, Peddinti, Povey, Khudanpur 2015, Interspeech.
    """
    if not 0.5 <= factor <= 2.0:
        raise UsageError(f"A speed factor lies between 0.5 and 2, got {factor!r}.")
    if factor == 1.0:
        return audio
    import soxr  # 0.1 s that `asr --help` need not pay

    return soxr.resample(audio, factor, 1.0, quality="HQ").astype(np.float32, copy=False)


def join_clips(clips: Sequence[np.ndarray], gaps: Sequence[int], rng: np.random.Generator, *,
               gain_db: float = 0.0, quiet_db: float = 0.0) -> np.ndarray:
    """Clips in a row, with background before, between and after them.

    A gap is filled with the background of its neighbours (from the left one's to the right one's,
    a low percentile of each bin) and a little flutter, so that no digital silence is learnt. A bin
    that is constant in the clips, such as those above 4 kHz of an 8 kHz recording, stays constant,
    and no gap is quieter than the clips, unless `quiet_db` is given. Where a clip meets something
    else, its edge frames become, bin by bin, no louder than the loudest of its other frames: a
    click at every join would tell the model where words begin.

    Args:
        clips: each (T, F) float32, log power before CMVN.
        gaps: frames before, between and after; len(clips) + 1 numbers.
        rng: generator of the flutter.
        gain_db: each of several clips is louder or quieter by as much, drawn evenly.
        quiet_db: all gaps are quieter than said above, by 0 to so many dB, drawn evenly: clips
            that are cut close do not say how quiet their room is.

    Returns:
        (sum of all, F) float32; the clip itself if it is one without gaps.

    Raises:
        UsageError: there is no clip, or the number of gaps is wrong.
    """
    if not clips or len(gaps) != len(clips) + 1:
        raise UsageError(f"{len(clips)} clips need {len(clips) + 1} gaps around them, got "
                         f"{len(gaps)}, and at least one clip.")
    if len(clips) == 1 and not any(gaps):
        return clips[0]
    if gain_db and len(clips) > 1:
        gains = rng.uniform(-gain_db, gain_db, len(clips)) * NEPERS_PER_DB
        clips = [np.where(clip > LOG_FLOOR, np.maximum(clip + np.float32(gain), LOG_FLOOR), clip)
                 for clip, gain in zip(clips, gains, strict=True)]
    quiet = np.stack([_background(clip) for clip in clips])
    if quiet_db:
        below = np.float32(rng.uniform(0.0, quiet_db) * NEPERS_PER_DB)
        quiet = np.maximum(quiet - below, np.minimum(quiet, LOG_FLOOR))
    parts: list[np.ndarray] = []
    for index, gap in enumerate(gaps):
        left, right = quiet[max(index - 1, 0)], quiet[min(index, len(clips) - 1)]
        fade = (np.arange(gap, dtype=np.float32) + 0.5) / np.float32(max(gap, 1))
        lowest, level = np.moveaxis(left + fade[:, np.newaxis, np.newaxis] * (right - left), 1, 0)
        flutter = rng.standard_normal(level.shape, dtype=np.float32)
        spread = np.minimum(level - lowest, MAX_FLUTTER)
        parts.append(np.maximum(level + spread * flutter, lowest))
        if index < len(clips):
            first, last = index == 0 and not gap, index == len(clips) - 1 and not gaps[-1]
            parts.append(_without_clicks(clips[index], not first, not last))
    return np.concatenate(parts)


def _without_clicks(clip: np.ndarray, begin: bool, end: bool) -> np.ndarray:
    """A copy whose edge frames, at the ends that are named, stay below the inner frames."""
    clip = clip.copy()
    if len(clip) > 2 * EDGE_FRAMES:
        loudest = clip[EDGE_FRAMES:-EDGE_FRAMES].max(axis=0)
        for wanted, edge in ((begin, slice(EDGE_FRAMES)), (end, slice(-EDGE_FRAMES, None))):
            if wanted:
                np.minimum(clip[edge], loudest, out=clip[edge])
    return clip


def _background(clip: np.ndarray) -> np.ndarray:
    """(2, F): the minimum and the QUIET_PERCENTILE of each bin, over frames with any sound.

    Digital silence, such as a lost packet or a padded end, is not how the room sounds.
    """
    room = clip[(clip > LOG_FLOOR + 1.0).any(axis=1)]
    clip = room if len(room) else clip
    rank = len(clip) * QUIET_PERCENTILE // 100
    return np.sort(clip, axis=0)[[0, rank]]  # faster than np.partition here


@dataclass(frozen=True)
class NoiseBank:
    """Noise recordings as features: all frames in a row, and the frames of each recording.

    Args:
        frames: (N, F) float32, log power before CMVN.
        lengths: (number of recordings,) int32, each >= 1, with sum N.
    """

    frames: np.ndarray
    lengths: np.ndarray


def load_noise_bank(noise_dir: str | Path, extractor: Extractor, *,
                    cache_dir: str | Path | None = None, names: str = "*",
                    allow_truncated: bool = False) -> NoiseBank:
    """The features of every recording below a folder.

    Args:
        noise_dir: searched recursively; every file with a suffix in AUDIO_SUFFIXES counts.
        names: see `noise_files`.
        extractor: the one of the speech, so that powers can be added.
        cache_dir: where the bank is kept between runs; None: it is not kept. A changed file or
            setting makes another bank; a damaged one is made again, with a warning.
        allow_truncated: see `asr.audio.load_audio`.

    Raises:
        DataError: the folder holds no audio, or some of it cannot be read; all are named.
    """
    files = noise_files(noise_dir, names)
    cached = None
    if cache_dir is not None:
        hashes = hash_files(files, memory=Path(cache_dir) / "hashes.json")
        stamps = [(str(path.relative_to(noise_dir)), getattr(hashes[path], "sha256", ""))
                  for path in files]
        # Named only where it is set: banks that are there already keep their names.
        key = json.dumps([asdict(extractor.settings), stamps, NOISE_RANGE_DB,
                          *(["allow_truncated"] if allow_truncated else [])])
        cached = Path(cache_dir) / f"noise-{hashlib.sha256(key.encode()).hexdigest()[:16]}.npz"
        if cached.exists() and (bank := _kept_bank(cached)):
            return bank
    bank = _extract_noise(files, extractor, allow_truncated)
    if cached is not None:
        buffer = io.BytesIO()
        np.savez(buffer, frames=bank.frames, lengths=bank.lengths)
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(cached, buffer.getvalue())
    return bank


def _kept_bank(path: Path) -> NoiseBank | None:
    """The bank of an earlier run; None if it is damaged: ZIP has a checksum of each array."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            bank = NoiseBank(arrays["frames"], arrays["lengths"])
        if bank.frames.ndim == 2 and bank.lengths.sum() == len(bank.frames):
            return bank
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
        pass
    warnings.warn(InputWarning(f"{path} is damaged; the features of the noise are made again.",
                               "cache.damaged"), stacklevel=3)
    return None


def noise_files(noise_dir: str | Path, names: str = "*") -> list[Path]:
    """The recordings of a noise bank, sorted.

    Args:
        noise_dir: searched recursively.
        names: pattern that their file names fit, such as "[1-4]-*".

    Raises:
        DataError: there is none.
    """
    files = sorted(p for p in Path(noise_dir).rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES
                   and os.path.isfile(p) and fnmatchcase(p.name, names))
    if not files:
        called, pattern = (f" called {names!r}", " or the pattern") if names != "*" else ("", "")
        raise DataError(f"The folder of noises {str(noise_dir)!r} holds no audio{called} "
                        f"({', '.join(sorted(AUDIO_SUFFIXES))}); correct the folder{pattern}, or "
                        "do without noises.", code="augment.no_noise", path=noise_dir)
    return files


def _extract_noise(files: Sequence[Path], extractor: Extractor, allow_truncated: bool) -> NoiseBank:
    from asr.audio import load_audio

    recordings, failures = [], []
    for path in files:
        try:
            audio = load_audio(path, sample_rate=extractor.settings.sample_rate,
                               allow_truncated=allow_truncated)
            recordings.append(audible_frames(extractor.extract(audio)))
        except AsrError as error:
            failures.append(f"{path}: {error.message}")
    if failures:
        raise DataError(f"{len(failures)} of {plural(len(files), 'noise recording')} cannot be "
                        "used; remove or repair them:\n  " + "\n  ".join(failures[:20]),
                        code="augment.bad_noise")
    return NoiseBank(np.concatenate(recordings),
                     np.array([len(r) for r in recordings], np.int32))


def audible_frames(features: np.ndarray) -> np.ndarray:
    """The frames of a recording within NOISE_RANGE_DB of its loudest; at least one, in order."""
    level = np.log(np.mean(np.exp(features.astype(np.float64)), axis=1))
    return features[level >= level.max() - NOISE_RANGE_DB * NEPERS_PER_DB]
