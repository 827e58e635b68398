"""Every limit of the server, with its default.

In: nothing. Out: `ServerSettings`. The standard library only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from asr.errors import UsageError

MIB = 1 << 20


@dataclass(frozen=True)
class ServerSettings:
    """How much the server takes on, and for how long.

    Attributes:
        workers: threads that transcribe uploads; each network pass uses all processors already.
        batch: recordings that wait are transcribed together, at most so many; 1: one at a time.
        batch_seconds: seconds of audio in such a batch, at most; what is longer by itself has a
            thread of its own.
        max_body: bytes of a request.
        max_seconds: seconds of one recording.
        allow_truncated: transcribe what is left of a cut recording; False: it gets 400.
        max_queue: requests that are being received, wait or are worked on; more get 503.
        max_streams: open websockets; more get 503.
        max_connections: open connections of any kind; more get 503.
        max_message: bytes of a websocket message.
        timeout: seconds from the head of a request to its answer.
        head_seconds: for the head of a request, and from a request to the next.
        idle_seconds: between two pieces of a body, and between two messages of a stream.
        max_lag: seconds after which the words of a stream never change, see `asr.live`.
        drain_seconds: for open streams to end when the server ends.
        token: what a client must present; None: nothing.
        origins: web sites whose scripts may use the server, besides its own page.
        log_transcripts: write texts into the log.
    """

    workers: int = 1
    batch: int = 16
    batch_seconds: float = 120.0
    max_body: int = 25 * MIB
    max_seconds: float = 3_600.0
    allow_truncated: bool = False
    max_queue: int = 128
    max_streams: int = 32
    max_connections: int = 512
    max_message: int = MIB
    timeout: float = 120.0
    head_seconds: float = 10.0
    idle_seconds: float = 30.0
    max_lag: float = math.inf
    drain_seconds: float = 5.0
    token: str | None = None
    origins: tuple[str, ...] = ()
    log_transcripts: bool = False

    def __post_init__(self) -> None:
        for name in ("workers", "batch", "max_body", "max_seconds", "max_queue", "max_streams",
                     "max_connections", "max_message", "timeout", "head_seconds", "idle_seconds",
                     "max_lag"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} must be above 0, got {getattr(self, name)!r}.")
