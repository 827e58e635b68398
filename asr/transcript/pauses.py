"""Move word ends to pauses in the loudness of the recording.

In: spans of words by their labels, and the loudness of the feature frames. Out: spans.

CTC labels come in a burst, mostly where a word begins; nothing in them says when its last sound
dies away. Between the last label of a word and the first one of the next, the loudness does, if
there is a pause: the word ends where the pause begins, and the next word starts where it ends.
Without a pause words touch. The numbers below were chosen on strings of FSDD's training takes (see
benchmarks/alignment.py --dev), never on the clips that the benchmark reports.
"""

from __future__ import annotations

import math

import numpy as np

from asr.feature_kinds import FEATURE_KINDS
from asr.features.normalization import NEPERS_PER_DB
from asr.recipe import FeatureSettings

QUIET_SHARE = 0.25  # of the way from the quietest stretch up to the speech around is still quiet
MIN_DEPTH = 6 * NEPERS_PER_DB  # nats: 6 dB less than speech, or there is no pause
FLOOR_FRAMES = 5  # the quietest stretch is that long
# nats: -85 dB. What is quieter is no room but digital silence, of a lost packet, an editor or a
# padded end; it says nothing of how loud the pauses around it are.
DIGITAL_SILENCE = -85 * NEPERS_PER_DB
MIN_PAUSE = 0.03  # seconds
SURE_PAUSE = 0.15  # seconds; longer than the closure of a stop inside a word
MAX_LEAD = 0.3  # seconds that a word can begin before its first label
MAX_TAIL = 1.0  # seconds that a word can go on after its last label
BLIND_TAIL = 0.3  # seconds that it goes on, at most, without a pause


def speech_levels(features: np.ndarray, settings: FeatureSettings) -> np.ndarray | None:
    """(T,) float32: natural log of power, the mean over the mel bands of each frame.

    None for a kind that does not say how loud a frame is; words then end with their labels.

    The mean of logarithms shows the weak fricatives at the edges of words, which a sum of powers
    does not.

    Args:
        features: (T, F) float32, before normalisation.
        settings: what they are.
    """
    if not FEATURE_KINDS[settings.kind].says_loudness:
        return None
    if settings.kind == "mfcc":  # the first coefficient of an orthonormal transform
        return features[:, 0] / np.float32(math.sqrt(settings.n_mels))
    return features[:, :settings.n_mels].mean(axis=1)


def edges_at_pauses(starts: np.ndarray, ends: np.ndarray, levels: np.ndarray,
                    seconds_per_frame: float) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends of words, moved to the pauses between them.

    Args:
        starts, ends: (N,) of the words' labels, in feature frames, ends exclusive, in order and
            without overlap; they may be fractions.
        levels: (T,) from `speech_levels`.
        seconds_per_frame: duration of a feature frame.

    Returns:
        (starts, ends), (N,) float64, in order and without overlap, each word longer than nothing.
        A word begins at its first label or before, and ends at its last one or after (but for a
        frame, the resolution of the loudness).
    """
    starts, ends = np.asarray(starts, dtype=np.float64), np.asarray(ends, dtype=np.float64)
    new_starts, new_ends = starts.copy(), ends.copy()
    count, total = len(starts), len(levels)
    if not total:
        return new_starts, new_ends
    first = np.clip(np.round(starts).astype(int), 0, total)
    last = np.clip(np.round(ends).astype(int), 0, total)
    for gap in range(count + 1):  # before word `gap` and after the one before it
        left = max(last[gap - 1] - 1, 0) if gap else 0
        right = min(first[gap] + 1, total) if gap < count else total
        around = []  # the loudest frames of the word on either side
        if gap:
            around.append(levels[first[gap - 1]:right])
        if gap < count:
            around.append(levels[max(right - 2, 0):last[gap] + 1])
        speech = min((part.max() for part in around if len(part)), default=-math.inf)
        pause = _pause(levels[left:right], speech, seconds_per_frame)
        if gap:
            limit = starts[gap] if gap < count else float(total)
            wanted = limit if pause is None else left + pause[0]
            tail = (BLIND_TAIL if pause is None else MAX_TAIL) / seconds_per_frame
            new_ends[gap - 1] = max(min(wanted, ends[gap - 1] + tail, limit),
                                    starts[gap - 1] + 1, ends[gap - 1] - 1)
        if gap < count and pause is not None:
            wanted = left + pause[1]
            if wanted >= starts[gap] - MAX_LEAD / seconds_per_frame:
                new_starts[gap] = max(min(wanted, ends[gap] - 1), new_ends[gap - 1] if gap else 0.0)
    return new_starts, np.maximum(new_ends, new_starts + 1e-3)


def _floor(levels: np.ndarray) -> float:
    """The mean of the quietest stretch of `FLOOR_FRAMES` frames, or of all if they are fewer."""
    size = min(FLOOR_FRAMES, len(levels))
    return float(np.convolve(levels, np.full(size, 1 / size), "valid").min())


def quiet_frames(levels: np.ndarray, speech: float) -> np.ndarray | None:
    """(T,) bool, which frames are no louder than a pause; None where no pause is deep enough.

    Args:
        levels: (T,) from `speech_levels`, T >= 1.
        speech: how loud the speech around is, as `levels`.
    """
    floor = _floor(levels)
    room = levels[levels > DIGITAL_SILENCE]
    if len(room) >= FLOOR_FRAMES and speech - _floor(room) >= MIN_DEPTH:
        floor = _floor(room)
    if speech - floor < MIN_DEPTH:
        return None
    return levels < floor + QUIET_SHARE * (speech - floor)


def _pause(levels: np.ndarray, speech: float, seconds_per_frame: float) -> tuple[int, int] | None:
    """Start and end of the quiet between two words; None where there is none.

    From the first to the last stretch that is surely a pause; if there is none, the longest one.
    """
    quiet = quiet_frames(levels, speech) if len(levels) else None
    if quiet is None:
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet.astype(np.int8), [0]])))
    runs = edges.reshape(-1, 2)
    lengths = (runs[:, 1] - runs[:, 0]) * seconds_per_frame
    sure = runs[lengths >= SURE_PAUSE - 1e-9]
    if len(sure):
        return int(sure[0, 0]), int(sure[-1, 1])
    if not len(runs) or lengths.max() < MIN_PAUSE - 1e-9:
        return None
    longest = runs[lengths.argmax()]
    return int(longest[0]), int(longest[1])
