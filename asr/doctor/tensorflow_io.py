"""Find which parts of tensorflow-io work here, by trying them in a child process.

In: nothing. Out: a plain dictionary. tensorflow-io installs beside TensorFlow versions that its
native code cannot be loaded into and fails only when an operation is called (tensorflow/io#2160),
so neither the version nor the import says anything.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator

from asr.data.recordings import require_tensorflow_io
from asr.errors import UsageError

TIMEOUT = 120  # seconds

# Runs alone: native code that does not fit may abort the process.
_CHILD = r"""
import io, json, os
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

def line(error):
    return (f"{type(error).__name__}: {error}".splitlines() or ["failed"])[0][:200]

def report(**entries):
    print("PROBE " + json.dumps(entries), flush=True)

try:
    import numpy as np, soundfile, tensorflow as tf, tensorflow_io as tfio
except BaseException as error:
    report(importable=False, message=line(error))
    raise SystemExit(0)
report(importable=True, version=getattr(tfio, "__version__", "unknown"))

tone = (8000 * np.sin(np.arange(1600) / 5)).astype(np.int16)

def file(kind):
    data = io.BytesIO()
    soundfile.write(data, tone, 16000, format=kind, subtype="PCM_16")
    return data.getvalue()

def lossy(decode, kind):
    data = io.BytesIO()
    soundfile.write(data, tone, 16000, format=kind)
    expected = soundfile.read(io.BytesIO(data.getvalue()), dtype="float32")[0]
    samples = np.asarray(decode(data.getvalue())).reshape(-1)
    if samples.shape != expected.shape or np.abs(samples - expected).max() > 1e-3:
        raise ValueError("decoded to other samples")

def schemes():
    missing = {"s3", "http", "gs"} - {
        s.decode() if isinstance(s, bytes) else s for s in tf.io.gfile.get_registered_schemes()}
    if missing:
        raise ValueError("no file system for " + ", ".join(sorted(missing)))

def decodes(decode, kind):
    samples = np.asarray(decode(file(kind), dtype=tf.int16)).reshape(-1)
    if samples.shape != tone.shape or not np.array_equal(samples, tone):
        raise ValueError("decoded to other samples")

parts = {
    "decode_flac": lambda: decodes(tfio.audio.decode_flac, "FLAC"),
    "decode_wav": lambda: decodes(tfio.audio.decode_wav, "WAV"),
    "decode_mp3": lambda: lossy(tfio.audio.decode_mp3, "MP3"),
    "decode_vorbis": lambda: lossy(tfio.audio.decode_vorbis, "OGG"),
    "resample": lambda: np.asarray(tfio.audio.resample(
        tone[:, None].astype("float32"), 16000, 8000)).shape[0] or 1 / 0,
    "file_systems": schemes,
}
for name, attempt in parts.items():
    report(part=name, message="not answered: the process ended")
    try:
        attempt()
        report(part=name, message="works")
    except BaseException as error:
        report(part=name, message=line(error))
"""


def probe(command: tuple[str, ...] = ()) -> dict:
    """Import tensorflow-io in a child process, decode a tiny file of each kind, resample.

    Args:
        command: the Python to use; empty: this one.

    Returns:
        importable (bool), version, message (when not importable),
        parts: name -> "works" or the first line of what went wrong.
    """
    if not command and importlib.util.find_spec("tensorflow_io") is None:
        return {"importable": False, "version": None, "message": "not installed", "parts": {}}
    result: dict = {"importable": False, "version": None, "message": "", "parts": {}}
    try:
        child = subprocess.run([*(command or (sys.executable,)), "-c", _CHILD], text=True,
                               capture_output=True, timeout=TIMEOUT, check=False)
        output, ended = child.stdout, f"the import ended the process with code {child.returncode}"
    except subprocess.TimeoutExpired as late:
        output = bytes(late.stdout or b"").decode(errors="replace")
        ended = f"no answer within {TIMEOUT} s"
    result["message"] = ended
    for text in output.splitlines():
        if text.startswith("PROBE "):
            entry = json.loads(text.removeprefix("PROBE "))
            if "part" in entry:
                result["parts"][entry["part"]] = entry["message"]
            else:
                result |= {"message": ""} | entry
    return result


def reader_problem() -> str | None:
    """Why `data.reader = "tensorflow-io"` does not work here; None if the versions fit."""
    try:
        require_tensorflow_io()
    except UsageError as error:
        return str(error)
    return None


def lines(state: dict, addresses: dict[str, bool]) -> Iterator[str]:
    """What reads recordings here, for people.

    Args:
        state: result of `probe`, with `reader`, the result of `reader_problem`.
        addresses: result of `asr.doctor.machine.addresses`.
    """
    if state["importable"]:
        parts = "; ".join(f"{name}: {message}" for name, message in state["parts"].items())
        yield f"tensorflow-io  {state['version']} imports; {parts}"
    else:
        yield f"tensorflow-io  {state['message']} (nothing here needs it)"
    problem = state["reader"]
    text = "data.reader = \"tensorflow-io\" " + (
        f"does not work here: {problem}" if problem else "works here")
    yield from textwrap.wrap(text, 100, initial_indent=f"{'reader':<15}",
                             subsequent_indent=" " * 15, break_long_words=False)
    yes = {name: "yes" if works else "no" for name, works in addresses.items()}
    cure = "" if all(addresses.values()) else ": pip install \"keras-asr[remote]\""
    yield (f"addresses      http:// and https:// {yes['http']}; s3:// {yes['s3']}; "
           f"gs:// {yes['gs']}{cure}")
