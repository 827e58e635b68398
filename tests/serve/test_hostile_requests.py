"""Whatever bytes come: an answer or a close, no fault of ours, and the next client is served."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import RATE, served, tiny_model, wav
from test_limits import BOUNDARY, HEAD, PART, raw, read_all

from asr.serve.transcriptions import WITHOUT_EFFECT

pytest.importorskip("websockets")
from websockets.asyncio.client import connect  # noqa: E402
from websockets.exceptions import ConnectionClosed  # noqa: E402

QUICK = settings(max_examples=40, deadline=None, derandomize=True,
                 suppress_health_check=list(HealthCheck))
GOOD = PART + wav(0.1) + b"\r\n--b--\r\n"
FIELDS = ("file", "model", "language", "prompt", "response_format", "stream",
          "timestamp_granularities[]", *WITHOUT_EFFECT, "other")
ANY = st.one_of(st.binary(max_size=200), st.binary(max_size=60).map(lambda b: b"--b\r\n" + b),
                st.sampled_from([PART, b"\r\n--b--\r\n", b"--b", b"\r\n\r\n", b'name="file"; ']))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tiny_model(tmp_path_factory.mktemp("model")), head_seconds=2.0,
                idle_seconds=2.0) as one:
        yield one


@QUICK
@given(pieces=st.lists(ANY, max_size=8))
def test_bodies(server, pieces):
    with server.client() as client:
        answer = client.post("/v1/audio/transcriptions", content=b"".join(pieces),
                             headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code in (200, 400) and answer.json()


@QUICK
@given(changes=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)),
                        min_size=1, max_size=6))
def test_damaged_bodies(server, changes):
    body = bytearray(GOOD)
    for place, value in changes:
        body[place] = value
    with server.client() as client:
        answer = client.post("/v1/audio/transcriptions", content=bytes(body),
                             headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code in (200, 400) and answer.json()


@QUICK
@given(fields=st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=30), max_size=4))
def test_fields(server, fields):
    answer = server.post(wav(0.1), **{name: value for name, value in fields.items()
                                      if name != "file"})
    assert answer.status_code in (200, 400, 404) and answer.content


@QUICK
@given(head=st.binary(max_size=300), cut=st.integers(0, 200), begin=st.booleans())
def test_heads(server, head, cut, begin):
    real = f"{HEAD}{BOUNDARY}Content-Length: 20\r\n\r\n".encode()
    with raw(server) as connection, suppress(OSError):
        connection.sendall((real[:cut] if begin else b"") + head + b"\r\n\r\n")
        connection.shutdown(1)
        answer = read_all(connection)
        assert not answer or answer.startswith(b"HTTP/1.1 ")
        assert not answer.startswith(b"HTTP/1.1 500")


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["config", "eof", "sample_rate", "model", "hot_words",
                                         "phrase_list", "words", "max_alternatives", "x"]),
                        inner, max_size=4), max_leaves=8)
CONFIG = st.fixed_dictionaries({"config": JSON}).map(json.dumps)


@QUICK
@given(messages=st.lists(st.one_of(
    st.binary(max_size=400), st.text(max_size=40), JSON.map(json.dumps), CONFIG,
    st.just(json.dumps({"config": {"sample_rate": RATE}}))), max_size=5))
def test_messages(server, messages):
    async def run() -> int:
        async with connect(server.ws) as socket:
            try:
                for message in messages:
                    await socket.send(message)
                await socket.send('{"eof": 1}')
                while True:
                    assert isinstance(json.loads(await socket.recv()), dict)
            except ConnectionClosed:
                with suppress(ConnectionClosed):
                    while True:
                        await socket.recv()
                return socket.close_code

    assert asyncio.run(asyncio.wait_for(run(), 50)) in (1000, 1003, 1007)


def test_the_server_is_as_before(server):
    assert server.post(wav()).status_code == 200
    assert server.state.places.taken == server.state.jobs.places.taken == 0
    text = server.state.metrics.text().decode()
    assert 'code="internal"' not in text and 'code="stream.1011"' not in text
