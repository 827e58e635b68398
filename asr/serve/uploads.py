"""Read a multipart body within its limits.

In: a request. Out: `Upload`: the recording as bytes or as a temporary file without a name, and the
other fields. A body over the limit is refused before anything is decoded, whether its length was
declared or not.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.types import Message, Receive

from asr.audio.source import Source
from asr.serve.problems import Failure
from asr.serve.settings import MIB, ServerSettings

MAX_FIELDS, MAX_FIELD = 32, 1 << 16  # fields besides the recording, bytes of each


@dataclass
class Upload:
    """What a client sent.

    Attributes:
        source: the recording.
        fields: name -> values, in their order; "name[]" is "name".
        size: bytes of the recording.
    """

    source: Source
    size: int
    fields: dict[str, list[str]] = field(default_factory=dict)
    _file: UploadFile | None = None

    def close(self) -> None:
        """Remove the temporary file; to be called once nothing reads the recording any more."""
        if self._file is not None:
            self._file.file.close()


async def read_upload(request: Request, settings: ServerSettings) -> Upload:
    """The recording and the fields of a request.

    Raises:
        Failure: 413, more bytes than allowed; 408, the client is too slow; 400, no multipart body,
            a damaged one, or one without a recording.
        ClientDisconnect: the client is gone.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Failure(400, f"The content type is {kind[:60]!r}; expected multipart/form-data with "
                      "the recording in the field file.", "content_type")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > settings.max_body:
        raise _too_large(settings)
    form = await _form(Request(request.scope, _bounded(request.receive, settings)))
    files = [value for value in form.values() if isinstance(value, UploadFile)]
    fields: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            fields.setdefault(name.removesuffix("[]"), []).append(value)
    if not files or not isinstance(form.get("file"), UploadFile):
        await form.close()
        raise Failure(400, "There is no recording: send it as the field file, with a file name.",
                      "missing_file", param="file")
    return await _upload(files[0], fields)


class _Parser(MultiPartParser):
    """Starlette's parser, which takes a body that ends too early for a whole one."""

    ended = False

    def on_end(self) -> None:
        """The last boundary has come."""
        self.ended = True

    async def parse(self) -> FormData:
        """The whole body.

        Raises:
            MultiPartException: it is damaged, or not whole.
        """
        form = await super().parse()
        if not self.ended:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("It ends before its last boundary.")
        return form


async def _form(request: Request) -> FormData:
    """The parts of a body.

    Raises:
        Failure: it is damaged.
    """
    try:
        async with aclosing(request.stream()) as stream:
            return await _Parser(request.headers, stream, max_files=1, max_fields=MAX_FIELDS,
                                 max_part_size=MAX_FIELD).parse()
    except MultiPartException as error:
        raise Failure(400, f"The body cannot be read: {error.message}", "multipart") from error
    except (ValueError, KeyError) as error:
        raise Failure(400, "The body is no multipart/form-data.", "multipart") from error


async def _upload(file: UploadFile, fields: dict[str, list[str]]) -> Upload:
    size = file.size or 0
    if size > MultiPartParser.spool_max_size:
        return Upload(file.file, size, fields, file)
    data = await file.read()
    file.file.close()
    return Upload(data, size, fields)


def _bounded(receive: Receive, settings: ServerSettings) -> Receive:
    """The same, with a limit of bytes and of seconds from one piece to the next."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        try:
            async with asyncio.timeout(settings.idle_seconds):
                message = await receive()
        except TimeoutError:
            raise Failure(408, f"Nothing came for {settings.idle_seconds:g} s. Send the body "
                          "without a pause.", "slow") from None
        received += len(message.get("body", b""))
        if received > settings.max_body:
            raise _too_large(settings)
        return message

    return bounded


def _too_large(settings: ServerSettings) -> Failure:
    return Failure(413, f"The body has more than {settings.max_body / MIB:g} MiB. Send a "
                   "compressed recording, such as FLAC or Opus, or a part of it.", "body_too_large",
                   param="file")
