"""The websocket: vosk-server's protocol.

In: a text {"config": {"sample_rate": ...}}, binary pieces of 16-bit little-endian PCM of any size,
{"reset": 1} and {"eof": 1}. Out: one answer to each piece of audio: {"partial": ...} while an
utterance is open, {"result": [{"word", "start", "end", "conf"}], "text": ...} when one has ended,
and to the reset and the eof, after which the server closes. Times are seconds from the start of the
stream. As in vosk-server, which this is compatible with: https://github.com/alphacep/vosk-server

What cannot be understood is answered by {"error": ...} and a close: 1003 for a message in the wrong
place, 1007 for one that is damaged, 1008 for a client that is silent too long, 1009 for one that is
too long, 1012 when the server ends.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from asr.errors import AsrError
from asr.live import Partial, Stream
from asr.parsing import StrictJsonError, parse_json
from asr.serve.logs import log
from asr.serve.problems import Failure, problem_of
from asr.serve.state import ServerState, state_of
from asr.serve.stream_config import DAMAGED, UNSUPPORTED, Config, Refused
from asr.transcript import Transcript, Word

TOO_SLOW, INTERNAL, ENDING = 1008, 1011, 1012


async def stream(websocket: WebSocket) -> None:
    """The endpoint."""
    state = state_of(websocket)
    try:
        state.require_ready()
        state.places.take()
    except Failure as problem:
        state.metrics.errors.labels(problem.code).inc()
        await websocket.send_denial_response(problem.response())
        return
    try:
        state.metrics.streams.inc()
        await websocket.accept()
        session = Session(websocket, state)
        await session.run()
        session.log()
    finally:
        state.metrics.streams.dec()
        state.places.give_back()


class Session:
    """One websocket.

    Args:
        websocket: accepted.
        state: the server's state.

    Attributes:
        config: what the client configured.
        code: with which it was closed.
        seconds: seconds of audio.
        messages: received.
        texts: what was said, if the log is to hold it.
    """

    def __init__(self, websocket: WebSocket, state: ServerState):
        self.config = Config(state.models.default)
        self.code = 1000
        self.seconds = 0.0
        self.messages = 0
        self.texts: list[str] = []
        self._websocket = websocket
        self._state = state
        self._stream: Stream | None = None
        self._rest = b""  # half a sample
        self._start = 0.0  # seconds of the stream before the last reset

    async def run(self) -> None:
        """Work until an end of any kind; closes the websocket."""
        try:
            await self._listen()
            await self._close(1000, "")
        except WebSocketDisconnect as error:
            self.code = error.code
        except Refused as refused:
            await self._say_why(refused.code, str(refused))
        except TimeoutError:
            await self._say_why(TOO_SLOW, f"Nothing happened for {self._idle:g} s.")
        except AsrError as error:
            await self._say_why(UNSUPPORTED, problem_of(error).message)
        except Failure as problem:
            await self._say_why(UNSUPPORTED, problem.message)
        except Exception as error:
            log("stream failed", level=logging.ERROR, error=error)
            await self._say_why(INTERNAL, "Internal error of the server.")

    def log(self) -> None:
        """One line about the whole stream."""
        told: dict = {"text": " ".join(self.texts)} if self._state.settings.log_transcripts else {}
        log("stream", model=self.config.model.name, code=self.code, messages=self.messages,
            audio_seconds=round(self.seconds, 3), **told)

    @property
    def _idle(self) -> float:
        return self._state.settings.idle_seconds

    async def _listen(self) -> None:
        """Answer messages until the eof; on the server's end, as if there were one."""
        while True:
            message = await self._next()
            if message is None:
                await self._send(await self._finish())
                raise Refused(ENDING, "The server is ending.")
            self.messages += 1
            data = message.get("bytes")
            if data is not None:
                await self._send(await self._feed(data))
            elif (said := self._understood(message.get("text") or "")) != "config":
                if self._rest:
                    raise Refused(DAMAGED, "The audio ends with half a sample; expected 16-bit "
                                   "PCM, two bytes a sample.")
                await self._send(await self._finish())
                if said == "eof":
                    return
                self._stream, self._start = None, self.seconds

    async def _next(self) -> Any:
        """The next message; None when the server ends.

        Raises:
            TimeoutError: there was none for too long.
            WebSocketDisconnect: the client is gone.
        """
        message = await self._state.unless_ending(self._websocket.receive())
        if message is not None and message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code") or 1005)
        return message

    def _understood(self, text: str) -> str:
        """What a text is: "config", which is taken over, "reset" or "eof".

        Raises:
            Refused: none of them.
        """
        try:
            message = parse_json(text)
        except StrictJsonError as error:
            raise Refused(DAMAGED, f"A text that is no JSON: {error}.") from None
        if isinstance(message, dict) and "config" in message:
            if self._stream is not None:
                raise Refused(UNSUPPORTED, "A config after audio; send it first.")
            self.config.update(message["config"], self._state.models)
            return "config"
        for said in ("reset", "eof"):
            if isinstance(message, dict) and message.get(said):
                return said
        raise Refused(UNSUPPORTED, 'A text is {"config": {...}}, {"reset": 1} or {"eof": 1}; audio '
                      "is binary.")

    async def _feed(self, data: bytes) -> dict:
        """The answer to a piece of audio."""
        data = self._rest + data
        whole = len(data) // 2 * 2
        self._rest = data[whole:]
        samples = np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32_768
        self.seconds += len(samples) / self.config.sample_rate

        def work() -> dict:
            opened = self._opened()
            finals = opened.feed(samples)
            return self._result(finals) if finals else self._partial(opened.partial())

        answer = await self._work(work)
        label = self.config.model.name, "stream"
        self._state.metrics.audio_seconds.labels(*label).inc(
            len(samples) / self.config.sample_rate)
        return answer

    async def _finish(self) -> dict:
        """The answer to the end."""
        opened = self._stream
        if opened is None:
            return self._result([])
        return await self._work(lambda: self._result(opened.finish()))

    async def _work(self, work) -> dict:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            return await loop.run_in_executor(self._state.threads, work)
        finally:
            self._state.metrics.work_seconds.labels(self.config.model.name, "stream").inc(
                loop.time() - started)

    def _opened(self) -> Stream:
        if self._stream is None:
            recognizer = self.config.model.recognizer_for(self.config.wanted)
            self._stream = recognizer.stream(sample_rate=self.config.sample_rate,
                                             max_lag=self._state.settings.max_lag)
        return self._stream

    def _result(self, finals: Sequence[Transcript]) -> dict:
        """Utterances that have ended as one result, because a message has one answer."""
        text = " ".join(final.text for final in finals if final.text)
        words = [self._word(word) for final in finals for word in final.words]
        if self._state.settings.log_transcripts:
            self.texts.append(text)
        told = {"result": words} if words and self.config.words else {}
        if not self.config.max_alternatives:
            return told | {"text": text}
        sure = min((final.confidence for final in finals), default=0.0)
        readings = [{"text": text, "confidence": round(sure, 4)} | told]
        if len(finals) == 1:
            readings += [{"text": one.text, "confidence": round(one.confidence, 4)}
                         for one in finals[0].alternatives[1:]]
        return {"alternatives": readings[:self.config.max_alternatives]}

    def _partial(self, partial: Partial) -> dict:
        answer: dict = {"partial": partial.text}
        if self.config.words and partial.words:
            answer["partial_result"] = [self._word(word) for word in partial.words]
        if partial.stable_text:  # the beginning of it that will not change; vosk has no such key
            answer["partial_stable"] = partial.stable_text
        return answer

    async def _send(self, table: dict) -> None:
        """Send a text; a client that does not read is too slow.

        Raises:
            TimeoutError: it did not read.
            WebSocketDisconnect: it is gone, or sent what ends a connection.
        """
        try:
            async with asyncio.timeout(self._idle):
                await self._websocket.send_text(json.dumps(table, ensure_ascii=False))
        except RuntimeError:  # closed meanwhile, because of a frame that cannot be
            raise WebSocketDisconnect(1006) from None

    async def _say_why(self, code: int, message: str) -> None:
        self._state.metrics.errors.labels(f"stream.{code}").inc()
        try:
            if code != ENDING:
                await self._send({"error": message})
            await self._close(code, message)
        except (WebSocketDisconnect, RuntimeError, TimeoutError):
            self.code = code  # it does not read, or is gone

    async def _close(self, code: int, reason: str) -> None:
        self.code = code
        if self._websocket.application_state == WebSocketState.CONNECTED:
            reason = reason.encode("utf-8")[:120].decode("utf-8", "ignore")  # 123 in a frame
            async with asyncio.timeout(self._idle):
                await self._websocket.close(code, reason)

    def _word(self, word: Word) -> dict:
        return {"conf": round(word.confidence, 4), "end": round(self._start + word.end, 3),
                "start": round(self._start + word.start, 3), "word": word.text}
