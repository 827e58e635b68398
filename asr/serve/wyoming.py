"""The Wyoming protocol, by which Home Assistant reaches speech recognition.

In: events on a TCP connection: `describe`; or `transcribe`, `audio-start`, `audio-chunk` and
`audio-stop`. Out: `info`, `transcript`, or `error`. An event is a line of JSON with its type, the
length of more JSON and of a payload, which follow. See https://github.com/OHF-Voice/wyoming

A recording is transcribed as a whole, through the same queue as uploads. The protocol knows no
token.
"""

from __future__ import annotations

import asyncio
import io
import json
import logging
import wave
from dataclasses import dataclass, field
from typing import Any

from asr.errors import AsrError
from asr.inference.tasks import Result
from asr.parsing import StrictJsonError, parse_json
from asr.serve.jobs import Job, transcript_of
from asr.serve.logs import log
from asr.serve.models import Wanted
from asr.serve.problems import Failure, problem_of
from asr.serve.state import ServerState
from asr.versions import installed

MAX_LINE, MAX_DATA = 1 << 16, 1 << 18  # bytes
RATES, WIDTHS, CHANNELS = (4_000, 192_000), (2, 4), (1, 8)
_URL = "https://github.com/OHF-Voice/wyoming"


class _Damaged(Exception):
    """Bytes that are no event."""


@dataclass
class Event:
    """One event.

    Attributes:
        type: its name.
        data: plain values.
        payload: samples.
    """

    type: str
    data: dict[str, Any] = field(default_factory=dict)
    payload: bytes = b""


