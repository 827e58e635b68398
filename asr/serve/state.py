"""What the endpoints of one application share: models, queue, streams, whether it is ready.

In: models and settings. Out: `ServerState`, with its start and its end.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from starlette.requests import HTTPConnection

from asr.kernels.processors import usable
from asr.serve.jobs import Dispatcher, Places
from asr.serve.logs import log
from asr.serve.metrics import Metrics
from asr.serve.models import Models
from asr.serve.problems import Failure
from asr.serve.settings import ServerSettings

T = TypeVar("T")


class ServerState:
    """State of one server.

    Args:
        models: what it serves.
        settings: its limits.

    Attributes:
        metrics: what is counted.
        jobs: the queue of uploads.
        places: open websockets.
        threads: threads of the websockets' recognition.
        checks: model -> "waiting", "verified", "no reference", or why it is not ready.
        draining: set once the server ends; streams say what they have then.
    """

    def __init__(self, models: Models, settings: ServerSettings):
        self.models = models
        self.settings = settings
        self.metrics = Metrics()
        self.jobs = Dispatcher(settings, self.metrics)
        self.places = Places(settings.max_streams,
                             f"{settings.max_streams} streams are open, which is the limit")
        self.threads = ThreadPoolExecutor(max(2, usable()), thread_name_prefix="asr-stream")
        self.checks = dict.fromkeys(models.by_name, "waiting")
        self.failed = False
        self.draining = asyncio.Event()
        self._checker = threading.Thread(target=self._check, name="asr-check", daemon=True)

    @property
    def ready(self) -> bool:
        """Whether every model has passed its check and the server does not end."""
        return not self.failed and "waiting" not in self.checks.values() \
            and not self.draining.is_set()

    def require_ready(self) -> None:
        """Let a request in, even before the checks are done: it waits in the queue.

        Raises:
            Failure: a check failed, or the server ends.
        """
        if self.failed:
            raise Failure(503, "The server cannot be used: a model failed its check; see /readyz.",
                          "not_ready", retry_after=60)
        if self.draining.is_set():
            raise Failure(503, "The server is ending. Send it again.", "ending", retry_after=5)

    async def unless_ending(self, coming: Coroutine[Any, Any, T]) -> T | None:
        """What comes from a client; None when the server ends first.

        Raises:
            TimeoutError: nothing for `idle_seconds`.
        """
        one = asyncio.ensure_future(coming)
        ending = asyncio.ensure_future(self.draining.wait())
        try:
            await asyncio.wait((one, ending), timeout=self.settings.idle_seconds,
                               return_when=asyncio.FIRST_COMPLETED)
            if one.done():
                return one.result()
            if ending.done():
                return None
            raise TimeoutError
        finally:
            one.cancel()
            ending.cancel()

    def start(self) -> None:
        """Check the models in the background, then work on what has come."""
        self._checker.start()

    async def wait_until_checked(self) -> None:
        """Return once all checks have ended, well or not."""
        await asyncio.to_thread(self._checker.join)

    def close(self) -> None:
        """Finish what was accepted and end all threads."""
        self._checker.join()
        self.jobs.close()
        self.threads.shutdown(wait=True)

    def _check(self) -> None:
        for name, model in self.models.by_name.items():
            try:
                self.checks[name] = model.check()
            except Exception as error:
                self.checks[name] = str(error)
                self.failed = True
                log("model failed", level=logging.ERROR, error=error, model=name)
        self.metrics.ready.set(not self.failed)
        if not self.failed:
            log("ready", models=self.checks)
            self.jobs.start()


def state_of(connection: HTTPConnection) -> ServerState:
    """The state of the server that a request came to."""
    return connection.app.state.server
