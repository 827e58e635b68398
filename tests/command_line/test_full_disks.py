"""A disk that is full, a path that is a folder, a name that is too long: whatever verb writes.

One sentence with the name that was given, the exit code of docs/deployment.md, and nothing left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile
from tiny_bundle import write_bundle

from asr.cli import run

resource = pytest.importorskip("resource", reason="limits of a process are of POSIX")

# Verb and options; OUT is what is written.
VERBS = {
    "score": "score ref.txt hyp.txt --draws 100 --csv OUT.csv",
    "rows": "score ref.txt hyp.txt --draws 100 --per-utterance OUT.jsonl",
    "compare": "compare --reference ref.txt hyp.txt ref.txt --draws 100 --report OUT.html",
    "manifest": "manifest export m.jsonl OUT --to kaldi",
    "lm": "lm train ref.txt -o OUT.arpa",
    "quantize": "quantize tiny.asr -o OUT.asr",
    "onnx": "export tiny.asr OUT.onnx",
    "html": "export tiny.asr OUT.html",
    "inspect": "inspect a.wav --bundle tiny.asr -o OUT.html",
    "prepare": "prepare nemo m.jsonl OUT",
    "transcribe": "transcribe a.wav --bundle tiny.asr -o OUT",
}


@pytest.fixture
def folder(tmp_path, monkeypatch, rng) -> Path:
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "tiny.asr")
    soundfile.write("a.wav", 0.1 * rng.normal(size=8_000), 8_000)
    Path("ref.txt").write_text("a1 bad cab\nb2 cab bad\n")
    Path("hyp.txt").write_text("a1 bad\nb2 cab bad\n")
    Path("m.jsonl").write_text(json.dumps({"id": "a", "audio_filepath": "a.wav", "text": "bad",
                                           "duration": 1.0}) + "\n")
    return tmp_path


@contextmanager
def full_disk() -> Iterator[None]:
    """No file may grow beyond 30 bytes; the system answers EFBIG, as it answers ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def errors(capsys) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines()
            if line.startswith(("Error: ", "Internal", "Traceback"))]


@pytest.mark.parametrize("verb", VERBS)
def test_a_full_disk_names_the_file_and_leaves_nothing(verb, folder, capsys):
    before = sorted(folder.rglob("*"))
    with full_disk():
        assert run(VERBS[verb].replace("OUT", str(folder / "out")).split()) == 1
    (line,) = errors(capsys)
    name = {"prepare": "out/train.jsonl", "transcribe": "out/index.jsonl"}.get(
        verb, next(part for part in VERBS[verb].split() if "OUT" in part).lower())
    assert line == (f"Error: Cannot use {folder / name}: File too large. Make room and run the "
                    "same command again; what existed is as it was.")
    assert [p for p in sorted(folder.rglob("*")) if p.is_file() and p not in before] == []
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("verb", VERBS)
def test_a_path_that_cannot_be_is_said_and_leaves_nothing(verb, folder, capsys):
    """A folder where a file is written, a file where a folder is, and a name of 300 characters."""
    is_file = "OUT." in VERBS[verb]
    place = folder / next(part for part in VERBS[verb].split() if "OUT" in part).lower()
    place.mkdir() if is_file else place.write_text("mine")
    before = sorted(folder.rglob("*"))
    for name in ("out", "n" * 300):
        assert run(VERBS[verb].replace("OUT", str(folder / name)).split()) == 2
        (line,) = errors(capsys)
        assert str(folder / name) in line and "Traceback" not in line
    assert sorted(folder.rglob("*")) == before
    assert is_file or place.read_text() == "mine"
