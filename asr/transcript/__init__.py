"""What a person gets: a transcript with words in time, and the formats it is written in.

In: words with seconds and confidences. Out: txt, json, srt, vtt, tsv, ctm, TextGrid.
Pure functions, standard library only; nothing here opens a file.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asr.errors import UsageError
from asr.transcript.praat import textgrid

MAX_CUE_CHARACTERS = 84  # two subtitle lines of 42, the common broadcasting limit
MAX_CUE_SECONDS = 7.0
MAX_CUE_PAUSE = 1.0  # seconds of silence that end a subtitle

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?", re.DOTALL)


@dataclass(frozen=True)
class Word:
    """One word, or one character, and when it was said.

    Attributes:
        text: the word or the character.
        start, end: seconds from the start of the recording.
        confidence: 0 .. 1.
    """

    text: str
    start: float
    end: float
    confidence: float


def _nothing_is_not_sure(reading: Alternative | Transcript) -> None:
    if not reading.text:
        object.__setattr__(reading, "confidence", 0.0)


@dataclass(frozen=True)
class Alternative:
    """One reading of n-best.

    Attributes:
        text: the words, joined by single spaces.
        score: natural log, what the decoder maximised.
        confidence: 0 .. 1; 0 for an empty text.
    """

    text: str
    score: float
    confidence: float

    def __post_init__(self):
        _nothing_is_not_sure(self)


@dataclass(frozen=True)
class Transcript:
    """What was said in one recording.

    Attributes:
        text: the words, joined by single spaces; empty for silence.
        score: natural log, what the decoder maximised; 0 for silence.
        words: in order.
        confidence: 0 .. 1, of the whole text; 0 for an empty one: nothing supports it.
        duration: seconds of the recording.
        characters: of the words, in order; each lasts until the next one of its word begins.
        alternatives: the best readings, this one first, where more than one was asked for.
        rejected: the nearest sentence of a closed grammar, where what was heard is not in it; the
            text is then empty.
    """

    text: str
    score: float = 0.0
    words: tuple[Word, ...] = ()
    confidence: float = 1.0
    duration: float = 0.0
    characters: tuple[Word, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    rejected: str = ""

    def __post_init__(self):
        _nothing_is_not_sure(self)

    def to_dict(self, *, characters: bool = False) -> dict:
        """Plain values for JSON: seconds to the millisecond, confidences to four digits.

        "alternatives" and "rejected" are there only where there are some.

        Args:
            characters: with the times of characters.
        """
        table: dict = {
            "text": self.text, "score": round(self.score, 4),
            "confidence": round(self.confidence, 4), "duration": round(self.duration, 3),
            "words": [_timed(word) for word in self.words]}
        if characters:
            table["characters"] = [_timed(character) for character in self.characters]
        if self.alternatives:
            table["alternatives"] = [{"text": a.text, "score": round(a.score, 4),
                                      "confidence": round(a.confidence, 4)}
                                     for a in self.alternatives]
        if self.rejected:
            table["rejected"] = self.rejected
        return table


def _timed(word: Word) -> dict:
    return {"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3),
            "confidence": round(word.confidence, 4)}


@dataclass(frozen=True)
class Cue:
    """A stretch of words shown together as one subtitle; seconds."""

    start: float
    end: float
    text: str


def cues(words: Sequence[Word]) -> list[Cue]:
    """Words grouped into subtitles, cut at pauses, at 84 characters and at 7 seconds.

    Example:
        >>> cues([Word("one", 0.0, 0.4, 1.0), Word("two", 3.0, 3.4, 1.0)])
        [Cue(start=0.0, end=0.4, text='one'), Cue(start=3.0, end=3.4, text='two')]
    """
    groups: list[list[Word]] = []
    for word in words:
        if groups:
            group = groups[-1]
            length = sum(len(w.text) + 1 for w in group) + len(word.text)
            if word.start - group[-1].end <= MAX_CUE_PAUSE and length <= MAX_CUE_CHARACTERS \
                    and word.end - group[0].start <= MAX_CUE_SECONDS:
                group.append(word)
                continue
        groups.append([word])
    return [Cue(g[0].start, g[-1].end, " ".join(w.text for w in g)) for g in groups]


def render(transcript: Transcript, format: str, name: str, *, escape_cells: bool = True,
           characters: bool = False) -> str:
    """A transcript as the content of a file.

    Args:
        transcript: what was said.
        format: one of `FORMATS`.
        name: of the recording; json stores it, ctm opens every line with it.
        escape_cells: tsv only: put ' before cells that a spreadsheet would run as a formula.
        characters: json only: with the times of characters.

    Raises:
        UsageError: there is no such format.
    """
    if format not in FORMATS:
        raise UsageError(f"There is no format {format!r}; choose one of {', '.join(FORMATS)}.")
    if format == "tsv":
        return _tsv(transcript, name, escape_cells)
    if format == "json":
        return _json(transcript, name, characters)
    return FORMATS[format](transcript, name)


def _txt(transcript: Transcript, name: str) -> str:
    """The text; of several readings a line each: text, score and confidence, the best first."""
    if not transcript.alternatives:
        return transcript.text + "\n"
    return "".join(f"{a.text}\t{a.score:.4f}\t{a.confidence:.4f}\n"
                   for a in transcript.alternatives)


def _json(transcript: Transcript, name: str, characters: bool = False) -> str:
    return json.dumps({"path": name, **transcript.to_dict(characters=characters)},
                      ensure_ascii=False) + "\n"


def _srt(transcript: Transcript, name: str) -> str:
    """SubRip: numbered from 1, comma before the milliseconds, a blank line after each."""
    return "".join(f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n"
                   f"{_cue_text(cue.text)}\n\n"
                   for number, cue in enumerate(cues(transcript.words), start=1))


def _vtt(transcript: Transcript, name: str) -> str:
    """WebVTT (W3C): as SubRip with a header, a dot, and & < > escaped."""
    body = "".join(f"\n{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n{_escape(cue.text)}\n"
                   for cue in cues(transcript.words))
    return "WEBVTT\n" + body


def _tsv(transcript: Transcript, name: str, escape_cells: bool = True) -> str:
    """One subtitle a line: start and end in whole milliseconds, text; whisper's columns."""
    rows = [f"{milliseconds(cue.start)}\t{milliseconds(cue.end)}\t"
            f"{escape_cell(plain(cue.text)) if escape_cells else plain(cue.text)}\n"
            for cue in cues(transcript.words)]
    return "start\tend\ttext\n" + "".join(rows)


