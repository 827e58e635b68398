"""Transcripts in a bucket: a local S3 server, where moto is installed, and fsspec's memory."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from local_s3 import contents, new_place
from tiny_bundle import FEATURES

import asr.fleet.transcribe
import asr.recognizer
from asr.audio import objects as stored
from asr.audio import remote
from asr.cli import run
from asr.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE, UsageError
from asr.fleet.output_places import in_order, place_of
from asr.fleet.transcribe import Outcome, transcribe_to_folder
from asr.fleet.worklist import Item, OutputFolder
from asr.manifest.address import Address
from asr.recognizer import Recognizer
from asr.transcript import Transcript

fsspec = pytest.importorskip("fsspec", reason="the extra [remote] is not installed")


@pytest.fixture
def objects(server):
    return new_place(server, "texts")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Five recordings, of which two have one name, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("in") / "in"
    (folder / "sub").mkdir(parents=True)
    noise = np.random.default_rng(1).normal(size=8_000) * 0.1
    for number, name in enumerate(("0.wav", "1.wav", "1.flac", "ü b.wav", "sub/0.wav"), start=1):
        soundfile.write(folder / name, noise * number / 8, FEATURES.sample_rate)
    (folder / "bad.wav").write_bytes(b"RIFF, but no more")
    return folder


def texts(items, *_, **__):
    for item in items:
        yield Outcome(item, Transcript(f"of {item.name}"))


def items_of(*names: str) -> list[Item]:
    return [Item(f"/{name}", Path(name).name) for name in names]


def test_a_bucket_is_like_a_folder(objects, bundle, recordings, tmp_path, capsys, caplog):
    """Names, bytes, index and exit code; a rerun keeps all with one listing and no write."""
    found, address = objects
    arguments = ["transcribe", bundle, str(recordings), "-r", "-f", "txt", "-f", "json", "-f",
                 "textgrid", "-o"]
    near = tmp_path / "near"
    assert run([*arguments, str(near)]) == run([*arguments, address]) == EXIT_SOME_FAILED
    first = found()
    assert first == contents(near) and len(first) == 5 * 3 + 1
    assert {"0.txt", "1.TextGrid", "in-1.json", "ü b.txt", "sub/0.json"} < set(first)
    capsys.readouterr()

    caplog.set_level("INFO", "werkzeug")
    caplog.clear()
    assert run([*arguments, f"{address}/"]) == EXIT_SOME_FAILED
    assert "5 of 6 transcripts existed and were kept" in capsys.readouterr().err
    requests = [record.getMessage().split('"')[1].partition("&")[0] for record in caplog.records
                if record.name == "werkzeug"]
    assert sum("list-type" in request for request in requests) == 1
    assert all(request.startswith(("GET", "HEAD")) for request in requests)
    assert all("list-type" in one or "/index.jsonl" in one for one in requests), requests
    assert found() == first

    (near / "1.txt").write_text("corrected by hand")
    place_of(address, ("txt",)).write("1.txt", "corrected by hand", overwrite=True)
    assert run([*arguments, address]) == EXIT_SOME_FAILED
    assert found()["1.txt"] == b"corrected by hand"
    assert run([*arguments, address, "--overwrite"]) == EXIT_SOME_FAILED
    assert found() == first


def test_names_of_later_recordings_are_added(objects, tmp_path):
    """And a copy of the bucket on a disk goes on with the same names."""
    found, address = objects
    rounds = [items_of("a/x.wav"), items_of("b/x.wav", "a/x.wav"), items_of("c/y.wav")]
    for items in rounds:
        folder = OutputFolder(address, "txt")
        list(transcribe_to_folder(None, items, folder, "txt", transcriber=texts))
        assert isinstance(folder.output(items[0]), Address)
    first = found()
    assert set(first) == {"index.jsonl", "index-2.jsonl", "index-3.jsonl", "x.txt", "b-x.txt",
                          "y.txt"}
    assert first["b-x.txt"] == b"of /b/x.wav\n"
    assert json.loads(first["index-2.jsonl"]) == {"source": "/b/x.wav", "output": "b-x"}
    for name, data in first.items():
        (tmp_path / name).write_bytes(data)
    for where in (tmp_path, address):
        again = list(transcribe_to_folder(None, sum(rounds, []), OutputFolder(where, "txt"), "txt",
                                          transcriber=texts))
        assert all(outcome.kept for outcome in again)
    assert found() == first == contents(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL")
def test_kill_9_and_rerun(objects, bundle, recordings, tmp_path):
    found, address = objects
    arguments = ["transcribe", bundle, str(recordings), "-r", "-f", "txt", "-f", "srt", "-o"]
    run([*arguments, str(tmp_path)])
    killed = subprocess.run(
        [sys.executable, "-m", "asr", *arguments, address], capture_output=True,
        env={**os.environ, "ASR_TESTING": "1", "ASR_FAILPOINT": "transcript.written:1.txt"})
    assert killed.returncode == -signal.SIGKILL
    before, expected = found(), contents(tmp_path)
    assert {"index.jsonl", "1.txt"} <= set(before) and "1.srt" not in before
    assert before.items() < expected.items(), "what is there is whole"
    assert run([*arguments, address]) == EXIT_SOME_FAILED
    assert found() == expected


def test_what_cannot_be_written_is_a_record(objects, bundle, recordings, capsys, monkeypatch):
    found, address = objects
    files, _ = remote.file_system(address)
    write = files.pipe_file

    def refused(path, data, mode="overwrite"):
        if path.endswith("/1.json"):
            raise PermissionError("Access Denied")
        return write(path, data, mode=mode)

    monkeypatch.setattr(files, "pipe_file", refused)
    arguments = ["transcribe", bundle, str(recordings / "0.wav"), str(recordings / "1.wav"), "-o",
                 address, "--json"]
    assert run(arguments) == EXIT_SOME_FAILED
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "output.write" in line]
    failure = json.loads(line)
    assert (failure["stage"], failure["path"]) == ("write", str(recordings / "1.wav"))
    assert failure["message"] == (
        f"Cannot write {address}/1.json: PermissionError: Access Denied. Nothing was left there; "
        "check the network, the address and its credentials, and run the same command again.")
    assert set(found()) == {"index.jsonl", "0.json"}


def test_what_another_run_has_written_meanwhile_is_kept(objects, server, monkeypatch):
    found, address = objects

    def render(*_, **__) -> str:
        server.put_object(Bucket="speech", Key=f"{address[12:]}/x.txt", Body=b"theirs")
        return "ours"

    monkeypatch.setattr(asr.fleet.transcribe, "render", render)
    (outcome,) = transcribe_to_folder(None, items_of("x.wav"), OutputFolder(address, "txt"), "txt",
                                      transcriber=texts)
    assert (outcome.kept, outcome.error) == (True, None)
    assert found()["x.txt"] == b"theirs"


def runs_into(address: str) -> list[tuple[OutputFolder, list[Item]]]:
    """Four runs with a recording of its own each, all of one name, and one that all have."""
    return [(OutputFolder(address, "txt"), items_of(f"{letter}/x.wav", "all/y.wav"))
            for letter in "abcd"]


def work(folder: OutputFolder, items: list[Item]) -> list[Outcome]:
    return list(transcribe_to_folder(None, items, folder, "txt", transcriber=texts))


def check_runs(outcomes: list[Outcome], there: dict[str, bytes], address: str) -> None:
    """Each output is of its recording; the common one was written by one run."""
    assert not [outcome for outcome in outcomes if outcome.error]
    for outcome in outcomes:
        name = str(outcome.output)[len(address) + 1:]
        assert there[name] == f"of {outcome.item.path}\n".encode()
    assert sum(not outcome.kept for outcome in outcomes) == 5
    assert len(there) == 5 + 4 and "index-4.jsonl" in there


def test_runs_that_began_together_claim_different_names(objects):
    """All have listed the bucket before any claims; each finds out at its first write."""
    found, address = objects
    runs = runs_into(address)
    check_runs([outcome for run in runs for outcome in work(*run)], found(), address)


def test_runs_at_the_same_time_claim_different_names(monkeypatch):
    """With a server that makes an object or none; moto itself checks before it writes."""
    class Files:
        def __init__(self):
            self.there, self.lock = {}, threading.Lock()

        def find(self, prefix, detail):
            return {path: {"size": len(data)} for path, data in self.there.items()
                    if path.startswith(prefix)}

        def cat_file(self, path, start=None, end=None):
            return self.there[path][start:end]

        def pipe_file(self, path, data, mode="overwrite"):
            with self.lock:
                if mode == "create" and path in self.there:
                    raise FileExistsError(path)
                self.there[path] = data

    files, start = Files(), threading.Barrier(4)
    monkeypatch.setattr(remote, "_file_system", lambda address: (files, address[5:]))
    runs = runs_into("gs://speech/texts")

    def together(run):
        start.wait()
        return work(*run)

    with ThreadPoolExecutor(len(runs)) as pool:
        outcomes = sum(pool.map(together, runs), [])
    check_runs(outcomes, {path.removeprefix("speech/texts/"): data
                          for path, data in files.there.items()}, "gs://speech/texts")


def test_an_interrupted_run_keeps_what_is_finished(objects, bundle, recordings, capsys,
                                                   monkeypatch):
    found, address = objects
    decode, count = Recognizer.decode, []

    def interrupted(self, *arguments, **options):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return decode(self, *arguments, **options)

    monkeypatch.setattr(Recognizer, "decode", interrupted)
    arguments = ["transcribe", bundle, str(recordings), "-r", "-o", address]
    assert run(arguments) == EXIT_INTERRUPTED
    assert "Interrupted. Finished transcripts are kept" in capsys.readouterr().err
    assert len(found()) == 2 + 1
    monkeypatch.setattr(Recognizer, "decode", decode)
    assert run(arguments) == EXIT_SOME_FAILED
    assert len(found()) == 5 + 1
    assert "2 of 6 transcripts existed and were kept" in capsys.readouterr().err


@pytest.mark.parametrize("address, sentence", [
    ("https://user:word@host/x?key=word", "https://host/x cannot be written: asr writes"),
    ("ftp://host/x.txt", "ftp://host/x.txt cannot be written"),
    ("s3://", "cannot be written"),
    ("s3://me:word@speech/x", "s3://speech/x: got more than the name"),
    ("s3://speech/x?key=word", "s3://speech/x: got more than the name"),
    ("s3://none/texts", "s3://none/texts cannot be listed: FileNotFoundError: The specified buck"),
    ("s3://none/a.txt", "s3://none/a.txt cannot be written: FileNotFoundError: The specified buck"),
])
def test_an_address_that_is_none_is_one_sentence_before_any_work(
        server, bundle, recordings, address, sentence, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(asr.recognizer, "load", lambda *_, **__: pytest.fail("work began"))
    monkeypatch.chdir(tmp_path)
    arguments = ["transcribe", bundle, str(recordings / "0.wav"), "-o", address]
    assert run(arguments) == EXIT_USAGE
    said = capsys.readouterr().err
    assert sentence in said and "word" not in said and len(said.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_without_network_library_or_permission_nothing_begins(server, bundle, recordings, capsys,
                                                              monkeypatch):
    monkeypatch.setattr(asr.recognizer, "load", lambda *_, **__: pytest.fail("work began"))
    arguments = ["transcribe", bundle, str(recordings / "0.wav"), "-o", "s3://speech/texts"]

    def said(**changes) -> str:
        with monkeypatch.context() as patch:
            for name, change in changes.items():
                change(patch) if callable(change) else patch.setenv(name, change)
            fsspec.get_filesystem_class("s3").clear_instance_cache()
            assert run(arguments) == EXIT_USAGE
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "cannot be listed: EndpointConnectionError: Could not connect" in said(
        AWS_ENDPOINT_URL="http://127.0.0.1:1")
    assert 'pip install "keras-asr[remote]"' in said(without=lambda patch: patch.setattr(
        importlib.util, "find_spec", lambda name: None))

    class Denied(fsspec.get_filesystem_class("s3")):
        def call_s3(self, *_, **__):
            raise PermissionError("Access Denied")

    assert "cannot be listed: PermissionError: Access Denied. Check" in said(
        denied=lambda patch: patch.setattr(remote, "_file_system", lambda a: (Denied(), a[5:])))


def test_no_permission_to_write_is_said_before_the_first_recording(objects, monkeypatch):
    _, address = objects
    folder = OutputFolder(address, "txt")
    files, _ = remote.file_system(address)

    def denied(path, data, mode="overwrite"):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(files, "pipe_file", denied)
    with pytest.raises(UsageError, match="Cannot write into s3://.*: PermissionError: Access D"):
        next(transcribe_to_folder(None, items_of("x.wav"), folder, "txt",
                                  transcriber=lambda *_, **__: pytest.fail("work began")))


def test_one_recording_to_one_object(objects, bundle, recordings, tmp_path, capsys):
    found, address = objects
    recording = str(recordings / "0.wav")
    outputs = ["-o", f"{address}/a.srt", "-o", f"{address}/a.docx", "-o", str(tmp_path / "a.txt")]
    assert run(["transcribe", bundle, recording, *outputs]) == EXIT_OK
    assert set(found()) == {"a.srt", "a.docx"} and (tmp_path / "a.txt").exists()
    assert found()["a.docx"][:2] == b"PK"
    capsys.readouterr()
    assert run(["transcribe", bundle, recording, "-o", f"{address}/a.srt"]) == EXIT_USAGE
    assert f"{address}/a.srt exists and is kept" in capsys.readouterr().err
    place_of(address, ("srt",)).write("a.srt", b"by hand", overwrite=True)
    place_of(address, ("srt",)).write("a.srt-2", b"by hand", overwrite=True)
    assert run(["transcribe", bundle, recording, "-o", f"{address}/a.srt", "--overwrite"]) == \
        EXIT_OK
    assert found()["a.srt"] != b"by hand" == found()["a.srt-2"]
    assert run(["transcribe", bundle, recording, "-o", f"{address}/a.srt/"]) == EXIT_OK
    assert {"a.srt/0.txt", "a.srt/index.jsonl"} < set(found())
    assert run(["transcribe", bundle, recording, "-o", f"{address}/a.sr"]) == EXIT_OK


def test_an_object_that_appears_during_the_work_is_kept(objects, bundle, recordings, capsys,
                                                       monkeypatch):
    found, address = objects
    monkeypatch.setattr(stored, "exists_at", lambda address: False)
    place_of(address, ()).write("a.txt", b"theirs", overwrite=True)
    assert run(["transcribe", bundle, str(recordings / "0.wav"), "-o", f"{address}/a.txt"]) == \
        EXIT_SOME_FAILED
    assert "output.write" in capsys.readouterr().err and found()["a.txt"] == b"theirs"


def test_a_listing_comes_by_pages(objects, monkeypatch):
    found, address = objects
    place = place_of(address, ("txt",))
    for number in range(5):
        place.write(f"{number}.txt", "x", overwrite=False)
    place.write("other.bin", "x", overwrite=False)
    monkeypatch.setattr(stored, "PAGE", 2)
    again = place_of(address, ("txt",))
    assert all(again.exists(f"{number}.txt") for number in range(5))
    assert not again.exists("other.bin"), "only names that matter are kept"
    with pytest.raises(FileExistsError):
        place.write("0.txt", "y", overwrite=False)
    assert found()["0.txt"] == b"x"


@pytest.mark.parametrize("old", [False, True])
def test_other_stores_by_fsspec_alone(monkeypatch, old, tmp_path):
    """gs:// has the same calls; an old fsspec has no exclusive creation and is asked first."""
    files = fsspec.filesystem("memory", skip_instance_cache=True)
    root = f"/speech/{uuid.uuid4()}"
    if old:
        write = files.pipe_file
        monkeypatch.setattr(files, "pipe_file", lambda path, value: write(path, value))
    monkeypatch.setattr(remote, "_file_system", lambda address: (files, root))
    near = OutputFolder(tmp_path, "txt", "srt")
    for _ in range(2):
        far = OutputFolder("gs://speech/texts", "txt", "srt")
        outcomes = [list(transcribe_to_folder(None, items_of("a/x.wav", "b/x.wav"), folder,
                                              ("txt", "srt"), transcriber=texts))
                    for folder in (near, far)]
    assert all(outcome.kept for outcome in outcomes[1])
    assert {path[len(root) + 1:]: files.cat_file(path) for path in files.find(root)} == contents(
        tmp_path)
    with pytest.raises(FileExistsError):
        far.place.write("x.txt", "y", overwrite=False)
    assert stored.exists_at("gs://speech/texts") is False


