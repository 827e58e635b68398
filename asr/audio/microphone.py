"""A microphone as pieces of samples.

In: a device. Out: (n,) float32 pieces of 0.1 s, as they come. sounddevice (PortAudio) reads it; it
is an extra and is imported only here.
"""

from __future__ import annotations

import queue
from collections.abc import Generator
from typing import Any

import numpy as np

from asr.errors import AudioError, UsageError

INSTALL = ("Reading a microphone needs sounddevice: pip install 'keras-asr[mic]'; on Linux also "
           "PortAudio: apt-get install libportaudio2.")
PIECE_SECONDS = 0.1
MOST_WAITING = 300  # pieces, half a minute, before the machine is too slow


def microphones() -> list[str]:
    """A line for each device that has an input: its number, name, channels and sample rate.

    Raises:
        UsageError: sounddevice or PortAudio is missing.
    """
    return [f"{number}: {device['name']} ({device['max_input_channels']} channels, "
            f"{device['default_samplerate']:,.0f} Hz)"
            for number, device in enumerate(_library().query_devices())
            if device["max_input_channels"] > 0]


def listen(device: str | int | None = None) -> tuple[int, Generator[np.ndarray]]:
    """Open a microphone.

    Args:
        device: a number or a part of a name; None: the default one.

    Returns:
        Its sample rate in Hz; its pieces, (n,) float32, the first channel, until the iterator is
        closed.

    Raises:
        UsageError: sounddevice or PortAudio is missing, or there is no such device.
    """
    library = _library()
    try:
        found = library.query_devices(device, "input")
    except (library.PortAudioError, ValueError) as error:
        known = "; ".join(microphones()) or "none"
        wanted = "a microphone" if device is None else f"the microphone {device!r}"
        raise UsageError(f"There is no {wanted.split(' ', 1)[1]} here ({error}). Devices with an "
                         f"input: {known}. A recording can be given instead: asr listen talk.wav"
                         ) from error
    rate = round(found["default_samplerate"])
    return rate, _pieces(library, device, rate)


def _pieces(library: Any, device: str | int | None, rate: int) -> Generator[np.ndarray]:
    waiting: queue.Queue[np.ndarray] = queue.Queue(MOST_WAITING)
    lost = []

    def take(samples, _frames, _time, status) -> None:
        try:
            waiting.put_nowait(samples[:, 0].copy())
        except queue.Full:
            lost.append(str(status))

    try:
        with library.InputStream(device=device, channels=1, samplerate=rate, dtype="float32",
                                 blocksize=round(PIECE_SECONDS * rate), callback=take) as stream:
            while True:
                if lost:
                    raise AudioError("The microphone is faster than this machine: half a minute "
                                     "waits to be read. Use a smaller model.",
                                     code="audio.microphone")
                try:
                    yield waiting.get(timeout=1.0)
                except queue.Empty:
                    if not stream.active:
                        raise AudioError("The microphone has stopped: was it unplugged?",
                                         code="audio.microphone") from None
    except library.PortAudioError as error:
        raise AudioError(f"The microphone cannot be read: {error}.",
                         code="audio.microphone") from error


def _library() -> Any:
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: without PortAudio
        raise UsageError(INSTALL) from error
    return sounddevice
