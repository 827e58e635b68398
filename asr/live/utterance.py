"""The open utterance of a stream: its samples, its logits so far, its text so far.

In: blocks of samples. Out: partial texts, and a reading of the samples up to any of them. Which
words are stable is decided here; where an utterance ends, in `stream.py`.
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
from asr.live.ending import first_spoken, is_steady, pause_after
from asr.live.network import ChunkedNetwork, Contexts
from asr.live.normalizing import OnlineNormalizer
from asr.live.samples import BLOCK_SECONDS
from asr.network.engine import Engine
from asr.recipe import DecoderSettings
from asr.transcript import Transcript, Word
from asr.transcript.timing import FrameClock

LEAD_LIMIT = 4.0  # silence that may gather before it is cut back
ONSET_SECONDS = 0.5  # kept in front of the first label, once there is one


class StreamListener(Protocol):
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
        max_lag: words that ended so long ago are stable, and no other word appears before them;
            infinity: words are stable by pauses alone. At least `chunk`. Not for grammars.

    Raises:
        UsageError: numbers that cannot be.
    """

    end_pause: float = 0.8
    right_context: float = 0.6
    left_context: float = 3.0
    stable_pause: float = 0.5
    chunk: float = 0.3
    max_utterance: float = 30.0
    max_lag: float = math.inf

    def __post_init__(self) -> None:
        limits = {"end_pause": (0.1, 60), "right_context": (0, 10), "left_context": (0.5, 60),
                  "stable_pause": (0.1, 60),
                  "chunk": (BLOCK_SECONDS, 10), "max_utterance": (2 * LEAD_LIMIT, 300),
                  "max_lag": (BLOCK_SECONDS, math.inf)}
        for field in fields(self):
            value, (low, high) = getattr(self, field.name), limits[field.name]
            if isinstance(value, bool) or not isinstance(value, (int, float)) \
                    or not low <= value <= high:
                raise UsageError(f"{field.name} is {value!r}; expected {low:g} to {high:g} "
                                 "seconds.")
        if self.max_lag < self.chunk:
            raise UsageError(f"max_lag is {self.max_lag!r}; expected at least chunk, "
                             f"{self.chunk:g} seconds, because the text is read that often.")


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


