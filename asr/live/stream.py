"""A stream of speech: pieces of samples in, partial texts and final transcripts out.

While an utterance is open, its text so far comes from `network.py`. When it has ended, it is
transcribed once more as a whole, by the code that transcribes files: a final text is that of the
recording cut where the utterance begins and ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np

from asr.audio.loudness import all_silent
from asr.bundle import Bundle
from asr.errors import UsageError
from asr.inference.windows import quietest
from asr.live.ending import is_steady, pause_after
from asr.live.network import ChunkedNetwork, Contexts
from asr.live.samples import BLOCK_SECONDS, Blocks
from asr.network.engine import Engine
from asr.transcript import Transcript, Word
from asr.transcript.timing import FrameClock

LEAD_SECONDS = 1.5  # kept in front of the first word
LEAD_LIMIT = 4.0  # silence that may gather before it is cut back to `LEAD_SECONDS`
SETTLED_SECONDS = 0.3  # a word is stable that ended so long before the logits that stay do


class Listener(Protocol):
    """What is needed of a `Recognizer`."""

    bundle: Bundle
    engine: Engine

    @property
    def sample_rate(self) -> int: ...  # noqa: D102

    @property
    def clock(self) -> FrameClock: ...  # noqa: D102

    def decode(self, logits: np.ndarray) -> Transcript: ...  # noqa: D102

    def transcribe(self, audio: np.ndarray) -> Transcript: ...  # noqa: D102


@dataclass(frozen=True)
class StreamSettings:
    """How a stream is read; seconds.

    Attributes:
        end_pause: an utterance ends when nothing has been said for so long.
        right_context: what the network reads after a frame before its output stays.
        left_context: what it reads before a chunk.
        chunk: how often the text so far is brought up to date; a multiple of 0.1.
        max_utterance: a longer utterance is cut at a quiet place.

    Raises:
        UsageError: numbers that cannot be.
    """

    end_pause: float = 0.8
    right_context: float = 0.6
    left_context: float = 3.0
    chunk: float = 0.3
    max_utterance: float = 30.0

    def __post_init__(self) -> None:
        limits = {"end_pause": (0.1, 60), "right_context": (0, 10), "left_context": (0.5, 60),
                  "chunk": (BLOCK_SECONDS, 10), "max_utterance": (2 * LEAD_LIMIT, 300)}
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), limits[field.name]
            if isinstance(value, bool) or not isinstance(value, (int, float)) \
                    or not low <= value <= high:
                raise UsageError(f"{field.name} is {value!r}; expected {low:g} to {high:g} "
                                 "seconds.")


@dataclass(frozen=True)
class Partial:
    """The text of an utterance that is still going on.

    Attributes:
        text: the words so far; begins with `stable_text`.
        stable_text: the words that stay until the utterance has ended.
        words: in order, seconds from the start of the stream.
    """

    text: str = ""
    stable_text: str = ""
    words: tuple[Word, ...] = ()


class Stream:
    """Speech as it comes in. Made by `Recognizer.stream`; not for several threads at once.

    Memory is bounded by `max_utterance`, however long the stream lasts.

    Args:
        listener: a recogniser.
        sample_rate: Hz of the samples.
        settings: seconds.

    Raises:
        UsageError: a sample rate that cannot be.
    """

    def __init__(self, listener: Listener, sample_rate: float, settings: StreamSettings):
        self.settings = settings
        self._listener = listener
        self._blocks = Blocks(sample_rate, listener.sample_rate)
        frame = listener.clock.seconds_per_frame
        self._contexts = Contexts(math.ceil(settings.left_context / frame),
                                  math.ceil(settings.right_context / frame))
        self._chunk = max(1, round(settings.chunk / BLOCK_SECONDS))
        self._closed = False
        self._start = 0  # samples of the stream before the open utterance
        self._open: _Utterance = self._new_utterance()

    @property
    def seconds(self) -> float:
        """How much of the stream has been read, in blocks of 0.1 s."""
        return (self._start + self._open.num_samples) / self._listener.sample_rate

    def feed(self, samples: np.ndarray) -> list[Transcript]:
        """Take the next samples.

        Args:
            samples: (n,) floating point, mono, in [-1, 1], at the stream's rate; n may be 0.

        Returns:
            The utterances that ended, mostly none. Times are seconds from the start of the stream;
            `duration` is where the utterance ended.

        Raises:
            UsageError: not mono floating point, or the stream is closed.
            AudioError: samples that are not finite or far outside [-1, 1].
        """
        self._require_open()
        finals: list[Transcript] = []
        for block in self._blocks.feed(samples):
            self._take(block, finals)
        return finals

    def partial(self) -> Partial:
        """The text of the open utterance, as of the last chunk.

        Raises:
            UsageError: the stream is closed.
        """
        self._require_open()
        return self._open.partial(self._start / self._listener.sample_rate)

    def finish(self) -> list[Transcript]:
        """End the stream: the utterances that were still open. It takes no more samples.

        Raises:
            UsageError: the stream is closed.
        """
        self._require_open()
        self._closed = True
        finals: list[Transcript] = []
        for block in self._blocks.finish():
            if len(block) == self._blocks.size:
                self._take(block, finals)
            else:
                self._open.add(block)
        self._open.advance()
        self._end(self._open.num_samples, finals)
        return finals

    def _take(self, block: np.ndarray, finals: list[Transcript]) -> None:
        """One block; what is left after the end of an utterance is read again, as the next one."""
        waiting = [block]
        while waiting:
            self._open.add(waiting.pop(0))
            if self._open.num_blocks % self._chunk:
                continue
            self._open.advance()
            cut = self._cut()
            if cut is not None:
                rest = self._end(cut, finals)
                whole = len(rest) // self._blocks.size * self._blocks.size
                waiting = [*rest[:whole].reshape(-1, self._blocks.size), *waiting]

    def _cut(self) -> int | None:
        """Where the open utterance ends, in samples, on the grid of blocks; None: it goes on."""
        utterance, settings = self._open, self.settings
        size = self._blocks.size
        if utterance.pause is None:
            if utterance.seconds > LEAD_LIMIT:
                return utterance.num_samples - round(LEAD_SECONDS / BLOCK_SECONDS) * size
        elif utterance.pause >= settings.end_pause:
            back = math.floor(min(utterance.pause, settings.end_pause) / 2 / BLOCK_SECONDS)
            return utterance.num_samples - back * size
        elif utterance.seconds >= settings.max_utterance:
            search = settings.max_utterance / 4
            place = quietest(utterance.powers, BLOCK_SECONDS, utterance.seconds - search, search)
            return max(1, min(round(place / BLOCK_SECONDS), utterance.num_blocks)) * size
        return None

    def _end(self, cut: int, finals: list[Transcript]) -> np.ndarray:
        """Close the open utterance at a sample; returns the samples behind it."""
        samples = self._open.samples()
        spoken, rest = samples[:cut], samples[cut:]
        if self._open.pause is not None:
            found = self._listener.transcribe(spoken)
            if found.text or found.rejected:
                finals.append(_later(found, self._start / self._listener.sample_rate))
        self._start += cut
        self._open = self._new_utterance()
        return rest

    def _new_utterance(self) -> _Utterance:
        return _Utterance(self._listener, self._contexts)

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("The stream is closed: finish() was called. Open another one with "
                             "recognizer.stream().")


class _Utterance:
    """The open utterance: its samples, its logits so far, its text so far."""

    def __init__(self, listener: Listener, contexts: Contexts):
        self._listener = listener
        self._network = ChunkedNetwork(listener, contexts)
        self._samples: list[np.ndarray] = []
        self._powers: list[float] = []
        self._stable: list[Word] = []
        self._rest: list[Word] = []
        self.num_samples = 0
        self.pause: float | None = None  # seconds of quiet at the end; None: nothing said yet

    @property
    def num_blocks(self) -> int:
        return len(self._samples)

    @property
    def seconds(self) -> float:
        return self.num_samples / self._listener.sample_rate

    @property
    def powers(self) -> np.ndarray:
        """(blocks,) mean square of each block."""
        return np.array(self._powers)

    def samples(self) -> np.ndarray:
        return np.concatenate([np.empty(0, np.float32), *self._samples])

    def add(self, block: np.ndarray) -> None:
        self._samples.append(block)
        self._powers.append(float(np.mean(np.square(block), dtype=np.float64)))
        self.num_samples += len(block)
        self._network.feed(block)

    def advance(self) -> None:
        """Bring the text up to date; silence is not given to the network."""
        if all_silent(self.powers):
            return
        self._network.advance()
        logits, clock = self._network.logits(), self._listener.clock
        labels = np.flatnonzero(logits.argmax(axis=1))
        levels = self._network.levels()
        if not len(labels) or is_steady(levels):
            return
        self.pause = pause_after(labels, levels, self.seconds, clock)
        self._settle(self._listener.decode(logits).words,
                   clock.seconds(self._network.num_kept + self._listener.bundle.model.edge_frames))

    def partial(self, start: float) -> Partial:
        words = [_shifted(word, start) for word in (*self._stable, *self._rest)]
        stable = " ".join(word.text for word in self._stable)
        return Partial(" ".join(word.text for word in words), stable, tuple(words))

    def _settle(self, words: Sequence[Word], settled: float) -> None:
        """A word is stable once it has been read twice alike, in outputs that stay."""
        settled_until = self._stable[-1].end if self._stable else -math.inf
        rest = [word for word in words if (word.start + word.end) / 2 > settled_until]
        for word, before in zip(tuple(rest), tuple(self._rest), strict=False):
            if word.text != before.text or word.end > settled - SETTLED_SECONDS:
                break
            self._stable.append(rest.pop(0))
        self._rest = rest


def _shifted(word: Word, seconds: float) -> Word:
    return replace(word, start=word.start + seconds, end=word.end + seconds)


def _later(transcript: Transcript, seconds: float) -> Transcript:
    """The same, so many seconds later in the stream."""
    return replace(transcript, duration=transcript.duration + seconds,
                   words=tuple(_shifted(word, seconds) for word in transcript.words),
                   characters=tuple(_shifted(one, seconds) for one in transcript.characters))