class Wyoming:
    """The adapter.

    Args:
        state: the server's state.
        language: the language that clients are told, as a code.
    """

    def __init__(self, state: ServerState, language: str = "en"):
        self.state = state
        self.language = language
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen; `port` 0: a free one, then in the attribute."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_LINE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Take no more connections."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, which has a place among the streams."""
        try:
            self.state.require_ready()
            self.state.places.take()
        except Failure as problem:
            await self._answer(writer, _error(problem))
            writer.close()
            return
        self.state.metrics.streams.inc()
        try:
            await self._talk(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # it is gone, or silent for too long
        except (_Damaged, StrictJsonError, ValueError) as error:
            await self._answer(writer, Event("error", {
                "text": f"This is no event: {error}"[:200], "code": "damaged"}))
        except Exception as error:
            log("wyoming failed", level=logging.ERROR, error=error)
        finally:
            self.state.metrics.streams.dec()
            self.state.places.give_back()
            writer.close()  # and if it does not read the last words:
            asyncio.get_running_loop().call_later(self.state.settings.head_seconds,
                                                  writer.transport.abort)

    async def _answer(self, writer: asyncio.StreamWriter, event: Event) -> None:
        try:
            async with asyncio.timeout(self.state.settings.idle_seconds):
                writer.write(encoded(event))
                await writer.drain()
        except (TimeoutError, OSError):
            writer.transport.abort()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recording: _Recording | None = None
        model, wanted = "", Wanted()
        while True:
            event = await self.state.unless_ending(
                read_event(reader, self.state.settings.max_message))
            if event is None:  # the client's end, or ours
                return
            if event.type == "describe":
                await self._answer(writer, self._info())
            elif event.type == "transcribe":
                model, wanted = str(event.data.get("name") or ""), _wanted(event.data)
            elif event.type == "audio-start":
                recording = _Recording(event.data)
            elif event.type == "audio-chunk":
                recording = recording or _Recording(event.data)
                recording.add(event.payload, self.state.settings.max_body)
            elif event.type == "audio-stop" and recording is not None:
                await self._answer(writer, await self._transcript(recording, model, wanted))
                recording = None

    async def _transcript(self, recording: _Recording, model: str, wanted: Wanted) -> Event:
        try:
            job = Job(self.state.models.find(model), recording.wav(), recording.seconds, wanted)
            text = transcript_of(await self._result(job)).text
            told: dict = {"text": text} if self.state.settings.log_transcripts else {}
            log("wyoming", model=job.model.name, audio_seconds=round(recording.seconds, 3),
                waited=round(job.waited, 4), **told)
        except TimeoutError:
            return _error(Failure(503, "There was no result in time.", "timeout"))
        except (AsrError, Failure) as error:
            return _error(problem_of(error))
        return Event("transcript", {"text": text, "language": self.language})

    async def _result(self, job: Job) -> Result:
        """The result of a job, which keeps its place until no thread works on it.

        Raises:
            TimeoutError: it took too long.
            Busy: there is no place.
        """
        jobs = self.state.jobs
        jobs.places.take()
        try:
            jobs.submit(job)
            async with asyncio.timeout(self.state.settings.timeout):
                return await asyncio.wrap_future(job.future)
        finally:
            jobs.withdraw(job)
            job.future.add_done_callback(lambda _: jobs.places.give_back())

    def _info(self) -> Event:
        version = installed(["keras-asr"])["keras-asr"]
        about = {"attribution": {"name": "keras-asr", "url": _URL}, "installed": True,
                 "version": version}
        models = [about | {"name": name, "description": name, "languages": [self.language]}
                  for name in self.state.models.by_name]
        return Event("info", {"asr": [about | {
            "name": "keras-asr", "description": "keras-asr", "models": models}]})


class _Recording:
    """PCM that comes in pieces.

    Args:
        form: rate, width and channels.
    """

    def __init__(self, form: dict[str, Any]):
        self.rate, self.width, self.channels = (
            _within(form, "rate", RATES), _within(form, "width", WIDTHS),
            _within(form, "channels", CHANNELS))
        self.pieces: list[bytes] = []
        self.size = 0

    def add(self, data: bytes, most: int) -> None:
        """One more piece."""
        self.size += len(data)
        if self.size > most:
            raise _Damaged(f"the audio has more than {most:,} bytes")
        self.pieces.append(data)

    @property
    def seconds(self) -> float:
        """Length."""
        return self.size / (self.rate * self.width * self.channels)

    def wav(self) -> bytes:
        """All of it as a WAV file."""
        file = io.BytesIO()
        with wave.open(file, "wb") as out:
            out.setnchannels(self.channels)
            out.setsampwidth(self.width)
            out.setframerate(self.rate)
            out.writeframes(b"".join(self.pieces))
        return file.getvalue()


async def read_event(reader: asyncio.StreamReader, max_payload: int) -> Event | None:
    """The next event; None at the end of the connection.

    Raises:
        _Damaged, StrictJsonError: bytes that are none, or too many.
    """
    line = await reader.readline()
    if not line:
        return None
    head = parse_json(line)
    if not isinstance(head, dict) or not isinstance(head.get("type"), str):
        raise _Damaged("it has no type")
    data = head.get("data") or {}
    if length := _length(head, "data_length", MAX_DATA):
        more = parse_json(await reader.readexactly(length))
        if not isinstance(more, dict) or not isinstance(data, dict):
            raise _Damaged("its data is no object")
        data = data | more
    payload = await reader.readexactly(_length(head, "payload_length", max_payload))
    return Event(head["type"], data if isinstance(data, dict) else {}, payload)


def encoded(event: Event) -> bytes:
    """The bytes of an event."""
    data = json.dumps(event.data, ensure_ascii=False).encode("utf-8")
    head = json.dumps({"type": event.type, "version": "1.5.0", "data_length": len(data)})
    return head.encode("utf-8") + b"\n" + data


def _length(head: dict[str, Any], name: str, most: int) -> int:
    value = head.get(name) or 0
    if not isinstance(value, int) or not 0 <= value <= most:
        raise _Damaged(f"{name} must be at most {most:,}")
    return value


def _within(form: dict[str, Any], name: str, bounds: tuple[int, int]) -> int:
    value = form.get(name)
    if not isinstance(value, int) or not bounds[0] <= value <= bounds[1]:
        raise _Damaged(f"{name} must be {bounds[0]} to {bounds[1]}")
    return value


def _wanted(data: dict[str, Any]) -> Wanted:
    """Names and terms to expect as hot words."""
    lists = [data.get(key) for key in ("transcript_names", "transcript_terms")]
    found = [word for words in lists if isinstance(words, list)
             for word in words if isinstance(word, str)]
    return Wanted(hot_words=tuple(dict.fromkeys(found)))


def _error(problem: Failure) -> Event:
    return Event("error", {"text": problem.message, "code": problem.code})
