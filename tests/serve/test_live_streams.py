"""The websocket with the shipped model and real recognition: digits come while they are sent."""

from __future__ import annotations

import asyncio
import json

import numpy as np
import pytest
from serving import CLIPS, digits_model, served
from test_streams import vosk_client

import asr

RATE = 8_000
DIGITS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}


@pytest.fixture(scope="module")
def server():
    with served(digits_model()) as one:
        yield one


def pcm(*names: str, rate: int = RATE) -> bytes:
    """Clips with 1.5 s of silence after each, as 16-bit PCM."""
    pieces = []
    for name in names:
        pieces += [asr.load().load_audio(CLIPS / name), np.zeros(12_000, np.float32)]
    samples = asr.audio.resample(np.concatenate(pieces), RATE, rate)
    return (np.clip(samples, -1, 1) * 32_767).astype("<i2").tobytes()


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_vosks_client_reads_digits(server, rate):
    *pieces, last = vosk_client(server.ws, pcm("1-rms.ogg", rate=rate), rate)
    results = [answer for answer in (*pieces, last) if answer.get("text")]
    assert [one["text"] for one in results] == ["four two zero nine"]
    partials = [answer["partial"] for answer in pieces if answer.get("partial")]
    assert partials and set(" ".join(partials).split()) <= DIGITS
    words = results[0]["result"]
    expected = asr.load().transcribe(CLIPS / "1-rms.ogg").words
    assert [word["word"] for word in words] == [word.text for word in expected]
    for word, offline in zip(words, expected, strict=True):
        assert word["start"] == pytest.approx(offline.start, abs=0.15)
        assert 0 < word["conf"] <= 1


def test_utterances_end_at_pauses_and_times_go_on(server):
    *pieces, last = vosk_client(server.ws + "/v1/stream", pcm("1-rms.ogg", "2-slt.ogg"), RATE)
    results = [answer for answer in (*pieces, last) if answer.get("text")]
    offline = [asr.load().transcribe(CLIPS / name).text for name in ("1-rms.ogg", "2-slt.ogg")]
    assert [one["text"] for one in results] == offline
    times = [word["start"] for one in results for word in one["result"]]
    assert times == sorted(times) and times[-1] > 3.7


def test_several_streams_at_once_say_the_same(server):
    from websockets.asyncio.client import connect

    data = pcm("1-rms.ogg")

    async def talk(piece: int) -> str:
        texts = []
        async with connect(server.ws) as socket:
            await socket.send(json.dumps({"config": {"sample_rate": RATE}}))
            for start in range(0, len(data), piece):
                await socket.send(data[start:start + piece])
                texts.append(json.loads(await socket.recv()).get("text", ""))
            await socket.send('{"eof": 1}')
            texts.append(json.loads(await socket.recv())["text"])
        return " ".join(filter(None, texts))

    async def run():
        return await asyncio.gather(*(talk(piece) for piece in (801, 1_600, 3_200, 6_401, 32_000)))

    assert asyncio.run(asyncio.wait_for(run(), 50)) == ["four two zero nine"] * 5


def test_words_of_the_config(server):
    from test_streams import talk

    data = pcm("1-rms.ogg")
    only = {"config": {"sample_rate": RATE, "phrase_list": ["four two", "[unk]"]}}
    got, code, _ = talk(server, json.dumps(only), data, '{"eof": 1}')
    text = " ".join(answer.get("text", "") for answer in got)
    assert code == 1000 and set(text.split()) <= {"four", "two"} and "four" in text
    hot = {"config": {"sample_rate": RATE, "hot_words": ["nine:2"]}}
    got, code, _ = talk(server, json.dumps(hot), data, '{"eof": 1}')
    assert code == 1000 and "nine" in " ".join(answer.get("text", "") for answer in got)
