"""Open a recording: a path, bytes, an open file or a pipe.

In: a path, an address, bytes, an open file or a pipe. Out: a seekable binary file and its name.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from asr.audio import av_decoder, other_containers
from asr.audio.remote import read_address
from asr.audio.spliced import size_of
from asr.audio.tar import open_member, split_path
from asr.errors import AudioError, UsageError
from asr.manifest.address import is_address

AUDIO_SUFFIXES = (".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3",
                  *other_containers.SUFFIXES)  # read by default
# Recordings and films that are never read, besides those that need PyAV where it is missing.
OTHER_MEDIA = frozenset((".aa", ".aax", ".ac3", ".alac", ".ape", ".avi", ".awb", ".dsf", ".dss",
                         ".ds2", ".dts", ".dvf", ".flv", ".m4v", ".mid", ".mp2", ".mpc", ".mpeg",
                         ".mpg", ".msv", ".mts", ".ogm", ".ogv", ".qcp", ".ra", ".ram", ".spx",
                         ".ts", ".tta", ".vob", ".voc", ".wmv", ".wv"))

MAX_STREAM_BYTES = 1 << 30  # of a pipe, which has to be held in memory

_IN_MEMORY_BYTES = 1 << 24  # smaller files are read whole: quicker, and they cannot change

Source = str | os.PathLike | bytes | BinaryIO


def is_recording(name: str) -> bool:
    """Whether a file's name is that of a recording which can be read, with PyAV or without."""
    return os.path.splitext(name)[1].lower() in (*AUDIO_SUFFIXES, *av_decoder.SUFFIXES)


def display_name(path: str | os.PathLike) -> str:
    """A path as text that can be printed anywhere: bytes that are no UTF-8 are escaped."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def reading(name: str) -> Iterator[None]:
    """An error of the disk or the network while a recording is read is that recording's.

    Raises:
        AudioError: audio.unreadable, for any OSError inside.
    """
    try:
        yield
    except OSError as error:
        raise AudioError(f"{name} cannot be read: {error.strerror or error}. Look whether its disk "
                         "or network drive is there, and copy it again if not.",
                         code="audio.unreadable", path=name) from error


@contextmanager
def open_source(source: Source) -> Iterator[tuple[BinaryIO, str]]:
    """A seekable file object that we opened, and what messages call it."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        yield io.BytesIO(source), "the recording"
    elif is_address(source):
        yield io.BytesIO(read_address(str(source))), str(source).partition("?")[0]
    elif isinstance(source, (str, os.PathLike)):
        name = display_name(source)
        with open_regular(source) as file:
            with reading(name):
                bytes_or_file = _buffered(file)
            yield bytes_or_file, name
    elif not (hasattr(source, "read") and hasattr(source, "seekable")):
        raise UsageError(f"A {type(source).__name__} is no recording; give a path, the bytes of a "
                         "file, an open binary file, or samples as a NumPy array where arrays are "
                         "taken.")
    else:
        name = getattr(source, "name", "")
        name = display_name(name) if isinstance(name, (str, os.PathLike)) and name else "the stream"
        with reading(name):
            seekable = source.seekable()
            data = b"" if seekable else source.read(MAX_STREAM_BYTES + 1)
            if seekable:
                source.seek(0)
        if seekable:
            yield source, name
        else:
            if len(data) > MAX_STREAM_BYTES:
                raise AudioError(f"{name} sent more than {MAX_STREAM_BYTES:_} bytes. Write it to "
                                 "a file and give its name.", code="audio.too_long", path=name)
            yield io.BytesIO(data), name


def open_regular(path: str | os.PathLike) -> BinaryIO:
    """Open a regular file, or a recording in a tar file (`asr.audio.tar`).

    Nothing else is opened: a FIFO would block, a folder has no samples.

    Raises:
        AudioError: audio.missing, audio.unreadable.
    """
    inside = split_path(path)
    if inside is None:
        return _open_file(path)
    tar, member = inside
    file = _open_file(tar)
    try:
        with reading(display_name(tar)):
            return open_member(file, display_name(tar), member)
    except BaseException:
        file.close()
        raise


def _open_file(path: str | os.PathLike) -> BinaryIO:
    name = display_name(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
    except FileNotFoundError as error:
        what = "is a link to a file that is gone" if os.path.islink(path) else "does not exist"
        raise AudioError(f"{name} {what}. Check the path.", code="audio.missing",
                         path=name) from error
    except NotADirectoryError as error:
        raise AudioError(f"{name} leads through a file that is no folder; recordings are read from "
                         "tar files whose names end in .tar and that are not compressed. Check the "
                         "path, or unpack the file.", code="audio.missing", path=name) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise AudioError(f"{name} cannot be opened: {reason}. Check its permissions.",
                         code="audio.unreadable", path=name) from error
    try:
        with reading(name):
            mode = os.fstat(descriptor).st_mode
    except AudioError:
        os.close(descriptor)
        raise
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        kind = ("a folder" if stat.S_ISDIR(mode) else "a pipe" if stat.S_ISFIFO(mode) else
                "no regular file")
        raise AudioError(f"{name} is {kind}; expected a recording, such as a WAV or FLAC file.",
                         code="audio.unreadable", path=name)
    return os.fdopen(descriptor, "rb")


def _buffered(file: BinaryIO) -> BinaryIO:
    """Small files as bytes: libsndfile's many small reads cost less, and nothing can change."""
    if size_of(file) > _IN_MEMORY_BYTES:
        return file
    return io.BytesIO(file.read(_IN_MEMORY_BYTES + 1))
