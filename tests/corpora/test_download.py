from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import asr.corpora.download as download
import asr.corpora.unpack as unpacking
from asr.cli import run
from asr.corpora import CORPORA, fsdd, librispeech, load_corpus
from asr.corpora.download import WORK_FOLDER, Package, fetch
from asr.errors import CorpusError

NOISE = os.urandom(200_000)   # does not shrink, so the archive is longer than a few blocks


def member(name: str, data: bytes = b"x", **fields) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def tarball(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return raw.getvalue()


GOOD = tarball(member("fsdd-1/", type=tarfile.DIRTYPE, data=b""), member("fsdd-1/README.md", b"hi"),
               member("fsdd-1/recordings/1_a_0.wav", NOISE),
               member("fsdd-1/recordings/2_a_0.wav", b"two"), member("fsdd-1/setup.py", b"evil"))


CHUNKS = ("-5", "zz", 5_000 * "9", "")  # lengths of the first chunk


class Handler(BaseHTTPRequestHandler):
    """Serves `server.files[path]` with Range, after the faults that a test has planned."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        fault = server.faults.pop(0) if server.faults else None
        if isinstance(fault, int):
            self.send_response(fault)
            self.send_header("Location", server.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data, kind = server.files.get(self.path, (b"", None))
        if kind is None:
            self.send_error(404)
            return
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        first = 0
        wanted = self.headers.get("Range", "")
        if wanted and server.ranges and self.headers.get("If-Range") in (None, etag):
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            if first >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            shown = 0 if fault == "wrong range" else first
            self.send_header("Content-Range", f"bytes {shown}-{len(data) - 1}/{len(data)}")
        else:
            self.send_response(200)
        body = data[first:]
        self.send_header("Content-Type", kind)
        if server.etags:
            self.send_header("ETag", etag)
        if fault in CHUNKS:
            self.send_header("Transfer-Encoding", "chunked")
            body = fault.encode() + b"\r\n" + body
        elif fault != "no length":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if isinstance(fault, tuple):   # ("cut", n): break the connection after n bytes
            body = body[:fault[1]]
        self.wfile.write(body)
        if fault is not None:
            self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """A server on this machine; `faults` are used up one a request."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.files = {"/a.tar.gz": (GOOD, "application/gzip")}
    server.faults, server.requests, server.location = [], [], ""
    server.ranges = server.etags = True
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def archive(server, data: bytes = GOOD, **changes) -> Package:
    fields = {"url": f"{server.url}/a.tar.gz", "provides": "recordings", "strip": 1,
              "members": ("recordings/*.wav", "README.md"), "size": len(data),
              "sha256": hashlib.sha256(data).hexdigest()}
    return Package(**(fields | changes))


def listing(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


UNPACKED = ["README.md", "recordings/1_a_0.wav", "recordings/2_a_0.wav"]


def test_fetch_checks_and_unpacks(server, tmp_path):
    seen = []
    wanted = archive(server)
    digest = fetch(wanted, tmp_path, progress=lambda *p: seen.append(p))
    assert digest == wanted.sha256 and listing(tmp_path) == UNPACKED
    assert (tmp_path / "recordings" / "1_a_0.wav").read_bytes() == NOISE
    assert seen[-1] == (len(GOOD), len(GOOD)) and not (tmp_path / WORK_FOLDER).exists()


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    fetch(archive(server), tmp_path)
    assert fetch(archive(server), tmp_path) == "" and len(server.requests) == 1


def test_the_archive_can_be_kept(server, tmp_path):
    fetch(archive(server), tmp_path, keep_archive=True)
    assert (tmp_path / WORK_FOLDER / "a.tar.gz").read_bytes() == GOOD


# Transfers that break ----------------------------------------------------------------------------


def test_a_broken_transfer_goes_on_where_it_was(server, tmp_path):
    server.faults = [("cut", 50_000), 500, ("cut", 30_000)]
    assert fetch(archive(server), tmp_path, pause=0) and listing(tmp_path) == UNPACKED
    starts = [request.get("Range") for request in server.requests]
    assert starts == [None, "bytes=50000-", "bytes=50000-", "bytes=80000-"]


def test_a_second_call_resumes_the_first(server, tmp_path):
    server.faults = [("cut", 50_000)]
    with pytest.raises(CorpusError, match=r"ended after 50,000 bytes .* again to go on") as caught:
        fetch(archive(server), tmp_path, attempts=1)
    assert caught.value.code == "corpus.transfer" and caught.value.exit_code == 4
    fetch(archive(server), tmp_path)
    assert server.requests[1]["Range"] == "bytes=50000-" and listing(tmp_path) == UNPACKED


@pytest.mark.parametrize("setting", ["ranges", "etags"])
def test_without_ranges_or_versions_it_starts_over(server, tmp_path, setting):
    setattr(server, setting, False)
    server.faults = [("cut", 50_000)]
    fetch(archive(server), tmp_path, pause=0)
    assert listing(tmp_path) == UNPACKED


def test_a_file_that_changed_meanwhile_is_not_stitched_together(server, tmp_path):
    server.faults = [("cut", 50_000)]
    server.files["/a.tar.gz"] = (GOOD[:-9] + b"old bytes", "application/gzip")
    with pytest.raises(CorpusError):
        fetch(archive(server), tmp_path, attempts=1)
    server.files["/a.tar.gz"] = (GOOD, "application/gzip")
    fetch(archive(server), tmp_path)
    assert listing(tmp_path) == UNPACKED


def test_a_part_that_is_already_whole(server, tmp_path):
    work = tmp_path / WORK_FOLDER
    work.mkdir()
    (work / "a.tar.gz.part").write_bytes(GOOD)
    (work / "a.tar.gz.part.json").write_text(
        f'{{"version": "\\"{hashlib.md5(GOOD).hexdigest()}\\""}}')
    fetch(archive(server), tmp_path)
    assert listing(tmp_path) == UNPACKED


def test_a_part_that_is_too_long_is_thrown_away(server, tmp_path):
    work = tmp_path / WORK_FOLDER
    work.mkdir()
    (work / "a.tar.gz.part").write_bytes(GOOD + b"more")
    (work / "a.tar.gz.part.json").write_text(
        f'{{"version": "\\"{hashlib.md5(GOOD).hexdigest()}\\""}}')
    fetch(archive(server), tmp_path, pause=0)
    assert listing(tmp_path) == UNPACKED


def test_a_server_that_is_not_there(tmp_path):
    nowhere = Package("http://127.0.0.1:9/a.tar.gz", "recordings", ("*",))
    with pytest.raises(CorpusError, match="ended after 0 bytes .* 2 attempts.*[Rr]efused"):
        fetch(nowhere, tmp_path, attempts=2, pause=0)


def test_pauses_grow(server, tmp_path, monkeypatch):
    pauses = []
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    server.faults = [503, 503, 503]
    fetch(archive(server), tmp_path, pause=1.0)
    assert pauses == [1.0, 2.0, 4.0]


# Answers that are something else -----------------------------------------------------------------


@pytest.mark.parametrize("body", [b"<!DOCTYPE html><title>Log in</title>", b"PK\x03\x04", b"\x1f"])
def test_what_is_not_an_archive_is_said_and_not_kept(server, tmp_path, body):
    server.files["/a.tar.gz"] = (body, "text/html; charset=utf-8")
    with pytest.raises(CorpusError, match="not an archive: it is text/html|is damaged"):
        fetch(archive(server, size=None, sha256=None), tmp_path)
    assert not list(tmp_path.rglob("*.part*"))


def test_a_login_page_is_said_also_where_the_size_is_known(server, tmp_path):
    """The case of every archive whose size is published: its size is wrong as well."""
    server.files["/a.tar.gz"] = (b"<!DOCTYPE html><title>Log in</title>", "text/html")
    with pytest.raises(CorpusError, match="not an archive: it is text/html .*Log in"):
        fetch(archive(server), tmp_path)
    assert not list(tmp_path.rglob("*.part*"))


def test_a_moved_corpus(server, tmp_path):
    server.files.clear()
    with pytest.raises(CorpusError, match="answers 404 .* --url"):
        fetch(archive(server), tmp_path)
    assert len(server.requests) == 1


def test_a_wrong_checksum_is_said_and_the_archive_removed(server, tmp_path):
    with pytest.raises(CorpusError, match="SHA-256 .*, expected 000.*removed") as caught:
        fetch(archive(server, sha256="0" * 64), tmp_path)
    assert caught.value.code == "corpus.checksum" and listing(tmp_path) == []


@pytest.mark.parametrize("size", [len(GOOD) - 1, len(GOOD) + 1], ids=["shorter", "longer"])
def test_a_wrong_size_is_refused_before_it_is_received(server, tmp_path, size):
    with pytest.raises(CorpusError, match=f"offers {len(GOOD):,} bytes, expected {size:,}"):
        fetch(archive(server, size=size), tmp_path)
    assert listing(tmp_path) == []


def test_an_answer_without_a_length_is_bounded(server, tmp_path, monkeypatch):
    server.faults = ["no length"]
    fetch(archive(server), tmp_path / "a")
    server.faults = ["no length"]
    with pytest.raises(CorpusError, match="sent more than"):
        fetch(archive(server, size=1_000), tmp_path / "b")


@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunks_of_no_length_are_a_broken_transfer(server, tmp_path, chunk):
    server.faults = [chunk]
    fetch(archive(server), tmp_path / "a", pause=0)
    server.faults = 3 * [chunk]
    with pytest.raises(CorpusError, match="The transfer of .* ended after") as caught:
        fetch(archive(server), tmp_path / "b", attempts=3, pause=0)
    assert len(str(caught.value)) < 4_096


def test_a_wrong_range_is_refused(server, tmp_path):
    server.faults = [("cut", 50_000), "wrong range"]
    with pytest.raises(CorpusError, match="sent another range"):
        fetch(archive(server), tmp_path, pause=0)


def test_redirections_are_followed_but_not_to_files(server, tmp_path):
    server.faults, server.location = [302], f"{server.url}/a.tar.gz"
    fetch(dataclasses.replace(archive(server), url=f"{server.url}/old.tar.gz"), tmp_path / "a")
    server.faults, server.location = [302], "ftp://127.0.0.1/a.tar.gz"
    with pytest.raises(CorpusError, match="leads to ftp://.* not followed"):
        fetch(archive(server), tmp_path / "b")


def test_a_full_disk_is_said_first(server, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10})()
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(CorpusError, match="has 10 bytes left"):
        fetch(archive(server), tmp_path)
    assert server.requests == []


# Archives that are hostile -----------------------------------------------------------------------

WAV = "f/recordings/a.wav"
HOSTILE = {
    "dot dot": ([member("f/../../evil.wav")], "leads out of its folder"),
    "absolute": ([member("/etc/evil.wav")], "leads out of its folder"),
    "backslash": ([member("f/recordings\\evil.wav")], "leads out of its folder"),
    "drive": ([member("C:/recordings/evil.wav")], "leads out of its folder"),
    "long name": ([member("f/recordings/" + "n" * 600)], "leads out of its folder"),
    "deep": ([member("f/" * 20 + "a.wav")], "leads out of its folder"),
    "symbolic link": ([member(WAV, b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "a link"),
    "hard link": ([member(WAV, b"", type=tarfile.LNKTYPE, linkname="/etc/passwd")], "a link"),
    "link then file": ([member("f/recordings", b"", type=tarfile.SYMTYPE, linkname="/tmp"),
                        member(WAV)], "a link"),
    "device": ([member(WAV, b"", type=tarfile.CHRTYPE)], "a device"),
    "pipe": ([member(WAV, b"", type=tarfile.FIFOTYPE)], "a device"),
    "twice": ([member(WAV), member(WAV)], "the same name twice"),
    "nothing": ([member("f/other/a.wav")], "holds no recordings/"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_leaves_nothing(server, tmp_path, name):
    members, message = HOSTILE[name]
    data = tarball(*members)
    server.files["/a.tar.gz"] = (data, "application/gzip")
    dest = tmp_path / "dest"
    with pytest.raises(CorpusError, match=message) as caught:
        fetch(archive(server, data), dest, keep_archive=True)
    assert caught.value.code == "corpus.archive"
    assert listing(tmp_path) == [f"dest/{WORK_FOLDER}/a.tar.gz"]


@pytest.mark.parametrize("limit, value, message", [
    ("MAX_MEMBERS", 2, "more than 2 members"), ("MAX_MEMBER_BYTES", 100, "a file has 200,000"),
])
def test_limits(server, tmp_path, monkeypatch, limit, value, message):
    monkeypatch.setattr(unpacking, limit, value)
    with pytest.raises(CorpusError, match=message):
        fetch(archive(server), tmp_path)


def test_a_bomb_is_not_expanded(server, tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "FREE_EXPANSION", 100_000)
    data = tarball(member("f/ignored.bin", bytes(3_000_000)), member(WAV))
    server.files["/a.tar.gz"] = (data, "application/gzip")
    with pytest.raises(CorpusError, match="expands to more than"):
        fetch(archive(server, data), tmp_path)


def test_a_header_that_claims_gigabytes_costs_no_memory(server, tmp_path):
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 4 << 30
    data = gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(1_024))
    server.files["/a.tar.gz"] = (data, "application/gzip")
    with pytest.raises(CorpusError, match="a header claims 4,294,967,296 bytes"):
        fetch(archive(server, data), tmp_path)


@pytest.mark.parametrize("cut", [5, 100, len(GOOD) // 2, len(GOOD) - 5],
                         ids=["5", "100", "half", "all but 5"])
def test_a_damaged_archive_is_said(server, tmp_path, cut):
    server.files["/a.tar.gz"] = (GOOD[:cut], "application/gzip")
    with pytest.raises(CorpusError, match="is damaged|holds no recordings"):
        fetch(archive(server, size=None, sha256=None), tmp_path)
    assert "recordings" not in os.listdir(tmp_path)


def test_files_of_the_user_are_kept(server, tmp_path):
    (tmp_path / "README.md").write_text("mine")
    fetch(archive(server), tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine" and listing(tmp_path) == UNPACKED


# The corpora and the command ---------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in CORPORA if hasattr(load_corpus(n), "PARTS")])
def test_the_addresses_are_plausible(name):
    module = load_corpus(name)
    assert module.DEFAULT_PART in module.PARTS
    for part in module.PARTS.values():
        assert part.url.startswith("https://") and part.url.endswith(".tar.gz")
        assert (part.sha256 is None) == (part.size is None)
        assert part.sha256 is None or (len(part.sha256) == 64 and int(part.sha256, 16))
    assert module.PARTS[module.DEFAULT_PART].sha256


def test_what_is_fetched_is_what_is_imported(server, tmp_path, monkeypatch):
    chapter = "LibriSpeech/dev-clean/84/121"
    data = tarball(member(f"{chapter}/84-121.trans.txt", b"84-121-0000 YES\n"),
                   member(f"{chapter}/84-121-0000.flac", b"no audio"),
                   member("LibriSpeech/README.TXT", b"hi"), member("LibriSpeech/run.sh", b"evil"))
    server.files["/a.tar.gz"] = (data, "application/gzip")
    part = dataclasses.replace(librispeech.PARTS["dev-clean"], url=f"{server.url}/a.tar.gz",
                               size=None, sha256=None)
    fetch(part, tmp_path)
    assert listing(tmp_path) == ["LibriSpeech/README.TXT", f"{chapter}/84-121-0000.flac",
                                 f"{chapter}/84-121.trans.txt"]
    result = librispeech.prepare(tmp_path)
    assert [item.id for item in result.excluded] == ["84-121-0000"]


def test_the_command(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(fsdd.PARTS, "v1.0.9", archive(server))
    monkeypatch.setitem(fsdd.PARTS, "v1.0.10", archive(server, size=None, sha256=None))
    assert run(["download", "fsdd", str(tmp_path / "a")]) == 0
    assert "fetched, SHA-256 as published" in capsys.readouterr().err
    assert run(["download", "fsdd", str(tmp_path / "a")]) == 0
    assert "is there already; nothing was fetched" in capsys.readouterr().err
    url = f"{server.url}/a.tar.gz"
    assert run(["download", "fsdd", str(tmp_path / "b"), "--part", "v1.0.10", "--url", url]) == 0
    assert f"what came is {hashlib.sha256(GOOD).hexdigest()}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, message", [
    (["kaldi"], "no address to download from"), (["nosuch"], "There is no corpus"),
    (["fsdd", "--part", "v9"], "has no part 'v9'"),
    (["fsdd", "--part", "v1.0.9", "--part", "v1.0.10", "--url", "http://x"], "give one --part"),
])
def test_wrong_arguments(tmp_path, capsys, arguments, message):
    assert run(["download", arguments[0], str(tmp_path / "d"), *arguments[1:]]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "d").exists()


@pytest.fixture
def published(server, monkeypatch):
    """The shipped bundle on the server, as models/english.asr."""
    from asr.bundle import published
    data = (Path(download.__file__).parents[1] / "assets" / "digits.asr").read_bytes()
    server.files["/models/english.asr"] = (data, "application/octet-stream")
    monkeypatch.setitem(published.MODELS, "models/english", published.Published(
        "English", hashlib.sha256(data).hexdigest(), len(data)))
    monkeypatch.setenv(published.URL_VARIABLE, f"{server.url}/models/")
    return data


def test_a_bundle_is_fetched_checked_and_loads(server, published, tmp_path, capsys):
    command = ["download", "models/english", str(tmp_path)]
    server.faults = [("cut", 100_000)]
    assert run(command) == 0
    path = tmp_path / "models" / "english.asr"
    err = capsys.readouterr().err
    assert "fetched, SHA-256 as published" in err and f"asr transcribe {path}" in err
    assert path.read_bytes() == published and listing(tmp_path) == ["models/english.asr"]
    assert server.requests[-1]["Range"].startswith("bytes=")
    assert run(command) == 0
    assert "is there already; nothing was fetched" in capsys.readouterr().err
    path.write_bytes(b"mine")
    assert run(command) == 2
    assert "exists and is another file" in capsys.readouterr().err
    assert path.read_bytes() == b"mine"


def test_another_file_is_no_bundle(server, published, tmp_path, capsys):
    server.files["/models/english.asr"] = (published[:-1] + b"x", "application/octet-stream")
    assert run(["download", "models/english", str(tmp_path)]) == 4
    assert "SHA-256" in capsys.readouterr().err and listing(tmp_path) == []
    server.files["/models/english.asr"] = (b"<html>log in</html>" * 99, "text/html")
    assert run(["download", "models/english", str(tmp_path), "--sha256", "0" * 64]) == 4
    assert "is text/html and begins with" in capsys.readouterr().err and listing(tmp_path) == []


def test_a_bundle_needs_an_address_and_a_checksum(tmp_path, monkeypatch, capsys):
    from asr.bundle import published
    monkeypatch.delenv(published.URL_VARIABLE, raising=False)
    monkeypatch.setitem(published.MODELS, "models/english", published.Published("English"))
    for options, expected in ((["models/englisch"], "Did you mean models/english"),
                              (["models/english"], "set ASR_MODELS_URL"),
                              (["models/english", "--url", "http://x/e.asr"],
                               "expected 64 hexadecimal digits"),
                              (["models/english", "--url", "http://x/e.asr", "--sha256", "abc"],
                               "--sha256 is 'abc'"),
                              (["fsdd"], "asr download fsdd DEST")):
        assert run(["download", *options]) == 2
        assert expected in capsys.readouterr().err
