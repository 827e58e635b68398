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

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
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
from asr.inference.long_pauses import LongPauses, Spans
from asr.inference.stopwatch import Stopwatch
from asr.inference.warps import Warping, choose_warps
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
    warping: Warping | None
    pauses: LongPauses

    @property
    def seconds_per_frame(self) -> float:
        """Duration of an output frame."""
        ...


@dataclass
class RecordingState:
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
           ) -> tuple[Hypothesis | None, np.ndarray | None, int]:
    """What is said in a recording of any length.

    Args:
        listener: a recogniser.
        blocks: starts a pass over the recording, see `asr.audio.recording.Recording.blocks`.
        watch: told about the stages "load", "features", "model" and "decode".

    Returns:
        The hypothesis, None for a recording that is silent throughout; the levels of its feature
        frames, (T,) float32 or None, for `asr.transcript.timing.to_transcript`; how many samples it
        has.

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
    return hypothesis, np.concatenate(survey.levels) if survey.levels else None, num_samples


def window_logits(listener: Listener, blocks: Blocks, watch: Stopwatch
                  ) -> tuple[RecordingState, Iterator[np.ndarray]]:
    """What is known of a recording, and an iterator of its logits: (n, V) float32, in order.

    Args and raises: as `listen`; the iterator does the network's work as it is pulled.
    """
    settings, model = listener.bundle.features, listener.bundle.model
    # Not trimmed: windows end at pauses, and the ends of hours decide nothing.
    extractor = FeatureExtractor(replace(settings, trim_db=0.0), quick_start=True)
    meter = LoudnessMeter(settings.sample_rate)
    survey = RecordingState(meter)

    def samples() -> Iterator[np.ndarray]:
        audio = watch.watch("load", blocks())
        return audio if meter.num_samples else meter.listen(audio)

    def features() -> Iterator[np.ndarray]:
        return watch.watch("features", feature_blocks(samples(), extractor))

    with watch.stage("features"):
        normalizers = [fit_normalization(features, settings, listener.bundle.cmvn)]
        if not meter.num_samples:  # the normalisation needed no pass
            for _ in samples():
                pass
        if listener.warping and not meter.silent:
            normalizers += [
                _fit_warped(features, partial(listener.warping.apply, warp=warp), listener.bundle)
                for warp in range(1, len(listener.warping.factors) + 1)]
    num_frames = feature_length(meter.num_samples, settings.hop_length, settings.n_fft)
    survey.plan = plan_windows(
        output_length(num_frames, model) - 2 * model.edge_frames, listener.seconds_per_frame,
        meter.powers, meter.cell / settings.sample_rate, listener.windows)

    def observed() -> Iterator[np.ndarray]:
        for block in features():
            if (levels := speech_levels(block, settings)) is not None:
                survey.levels.append(levels)
            yield block

    pieces = cut_windows(observed(), survey.plan, model.subsampling)
    cores = _cores(listener, survey.plan, watch.watch("features", pieces), normalizers)
    return survey, _counted(watch.watch("model", cores), survey.plan, listener, watch)


def _fit_warped(features: Callable[[], Iterator[np.ndarray]],
                warp: Callable[[np.ndarray], np.ndarray], bundle: Bundle
                ) -> Callable[[np.ndarray], np.ndarray]:
    """The normalisation of the whole recording under a warp, of features before the warp."""
    fitted = fit_normalization(lambda: map(warp, features()), bundle.features, bundle.cmvn)
    return lambda block: fitted(warp(block))


def _counted(cores: Iterator[np.ndarray], plan: Sequence[Window], listener: Listener,
             watch: Stopwatch) -> Iterator[np.ndarray]:
    """The same; `watch.progress` is told how many seconds of how many have been computed."""
    for window, core in zip(plan, cores, strict=True):
        if watch.progress is not None:
            watch.progress(round(window.last * listener.seconds_per_frame),
                           round(plan[-1].last * listener.seconds_per_frame))
        yield core


def _cores(listener: Listener, plan: Sequence[Window], pieces: Iterable[np.ndarray],
           normalizers: Sequence[Callable[[np.ndarray], np.ndarray]]) -> Iterator[np.ndarray]:
    """The logits of every window's core, some windows at a time; each of its own best warp.

    Args:
        listener: a recogniser.
        plan: windows.
        pieces: (T, F) features of each, before normalisation.
        normalizers: normalise a piece, unwarped and then under each warp.
    """
    pieces, batch, pauses = iter(pieces), int(listener.windows.batch), listener.pauses
    for first in range(0, len(plan), batch):
        features = list(islice(pieces, batch))
        spans = [pauses.find(piece) for piece in features]
        features = list(map(pauses.leave_out, features, spans))

        def network(pairs: Sequence[tuple[int, int]], first: int = first,
                    features: Sequence[np.ndarray] = features,
                    spans: Sequence[Spans] = spans) -> list[np.ndarray]:
            rows = []
            for start in range(0, len(pairs), batch):
                some = pairs[start:start + batch]
                logits, lengths = listener.engine.logits(*pad_batch(
                    [normalizers[warp](features[item]) for item, warp in some]))
                for row, length, (item, _) in zip(logits, lengths, some, strict=True):
                    rows.append(_core(pauses.put_back(row[:length], spans[item]), plan,
                                      first + item, listener.bundle.model.edge_frames))
            return rows

        if listener.warping is None:
            yield from network([(item, 0) for item in range(len(features))])
        else:
            chosen, _ = choose_warps(network, listener.decoder, len(features), listener.warping)
            yield from (row for _, row in chosen)


def _core(logits: np.ndarray, plan: Sequence[Window], number: int, edge: int) -> np.ndarray:
    """The logits of the core of a window.

    The network puts `edge` quiet output frames at both ends of each window; only those at the ends
    of the recording stay.
    """
    window = plan[number]
    first_kept = window.first - window.start + edge * (number > 0)
    last_kept = window.last - window.start + edge * (1 + (number == len(plan) - 1))
    return logits[first_kept:last_kept].copy()
