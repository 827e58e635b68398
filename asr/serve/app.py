"""The application: routes behind the gate.

In: models and settings. Out: a Starlette application.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

from asr.serve import information
from asr.serve.gate import Gate
from asr.serve.models import Models
from asr.serve.problems import Failure
from asr.serve.settings import ServerSettings
from asr.serve.state import ServerState
from asr.serve.streams import stream
from asr.serve.transcriptions import transcribe


def create_app(models: Models, settings: ServerSettings | None = None) -> Starlette:
    """The application, with its state as `app.state.server`.

    Args:
        models: what it serves.
        settings: its limits.
    """
    state = ServerState(models, settings or ServerSettings())

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        state.start()
        try:
            yield
        finally:
            await asyncio.to_thread(state.close)

    middleware = []
    if state.settings.origins:
        middleware.append(Middleware(
            CORSMiddleware, allow_origins=list(state.settings.origins),
            allow_methods=["GET", "POST"], allow_headers=["Authorization", "Content-Type"],
            expose_headers=["X-Request-Id", "Retry-After"]))
    app = Starlette(routes=[
        Route("/", information.page), WebSocketRoute("/", stream),
        Route("/v1/audio/transcriptions", transcribe, methods=["POST"]),
        Route("/v1/models", information.models),
        Route("/v1/models/{name:path}", information.model),
        Route("/v1/settings", information.settings), WebSocketRoute("/v1/stream", stream),
        Route("/healthz", information.health), Route("/readyz", information.ready),
        Route("/metrics", information.metrics)],
        middleware=[*middleware, Middleware(Gate, state=state)], lifespan=lifespan,
        exception_handlers={HTTPException: _as_problem})
    app.state.server = state
    return app


def _as_problem(request: Request, error: Exception) -> Response:
    """What Starlette refuses by itself, such as a wrong method, in our form."""
    if isinstance(error, HTTPException) and error.status_code == 404:
        raise Failure(404, "There is no such address; docs/serving.md lists those there are.",
                      "not_found")
    if isinstance(error, HTTPException):
        headers = dict(error.headers or {})
        raise Failure(error.status_code, f"{request.method[:20]} is not for this address; it takes "
                      f"{headers['Allow']}." if "Allow" in headers else f"{error.detail}.", "http",
                      headers=headers)
    raise error
