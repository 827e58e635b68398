"""The log: one JSON object a line.

In: an event and its fields. Out: a record of the logger "asr.serve". No field holds what was said,
unless the settings say so, and none the name of a client's file.
"""

from __future__ import annotations

import json
import logging
import sys
import time

from asr.errors import shorten

LOGGER = logging.getLogger("asr.serve")


def log(event: str, *, level: int = logging.INFO, error: BaseException | None = None,
        **fields: object) -> None:
    """Write one line.

    Args:
        event: what happened.
        level: of `logging`.
        error: whose traceback is added.
        fields: plain values.
    """
    LOGGER.log(level, event, extra={"fields": fields}, exc_info=error)


class JsonLines(logging.Formatter):
    """Records as JSON objects: time, level, event, the fields, the traceback of an error."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        moment = time.gmtime(record.created)
        row: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(), "event": shorten(record.getMessage())}
        row.update(getattr(record, "fields", {}))
        if record.exc_info:
            row["traceback"] = shorten(self.formatException(record.exc_info), 16_000)
        return json.dumps(row, ensure_ascii=False, default=str)


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:  # a full disk or a closed pipe must not end a request
            self.handleError(record)


def log_to_stderr() -> None:
    """Send our log, and the warnings of uvicorn, to stderr."""
    handler = _Stderr()
    handler.setFormatter(JsonLines())
    for name, level in (("asr.serve", logging.INFO), ("uvicorn", logging.WARNING),
                        ("python_multipart", logging.ERROR)):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
