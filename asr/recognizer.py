"""A trained recogniser, ready for use: features, network and decoder behind one object.

In: a bundle and audio. Out: `Transcript`. Floor 3. TensorFlow is imported only for the engine
"keras"; the default engine is NumPy and starts in a fraction of a second.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from asr.audio import AudioInfo, load_audio, resample
from asr.bundle import LM, Bundle, load_bundle, refuse_foreign
from asr.confidence import calibration_kind
from asr.decoding import Decoder, Hypothesis, build_decoder
from asr.decoding.evidence import CalibratedDecoder
from asr.decoding.packed import unpack_lm
from asr.engine import build_engine, pad_batch
from asr.errors import BundleError, UsageError
from asr.features import FeatureExtractor, normalize_features
from asr.inspection import Inspection, inspect_audio
from asr.recipe import DecoderSettings, settings_from_dict
from asr.tokenizer import CharTokenizer
from asr.transcript import Transcript, Word

SHIPPED = Path(__file__).parent / "assets" / "digits.asr"
BEST = "best.asr"  # of a run directory
BATCH_FRAMES = 12_000  # feature frames a batch at most, padding included: two minutes at 10 ms
BATCH_UTTERANCES = 32
SILENCE_DB = -70.0  # dB of full scale; a recording that never gets louder holds no speech
SILENCE_SECONDS = 0.025  # the stretch over which loudness is measured

Audio = str | os.PathLike | np.ndarray


class Recognizer:
    """Audio to text with one bundle.

    Args:
        bundle: from `asr.bundle.load_bundle`.
        engine: "numpy", "keras" or "auto", which is "numpy".
        decoder: instead of the one that the bundle's settings name.

    Raises:
        UsageError: an unknown engine, or one that cannot run here.

    Example:
        recognizer = asr.load("runs/digits")
        print(recognizer.transcribe("speech.flac").text)
    """

    def __init__(self, bundle: Bundle, engine: str = "auto", decoder: Decoder | None = None):
        self.bundle = bundle
        self.engine = build_engine(engine, bundle.model, bundle.num_features,
                                   bundle.tokenizer.vocab_size, bundle.weights)
        self.decoder_settings = bundle.decoder
        self.decoder = decoder or self._build_decoder(bundle.decoder)
        self._extractor = FeatureExtractor(bundle.features)

    @property
    def tokenizer(self) -> CharTokenizer:
        """Labels and characters."""
        return self.bundle.tokenizer

    @property
    def sample_rate(self) -> int:
        """Hz; every recording is resampled to it."""
        return self.bundle.features.sample_rate

    @property
    def seconds_per_frame(self) -> float:
        """Of an output frame."""
        return self.bundle.features.hop_length * self.bundle.model.subsampling / self.sample_rate

    def with_decoder(self, settings: DecoderSettings | Decoder | None = None,
                     **knobs) -> Recognizer:
        """The same recogniser with another decoder; the network is shared, not copied.

        Args:
            settings: a decoder object, or settings; None: those of this recogniser.
            knobs: settings to change, such as kind="greedy".

        Raises:
            UsageError: a knob that is unknown or out of bounds, or a decoder that cannot be built.
        """
        other = copy.copy(self)
        if isinstance(settings, Decoder):
            other.decoder = settings
            return other
        table = dataclasses.asdict(settings or self.decoder_settings) | knobs
        other.decoder_settings = settings_from_dict(DecoderSettings, table, source="decoder")
        other.decoder = self._build_decoder(other.decoder_settings)
        return other

    def load_audio(self, audio: Audio, sample_rate: int | None = None, *,
                   expected: AudioInfo | None = None) -> np.ndarray:
        """Samples at the recogniser's rate, of a path or of an array.

        Args:
            audio: a path, or (num_samples,) floating point, mono, in [-1, 1].
            sample_rate: Hz of an array; None: it has the recogniser's rate already.
            expected: of a path, see `asr.audio.load_audio`.

        Raises:
            AudioError: see `asr.audio.load_audio`.
            UsageError: an array that is not one-dimensional floating point, or a rate for a path.
        """
        if not isinstance(audio, np.ndarray):
            if sample_rate is not None:
                raise UsageError("sample_rate belongs to an array; a file says its own.")
            return load_audio(audio, sample_rate=self.sample_rate, expected=expected)
        if audio.ndim != 1 or audio.dtype.kind != "f":
            raise UsageError(f"An array of shape {audio.shape} and type {audio.dtype} is not mono "
                             "audio; expected (num_samples,) floating point in [-1, 1].")
        audio = audio.astype(np.float32, copy=False)
        if sample_rate in (None, self.sample_rate):
            return audio
        return resample(audio, sample_rate, self.sample_rate)

    def features(self, audio: Audio, sample_rate: int | None = None) -> np.ndarray:
        """(T, F) float32 of a recording, before normalisation; see `asr.features`.

        Raises:
            AudioError, UsageError: see `load_audio` and `asr.features.log_mel`.
        """
        return self._extractor.extract(self.load_audio(audio, sample_rate))

    def normalized(self, features: np.ndarray) -> np.ndarray:
        """Features as the network was trained on: after its mean and variance normalisation."""
        return normalize_features(features, self.bundle.features, self.bundle.cmvn)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(T', V) float32 of one utterance.

        Args:
            features: (T, F) float32 before normalisation, from `features` or `asr.log_mel`.

        Raises:
            UsageError: the shape is not this network's.
        """
        return self.logits_batch([features])[0]

    def logits_batch(self, features: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Logits of many utterances, in their order; batches of like lengths, bounded memory.

        Args:
            features: (T_i, F) float32 each, before normalisation.

        Raises:
            UsageError: a shape is not this network's.
        """
        for row in features:
            if row.ndim != 2 or row.shape[1] != self.bundle.num_features or not len(row):
                raise UsageError(f"Features of shape {row.shape} do not fit this recogniser; "
                                 f"expected (frames, {self.bundle.num_features}).")
        results: list[np.ndarray] = [np.empty(0)] * len(features)
        for batch in batches_by_length([len(row) for row in features]):
            logits, lengths = self.engine.logits(
                *pad_batch([self.normalized(features[i]) for i in batch]))
            for i, row, length in zip(batch, logits, lengths, strict=True):
                results[i] = row[:length].copy()
        return results

    def decode(self, logits: np.ndarray, duration: float | None = None) -> Transcript:
        """The transcript of one utterance's logits.

        Args:
            logits: (T', V) float32.
            duration: seconds of the recording; None: that of the frames.

        Raises:
            DataError: the logits are not finite.
        """
        best = self.decoder.decode(logits)[0]
        return self._transcript(best, len(logits) * self.seconds_per_frame
                                if duration is None else duration)

    def transcribe(self, audio: Audio, sample_rate: int | None = None) -> Transcript:
        """What was said in a recording; the empty transcript for silence.

        Args:
            audio: a path, or (num_samples,) floating point, mono, in [-1, 1].
            sample_rate: Hz of an array; None: it has the recogniser's rate already.

        Raises:
            AudioError: the recording cannot be used; the code says why.
            UsageError: an array that is not mono floating point.
        """
        return self.transcribe_batch([audio], sample_rate)[0]

    def transcribe_batch(self, audios: Sequence[Audio],
                         sample_rate: int | None = None) -> list[Transcript]:
        """`transcribe` of many recordings, in their order; the result of each is the same.

        Raises:
            AudioError, UsageError: at the first recording that cannot be used; `asr.transcribe`
                goes on with the others.
        """
        loaded = [self.load_audio(audio, sample_rate) for audio in audios]
        spoken = [i for i, audio in enumerate(loaded) if not is_silent(audio, self.sample_rate)]
        logits = self.logits_batch([self._extractor.extract(loaded[i]) for i in spoken])
        transcripts = [Transcript("", duration=len(audio) / self.sample_rate) for audio in loaded]
        for i, row in zip(spoken, logits, strict=True):
            transcripts[i] = self.decode(row, len(loaded[i]) / self.sample_rate)
        return transcripts

    def inspect(self, audio: Audio, sample_rate: int | None = None) -> Inspection:
        """Every gate and memory cell while the network listens, in the time of the recording.

        Args:
            audio, sample_rate: as for `transcribe`; a minute at most.

        Returns:
            Features (T, F), the gates of each layer and direction (T', U), posteriors (T', V) and
            the text; see `asr.inspection.Inspection`.

        Raises:
            AudioError: the recording cannot be used.
            UsageError: it is silent or too long, or the array is not mono floating point.
        """
        samples = self.load_audio(audio, sample_rate)
        if is_silent(samples, self.sample_rate):
            raise UsageError(f"The recording never gets louder than {SILENCE_DB:g} dB of full "
                             "scale: the network is not asked about silence, so there is nothing "
                             "to see. Give a recording with speech.")
        return inspect_audio(self.bundle, samples, self.decode)

    def describe(self) -> dict:
        """Plain values for people and for JSON: what this recogniser is."""
        b = self.bundle
        return {
            "bundle": str(b.path) if b.path else None, "bundle_hash": b.bundle_hash,
            "weights_hash": b.weights_hash, "engine": self.engine.name,
            "decoder": dataclasses.asdict(self.decoder_settings),
            "features": dataclasses.asdict(b.features), "model": dataclasses.asdict(b.model),
            "normalizer": b.normalizer, "alphabet": b.tokenizer.alphabet,
            "num_parameters": sum(int(w.size) for w in b.weights.values()),
            "training": dict(b.training), "versions": dict(b.versions)}

    def __repr__(self) -> str:
        m = self.bundle.model
        return (f"Recognizer({str(self.bundle.path)!r}, {m.num_layers} x {m.units} bidirectional "
                f"LSTM, {self.bundle.tokenizer.vocab_size} labels, {self.decoder_settings.kind}, "
                f"engine {self.engine.name})")

    def _build_decoder(self, settings: DecoderSettings) -> Decoder:
        """With the bundle's language model, if the settings mean it, and its calibration."""
        model = None
        if settings.kind == "beam" and settings.lm == LM and self.bundle.lm is not None:
            model = unpack_lm(self.bundle.lm, f"{self.bundle.path}: {LM}")
        decoder = build_decoder(settings, self.tokenizer, language_model=model)
        calibration = self.bundle.calibration.get(calibration_kind(settings))
        return CalibratedDecoder(decoder, calibration) if calibration else decoder

    def _transcript(self, hypothesis: Hypothesis, duration: float) -> Transcript:
        step = self.seconds_per_frame
        words = tuple(Word(w.text, min(w.start * step, duration), min(w.end * step, duration),
                           w.confidence) for w in hypothesis.words)
        return Transcript(hypothesis.text, hypothesis.score, words, hypothesis.confidence,
                          duration)


def load(path: str | os.PathLike | None = None, engine: str = "auto") -> Recognizer:
    """A recogniser from a bundle, from a run directory (its best.asr), or the shipped one.

    Args:
        path: an .asr file or a run directory; None: the digits recogniser that comes along.
        engine: "numpy", "keras" or "auto".

    Raises:
        BundleError: there is no such bundle, or it is damaged, hostile or of another version.
        UsageError: a model of another framework, or an engine that cannot run.
    """
    return Recognizer(load_bundle(find_bundle(path)), engine=engine)


def find_bundle(path: str | os.PathLike | None = None) -> Path:
    """The bundle file that `load` reads for this path.

    Raises:
        BundleError: a folder without best.asr, or nothing is shipped.
        UsageError: a TensorFlow SavedModel folder.
    """
    if path is None:
        if not SHIPPED.is_file():
            raise BundleError("This installation ships no bundle; give the path of one.",
                              code="bundle.open", path=SHIPPED)
        return SHIPPED
    path = Path(path)
    if not path.is_dir():
        return path
    refuse_foreign(path)
    if not (path / BEST).is_file():
        raise BundleError(f"{path} holds no {BEST}: it is no run directory, or training has not "
                          "finished its first epoch. Give an .asr file.", code="bundle.open",
                          path=path)
    return path / BEST


def is_silent(audio: np.ndarray, sample_rate: int) -> bool:
    """Whether a recording never gets louder than -70 dB of full scale over 25 ms.

    Normalisation would blow up the noise of such a recording to the level of speech, and the
    network would hear words in it.

    Args:
        audio: (num_samples,) float32.
        sample_rate: Hz.
    """
    size = max(1, int(SILENCE_SECONDS * sample_rate))
    threshold = 10 ** (SILENCE_DB / 10)
    whole = len(audio) // size * size
    power = np.square(audio[:whole], dtype=np.float32).reshape(-1, size).mean(axis=1)
    rest = audio[whole:]
    loudest = max(power.max(initial=0.0), float(np.square(rest).mean()) if len(rest) else 0.0)
    return loudest < threshold


def batches_by_length(lengths: Sequence[int]) -> list[list[int]]:
    """Indices in batches of like lengths, longest first, bounded by padded frames and by count.

    Example:
        >>> batches_by_length([5, 20_000, 7])
        [[1], [2, 0]]
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches:
            batch = batches[-1]
            padded = (len(batch) + 1) * lengths[batch[0]]
            if len(batch) < BATCH_UTTERANCES and padded <= BATCH_FRAMES:
                batch.append(index)
                continue
        batches.append([index])
    return batches
