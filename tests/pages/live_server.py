"""A small server for tests of the live page: the endpoints it uses, on loopback, and no more.

It answers with the shipped model, or with what a test put into `answers`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import threading
import time

import numpy as np

from asr.pages.live import live_page

RATE = 16_000
HOSTILE = "<img src=x onerror=window.hacked=1>"


def strict_policy(page: str) -> str:
    """A header like that of `asr serve`: the page's own script and style, by hash."""
    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", page, re.DOTALL)
        assert len(found) == 1
        return "'sha256-" + base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode() \
            + "'"

    return (f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; "
            "connect-src 'self'; media-src blob:; img-src data: blob:; worker-src blob:; "
            "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


def words_of(transcript, sure: str) -> list[dict]:
    return [{"word": w.text, "start": w.start, "end": w.end, sure: w.confidence}
            for w in transcript.words]


class LiveServer:
    """The application.

    Attributes:
        configs: what the websocket was configured with, in order.
        forms: fields of the uploads, without the file.
        answers: by the name of an uploaded file: (status, JSON) instead of a transcript.
        audio, said: what the last stream sent, and the answer.
        refuse: text of an error with which the next stream ends after its first audio.
    """

    def __init__(self, recognizer):
        self.recognizer = recognizer
        self.configs, self.forms, self.answers, self.refuse = [], [], {}, ""
        self.audio, self.said = np.zeros(0, np.float32), None

    def app(self):
        from starlette.applications import Starlette
        from starlette.responses import HTMLResponse, JSONResponse, Response
        from starlette.routing import Route, WebSocketRoute

        page = live_page()

        async def index(request):
            return HTMLResponse(page, headers={"Content-Security-Policy": strict_policy(page)})

        async def models(request):
            return JSONResponse({"object": "list", "data": [{"id": "digits"}, {"id": HOSTILE}]})

        async def settings(request):
            decoder = {"kind": "lexicon", "beam_width": 16, "note": HOSTILE}
            return JSONResponse({"default": "digits", "models": [
                {"id": "digits", "sample_rate": 8000, "decoder": decoder,
                 "alphabet": list("efghin")}, {"id": HOSTILE, "decoder": {"kind": "greedy"}}]})

        async def transcribe(request):
            async with request.form() as form:
                file = form["file"]
                self.forms.append({key: value for key, value in form.items() if key != "file"})
                if file.filename in self.answers:
                    status, body = self.answers[file.filename]
                    return JSONResponse(body, status_code=status)
                sound = io.BytesIO(await file.read())
            found = self.recognizer.transcribe(sound)
            return JSONResponse({"text": found.text, "duration": found.duration,
                                 "words": words_of(found, "confidence")})

        return Starlette(routes=[
            Route("/", index), Route("/v1/models", models), Route("/v1/settings", settings),
            Route("/favicon.ico", lambda request: Response(status_code=204)),
            Route("/v1/audio/transcriptions", transcribe, methods=["POST"]),
            WebSocketRoute("/v1/stream", self.stream)])

    async def stream(self, socket):
        from asr.audio import resample

        await socket.accept()
        self.configs.append(json.loads(await socket.receive_text())["config"])
        pieces, told, text = [], 0, ""

        def transcript():
            self.audio = np.concatenate([np.zeros(0, np.float32), *pieces])
            return self.recognizer.transcribe(resample(self.audio, RATE,
                                                       self.recognizer.sample_rate))

        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is None:
                assert json.loads(message["text"]) == {"eof": 1}
                found = self.said = transcript()
                await socket.send_json({"result": words_of(found, "conf"), "text": found.text})
                await socket.close(1000)
                return
            if self.refuse:
                await socket.send_json({"error": self.refuse})
                await socket.close(1008, self.refuse)
                self.refuse = ""
                return
            pieces.append(np.frombuffer(message["bytes"], "<i2").astype(np.float32) / 32_768)
            length = sum(map(len, pieces))
            if length - told >= RATE // 2:
                told, text = length, transcript().text
            await socket.send_json({"partial": text, "partial_stable": text.split(" ")[0]})


@contextlib.contextmanager
def served(app):
    """Serve an application on a free port of loopback; gives its address."""
    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.should_exit = True
        thread.join()
