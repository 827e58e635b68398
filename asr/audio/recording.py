"""Read a recording in pieces, several times if needed, in little memory.

In: a path, bytes or an open binary file. Out: (n,) float32 blocks, the very samples that
`asr.audio.load_audio` would give in one array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from asr.audio import check_length
from asr.audio.blocks import (
    BLOCK_SAMPLES,
    AudioInfo,
    decode_blocks,
    num_missing,
    open_decoder,
    refuse_or_warn,
    warn_of_wrong_md5,
)
from asr.audio.channels import used_channel
from asr.audio.containers import Layout
from asr.audio.decoder import make_decoder, truncated
from asr.audio.source import Source, open_source
from asr.audio.unchanged import fingerprint
from asr.errors import AudioError, UsageError

MAX_HOURS = 24.0  # of one recording that is read in pieces

# Starts a new pass over a recording: (n,) float32, mono, in [-1, 1], n >= 0.
Blocks = Callable[[], Iterator[np.ndarray]]


class Recording:
    """An open recording; `blocks` reads it once, from the start. Made by `open_recording`.

    Attributes:
        info: what the recording declares.
        name: what messages call it.
        sample_rate: Hz, of the blocks.
    """

    def __init__(self, file: BinaryIO, name: str, info: AudioInfo, sample_rate: int, *,
                 layout: Layout, allow_truncated: bool, channel: int = 0):
        self.info = info
        self.name = name
        self.sample_rate = sample_rate
        self._file = file
        self._fingerprint = fingerprint(file)
        self._layout = layout
        self._allow_truncated = allow_truncated
        self._warned = False
        self._wanted = channel
        self._channel: int | None = None  # known from the first pass on
        self._channel_is_known = self._md5_is_checked = False

    def blocks(self) -> Iterator[np.ndarray]:
        """All samples, a block of bounded size at a time; call it again for another pass.

        What was declared and what came out are compared when a pass ends, and every pass must meet
        the same bytes.

        Yields:
            (n,) float32, mono, in [-1, 1], at `sample_rate`; n >= 0.

        Raises:
            AudioError: audio.truncated, audio.decode, audio.nonfinite, audio.range, audio.phase,
                audio.changed.
        """
        if self._layout.cut:
            self._refuse_or_warn(self._layout.cut)
        num_decoded = 0
        with make_decoder(self._file, self._layout, self.name) as decoder:
            if not self._channel_is_known:
                self._channel = used_channel(decoder, self._wanted, self._file, self.name)
                self._channel_is_known = True
            for block, so_far in decode_blocks(decoder, 0, self.info.num_samples, self.sample_rate,
                                               self.name, self._channel):
                num_decoded = so_far
                yield block
            if num_decoded == self.info.num_samples and not self._md5_is_checked:
                self._md5_is_checked = True
                if decoder.differs_from_md5:
                    warn_of_wrong_md5(self.name)
        if fingerprint(self._file) != self._fingerprint:
            raise AudioError(f"{self.name} changed while it was read. Do not write to recordings "
                             "while they are read.", code="audio.changed", path=self.name)
        if num_missing(self.info, self.info.num_samples, num_decoded):
            self._refuse_or_warn(f"declares {self.info.num_samples:_} samples but holds "
                                 f"{num_decoded:_}")

    def _refuse_or_warn(self, reason: str) -> None:
        if not self._warned:  # the second pass has nothing new to say
            refuse_or_warn(self.name, reason, self._allow_truncated)
        self._warned = True


@contextmanager
def open_recording(source: Source, *, sample_rate: int, allow_truncated: bool = False,
                   max_seconds: float = MAX_HOURS * 3_600,
                   channel: int = 0) -> Iterator[Recording]:
    """A recording to be read in pieces; memory does not depend on its length.

    Args:
        source: a path, the bytes of a file, or an open binary file (a pipe is held in memory).
        sample_rate: Hz, of the blocks.
        allow_truncated: use what is left of a cut recording, with a warning, not an error.
        max_seconds: a longer recording is an error before it is decoded.
        channel: see `asr.audio.load_audio`.

    Yields:
        The `Recording`, which is closed with the block.

    Raises:
        AudioError: as `asr.audio.load_audio`.
        UsageError: a rate that cannot be.

    Example:
        with open_recording("talk.flac", sample_rate=16_000) as recording:
            seconds = sum(len(block) for block in recording.blocks()) / 16_000
    """
    if not (isinstance(sample_rate, (int, np.integer)) and 0 < sample_rate <= 1_000_000):
        raise UsageError(f"sample_rate must be a whole number of Hz, got {sample_rate!r}.")
    with open_source(source) as (file, name), open_decoder(file, name) as (_, info, layout):
        if layout.cut and not allow_truncated:
            raise truncated(name, layout.cut)
        check_length(info.duration, None, max_seconds, name)
        yield Recording(file, name, info, sample_rate, layout=layout,
                        allow_truncated=allow_truncated, channel=channel)


def blocks_of(audio: np.ndarray) -> Blocks:
    """An array as a recording that is read in pieces: (num_samples,) float32."""
    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, len(audio), BLOCK_SAMPLES):
            yield audio[start:start + BLOCK_SAMPLES]

    return blocks
