"""Augment features inside the tf.data graph, for training only.

In: log-mel features (T, F), natural log of power, BEFORE CMVN, of one utterance or joined string,
and a seed. Out: features after CMVN and SpecAugment, (num_frames, F). TensorFlow.

The order is that of the physical world: the speaker (tempo, faint consonants, vocal tract), the
room and distance (tilt, equaliser, reverberation), other sound (noise), the device (gain, band
limit), then normalisation and SpecAugment. The formulas of the effects are in asr.augment.effects.
Every effect is the identity at strength zero. Random numbers are stateless: they depend on the
seed of the item alone, never on threads, batch or order.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from asr.augment import NoiseBank
from asr.augment.effects import (
    LOW_BAND_HZ,
    damp_unvoiced,
    equalize,
    limit_band,
    mix_noise,
    reverberate,
    stretch_time,
    tilt,
    width,
)
from asr.errors import UsageError
from asr.feature_kinds import FEATURE_KINDS
from asr.features import LEVEL_FLOOR, LOG_FLOOR, STATISTICS_NEEDED, VARIANCE_FLOOR
from asr.features.normalization import NEPERS_PER_DB, WEIGHT_RAMP_DB
from asr.features.warping import warp_matrices
from asr.recipe import LEVEL_CHANGES, AugmentSettings, FeatureSettings

# Warp factors are drawn from this many, evenly spaced over 1 ± warp, so that the matrices are
# made once.
WARP_STEPS = 129

# The random equaliser is a line through so many points, evenly spaced over the mel axis.
CURVE_POINTS = 6

# Energy of the direct sound over that of the reverberation, dB, and the shortest time to -60 dB,
# seconds: from a headset to a hall. (The longest is a setting.)
DIRECT_TO_REVERBERANT = (0.0, 15.0)
SHORTEST_REVERB = 0.1

# How far below the loudest moment, in the low band, a moment counts as unvoiced, and by how much
# it is damped, dB.
UNVOICED_BELOW = (10.0, 30.0)
UNVOICED_DAMPING = (6.0, 40.0)

# Places in the vector of uniform numbers that one item draws.
_WARP, _TILT, _NOISE, _NOISE_CLIP, _NOISE_START, _SNR, _GAIN, _BAND, _CUTOFF, _FILL = range(10)


class FeatureAugmenter:
    """The random changes of one recipe, then CMVN.

    Args:
        augment: the [augment] section; `AugmentSettings()` changes nothing.
        features: the [features] section, for CMVN and the meaning of the bins.
        mel_frequencies: (F,) Hz, centre of each mel filter; only for log-mel features.
        noise: recordings to mix in; needed if `augment.noise_probability` is above 0.
        mean, std: (F,) of the training set; used, and needed, for `features.cmvn` "global" and
            "map".

    Raises:
        UsageError: something that the settings need is missing, or does not fit them.
    """

    def __init__(self, augment: AugmentSettings, features: FeatureSettings, *,
                 mel_frequencies: np.ndarray | None = None, noise: NoiseBank | None = None,
                 mean: np.ndarray | None = None, std: np.ndarray | None = None):
        self.augment = augment
        self.features = features
        self.num_features = features.num_features
        self.batch = tf.function(self._batch, jit_compile=False, input_signature=[
            tf.TensorSpec([None, self.num_features], tf.float32),
            *[tf.TensorSpec([None], tf.int32)] * 3])
        self._check(mel_frequencies, noise, mean, std)
        self._mean, self._std = (
            (mean, std) if features.cmvn in STATISTICS_NEEDED else (None, None))
        with tf.device("/CPU:0"):  # tf.data computes there
            if augment.warp and mel_frequencies is not None:
                factors = 1.0 + augment.warp * np.linspace(-1.0, 1.0, WARP_STEPS)
                self._warps = tf.constant(warp_matrices(mel_frequencies, factors))
            if augment.noise_probability and noise is not None:
                self._noise_frames = tf.constant(noise.frames)
                self._noise_lengths = tf.constant(noise.lengths, tf.int32)
                self._noise_starts = tf.cumsum(self._noise_lengths, exclusive=True)
        if augment.band_limit_probability and mel_frequencies is not None:
            self._lowest_bin = float(np.searchsorted(mel_frequencies, augment.band_limit_min_hz))
        if augment.unvoiced_probability and mel_frequencies is not None:
            self._low_bins = max(1, int(np.searchsorted(mel_frequencies, LOW_BAND_HZ)))

    def _check(self, mel_frequencies, noise, mean, std) -> None:
        augment, features = self.augment, self.features
        if augment.changes_levels and (features.deltas
                                       or not FEATURE_KINDS[features.kind].log_power):
            raise UsageError(f"augment.{', '.join(LEVEL_CHANGES)} need log-mel features without "
                             "deltas.")
        if features.cmvn in STATISTICS_NEEDED and (mean is None or std is None):
            raise UsageError(f"features.cmvn = {features.cmvn!r} needs mean and std of the "
                             "training set.")
        if augment.noise_probability and noise is None:
            raise UsageError("augment.noise_probability needs a noise bank, see "
                             "asr.augment.load_noise_bank.")
        if mel_frequencies is None and (augment.warp or augment.band_limit_probability
                                        or augment.unvoiced_probability):
            raise UsageError("augment.warp, band_limit_probability and unvoiced_probability need "
                             "mel_frequencies.")

    def __call__(self, frames: tf.Tensor, num_frames: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """One item, changed and normalised.

        Args:
            frames: (T, F) float32, T >= 1, before CMVN.
            num_frames: () int32, the number of frames wanted (tempo).
            seed: () int32.

        Returns:
            (num_frames, F) float32.
        """
        x = stretch_time(frames, num_frames)
        if self.augment.changes_levels:
            x = self._change_level(x, seed)
        groups, seeds = 1 + self.features.deltas, tf.stack([seed, 1])
        if self.features.cmvn != "none":
            prior = self.features.cmvn_prior if self.features.cmvn == "map" else 0
            x = normalize(x, self._mean, self._std, prior, self.features.cmvn_range_db)
            return mask_spectrum(x, seeds, self.augment, groups)
        if not self.augment.freq_masks and not self.augment.time_masks:
            return x
        mean = tf.reduce_mean(x, axis=0)  # the value of a mask; it is not 0 without CMVN
        return mask_spectrum(x - mean, seeds, self.augment, groups) + mean

    def _batch(self, frames, lengths, num_frames, seeds):
        """Items of a batch, one after the other in `frames`, to (B, max(num_frames), F).

        Args:
            frames: (sum of lengths, F) float32.
            lengths: (B,) int32, frames of each item as cached and joined.
            num_frames: (B,) int32, frames wanted.
            seeds: (B,) int32.
        """
        longest = tf.reduce_max(num_frames)

        def one(item):
            start, length, wanted, seed = item
            x = self(frames[start:start + length], wanted, seed)
            return tf.pad(x, [[0, longest - wanted], [0, 0]])

        return tf.map_fn(one, (tf.cumsum(lengths, exclusive=True), lengths, num_frames, seeds),
                         fn_output_signature=tf.TensorSpec([None, self.num_features], tf.float32))

    @property
    def changes_features(self) -> bool:
        """Whether anything but CMVN is done."""
        a = self.augment
        return bool(a.changes_levels or a.freq_masks or a.time_masks)

    def without_augmentation(self) -> FeatureAugmenter:
        """The same CMVN alone, for evaluation."""
        return FeatureAugmenter(AugmentSettings(), self.features, mean=self._mean, std=self._std)

    def _change_level(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        a = self.augment
        draw = tf.random.stateless_uniform([10], tf.stack([seed, 0]))
        if a.unvoiced_probability:
            x = self._damp_unvoiced(x, tf.random.stateless_uniform([3], tf.stack([seed, 4])))
        if a.warp:
            index = tf.cast(draw[_WARP] * WARP_STEPS, tf.int32)
            x = tf.matmul(x, self._warps[tf.minimum(index, WARP_STEPS - 1)])
        if a.tilt_db:
            x = tilt(x, a.tilt_db * (2.0 * draw[_TILT] - 1.0))
        if a.curve_db:
            x = equalize(x, a.curve_db * tf.random.stateless_normal([CURVE_POINTS],
                                                                    tf.stack([seed, 2])))
        if a.reverb_probability:
            x = self._reverberate(x, tf.random.stateless_uniform([3], tf.stack([seed, 3])))
        if a.noise_probability:
            snr = a.noise_snr_min + (a.noise_snr_max - a.noise_snr_min) * draw[_SNR]
            x = tf.cond(draw[_NOISE] < a.noise_probability,
                        lambda: mix_noise(x, self._pick_noise(tf.shape(x)[0], draw), snr),
                        lambda: x)
        if a.gain_db:
            x = x + a.gain_db * (2.0 * draw[_GAIN] - 1.0) * NEPERS_PER_DB
        if a.tilt_db or a.curve_db or a.gain_db:
            x = tf.maximum(x, LOG_FLOOR)
        if a.band_limit_probability:
            cutoff = self._lowest_bin + (self.num_features - self._lowest_bin) * draw[_CUTOFF]
            x = tf.cond(draw[_BAND] < a.band_limit_probability,
                        lambda: limit_band(x, cutoff, tf.nn.relu(2.0 * draw[_FILL] - 1.0)),
                        lambda: x)
        return x

    def _damp_unvoiced(self, x: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        below, damping = (low + place * (high - low) for place, (low, high) in zip(
            (draw[1], draw[2]), (UNVOICED_BELOW, UNVOICED_DAMPING), strict=True))
        return tf.cond(draw[0] < self.augment.unvoiced_probability,
                       lambda: damp_unvoiced(x, self._low_bins, below, damping), lambda: x)

    def _reverberate(self, x: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        longest, hop = self.augment.reverb_seconds_max, self.features.hop_length
        seconds = SHORTEST_REVERB + draw[1] * (longest - SHORTEST_REVERB)
        low, high = DIRECT_TO_REVERBERANT
        return tf.cond(draw[0] < self.augment.reverb_probability,
                       lambda: reverberate(x, seconds * self.features.sample_rate / hop,
                                           low + draw[2] * (high - low)), lambda: x)

    def _pick_noise(self, num_frames: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
        """(num_frames, F) of one recording, from a random frame on, round and round."""
        count = tf.size(self._noise_lengths)
        clip = tf.cast(draw[_NOISE_CLIP] * tf.cast(count, tf.float32), tf.int32)
        length = self._noise_lengths[clip]
        start = tf.cast(draw[_NOISE_START] * tf.cast(length, tf.float32), tf.int32)
        places = self._noise_starts[clip] + (start + tf.range(num_frames)) % length
        return tf.gather(self._noise_frames, places)


def frame_weights(x: tf.Tensor, range_db: float) -> tf.Tensor:
    """(T, 1): the formula of `asr.features.normalization.frame_weights`."""
    if not range_db:
        return tf.ones([tf.shape(x)[0], 1])
    power = tf.reduce_logsumexp(x, axis=1, keepdims=True)
    mean = tf.reduce_logsumexp(x) - tf.math.log(tf.cast(tf.shape(x)[0], tf.float32))
    above = (power - mean) / NEPERS_PER_DB + range_db
    loud = tf.clip_by_value(above / WEIGHT_RAMP_DB, 0.0, 1.0)
    quiet = 1.0 - loud
    return loud + quiet * tf.minimum(1.0, tf.reduce_sum(loud) / tf.maximum(
        tf.reduce_sum(quiet), 1e-6))


def level(x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """The formula of `asr.features.level`, relative to the power of the frames that count."""
    cells = tf.reduce_sum(weights) * width(x)
    peak = tf.reduce_max(x)
    power = tf.math.log(tf.reduce_sum(weights * tf.exp(x - peak))) + peak
    return tf.maximum(x - (power - tf.math.log(cells)), LEVEL_FLOOR)


def normalize(x: tf.Tensor, mean: np.ndarray | None = None, std: np.ndarray | None = None,
              prior: int = 0, range_db: float = 0.0) -> tf.Tensor:
    """The formula of `asr.features.cmvn`: over this utterance, or with statistics (F,) given.

    With a prior, in frames, that of `asr.features.map_cmvn`.

    Statistics of the utterance are summed relative to its first frame, which makes float32 as good
    as the float64 of the NumPy formula, and silence exactly 0.
    """
    floor = np.float32(math.sqrt(VARIANCE_FLOOR))
    weights = frame_weights(x, range_db)
    count = tf.reduce_sum(weights)

    def average(values: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(weights * values, axis=0) / count

    if prior and mean is not None and std is not None:
        x = level(x, weights) - np.float32(mean)  # relative to the prior's mean: float32 is enough
        share = count / (count + prior)
        x = x - share * average(x)
        variance = share * average(tf.square(x)) + (1.0 - share) * np.square(np.float32(std))
        return x / tf.maximum(tf.sqrt(variance), floor)
    if mean is not None and std is not None:
        return (x - np.float32(mean)) / np.maximum(np.float32(std), floor)
    x = x - x[:1]
    x = x - average(x)
    variance = average(tf.square(x))
    return x / tf.maximum(tf.sqrt(variance), floor)


def mask_spectrum(x: tf.Tensor, seed: tf.Tensor, settings: AugmentSettings,
                  groups: int = 1) -> tf.Tensor:
    """SpecAugment: bands and stretches set to 0, which is the mean after CMVN.

    Args:
        x: (T, F) after CMVN.
        seed: (2,) int32.
        settings: numbers and widths; a stretch is also at most `time_mask_fraction` of T.
        groups: 1 + deltas; static and delta features of a bin are masked together.

    Reference: Park et al. 2019, Interspeech.
    """
    num_frames, num_features = tf.shape(x)[0], width(x)
    bands, stretches = settings.freq_masks, settings.time_masks
    if not bands and not stretches:
        return x
    draw = tf.random.stateless_uniform([2, bands + stretches], seed)
    keep = tf.ones([1, 1])
    if bands:
        num_bins = num_features // groups
        band = _keep(draw[:, :bands], num_bins, tf.minimum(settings.freq_mask_width, num_bins))
        keep = tf.tile(band, [groups])[tf.newaxis, :]
    if stretches:
        fraction = tf.cast(settings.time_mask_fraction * tf.cast(num_frames, tf.float32), tf.int32)
        widest = tf.minimum(settings.time_mask_width, fraction)
        keep = keep * _keep(draw[:, bands:], num_frames, widest)[:, tf.newaxis]
    return x * keep


def _keep(draw: tf.Tensor, size: tf.Tensor | int, widest: tf.Tensor) -> tf.Tensor:
    """(size,) float32: 0 inside any of the N stretches that a (2, N) uniform draw gives."""
    width = tf.floor(draw[0] * tf.cast(widest + 1, tf.float32))
    start = tf.floor(draw[1] * (tf.cast(size, tf.float32) - width + 1.0))
    place = tf.range(tf.cast(size, tf.float32))[:, tf.newaxis]
    inside = (place >= start) & (place < start + width)
    return 1.0 - tf.cast(tf.reduce_any(inside, axis=1), tf.float32)
