"""Times, features and scores at addresses: a local S3 server, where moto is installed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from local_s3 import new_place, s3_server
from tiny_bundle import FEATURES, write_bundle

import asr.recognizer
from asr.audio import objects as stored
from asr.audio import remote
from asr.cli import run
from asr.errors import EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE
from asr.manifest import Utterance, write_manifest

pytest.importorskip("fsspec", reason="the extra [remote] is not installed")


@pytest.fixture(scope="module")
def server():
    with s3_server() as found:
        yield found[0]


@pytest.fixture
def objects(server):
    """The names and contents below an address of this test alone, and this address."""
    return new_place(server, "out")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> str:
    return str(write_bundle(tmp_path_factory.mktemp("bundle") / "tiny.asr"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    """A manifest of four rows; the second one has letters that the model does not know."""
    folder = tmp_path_factory.mktemp("in")
    noise = np.random.default_rng(1).normal(size=16_000) * 0.1
    texts = {"x/1": "bad", "2": "zoo", "3": "cafe", "ü": "bad cab"}
    found = []
    for number, (name, text) in enumerate(texts.items(), start=1):
        soundfile.write(folder / f"{number}.wav", noise * number / 8, FEATURES.sample_rate)
        found.append(Utterance(name, folder / f"{number}.wav", text,
                               16_000 / FEATURES.sample_rate))
    write_manifest(folder / "rows.jsonl", found)
    return folder / "rows.jsonl"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def denied(*_, **__):
    raise PermissionError("Access Denied")


# -- asr align


def test_times_in_a_bucket_are_those_of_a_folder(objects, bundle, rows, tmp_path, capsys):
    """Names, bytes and exit code; a rerun keeps what is there, also what was corrected by hand."""
    found, address = objects
    command = ["align", bundle, "--manifest", str(rows), "-f", "textgrid", "-o"]
    assert run([*command, str(tmp_path)]) == EXIT_SOME_FAILED
    near = capsys.readouterr().err
    assert run([*command, address]) == EXIT_SOME_FAILED
    assert capsys.readouterr().err == near, "the same records of failures"
    assert found() == contents(tmp_path)
    assert set(found()) == {"x_1.TextGrid", "3.TextGrid", "ü.TextGrid"}
    first = found()["3.TextGrid"]
    stored.write_at(f"{address}/3.TextGrid", "by hand", overwrite=True)
    assert run([*command, f"{address}/"]) == EXIT_SOME_FAILED
    assert "3 of 4 files existed and were kept" in capsys.readouterr().err
    assert found()["3.TextGrid"] == b"by hand"
    assert run([*command, address, "--overwrite"]) == EXIT_SOME_FAILED
    assert found()["3.TextGrid"] == first


def test_times_of_one_recording(objects, bundle, rows, capsys):
    found, address = objects
    command = ["align", bundle, str(rows.parent / "1.wav"), "bad", "-f", "srt", "-o", address]
    assert run(command) == EXIT_OK
    first = found()
    assert set(first) == {"1.srt"}
    assert run(command) == EXIT_USAGE
    assert f"{address}/1.srt exists; --overwrite" in capsys.readouterr().err
    assert run([*command, "--overwrite"]) == EXIT_OK
    assert found() == first


def test_times_that_cannot_be_written_are_records(objects, bundle, rows, capsys, monkeypatch):
    """One is denied; one was written by another run meanwhile, and is kept."""
    found, address = objects
    files, _ = remote.file_system(address)
    write = files.pipe_file

    def change(path, data, mode="overwrite"):
        if path.endswith("/3.ctm"):
            denied()
        if path.endswith("/x_1.ctm"):
            write(path, b"theirs")
        return write(path, data, mode=mode)

    monkeypatch.setattr(files, "pipe_file", change)
    assert run(["align", bundle, "--manifest", str(rows), "-o", address]) == EXIT_SOME_FAILED
    *failures, kept = capsys.readouterr().err.splitlines()
    assert kept.startswith("1 of 4 files existed and were kept")
    assert [(one["id"], one["stage"], one["code"]) for one in map(json.loads, failures)] == [
        ("2", "align", "text.out_of_alphabet"), ("3", "write", "output.write")]
    assert json.loads(failures[1])["message"] == (
        f"Cannot write {address}/3.ctm: PermissionError: Access Denied. Nothing was left there; "
        "check the network, the address and its credentials, and run the same command again.")
    assert set(found()) == {"x_1.ctm", "ü.ctm"} and found()["x_1.ctm"] == b"theirs"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_a_killed_alignment_goes_on(objects, bundle, rows, tmp_path):
    found, address = objects
    command = ["align", bundle, "--manifest", str(rows), "-f", "json", "-o"]
    run([*command, str(tmp_path)])
    killed = subprocess.run([sys.executable, "-m", "asr", *command, address], capture_output=True,
                            env={**os.environ, "ASR_TESTING": "1",
                                 "ASR_FAILPOINT": "times.written:x_1.json"})
    assert killed.returncode == -signal.SIGKILL
    assert "x_1.json" in found() and found().items() <= contents(tmp_path).items()
    assert run([*command, address]) == EXIT_SOME_FAILED
    assert found() == contents(tmp_path)


@pytest.mark.parametrize("address, sentence", [
    ("https://user:word@host/x?key=word", "https://host/x cannot be written: asr writes"),
    ("s3://speech/x?key=word", "s3://speech/x: got more than the name"),
    ("s3://none/times", "s3://none/times cannot be listed: FileNotFoundError: The specified buck"),
])
@pytest.mark.parametrize("verb", ["align", "evaluate"])
def test_an_address_that_is_none_is_one_sentence_before_any_work(
        server, bundle, rows, verb, address, sentence, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(asr.recognizer, "load", lambda *_, **__: pytest.fail("work began"))
    monkeypatch.chdir(tmp_path)
    arguments = {"align": ["align", bundle, "--manifest", str(rows), "-o", address],
                 "evaluate": ["evaluate", bundle, str(rows), "--output-dir", address]}[verb]
    assert run(arguments) == EXIT_USAGE
    said = capsys.readouterr().err
    assert sentence in said and "word" not in said and len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())
