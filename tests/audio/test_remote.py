"""Recordings at addresses: a local HTTP server, and a local S3 server where moto is installed."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import io
import json
import threading

import numpy as np
import pytest
import soundfile
from local_s3 import s3_server
from tiny_bundle import write_bundle

import asr
from asr.audio import ahead, remote
from asr.cli import run
from asr.data.cache import build_cache
from asr.errors import EXIT_OK, EXIT_SOME_FAILED, AudioError, ManifestError
from asr.manifest.address import Address, is_address
from asr.recipe import FeatureSettings

fsspec = pytest.importorskip("fsspec", reason="the extra [remote] is not installed")
RATE = 16_000


def tone(seconds: float = 1.0) -> np.ndarray:
    return (0.3 * np.sin(np.arange(round(seconds * RATE)) * 0.1)).astype(np.float32)


def flac(audio: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio, RATE, format="FLAC")
    return file.getvalue()


@pytest.fixture
def web(tmp_path):
    """A folder, and the address of an HTTP server that shows it."""
    pytest.importorskip("aiohttp", reason="the extra [remote] is not installed")
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def bucket():
    """An S3 client and the address of a bucket in a server of our own."""
    with s3_server() as found:
        yield found


def manifest(tmp_path, address, **row):
    path = tmp_path / "all.jsonl"
    path.write_text(json.dumps({"id": "a", "audio_filepath": address, "text": "one",
                                "duration": 1.0, **row}) + "\n")
    return path


def check_all_uses(tmp_path, address):
    """A manifest is read, its recording loaded, its features cached, and nothing done twice."""
    (utterance,) = asr.read_manifest(manifest(tmp_path, address))
    assert utterance.audio == Address(address) and str(utterance.audio) == address
    assert asr.probe_audio(address).num_samples == RATE
    audio = asr.load_audio(address, sample_rate=RATE)
    np.testing.assert_allclose(audio, tone(), atol=1e-4)
    caches = [build_cache([utterance], FeatureSettings(), tmp_path / "cache", num_workers=workers,
                          on_error="fail") for workers in (2, 1)]
    assert [cache.num_extracted for cache in caches] == [1, 0]
    np.testing.assert_allclose(caches[0].read(0), asr.log_mel(audio, sample_rate=RATE), atol=1e-5)
    asr.write_manifest(tmp_path / "copy.jsonl", [utterance])
    assert asr.read_manifest(tmp_path / "copy.jsonl") == [utterance]


def test_http(web, tmp_path):
    folder, address = web
    (folder / "a b.flac").write_bytes(flac(tone()))
    check_all_uses(tmp_path, f"{address}/a%20b.flac")


def test_s3(bucket, tmp_path):
    client, address = bucket
    client.put_object(Bucket="speech", Key="one/a.flac", Body=flac(tone()))
    check_all_uses(tmp_path, f"{address}/one/a.flac")
    (utterance,) = asr.read_manifest(tmp_path / "all.jsonl")
    client.put_object(Bucket="speech", Key="one/a.flac", Body=flac(-tone()))
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    assert build_cache([utterance], FeatureSettings(), tmp_path / "cache").num_extracted == 1
    with pytest.raises(AudioError, match="s3://speech/none.flac does not exist"):
        asr.load_audio(f"{address}/none.flac", sample_rate=RATE)


def test_what_cannot_be_read_is_one_sentence(web, tmp_path):
    folder, address = web
    with pytest.raises(AudioError, match="none.wav does not exist. Check the address") as caught:
        asr.load_audio(f"{address}/none.wav?signature=secret", sample_rate=RATE)
    assert caught.value.code == "audio.missing" and "secret" not in str(caught.value)
    with pytest.raises(AudioError, match="cannot be read: .* Check the network") as caught:
        asr.load_audio("http://127.0.0.1:1/a.wav", sample_rate=RATE)
    assert caught.value.code == "audio.unreadable"
    (folder / "text.wav").write_text("hello, this is text")
    with pytest.raises(AudioError, match="no recording we know"):
        asr.load_audio(f"{address}/text.wav", sample_rate=RATE)
    utterances = asr.read_manifest(manifest(tmp_path, f"{address}/none.wav"))
    (record,) = build_cache(utterances, FeatureSettings(), tmp_path / "cache").failed
    assert record["code"] == "audio.missing"


def test_a_recording_without_end_is_refused(web, monkeypatch):
    folder, address = web
    (folder / "a.flac").write_bytes(flac(tone()))
    monkeypatch.setattr(remote, "MAX_REMOTE_BYTES", 100)
    with pytest.raises(AudioError, match="more than 100 bytes"):
        asr.load_audio(f"{address}/a.flac", sample_rate=RATE)


def test_without_the_extra_one_sentence_names_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for read in (remote.read_address, remote.version_of):
        with pytest.raises(AudioError, match=r'pip install "keras-asr\[remote\]"'):
            read("s3://speech/a.wav")
    monkeypatch.undo()
    monkeypatch.setattr(remote, "_file_system", lambda address: __import__("no_s3fs"))
    with pytest.raises(AudioError, match=r"No module named 'no_s3fs'.*keras-asr\[remote\]"):
        remote.read_address("s3://speech/a.wav")


@pytest.mark.parametrize("text, found", [
    ("s3://b/a.wav", True), ("gs://b/a.wav", True), ("https://h/a.wav", True), ("a.wav", False),
    ("http:/h/a.wav", False), ("s3://", False), ("file:///a.wav", False), ("ftp://h/a", False)])
def test_what_is_an_address(text, found, tmp_path):
    assert is_address(text) is found
    if text.startswith(("ftp", "file")):
        with pytest.raises(ManifestError, match="is not a plain path; expected"):
            asr.read_manifest(manifest(tmp_path, text))


def test_the_parts_of_an_address():
    address = Address("https://host/a/b.c.flac?x=1/2")
    assert (address.name, address.suffix) == ("b.c.flac", ".flac")
    assert Address("s3://b/c").suffix == ""


def packed(tmp_path, address: str):
    """Two recordings in a shard, and the manifest that finds them at an address."""
    from asr.corpora.sharding import Settings, write_shards
    from asr.manifest import Utterance

    for name, seconds in (("a", 1.0), ("b", 0.5)):
        (tmp_path / f"{name}.flac").write_bytes(flac(tone(seconds)))
    write_shards({"train": [Utterance(name, tmp_path / f"{name}.flac", name, seconds)
                            for name, seconds in (("a", 1.0), ("b", 0.5))]},
                 tmp_path / "out", Settings(address=address))
    return tmp_path / "out", asr.read_manifest(tmp_path / "out/train.remote.jsonl")


def test_shards_in_a_bucket_are_read_as_streams_beside_local_ones(bucket, tmp_path, monkeypatch):
    """The features are those of the files; 40 recordings of a shard need three requests."""
    from asr.corpora.sharding import Settings, write_shards
    from asr.manifest import Utterance

    client, address = bucket
    (tmp_path / "in").mkdir()
    rows = []
    for number in range(80):
        path = tmp_path / f"in/{number:02d}.flac"
        path.write_bytes(flac(tone(0.1 + 0.001 * number)))
        rows.append(Utterance(path.stem, path, "one", 0.1 + 0.001 * number))
    out = tmp_path / "out"
    write_shards({"train": rows}, out, Settings(shard_recordings=40, address=address))
    client.upload_file(str(out / "train-000001.tar"), "speech", "train-000001.tar")
    here, there = (asr.read_manifest(out / name) for name in ("train.jsonl", "train.remote.jsonl"))
    files, _ = remote._file_system(address)  # fsspec has one of a kind
    requests, fetch = [], files.cat_file
    monkeypatch.setattr(files, "cat_file", lambda *a, **k: requests.append(k) or fetch(*a, **k))
    mixed = [*here[:40], *there[40:]]
    found = [asr.load_audio(row.audio, sample_rate=RATE) for row in mixed]
    assert 1 <= len(requests) <= 3
    for row, audio in zip(mixed, found, strict=True):
        np.testing.assert_array_equal(audio, asr.load_audio(tmp_path / f"in/{row.id}.flac",
                                                            sample_rate=RATE))
    cache = build_cache(mixed, FeatureSettings(), tmp_path / "cache", num_workers=1)
    alone = build_cache(rows, FeatureSettings(), tmp_path / "alone", num_workers=1)
    assert {row.id for row in cache.rows} == {row.id for row in alone.rows}
    places = {row.id: index for index, row in enumerate(alone.rows)}
    for index, row in enumerate(cache.rows):
        np.testing.assert_array_equal(cache.read(index), alone.read(places[row.id]))


def test_a_shard_in_a_bucket(bucket, tmp_path, monkeypatch):
    """One recording is one request for its part; the shard's version is asked for once."""
    client, address = bucket
    out, rows = packed(tmp_path, address)
    client.upload_file(str(out / "train-000000.tar"), "speech", "train-000000.tar")
    for row in rows:
        np.testing.assert_array_equal(
            asr.load_audio(row.audio, sample_rate=RATE),
            asr.load_audio(tmp_path / f"{row.id}.flac", sample_rate=RATE))
    asked = []
    find = remote._file_system
    monkeypatch.setattr(remote, "_file_system", lambda one: asked.append(one) or find(one))
    cache = build_cache(rows, FeatureSettings(), tmp_path / "cache")
    assert len(cache) == 2 and asked == [f"{address}/train-000000.tar"] * 3
    monkeypatch.setattr(ahead, "FRESH_SECONDS", 0.0)
    client.put_object(Bucket="speech", Key="train-000000.tar", Body=b"shorter")
    with pytest.raises(AudioError) as caught:
        asr.load_audio(rows[0].audio, sample_rate=RATE)
    assert caught.value.code in ("audio.unreadable", "audio.missing")


