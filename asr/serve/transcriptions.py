"""`POST /v1/audio/transcriptions`, as OpenAI's clients send it.

In: a multipart body with `file` and options. Out: the transcript in the format that was asked for,
or a `Failure`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from asr.audio import check_length, probe_audio, read_header
from asr.decoding.phrases import parse_hot_word
from asr.serve.answers import FORMATS, GRANULARITIES, answer, events
from asr.serve.jobs import Job, transcript_of
from asr.serve.models import ServedModel, Wanted
from asr.serve.problems import Failure
from asr.serve.settings import ServerSettings
from asr.serve.state import ServerState, state_of
from asr.serve.uploads import Upload, read_upload

# Choices that OpenAI's interface has and this recogniser has no use for: docs/serving.md.
WITHOUT_EFFECT = ("temperature", "chunking_strategy", "include")
UNKNOWN_LANGUAGE = "und"  # ISO 639


@dataclass(frozen=True)
class Choices:
    """What a request asks for.

    Attributes:
        model: the model.
        wanted: hot words.
        format: one of `FORMATS`.
        granularities: of `GRANULARITIES`.
        language: as the client named it; a model has one language and is not told.
        stream: server-sent events.
    """

    model: ServedModel
    wanted: Wanted
    format: str
    granularities: tuple[str, ...]
    language: str
    stream: bool


async def transcribe(request: Request) -> Response:
    """The endpoint.

    Raises:
        Failure: why there is no transcript.
        ClientDisconnect: the client is gone; what was not begun is not begun.
    """
    state = state_of(request)
    state.require_ready()
    state.jobs.places.take()
    job: Job | None = None
    upload: Upload | None = None

    def leave(_=None) -> None:
        if upload is not None:
            upload.close()
        state.jobs.places.give_back()

    try:
        async with asyncio.timeout(state.settings.timeout):
            upload = await read_upload(request, state.settings)
            options = read_options(upload.fields, state)
            seconds = await asyncio.to_thread(_declared, upload, state.settings)
            job = Job(options.model, upload.source, seconds, options.wanted)
            state.jobs.submit(job)
            result = await _result(job, request)
    except TimeoutError:
        raise Failure(503, f"There was no result within {state.settings.timeout:g} s. Send it "
                      "again, or a shorter recording.", "timeout",
                      retry_after=state.jobs.retry_after()) from None
    finally:
        # A recording that is being worked on keeps its place and its file until that ends.
        if job is None:
            leave()
        else:
            state.jobs.withdraw(job)
            job.future.add_done_callback(leave)
    transcript = transcript_of(result)
    request.state.told.update(
        {"model": options.model.name, "audio_seconds": round(transcript.duration, 3),
         "waited": round(job.waited if job else 0.0, 4)}
        | ({"text": transcript.text} if state.settings.log_transcripts else {}))
    if options.stream:
        return events(transcript)
    return answer(transcript, options.format, options.granularities, options.language)


def _declared(upload: Upload, settings: ServerSettings) -> float:
    """Seconds of a recording, by its header.

    Raises:
        AudioError: it is none, or too long or too short.
    """
    seconds = (read_header if settings.allow_truncated else probe_audio)(upload.source).duration
    check_length(seconds, None, settings.max_seconds, "The recording")
    return seconds


async def _result(job: Job, request: Request):
    """The result of a job, unless the client goes first.

    Raises:
        ClientDisconnect: it went.
    """
    future = asyncio.wrap_future(job.future)
    gone = asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait((future, gone), return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            raise ClientDisconnect
        return future.result()
    finally:
        gone.cancel()


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def read_options(fields: Mapping[str, list[str]], state: ServerState) -> Choices:
    """The options of a request.

    Raises:
        Failure: an option that is unknown, repeated, or has a value that cannot be.
    """
    known = ("model", "language", "prompt", "response_format", "timestamp_granularities", "stream",
             *WITHOUT_EFFECT)
    for name, values in fields.items():
        if name not in known:
            raise Failure(400, f"There is no option {name[:60]!r}; there is {', '.join(known)}.",
                          "unknown_parameter", param=name[:60])
        if len(values) > 1 and name not in ("timestamp_granularities", "include"):
            raise Failure(400, f"The option {name} is given {len(values)} times.",
                          "invalid_parameter", param=name)
    one = partial(_one_of, fields)
    format_ = one("response_format", FORMATS, "json")
    granularities = tuple(fields.get("timestamp_granularities", ()))
    for value in granularities:
        _check("timestamp_granularities", value, GRANULARITIES)
    if granularities and format_ != "verbose_json":
        raise Failure(400, "timestamp_granularities needs response_format=verbose_json.",
                      "invalid_parameter", param="timestamp_granularities")
    stream = one("stream", ("false", "true"), "false") == "true"
    if stream and (granularities or format_ in ("srt", "vtt")):
        raise Failure(400, "stream=true sends events with text alone: no srt, no vtt, no "
                      "timestamp_granularities. Leave one of them out.", "invalid_parameter",
                      param="stream")
    language = fields.get("language", [""])[0]
    if len(language) > 20:
        raise Failure(400, "language is a code such as en.", "invalid_parameter", param="language")
    return Choices(state.models.find(fields.get("model", [""])[0]),
                   Wanted(hot_words=hot_words(fields.get("prompt", [""])[0])), format_,
                   granularities or ("segment",), language or UNKNOWN_LANGUAGE, stream)


def hot_words(prompt: str) -> tuple[str, ...]:
    """The phrases of a prompt: separated by commas, semicolons or line ends.

    Raises:
        UsageError: a phrase that cannot be, see `asr.decoding.phrases.parse_hot_word`.
    """
    for mark in ";\n":
        prompt = prompt.replace(mark, ",")
    phrases = [" ".join(phrase.split()) for phrase in prompt.split(",")]
    for phrase in filter(None, phrases):
        parse_hot_word(phrase)
    return tuple(dict.fromkeys(filter(None, phrases)))


def _one_of(fields: Mapping[str, list[str]], name: str, allowed: tuple[str, ...],
            default: str) -> str:
    value = fields.get(name, [default])[0].strip().lower() or default
    return _check(name, value, allowed)


def _check(name: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise Failure(400, f"{name} is {value[:60]!r}; expected {', '.join(allowed)}.",
                      "invalid_parameter", param=name)
    return value
