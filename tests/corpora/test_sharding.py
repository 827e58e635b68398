"""Manifests as tar shards: whole or not at all, resumed, the same bytes, read by the peer."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_bundle import write_bundle

from asr.audio import load_utterance
from asr.cli import run
from asr.corpora import load_corpus
from asr.corpora.collect import Checks
from asr.corpora.sharding import RECORD, SUMS, Settings, write_shards
from asr.errors import (
    EXIT_DATA,
    EXIT_OK,
    EXIT_SOME_FAILED,
    EXIT_USAGE,
    AudioError,
    UsageError,
)
from asr.files import sha256_file
from asr.fleet.worklist import OutputFolder, find_items
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.manifest.address import Address, split_part

COUNT = 7


def text_of(number: int) -> str:
    return f"bad {'abcdefgh'[number]}"


@pytest.fixture
def manifest(tmp_path) -> Path:
    """Seven recordings, of one of which there are two parts."""
    rows = []
    for number in range(COUNT):
        path = tmp_path / f"in/{number}.v1.WAV"
        path.parent.mkdir(exist_ok=True)
        noise = 0.1 * np.random.default_rng(number).normal(size=4_000)
        soundfile.write(path, noise, 8_000, format="WAV")
        rows.append(Utterance(f"ütt.{number}", path, text_of(number), 0.5, "anna" if number else
                              ""))
    rows[2:3] = [replace(rows[2], id="2a", duration=0.25, channel=1),
                 replace(rows[2], id="2b", duration=0.25, offset=0.25)]
    write_manifest(tmp_path / "train.jsonl", rows)
    return tmp_path / "train.jsonl"


def members(tar: Path) -> list[str]:
    with tarfile.open(tar) as archive:
        return archive.getnames()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_rows_are_the_same_and_so_are_their_samples(manifest, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(["shard", str(manifest), str(out), "--count", "3"]) == EXIT_OK
    assert capsys.readouterr().out == f"{out / 'train.jsonl'}\n"
    before, after = read_manifest(manifest), read_manifest(out / "train.jsonl")
    by_id = {u.id: u for u in before}
    assert {replace(u, audio=by_id[u.id].audio) for u in after} == set(before)
    assert [u.id for u in after] != [u.id for u in before], "shuffled"
    for row in after:
        np.testing.assert_array_equal(load_utterance(row, sample_rate=16_000),
                                      load_utterance(by_id[row.id], sample_rate=16_000))
    tars = sorted(out.glob("*.tar"))
    assert [len(members(tar)) for tar in tars] == [6, 6, 2]
    used = [str(u.audio) for u in after]
    assert used == sorted(used, key=lambda path: (os.path.dirname(path), used.index(path)))
    assert (out / SUMS).read_text() == "".join(f"{sha256_file(tar)}  {tar.name}\n" for tar in tars)
    # The folder works wherever it is.
    out.rename(tmp_path / "moved")
    assert run(["validate", str(tmp_path / "moved/train.jsonl"), "--decode"]) == EXIT_OK


def test_the_order_is_that_of_the_seed(manifest, tmp_path):
    rows = {"train": read_manifest(manifest)}
    for name, seed in (("a", 1), ("b", 1), ("c", 2), ("kept", None)):
        write_shards(rows, tmp_path / name, Settings(seed=seed))
    a, b, c, kept = (contents(tmp_path / name) for name in ("a", "b", "c", "kept"))
    assert a == b
    assert a["train-000000.tar"] != c["train-000000.tar"]
    assert [u.id for u in read_manifest(tmp_path / "kept/train.jsonl")] == [
        u.id for u in rows["train"]]
    assert json.loads(c[RECORD])["seed"] == 2 and json.loads(kept[RECORD])["seed"] is None


def test_a_shard_is_full_by_bytes(manifest, tmp_path):
    one = 8_044  # bytes of a recording
    counts = write_shards({"train": read_manifest(manifest)}, tmp_path / "out",
                          Settings(shard_bytes=one + 1))
    assert counts == {"train": 4}
    assert [len(members(tar)) for tar in sorted((tmp_path / "out").glob("*.tar"))] == [4, 4, 4, 2]


def test_what_exists_is_kept(manifest, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert run(["shard", str(manifest), str(tmp_path / "out")]) == EXIT_USAGE
    assert "exists and is kept" in capsys.readouterr().err
    assert run(["shard", str(manifest), str(tmp_path / "no/out")]) == EXIT_USAGE
    assert run(["shard", str(manifest), str(manifest), str(tmp_path / "two")]) == EXIT_USAGE
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "out", "train.jsonl"]


def test_a_recording_that_is_missing_leaves_nothing_and_the_rerun_goes_on(manifest, tmp_path,
                                                                          capsys):
    gone = tmp_path / "in/5.v1.WAV"
    data = gone.read_bytes()
    gone.unlink()
    command = ["shard", str(manifest), str(tmp_path / "out"), "--count", "1", "--keep-order"]
    assert run(command) == EXIT_DATA
    assert "5.v1.WAV does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    work = tmp_path / ".out.asr-shards"
    made = {path.name: path.stat().st_mtime_ns for path in work.glob("*.tar")}
    assert len(made) == 5 and not list(work.glob("*.tmp"))
    gone.write_bytes(data)
    assert run([*command, "--seed", "0", "--megabytes", "1"]) == EXIT_USAGE, "other arguments"
    assert "other arguments" in capsys.readouterr().err
    assert run(command) == EXIT_OK
    assert not work.exists()
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    assert made.items() <= after.items() and len(after) == COUNT
    assert run([*command[:2], str(tmp_path / "at once"), *command[3:]]) == EXIT_OK
    assert contents(tmp_path / "at once") == contents(tmp_path / "out")


def test_what_another_wrote_into_unfinished_shards_is_refused(manifest, tmp_path):
    (tmp_path / "in/6.v1.WAV").unlink()
    rows = {"train": read_manifest(manifest)}
    settings = Settings(seed=None, shard_recordings=3)
    with pytest.raises(AudioError, match="does not exist"):
        write_shards(rows, tmp_path / "out", settings)
    first = tmp_path / ".out.asr-shards/train-000000.tar"
    with tarfile.open(first, "w") as archive:
        archive.addfile(tarfile.TarInfo("other.wav"), io.BytesIO())
    with pytest.raises(UsageError, match="not what this command wrote"):
        write_shards(rows, tmp_path / "out", settings)


def test_killed_between_two_shards(manifest, tmp_path):
    """Killed before the first shard has its name, then after everything but the folder's name."""
    command = [sys.executable, "-m", "asr", "shard", str(manifest), str(tmp_path / "out"),
               "--count", "2"]
    died = subprocess.run(command, env={**os.environ, "ASR_TESTING": "1",
                                        "ASR_FAILPOINT": "file.before_rename"})
    assert died.returncode == -9 and not (tmp_path / "out").exists()
    assert run(command[3:]) == EXIT_OK
    assert not list((tmp_path / "out").glob("*.tmp")) and len(contents(tmp_path / "out")) == 7


