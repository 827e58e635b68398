"""Mix channels to one: their mean, or the loudest where they cancel each other.

In: (n, channels) float32. Out: (n,) float32. A microphone that is wired the wrong way round gives
channels in opposite phase, whose mean is silence although both hold the speech.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from asr.audio.unchanged import remembered
from asr.errors import AudioError, InputWarning

if TYPE_CHECKING:
    from asr.audio.av_decoder import AvDecoder
    from asr.audio.decoder import AudioDecoder

MAX_LOSS_DB = 20.0  # of the mean against the loudest channel; 8 channels, 7 of them empty: 18
_LIMIT = 10 ** (-MAX_LOSS_DB / 10)
SECONDS = 30  # of sound, after which it is decided whether the channels cancel each other
MAX_KEPT = 1 << 22  # numbers, 16 MiB: 30 s of stereo at 48 kHz, and a little silence
_SOUND = 1e-6  # mean square of the loudest channel, -60 dB; less is no evidence


def mix_channels(audio: np.ndarray) -> np.ndarray:
    """The mean over channels: (num_samples, channels) -> (num_samples,) float32."""
    return audio[:, 0] if audio.shape[1] == 1 else audio.mean(axis=1, dtype=np.float32)


class ChannelMeter:
    """The energy of every channel and of their mean, without direct current.

    Args:
        num_channels: 1 or more.
        sample_rate: Hz.
    """

    def __init__(self, num_channels: int, sample_rate: int):
        self._step = max(1, sample_rate // 4)
        self._energies = np.zeros(num_channels)
        self._mean_energy = 0.0
        self._sounding = self._lost = 0  # quarters of a second; lost in the mean

    def add(self, audio: np.ndarray) -> bool:
        """Count a block, (n, channels) float32; returns whether it is more than silence."""
        return any([self._add(audio[start:start + self._step])
                    for start in range(0, len(audio), self._step)])

    def _add(self, audio: np.ndarray) -> bool:
        num_samples, num_channels = audio.shape
        with np.errstate(over="ignore", invalid="ignore"):  # the decoder refuses such samples
            products = (audio.T @ audio).astype(np.float64)  # energies, and those of all pairs
            sums = (np.ones(num_samples, np.float32) @ audio).astype(np.float64)
            products -= np.outer(sums, sums) / num_samples
            energies = products.diagonal()
            if not energies.max() >= _SOUND * num_samples:
                return False
            mean_energy = max(0.0, products.sum() / num_channels ** 2)
            self._energies += energies
            self._mean_energy += mean_energy
            if num_samples == self._step:
                self._sounding += 1
                self._lost += bool(mean_energy < _LIMIT * energies.max())
        return True

    @property
    def loudest(self) -> int:
        """The channel with the most energy; the first of those that are as loud."""
        return int((self._energies >= (1 - 1e-3) * self._energies.max()).argmax())

    @property
    def cancel(self) -> bool:
        """Whether the mean loses more than `MAX_LOSS_DB` against the loudest channel.

        In all, or in a tenth of the time: two parts of a recording may have been wired differently.
        """
        with np.errstate(invalid="ignore"):
            loudest = self._energies.max()
            return bool(loudest > 0 and self._mean_energy < _LIMIT * loudest
                        or self._lost > max(1, self._sounding // 10))


def used_channel(decoder: AudioDecoder | AvDecoder, wanted: int, file: BinaryIO, name: str
                 ) -> int | None:
    """Which channel to use, from 0 on; None: the mean of all. Opposite phase is a warning.

    Args:
        decoder: at its start, where it is afterwards.
        wanted: 1 is the first channel; 0: the mean, or the loudest where they cancel.
        file: which the decoder reads.
        name: what messages call the recording.

    Raises:
        AudioError: audio.channel, there is no such channel.
    """
    if wanted:
        if not 1 <= wanted <= decoder.channels:
            raise AudioError(f"{name} has {decoder.channels} channel"
                             f"{'s' if decoder.channels > 1 else ''}, so there is no channel "
                             f"{wanted}; give 1 .. {decoder.channels}, or mix.",
                             code="audio.channel", path=name)
        return wanted - 1 if decoder.channels > 1 else None
    channel = remembered(file, "channel", partial(opposite_channel, decoder))
    if channel is not None:
        warn_of_opposite_channels(name, channel)
    return channel


def opposite_channel(decoder: AudioDecoder | AvDecoder) -> int | None:
    """Which channel to use because all of them together cancel; None: their mean.

    The first `SECONDS` of sound decide for the whole recording, so that a part, the whole and
    blocks have the same samples. The decoder is at its start afterwards; it keeps what was decoded,
    up to `MAX_KEPT` numbers.

    Args:
        decoder: at its start.
    """
    if decoder.channels == 1:
        return None
    meter = ChannelMeter(decoder.channels, decoder.samplerate)
    block = np.empty((decoder.samplerate, decoder.channels), np.float32)
    seconds = num_read = 0
    kept: list[np.ndarray] = []
    try:
        while seconds < SECONDS:
            audio = decoder.read(out=block)
            if not len(audio):
                break
            seconds += meter.add(audio)
            num_read += audio.size
            if num_read <= MAX_KEPT:
                kept.append(audio.copy())
    except (RuntimeError, ValueError, OSError):
        num_read = MAX_KEPT + 1  # the caller decodes it next and reports the damage with its place
    if num_read > MAX_KEPT:
        decoder.restart()
    else:
        decoder.unread(kept)
    return meter.loudest if meter.cancel else None


def warn_of_opposite_channels(name: str, channel: int) -> None:
    """Say that one channel is used, not the mean."""
    warnings.warn(InputWarning(
        f"{name} has channels in opposite phase: there their mean is more than {MAX_LOSS_DB:g} dB "
        "below the loudest, as if a microphone is wired the wrong way round. Using channel "
        f"{channel + 1} alone.", "audio.phase"), stacklevel=3)


def refuse_cancelled(meter: ChannelMeter, name: str) -> None:
    """An error where the mean was used and sound is lost in it.

    Raises:
        AudioError: audio.phase.
    """
    if meter.cancel:
        raise AudioError(f"{name} has channels that change to opposite phase after its start: "
                         f"there their mean is more than {MAX_LOSS_DB:g} dB below channel "
                         f"{meter.loudest + 1}; expected channels that agree. Use one alone: "
                         f"--channel {meter.loudest + 1}, or ffmpeg -i INPUT "
                         f"-af 'pan=mono|c0=c{meter.loudest}' OUTPUT.wav",
                         code="audio.phase", path=name)