class OpenUtterance:
    """The open utterance: its samples, its logits so far, its text so far."""

    def __init__(self, listener: StreamListener, contexts: Contexts, normalize: OnlineNormalizer,
                 max_lag: float):
        self._listener = listener
        self._max_lag = max_lag
        self.bounded = math.isfinite(max_lag) and not listener.decoder_settings.grammar
        self._network = ChunkedNetwork(listener, contexts, normalize)
        self._samples: list[np.ndarray] = []
        self._powers: list[float] = []
        self._decoded = Transcript("")
        self._rest: list[Word] = []
        self._first_label = 0.0  # seconds
        self.stable: Transcript | None = None  # of the samples up to `stable_samples`
        self.stable_samples = 0
        self.trimmed = False  # whether quiet in front of it has been dropped
        self.num_samples = 0
        self.pause: float | None = None  # seconds of quiet at the end; None: nothing said yet

    @property
    def num_blocks(self) -> int:
        """How many blocks it has."""
        return len(self._samples)

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return self.num_samples / self._listener.sample_rate

    @property
    def powers(self) -> np.ndarray:
        """(blocks,) mean square of each block."""
        return np.array(self._powers)

    def samples(self) -> np.ndarray:
        """(n,) float32 so far."""
        return np.concatenate([np.empty(0, np.float32), *self._samples])

    def features(self) -> np.ndarray:
        """(T, F) float32, before normalisation."""
        return self._network.features()

    def add(self, block: np.ndarray) -> None:
        """The next samples, (n,) float32; the text stays as it is until `advance`."""
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
        self._decoded = self._listener.decode(logits)
        self._rest = self._behind_stable(self._decoded.words)

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

    def end_of_pause(self, quiet: float, block: int) -> int:
        """Where an utterance that a pause has ended is cut, in samples.

        Where the same pause made its words stable, if it did: the place moves by a block as the
        end of the last word does, and what has been read is not read again. Else at most `quiet`
        seconds after what has been said.
        """
        spoken = self.seconds - (self.pause or 0.0)
        if not self.bounded and self.stable is not None and not self._rest \
                and self.stable_samples / self._listener.sample_rate >= spoken:
            return self.stable_samples
        return self.num_samples - self.blocks_behind(quiet) * block

    def transcribed(self, upto: int) -> Transcript:
        """The samples before `upto` as a file."""
        if self.stable is not None and self.stable_samples == upto:
            return self.stable
        found = self._listener.transcribe(self.samples()[:upto])
        return self._spliced(found) if self.bounded and self.stable_samples else found

    def _spliced(self, found: Transcript) -> Transcript:
        """The stable words, and of another reading those behind them."""
        stable, words = self.stable or Transcript(""), self._behind_stable(found.words)
        before = [word.text for word in found.words[:len(found.words) - len(words)]]
        if before == [word.text for word in stable.words]:
            return found
        return _joined(stable, found, words, len(before))

    def commit(self, chunk: float) -> None:
        """Make the words stable that would be older than `max_lag` before the next chunk.

        Without a word there either: none can appear later so far back.
        """
        if not self.bounded or self.pause is None:
            return
        until = self.seconds - self._max_lag + chunk
        until = min([until, *(word.start for word in self._rest if word.end > until)])
        samples = round(until * self._listener.sample_rate)
        if samples <= self.stable_samples:
            return
        due = [word for word in self._rest if word.end <= until]
        if due:
            self.stable = _joined(self.stable or Transcript(""), self._decoded, due,
                                  len(self._decoded.words) - len(self._rest))
        self.stable_samples = samples
        self._rest = self._rest[len(due):]

    def least_cut(self, block: int) -> int:
        """Where the stable words end, in samples on the grid of blocks; 0 without `max_lag`."""
        if not self.bounded or self.stable is None:
            return 0
        end = self.stable.words[-1].end * self._listener.sample_rate / block
        return min(math.ceil(end - 1e-6) * block, self.num_samples)

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
        if not continues(found, self.stable):
            return False
        if found.text:
            self.stable, self.stable_samples = found, upto
            self._rest = self._behind_stable(self._rest)
        return True

    def partial(self, start: float) -> Partial:
        """The text so far; `start`: seconds of the stream before the utterance."""
        stable = self.stable or Transcript("")
        words = tuple(shifted(word, start) for word in (*stable.words, *self._rest))
        texts = [stable.text, *(word.text for word in self._rest)]
        return Partial(" ".join(text for text in texts if text), stable.text, words)

    def _behind_stable(self, words: Sequence[Word]) -> list[Word]:
        until = self.stable_samples / self._listener.sample_rate
        return [replace(word, start=max(word.start, until)) for word in words
                if (word.start + word.end) / 2 > until]


def continues(found: Transcript, stable: Transcript | None) -> bool:
    """Whether a text begins with the stable words."""
    return stable is None or found.text == stable.text or found.text.startswith(stable.text + " ")


def _joined(stable: Transcript, found: Transcript, words: Sequence[Word], first: int) -> Transcript:
    """The stable words and these of another reading, its words from `first` on, with characters."""
    every, characters, at = (*stable.words, *words), [], 0
    for i, original in enumerate(found.words[:first + len(words)]):
        begin, length = at, 0
        while at < len(found.characters) and length < len(original.text):
            length += len(found.characters[at].text)
            at += 1
        if i >= first:
            start = words[i - first].start
            characters += [replace(one, start=max(one.start, start), end=max(one.end, start))
                           for one in found.characters[begin:at]]
    return Transcript(" ".join(word.text for word in every), found.score, every,
                      float(np.mean([word.confidence for word in every])) if every else 0.0,
                      found.duration, (*stable.characters, *characters))


def shifted(word: Word, seconds: float) -> Word:
    """The same word, so many seconds later."""
    return replace(word, start=word.start + seconds, end=word.end + seconds)