def test_a_recording_that_shrinks_while_it_is_packed(manifest, tmp_path, monkeypatch):
    class Shrinking(io.BytesIO):
        def read(self, *_):
            return b""

    from contextlib import contextmanager

    @contextmanager
    def open_source(source):
        yield Shrinking(b"RIFF"), str(source)

    monkeypatch.setattr("asr.corpora.sharding.open_source", open_source)
    with pytest.raises(AudioError, match="changed while it was read"):
        write_shards({"train": read_manifest(manifest)}, tmp_path / "out")


def test_names_in_a_shard_are_plain_and_unique(tmp_path):
    """Keys have no dot, for WebDataset, and differ in more than capitals."""
    path = tmp_path / "a.flac"
    soundfile.write(path, np.zeros(4_000), 8_000)
    names = ["a.b", "a_b", "A_B", "../a", "x" * 300, "日本"]
    rows = []
    for number, name in enumerate(names):
        copy = tmp_path / f"{number}.flac"
        copy.write_bytes(path.read_bytes())
        rows.append(Utterance(name, copy, "text", 0.5))
    strange = tmp_path / "noise.xyz"
    strange.write_bytes(path.read_bytes())
    rows.append(Utterance("end", strange, "text", 0.5))
    write_shards({"train": rows}, tmp_path / "out", Settings(seed=None))
    found = [name for name in members(tmp_path / "out/train-000000.tar")
             if not name.endswith(".json")]
    assert found == ["a_b.flac", "a_b-2.flac", "A_B-3.flac", "___a.flac", f"{'x' * 80}.flac",
                     "__.flac", "end.audio"]
    assert read_manifest(tmp_path / "out/train.jsonl")[3].id == "../a"


def test_recordings_at_addresses_are_fetched(manifest, tmp_path, monkeypatch):
    """From a bucket to shards on a disk."""
    files = {f"s3://speech/{u.id}.wav": u for u in read_manifest(manifest) if not u.offset}
    monkeypatch.setattr("asr.audio.source.read_address",
                        lambda address: files[address].audio.read_bytes())
    write_shards({"train": [replace(u, audio=Address(name)) for name, u in files.items()]},
                 tmp_path / "out")
    for row in read_manifest(tmp_path / "out/train.jsonl"):
        np.testing.assert_array_equal(
            load_utterance(row, sample_rate=8_000),
            load_utterance(files[f"s3://speech/{row.id}.wav"], sample_rate=8_000))


