"""Recordings that the TensorFlow graph reads, in place of the feature cache.

In: utterances and a recipe with `data.reader = "tensorflow-io"`. Out: `Recordings`, with the rows
that the planner needs. What is known of a recording before it is decoded (codec, rate, place,
length) is looked up here, once; `asr.data.recordings_graph` decodes, in the graph.

tensorflow-io 0.37.1 is its last release, and its native code fits TensorFlow 2.16 and 2.17 only.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr.audio import check_length, display_name
from asr.audio import segment as segment_of
from asr.audio.probing import Probe, probe_all
from asr.audio.tar import split_path
from asr.data.cache import CacheRow
from asr.errors import AudioError, UsageError
from asr.features import FeatureExtractor
from asr.features.lengths import feature_length
from asr.manifest import Utterance
from asr.manifest.address import split_part
from asr.recipe import Recipe
from asr.versions import installed

if TYPE_CHECKING:
    from asr.data.recordings_graph import RecordingGraph

# What decodes, and to which type, by libsndfile's name of format and encoding. tensorflow-io takes
# 32-bit integers of a WAV file for floats, so they are not in the table.
CODECS = {"WAV PCM_U8": 0, "WAV PCM_16": 1, "WAV PCM_24": 2, "WAV FLOAT": 3, "FLAC PCM_16": 4,
          "FLAC PCM_24": 5, "MP3 MPEG_LAYER_III": 6, "OGG VORBIS": 7}


@dataclass(frozen=True)
class Source:
    """Where one row comes from.

    Args:
        path: path of the file, or its address.
        codec: a value of `CODECS`.
        rate: Hz, of the file times the speed of the row.
        start, stop: samples of the file.
        num_samples: at the rate of the recipe, after the change of speed.
    """

    path: str
    codec: int
    rate: int
    start: int
    stop: int
    num_samples: int


class Recordings:
    """The rows of a training or validation set, read from the recordings at every pass.

    Attributes: as `asr.data.cache.FeatureCache`, which it replaces; `sources` has one entry a
    row. Nothing is kept on disk.

    Args:
        utterances: utterances of the set.
        recipe: its [features], and the accepted lengths.
        speeds: one row an utterance and speed.

    Raises:
        UsageError: tensorflow-io does not work here, see `require_tensorflow_io`.
    """

    def __init__(self, utterances: Sequence[Utterance], recipe: Recipe,
                 speeds: Sequence[float] = (1.0,)):
        require_tensorflow_io()
        self.settings = recipe.features
        self.num_features = FeatureExtractor(recipe.features).num_features
        self.num_extracted = 0
        self.rows: list[CacheRow] = []
        self.sources: list[Source] = []
        self.failed: list[dict] = []
        limits = recipe.data.min_seconds, recipe.data.max_seconds
        probes = probe_all([u.audio for u in utterances], hashes=True)
        for index, u in enumerate(utterances):
            try:
                found = [_source(u, probes[u.audio], self.settings.sample_rate, speed, limits)
                         for speed in speeds]
            except AudioError as error:
                self.failed.append({**error.as_record("features"), "path": str(u.audio),
                                    "id": u.id})
                continue
            for speed, source in zip(speeds, found, strict=True):
                frames = feature_length(source.num_samples, self.settings.hop_length,
                                        self.settings.n_fft)
                key = f"{probes[u.audio].sha256} {source.start} {source.stop} {speed}"
                self.rows.append(CacheRow(u.id, u.speaker, index, speed, frames,
                                          source.num_samples, key))
                self.sources.append(source)

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, row_index: int) -> np.ndarray:
        """Features of one row, before CMVN: (T, F) float32, through the graph."""
        return self.graph.features(row_index)

    @cached_property
    def graph(self) -> RecordingGraph:
        """What reads the rows; imports TensorFlow.

        Raises:
            UsageError: tensorflow-io cannot be loaded.
        """
        from asr.data.recordings_graph import RecordingGraph

        return RecordingGraph(self)


def _source(u: Utterance, probe: Probe, sample_rate: int, speed: float,
            limits: tuple[float, float]) -> Source:
    """What to decode for an utterance at one speed."""
    if probe.info is None:
        raise probe.error or AudioError(f"{u.audio} cannot be read.", path=u.audio)
    info, name = probe.info, display_name(str(u.audio))
    if split_path(u.audio) if isinstance(u.audio, Path) else split_part(u.audio.text)[1]:
        raise AudioError(f"{name} is in a tar file, which tensorflow-io does not open. Set "
                         "data.reader = \"cache\".", code="audio.unsupported", path=u.audio)
    if u.channel:
        raise AudioError(f"{name}: got channel {u.channel}, and tensorflow-io mixes all channels. "
                         "Set data.reader = \"cache\".", code="audio.unsupported", path=u.audio)
    codec = CODECS.get(f"{info.format} {info.subtype}")
    if codec is None:
        raise AudioError(f"{name} holds {info.format} {info.subtype}, which tensorflow-io does not "
                         f"decode; it decodes {', '.join(CODECS)}. Convert it, or set data.reader "
                         "= \"cache\".", code="audio.unsupported", path=u.audio)
    start, count = segment_of(info, u.offset, u.duration, True, name)
    check_length(count / info.sample_rate, *limits, name)
    rate = round(info.sample_rate * speed)
    return Source(str(u.audio), codec, rate, start, start + count,
                  max(1, round(count * sample_rate / rate)))


def require_tensorflow_io() -> None:
    """Check that the versions of TensorFlow and tensorflow-io fit each other.

    Raises:
        UsageError: they do not, or one is missing; the message has the versions and the command
            that makes an environment where they do.
    """
    found = installed(("tensorflow", "tensorflow-io"))
    fits = (found["tensorflow"] or "").startswith(("2.16.", "2.17.")) and found["tensorflow-io"]
    if not fits:
        here = " and ".join(f"{name} {version or '(not installed)'}"
                            for name, version in found.items())
        raise UsageError(
            "tensorflow-io 0.37.1, its last release, works with TensorFlow 2.16 and 2.17 on Python "
            f"3.11 and 3.12; here are {here} on Python {platform.python_version()}. Make an "
            "environment for it: python3.11 -m venv tfio && tfio/bin/pip install "
            "\"keras-asr[tfio]\"; or set data.reader = \"cache\".", code="usage.tensorflow_io")
