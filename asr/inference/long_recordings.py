"""Decode a recording of hours, in memory that does not grow with its length.

In: a recogniser's parts, and a recording that can be read again and again. Out: a `Hypothesis`
whose frames count from the start of the recording.

The recording is read two or three times, a block at a time. First for what concerns all of it: how
loud it is from moment to moment, and the statistics that normalisation needs (after a second round
for "map"), so that a window is normalised as within the whole. Then for its features: they are cut
into windows, the network works on some windows at a time, and of their logits the cores are kept,
put together, and decoded from pause to pause.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np

from asr.audio.loudness import LoudnessMeter
from asr.audio.recording import Blocks
from asr.bundle import Bundle
from asr.decoding import Decoder, Hypothesis
from asr.decoding.long_text import decode_segments
from asr.features import FeatureExtractor
from asr.features.lengths import feature_length, output_length
from asr.features.normalization import fit_normalization
from asr.inference.stopwatch import Stopwatch
from asr.inference.windows import Window, Windows, cut_windows, feature_blocks, plan_windows
from asr.network.engine import Engine, pad_batch
from asr.transcript.pauses import speech_levels

SEGMENT_SECONDS = 60.0  # decoded at a time, at least; twice that at most


class Listener(Protocol):
    """What is needed of a `Recognizer`."""

    bundle: Bundle
    engine: Engine
    decoder: Decoder
    windows: Windows

    @property
    def seconds_per_frame(self) -> float:
        """Duration of an output frame."""
        ...


@dataclass
class Survey:
    """What is known of a recording besides its logits.

    Attributes:
        loudness: loudness of the samples; complete after the first pass.
        plan: the windows, once the loudness is known.
        levels: (n,) float32 pieces of `asr.transcript.pauses.speech_levels`; complete after the
        last pass.
    """

    loudness: LoudnessMeter
    plan: list[Window] = field(default_factory=list)
    levels: list[np.ndarray] = field(default_factory=list)


def listen(listener: Listener, blocks: Blocks, watch: Stopwatch | None = None
           ) -> tuple[Hypothesis | None, np.ndarray, int]:
    """What is said in a recording of any length.

    Args:
        listener: a recogniser.
        blocks: starts a pass over the recording, see `asr.audio.recording.Recording.blocks`.
        watch: told about the stages "load", "features", "model" and "decode".

    Returns:
        The hypothesis, None for a recording that is silent throughout; the levels of its feature
        frames, (T,) float32, for `asr.transcript.timing.to_transcript`; how many samples it has.

    Raises:
        AudioError: the recording cannot be read, or is not audio.
        DataError: the logits are not finite.
    """
    watch = watch or Stopwatch()
    survey, logits = window_logits(listener, blocks, watch)
    num_samples = survey.loudness.num_samples
    if survey.loudness.silent:
        return None, np.empty(0, np.float32), num_samples
    segment = max(1, round(SEGMENT_SECONDS / listener.seconds_per_frame))
    with watch.stage("decode"):
        hypothesis = decode_segments(listener.decoder, logits, segment)
    return hypothesis, np.concatenate(survey.levels), num_samples


def window_logits(listener: Listener, blocks: Blocks, watch: Stopwatch
                  ) -> tuple[Survey, Iterator[np.ndarray]]:
    """What is known of a recording, and an iterator of its logits: (n, V) float32, in order.

    Args and raises: as `listen`; the iterator does the network's work as it is pulled.
    """
    settings, model = listener.bundle.features, listener.bundle.model
    extractor = FeatureExtractor(settings)
    meter = LoudnessMeter(settings.sample_rate)
    survey = Survey(meter)

    def samples() -> Iterator[np.ndarray]:
        audio = watch.watch("load", blocks())
        return audio if meter.num_samples else meter.listen(audio)

    def features() -> Iterator[np.ndarray]:
        return watch.watch("features", feature_blocks(samples(), extractor))

    with watch.stage("features"):
        normalize = fit_normalization(features, settings, listener.bundle.cmvn)
        if not meter.num_samples:  # the normalisation needed no pass
            for _ in samples():
                pass
    num_frames = feature_length(meter.num_samples, settings.hop_length, settings.n_fft)
    survey.plan = plan_windows(
        output_length(num_frames, model) - 2 * model.edge_frames, listener.seconds_per_frame,
        meter.powers, meter.cell / settings.sample_rate, listener.windows)

    def normalized() -> Iterator[np.ndarray]:
        for block in features():
            survey.levels.append(speech_levels(block, settings))
            yield normalize(block)

    pieces = cut_windows(normalized(), survey.plan, model.subsampling)
    cores = _cores(listener.engine, survey.plan, watch.watch("features", pieces),
                   int(listener.windows.batch), model.edge_frames)
    return survey, _counted(watch.watch("model", cores), survey.plan, listener, watch)


def _counted(cores: Iterator[np.ndarray], plan: Sequence[Window], listener: Listener,
             watch: Stopwatch) -> Iterator[np.ndarray]:
    """The same; `watch.progress` is told how many seconds of how many have been computed."""
    for window, core in zip(plan, cores, strict=True):
        if watch.progress is not None:
            watch.progress(round(window.last * listener.seconds_per_frame),
                           round(plan[-1].last * listener.seconds_per_frame))
        yield core


def _cores(engine: Engine, plan: Sequence[Window], pieces: Iterable[np.ndarray],
           batch: int, edge: int) -> Iterator[np.ndarray]:
    """The logits of every window's core, some windows at a time.

    The network puts `edge` quiet output frames at both ends of each window; only those at the ends
    of the recording stay.
    """
    pieces = iter(pieces)
    for first in range(0, len(plan), batch):
        features = list(islice(pieces, batch))
        logits, _ = engine.logits(*pad_batch(features))
        for window, row in zip(plan[first:first + batch], logits, strict=True):
            first_kept = window.first - window.start + edge * (window is not plan[0])
            last_kept = window.last - window.start + edge * (1 + (window is plan[-1]))
            yield row[first_kept:last_kept].copy()
