"""The websocket: vosk-server's protocol, and clients that do not keep to it (row H5)."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
from serving import RATE, CountingStream, Partial, served, tiny_model, wav
from test_limits import UPGRADE, raw, read_all, until

websockets = pytest.importorskip("websockets")
from websockets.asyncio.client import connect  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

SECOND = (np.sin(np.arange(RATE) / 3) * 9_000).astype("<i2").tobytes()
CONFIG = json.dumps({"config": {"sample_rate": RATE}})


@pytest.fixture
def server(tmp_path):
    with served(tiny_model(tmp_path), idle_seconds=20.0) as one:
        yield one


def vosk_client(uri: str, pcm: bytes, rate: int, piece: float = 0.2) -> list[dict]:
    """What vosk-server's own client does (alphacep/vosk-server, websocket/test.py, Apache 2.0):
    the configuration, then pieces of 0.2 s with an answer to each, then the eof and the last one.
    """
    async def talk() -> list[dict]:
        answers = []
        async with connect(uri) as socket:
            await socket.send(f'{{ "config" : {{ "sample_rate" : {rate} }} }}')
            size = 2 * int(rate * piece)
            for start in range(0, len(pcm), size):
                await socket.send(pcm[start:start + size])
                answers.append(json.loads(await socket.recv()))
            await socket.send('{"eof" : 1}')
            answers.append(json.loads(await socket.recv()))
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd.code == 1000
        return answers

    return asyncio.run(asyncio.wait_for(talk(), 50))


@pytest.mark.parametrize("path", ["", "/", "/v1/stream"])
def test_vosks_client(server, path):
    *pieces, last = vosk_client(server.ws + path, SECOND * 2 + SECOND[:800], RATE)
    assert len(pieces) == 11
    finals = [answer for answer in pieces if "text" in answer]
    assert [one["text"] for one in finals] == ["u0", "u1"] and last["text"] == "u2"
    assert finals[1]["result"] == [{"conf": 0.75, "start": 1, "end": 1.5, "word": "u1"}]
    assert pieces[0] == {"partial": f"open {RATE // 5}", "partial_result": [
        {"conf": 0.5, "start": 0, "end": 0.25, "word": "open"}],
        "partial_stable": f"open {RATE // 5}"}


def talk(server, *messages, path: str = "/v1/stream", answers: int | None = None, headers=None
         ) -> tuple[list[dict], int, str]:
    """Send messages, read until the close: answers, code and reason of the close."""
    async def run():
        got = []
        async with connect(server.ws + path, additional_headers=headers, max_size=None,
                           open_timeout=50) as socket:
            try:
                for message in messages:
                    await socket.send(message)
                while answers is None or len(got) < answers:
                    got.append(json.loads(await socket.recv()))
                await socket.close()
            except ConnectionClosed:
                while True:
                    try:
                        got.append(json.loads(await socket.recv()))
                    except ConnectionClosed as end:
                        assert end.rcvd is not None
                        return got, end.rcvd.code, end.rcvd.reason
        return got, 1000, ""

    return asyncio.run(asyncio.wait_for(run(), 50))


def test_two_utterances_in_one_piece_are_one_answer(server):
    (first, last), code, _ = talk(server, CONFIG, SECOND * 2, '{"eof": 1}')
    assert first["text"] == "u0 u1" and [w["word"] for w in first["result"]] == ["u0", "u1"]
    assert last == {"text": ""} and code == 1000


def test_one_byte_at_a_time(server):
    pcm = SECOND[:60]
    got, code, _ = talk(server, CONFIG, *(pcm[i:i + 1] for i in range(60)), '{"eof": 1}')
    assert len(got) == 61 and got[-2]["partial"] == "open 30" and code == 1000


def test_a_reset_gives_what_there_is_and_times_go_on(server):
    got, code, _ = talk(server, '{"reset": 1}', CONFIG, SECOND + SECOND[:RATE], '{"reset" : 1}',
                        CONFIG, SECOND, '{"eof": 1}')
    assert [one["text"] for one in got] == ["", "u0", "u1", "u0", ""] and code == 1000
    assert [one["result"][0]["start"] for one in got[1:4]] == [0, 1, 1.5]


def test_config_of_words_and_alternatives(server):
    (answer, last), _, _ = talk(server, json.dumps({"config": {
        "sample_rate": str(RATE), "words": False, "unknown": [1]}}), SECOND, '{"eof": 1}')
    assert answer == {"text": "u0"} and last == {"text": ""}
    (answer, _), _, _ = talk(server, json.dumps({"config": {
        "sample_rate": RATE, "max_alternatives": 1}}), SECOND, '{"eof": 1}')
    assert answer["alternatives"][0]["text"] == "u0"
    assert answer["alternatives"][0]["confidence"] == 0.75
    assert answer["alternatives"][0]["result"][0]["word"] == "u0"


def test_end_without_audio(server):
    assert talk(server, '{"eof": 1}') == ([{"text": ""}], 1000, "")


@pytest.mark.parametrize(("messages", "code", "says"), [
    (["hello"], 1007, "no JSON"),
    (['{"config": {"sample_rate": 8000}, "config": {}}'], 1007, "twice"),
    (["[" * 100_000], 1007, "no JSON"),
    (["[1]"], 1003, "audio is binary"),
    (['{"word": 1}'], 1003, "audio is binary"),
    (['{"config": 8000}'], 1007, "must be an object"),
    (['{"config": {"sample_rate": 1e9}}'], 1007, "sample_rate"),
    (['{"config": {"sample_rate": true}}'], 1007, "sample_rate"),
    (['{"config": {"sample_rate": null}}'], 1007, "sample_rate"),
    (['{"config": {"max_alternatives": 1000}}'], 1007, "max_alternatives"),
    (['{"config": {"hot_words": {"a": 1}}}'], 1007, "list"),
    (['{"config": {"phrase_list": [1]}}'], 1007, "list"),
    (['{"config": {"phrase_list": "[1"}}'], 1007, "list"),
    (['{"config": {"hot_words": ["xyz"]}}', SECOND], 1003, "xyz"),
    (['{"config": {"model": "../../etc/passwd"}}'], 1003, "There is no model"),
    (['{"config": {"model": 7}}'], 1003, "There is no model"),
    ([CONFIG, SECOND[:200], CONFIG], 1003, "config after audio"),
    ([CONFIG, SECOND[:201], '{"eof": 1}'], 1007, "half a sample"),
])
def test_what_is_refused(server, messages, code, says):
    got, closed, reason = talk(server, *messages)
    assert closed == code and says in got[-1]["error"] and reason in got[-1]["error"]
    assert talk(server, CONFIG, SECOND, '{"eof": 1}')[0][0]["text"] == "u0"


def test_a_frame_of_two_mebibytes(server):
    got, code, _ = talk(server, CONFIG, bytes(2 << 20))
    assert got == [] and code == 1009


def test_text_that_is_no_utf8(server):
    async def run():
        async with connect(server.ws) as socket:
            await socket.send(b"\xff\xfe", text=True)
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            return closed.value.rcvd.code

    assert asyncio.run(asyncio.wait_for(run(), 50)) == 1007


def test_one_client_does_not_disturb_another(server):
    async def run():
        async with connect(server.ws) as good:
            await good.send(CONFIG)
            await good.send(SECOND[:1600])
            assert json.loads(await good.recv())["partial"] == "open 800"
            for bad in ("hello", bytes(2 << 20), '{"config": 1}'):
                async with connect(server.ws) as other:
                    with pytest.raises(ConnectionClosed):
                        await other.send(bad)  # the server may close before it is all sent
                        while True:
                            await other.recv()
            gone = await connect(server.ws)
            await gone.send(SECOND)
            gone.transport.abort()
            await good.send(SECOND[:1600])
            assert json.loads(await good.recv())["partial"] == "open 1600"

    asyncio.run(asyncio.wait_for(run(), 50))


def test_a_client_that_is_far_ahead_is_not_cut(tmp_path):
    """Its pongs wait behind its audio, so that none comes in time."""
    model = tiny_model(tmp_path)
    frame = b"\x82\x84\0\0\0\0" + bytes(4)
    with served(model) as server, raw(server) as connection:
        config = server.server.config
        config.ws_ping_interval, config.ws_ping_timeout = 0.05, config.ws_ping_timeout and 0.05
        connection.sendall(UPGRADE + b"\r\n")
        assert connection.recv(12) == b"HTTP/1.1 101"
        time.sleep(0.5)
        connection.sendall(frame + b"\x81\x8a\0\0\0\0" + b'{"eof": 1}')
        answer = read_all(connection)
        assert b"open 2" in answer and answer.endswith(b"\x88\x02\x03\xe8")  # closed with 1000


def test_pongs_that_are_not_read_are_bounded(tmp_path):
    with served(tiny_model(tmp_path), max_message=10_000) as server, raw(server) as connection:
        connection.sendall(UPGRADE + b"\r\n")
        assert connection.recv(12) == b"HTTP/1.1 101"
        with pytest.raises(OSError):
            while True:
                connection.sendall((b"\x89\xfd\0\0\0\0" + bytes(125)) * 1_000)
        until(lambda: not server.server.server_state.connections)


def test_a_wrong_frame_while_audio_is_read_is_no_fault_of_ours(tmp_path, caplog):
    model = tiny_model(tmp_path)
    begun, go_on = threading.Event(), threading.Event()

    class Slow(CountingStream):
        def feed(self, samples):
            begun.set()
            assert go_on.wait(50)
            return super().feed(samples)

    model.recognizer.stream = lambda sample_rate, **_: Slow(sample_rate)
    with served(model) as server, raw(server) as connection:
        connection.sendall(UPGRADE + b"\r\n")
        assert connection.recv(12) == b"HTTP/1.1 101"
        connection.sendall(b"\x82\x84\0\0\0\0" + bytes(4))
        assert begun.wait(50)
        connection.sendall(b"\x83\x80\0\0\0\0")  # no such kind of frame
        time.sleep(0.2)
        go_on.set()
        assert read_all(connection)
        until(lambda: server.state.places.taken == 0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_a_silent_client_is_closed(tmp_path):
    with served(tiny_model(tmp_path), idle_seconds=0.5) as server:
        got, code, reason = talk(server, CONFIG, SECOND)
        assert got[0]["text"] == "u0" and "Nothing happened for 0.5 s" in got[1]["error"]
        assert code == 1008 and server.state.places.taken == 0


def test_a_client_that_does_not_read_is_cut(tmp_path):
    model = tiny_model(tmp_path)

    class Long(CountingStream):
        def partial(self):
            return Partial("long " * 100_000)

    model.recognizer.stream = lambda sample_rate, **_: Long(sample_rate)
    frame = b"\x82\x84\0\0\0\0" + bytes(4)  # masked, two samples
    with served(model, idle_seconds=0.5, head_seconds=0.5) as server, raw(server) as connection:
        connection.sendall(UPGRADE + b"\r\n")
        assert connection.recv(12) == b"HTTP/1.1 101"
        with suppress(OSError):
            connection.sendall(frame * 40)
        until(lambda: server.state.places.taken == 0
              and not server.server.server_state.connections)


def test_more_streams_than_allowed(tmp_path, caplog):
    with served(tiny_model(tmp_path), max_streams=2) as server:
        async def run():
            async with connect(server.ws), connect(server.ws):
                with pytest.raises(InvalidStatus) as refused:
                    await connect(server.ws)
                return refused.value.response

        response = asyncio.run(asyncio.wait_for(run(), 50))
        assert response.status_code == 503 and response.headers["Retry-After"] == "1"
        assert json.loads(response.body)["error"]["code"] == "busy"
        assert talk(server, '{"eof": 1}')[1] == 1000  # their places are free again
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_the_end_of_the_server_gives_what_there_is(tmp_path):
    with served(tiny_model(tmp_path)) as server:
        async def run():
            async with connect(server.ws) as socket:
                await socket.send(CONFIG)
                await socket.send(SECOND[:1600])
                await socket.recv()
                server.drain()
                last = json.loads(await socket.recv())
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                return last, closed.value.rcvd.code

        assert asyncio.run(asyncio.wait_for(run(), 50)) == (
            {"text": "u0", "result": [{"conf": 0.75, "start": 0, "end": 0.5, "word": "u0"}]}, 1012)


@pytest.mark.parametrize(("origin", "status"), [
    ("http://evil.example", 403), ("null", 403), ("http://[", 403),
    ("https://app.example", 101), (None, 101)])
def test_scripts_of_other_sites(tmp_path, origin, status):
    with served(tiny_model(tmp_path), origins=("https://app.example",)) as server:
        headers = {"Origin": origin} if origin else None
        if status == 101:
            assert talk(server, '{"eof": 1}', headers=headers)[1] == 1000
            own = {"Origin": server.url}
            assert talk(server, '{"eof": 1}', headers=own)[1] == 1000
        else:
            with pytest.raises(InvalidStatus) as refused:
                talk(server, '{"eof": 1}', headers=headers)
            assert refused.value.response.status_code == status


def test_samples_are_those_of_the_pcm(tmp_path):
    model = tiny_model(tmp_path)
    opened = []
    make = model.recognizer.stream
    model.recognizer.stream = lambda **settings: opened.append(make(**settings)) or opened[-1]
    with served(model) as server:
        talk(server, CONFIG, np.array([-32768, 16384], "<i2").tobytes(), '{"eof": 1}')
    assert opened[0].loud == 1.0 and opened[0].samples == 2 and opened[0].rate == RATE


def test_an_error_of_ours_is_closed_and_logged(tmp_path, caplog):
    model = tiny_model(tmp_path)

    def broken(**settings):
        raise RuntimeError("secret detail")

    model.recognizer.stream = broken
    with served(model) as server:
        got, code, _ = talk(server, CONFIG, SECOND)
        assert got == [{"error": "Internal error of the server."}] and code == 1011
        assert server.post(wav()).status_code == 200
    assert "secret detail" in caplog.text