def test_a_server_that_sends_no_parts(web, tmp_path):
    folder, address = web
    out, rows = packed(tmp_path, address)
    (folder / "train-000000.tar").write_bytes((out / "train-000000.tar").read_bytes())
    with pytest.raises(AudioError, match="sends no parts"):
        asr.load_audio(rows[0].audio, sample_rate=RATE)


def test_a_part_that_is_too_long(monkeypatch):
    with pytest.raises(AudioError, match="more than") as caught:
        asr.load_audio("s3://speech/a.tar#bytes=0-99999999999", sample_rate=RATE)
    assert caught.value.code == "audio.too_long"


def test_recordings_and_shards_in_a_bucket_are_transcribed_like_files(bucket, tmp_path, capsys):
    """Names, transcripts and failures; a rerun keeps what is there."""
    client, address = bucket
    out, _ = packed(tmp_path, address)
    client.upload_file(str(out / "train-000000.tar"), "speech", "all/train-000000.tar")
    client.upload_file(str(tmp_path / "a.flac"), "speech", "all/a b.flac")
    bundle = ["--bundle", str(write_bundle(tmp_path / "tiny.asr"))]
    inputs = [f"{address}/all/train-000000.tar", f"{address}/all/a%20b.flac"]
    client.copy_object(Bucket="speech", Key="all/a%20b.flac", CopySource="speech/all/a b.flac")
    assert run(["transcribe", *inputs, f"{address}/none.flac", *bundle, "-o",
                str(tmp_path / "far")]) == EXIT_SOME_FAILED
    said = capsys.readouterr().err
    assert "s3://speech/none.flac" in said and "audio.missing" in said
    assert run(["transcribe", str(out / "train-000000.tar"), str(tmp_path / "a.flac"), *bundle,
                "-o", str(tmp_path / "near")]) == EXIT_OK
    far, near = ({str(path.relative_to(tmp_path / name)): path.read_text() for path in
                  (tmp_path / name).rglob("*.txt")} for name in ("far", "near"))
    assert far.pop("a b.txt") == near.pop("a.txt")
    assert far == near and set(far) == {"train-000000/a.txt", "train-000000/b.txt"}
    capsys.readouterr()
    assert run(["transcribe", *inputs, *bundle, "-o", str(tmp_path / "far")]) == EXIT_OK
    assert "3 of 3 transcripts existed" in capsys.readouterr().err


def test_a_shard_that_cannot_be_listed_is_one_sentence(bucket, tmp_path, capsys):
    client, address = bucket
    client.put_object(Bucket="speech", Key="text.tar", Body=2_000 * b"no tar")
    bundle = ["--bundle", str(write_bundle(tmp_path / "tiny.asr"))]
    assert run(["transcribe", f"{address}/text.tar", f"{address}/none.tar", *bundle, "-o",
                str(tmp_path / "far")]) == EXIT_SOME_FAILED
    said = capsys.readouterr().err
    assert "s3://speech/text.tar cannot be read as a tar file" in said
    assert "s3://speech/none.tar does not exist" in said
