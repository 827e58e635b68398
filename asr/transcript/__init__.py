"""A transcript with word times, and its file formats.

In: words with seconds and confidences. Out: txt, json, srt, vtt, tsv, ctm, TextGrid, eaf, docx.
Pure functions; only `Transcript.save` writes a file, and only docx needs more than the standard
library.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from asr.errors import UsageError
from asr.files import write_atomic
from asr.transcript.documents import docx, eaf
from asr.transcript.praat import textgrid
from asr.transcript.segments import paragraphs as in_paragraphs
from asr.transcript.segments import segments
from asr.transcript.subtitles import Cue, cues

LONG_SECONDS = 60.0  # a longer recording is written as one line an utterance

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?", re.DOTALL)


@dataclass(frozen=True)
class Word:
    """One word, or one character, and when it was said.

    Attributes:
        text: the word or the character.
        start, end: seconds from the start of the recording.
        confidence: 0 .. 1.
        channel: channel of the recording, 1 is the first or left one; 0: the mix of all.
    """

    text: str
    start: float
    end: float
    confidence: float
    channel: int = 0


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
        confidence: 0 .. 1, of the whole text; 0 for an empty one, in which no word was found.
        duration: seconds of the recording.
        characters: in order, without spaces; each lasts until the next one of its word.
        alternatives: the best readings, this one first, where more than one was asked for.
        rejected: the nearest sentence of a closed grammar, if the recording does not fit it; the
            text is then empty.
        speakers: names of the channels, from the first on; empty for a mix.
    """

    text: str
    score: float = 0.0
    words: tuple[Word, ...] = ()
    confidence: float = 0.0
    duration: float = 0.0
    characters: tuple[Word, ...] = ()
    alternatives: tuple[Alternative, ...] = ()
    rejected: str = ""
    speakers: tuple[str, ...] = ()

    def save(self, path: str | os.PathLike, *, format: str | None = None,  # noqa: A002
             overwrite: bool = True) -> None:
        """Write the transcript to a file.

        Args:
            path: its ending names the format, such as talk.srt; the name is that of the recording.
            format: one of `FORMATS`, instead of the one that the ending names.
            overwrite: False makes an existing file an error.

        Raises:
            UsageError: no format has this ending, or python-docx is missing.
            OSError: the file exists, or cannot be written.

        Example:
            asr.transcribe("talk.wav").save("talk.srt")
        """
        path = Path(path)
        chosen = format or format_of(path)
        if chosen is None:
            raise UsageError(f"No format has the ending of {path.name}; use one of "
                             f"{', '.join(f'.{suffix}' for suffix in SUFFIXES.values())}.")
        write_atomic(path, render(self, chosen, path.stem), overwrite=overwrite)

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
            "segments": [{"start": round(s.start, 3), "end": round(s.end, 3), "text": s.text}
                         | ({"speaker": s.speaker} if s.speaker else {}) for s in segments(self)],
            "words": [_timed(word) for word in self.words]}
        if self.speakers:
            table["speakers"] = list(self.speakers)
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
    row = {"text": word.text, "start": round(word.start, 3), "end": round(word.end, 3),
           "confidence": round(word.confidence, 4)}
    return row | {"channel": word.channel} if word.channel else row


def render(transcript: Transcript, format: str, name: str, *, escape_cells: bool = True,
           characters: bool = False, paragraphs: bool = False) -> str | bytes:
    """A transcript as the content of a file.

    Args:
        transcript: what was said.
        format: one of `FORMATS`.
        name: name of the recording; json stores it, ctm opens every line with it.
        escape_cells: tsv only: put ' before cells that a spreadsheet would run as a formula.
        characters: json only: with the times of characters.
        paragraphs: txt only: paragraphs, with an empty line between them.

    Returns:
        Text; bytes for docx.

    Raises:
        UsageError: there is no such format, or python-docx is missing.
    """
    if format not in FORMATS:
        raise UsageError(f"There is no format {format!r}; choose one of {', '.join(FORMATS)}.")
    if format == "tsv":
        return _tsv(transcript, name, escape_cells)
    if format == "json":
        return _json(transcript, name, characters)
    if format == "txt":
        return _txt(transcript, name, paragraphs)
    return FORMATS[format](transcript, name)


def format_of(path: str | os.PathLike) -> str | None:
    """The format that the ending of a file names, if there is one."""
    ending = os.path.splitext(path)[1].lower().lstrip(".")
    return next((name for name, suffix in SUFFIXES.items() if suffix.lower() == ending), None)


