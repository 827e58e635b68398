"""A trained recogniser, ready for use: features, network and decoder behind one object.

In: a bundle and audio. Out: `Transcript`. TensorFlow is imported only for the engine
"keras"; the default engine is NumPy and starts in a fraction of a second.
"""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from asr.audio.loudness import SILENCE_DB, is_silent
from asr.audio.recording import Blocks
from asr.bundle import Bundle, load_bundle
from asr.bundle.find import find_bundle
from asr.decoding import Decoder, check_logits, log_softmax
from asr.decoding.alignment import aligned
from asr.errors import DataError, UsageError
from asr.inference.acoustics import RATE_OF_A_FILE, Acoustics, Audio
from asr.inference.decoders import decoder_of, own_decoder
from asr.inference.long_pauses import LongPauses
from asr.inference.long_recordings import listen
from asr.inference.loop import infer, transcribe_tasks
from asr.inference.networks import bundle_of
from asr.inference.stopwatch import Stopwatch
from asr.inference.tasks import Result, Task
from asr.inference.warps import Warping
from asr.inference.windows import Windows
from asr.inspection import Inspection, inspect_audio
from asr.live import Stream, StreamSettings
from asr.network.engine import Engine
from asr.recipe import NEVER_REFUSED, DecoderSettings, Recipe
from asr.settings import settings_from_dict
from asr.text import normalize
from asr.text.tokenizer import CharTokenizer
from asr.transcript import Transcript
from asr.transcript.pauses import speech_levels
from asr.transcript.timing import to_transcript
from asr.transcript.written import as_written


