"""The Wyoming protocol, with its own client library, and clients that do not keep to it."""

from __future__ import annotations

import asyncio
import json

import pytest
from serving import CLIPS, digits_model, tiny_model
from test_limits import PATIENCE

import asr
from asr.cli import run
from asr.serve.app import create_app
from asr.serve.connections import Server
from asr.serve.models import Models
from asr.serve.settings import ServerSettings


class Adapter:
    """A server with the adapter, in the event loop of a test."""

    def __init__(self, *models, **settings):
        self.server = Server(create_app(Models(models), ServerSettings(**settings)), port=0,
                             on_start=lambda port: None, wyoming=(0, "en"))

    async def __aenter__(self) -> Adapter:
        self.task = asyncio.ensure_future(self.server.serve())
        while not (self.server.started and self.server.wyoming.port):
            await asyncio.sleep(0.01)
        await self.server.state.wait_until_checked()
        return self

    async def __aexit__(self, *_):
        self.server.drain()
        await self.task


def pcm(path) -> tuple[bytes, int]:
    samples = asr.load().load_audio(path)
    return (samples * 32_767).astype("<i2").tobytes(), asr.load().sample_rate


def test_home_assistants_client():
    pytest.importorskip("wyoming")
    from wyoming.asr import Transcribe, Transcript
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.client import AsyncTcpClient
    from wyoming.info import Describe, Info

    data, rate = pcm(CLIPS / "1-rms.ogg")
    form = {"rate": rate, "width": 2, "channels": 1}

    async def talk():
        async with Adapter(digits_model()) as adapter, \
                AsyncTcpClient("127.0.0.1", adapter.server.wyoming.port) as client:
            await client.write_event(Describe().event())
            info = Info.from_event(await client.read_event())
            assert [model.name for model in info.asr[0].models] == ["digits"]
            assert info.asr[0].models[0].languages == ["en"]
            texts = []
            for _ in range(2):  # a connection may be used again
                await client.write_event(Transcribe(name="digits", language="en").event())
                await client.write_event(AudioStart(**form).event())
                for start in range(0, len(data), 2_048):
                    await client.write_event(
                        AudioChunk(audio=data[start:start + 2_048], **form).event())
                await client.write_event(AudioStop().event())
                texts.append(Transcript.from_event(await client.read_event()).text)
            await client.write_event(Transcribe(name="other").event())
            await client.write_event(AudioStart(**form).event())
            await client.write_event(AudioChunk(audio=data, **form).event())
            await client.write_event(AudioStop().event())
            error = await client.read_event()
            assert error.type == "error" and "no model 'other'" in error.data["text"]
            return texts

    assert asyncio.run(asyncio.wait_for(talk(), PATIENCE)) == ["four two zero nine"] * 2


@pytest.mark.parametrize("data", [
    b"\x00\xff\n", b"hello\n", b"[]\n", b'{"type": 1}\n', b'{"type": "x", "data_length": -1}\n',
    b'{"type": "x", "data_length": 99999999999}\n', b'{"type": "x", "payload_length": 1e9}\n',
    b'{"type": "x", "data_length": 2}\n[]', b"a" * 200_000,
    b'{"type": "audio-start", "data": {"rate": 16000}}\n',
    b'{"type": "audio-start", "data": {"rate": true, "width": 2, "channels": 1}}\n',
    b'{"type": "audio-start", "data": {"rate": 1, "width": 2, "channels": 1}}\n',
])
def test_what_is_no_event_ends_its_connection(tmp_path, data):
    async def talk() -> bytes:
        async with Adapter(tiny_model(tmp_path)) as adapter:
            reader, writer = await asyncio.open_connection("127.0.0.1",
                                                           adapter.server.wyoming.port)
            writer.write(data)
            answer = await reader.read()
            writer.close()
            while adapter.server.state.places.taken:
                await asyncio.sleep(0.01)
            return answer

    answer = asyncio.run(asyncio.wait_for(talk(), PATIENCE))
    assert json.loads(answer.split(b"\n")[0])["type"] == "error" and b"no event" in answer


def test_words_of_no_list_are_left_out(tmp_path):
    async def talk() -> bytes:
        async with Adapter(tiny_model(tmp_path)) as adapter:
            reader, writer = await asyncio.open_connection("127.0.0.1",
                                                           adapter.server.wyoming.port)
            writer.write(b'{"type": "transcribe", "data": {"transcript_names": 5}}\n'
                         b'{"type": "describe"}\n')
            answer = await reader.readline()
            writer.close()
            return answer

    assert json.loads(asyncio.run(asyncio.wait_for(talk(), PATIENCE)))["type"] == "info"


def test_too_much_audio_and_too_many_connections(tmp_path):
    head = b'{"type": "audio-chunk", "data": {"rate": 8000, "width": 2, "channels": 1}, ' \
           b'"payload_length": 6000}\n' + bytes(6_000)

    async def talk():
        async with Adapter(tiny_model(tmp_path), max_body=10_000, max_streams=1) as adapter:
            port = adapter.server.wyoming.port
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head)
            while not adapter.server.state.places.taken:
                await asyncio.sleep(0.01)
            other, closing = await asyncio.open_connection("127.0.0.1", port)
            busy = await other.read()
            closing.close()
            writer.write(head)
            answer = await reader.read()
            writer.close()
            return busy, answer

    busy, answer = asyncio.run(asyncio.wait_for(talk(), PATIENCE))
    assert b'"code": "busy"' in busy and b"more than 10,000 bytes" in answer


def test_a_silent_connection_is_closed(tmp_path):
    async def talk() -> bytes:
        async with Adapter(tiny_model(tmp_path), idle_seconds=0.5) as adapter:
            reader, writer = await asyncio.open_connection("127.0.0.1",
                                                           adapter.server.wyoming.port)
            answer = await reader.read()
            writer.close()
            return answer

    assert asyncio.run(asyncio.wait_for(talk(), PATIENCE)) == b""


def test_it_has_no_token(capsys, tmp_path):
    (tmp_path / "token").write_text("0123456789abcdef")
    assert run(["serve", "--host", "0.0.0.0", "--token-file", str(tmp_path / "token"),
                "--wyoming-port", "0"]) == 2
    assert "has no token" in capsys.readouterr().err