def test_shards_that_are_copied_to_an_address(manifest, tmp_path, monkeypatch, capsys):
    command = ["shard", str(manifest), str(tmp_path / "out"), "--count", "3", "--address"]
    assert run([*command, "/no/address"]) == EXIT_USAGE
    assert "s3://" in capsys.readouterr().err and not (tmp_path / "out").exists()
    assert run([*command, "s3://speech/shards/"]) == EXIT_OK
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in (
        "train.jsonl", "train.remote.jsonl")]
    here = read_manifest(tmp_path / "out/train.jsonl")
    there = read_manifest(tmp_path / "out/train.remote.jsonl")
    assert [replace(u, audio=Path()) for u in here] == [replace(u, audio=Path()) for u in there]
    monkeypatch.setattr("asr.audio.source.read_address", lambda address: part_of(
        tmp_path / "out", address))
    for mine, theirs in zip(here, there, strict=True):
        np.testing.assert_array_equal(load_utterance(mine, sample_rate=8_000),
                                      load_utterance(theirs, sample_rate=8_000))


def test_a_manifest_that_has_the_name_of_another(manifest, tmp_path):
    rows = read_manifest(manifest)
    with pytest.raises(UsageError, match="train.remote.jsonl"):
        write_shards({"train": rows, "train.remote": rows}, tmp_path / "out",
                     Settings(address="s3://speech"))


def part_of(folder: Path, address: str) -> bytes:
    whole, part = split_part(address)
    assert whole.startswith("s3://speech/shards/train-00000")
    return (folder / whole.rpartition("/")[2]).read_bytes()[slice(*part)]


def test_a_packed_manifest_is_packed_again(manifest, tmp_path):
    """Recordings may come from shards: from a thousand to a hundred."""
    for source, out, count in ((manifest, "small", 1), (tmp_path / "small/train.jsonl", "big", 0)):
        assert run(["shard", str(source), str(tmp_path / out), "--count", str(count),
                    "--allow-outside-root"]) == EXIT_OK
    rows = {u.id: u for u in read_manifest(manifest)}
    for row in read_manifest(tmp_path / "big/train.jsonl"):
        np.testing.assert_array_equal(load_utterance(row, sample_rate=8_000),
                                      load_utterance(rows[row.id], sample_rate=8_000))


def test_prepare_reads_our_shards(manifest, tmp_path):
    write_shards({"train": read_manifest(manifest)}, tmp_path / "out")
    prepared = load_corpus("webdataset").prepare(
        tmp_path / "out", checks=Checks(extract_to=tmp_path / "audio"))
    assert {(u.text, u.speaker) for u in prepared["train"]} == {
        (text_of(n), "anna" if n else "") for n in range(COUNT) if n != 2}


def test_prepare_leaves_recordings_in_their_shards(manifest, tmp_path, capsys):
    write_shards({"train": read_manifest(manifest)}, tmp_path / "out",
                 Settings(shard_recordings=4))
    made = ["prepare", "webdataset", str(tmp_path / "out"), str(tmp_path / "made")]
    assert run([*made, "--recordings", "leave"]) == EXIT_SOME_FAILED, "two parts have no text"
    assert not (tmp_path / "made/audio").exists()
    texts = {u.text: u for u in read_manifest(manifest)}
    found = read_manifest(tmp_path / "made/train.jsonl")
    assert len(found) == COUNT - 1
    for row in found:
        np.testing.assert_array_equal(load_utterance(row, sample_rate=8_000),
                                      load_utterance(texts[row.text], sample_rate=8_000))
    assert run([*made, "--overwrite", "--recordings", "elsewhere"]) == EXIT_USAGE
    data = (tmp_path / "out/train-000000.tar").read_bytes()
    (tmp_path / "out/train-000009.tar.gz").write_bytes(gzip.compress(data))
    capsys.readouterr()
    assert run([*made, "--overwrite", "--recordings", "leave"]) == EXIT_DATA
    assert "gunzip" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["{0}", "../{1}", "../../{1}", "link.wav"])
