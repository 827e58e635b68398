"""The server under load, on loopback; one JSON object on stdout.

    python benchmarks/serve.py                     # 1 to 64 clients, with batches and without
    python benchmarks/serve.py --requests 10000    # so many requests, every answer checked
    python benchmarks/serve.py --streams 10        # websockets that send in real time
    python benchmarks/serve.py --soak 600          # uploads and streams; memory, in time

`asr serve` runs in a process of its own. The clients (httpx, websockets) run in this one, on the
same machine, so what they cost is part of every number. Each request uploads one of --clips
recordings, made of words of the sample clips in random order, and its answer must be, word for
word, what `Recognizer.transcribe` says of that recording alone; others are counted as "wrong".
Latencies are from the first byte sent to the last one received, in milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import httpx
import numpy as np
import soundfile
from websockets.asyncio.client import connect

import asr
from asr.recognizer import Recognizer

CLIPS = Path(asr.__file__).parent / "assets/clips"
PIECE = 0.2  # seconds that a stream sends at a time
PAUSE = 0.1  # seconds before and after each word


@dataclass
class Clip:
    """A recording and what must be answered."""

    data: bytes
    samples: np.ndarray
    seconds: float
    text: str


@dataclass
class Tally:
    """What became of some requests."""

    latencies: list[float] = field(default_factory=list)
    audio: float = 0.0
    wrong: int = 0
    failed: int = 0

    def report(self, seconds: float) -> dict:
        """Rates and latencies."""
        return {"requests": len(self.latencies), "requests_per_s": round(
                    len(self.latencies) / seconds, 1),
                "audio_seconds_per_s": round(self.audio / seconds, 1),
                "p50_ms": percentile(self.latencies, 50), "p99_ms": percentile(self.latencies, 99),
                "wrong": self.wrong, "failed": self.failed}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a bundle; default: the shipped digits")
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 8, 16, 64])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each cell")
    parser.add_argument("--rounds", type=int, default=1, help="over all cells, in turn")
    parser.add_argument("--requests", type=int, default=0, help="to check, from 64 clients")
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--stream-seconds", type=float, default=30.0)
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS")
    parser.add_argument("--soak-clients", type=int, default=8)
    parser.add_argument("--soak-streams", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    recognizer = asr.load(options.model)
    clips = make_clips(recognizer, options.clips, options.seed)
    result: dict = {"machine": platform.machine(), "processors": len(os.sched_getaffinity(0)),
                    "clips": len(clips), "mean_clip_seconds": round(
                        statistics.fmean(clip.seconds for clip in clips), 2)}
    if options.requests:
        with server(options, batch=16) as url:
            result["checked"] = asyncio.run(checked(url, clips, options.requests))
    if options.streams:
        with server(options, batch=16) as url:
            result["streams"] = asyncio.run(streamed(url, clips, recognizer.sample_rate, options))
    if options.soak:
        with server(options, batch=16) as url:
            result["soak"] = asyncio.run(soaked(url, clips, recognizer.sample_rate, options))
    if not (options.requests or options.streams or options.soak):
        result["load"] = load_table(clips, options)
    print(json.dumps(result, indent=1))


def load_table(clips: list[Clip], options) -> list[dict]:
    """Every number of clients with every size of batch, in turn; the median of the rounds."""
    cells: dict[tuple[int, int, int], list[dict]] = {}
    for _ in range(options.rounds):
        for workers in options.workers:
            for batch in options.batch:
                with server(options, batch=batch, workers=workers) as url:
                    for clients in options.clients:
                        cells.setdefault((clients, batch, workers), []).append(
                            asyncio.run(loaded(url, clips, clients, options.seconds)))
    rows = []
    for (clients, batch, workers), rounds in sorted(cells.items()):
        rows.append({"clients": clients, "batch": batch, "workers": workers}
                    | {name: round(statistics.median(one[name] for one in rounds), 1)
                       for name in ("requests_per_s", "audio_seconds_per_s", "p50_ms", "p99_ms")}
                    | {name: sum(one[name] for one in rounds)
                       for name in ("requests", "wrong", "failed")})
    return rows


def make_clips(recognizer: Recognizer, number: int, seed: int) -> list[Clip]:
    """Recordings of 2 to 7 words each, no two alike, with what is recognised in them."""
    rng = np.random.default_rng(seed)
    rate = recognizer.sample_rate
    words = []
    for path in sorted(CLIPS.glob("*.[of]*")):
        samples = recognizer.load_audio(path)
        for word in recognizer.transcribe(path).words:
            first, last = word.start - PAUSE, word.end + PAUSE
            words.append(samples[max(0, round(first * rate)):round(last * rate)])
    made = []
    for _ in range(number):
        order = rng.integers(len(words), size=rng.integers(2, 8))
        samples = np.concatenate([words[i] for i in order])
        file = io.BytesIO()
        soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16")
        text = recognizer.transcribe(soundfile.read(
            io.BytesIO(file.getvalue()), dtype="float32")[0]).text
        made.append(Clip(file.getvalue(), samples, len(samples) / rate, text))
    return made


@contextmanager
def server(options, **settings) -> Iterator[str]:
    """`asr serve` in a process of its own; yields its address."""
    arguments = [f"--{name}={value}" for name, value in settings.items()]
    process = subprocess.Popen(
        [sys.executable, "-m", "asr", "serve", *([options.model] if options.model else []),
         "--port=0", "--max-queue=256", "--max-streams=256", *arguments],
        stderr=subprocess.PIPE, text=True)
    stderr = process.stderr
    if stderr is None:
        raise RuntimeError("no stderr")
    url = ""
    for line in stderr:
        row = json.loads(line)
        url = row.get("url", url)
        if row["event"] == "ready":
            break
    else:
        raise RuntimeError("the server did not start")
    drain = subprocess.Popen(["cat"], stdin=stderr, stdout=subprocess.DEVNULL)  # its log
    try:
        yield url.rstrip("/")
    finally:
        process.terminate()
        process.wait(60)
        drain.wait(60)
        stderr.close()


async def one_request(client: httpx.AsyncClient, clip: Clip, tally: Tally) -> None:
    started = time.perf_counter()
    answer = await client.post("/v1/audio/transcriptions", files={"file": ("a.wav", clip.data)})
    tally.latencies.append(time.perf_counter() - started)
    if answer.status_code != 200:
        tally.failed += 1
    elif answer.json()["text"] != clip.text:
        tally.wrong += 1
    tally.audio += clip.seconds


@asynccontextmanager
async def clients_of(url: str, number: int) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients with a connection each: one pool for all searches it at each request."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(httpx.AsyncClient(
            base_url=url, timeout=60, verify=False)) for _ in range(number)]


async def loaded(url: str, clips: list[Clip], number: int, seconds: float) -> dict:
    """So many clients, each with one request after the other."""
    tally, supply = Tally(), cycle(clips)
    async with clients_of(url, number) as clients:
        await asyncio.gather(*(one_request(one, next(supply), Tally()) for one in clients))
        started = time.perf_counter()

        async def work(client: httpx.AsyncClient) -> None:
            while time.perf_counter() - started < seconds:
                await one_request(client, next(supply), tally)

        await asyncio.gather(*map(work, clients))
        return tally.report(time.perf_counter() - started)


async def checked(url: str, clips: list[Clip], number: int) -> dict:
    """So many requests from 64 clients."""
    tally, supply, left = Tally(), cycle(clips), iter(range(number))
    async with clients_of(url, 64) as clients:
        started = time.perf_counter()

        async def work(client: httpx.AsyncClient) -> None:
            for _ in left:
                await one_request(client, next(supply), tally)

        await asyncio.gather(*map(work, clients))
        return tally.report(time.perf_counter() - started)


async def stream(url: str, samples: np.ndarray, rate: int, seconds: float,
                 latencies: list[float]) -> str:
    """One websocket that sends in real time; its text."""
    pcm = (np.clip(samples, -1, 1) * 32_767).astype("<i2")
    size, texts = round(PIECE * rate), []
    async with connect(url.replace("http", "ws") + "/v1/stream") as socket:
        await socket.send(json.dumps({"config": {"sample_rate": rate}}))
        begun = time.perf_counter()
        for number in range(round(seconds / PIECE)):
            await asyncio.sleep(max(0.0, begun + number * PIECE - time.perf_counter()))
            first = number * size % max(1, len(pcm) - size)
            sent = time.perf_counter()
            await socket.send(pcm[first:first + size].tobytes())
            answer = json.loads(await socket.recv())
            latencies.append(time.perf_counter() - sent)
            texts.append(answer.get("text", ""))
        await socket.send('{"eof": 1}')
        texts.append(json.loads(await socket.recv()).get("text", ""))
    return " ".join(filter(None, texts))


async def streamed(url: str, clips: list[Clip], rate: int, options) -> dict:
    """Streams at the same time; each sends the same audio, so all must say the same."""
    samples = joined(clips, rate, options.stream_seconds)
    latencies: list[float] = []
    before = await measured(url)
    texts = await asyncio.gather(*(stream(url, samples, rate, options.stream_seconds, latencies)
                                   for _ in range(options.streams)))
    after = await measured(url)
    return {"streams": options.streams, "seconds": options.stream_seconds,
            "p50_ms": percentile(latencies, 50), "p99_ms": percentile(latencies, 99),
            "worst_ms": percentile(latencies, 100),
            "processor_seconds_per_audio_second": round(
                (after["cpu"] - before["cpu"]) / (options.streams * options.stream_seconds), 4),
            "words": len(texts[0].split()), "different_texts": len(set(texts))}


def joined(clips: list[Clip], rate: int, seconds: float) -> np.ndarray:
    """Clips with a second of silence after each, until it is long enough."""
    pieces, length = [], 0
    for clip in cycle(clips):
        pieces += [clip.samples, np.zeros(rate, np.float32)]
        length += len(clip.samples) + rate
        if length > (seconds + 1) * rate:
            return np.concatenate(pieces)
    raise ValueError("no clips")


async def measured(url: str) -> dict[str, float]:
    """Memory in MiB and processor seconds of the server, as it says."""
    async with httpx.AsyncClient(timeout=60) as client:
        text = (await client.get(f"{url}/metrics")).text
    def value(name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0
    return {"mib": value("process_resident_memory_bytes") / 2 ** 20,
            "cpu": value("process_cpu_seconds_total"), "fds": value("process_open_fds")}


async def soaked(url: str, clips: list[Clip], rate: int, options) -> dict:
    """Clients and streams for a long time; memory over time."""
    tally, supply, latencies, seconds = Tally(), cycle(clips), [], options.soak
    samples = joined(clips, rate, 30.0)
    started = time.perf_counter()
    seen: list[tuple[float, dict[str, float]]] = []

    def elapsed() -> float:
        return time.perf_counter() - started

    async def upload(client: httpx.AsyncClient) -> None:
        while elapsed() < seconds:
            await one_request(client, next(supply), tally)

    async def talk() -> None:
        while elapsed() < seconds:
            await stream(url, samples, rate, min(30.0, seconds), latencies)

    async def watch() -> None:
        while elapsed() < seconds:
            seen.append((elapsed(), await measured(url)))
            await asyncio.sleep(min(5.0, seconds / 10))

    async with clients_of(url, options.soak_clients) as clients:
        await asyncio.gather(watch(), *map(upload, clients),
                             *(talk() for _ in range(options.soak_streams)))
    settled = [(t, one) for t, one in seen if t > seconds / 5]
    slope = np.polyfit([t for t, _ in settled], [one["mib"] for _, one in settled], 1)[0]
    return tally.report(elapsed()) | {
        "seconds": round(elapsed()), "stream_p99_ms": percentile(latencies, 99),
        "mib_after_a_fifth": round(settled[0][1]["mib"], 1),
        "mib_at_the_end": round(settled[-1][1]["mib"], 1),
        "mib_per_hour": round(3_600 * slope, 1), "descriptors": [
            int(settled[0][1]["fds"]), int(settled[-1][1]["fds"])]}


def percentile(seconds: list[float], part: float) -> float:
    """Milliseconds."""
    return round(1_000 * float(np.percentile(seconds, part)), 1) if seconds else 0.0


if __name__ == "__main__":
    main()