class Recognizer(Acoustics):
    """Audio to text with one bundle.

    Args:
        bundle: from `asr.bundle.load_bundle`.
        engine: "numpy", "keras" or "auto", which is "numpy"; or an object that computes logits.
        decoder: instead of the one that the bundle's settings name.
        windows: how recordings are cut that are too long for one pass.
        build: the function that builds the bundle's network, if that is a network of your own; see
            `asr.train`.

    Attributes:
        warping: frequency warps that a recording's logits are chosen among, of `decoder.warps`;
            None: none. `transcribe`, `align`, `asr.evaluate` and the final texts of `stream`
            choose; `logits`, `logits_batch` and `inspect` read the plain features.
        pauses: the rule by which long pauses are shortened, of `decoder.max_pause`; it holds where
            warps are chosen.

    Raises:
        UsageError: an unknown engine, or one that cannot run here; the bundle needs `build`, or
            what it builds does not fit.
        BundleError: the bundle's settings name a decoder that cannot be built.

    Example:
        recognizer = asr.load("runs/digits")
        print(recognizer.transcribe("speech.flac").text)
    """

    def __init__(self, bundle: Bundle, engine: str | Engine = "auto",
                 decoder: Decoder | None = None, windows: Windows | None = None,
                 build: Callable | None = None):
        super().__init__(bundle, engine, build)
        self.decoder_settings = bundle.decoder
        self.decoder = decoder or own_decoder(bundle)
        self.warping = Warping.of(bundle.features, bundle.decoder)
        self.pauses = LongPauses.of(bundle.features, bundle.model, bundle.decoder)
        self.windows = windows or Windows()

    @classmethod
    def from_keras(cls, model: Any, recipe: Recipe, tokenizer: CharTokenizer, *,
                   cmvn: tuple[np.ndarray, np.ndarray] | None = None,
                   build: Callable | None = None) -> Recognizer:
        """A recogniser of a network that Keras trained; `save` writes its bundle.

        Args:
            model: an `asr.AcousticModel` or, with `build`, a network of your own.
            recipe: features, text, model and decoder are those of its training.
            tokenizer: tokenizer of its labels, as of `asr.dataset(...).tokenizer`.
            cmvn: (mean, std), each (F,), if features.cmvn is "global" or "map":
                `asr.dataset(...).cmvn`.
            build: the function that builds a network of your own; loading the bundle needs it.

        Raises:
            UsageError: the network does not fit the recipe or the tokenizer, is one of your own
                without `build`, or `cmvn` is missing.
            BundleError: a weight is not finite.
        """
        return cls(bundle_of(model, recipe, tokenizer, cmvn, build), build=build)

    def save(self, path: str | os.PathLike) -> str:
        """Write the bundle of this recogniser; returns its hash. See `asr.bundle.save_bundle`."""
        return self.bundle.save(Path(path))

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
        if "grammar" in knobs:  # another grammar's limits say nothing of this one
            knobs = {"max_gap": NEVER_REFUSED, "max_doubt": NEVER_REFUSED} | knobs
        table = dataclasses.asdict(settings or self.decoder_settings) | knobs
        other.decoder_settings = settings_from_dict(DecoderSettings, table, source="decoder")
        other.warping = Warping.of(self.bundle.features, other.decoder_settings)
        other.pauses = LongPauses.of(self.bundle.features, self.bundle.model,
                                     other.decoder_settings)
        other.decoder = decoder_of(self.bundle, other.decoder_settings)
        return other

    def decode(self, logits: np.ndarray, duration: float | None = None,
               features: np.ndarray | None = None, start: float = 0.0) -> Transcript:
        """The transcript of one utterance's logits.

        Args:
            logits: (T', V) float32.
            duration: seconds of the recording; None: that of the frames.
            features: (T, F) float32 before normalisation, to end words at pauses; None: words
                end with their last label, which is mostly too early.
            start: seconds of the recording in front of the features, see `seconds_trimmed`.

        Raises:
            DataError: the logits are not finite.
        """
        if duration is None:
            inner = len(logits) - 2 * self.bundle.model.edge_frames
            duration = max(0, inner) * self.seconds_per_frame
        levels = None if features is None else speech_levels(features, self.bundle.features)
        return to_transcript(self.decoder.decode(logits), self.clock, duration, levels, start)

    def align(self, audio: Audio, text: str, sample_rate: int | None = None, *,
              allow_truncated: bool = False) -> Transcript:
        """When each word and character of a known text was said.

        Args:
            audio: a path, or (num_samples,) floating point, mono, in [-1, 1].
            text: what is said; normalised as the training texts were.
            sample_rate: Hz of an array; None: it has the recogniser's rate already.
            allow_truncated: for a path, see `asr.audio.load_audio`.

        Returns:
            The text with times, its words as they are written here; `score` is the natural log of
            the best alignment's probability, and a low confidence says that something else was
            said.

        Raises:
            AudioError: the recording cannot be used.
            TextError: a character outside the alphabet, after normalisation.
            DataError: no word in the text ("align.empty"), a silent recording ("align.silent"), or
                a text that is too long for it ("align.infeasible").
        """
        (result,) = infer(self, [self._task(audio, sample_rate)])
        return self.align_result(result, text)

    def align_result(self, result: Result, text: str) -> Transcript:
        """`align` for a result of `asr.inference.loop.infer`; arguments and errors as there."""
        words = normalize(text, self.bundle.text.normalizer)
        labels = self.tokenizer.encode(words)
        if not words.split():
            raise DataError(f"{text!r} holds no word to align; give what is said in the "
                            "recording.", code="align.empty")
        result.raise_error()
        if result.logits is None:
            raise DataError(f"The recording never gets louder than {SILENCE_DB:g} dB of full "
                            "scale; there is nothing to align a text with.", code="align.silent")
        log_probs = log_softmax(check_logits(result.logits, self.tokenizer.vocab_size))
        levels = speech_levels(result.features, self.bundle.features) \
            if result.levels is None and len(result.features) else result.levels
        found = to_transcript([aligned(log_probs, labels, self.tokenizer)], self.clock,
                              result.duration, levels, result.start)
        return as_written(found, text, self.bundle.text.normalizer)

    def transcribe(self, audio: Audio, sample_rate: int | None = None) -> Transcript:
        """What was said in a recording; the empty transcript for silence.

        One that lasts longer than `windows.threshold_seconds` (10 minutes) is transcribed by
        `transcribe_blocks`, window by window: up to a day, in constant memory.

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
            AudioError, UsageError: at the first recording that cannot be used;
                `asr.fleet.transcribe` goes on with the others.
        """
        transcripts = []
        for result in transcribe_tasks(self, [self._task(audio, sample_rate) for audio in audios]):
            result.raise_error()
            transcripts.append(result.transcript)
        return transcripts

    def transcribe_blocks(self, blocks: Blocks, watch: Stopwatch | None = None) -> Transcript:
        """A recording of any length, window by window; see `asr.inference.windows`.

        Word times are those of the recording. The text is decoded from pause to pause: `score` is
        the sum over these segments and `confidence` their mean, weighted by words; a language model
        begins a new sentence in each, and there are no `alternatives`.

        Args:
            blocks: starts a pass over the samples, at the recogniser's rate; called two or three
                times. `Recording.blocks` or `blocks_of(array)` of `asr.audio.recording`.
            watch: told how long the stages take.

        Raises: see `transcribe`.
        """
        hypothesis, levels, num_samples = listen(self, blocks, watch)
        duration = num_samples / self.sample_rate
        return Transcript("", duration=duration) if hypothesis is None else \
            to_transcript([hypothesis], self.clock, duration, levels)

    def stream(self, sample_rate: float | None = None, **settings: float) -> Stream:
        """Recognise speech while it is spoken; see `asr.live.Stream`.

        Args:
            sample_rate: Hz of the samples; None: the recogniser's own rate.
            settings: seconds: end_pause, right_context, left_context, stable_pause, chunk,
                max_utterance, max_lag, see `asr.live.StreamSettings`.

        Raises:
            UsageError: a setting or a sample rate that cannot be.

        Example:
            stream = recognizer.stream(sample_rate=48_000)
            for piece in microphone:
                for final in stream.feed(piece):
                    print(final.text)
                show(stream.partial().text)
            finals = stream.finish()
        """
        unknown = settings.keys() - {field.name for field in dataclasses.fields(StreamSettings)}
        if unknown:
            raise UsageError(f"stream() has no setting {', '.join(sorted(unknown))}; it has "
                             f"{', '.join(f.name for f in dataclasses.fields(StreamSettings))}.")
        return Stream(self, sample_rate or self.sample_rate, StreamSettings(**settings))

    def inspect(self, audio: Audio, sample_rate: int | None = None, *,
                allow_truncated: bool = False) -> Inspection:
        """Every gate and memory cell while the network listens, in the time of the recording.

        Args:
            audio, sample_rate: as for `transcribe`; a minute at most.
            allow_truncated: for a path, see `asr.audio.load_audio`.

        Returns:
            Features (T, F), the gates of each layer and direction (T', U), posteriors (T', V) and
            the text; see `asr.inspection.Inspection`.

        Raises:
            AudioError: the recording cannot be used.
            UsageError: it is silent or too long, the array is not mono floating point, or the
                network is one of your own.
        """
        if self.bundle.network:
            raise UsageError(f"The network of {self.bundle.network} cannot be looked into: only "
                             "that of asr.AcousticModel has the gates that this shows.")
        samples = self.load_audio(audio, sample_rate, allow_truncated=allow_truncated)
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
            "quantization": b.quantization,
            "normalizer": b.normalizer, "alphabet": b.tokenizer.alphabet,
            "num_parameters": sum(int(w.size) for w in b.weights.values()),
            "training": dict(b.training), "versions": dict(b.versions)}

    def __repr__(self) -> str:
        m = self.bundle.model
        network = self.bundle.network or f"{m.num_layers} x {m.units} bidirectional LSTM"
        return (f"Recognizer({str(self.bundle.path)!r}, {network}, "
                f"{self.bundle.tokenizer.vocab_size} labels, {self.decoder_settings.kind}, "
                f"engine {self.engine.name})")

    @staticmethod
    def _task(audio: Audio, sample_rate: int | None) -> Task[None]:
        if isinstance(audio, np.ndarray):
            return Task(None, audio, "the array", sample_rate)
        if sample_rate is not None:
            raise UsageError(RATE_OF_A_FILE)
        return Task(None, audio, str(audio))


