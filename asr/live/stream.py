"""A stream of speech: pieces of samples in, partial texts and final transcripts out.

While an utterance is open, its text so far comes from `network.py`. When it has ended, it is
transcribed once more as a whole, by the code that transcribes files: a final text is that of the
recording cut where the utterance begins and ends.

At a short pause the utterance is transcribed so as far as it goes; these words are stable. If a
later pass reads them otherwise, the utterance ends at that pause: the stable words are its final
text, and what follows is an utterance of its own. So stable words never change, and every final
text is that of a file.

With `max_lag`, words that ended that long ago become stable as they are (`OpenUtterance.commit`),
pause or not. Of later passes only the words behind them count then, so no utterance ends early.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from asr.errors import UsageError
from asr.inference.windows import quietest
from asr.live.network import Contexts
from asr.live.normalizing import OnlineNormalizer
from asr.live.samples import BLOCK_SECONDS, Blocks
from asr.live.utterance import (
    LEAD_LIMIT,
    OpenUtterance,
    Partial,
    StreamListener,
    StreamSettings,
    continues,
    shifted,
)
from asr.transcript import Transcript

LEAD_SECONDS = 1.5  # kept while nothing has been said


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

    def __init__(self, listener: StreamListener, sample_rate: float, settings: StreamSettings):
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
        self._open: OpenUtterance = self._new_utterance()

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
        if not self._open.settle(self.settings):
            return self._split(finals)
        self._open.commit(self._chunk * BLOCK_SECONDS)
        return None

    def _cut(self) -> int | None:
        """Where the open utterance ends, in samples, on the grid of blocks; None: it goes on."""
        utterance, settings = self._open, self.settings
        size = self._blocks.size
        if utterance.pause is None:
            if utterance.seconds > LEAD_LIMIT:
                return utterance.num_samples - round(LEAD_SECONDS / BLOCK_SECONDS) * size
        elif utterance.pause >= settings.end_pause:
            return utterance.end_of_pause(settings.end_pause / 2, size)
        elif utterance.seconds >= settings.max_utterance:
            search = settings.max_utterance / 4
            place = quietest(utterance.powers, BLOCK_SECONDS, utterance.seconds - search, search)
            return max(1, min(round(place / BLOCK_SECONDS), utterance.num_blocks)) * size
        return None

    def _end(self, cut: int, finals: list[Transcript]) -> np.ndarray:
        """Close the open utterance at a sample; returns the samples behind it."""
        cut = max(cut, self._open.least_cut(self._blocks.size))
        if self._open.pause is not None:
            found = self._open.transcribed(cut)
            if not continues(found, self._open.stable):
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
        rest, late = self._open.samples()[cut:], self._open.bounded
        settled = max(0, self._open.stable_samples - cut) if late else 0
        self._start += cut
        self._open = self._new_utterance()
        self._open.trimmed, self._open.stable_samples = trimmed, settled
        return rest

    def _new_utterance(self) -> OpenUtterance:
        return OpenUtterance(self._listener, self._contexts, self._normalize, self.settings.max_lag)

    def _require_open(self) -> None:
        if self._closed:
            raise UsageError("The stream is closed: finish() was called. Open another one with "
                             "recognizer.stream().")


def _later(transcript: Transcript, seconds: float) -> Transcript:
    """The same, so many seconds later in the stream."""
    return replace(transcript, duration=transcript.duration + seconds,
                   words=tuple(shifted(word, seconds) for word in transcript.words),
                   characters=tuple(shifted(one, seconds) for one in transcript.characters))
