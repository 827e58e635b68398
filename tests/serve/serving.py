"""A server in a thread of the test process, on a free port, with a tiny or the shipped model."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx
import numpy as np
import soundfile
from tiny_bundle import content

import asr
from asr.bundle import load_bundle, save_bundle
from asr.recognizer import Recognizer
from asr.serve.app import create_app
from asr.serve.connections import Server
from asr.serve.models import Models, ServedModel
from asr.serve.settings import ServerSettings
from asr.transcript import Transcript, Word

CLIPS = Path(__file__).parents[2] / "asr/assets/clips"
RATE = 8_000  # of the tiny model


class Gated(Recognizer):
    """A tiny recogniser whose network waits for `gate`, and says when it has begun."""

    def __init__(self, bundle):
        super().__init__(bundle)
        self.gate, self.begun = threading.Event(), threading.Event()
        self.gate.set()
        self.batches: list[int] = []

    def logits_batch(self, features):
        self.begun.set()
        assert self.gate.wait(50)
        self.batches.append(len(features))
        return super().logits_batch(features)

    def stream(self, sample_rate=16_000, **_):
        return CountingStream(sample_rate)


class CountingStream:
    """A stream of the agreed form: each second is an utterance, the text is how many there were."""

    def __init__(self, rate: float):
        self.rate, self.samples, self.said, self.loud = rate, 0, 0, 0.0

    def feed(self, samples: np.ndarray) -> list[Transcript]:
        assert samples.dtype == np.float32 and samples.ndim == 1
        self.samples += len(samples)
        self.loud = max(self.loud, float(np.abs(samples).max(initial=0.0)))
        done, self.said = range(self.said, int(self.samples / self.rate)), \
            int(self.samples / self.rate)
        return [self._utterance(number) for number in done]

    def partial(self):
        return Partial(f"open {self.samples}")

    def finish(self) -> list[Transcript]:
        return [self._utterance(self.said)] if self.samples % self.rate else []

    @staticmethod
    def _utterance(number: int) -> Transcript:
        return Transcript(f"u{number}", words=(Word(f"u{number}", number, number + 0.5, 0.75),),
                          confidence=0.75, duration=1.0)


class Partial:
    def __init__(self, text: str):
        self.text = self.stable_text = text
        self.words: tuple[Word, ...] = (Word("open", 0.0, 0.25, 0.5),)


@cache
def tiny_bytes() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.asr"
        save_bundle(path, **content())
        return path.read_bytes()


def tiny_model(folder: Path, name: str = "tiny") -> ServedModel:
    path = folder / f"{name}.asr"
    path.write_bytes(tiny_bytes())
    return ServedModel(name, Gated(load_bundle(path)))


def digits_model() -> ServedModel:
    return ServedModel("digits", asr.load())


def wav(seconds: float = 0.5, *, seed: int = 0, rate: int = RATE, loud: float = 0.3) -> bytes:
    """A recording of noise."""
    file = io.BytesIO()
    noise = np.random.default_rng(seed).normal(size=round(seconds * rate))
    soundfile.write(file, np.clip(loud * noise, -1, 1), rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


class Served:
    """A server that runs."""

    def __init__(self, server: Server, port: int):
        self.server, self.port, self.state = server, port, server.state
        self.url, self.ws = f"http://127.0.0.1:{port}", f"ws://127.0.0.1:{port}"

    def client(self, **more) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=50, verify=False, **more)

    def post(self, data: bytes | None = None, *, name: str = "a.wav", **fields) -> httpx.Response:
        """One transcription."""
        with self.client() as client:
            return client.post("/v1/audio/transcriptions", data=fields,
                               files={"file": (name, wav() if data is None else data)})

    def drain(self) -> None:
        self.server._loop.call_soon_threadsafe(self.server.drain)


@contextmanager
def served(*models: ServedModel, checked: bool = True, **settings) -> Iterator[Served]:
    """Serve models until the block ends."""
    port: list[int] = []
    listening = threading.Event()

    def tell(taken: int) -> None:
        port.append(taken)
        listening.set()

    server = Server(create_app(Models(models), ServerSettings(**settings)), port=0, on_start=tell)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    assert listening.wait(50), "the server does not start"
    one = Served(server, port[0])
    try:
        if checked:
            server.state._checker.join(50)
        yield one
    finally:
        for model in models:
            if isinstance(model.recognizer, Gated):
                model.recognizer.gate.set()
        if thread.is_alive():
            one.drain()
        thread.join(50)
        assert not thread.is_alive(), "the server does not end"
