"""A disk that is full, a path that is a folder, a name that is too long: whatever verb writes.

One sentence with the name that was given, the exit code of docs/deployment.md, and nothing left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_bundle import random_weights, write_bundle

from asr.cli import run

resource = pytest.importorskip("resource", reason="limits of a process are of POSIX")

RECIPE = """
[data]
train = ["train.jsonl"]
valid = ["dev.jsonl"]
[text]
alphabet = " abcd"
[features]
sample_rate = 8_000
n_mels = 16
[model]
num_layers = 1
units = 8
[train]
epochs = 1
"""

# Verb and options; OUT is what is written.
VERBS = {
    "score": "score ref.txt hyp.txt --draws 100 --csv OUT.csv",
    "rows": "score ref.txt hyp.txt --draws 100 --per-utterance OUT.jsonl",
    "compare": "compare --reference ref.txt hyp.txt ref.txt --draws 100 --report OUT.html",
    "manifest": "manifest export m.jsonl OUT --to kaldi",
    "lm": "lm train ref.txt -o OUT.arpa",
    "average": "average tiny.asr near.asr -o OUT.asr --verify m.jsonl",
    "quantize": "quantize tiny.asr -o OUT.asr",
    "onnx": "export tiny.asr OUT.onnx",
    "html": "export tiny.asr OUT.html",
    "inspect": "inspect a.wav --bundle tiny.asr -o OUT.html",
    "prepare": "prepare nemo m.jsonl OUT",
    "transcribe": "transcribe a.wav --bundle tiny.asr -o OUT",
    "shard": "shard m.jsonl OUT",
    "evaluate": "evaluate tiny.asr m.jsonl --output-dir OUT",
    "report": "evaluate tiny.asr m.jsonl --report OUT.html",
    "audit": "audit m.jsonl --bundle tiny.asr --report OUT.html",
    "init": "init train.jsonl dev.jsonl --no-trial -o OUT.toml",
    "features": "features r.toml OUT",
    "train": "train r.toml OUT --quiet",
}
NAMES = {  # of the file that is said, where it is not the given name
    "prepare": "out/train.jsonl", "transcribe": "out/index.jsonl",
    "evaluate": "out/utterances.jsonl", "train": "out/versions.json",
    "features": "out/features-"}
GOES_ON = ("shard", "train")  # what an interrupted run has begun stays for the next
LATER = {  # larger files, most by TensorFlow
    "keras": "export tiny.asr OUT.keras",
    "litert": "export tiny.asr OUT.tflite",
    "savedmodel": "export tiny.asr OUT --format savedmodel",
    "features": "features r.toml OUT",
    "train": "train r.toml OUT --quiet",
    "shard": "shard m.jsonl OUT",
    "evaluate": "evaluate tiny.asr m.jsonl --output-dir OUT",
}


@pytest.fixture
def folder(tmp_path, monkeypatch, rng) -> Path:
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "tiny.asr")
    write_bundle(tmp_path / "near.asr", weights={name: np.float32(1.001) * array for name, array
                                                 in random_weights().items()})
    soundfile.write("a.wav", 0.1 * rng.normal(size=8_000), 8_000)
    Path("ref.txt").write_text("a1 bad cab\nb2 cab bad\n")
    Path("hyp.txt").write_text("a1 bad\nb2 cab bad\n")
    for name, ids in (("m", "a"), ("train", "abcd"), ("dev", "ef")):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(
            {"id": one, "audio_filepath": "a.wav", "text": "bad", "duration": 1.0}) + "\n"
            for one in ids))
    Path("r.toml").write_text(RECIPE)
    return tmp_path


@contextmanager
def full_disk(room: int = 30) -> Iterator[None]:
    """No file may grow beyond so many bytes; the system answers EFBIG, as it answers ENOSPC."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
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
    name = NAMES.get(verb, next(part for part in VERBS[verb].split() if "OUT" in part).lower())
    if verb == "features":  # whose folder and file have names of their own
        line = re.sub(r"(features-)[0-9a-f]{16}/settings[.]json(?=: )", r"\1", line)
    assert line == (f"Error: Cannot use {folder / name}: File too large. Make room and run the "
                    "same command again; what existed is as it was.")
    left = [p for p in sorted(folder.rglob("*")) if p.is_file() and p not in before]
    assert [p.name for p in left] == [".lock"] * (verb == "train")
    assert not [p for p in folder.iterdir() if p.name.startswith(".") and verb not in GOES_ON]


def test_a_score_that_cannot_be_written_is_printed(folder, capsys):
    """The work of hours is not lost with the room for its files."""
    with full_disk():
        assert run(["evaluate", "tiny.asr", "m.jsonl", "--output-dir", "out", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["wer"] > 0


@pytest.mark.slow  # TensorFlow traces and converts
@pytest.mark.parametrize("verb", LATER)
def test_a_disk_that_is_full_in_the_middle(verb, folder, capsys):
    """The first small files fit, the result does not; with room the same command does the rest."""
    command = LATER[verb].replace("OUT", "out").split()
    place = next(part for part in command if part.startswith("out"))
    with full_disk(2_000):
        assert run(command) == 1
    (line,) = errors(capsys)
    assert place in line and "File too large. Make room" in line, line
    assert verb in ("features", "train", "evaluate") or not (folder / place).exists()
    assert run(command) == 0
    assert (folder / place).exists()


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