def _ctm(transcript: Transcript, name: str) -> str:
    """NIST CTM: recording, channel, start, duration, word, confidence; times in seconds.

    White space in names becomes "_", because columns are split at it. The duration is that of the
    rounded times, so that a word ends where the other formats say.
    """
    return "".join(
        f"{_column(name)} 1 {word.start:.3f} {round(word.end, 3) - round(word.start, 3):.3f} "
        f"{_column(word.text)} {word.confidence:.4f}\n" for word in transcript.words)


def _textgrid(transcript: Transcript, name: str) -> str:
    """Praat: a tier of words and one of characters, see `asr.transcript.praat`."""
    return textgrid({tier: [(w.start, w.end, plain(w.text)) for w in words] for tier, words in
                     (("words", transcript.words), ("characters", transcript.characters))},
                    transcript.duration)


FORMATS: dict[str, Callable[[Transcript, str], str]] = {
    "txt": _txt, "json": _json, "srt": _srt, "vtt": _vtt, "tsv": _tsv, "ctm": _ctm,
    "textgrid": _textgrid}
SUFFIXES = {name: name for name in FORMATS} | {"textgrid": "TextGrid"}  # of files


def milliseconds(seconds: float) -> int:
    """Whole milliseconds, rounded to the nearest."""
    return round(seconds * 1000)


def clock(seconds: float, separator: str) -> str:
    """Seconds as hh:mm:ss and milliseconds.

    Example:
        >>> clock(3_661.0015, ",")
        '01:01:01,002'
    """
    total = milliseconds(seconds)
    return (f"{total // 3_600_000:02d}:{total // 60_000 % 60:02d}:{total // 1_000 % 60:02d}"
            f"{separator}{total % 1_000:03d}")


def plain(text: str) -> str:
    r"""Text that is safe to show: no ANSI sequences, C0 or C1 controls; white space as spaces.

    Bidirectional controls go too, because they can make a line read as something else.

    Example:
        >>> plain("red \x1b[31malert\x1b[0m\nnext")
        'red alert next'
    """
    text = re.sub(r"[\t\n\v\f\r\x85\u2028\u2029]+", " ", _ANSI.sub("", text))
    return "".join(c for c in text if unicodedata.category(c) != "Cc"
                   and c not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def escape_cell(cell: str) -> str:
    """A spreadsheet cell that is shown, never run as a formula (CWE-1236).

    Example:
        >>> escape_cell("=1+1"), escape_cell("one")
        ("'=1+1", 'one')
    """
    return "'" + cell if cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _cue_text(text: str) -> str:
    # An arrow inside would be read as a time line; SubRip has no escape for it.
    return plain(text).replace("-->", "->")


def _column(text: str) -> str:
    return re.sub(r"\s", "_", plain(text)) or "_"


def _escape(text: str) -> str:
    return plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
