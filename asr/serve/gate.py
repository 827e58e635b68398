"""What every request passes: id, token, origin, headers, counters, the log, errors as JSON.

In: an ASGI application. Out: the same behind the gate.
"""

from __future__ import annotations

import base64
import hmac
import logging
import secrets
import time
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from asr.serve.logs import log
from asr.serve.problems import Failure, problem_of
from asr.serve.state import ServerState

OPEN_ROUTES = ("/healthz", "/readyz")
ROUTES = ("/", "/v1/audio/transcriptions", "/v1/models", "/v1/settings", "/v1/stream", "/metrics",
          *OPEN_ROUTES)
GONE = 499  # in log and metrics: the client went before the answer
_SAFE = (("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer"),
         ("X-Frame-Options", "DENY"), ("Cache-Control", "no-store"))


class Gate:
    """The gate.

    Args:
        app: what lies behind it.
        state: the server's state.
    """

    def __init__(self, app: ASGIApp, state: ServerState):
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or one websocket."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        told = scope.setdefault("state", {}).setdefault("told", {})
        identity = secrets.token_hex(8)
        started, status = time.monotonic(), GONE
        begun = False

        async def watched(message: Message) -> None:
            nonlocal status, begun
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status, begun = message["status"], True
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = identity
                for name, value in _SAFE:
                    headers.setdefault(name, value)
            elif message["type"] == "websocket.accept":
                status, begun = 101, True
            await send(message)

        try:
            await self._pass(scope, receive, watched)
        except ClientDisconnect:
            pass
        except Exception as error:
            problem = self._explained(error, identity)
            if not begun:
                await _refuse(problem, scope, receive, watched)
        finally:
            self._count(scope, status, time.monotonic() - started, identity, told)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._check_token(scope)
        if scope["type"] == "websocket" or scope["method"] == "POST":
            self._check_origin(scope)
        await self.app(scope, receive, send)

    def _explained(self, error: Exception, identity: str) -> Failure:
        """The problem, counted; what is a fault of ours is in the log, under the id."""
        problem = problem_of(error)
        self.state.metrics.errors.labels(problem.code).inc()
        if problem.status == 500:
            log("internal error", level=logging.ERROR, error=error, id=identity)
        return problem

    def _count(self, scope: Scope, status: int, seconds: float, identity: str,
               told: dict) -> None:
        path = scope["path"]
        route = path if path in ROUTES else \
            "/v1/models/NAME" if path.startswith("/v1/models/") else "other"
        self.state.metrics.requests.labels(route, str(status)).inc()
        if scope["type"] == "http":
            self.state.metrics.request_seconds.labels(route).observe(seconds)
        log("request", id=identity, method=scope.get("method", "WEBSOCKET"), route=route,
            status=status, seconds=round(seconds, 4), **told)

    def _check_token(self, scope: Scope) -> None:
        """The token as bearer or, for browsers, as the password of Basic.

        Raises:
            Failure: 401.
        """
        expected = self.state.settings.token
        if expected is None or scope["path"] in OPEN_ROUTES:
            return
        given = _token(Headers(scope=scope).get("authorization", ""))
        if not hmac.compare_digest(given.encode("utf-8"), expected.encode("utf-8")):
            raise Failure(401, "The token is missing or wrong. Send it as Authorization: Bearer "
                          "TOKEN.", "invalid_api_key",
                          headers={"WWW-Authenticate": 'Bearer, Basic realm="keras-asr"'})

    def _check_origin(self, scope: Scope) -> None:
        """A script of another web site may not use a visitor's server.

        Browsers let it open websockets and send forms anywhere, and leave the rest to us.

        Raises:
            Failure: 403.
        """
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is None or origin in self.state.settings.origins \
                or "*" in self.state.settings.origins:
            return
        if not _is_at(origin, headers.get("host", "")):
            raise Failure(403, "Scripts of this web site may not use the server. Allow them with "
                          "--cors ORIGIN.", "origin")


def _is_at(origin: str, host: str) -> bool:
    """Whether a page came from this host; "null" is no host."""
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:  # such as http://[
        return False


def _token(authorization: str) -> str:
    kind, _, value = authorization.partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[2]
        except ValueError:  # no base64, no ASCII, no UTF-8
            return ""
    return ""


async def _refuse(problem: Failure, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the problem; a websocket's handshake gets it as an HTTP response."""
    prefix = "websocket." if scope["type"] == "websocket" else ""

    async def prefixed(message: Message) -> None:
        await send({**message, "type": prefix + message["type"]})

    await problem.response()({**scope, "type": "http"}, receive, prefixed)
