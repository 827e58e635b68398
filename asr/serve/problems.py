"""Errors as clients of OpenAI's interface read them.

In: what went wrong. Out: a status and {"error": {"message", "type", "param", "code"}}.
"""

from __future__ import annotations

import errno

from starlette.responses import JSONResponse

from asr.errors import AsrError, AudioError, DataError, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)  # for a while
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "invalid_request_error"}


class Failure(Exception):
    """Why a request has no result.

    Args:
        status: of HTTP.
        message: a sentence: what was received, what was expected, what to do.
        code: a name for programs.
        param: the field of the request that is at fault.
        retry_after: seconds after which the same request may succeed.
        headers: further headers of the response.
    """

    def __init__(self, status: int, message: str, code: str, *, param: str | None = None,
                 retry_after: int | None = None, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)

    def body(self) -> dict:
        """The JSON object."""
        kind = _TYPES.get(self.status, "server_error" if self.status >= 500
                          else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param,
                          "code": self.code}}

    def response(self) -> JSONResponse:
        """The response."""
        return JSONResponse(self.body(), status_code=self.status, headers=self.headers)


class Busy(Failure):
    """More than the server takes on at a time.

    Args:
        what: what there is too much of.
        retry_after: seconds.
    """

    def __init__(self, what: str, retry_after: int = 1):
        super().__init__(503, f"{what}. Send it again in {retry_after} s.", "busy",
                         retry_after=retry_after)


def problem_of(error: BaseException) -> Failure:
    """The problem that an error of the recogniser is; what is a fault of ours is not described."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, AudioError):
        return Failure(400, error.message, error.code, param="file")
    if isinstance(error, UsageError | DataError):
        return Failure(400, error.message, error.code)
    if isinstance(error, AsrError) and error.code == "memory":
        return Busy("The server has no memory left for this", retry_after=10)
    if isinstance(error, OSError) and error.errno in _FULL:
        return Busy("The server has no room left for this", retry_after=10)
    return Failure(500, "Internal error of the server. Its log has the reason, under the id that "
                   "the header X-Request-Id gives.", "internal")
