"""Words in time become utterances: stretches between pauses, each of one speaker.

In: a transcript, or one for each channel of a recording. Out: `Segment`s in order of time; one
transcript of all channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr.transcript import Transcript, Word

PAUSE = 0.6  # seconds of silence between two utterances
PARAGRAPH_PAUSE = 2.0  # seconds of silence between two paragraphs
PARAGRAPH_SECONDS = 90.0  # after which a paragraph ends at the next utterance


@dataclass(frozen=True)
class Segment:
    """An utterance.

    Attributes:
        words: in order, at least one, of one channel.
        speaker: a name; empty where the recording has no channels with names.
    """

    words: tuple[Word, ...]
    speaker: str = ""

    @property
    def start(self) -> float:
        """Seconds."""
        return self.words[0].start

    @property
    def end(self) -> float:
        """Seconds."""
        return self.words[-1].end

    @property
    def text(self) -> str:
        """The words, joined by single spaces."""
        return " ".join(word.text for word in self.words)


def segments(transcript: Transcript, pause: float = PAUSE) -> list[Segment]:
    """The utterances of a transcript.

    Args:
        transcript: whose words are in order.
        pause: seconds of silence that separate two of them; so does another channel.
    """
    groups: list[list[Word]] = []
    for word in transcript.words:
        if not groups or word.channel != groups[-1][-1].channel \
                or word.start - groups[-1][-1].end >= pause:
            groups.append([])
        groups[-1].append(word)
    names = transcript.speakers
    return [Segment(tuple(g), names[g[0].channel - 1] if names and g[0].channel else "")
            for g in groups]


def paragraphs(found: Iterable[Segment]) -> list[list[Segment]]:
    """Utterances in paragraphs: a new one after a long pause, another speaker, or enough."""
    result: list[list[Segment]] = []
    for segment in found:
        last = result[-1] if result else None
        if last is None or segment.speaker != last[-1].speaker \
                or segment.start - last[-1].end >= PARAGRAPH_PAUSE \
                or segment.start - last[0].start >= PARAGRAPH_SECONDS:
            result.append([])
        result[-1].append(segment)
    return result


def speaker_names(count: int) -> tuple[str, ...]:
    """Names of channels without speaker names."""
    return ("left", "right") if count == 2 else tuple(f"channel {n + 1}" for n in range(count))


def merge_channels(transcripts: Sequence[Transcript], speakers: Sequence[str]) -> Transcript:
    """One transcript of a recording with a speaker on each channel, in order of time.

    Utterances stay whole: one that begins while another goes on comes after it.

    Args:
        transcripts: one a channel.
        speakers: their names, as many.
    """
    from dataclasses import replace

    from asr.transcript import Transcript
    turns: list[tuple[Segment, list[Word]]] = []
    for channel, transcript in enumerate(transcripts, start=1):
        characters = iter([replace(c, channel=channel) for c in transcript.characters])
        for segment in segments(transcript):
            words = tuple(replace(word, channel=channel) for word in segment.words)
            mine = [c for word in words for _, c in zip(word.text, characters, strict=False)] \
                if transcript.characters else []
            turns.append((Segment(words, speakers[channel - 1]), mine))
    turns.sort(key=lambda turn: (turn[0].start, turn[0].end))
    words = tuple(word for segment, _ in turns for word in segment.words)
    weights = [max(1, len(t.words)) for t in transcripts]
    confidence = sum(t.confidence * w for t, w in zip(transcripts, weights, strict=True)) \
        / sum(weights)
    return Transcript(" ".join(word.text for word in words), sum(t.score for t in transcripts),
                      words, confidence, max(t.duration for t in transcripts),
                      tuple(c for _, mine in turns for c in mine), speakers=tuple(speakers))