def load(path: str | os.PathLike | None = None, engine: str = "auto",
         windows: Windows | None = None, build: Callable | None = None) -> Recognizer:
    """A recogniser from a bundle, from a run directory (its best.asr), or the shipped one.

    Args:
        path: an .asr file, a run directory, or an .onnx file that `asr export` wrote, which
            onnxruntime runs; None: the digits recogniser that comes along.
        engine: "numpy", "keras", "onnx" or "auto", which is what the file is made for.
        windows: how recordings are cut that are too long for one pass; None: `Windows()`.
        build: the function that builds the bundle's network, if that is a network of your own.

    Raises:
        BundleError: there is no such bundle, or it is damaged, hostile or of another version.
        UsageError: a model of another framework, an engine that cannot run, or a network of your
            own without its function.
    """
    path = find_bundle(path)
    if path.suffix.lower() == ".onnx":
        if engine not in ("auto", "onnx"):
            raise UsageError(f"{path} runs with the engine onnx, not {engine!r}. For another "
                             "engine give the .asr bundle.")
        from asr.bundle.onnx_file import load_onnx

        bundle, exported = load_onnx(path)
        return Recognizer(bundle, engine=exported, windows=windows)
    if engine == "onnx":
        raise UsageError(f"{path} is no ONNX file. Write one: asr export {path} model.onnx")
    return Recognizer(load_bundle(path), engine=engine, windows=windows, build=build)


def transcribe(audio: Audio, sample_rate: int | None = None, *,
               model: str | os.PathLike | None = None) -> Transcript:
    """What was said in one recording: `asr.load(model).transcribe(audio)`.

    Loads the model at each call; for several recordings load it once.

    Args:
        audio: a path, or (num_samples,) floating point, mono, in [-1, 1].
        sample_rate: Hz of an array; None: it has the model's rate already.
        model: an .asr file or a run directory; None: the digits recogniser that comes along.

    Raises:
        AudioError: the recording cannot be used.
        BundleError: the model cannot be used.
        UsageError: an array that is not mono floating point.
    """
    return load(model).transcribe(audio, sample_rate)


def align(audio: Audio, text: str, sample_rate: int | None = None, *,
          model: str | os.PathLike | None = None) -> Transcript:
    """When each word of a known text was said: `asr.load(model).align(audio, text)`.

    Args:
        audio, sample_rate, model: as for `transcribe`.
        text: what is said in the recording.

    Raises:
        AudioError, BundleError: the recording or the model cannot be used.
        TextError: a character outside the alphabet, after normalisation.
        DataError: the text has no word, or cannot be aligned with the recording.
    """
    return load(model).align(audio, text, sample_rate)
