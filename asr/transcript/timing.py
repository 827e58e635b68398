"""Convert output frames to seconds: from hypotheses to a transcript.

In: hypotheses, and the loudness of the feature frames. Out: `Transcript`. Seconds follow
from the front end alone: hop, subsampling, and where the frames lie that an output frame looks at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from asr.decoding import Hypothesis
from asr.features.lengths import frame_origin
from asr.recipe import FeatureSettings, ModelSettings
from asr.transcript import Alternative, Transcript, Word
from asr.transcript.pauses import edges_at_pauses

Frames = TypeVar("Frames", float, np.ndarray)  # one or many; what goes in comes out


@dataclass(frozen=True)
class FrameClock:
    """When the output frames of a network are.

    Attributes:
        hop: seconds of a feature frame.
        subsampling: feature frames of an output frame.
        origin: feature frame where output frame 0 begins, see `frame_origin`.
    """

    hop: float
    subsampling: int
    origin: float

    @classmethod
    def of(cls, features: FeatureSettings, model: ModelSettings) -> FrameClock:
        """The clock of a bundle's settings."""
        return cls(features.hop_length / features.sample_rate, model.subsampling,
                   frame_origin(model))

    @property
    def seconds_per_frame(self) -> float:
        """Duration of an output frame."""
        return self.hop * self.subsampling

    def seconds(self, frame: Frames) -> Frames:
        """Where output frame `frame` begins, and the one before it ends."""
        return (self.origin + frame * self.subsampling) * self.hop

    def cell(self, frame: Frames) -> Frames:
        """The same counted in feature frames, each half a hop around its centre."""
        return self.origin + 0.5 + frame * self.subsampling

    def cell_seconds(self, cell: Frames) -> Frames:
        """Where feature frame `cell` begins."""
        return (cell - 0.5) * self.hop


def to_transcript(hypotheses: Sequence[Hypothesis], clock: FrameClock, duration: float,
                  levels: np.ndarray | None = None) -> Transcript:
    """The best hypothesis with times in seconds, and the others by their texts.

    Args:
        hypotheses: best first, at least one; the others become `alternatives`.
        clock: clock of the network.
        duration: seconds of the recording; no time lies beyond.
        levels: (T,) from `asr.transcript.pauses.speech_levels`: words then begin and end at
            pauses; None: at the spans of their labels.
    """
    best = hypotheses[0]
    starts, ends = _word_edges(best, clock, duration, levels)
    words = tuple(Word(w.text, float(start), float(end), w.confidence)
                  for w, start, end in zip(best.words, starts, ends, strict=True))
    alternatives = tuple(Alternative(h.text, h.score, h.confidence) for h in hypotheses)
    return Transcript(best.text, best.score, words, best.confidence, duration,
                      _characters(best, words, clock), alternatives if len(hypotheses) > 1 else (),
                      best.rejected)


def _word_edges(best: Hypothesis, clock: FrameClock, duration: float, levels: np.ndarray | None
                ) -> tuple[np.ndarray, np.ndarray]:
    """(num_words,) starts and ends, seconds within the recording, none without length."""
    frames = np.array([(w.start, w.end) for w in best.words], dtype=np.float64).reshape(-1, 2)
    if levels is None:
        edges = clock.seconds(frames)
    else:
        cells = clock.cell(frames)
        edges = clock.cell_seconds(np.stack(
            edges_at_pauses(cells[:, 0], cells[:, 1], levels, clock.hop), axis=1))
    return _inside(np.maximum(edges, 0.0), duration, clock.hop)


def _inside(edges: np.ndarray, duration: float, shortest: float) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends that stop where the recording does.

    The last output frames may look at more than is left of it, so that a word of theirs would lie
    behind the end: it takes the last moment of the recording, from the word before it if need be.

    Args:
        edges: (num_words, 2) seconds, in order, without overlap, none below 0.
        duration: duration of the recording.
        shortest: what a word lasts at least.
    """
    starts, ends = edges[:, 0].copy(), edges[:, 1].copy()
    limit = duration
    for word in range(len(edges) - 1, -1, -1):
        ends[word] = min(ends[word], limit)
        starts[word] = limit = max(min(starts[word], ends[word] - shortest), 0.0)
    return starts, ends


def _characters(best: Hypothesis, words: Sequence[Word], clock: FrameClock) -> tuple[Word, ...]:
    """Each character from its own label to that of the next one in its word.

    The first one begins with the word, the last one ends with it. None of a decoder that gives no
    spans.
    """
    if len(best.spans) != len(best.labels):
        return ()
    characters: list[Word] = []
    place = 0  # in best.spans, which has spaces too
    for word, span in zip(words, best.words, strict=True):
        while best.spans[place][0] < span.start:
            place += 1
        frames = best.spans[place:place + len(word.text)]
        edges = [word.start, *(clock.seconds(start) for start, _ in frames[1:]), word.end]
        edges = np.maximum.accumulate(np.clip(edges, word.start, word.end)).tolist()
        characters += [Word(text, start, end, word.confidence) for text, start, end in
                       zip(word.text, edges, edges[1:], strict=False)]
        place += len(word.text)
    return tuple(characters)
