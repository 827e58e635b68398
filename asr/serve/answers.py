"""A transcript in OpenAI's formats.

In: a `Transcript`. Out: a response: json, text, srt, vtt, verbose_json, or server-sent events.

Where Whisper has a number that this recogniser does not have, verbose_json holds what is true here:
`tokens` is empty and `temperature` 0; `avg_logprob` is the mean natural logarithm of the words'
confidences and `no_speech_prob` one minus their mean. `confidence` is an addition.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator

from starlette.responses import JSONResponse, PlainTextResponse, Response

from asr.transcript import Transcript, Word, render
from asr.transcript.segments import Segment, segments

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
GRANULARITIES = ("segment", "word")
SMALLEST = 1e-5  # of a confidence whose logarithm is taken
_MEDIA = {"srt": "application/x-subrip", "vtt": "text/vtt"}


def answer(transcript: Transcript, format_: str, granularities: tuple[str, ...],
           language: str) -> Response:
    """The response in one of `FORMATS`.

    Args:
        transcript: what was said.
        format_: one of `FORMATS`.
        granularities: of `GRANULARITIES`, for verbose_json.
        language: for verbose_json.
    """
    if format_ == "text":
        return PlainTextResponse(transcript.text + "\n")
    if format_ in _MEDIA:
        return PlainTextResponse(str(render(transcript, format_, "")), media_type=_MEDIA[format_])
    table: dict = {"text": transcript.text, "usage": _usage(transcript)}
    if format_ == "verbose_json":
        table = {"task": "transcribe", "language": language,
                 "duration": round(transcript.duration, 3)} | table
        table["confidence"] = round(transcript.confidence, 4)
        if transcript.rejected:
            table["rejected"] = transcript.rejected
        if "word" in granularities:
            table["words"] = [_word(word) for word in transcript.words]
        if "segment" in granularities:
            table["segments"] = [_segment(number, one)
                                 for number, one in enumerate(segments(transcript))]
    return JSONResponse(table)


def events(transcript: Transcript) -> Response:
    """Server-sent events: an utterance at a time, then the whole.

    They come once all of it is transcribed, because the network reads a recording from both ends; a
    stream that is shown while a person speaks is what the websocket is for.
    """
    def rows() -> Iterator[dict]:
        for number, one in enumerate(segments(transcript)):
            yield {"type": "transcript.text.delta", "delta": (" " if number else "") + one.text}
        yield {"type": "transcript.text.done", "text": transcript.text,
               "usage": _usage(transcript)}

    return Response("".join(f"data: {json.dumps(row, ensure_ascii=False)}\n\n" for row in rows()),
                    media_type="text/event-stream")


def _usage(transcript: Transcript) -> dict:
    return {"type": "duration", "seconds": math.ceil(transcript.duration)}


def _word(word: Word) -> dict:
    return {"word": word.text, "start": round(word.start, 3), "end": round(word.end, 3),
            "confidence": round(word.confidence, 4)}


def _segment(number: int, one: Segment) -> dict:
    sure = [max(SMALLEST, word.confidence) for word in one.words]
    data = one.text.encode("utf-8")
    return {"id": number, "seek": round(100 * one.start), "start": round(one.start, 3),
            "end": round(one.end, 3), "text": one.text, "tokens": [], "temperature": 0.0,
            "avg_logprob": round(sum(map(math.log, sure)) / len(sure), 4) + 0.0,  # no -0.0
            "compression_ratio": round(len(data) / len(zlib.compress(data)), 4),
            "no_speech_prob": round(1 - sum(sure) / len(sure), 4),
            "confidence": round(sum(sure) / len(sure), 4)}