def _txt(transcript: Transcript, name: str, paragraphs: bool = False) -> str:
    """The text; of several readings a line each: text, score and confidence, the best first.

    A long recording, and one with several speakers, has one line an utterance.
    """
    if not transcript.alternatives:
        groups = [[segment] for segment in segments(transcript)]
        if paragraphs:
            groups = in_paragraphs(segment for group in groups for segment in group)
        elif transcript.duration <= LONG_SECONDS and not transcript.speakers:
            return transcript.text + "\n"
        lines = [(f"{group[0].speaker}: " if group[0].speaker else "")
                 + " ".join(segment.text for segment in group) for group in groups]
        return ("\n\n" if paragraphs else "\n").join(lines) + "\n"
    return "".join(f"{a.text}\t{a.score:.4f}\t{a.confidence:.4f}\n"
                   for a in transcript.alternatives)


def _json(transcript: Transcript, name: str, characters: bool = False) -> str:
    return json.dumps({"path": name, **transcript.to_dict(characters=characters)},
                      ensure_ascii=False) + "\n"


def _srt(transcript: Transcript, name: str) -> str:
    """SubRip: numbered from 1, comma before the milliseconds, a blank line after each."""
    return "".join(f"{number}\n{clock(cue.start, ',')} --> {clock(cue.end, ',')}\n"
                   f"{_cue_text(cue.text)}\n\n"
                   for number, cue in enumerate(_cues(transcript), start=1))


def _vtt(transcript: Transcript, name: str) -> str:
    """WebVTT (W3C): as SubRip with a header, a dot, and & < > escaped."""
    body = "".join(f"\n{clock(cue.start, '.')} --> {clock(cue.end, '.')}\n{_escape(cue.text)}\n"
                   for cue in _cues(transcript))
    return "WEBVTT\n" + body


def _tsv(transcript: Transcript, name: str, escape_cells: bool = True) -> str:
    """One subtitle a line: start and end in whole milliseconds, text; whisper's columns."""
    rows = [f"{milliseconds(cue.start)}\t{milliseconds(cue.end)}\t"
            f"{escape_cell(plain(cue.text)) if escape_cells else plain(cue.text)}\n"
            for cue in _cues(transcript)]
    return "start\tend\ttext\n" + "".join(rows)


def _ctm(transcript: Transcript, name: str) -> str:
    """NIST CTM: recording, channel, start, duration, word, confidence; times in seconds.

    The recording is named as in STM files, without folder and ending; the channels of a call are A
    and B, that of a mix is 1. White space in names becomes "_", because columns are split at it.
    The duration is that of the rounded times, so that a word ends where the other formats say.
    """
    from asr.audio.source import is_recording  # NumPy, which --help need not load
    if is_recording(name):
        name = os.path.splitext(os.path.basename(name))[0]
    words = sorted(transcript.words, key=lambda w: (w.channel, w.start))
    return "".join(
        f"{_column(name)} {chr(64 + word.channel) if word.channel else 1} {word.start:.3f} "
        f"{round(word.end, 3) - round(word.start, 3):.3f} {_column(word.text)} "
        f"{word.confidence:.4f}\n" for word in words)


def _textgrid(transcript: Transcript, name: str) -> str:
    """Praat: tiers of words and characters for each speaker; see `asr.transcript.praat`."""
    tiers = {}
    for channel, who in enumerate(transcript.speakers or ("",), start=1):
        for tier, words in (("words", transcript.words), ("characters", transcript.characters)):
            tiers[f"{tier} {plain(who)}".strip()] = [
                (w.start, w.end, plain(w.text)) for w in words
                if w.channel == channel or not transcript.speakers]
    return textgrid(tiers, transcript.duration)


def _eaf(transcript: Transcript, name: str) -> str:
    """ELAN; see `asr.transcript.documents`."""
    return eaf(transcript, name, plain)


def _docx(transcript: Transcript, name: str) -> bytes:
    """Word; see `asr.transcript.documents`."""
    return docx(transcript, name, clock, plain)


def _cues(transcript: Transcript) -> list[Cue]:
    return cues(transcript.words, speakers=transcript.speakers, duration=transcript.duration)


FORMATS: dict[str, Callable[[Transcript, str], str | bytes]] = {
    "txt": _txt, "json": _json, "srt": _srt, "vtt": _vtt, "tsv": _tsv, "ctm": _ctm,
    "textgrid": _textgrid, "eaf": _eaf, "docx": _docx}
# Two of these in a row are no valid file.
ONE_FILE_FORMATS = ("srt", "vtt", "tsv", "textgrid", "eaf", "docx")
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
    return "\n".join(plain(line).replace("-->", "->") for line in text.split("\n"))


def _column(text: str) -> str:
    return re.sub(r"\s", "_", plain(text)) or "_"


def _escape(text: str) -> str:
    text = "\n".join(map(plain, text.split("\n")))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