def test_a_name_in_a_shard_leads_to_no_other_file(manifest, tmp_path, name):
    """Neither an absolute path nor one upwards nor a link reaches a recording outside."""
    secret = tmp_path / "in/0.v1.WAV"
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards/train-0.tar", "w") as archive:
        member = tarfile.TarInfo(name.format(secret, "in/0.v1.WAV").replace("0.v1.WAV", "0.wav"))
        if name == "link.wav":
            member.type, member.linkname = tarfile.SYMTYPE, str(secret)
        archive.addfile(member)
        (tmp_path / "in/0.wav").write_bytes(secret.read_bytes())
        text = tarfile.TarInfo(f"{member.name.removesuffix('wav')}txt")
        text.size = 3
        archive.addfile(text, io.BytesIO(b"bad"))
    prepared = load_corpus("webdataset").prepare(tmp_path / "shards", recordings="leave")
    assert not prepared.get("train") and len(prepared.excluded) == 1


def test_the_peer_reads_our_shards(manifest, tmp_path):
    """In a process of its own: the peer leaves files to the garbage collector."""
    pytest.importorskip("webdataset", reason="not installed: pip install webdataset")
    write_shards({"train": read_manifest(manifest)}, tmp_path / "out",
                 Settings(shard_recordings=4))
    code = ("import hashlib, json, sys, webdataset\n"
            "for sample in webdataset.WebDataset(sys.argv[1:], shardshuffle=False):\n"
            "    row = json.loads(sample['json'])\n"
            "    for one in row.get('utterances', [row]):\n"
            "        print(json.dumps([one['id'], one['text'],\n"
            "                          hashlib.sha256(sample['wav']).hexdigest()]))\n")
    shards = sorted(map(str, (tmp_path / "out").glob("*.tar")))
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code, *shards], text=True,
                          capture_output=True)
    assert done.returncode == 0, done.stderr
    found = sorted(json.loads(line) for line in done.stdout.splitlines())
    assert found == sorted([u.id, u.text, sha256_file(u.audio)] for u in read_manifest(manifest))


def test_a_tar_file_is_a_list_of_recordings_to_transcribe(manifest, tmp_path):
    write_shards({"train": read_manifest(manifest)}, tmp_path / "out",
                 Settings(shard_recordings=4, seed=None))
    shards = sorted((tmp_path / "out").glob("*.tar"))
    items, errors = find_items([str(shards[0]), f"{tmp_path}/out/*1.tar"])
    assert not errors and len(items) == COUNT
    assert items[0].path == f"{shards[0]}/_tt_0.wav"
    outputs = OutputFolder(tmp_path / "texts", "txt")
    outputs.claim(items)
    assert outputs.output(items[0]) == tmp_path / "texts/train-000000/_tt_0.txt"
    single, errors = find_items([f"{shards[0]}/_tt_0.wav"])
    assert [item.path for item in single] == [items[0].path] and not errors
    (tmp_path / "bad.tar").write_bytes(b"x" * 2_000)
    with tarfile.open(tmp_path / "empty.tar", "w") as archive:
        archive.addfile(tarfile.TarInfo("notes.txt"), io.BytesIO())
    items, errors = find_items([str(tmp_path / "bad.tar"), str(tmp_path / "empty.tar")])
    assert not items and [error.code for error in errors] == ["audio.unreadable", "audio.missing"]
    assert "holds no recording" in str(errors[1])


def test_evaluate_align_and_audit_are_those_of_the_files(manifest, tmp_path, capsys):
    bundle = write_bundle(tmp_path / "tiny.asr")
    assert run(["shard", str(manifest), str(tmp_path / "out"), "--count", "3"]) == EXIT_OK
    capsys.readouterr()
    results = []
    for path in (manifest, tmp_path / "out/train.jsonl"):
        assert run(["evaluate", str(bundle), str(path), "--json"]) == EXIT_OK
        found = json.loads(capsys.readouterr().out)
        results.append([found["wer"], found["cer"]])
        times = tmp_path / f"times-{path.parent.name}"
        assert run(["align", "--bundle", str(bundle), "--manifest", str(path), "-f", "json", "-o",
                    str(times)]) in (EXIT_OK, EXIT_SOME_FAILED)
        results[-1].append({file.name: file.read_bytes() for file in times.iterdir()})
        capsys.readouterr()
        assert run(["audit", str(path), "--bundle", str(bundle), "--json"]) == EXIT_OK
        found = json.loads(capsys.readouterr().out)
        results[-1].append([{**one, "audio": ""} for one in found["suspects"]])
    assert results[0] == results[1] and all(results[0][1:])
    assert run(["audit", str(manifest), str(tmp_path / "out/train.jsonl"), "--json"]) == EXIT_DATA
    found = json.loads(capsys.readouterr().out)
    assert sum(leak["code"] == "split.audio" for leak in found["leaks"]) == COUNT + 1
