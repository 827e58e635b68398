"""Tar shards that go to an address when they are full: a local S3 server, where moto is there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from local_s3 import contents, new_place

from asr.audio import load_utterance, remote
from asr.audio import objects as stored
from asr.cli import run
from asr.errors import EXIT_DATA, EXIT_OK, EXIT_USAGE
from asr.manifest import Utterance, read_manifest, write_manifest

pytest.importorskip("fsspec", reason="the extra [remote] is not installed")


@pytest.fixture
def objects(server):
    """The names and contents below an address of this test alone, and this address."""
    return new_place(server, "shards")


@pytest.fixture
def manifest(tmp_path) -> Path:
    rows = []
    for number in range(7):
        soundfile.write(tmp_path / f"{number}.wav",
                        0.1 * np.random.default_rng(number).normal(size=4_000), 8_000)
        rows.append(Utterance(f"ü {number}", tmp_path / f"{number}.wav", "bad", 0.5))
    write_manifest(tmp_path / "train.jsonl", rows)
    return tmp_path / "train.jsonl"


def test_shards_go_to_the_address_and_a_rerun_goes_on(objects, manifest, tmp_path, capsys,
                                                      monkeypatch):
    """The bytes of a folder; after a failure those that are there are neither packed nor sent."""
    found, address = objects
    near, out = tmp_path / "near", tmp_path / "out"
    sizes = ["--count", "3", "--address", address]
    assert run(["shard", str(manifest), str(near), *sizes]) == EXIT_OK
    command = ["shard", str(manifest), str(out), *sizes, "--upload"]
    files, _ = remote.file_system(address)
    put, sent = files.put_file, []

    def full(path, where, **options):
        if len(sent) == 1:
            raise PermissionError("Access Denied")
        sent.append(Path(path).name)
        return put(path, where, **options)

    with monkeypatch.context() as patch:
        patch.setattr(files, "put_file", full)
        capsys.readouterr()
        assert run(command) not in (EXIT_OK, EXIT_USAGE, EXIT_DATA)
    assert (f"Cannot write {address}/train-000001.tar: PermissionError: Access Denied."
            in capsys.readouterr().err)
    assert set(found()) == {"train-000000.tar"} and not out.exists()

    with monkeypatch.context() as patch:
        patch.setattr(files, "put_file", lambda path, where: sent.append(
            Path(path).name) or put(path, where))
        assert run(command) == EXIT_OK
    assert sent == [f"train-00000{number}.tar" for number in range(3)]
    assert capsys.readouterr().out == f"{out / 'train.remote.jsonl'}\n"
    whole, far = contents(near), contents(out)
    assert found() == {name: data for name, data in whole.items() if name.endswith(".tar")}
    assert far.keys() - {f"train-00000{number}.json" for number in range(3)} == {
        "train.remote.jsonl", "shards.json", "SHA256SUMS"}
    assert all(far[name] == whole[name] for name in ("train.remote.jsonl", "SHA256SUMS"))
    before = {row.id: row for row in read_manifest(manifest)}
    for row in read_manifest(out / "train.remote.jsonl"):
        np.testing.assert_array_equal(load_utterance(row, sample_rate=8_000),
                                      load_utterance(before.pop(row.id), sample_rate=8_000))
    assert not before


def test_what_is_at_the_address_is_kept(objects, manifest, tmp_path, capsys):
    found, address = objects
    stored.write_at(f"{address}/train-000004.tar", b"theirs", overwrite=True)
    stored.write_at(f"{address}/trains-000000.tar", b"others", overwrite=True)
    before = found()
    command = ["shard", str(manifest), str(tmp_path / "out"), "--upload", "--address"]
    assert run([*command, address]) == EXIT_USAGE
    assert f"{address}/train-000004.tar exists and is kept" in capsys.readouterr().err
    assert found() == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize("given, sentence", [
    (["out", "--upload"], "--upload needs --address, such as s3://speech/shards."),
    (["out", "--upload", "--address", "https://host/x"], "https://host/x cannot be written: asr"),
    (["out", "--upload", "--address", "s3://none/x"], "s3://none/x cannot be listed: FileNotFound"),
    (["s3://speech/x"], "Give a folder, and --address URL --upload for the tar files."),
])
def test_what_cannot_be_is_one_sentence(server, manifest, tmp_path, capsys, monkeypatch, given,
                                        sentence):
    monkeypatch.chdir(tmp_path)
    assert run(["shard", str(manifest), *given]) == EXIT_USAGE
    said = capsys.readouterr().err
    assert sentence in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob("s3*"))


def test_a_damaged_record_of_an_upload_is_named(objects, manifest, tmp_path, capsys, monkeypatch):
    _, address = objects
    files, _ = remote.file_system(address)
    put = files.put_file
    command = ["shard", str(manifest), str(tmp_path / "out"), "--count", "3", "--upload",
               "--address", address]
    with monkeypatch.context() as patch:
        patch.setattr(files, "put_file", lambda path, where: (_ for _ in ()).throw(OSError("gone"))
                      if "000001" in where else put(path, where))
        run(command)
    record = tmp_path / ".out.asr-shards/train-000000.json"
    table = json.loads(record.read_text())
    for broken in (b"", b"[]", b'{"files": {"a": 1}}', json.dumps({
            **table, "files": dict(list(table["files"].items())[:-1])}).encode()):
        record.write_bytes(broken)
        capsys.readouterr()
        assert run(command) == EXIT_USAGE
        assert f"{record} is not what this command wrote. Remove it" in capsys.readouterr().err
    record.unlink()
    assert run(command) == EXIT_OK
