"""Deadlines of connections, and an end that finishes what was accepted.

In: an application. Out: `Server`, a uvicorn server. uvicorn itself closes neither a slow head nor a
client that does not read its answer, and ends websockets at once when a signal comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import h11
import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from asr.serve.settings import ServerSettings
from asr.serve.state import ServerState
from asr.serve.wyoming import Wyoming

_FULL = (b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 5\r\n"
         b"Content-Length: 22\r\nConnection: close\r\n\r\nToo many connections.\n")
_NO_HANDSHAKE = (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 23\r\nConnection: close\r\n\r\n"
                 b"No websocket handshake.")
ANSWER_SECONDS = 10.0  # to read an answer, once it is there
MAX_HEAD = 1 << 16  # bytes


def protocol_with(settings: ServerSettings) -> type[H11Protocol]:
    """Uvicorn's protocol with our deadlines."""
    class BoundedProtocol(H11Protocol):
        """A connection that is cut when a stage of it takes too long."""

        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport) -> None:
            super().connection_made(transport)
            if len(self.connections) > settings.max_connections:
                transport.write(_FULL)
                transport.close()
                return
            self._within(settings.head_seconds)

        def data_received(self, data: bytes) -> None:
            cycle = self.cycle
            super().data_received(data)
            self._if_new(cycle)

        def on_response_complete(self) -> None:
            # The rest of a refused body, and the head of the next request.
            self._within(settings.head_seconds)
            cycle = self.cycle
            super().on_response_complete()
            self._if_new(cycle)  # which had come already

        def handle_websocket_upgrade(self, event) -> None:
            self._stop()
            super().handle_websocket_upgrade(event)

        def send_400_response(self, msg: str) -> None:
            with suppress(h11.LocalProtocolError):  # it has an answer already
                super().send_400_response(msg)
            self.transport.close()
            if self.cycle is not None:
                self.cycle.disconnected = True  # its endpoint cannot answer any more

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop()
            super().connection_lost(exc)

        def _if_new(self, before) -> None:
            if self.cycle is not before and not self.transport.is_closing():
                self._within(settings.timeout + ANSWER_SECONDS)

        def _within(self, seconds: float) -> None:
            self._stop()
            self._deadline = self.loop.call_later(seconds, self.transport.abort)

        def _stop(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return BoundedProtocol


def websocket_with(settings: ServerSettings) -> type[WebSocketsSansIOProtocol]:
    """Uvicorn's websocket with limits to what its client can leave open or unread."""
    class BoundedWebSocket(WebSocketsSansIOProtocol):
        """A connection that does not outlive its endpoint for long."""

        _deadline: asyncio.TimerHandle | None = None
        _lost = False

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if not self.handshake_initiated:  # a head that cannot be read, and that has no answer
                self.transport.write(b"".join(self.conn.data_to_send()) or _NO_HANDSHAKE)
                self.transport.close()

        def handle_ping(self) -> None:
            super().handle_ping()
            if self.transport.get_write_buffer_size() > settings.max_message:  # unread pongs
                self.transport.abort()

        async def send(self, message) -> None:
            await super().send(message)
            if message["type"] == "websocket.http.response.body":
                self.handshake_complete = True  # refused; uvicorn logs an error otherwise

        async def run_asgi(self) -> None:
            await super().run_asgi()
            if not self._lost:
                self._deadline = self.loop.call_later(settings.head_seconds, self.transport.abort)

        def connection_lost(self, exc: Exception | None) -> None:
            self._lost = True
            if self._deadline is not None:
                self._deadline.cancel()
            super().connection_lost(exc)

    return BoundedWebSocket


class Server(uvicorn.Server):
    """A server whose first signal ends it gracefully and whose second ends it at once.

    Args:
        app: from `asr.serve.app.create_app`.
        host, port: where it listens; port 0: a free one.
        on_start: called with the port once it listens.
        wyoming: where Home Assistant is answered: port and language; None: nowhere.

    Attributes:
        wyoming: its adapter, or None.
    """

    def __init__(self, app: Starlette, host: str = "127.0.0.1", port: int = 8_000,
                 on_start: Callable[[int], None] = lambda port: None,
                 wyoming: tuple[int, str] | None = None):
        self.state: ServerState = app.state.server
        settings = self.state.settings
        super().__init__(uvicorn.Config(
            app, host=host, port=port, log_config=None, access_log=False, server_header=False,
            proxy_headers=False, lifespan="on", http=protocol_with(settings), loop="asyncio",
            ws=websocket_with(settings), ws_max_size=settings.max_message,
            ws_per_message_deflate=False,
            ws_ping_timeout=None,  # a pong waits behind audio that is not read yet
            h11_max_incomplete_event_size=MAX_HEAD,
            timeout_graceful_shutdown=round(settings.timeout + ANSWER_SECONDS)))
        self.wyoming = None if wyoming is None else Wyoming(self.state, wyoming[1])
        self._wyoming_port = 0 if wyoming is None else wyoming[0]
        self._on_start = on_start
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task | None = None

    async def startup(self, sockets=None) -> None:
        """Listen; then tell where."""
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            if self.wyoming is not None:
                await self.wyoming.start(self.config.host, self._wyoming_port)
            self._on_start(self.servers[0].sockets[0].getsockname()[1])

    async def shutdown(self, sockets=None) -> None:
        """Close everything that listens, and wait for what is in progress."""
        if self.wyoming is not None:
            await self.wyoming.close()
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the first lets streams end and requests finish, another one does not wait."""
        if self.state.draining.is_set() or self._loop is None:
            self.force_exit = self.should_exit = True
            return
        self._loop.call_soon_threadsafe(self.drain)

    def drain(self) -> None:
        """Take nothing more, let streams say what they have, then end."""
        if not self.state.draining.is_set():
            self.state.draining.set()
            self.state.metrics.ready.set(0)
            self._draining = asyncio.ensure_future(self._drained())

    async def _drained(self) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self.state.settings.drain_seconds
        while self.state.places.taken and loop.time() < until:
            await asyncio.sleep(0.02)
        self.should_exit = True