def test_a_conflict_is_tried_again(monkeypatch):
    """What S3 answers while another program writes the same name."""
    class Conflict(Exception):
        response = {"Error": {"Code": "ConditionalRequestConflict"}}

    class Files:
        left = 2

        def pipe_file(self, path, data, mode):
            self.left -= 1
            if self.left >= 0:
                raise OSError("conflict") from Conflict()

    monkeypatch.setattr(stored.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(remote, "_file_system", lambda address: (Files(), "x"))
    stored.write_at("s3://speech/x", "text", overwrite=False)
    monkeypatch.setattr(Files, "left", stored.TRIES)
    with pytest.raises(OSError, match="conflict"):
        stored.write_at("s3://speech/x", "text", overwrite=False)


def test_an_index_that_is_not_ours(objects):
    _, address = objects
    place_of(address, ()).write("index.jsonl", "[]", overwrite=False)
    with pytest.raises(UsageError, match=r"s3://.*/index.jsonl:1 is not a row"):
        OutputFolder(address, "txt")


def test_a_few_are_written_at_a_time_and_come_in_order():
    """The first outcome comes while the last ones have not begun."""
    gates = [threading.Event() for _ in range(40)]
    taken = []

    def numbers():
        for number in range(40):
            taken.append(number)
            yield number

    def save(number):
        gates[number].wait()
        return number

    results = in_order(save, numbers(), 4)
    for gate in gates[1:]:
        gate.set()
    threading.Timer(0.05, gates[0].set).start()
    assert next(results) == 0 and len(taken) <= 4 + 1
    assert list(results) == list(range(1, 40))


@pytest.mark.slow  # a cluster starts in about ten seconds
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray")
def test_a_cluster_writes_the_same_objects(objects, bundle, recordings, tmp_path):
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    found, address = objects
    arguments = ["transcribe", bundle, str(recordings), "-r", "-f", "txt", "-f", "json", "-o"]
    work = partial(subprocess.run, capture_output=True, text=True,
                   env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"})
    done = work([sys.executable, "-m", "asr", *arguments, address, "--engine", "ray", "--workers",
                 "2"])
    assert done.returncode == EXIT_SOME_FAILED, done.stderr
    assert run([*arguments, str(tmp_path)]) == EXIT_SOME_FAILED
    assert found() == contents(tmp_path)
    again = work([sys.executable, "-m", "asr", *arguments, address, "--engine", "ray", "--workers",
                  "2"])
    assert "5 of 6 transcripts existed and were kept" in again.stderr
