"""Cut long recordings into overlapping windows, joined where it is quiet.

In: how long a recording is and how loud. Out: which frames each window reads (core and context)
and which of its outputs count (the core alone); features in pieces. NumPy only.

A bidirectional layer needs the whole utterance, but what was said long ago, or will be said much
later, hardly changes its output now. So each window reads `context_seconds` more on both sides
than its outputs are used for. Joins lie on the grid of output frames, in the quietest place near
where they would fall by themselves.

How much "hardly" is depends on the network: benchmarks/windows.py measures it. The shipped digits
are the same from 3 s of context on; a network trained on sentences of 25 s remembers a voice for a
minute, so windows are long (joins are few) and their context generous.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from asr.audio import MAX_SECONDS
from asr.audio.recording import MAX_HOURS
from asr.errors import UsageError
from asr.feature_kinds import FEATURE_KINDS
from asr.features import DELTA_WIDTH, FeatureExtractor

QUIET_SECONDS = 0.3  # a join lies in the quietest stretch of this length


@dataclass(frozen=True)
class Windows:
    """How recordings are transcribed that are too long for one pass.

    Attributes:
        threshold_seconds: longer recordings are cut into windows; at most an hour.
        core_seconds: mean length of the part of a window whose outputs are used.
        context_seconds: read on both sides of the core and thrown away.
        search_seconds: how far a join may move to where it is quiet; below half a core.
        max_seconds: longer recordings are refused.
        batch: windows that go through the network together; bounds the memory.

    Raises:
        UsageError: numbers that cannot be.
    """

    threshold_seconds: float = 600.0
    core_seconds: float = 240.0
    context_seconds: float = 20.0
    search_seconds: float = 10.0
    max_seconds: float = MAX_HOURS * 3_600
    batch: int = 4

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value >= 0 and math.isfinite(value)):
                raise UsageError(f"windows.{field.name} must be a finite number from 0, got "
                                 f"{value!r}.")
        rules = [
            (self.core_seconds >= 1.0, "core_seconds must be at least 1"),
            (2 * self.search_seconds < self.core_seconds,
             "search_seconds must be below half of core_seconds, or joins could change places"),
            (self.threshold_seconds <= MAX_SECONDS,
             f"threshold_seconds must be at most {MAX_SECONDS:g}: what is longer is not loaded "
             "as one array"),
            (self.batch >= 1 and self.batch == int(self.batch), "batch must be a whole number "
                                                                "from 1"),
        ]
        for holds, message in rules:
            if not holds:
                raise UsageError(f"windows: {message}; got {self}.")

    @property
    def sentence(self) -> str:
        """A sentence about long recordings, for the notice."""
        return (f"Recordings over {self.threshold_seconds / 60:g} minutes are transcribed in "
                f"windows of about {self.core_seconds:g} s, joined where it is quiet, with "
                f"{self.context_seconds:g} s of context on both sides.")


class Window(NamedTuple):
    """Output frames: the network reads start .. stop, its outputs count from first to last."""

    start: int
    first: int
    last: int
    stop: int


def plan_windows(num_outputs: int, seconds_per_frame: float, powers: np.ndarray,
                 seconds_per_power: float, windows: Windows) -> list[Window]:
    """Windows whose cores cover all output frames, each once, in order.

    Args:
        num_outputs: T', output frames of the recording.
        seconds_per_frame: duration of an output frame.
        powers: (cells,) mean square of the recording, cell by cell.
        seconds_per_power: duration of a cell.
        windows: lengths.

    Returns:
        At least one window, of at most core + 2 x (search + context) seconds.

    Example:
        >>> plan_windows(1_500, 0.04, np.ones(2_400), 0.025, Windows(
        ...     core_seconds=30, context_seconds=5))
        [Window(start=0, first=0, last=750, stop=875), Window(start=625, first=750, last=1500, \
stop=1500)]
    """
    count = max(1, round(num_outputs * seconds_per_frame / windows.core_seconds))
    joins = [0]
    for number in range(1, count):
        wanted = num_outputs * number / count * seconds_per_frame
        quiet = quietest(powers, seconds_per_power, wanted, windows.search_seconds)
        joins.append(min(max(round(quiet / seconds_per_frame), joins[-1] + 1), num_outputs - 1))
    joins.append(num_outputs)
    context = math.ceil(windows.context_seconds / seconds_per_frame)
    return [Window(max(0, first - context), first, last, min(num_outputs, last + context))
            for first, last in zip(joins, joins[1:], strict=False)]


def quietest(powers: np.ndarray, seconds_per_power: float, wanted: float, search: float) -> float:
    """The middle of the quietest 0.3 s within `search` seconds of a time; seconds.

    Where several are equally quiet (digital silence), the one that is nearest.
    """
    width = max(1, round(QUIET_SECONDS / seconds_per_power))
    low = max(0, math.floor((wanted - search) / seconds_per_power))
    high = min(len(powers), math.ceil((wanted + search) / seconds_per_power))
    if high - low < width or search <= 0:
        return wanted
    stretches = np.lib.stride_tricks.sliding_window_view(powers[low:high], width)
    loudness = stretches.mean(axis=1, dtype=np.float64)
    middles = (low + np.arange(len(loudness)) + width / 2) * seconds_per_power
    equal = np.flatnonzero(loudness <= loudness.min())
    return float(middles[equal[np.argmin(np.abs(middles[equal] - wanted))]])


class FeatureStream:
    """The features of a recording that comes in pieces: those of the whole, in pieces.

    To 1e-5 for a kind with a memory (`asr.recipe.FeatureKind`).

    Args:
        extractor: feature extractor of the bundle.
    """

    def __init__(self, extractor: FeatureExtractor):
        s = extractor.settings
        self._extractor = extractor
        self._hop = s.hop_length
        self._margin = (1 + -(-(s.n_fft // 2) // s.hop_length)  # 1: for pre-emphasis
                        + (DELTA_WIDTH // 2 if s.deltas else 0))
        memory = FEATURE_KINDS[s.kind].memory_seconds * s.sample_rate / s.hop_length
        self._past = self._margin + math.ceil(memory)
        self._held, self._first, self._done = np.empty(0, np.float32), 0, 0

    def feed(self, samples: np.ndarray) -> np.ndarray:
        """The frames that lack nothing to come, (t, F) float32 before normalisation, t >= 0.

        Args:
            samples: (n,) float32, the next ones.

        Raises:
            AudioError: as `asr.features.log_mel`.
        """
        self._held = np.concatenate([self._held, samples])  # from frame `_first` on
        first, done = self._first, self._done
        ready = first + len(self._held) // self._hop - self._margin
        if ready <= done:
            return np.empty((0, self._extractor.num_features), np.float32)
        end = (ready + self._margin - first) * self._hop
        features = self._extractor.extract(self._held[:end])[done - first:ready - first]
        self._done = ready
        self._first = max(0, ready - self._past)
        self._held = self._held[(self._first - first) * self._hop:]
        return features

    def finish(self) -> np.ndarray:
        """The frames up to the end of the recording, (t, F)."""
        if not len(self._held) and not self._done:
            return np.empty((0, self._extractor.num_features), np.float32)
        return self._extractor.extract(self._held)[self._done - self._first:]


def feature_blocks(audio: Iterable[np.ndarray], extractor: FeatureExtractor
                   ) -> Iterator[np.ndarray]:
    """`FeatureStream` over the blocks of a recording.

    Args:
        audio: (n,) float32 blocks.
        extractor: feature extractor of the bundle.

    Yields:
        (t, F) float32, before normalisation, t >= 1; in all `feature_length` frames.

    Raises:
        AudioError: as `asr.features.log_mel`.
    """
    stream = FeatureStream(extractor)
    for block in audio:
        if len(features := stream.feed(block)):
            yield features
    if len(features := stream.finish()):
        yield features


def cut_windows(features: Iterable[np.ndarray], windows: Sequence[Window], subsampling: int
                ) -> Iterator[np.ndarray]:
    """What each window reads, from features that come in blocks.

    Args:
        features: (t, F) blocks, in all at least `windows[-1].stop * subsampling` frames, less the
            remainder of the last output frame.
        windows: in order.
        subsampling: feature frames an output frame.

    Yields:
        (T, F) of every window: T = (stop - start) * subsampling, or up to the recording's end.
    """
    blocks = iter(features)
    held: list[np.ndarray] = []
    first = available = 0  # frames before the first block held; frames received
    for window in windows:
        start, stop = window.start * subsampling, window.stop * subsampling
        while available < stop:
            block = next(blocks, None)
            if block is None:
                break
            held.append(block)
            available += len(block)
        while held and first + len(held[0]) <= start:
            first += len(held.pop(0))
        yield np.concatenate(held)[start - first:stop - first]
