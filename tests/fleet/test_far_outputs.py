"""Times, features and scores at addresses: a local S3 server, where moto is installed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from local_s3 import contents, new_place
from tiny_bundle import FEATURES

import asr.recognizer
from asr.audio import objects as stored
from asr.audio import remote
from asr.cli import run
from asr.data import cache
from asr.data.cache import build_cache
from asr.errors import EXIT_OK, EXIT_SOME_FAILED, EXIT_USAGE
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.manifest.address import Address
from asr.recipe import load_recipe

pytest.importorskip("fsspec", reason="the extra [remote] is not installed")


@pytest.fixture
def objects(server):
    """The names and contents below an address of this test alone, and this address."""
    return new_place(server, "out")


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
    ("s3://none/times", "FileNotFoundError: The specified bucket does not exist"),
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


# -- asr features


@pytest.fixture
def recipe(rows, tmp_path, monkeypatch) -> Path:
    """Features of the four recordings at two speeds, in shards of two recordings."""
    monkeypatch.setattr(cache, "SHARD_SECONDS", 3.0)
    monkeypatch.setattr(cache, "MIN_SHARD_SECONDS", 3.0)
    (tmp_path / "my.toml").write_text(
        f'[data]\ntrain = ["{rows}"]\nvalid = ["{rows}"]\n[augment]\nspeeds = [1.0, 1.1]\n')
    return tmp_path / "my.toml"


def shards(found: dict[str, bytes]) -> dict[str, tuple[dict, bytes]]:
    """Headers and numbers; safetensors writes the entries of a header in any order."""
    parts = {name: (data, 8 + int.from_bytes(data[:8], "little")) for name, data in found.items()
             if "/shard-" in name}
    return {name: (json.loads(data[8:start]), data[start:])
            for name, (data, start) in parts.items()}


def test_a_cache_in_a_bucket_is_that_of_a_folder(objects, recipe, tmp_path, capsys, caplog):
    """The same bytes; a rerun makes nothing and reads headers only; a copy serves a folder."""
    found, address = objects
    assert run(["features", str(recipe), str(tmp_path / "near")]) == EXIT_OK
    capsys.readouterr()
    assert run(["features", str(recipe), address]) == EXIT_OK
    assert f"12 arrays in {address}, 8 of them made now" in capsys.readouterr().out
    near = contents(tmp_path / "near")
    assert len(shards(near)) > 1 and shards(found()) == shards(near)
    # Hashes are remembered of recordings that have not changed for some seconds.
    assert set(near) - set(found()) - {"hashes.json"} == {next(
        name for name in near if name.endswith("/lock"))}

    caplog.set_level("INFO", "werkzeug")
    caplog.clear()
    assert run(["features", str(recipe), f"{address}/"]) == EXIT_OK
    assert "12 arrays in" in (out := capsys.readouterr().out) and " 0 of them made now" in out
    requests = [re.sub(r"\x1b\[\d+m", "", record.getMessage().split('"')[1])  # colours of 206, 412
                for record in caplog.records if record.name == "werkzeug"]
    written = [one for one in requests if not one.startswith(("GET", "HEAD"))]
    assert all("/settings.json" in one for one in written), "of which none replaces the other"
    assert sum("list-type" in one for one in requests) == 2, "one for each split"

    for name, data in found().items():
        path = tmp_path / "copy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert run(["features", str(recipe), str(tmp_path / "copy")]) == EXIT_OK
    assert " 0 of them made now" in capsys.readouterr().out
    settings = load_recipe(recipe)
    utterances = read_manifest(settings.data.valid[0])
    far, copy = (build_cache(utterances, settings.features, where)
                 for where in (address, tmp_path / "copy"))
    assert far.num_extracted == copy.num_extracted == 0 and len(far) == 4
    for index in range(len(far)):
        np.testing.assert_array_equal(far.read(index), copy.read(index))


def test_a_cache_goes_on_after_a_failure_and_makes_damaged_shards_again(
        objects, recipe, tmp_path, capsys, monkeypatch):
    found, address = objects
    assert run(["features", str(recipe), str(tmp_path / "near")]) == EXIT_OK
    expected = shards(contents(tmp_path / "near"))
    files, _ = remote.file_system(address)
    write, count = files.pipe_file, []

    def full(path, data, **options):
        if "/shard-" in path and len(count) == 1:
            denied()
        count.append(path) if "/shard-" in path else None
        return write(path, data, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files, "pipe_file", full)
        capsys.readouterr()
        assert run(["features", str(recipe), address]) != EXIT_OK
    assert "PermissionError: Access Denied. Check the network" in capsys.readouterr().err
    assert len(shards(found())) == 1 and shards(found()).items() < expected.items()
    assert run(["features", str(recipe), address]) == EXIT_OK
    assert shards(found()) == expected

    name = sorted(expected)[0]
    stored.write_at(f"{address}/{name}", found()[name][:-4], overwrite=True)
    capsys.readouterr()
    assert run(["features", str(recipe), address]) == EXIT_OK
    said = capsys.readouterr()
    assert "is damaged" in said.err and f"{address}/{name}" in said.err
    assert shards(found()) == expected


def test_a_cache_that_cannot_be_written_is_said_before_the_work(objects, recipe, capsys,
                                                                monkeypatch):
    found, address = objects
    files, _ = remote.file_system(address)
    monkeypatch.setattr(cache, "run_task", lambda *_: pytest.fail("work began"))
    for given, sentence in ((address, f"{address}/features-"),
                            ("s3://none/cache", "s3://none/cache/features-"),
                            ("https://host/x", "https://host/x cannot be written")):
        with monkeypatch.context() as patch:
            if given == address:
                patch.setattr(files, "pipe_file", denied)
            assert run(["features", str(recipe), given]) == EXIT_USAGE
        said = capsys.readouterr().err
        assert sentence in said and "cannot be written" in said and len(said.splitlines()) == 1
    assert found() == {}


def test_processes_write_a_cache_to_a_bucket(objects, recipe, tmp_path):
    """Two processes of this machine, as many recordings have; shards are cut as for two."""
    found, address = objects
    for where in (str(tmp_path / "near"), address):
        assert run(["features", str(recipe), where, "--set", "data.num_workers=2"]) == EXIT_OK
    assert shards(found()) == shards(contents(tmp_path / "near"))


@pytest.mark.slow  # a cluster starts in about ten seconds
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*:FutureWarning:ray")
def test_the_workers_of_a_cluster_write_to_a_bucket(objects, bundle, rows, recipe, tmp_path):
    """Features go there from the workers, times from the driver."""
    pytest.importorskip("ray", reason="the extra [ray] is not installed")
    from asr.fleet.cluster import Cluster
    from asr.fleet.features import fill_cache

    found, address = objects
    times = ["align", bundle, "--manifest", str(rows), "-f", "json", "-o"]
    with Cluster(workers=2).joined():
        there = fill_cache(load_recipe(recipe), Address(f"{address}/cache"), Cluster())
        assert run([*times, f"{address}/times", "--engine", "ray"]) == EXIT_SOME_FAILED
    assert (there.arrays, there.made, there.failed) == (12, 8, [])
    assert run([*times, str(tmp_path / "times")]) == EXIT_SOME_FAILED
    far = {name.removeprefix("times/"): data for name, data in found().items()
           if name.startswith("times/")}
    assert far == contents(tmp_path / "times")
    near = fill_cache(load_recipe(recipe), tmp_path / "near", None)
    assert near.made == 8
    assert len(shards(found())) >= 1


# -- asr evaluate


def test_a_score_in_a_bucket(objects, bundle, rows, tmp_path, capsys, monkeypatch):
    """The rows are those of a folder; nothing is replaced without --overwrite, and no mixture."""
    found, address = objects
    command = ["evaluate", bundle, str(rows), "--output-dir"]
    assert run([*command, str(tmp_path)]) == run([*command, address]) == EXIT_OK
    assert f"written: {address}/score.json" in capsys.readouterr().err
    near, far = contents(tmp_path), found()
    assert set(far) == {"utterances.jsonl", "score.json"}
    assert far["utterances.jsonl"] == near["utterances.jsonl"]
    assert json.loads(far["score.json"])["wer"] == json.loads(near["score.json"])["wer"]
    assert run([*command, address]) == EXIT_USAGE
    assert f"{address}/utterances.jsonl exists and is kept" in capsys.readouterr().err
    assert found() == far

    earlier = {**far, "score.json": b"of an earlier run"}
    stored.write_at(f"{address}/score.json", earlier["score.json"], overwrite=True)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    files, _ = remote.file_system(address)
    write = files.pipe_file
    for number, left in ((1, earlier), (2, earlier), (3, far), (4, far)):
        calls = []
        with monkeypatch.context() as patch:
            patch.setattr(files, "pipe_file", lambda *given, n=number, calls=calls, **options: (
                denied if len(calls) + 1 == n else calls.append(given) or write)(*given, **options))
            assert run([*command, f"{address}/", "--overwrite"]) not in (EXIT_OK, EXIT_USAGE)
        assert "Access Denied. The results are in" in capsys.readouterr().err
        kept = [path.read_bytes() for path in tmp_path.glob("asr-evaluate-*/utterances.jsonl")]
        assert kept == [near["utterances.jsonl"]] * number
        if left is earlier:  # nothing of it is touched before the new one is in the bucket
            assert left.items() <= found().items()
        else:  # no score beside the rows of another run, and a whole result
            assert set(found()) - {"utterances.jsonl"} == {"new-utterances.jsonl", "new-score.json"}
        stored.write_at(f"{address}/score.json", earlier["score.json"], overwrite=True)
    assert run([*command, address, "--overwrite"]) == EXIT_OK
    assert set(found()) == set(far)
    assert found()["utterances.jsonl"] == far["utterances.jsonl"]
    assert json.loads(found()["score.json"])["wer"] == json.loads(far["score.json"])["wer"]
