"""Parse one line of a manifest: strict JSON, checked types, a path inside the allowed root.

In: bytes from a file that may not be trusted. Out: a checked dictionary, or faults as
(code, message). Part of `asr.manifest`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from asr.errors import ManifestError
from asr.manifest.address import Address, is_address
from asr.manifest.roots import recorded_roots
from asr.parsing import StrictJsonError, parse_json, show

MAX_LINE_BYTES = 1 << 20       # exclusive; a longer line is not a manifest row
MAX_CHANNELS = 8
MAX_SECONDS = 1_000_000.0      # eleven days: a larger duration is a mistake of units

REQUIRED = ("id", "audio_filepath", "text", "duration")
KEYS = (*REQUIRED, "speaker", "offset", "channel")
Fault = tuple[str, str]        # (code, message)

_KNOWN = frozenset(KEYS)
_STRINGS = ("id", "audio_filepath", "text", "speaker")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")   # two letters or more: C: is a Windows drive
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")      # C0, DEL, C1
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_lines(file: BinaryIO, notes: list[tuple[int, Fault]]
               ) -> Iterator[tuple[bytes | None, list[Fault]]]:
    """Each line without its end, None for one that is too long; memory stays bounded.

    Args:
        file: open.
        notes: gets (line, fault) for a byte order mark and for lines that end with CR LF, as
            editors on Windows write them: both are read, and each is noted once.
    """
    carriage_return, number = False, 0
    while raw := file.readline(MAX_LINE_BYTES):
        number += 1
        if len(raw) == MAX_LINE_BYTES and not raw.endswith(b"\n"):
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(MAX_LINE_BYTES)
            yield None, [("manifest.line", f"the line has {MAX_LINE_BYTES:,} bytes or more; a "
                          "manifest has one short JSON object a line.")]
            continue
        if number == 1 and raw.startswith(b"\xef\xbb\xbf"):
            raw = raw[3:]
            notes.append((1, ("manifest.bom", "the file starts with a byte order mark, which is "
                                              "skipped.")))
        if raw.endswith(b"\r\n") and not carriage_return:
            carriage_return = True
            notes.append((number, ("manifest.crlf", "lines end with CR LF; each is read as if it "
                                                    "ends with LF.")))
        yield raw.rstrip(b"\r\n"), []


def parse_line(raw: bytes) -> tuple[dict, list[Fault]]:
    """One line as a dictionary, and everything that is wrong with it."""
    if not raw.strip():
        return {}, [("manifest.line", "the line is empty; remove it.")]
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return {}, [("manifest.encoding", f"byte {raw[error.start]:#04x} at position "
                     f"{error.start + 1} is not UTF-8; is this a text file?")]
    row = parse_object(text)
    return ({}, [("manifest.json", row)]) if isinstance(row, str) else (row, row_faults(row))


def parse_object(text: str) -> dict | str:
    """A JSON object without NaN and without repeated keys, or a sentence that says why not."""
    try:
        row = parse_json(text, surrogates=True)
    except StrictJsonError as error:
        return f"this is not JSON: {error}."
    return row if isinstance(row, dict) else f"a row is a JSON object, got {show(row)}."


def row_faults(row: dict) -> list[Fault]:
    """Everything that is wrong with keys, types and values of one row."""
    hint = " `asr prepare nemo` imports manifests of other programs." if "id" not in row else ""
    faults = [("manifest.missing_key", f"the key {key!r} is missing.{hint}")
              for key in REQUIRED if key not in row]
    if not row.keys() <= _KNOWN:
        faults += [("manifest.unknown_key", f"unknown key {show(key)}; known are "
                    f"{', '.join(KEYS)}. `asr prepare nemo` imports manifests of other programs.")
                   for key in row if key not in _KNOWN]
    for key in _STRINGS:
        if key in row and (reason := _string_fault(key, row[key])):
            faults.append(("manifest.type", f"{key} {reason}."))
    for key, low in (("duration", "above 0"), ("offset", "0 or more")):
        if key in row and not _is_seconds(row[key], zero=key == "offset"):
            faults.append(("manifest.type", f"{key} must be a number of seconds, {low} and at "
                           f"most {MAX_SECONDS:,.0f}, got {show(row[key])}."))
    channel = row.get("channel", 0)
    if type(channel) is not int or not 0 <= channel <= MAX_CHANNELS:
        faults.append(("manifest.type", "channel must be 1 for the first channel, 2 for the second "
                       f"and so on, or 0 for the mix of all, got {show(channel)}."))
    return faults


def _string_fault(key: str, value: object) -> str:
    if type(value) is not str:
        return f"must be a string, got {show(value)}"
    if not value and key in ("id", "audio_filepath"):
        return "is empty"
    if key == "audio_filepath":   # may hold a newline, and bytes that are not UTF-8
        return _path_fault(value)
    if _SURROGATE.search(value):
        return f"holds half of a surrogate pair: {show(value)}"
    if key != "text" and _CONTROL.search(value):
        return f"holds a control character: {show(value)}"
    return ""


def _path_fault(value: str) -> str:
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return f"is no file name: {show(value)}"
    return "holds a NUL character" if "\0" in value else ""


def _is_seconds(value: object, *, zero: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return (value > 0 or (zero and value == 0)) and value <= MAX_SECONDS and math.isfinite(value)


def relative_path(audio: str | Path | Address, folder: str) -> str:
    """`audio_filepath` of a recording for a manifest in `folder` (resolved, absolute)."""
    if isinstance(audio, Address):
        return audio.text
    try:
        relative = os.path.relpath(os.path.abspath(audio), folder).replace(os.sep, "/")
    except ValueError:  # another drive, on Windows
        return os.path.abspath(audio)
    if not relative.isascii():   # bytes that are UTF-8, whatever the locale takes them for
        relative = os.fsencode(relative).decode("utf-8", "surrogateescape")
    is_odd = relative.startswith("~") or _URL.match(relative)
    return f"./{relative}" if is_odd else relative   # a name such as "file:1.wav" is only a name


class AudioFolders:
    """Turns `audio_filepath` into an absolute path, or says why it may not be read.

    A link could lead out of the root, so paths are compared after links are resolved. To stay
    quick on 100,000 rows this is done once a folder, and one listing of the folder tells which of
    its files are links: no call to the system for each row.
    """

    def __init__(self, manifest: Path, audio_root: str | Path | None, anywhere: bool):
        self._base = os.path.realpath(manifest.parent)
        recorded, self._disbelief = recorded_roots(self._base)
        self._roots = [self._base, *recorded]
        if audio_root is not None:
            root = os.path.realpath(audio_root)
            if not os.path.isdir(root):
                raise ManifestError(f"The audio root {audio_root} is not a folder. Give the one "
                                    "that holds the recordings: --audio-root, or data.audio_root "
                                    "of the recipe.",
                                    code="manifest.audio_root", path=audio_root)
            self._roots.append(root)
        self._anywhere = anywhere
        self._known: dict[str, tuple[str, bool, frozenset[str]]] = {}

    def place(self, given: str) -> tuple[str, str]:
        """(absolute path or address, "") or ("", reason)."""
        if is_address(given):
            return given, ""
        if _URL.match(given) or given.startswith("~"):
            return "", (f"audio_filepath {show(given)} is not a plain path; expected one relative "
                        "to the manifest's folder, or an address that begins with s3://, gs://, "
                        "http:// or https://. ~ is not expanded.")
        if not given.isascii():   # the bytes of the name are UTF-8 even where the locale is C
            given = os.fsdecode(given.encode("utf-8", "surrogateescape"))
        folder, name = os.path.split(given)
        if name in ("", ".", ".."):
            return "", f"audio_filepath {show(given)} names a folder, expected a file."
        known = self._known.get(folder)
        if known is None:
            known = self._known[folder] = self._look(folder)
        parent, inside, links = known
        path = os.path.join(parent, name)
        if not self._anywhere and (not inside or name in links
                                   and not self._inside(os.path.realpath(path))):
            return "", (f"audio_filepath {show(given)} leads to {show(os.path.realpath(path))}, "
                        f"outside of {' and '.join(self._roots)}"
                        f"{f'; {self._disbelief}' if self._disbelief else ''}. Name its folder "
                        "with --audio-root, or trust this manifest with --allow-outside-root.")
        return path, ""

    def _look(self, folder: str) -> tuple[str, bool, frozenset[str]]:
        """One folder: absolute path, whether it lies inside a root, the links in it."""
        parent = os.path.normpath(os.path.join(self._base, folder))
        if self._anywhere:
            return parent, True, frozenset()
        inside = self._inside(os.path.realpath(parent))
        try:
            with os.scandir(parent) as entries:
                links = frozenset(entry.name for entry in entries if entry.is_symlink())
        except OSError:  # a missing folder holds no links; opening the audio will say it is missing
            links = frozenset()
        return parent, inside, links

    def _inside(self, resolved: str) -> bool:
        return any(resolved == root or resolved.startswith(root.rstrip(os.sep) + os.sep)
                   for root in self._roots)
