"""Rows H1 to H4 of the fault list: bodies, slow clients, queue, disconnects, malformed input."""

from __future__ import annotations

import errno
import os
import socket
import struct
import tempfile
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import pytest
from serving import RATE, served, tiny_model, wav

import asr.serve.transcriptions
from asr.serve.settings import MIB

HEAD = "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\n"
BOUNDARY = "Content-Type: multipart/form-data; boundary=b\r\n"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
UPGRADE = (b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n")
PATIENCE = 50.0  # of a test, never reached


def until(condition, what: str = "it does not happen") -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def raw(server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE)


def read_all(connection: socket.socket) -> bytes:
    """All until the server closes."""
    data = b""
    try:
        while piece := connection.recv(65_536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def free(server) -> bool:
    return server.state.jobs.places.taken == 0


# -- H1: bodies over the limit


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit(tmp_path, declared, monkeypatch):
    monkeypatch.setattr(asr.serve.transcriptions, "probe_audio", lambda source: 1 / 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    body = PART + bytes(3 * MIB) + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}

    def pieces():
        for start in range(0, len(body), 65_536):
            yield body[start:start + 65_536]

    with served(tiny_model(tmp_path), max_body=2 * MIB) as server, server.client() as client:
        before = sorted(os.listdir(tmp_path))
        for _ in range(3):
            answer = client.post("/v1/audio/transcriptions", headers=headers,
                                 content=body if declared else pieces())
            assert answer.status_code == 413
            assert answer.json()["error"]["code"] == "body_too_large"
        until(lambda: free(server))
        assert sorted(os.listdir(tmp_path)) == before


def test_a_declared_body_over_the_limit_is_refused_before_it_comes(tmp_path):
    with served(tiny_model(tmp_path), max_body=1_000) as server, raw(server) as connection:
        connection.sendall(f"{HEAD}{BOUNDARY}Content-Length: 99999999\r\n\r\n".encode())
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_a_field_without_a_file_name_is_bounded(tmp_path):
    with served(tiny_model(tmp_path)) as server:
        answer = server.post(prompt="a, " * 60_000)
        assert answer.status_code == 400 and answer.json()["error"]["code"] == "multipart"


# -- H2: slow clients


@pytest.mark.parametrize("sent", [
    b"", b"GET /healthz HTTP/1.1\r\n", b"GET /v1/stream HTTP/1.1\r\nUpgrade: websocket\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",  # and then nothing
])
def test_a_slow_head_is_cut(tmp_path, sent):
    with served(tiny_model(tmp_path), head_seconds=0.5) as server, raw(server) as connection:
        connection.sendall(sent)
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 200") if sent.endswith(b"\r\n\r\n") else answer == b""
        until(lambda: not server.server.server_state.connections)


def test_a_head_that_comes_byte_by_byte_is_cut(tmp_path):
    with served(tiny_model(tmp_path), head_seconds=0.5) as server, raw(server) as connection:
        with pytest.raises(OSError):
            for _ in range(100_000):
                connection.sendall(b"GET"[:1])
                time.sleep(0.02)
        assert server.post().status_code == 200


def test_a_slow_body_is_cut(tmp_path):
    with served(tiny_model(tmp_path), idle_seconds=0.5, head_seconds=0.5) as server, \
            raw(server) as connection:
        connection.sendall(f"{HEAD}{BOUNDARY}Content-Length: 1000\r\n\r\n".encode() + PART)
        answer = read_all(connection)
        assert answer.startswith(b"HTTP/1.1 408") and b'"code":"slow"' in answer
        until(lambda: free(server))


def test_a_body_that_trickles_ends_at_the_deadline(tmp_path):
    with served(tiny_model(tmp_path), timeout=0.5, head_seconds=0.5) as server, \
            raw(server) as connection:
        connection.sendall(f"{HEAD}{BOUNDARY}Content-Length: 100000\r\n\r\n".encode() + PART)
        connection.settimeout(0.02)
        answer, end = b"", time.monotonic() + PATIENCE
        while not answer:
            assert time.monotonic() < end
            connection.sendall(b"x")
            try:
                answer = connection.recv(65_536)
            except TimeoutError:
                pass
        assert answer.startswith(b"HTTP/1.1 503") and b"Retry-After" in answer.title()
        connection.settimeout(PATIENCE)
        read_all(connection)  # ... and the connection, which is not at a request's end, is cut
        until(lambda: free(server) and not server.server.server_state.connections)


def test_requests_that_come_together_have_a_deadline_each(tmp_path):
    body = PART + wav() + b"\r\n--b--\r\n"
    one = f"{HEAD}{BOUNDARY}Content-Length: {len(body)}\r\n\r\n".encode() + body
    with served(tiny_model(tmp_path), head_seconds=0.3, max_queue=1) as server, \
            raw(server) as connection:
        model = server.state.models.default.recognizer
        model.gate.clear()
        model.begun.clear()
        connection.sendall(one + one)
        assert model.begun.wait(PATIENCE)
        until(lambda: server.state.jobs.places.taken == 1)
        time.sleep(0.5)  # longer than for a head: the request has come
        model.gate.set()
        assert read_all(connection).count(b"HTTP/1.1 200") == 2


def test_more_connections_than_allowed(tmp_path):
    with served(tiny_model(tmp_path), max_connections=3) as server:
        open_ones = [raw(server) for _ in range(3)]
        until(lambda: len(server.server.server_state.connections) == 3)
        with raw(server) as one_more:
            answer = read_all(one_more)
        assert answer.startswith(b"HTTP/1.1 503") and b"Retry-After: 5" in answer
        for one in open_ones:
            one.close()
        until(lambda: not server.server.server_state.connections)
        assert server.post().status_code == 200


# -- H3: the queue


def test_one_more_than_the_queue_holds(tmp_path):
    with served(tiny_model(tmp_path), max_queue=3, batch=1) as server, \
            ThreadPoolExecutor(3) as threads:
        model = server.state.models.default.recognizer
        model.gate.clear()
        accepted = [threads.submit(server.post, wav(seed=n)) for n in range(3)]
        until(lambda: server.state.jobs.places.taken == 3)
        refused = server.post()
        assert refused.status_code == 503 and 1 <= int(refused.headers["Retry-After"]) <= 60
        assert refused.json()["error"]["code"] == "busy"
        assert server.state.jobs.places.taken == 3
        model.gate.set()
        assert [one.result().status_code for one in accepted] == [200] * 3
        until(lambda: free(server))
        assert server.post().status_code == 200


def test_waiting_jobs_make_batches_and_get_their_own_answers(tmp_path):
    clips = [wav(1, seed=n) for n in range(9)]
    with served(tiny_model(tmp_path), batch=4) as server:
        alone = [server.post(clip).json()["text"] for clip in clips]
        assert len(set(alone)) > 5  # the test could see a mix-up
        model = server.state.models.default.recognizer
        model.begun.clear()
        model.gate.clear()
        model.batches.clear()
        with ThreadPoolExecutor(10) as threads:
            first = threads.submit(server.post, clips[0])
            assert model.begun.wait(PATIENCE)
            others = [threads.submit(server.post, clip) for clip in clips[1:]]
            until(lambda: len(server.state.jobs._jobs) == 8)
            model.gate.set()
            assert [one.result().json()["text"] for one in (first, *others)] == alone
        assert model.batches == [1, 4, 4]


def test_a_batch_is_bounded_in_seconds_and_has_one_model(tmp_path):
    models = tiny_model(tmp_path, "one"), tiny_model(tmp_path, "two")
    with served(*models, batch=16, batch_seconds=3.0) as server, ThreadPoolExecutor(9) as threads:
        one, two = (model.recognizer for model in models)
        one.begun.clear()  # set by the first use, or it says nothing of the job below
        one.gate.clear()
        one.batches.clear()
        two.batches.clear()
        first = threads.submit(server.post, wav(1))
        until(lambda: one.begun.is_set() and len(server.state.jobs._jobs) == 0
              and server.state.jobs.places.taken == 1)
        others = []
        for seconds, name in ((2, "one"), (1, "two"), (2, "one"), (1, "one")):
            others.append(threads.submit(server.post, wav(seconds), model=name))
            until(lambda: len(server.state.jobs._jobs) == len(others))  # noqa: B023
        one.gate.set()
        assert {job.result().status_code for job in (first, *others)} == {200}
        assert one.batches == [1, 2, 1] and two.batches == [1]


def test_short_recordings_do_not_wait_behind_long_ones(tmp_path):
    with served(tiny_model(tmp_path), batch_seconds=3.0) as server, \
            ThreadPoolExecutor(2) as threads:
        model = server.state.models.default.recognizer
        network, begun, gate = model.engine.logits, threading.Event(), threading.Event()

        def slow_if_long(features, lengths):
            if lengths[0] > 400:  # frames of 10 ms
                begun.set()
                assert gate.wait(PATIENCE)
            return network(features, lengths)

        model.engine.logits = slow_if_long
        long = [threads.submit(server.post, wav(5, seed=n)) for n in range(2)]
        assert begun.wait(PATIENCE)
        assert [server.post(wav(1)).status_code for _ in range(3)] == [200] * 3
        gate.set()
        assert [one.result().status_code for one in long] == [200, 200]


def test_an_error_in_a_batch_is_that_of_its_own_request(tmp_path):
    with served(tiny_model(tmp_path)) as server, ThreadPoolExecutor(4) as threads:
        model = server.state.models.default.recognizer
        model.gate.clear()
        model.begun.clear()
        first = threads.submit(server.post, wav())
        assert model.begun.wait(PATIENCE)
        bad = bytearray(wav(1))
        struct.pack_into("<H", bad, 20, 3)  # 32-bit floats, as the header says
        struct.pack_into("<HH", bad, 32, 4, 32)
        bad[44:] = b"\xff" * (len(bad) - 44)  # not a number
        jobs = [threads.submit(server.post, data) for data in (wav(1), bytes(bad), wav(1))]
        until(lambda: len(server.state.jobs._jobs) == 3)
        model.gate.set()
        answers = [job.result() for job in (first, *jobs)]
        assert [answer.status_code for answer in answers] == [200, 200, 400, 200]
        assert answers[2].json()["error"]["code"] == "audio.nonfinite"


def test_a_result_that_takes_too_long(tmp_path):
    with served(tiny_model(tmp_path), timeout=0.5) as server:
        model = server.state.models.default.recognizer
        model.gate.clear()
        answer = server.post()
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "timeout"
        assert server.state.jobs.places.taken == 1  # it is still being worked on
        model.gate.set()
        until(lambda: free(server))
        assert server.post().status_code == 200


# -- H4: disconnects and malformed input


def test_a_client_that_goes_in_the_middle_of_its_upload(tmp_path):
    with served(tiny_model(tmp_path)) as server:
        for _ in range(20):
            with raw(server) as connection:
                connection.sendall(f"{HEAD}{BOUNDARY}Content-Length: 9000000\r\n\r\n".encode()
                                   + PART + bytes(1_500_000))
        until(lambda: free(server) and not server.server.server_state.connections)
        assert server.post().status_code == 200


def test_a_client_that_goes_while_its_recording_waits_or_is_worked_on(tmp_path):
    body = PART + wav() + b"\r\n--b--\r\n"
    with served(tiny_model(tmp_path), batch=1) as server:
        model = server.state.models.default.recognizer
        model.gate.clear()
        model.begun.clear()
        model.batches.clear()
        connections = []
        for _ in range(3):
            connections.append(raw(server))
            connections[-1].sendall(
                f"{HEAD}{BOUNDARY}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert model.begun.wait(PATIENCE)
        until(lambda: len(server.state.jobs._jobs) == 2)
        for connection in connections:
            connection.close()
        until(lambda: not server.state.jobs._jobs, "those that wait are not forgotten")
        assert server.state.jobs.places.taken == 1  # the one that is worked on
        model.gate.set()
        until(lambda: free(server))
        assert model.batches == [1]


MALFORMED = {
    "json": ({"Content-Type": "application/json"}, b'{"file": ', 400),
    "no type": ({}, b"x", 400),
    "no boundary": ({"Content-Type": "multipart/form-data"}, b"x", 400),
    "wrong boundary": ({"Content-Type": "multipart/form-data; boundary=c"}, PART, 400),
    "empty": ({"Content-Type": "multipart/form-data; boundary=b"}, b"", 400),
    "no name": ({"Content-Type": "multipart/form-data; boundary=b"},
                b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n", 400),
    "no disposition": ({"Content-Type": "multipart/form-data; boundary=b"},
                       b"--b\r\n\r\nx\r\n--b--\r\n", 400),
    "header in a name": (
        {"Content-Type": "multipart/form-data; boundary=b"},
        b'--b\r\nContent-Disposition: form-data; name="x\r\nSet-Cookie: a=b"\r\n\r\nx\r\n--b--\r\n',
        400),
    "two files": ({"Content-Type": "multipart/form-data; boundary=b"},
                  PART + b"x\r\n" + PART + b"y\r\n--b--\r\n", 400),
    "file of another name": (
        {"Content-Type": "multipart/form-data; boundary=b"},
        PART.replace(b'"file"', b'"other"') + b"x\r\n--b--\r\n", 400),
    "file without a name": (
        {"Content-Type": "multipart/form-data; boundary=b"},
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--b--\r\n', 400),
    "form": ({"Content-Type": "application/x-www-form-urlencoded"}, b"file=/etc/passwd", 400),
    "charset": ({"Content-Type": "multipart/form-data; boundary=b; charset=rot13"},
                b'--b\r\nContent-Disposition: form-data; name="a\xff"\r\n\r\nx\r\n--b--\r\n', 400),
}


@pytest.fixture(scope="module")
def module_server(tmp_path_factory):
    with served(tiny_model(tmp_path_factory.mktemp("model"))) as one:
        yield one


@pytest.mark.parametrize("kind", MALFORMED)
def test_malformed_bodies(module_server, kind):
    headers, body, status = MALFORMED[kind]
    with module_server.client() as client:
        answer = client.post("/v1/audio/transcriptions", headers=headers, content=body)
    assert answer.status_code == status
    assert answer.json()["error"]["message"] and "set-cookie" not in answer.headers
    until(lambda: free(module_server))


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/v1/audio/transcriptions", 405), ("DELETE", "/v1/models", 405), ("FOO", "/", 405),
    ("GET", "/v1/stream", 404), ("GET", "/../../etc/passwd", 404),
    ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404), ("GET", "/%0d%0aSet-Cookie:%20a=b", 404),
    ("POST", "/v1/audio/translations", 404), ("GET", "/docs", 404)])
def test_other_addresses_are_errors_in_json(module_server, method, path, status):
    with module_server.client() as client:
        answer = client.request(method, path)
    assert answer.status_code == status
    told = answer.json()["error"]["message"]
    assert answer.headers["allow"] in told and method in told if status == 405 else told
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("head", [
    b"\x00\x01\x02\r\n\r\n", b"GET\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    HEAD.encode() + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\nhello",
    HEAD.encode() + b"Content-Length: -5\r\n\r\n",
    HEAD.encode() + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    HEAD.encode() + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 600_000 + b"\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])  # TLS to a port without it
def test_malformed_heads(module_server, head):
    with raw(module_server) as connection:
        answer = b""
        with suppress(OSError):  # it may be cut while it sends
            connection.sendall(head)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(12)
    assert answer == b"" or answer[:9] == b"HTTP/1.1 " and answer[9:10] in b"45"
    assert module_server.post().status_code == 200


def test_an_answer_that_garbage_follows(module_server, caplog):
    """Without a traceback of ours, whether the answer is there, coming or not."""
    chunk = b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello"
    for first, then in ((HEAD.encode() + chunk + b"\r\n", b"z\r\n"),
                        (b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", b"\0\r\n\r\n")):
        with raw(module_server) as connection:
            connection.sendall(first)
            assert connection.recv(12)[:9] == b"HTTP/1.1 "
            connection.sendall(then)
            read_all(connection)
    with raw(module_server) as connection:
        connection.sendall(f"{HEAD}{BOUNDARY}".encode() + chunk + b"X")
        assert read_all(connection).startswith(b"HTTP/1.1 400")
    assert module_server.post().status_code == 200
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("more", [b"A: " + b"a" * 20_000, b"\r\n".join([b"A: a"] * 300), b"POST"])
def test_a_handshake_that_cannot_be_read_is_answered_and_closed(module_server, more):
    head = UPGRADE.replace(b"GET", b"POST") if more == b"POST" else UPGRADE + more + b"\r\n"
    with raw(module_server) as connection:
        connection.sendall(head + b"\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 4")
    until(lambda: not module_server.server.server_state.connections)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EMFILE])
def test_a_full_disk_is_for_a_while(tmp_path, monkeypatch, error):
    def full(*_, **__):
        raise OSError(error, os.strerror(error))

    with served(tiny_model(tmp_path)) as server:
        monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", full)
        answer = server.post()
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "10"
        assert "no room" in answer.json()["error"]["message"] and free(server)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a\r\nX: y.wav", "C:\\x.wav",
                                  "\x00.wav", "x" * 3_000 + ".wav", "file:///etc/passwd", ""])
def test_the_name_of_a_file_means_nothing(module_server, name):
    answer = module_server.post(name=name or "\t")
    assert answer.status_code == 200 and "passwd" not in answer.text


def test_no_request_opens_a_file_of_the_host(tmp_path):
    """Every open() of the process is looked at while requests with paths in all places come."""
    import asyncio
    import json
    import sys

    from websockets.asyncio.client import connect

    secret = tmp_path / "host-secret.wav"
    secret.write_bytes(wav())
    watching, opened = [True], []

    def hook(event, arguments):
        if watching[0] and event in ("open", "os.open"):
            opened.append(str(arguments[0]))

    async def streams(server):
        for key in ("model", "hot_words", "phrase_list"):
            value = str(secret) if key == "model" else [str(secret)]
            async with connect(server.ws) as ws:
                try:
                    await ws.send(json.dumps({"config": {key: value}}))
                    await ws.send(bytes(100))
                    await ws.recv()
                except Exception:  # noqa: S110 (refused is as good)
                    pass

    with served(tiny_model(tmp_path)) as server:
        sys.addaudithook(hook)
        try:
            for where in (str(secret), f"file://{secret}", f"../../../../{secret}"):
                server.post(where.encode(), name=where)
                for field in ("model", "prompt", "language", "response_format", "include"):
                    server.post(name=where, **{field: where})
                with server.client() as client:
                    client.post("/v1/audio/transcriptions", data={"file": where})
                    client.get(where.replace("file:", ""))
                    client.get(f"/v1/models/{where}")
            asyncio.run(asyncio.wait_for(streams(server), 50))
        finally:
            watching[0] = False
    assert not [path for path in opened if "host-secret" in path]


def counts(folder) -> tuple[int, int, int]:
    """Descriptors, threads and temporary files of this process."""
    return (len(os.listdir("/proc/self/fd")), threading.active_count(), len(os.listdir(folder)))


def one_of_each(server, number: int) -> None:
    """A request of some kind, most of them broken."""
    kind = number % 8
    if kind == 0:
        assert server.post(wav(seed=number)).status_code == 200
    elif kind == 1:
        assert server.post(b"no recording").status_code == 400
    elif kind == 2:
        assert server.post(wav(), model="nothing").status_code == 404
    elif kind == 3:
        with raw(server) as connection:
            connection.sendall(f"{HEAD}{BOUNDARY}Content-Length: 9000000\r\n\r\n".encode()
                               + PART + bytes(1_200_000 if number % 3 else 10))
    elif kind == 4:
        with raw(server) as connection:
            connection.sendall(UPGRADE + b"\r\n")
            connection.recv(12)
    elif kind == 5:
        with raw(server) as connection:
            connection.sendall(b"\x00garbage\r\n\r\n")
    elif kind == 6:
        body = PART + wav() + b"\r\n--b--\r\n"
        with raw(server) as connection:
            connection.sendall(f"{HEAD}{BOUNDARY}Content-Length: {len(body)}\r\n\r\n".encode()
                               + body)
    else:
        with server.client() as client:
            assert client.get("/metrics").status_code == 200


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts descriptors in /proc")
@pytest.mark.parametrize("number", [200, pytest.param(2_000, marks=pytest.mark.slow)])
def test_nothing_is_left_after_many_requests(tmp_path, monkeypatch, number):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with served(tiny_model(tmp_path)) as server:
        def quiet() -> bool:
            return free(server) and not server.server.server_state.connections \
                and server.state.places.taken == 0

        def settled() -> tuple[int, int, int]:
            until(quiet, "requests are left")
            return counts(scratch)

        for n in range(64):  # every thread of every pool exists
            one_of_each(server, n)
        before, memory = settled(), resident()
        for n in range(number):
            one_of_each(server, n)
        after = settled()
        assert after[0] <= before[0] + 2 and after[1] <= before[1] + 4 and after[2] == 0
        if number >= 2_000:
            assert resident() < memory + 64 * MIB
        assert server.post().status_code == 200


def resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_httpx_sees_json_even_for_a_refused_websocket_path(module_server):
    assert httpx.post(f"{module_server.url}/v1/stream").status_code in (404, 405)


@pytest.mark.parametrize("allowed", [False, True])
def test_a_cut_recording_is_used_where_the_server_allows_it(tmp_path, allowed):
    with served(tiny_model(tmp_path), allow_truncated=allowed) as server, \
            warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        answer = server.post(wav(1.0)[:-400], response_format="verbose_json")
    if allowed:
        assert answer.status_code == 200
        assert answer.json()["duration"] == pytest.approx(1.0 - 200 / RATE)
        assert sum("is cut" in str(one.message) for one in said) == 1
    else:
        assert answer.status_code == 400 and "is cut" in answer.json()["error"]["message"]
