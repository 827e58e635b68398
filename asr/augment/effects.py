"""What the augmentations do to log-mel features, as TensorFlow formulas.

In: (T, F) float32, natural log of power, before CMVN, and the strength. Out: (T, F), or another
number of frames for `stretch_time`. Nothing here is random: asr.augment.graph draws.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from asr.features import LOG_FLOOR
from asr.features.normalization import NEPERS_PER_DB

# Power of an utterance is that of its active frames, those within this of the loudest (dB), so
# that pauses do not decide a signal-to-noise ratio.
ACTIVE_RANGE_DB = 30.0

# Above a band limit the level falls by this much a bin (26 dB), as it does above 4 kHz in an 8 kHz
# recording that was resampled to 16 kHz.
BAND_LIMIT_SLOPE = 6.0

# Voiced sounds have their power below this; most of what voiceless ones have lies above it, Hz.
LOW_BAND_HZ = 1_100.0

# From voiced to unvoiced the damping rises over so many dB.
UNVOICED_RAMP_DB = 6.0


def stretch_time(x: tf.Tensor, num_frames: tf.Tensor) -> tf.Tensor:
    """(T, F) to (num_frames, F) by linear interpolation; the first and last frame stay."""
    length = tf.shape(x)[0]

    def interpolate():
        step = (tf.cast(length - 1, tf.float32)
                / tf.cast(tf.maximum(num_frames - 1, 1), tf.float32))
        place = tf.cast(tf.range(num_frames), tf.float32) * step
        left = tf.minimum(tf.cast(place, tf.int32), length - 1)
        weight = (place - tf.cast(left, tf.float32))[:, tf.newaxis]
        before, after = tf.gather(x, left), tf.gather(x, tf.minimum(left + 1, length - 1))
        return before + weight * (after - before)

    return tf.cond(tf.equal(length, num_frames), lambda: x, interpolate)


def tilt(x: tf.Tensor, decibels: tf.Tensor) -> tf.Tensor:
    """A straight line over the mel axis from -decibels / 2 to +decibels / 2."""
    line = np.linspace(-0.5, 0.5, width(x)).astype(np.float32) * np.float32(NEPERS_PER_DB)
    return x + decibels * line


def equalize(x: tf.Tensor, decibels: tf.Tensor) -> tf.Tensor:
    """A line through (N,) points, evenly spaced over the mel axis, added to (T, F) log power."""
    points = int(decibels.shape[0])  # type: ignore[arg-type]
    places = np.linspace(0.0, points - 1.0, width(x))[:, np.newaxis]
    weights = np.maximum(0.0, 1.0 - np.abs(places - np.arange(points))) * NEPERS_PER_DB
    return x + tf.linalg.matvec(tf.constant(weights, tf.float32), decibels)


def reverberate(x: tf.Tensor, num_frames: tf.Tensor, ratio_db: tf.Tensor) -> tf.Tensor:
    """An exponential tail behind every frame: log(exp(x[t]) + sum over k > 0 of g d^k exp(x[t-k])).

    Args:
        x: (T, F) log power.
        num_frames: () reverberation time: the tail is 60 dB down after so many frames.
        ratio_db: () energy of the direct sound over that of the tail, dB.

    Reference: the exponential energy envelope of Polack's model of a room (1988), frame by frame.
    """
    log_decay = -60.0 * float(NEPERS_PER_DB) / tf.cast(num_frames, tf.float32)
    steps = tf.cast(tf.range(tf.shape(x)[0]), tf.float32)
    behind = steps[:, tf.newaxis] - steps  # frames from source to target
    tail = tf.where(behind > 0.0, tf.exp(log_decay * tf.maximum(behind, 0.0)), 0.0)
    # The powers of d sum to d / (1 - d).
    gain = tf.math.log(tf.math.expm1(-log_decay)) - tf.cast(ratio_db * NEPERS_PER_DB, tf.float32)
    loudest = tf.reduce_max(x)
    late = tf.math.log(tf.matmul(tail, tf.exp(x - loudest)) + 1e-37) + loudest + gain
    return x + tf.nn.softplus(late - x)


def log_power(x: tf.Tensor) -> tf.Tensor:
    """() the natural log of the mean power, summed over bins, of the active frames of (T, F)."""
    level = tf.reduce_logsumexp(x, axis=1)
    active = level >= tf.reduce_max(level) - ACTIVE_RANGE_DB * NEPERS_PER_DB
    level = tf.boolean_mask(level, active)
    return tf.reduce_logsumexp(level) - tf.math.log(tf.cast(tf.size(level), tf.float32))


def mix_noise(x: tf.Tensor, noise: tf.Tensor, snr_db: tf.Tensor) -> tf.Tensor:
    """Noise added to speech in the power domain: log(exp(x) + g exp(noise)).

    Args:
        x: (T, F) log power of speech.
        noise: (T, F) log power of noise.
        snr_db: power of the active frames of the speech over that of the noise, dB.
    """
    gain = log_power(x) - log_power(noise) - snr_db * NEPERS_PER_DB
    return x + tf.nn.softplus(noise + gain - x)


def limit_band(x: tf.Tensor, cutoff: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """What lies above a bin falls steeply to a floor, as after a telephone or a low sample rate.

    Args:
        x: (T, F) log power.
        cutoff: () the last bin that stays, fractional.
        level: () in 0 .. 1: where the floor lies between LOG_FLOOR (digital silence, as resampled
            8 kHz recordings have it; half of the draws) and the quietest value of the utterance.
    """
    beyond = tf.maximum(tf.range(width(x), dtype=tf.float32) - cutoff, 0.0)
    floor = LOG_FLOOR + level * (tf.reduce_min(x) - LOG_FLOOR)
    return tf.where(beyond > 0.0, tf.maximum(x - BAND_LIMIT_SLOPE * beyond, floor), x)


def damp_unvoiced(x: tf.Tensor, low_bins: int, below_db: tf.Tensor, damping_db: tf.Tensor
                  ) -> tf.Tensor:
    """Moments without voice are damped: a noise suppressor, a microphone that passes no [s].

    Args:
        x: (T, F) log power.
        low_bins: so many bins from the lowest one on say whether a moment is voiced.
        below_db: () a moment is voiced if its power in them is less than this below that of the
            loudest moment, dB.
        damping_db: () by how much the others are damped, dB.
    """
    low = tf.reduce_logsumexp(x[:, :low_bins], axis=1, keepdims=True)
    missing_db = (tf.reduce_max(low) - low) / NEPERS_PER_DB - below_db
    share = tf.clip_by_value(missing_db / UNVOICED_RAMP_DB, 0.0, 1.0)
    return tf.maximum(x - damping_db * NEPERS_PER_DB * share, tf.minimum(x, LOG_FLOOR))


def width(x: tf.Tensor) -> int:
    """F, which is always known when the graph is built."""
    return int(x.shape[-1])  # type: ignore[arg-type]
