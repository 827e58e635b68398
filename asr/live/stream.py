"""A stream of speech: pieces of samples in, partial texts and final transcripts out.

While an utterance is open, its text so far comes from `network.py`. When it has ended, it is
transcribed once more as a whole, by the code that transcribes files: a final text is that of the
recording cut where the utterance begins and ends.

At a short pause the utterance is transcribed so as far as it goes; these words are stable. If a
later pass reads them otherwise, the utterance ends at that pause: the stable words are its final
text, and what follows is an utterance of its own. So stable words never change, and every final
text is that of a file.
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
from asr.live.ending import first_spoken, is_steady, pause_after
from asr.live.network import ChunkedNetwork, Contexts
from asr.live.normalizing import OnlineNormalizer
from asr.live.samples import BLOCK_SECONDS, Blocks
from asr.network.engine import Engine
from asr.recipe import DecoderSettings
from asr.transcript import Transcript, Word
from asr.transcript.timing import FrameClock

LEAD_SECONDS = 1.5  # kept while nothing has been said
LEAD_LIMIT = 4.0  # silence that may gather before it is cut back to `LEAD_SECONDS`
ONSET_SECONDS = 0.5  # kept in front of the first label, once there is one


class Listener(Protocol):
    """What is needed of a `Recognizer`."""

    bundle: Bundle
    engine: Engine
    decoder_settings: DecoderSettings

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
        stable_pause: the words before a pause so long become stable; longer than `end_pause`: none.
        chunk: how often the text so far is brought up to date; a multiple of 0.1.
        max_utterance: a longer utterance is cut at a quiet place.

    Raises:
        UsageError: numbers that cannot be.
    """

    end_pause: float = 0.8
    right_context: float = 0.6
    left_context: float = 3.0
    stable_pause: float = 0.5
    chunk: float = 0.3
    max_utterance: float = 30.0

    def __post_init__(self) -> None:
        limits = {"end_pause": (0.1, 60), "right_context": (0, 10), "left_context": (0.5, 60),
                  "stable_pause": (0.1, 60),
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
        stable_text: the words that never change: every later text of this utterance, its final one
            too, begins with them.
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
        self._normalize = OnlineNormalizer(listener.bundle.features, listener.bundle.cmvn)
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
        self._close(finals)
        return finals

    def _close(self, finals: list[Transcript]) -> None:
        """End all that is open."""
        self._open.advance()
        rest = self._end(self._open.num_samples, finals)
        if len(rest):  # the stable words were a final of their own
            for start in range(0, len(rest), self._blocks.size):
                self._open.add(rest[start:start + self._blocks.size])
            self._close(finals)

    def _take(self, block: np.ndarray, finals: list[Transcript]) -> None:
        """One block; what is left after the end of an utterance is read again, as the next one."""
        waiting = [block]
        while waiting:
            self._open.add(waiting.pop(0))
            if self._open.num_blocks % self._chunk:
                continue
            self._open.advance()
            rest = self._decide(finals)
            if rest is not None:
                whole = len(rest) // self._blocks.size * self._blocks.size
                waiting = [*rest[:whole].reshape(-1, self._blocks.size), *waiting]

    def _decide(self, finals: list[Transcript]) -> np.ndarray | None:
        """End the open utterance if it has ended; returns the samples behind it, else None."""
        if lead := self._open.long_lead(self._blocks.size):
            return self._begin(lead, trimmed=True)
        cut = self._cut()
        if cut is not None:
            return self._end(cut, finals)
        return None if self._open.settle(self.settings) else self._split(finals)

    def _cut(self) -> int | None:
        """Where the open utterance ends, in samples, on the grid of blocks; None: it goes on."""
        utterance, settings = self._open, self.settings
        size = self._blocks.size
        if utterance.pause is None:
            if utterance.seconds > LEAD_LIMIT:
                return utterance.num_samples - round(LEAD_SECONDS / BLOCK_SECONDS) * size
        elif utterance.pause >= settings.end_pause:
            return utterance.num_samples - utterance.blocks_behind(settings.end_pause / 2) * size
        elif utterance.seconds >= settings.max_utterance:
            search = settings.max_utterance / 4
            place = quietest(utterance.powers, BLOCK_SECONDS, utterance.seconds - search, search)
            return max(1, min(round(place / BLOCK_SECONDS), utterance.num_blocks)) * size
        return None

    def _end(self, cut: int, finals: list[Transcript]) -> np.ndarray:
        """Close the open utterance at a sample; returns the samples behind it."""
        if self._open.pause is not None:
            found = self._open.transcribed(cut)
            if not _continues(found, self._open.stable):
                return self._split(finals)
            self._finish_as(found, cut, finals)
        return self._begin(cut)

    def _split(self, finals: list[Transcript]) -> np.ndarray:
        """The stable words end here, because a later pass reads them otherwise."""
        if self._open.stable is not None:
            self._finish_as(self._open.stable, self._open.stable_samples, finals)
        return self._begin(self._open.stable_samples)

    def _finish_as(self, found: Transcript, cut: int, finals: list[Transcript]) -> None:
        """What was found in the samples before `cut`, where the utterance ends."""
        if found.text or found.rejected:
            finals.append(_later(found, self._start / self._listener.sample_rate))
            frames = cut // self._listener.bundle.features.hop_length
            self._normalize.remember(self._open.features()[:frames])

    def _begin(self, cut: int, *, trimmed: bool = False) -> np.ndarray:
        """Another utterance begins at a sample of the open one; returns the samples from there."""
        rest = self._open.samples()[cut:]
        self._start += cut
        self._open = self._new_utterance()
        self._open.trimmed = trimmed
        return rest

    def _new_utterance(self) -> _Utterance:
        return _Utterance(self._listener, self._contexts, self._normalize)

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("The stream is closed: finish() was called. Open another one with "
                             "recognizer.stream().")


class _Utterance:
    """The open utterance: its samples, its logits so far, its text so far."""

    def __init__(self, listener: Listener, contexts: Contexts, normalize: OnlineNormalizer):
        self._listener = listener
        self._network = ChunkedNetwork(listener, contexts, normalize)
        self._samples: list[np.ndarray] = []
        self._powers: list[float] = []
        self._rest: list[Word] = []
        self._first_label = 0.0  # seconds
        self.stable: Transcript | None = None  # of the samples up to `stable_samples`
        self.stable_samples = 0
        self.trimmed = False  # whether quiet in front of it has been dropped
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

    def features(self) -> np.ndarray:
        """(T, F) float32, before normalisation."""
        return self._network.features()

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
        first = first_spoken(labels, levels, clock)
        if first is None and self.pause is None:  # nothing was said: words found in the quiet
            return
        self.pause = pause_after(labels, levels, self.seconds, clock)
        self._first_label = clock.seconds(int(labels[0]) if first is None else first)
        self._rest = self._behind_stable(self._listener.decode(logits).words)

    def long_lead(self, block: int) -> int:
        """How many samples of quiet are too many in front of the first word; whole blocks.

        They would change the statistics of the utterance, and with them what is read.
        """
        if self.pause is None or self.trimmed or self.stable is not None:
            return 0
        return max(0, math.floor((self._first_label - ONSET_SECONDS) / BLOCK_SECONDS)) * block

    def blocks_behind(self, quiet: float) -> int:
        """How many blocks at the end lie more than `quiet` seconds after what has been said."""
        return max(0, math.floor(((self.pause or 0.0) - quiet) / BLOCK_SECONDS))

    def transcribed(self, upto: int) -> Transcript:
        """The samples before `upto` as a file."""
        if self.stable is not None and self.stable_samples == upto:
            return self.stable
        return self._listener.transcribe(self.samples()[:upto])

    def settle(self, settings: StreamSettings) -> bool:
        """Make the words before a pause stable; False if a pass reads the stable ones otherwise.

        As much quiet is read behind them as behind a final text: more can have words of its own.
        """
        if self.pause is None or self.pause < settings.stable_pause or not self._rest \
                or self._listener.decoder_settings.grammar:  # which reads whole sentences alone
            return True
        upto = self.num_samples - \
            self.blocks_behind(settings.end_pause / 2) * len(self._samples[0])
        if upto <= self.stable_samples:
            return True
        found = self.transcribed(upto)
        if not _continues(found, self.stable):
            return False
        if found.text:
            self.stable, self.stable_samples = found, upto
            self._rest = self._behind_stable(self._rest)
        return True

    def partial(self, start: float) -> Partial:
        stable = self.stable or Transcript("")
        words = tuple(_shifted(word, start) for word in (*stable.words, *self._rest))
        texts = [stable.text, *(word.text for word in self._rest)]
        return Partial(" ".join(text for text in texts if text), stable.text, words)

    def _behind_stable(self, words: Sequence[Word]) -> list[Word]:
        until = self.stable_samples / self._listener.sample_rate
        return [replace(word, start=max(word.start, until)) for word in words
                if (word.start + word.end) / 2 > until]


def _continues(found: Transcript, stable: Transcript | None) -> bool:
    """Whether a text begins with the stable words."""
    return stable is None or found.text == stable.text or found.text.startswith(stable.text + " ")


def _shifted(word: Word, seconds: float) -> Word:
    return replace(word, start=word.start + seconds, end=word.end + seconds)


def _later(transcript: Transcript, seconds: float) -> Transcript:
    """The same, so many seconds later in the stream."""
    return replace(transcript, duration=transcript.duration + seconds,
                   words=tuple(_shifted(word, seconds) for word in transcript.words),
                   characters=tuple(_shifted(one, seconds) for one in transcript.characters))
