"""Recordings to features inside TensorFlow's graph: tensorflow-io decodes and resamples.

In: `asr.data.recordings.Recordings` and the rows of a batch. Out: their frames, as
`asr.data.pipeline.BatchReader` gives them, without Python for an utterance and without a cache.

The numbers are the cache's to 1e-3 where a recording has the rate of the recipe: the transform is
that of librosa in float64, with librosa's filters and window. Where the rate differs they differ in
the highest bands, because tensorflow-io resamples with Speex (quality 4, a shorter filter) and the
cache with soxr HQ; and a change of speed is one resampling here and two there.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from asr.data.recordings import CODECS, Recordings, require_tensorflow_io
from asr.errors import UsageError
from asr.features import kinds
from asr.features.twin import POWER_FLOOR
from asr.recipe import FeatureSettings

# Taps of Speex's filter at quality 4, which tensorflow-io uses, for rates that go up.
_SPEEX_TAPS = 64


class RecordingGraph:
    """Reads rows of `Recordings` in the graph.

    Raises:
        UsageError: tensorflow-io cannot be loaded.
    """

    def __init__(self, recordings: Recordings):
        require_tensorflow_io()
        try:
            import tensorflow_io  # noqa: F401  registers the file systems
            from tensorflow_io.python.ops import core_ops
        except (ImportError, NotImplementedError) as error:
            raise UsageError(f"tensorflow-io cannot be loaded: {error}. `asr doctor` says which of "
                             "its parts work; or set data.reader = \"cache\".",
                             code="usage.tensorflow_io") from error
        self._ops = core_ops
        self.settings = recordings.settings
        self.num_features = recordings.num_features
        sources = recordings.sources
        with tf.device("/CPU:0"):
            self._paths = tf.constant([source.path for source in sources], tf.string)
            self._numbers = tf.constant([[s.codec, s.rate, s.start, s.stop, s.num_samples]
                                         for s in sources], tf.int64, shape=[len(sources), 5])
            self._spectrum = _Spectrum(self.settings)
        self._one = tf.function(self._row, jit_compile=False,
                                input_signature=[tf.TensorSpec([], tf.int32)])

    def features(self, row_index: int) -> np.ndarray:
        """(T, F) float32 of one row."""
        return self._one(row_index).numpy()

    def frames(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Frames (sum T, F) float32 and lengths (B,) int32 of the rows (B,) int32 of a batch."""
        features = tf.map_fn(self._row, rows, fn_output_signature=tf.RaggedTensorSpec(
            [None, self.num_features], tf.float32, ragged_rank=0, row_splits_dtype=tf.int32))
        return features.values, tf.cast(features.row_lengths(), tf.int32)

    def _row(self, index: tf.Tensor) -> tf.Tensor:
        codec, rate, start, stop, num_samples = tf.unstack(tf.gather(self._numbers, index))
        data = tf.io.read_file(tf.gather(self._paths, index))
        audio = tf.switch_case(tf.cast(codec, tf.int32), [
            lambda decode=decode: decode(data) for decode in self._decoders()])
        audio = tf.reduce_mean(audio[start:stop], axis=1)
        audio = tf.cond(tf.equal(rate, self.settings.sample_rate), lambda: audio,
                        lambda: self._resample(audio, rate))
        missing = tf.maximum(num_samples - tf.size(audio, tf.int64), 0)
        audio = tf.pad(audio[:num_samples], [[0, missing]])
        return self._spectrum(tf.clip_by_value(audio, -1.0, 1.0))

    def _decoders(self) -> list:
        """Functions from the bytes of a file to (n, channels) float32, in the order of CODECS."""
        import tensorflow_io as tfio

        def integers(decode, dtype, scale, offset=0.0):
            return lambda data: (tf.cast(decode(data, dtype=dtype), tf.float32) - offset) / scale

        wav, flac = tfio.audio.decode_wav, tfio.audio.decode_flac
        decoders = {
            "WAV PCM_U8": integers(wav, tf.uint8, 128.0, 128.0),
            "WAV PCM_16": integers(wav, tf.int16, 2.0 ** 15),
            "WAV PCM_24": integers(wav, tf.int32, 2.0 ** 31),
            "WAV FLOAT": lambda data: wav(data, dtype=tf.float32),
            "FLAC PCM_16": integers(flac, tf.int16, 2.0 ** 15),
            "FLAC PCM_24": integers(flac, tf.int32, 2.0 ** 31),
            "MP3 MPEG_LAYER_III": tfio.audio.decode_mp3,
            "OGG VORBIS": tfio.audio.decode_vorbis}
        return [decoders[name] for name in CODECS]

    def _resample(self, audio: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        """(n,) at `rate` to the rate of the recipe.

        The public `tfio.audio.resample` calls this op in a loop over channels. The op delays by
        half of its filter: zeros in front make that a whole number of samples of the result, which
        are cut off, and zeros behind bring out the end.
        """
        target = tf.constant(self.settings.sample_rate, tf.int64)
        divisor = _greatest_common_divisor(rate, target)
        step, taps = rate // divisor, tf.constant(_SPEEX_TAPS, tf.int64)
        taps = tf.where(rate > target, (taps * rate // target - 1) // 8 * 8 + 8, taps)
        delay = taps // 2
        whole = (delay + step - 1) // step * step
        padded = tf.concat([tf.zeros([whole - delay]), audio, tf.zeros([whole + step])], 0)
        resampled = self._ops.io_audio_resample(padded[:, tf.newaxis], rate_in=rate,
                                                rate_out=target)
        return tf.reshape(resampled, [-1])[whole * target // rate:]


class _Spectrum:
    """(n,) float32 samples to (T, F) float32: `asr.features.kinds` in the graph."""

    def __init__(self, settings: FeatureSettings):
        s = self.settings = settings
        left = (s.n_fft - s.win_length) // 2
        window = np.pad(kinds.window(s.window, s.win_length),
                        (left, s.n_fft - s.win_length - left))
        self._window = tf.constant(window, tf.float64)
        self._filters = tf.constant(kinds.mel_basis(s).T, tf.float32)
        self._cosines = None
        if s.kind == "mfcc":
            import librosa

            self._cosines = tf.constant(librosa.feature.mfcc(
                S=np.eye(s.n_mels), n_mfcc=s.n_mfcc).T, tf.float64)

    def __call__(self, audio: tf.Tensor) -> tf.Tensor:
        s = self.settings
        if s.preemphasis:
            audio -= np.float32(s.preemphasis) * tf.concat([audio[:1], audio[:-1]], 0)
        audio = tf.cast(audio, tf.float64)
        count = 1 + (tf.size(audio) - s.n_fft % 2) // s.hop_length
        before = s.n_fft // 2
        behind = tf.maximum(0, (count - 1) * s.hop_length + s.n_fft - before - tf.size(audio))
        frames = tf.signal.frame(tf.pad(audio, [[before, behind]]), s.n_fft, s.hop_length)[:count]
        spectrum = tf.signal.rfft(frames * self._window)
        power = tf.square(tf.math.real(spectrum)) + tf.square(tf.math.imag(spectrum))
        energies = tf.matmul(tf.cast(power, tf.float32), self._filters)
        features = tf.math.log(tf.maximum(energies, POWER_FLOOR))
        if self._cosines is not None:
            features = tf.cast(tf.matmul(tf.cast(features, tf.float64), self._cosines), tf.float32)
        return tf.ensure_shape(features, [None, s.num_features])


def _greatest_common_divisor(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    return tf.while_loop(lambda a, b: b > 0, lambda a, b: (b, a % b), (a, b))[0]
