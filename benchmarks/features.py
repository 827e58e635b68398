"""How fast recordings become cached features; one JSON object on stdout.

    python benchmarks/features.py fsdd=DIR/fsdd/recordings kathleen=DIR/kathleen/audio

For each set: every stage alone on one core (decode, decode + log-mel with librosa and with the
NumPy twin, the whole cache with either), then the cache with 1, 2, ... processes, of which each
imports librosa. "x" is seconds of audio a second; `x_per_cpu` divides by processor time, which
other work on the machine disturbs less than the wall clock. Log-mel alone is timed with librosa as
the cache uses it, as the one call `librosa.feature.melspectrogram`, and with the twin; with --peer
also with torchaudio, where it is installed. Run with OPENBLAS_NUM_THREADS=1 to have one core.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from asr.audio import load_audio, probe_audio
from asr.audio.source import AUDIO_SUFFIXES
from asr.data import worker
from asr.data.cache import build_cache
from asr.features import FeatureExtractor
from asr.manifest import Utterance
from asr.recipe import FeatureSettings

SETTINGS = FeatureSettings()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--max-files", type=int, default=2_500)
    parser.add_argument("--peer", action="store_true")
    arguments = parser.parse_args()
    report = {"machine": platform.machine(), "cores": os.cpu_count(),
              "python": platform.python_version(), "numpy": np.__version__,
              "settings": vars(SETTINGS), "log_mel": time_log_mel(arguments.peer), "sets": {}}
    for item in arguments.sets:
        name, _, folder = item.partition("=")
        report["sets"][name] = time_set(Path(folder), arguments)
    report["load_average"] = os.getloadavg()
    print(json.dumps(report, indent=2))


def time_set(folder: Path, arguments: argparse.Namespace) -> dict:
    paths = sorted(p for p in folder.rglob("*") if p.suffix in AUDIO_SUFFIXES)[:arguments.max_files]
    utterances = [Utterance(p.stem, p, "", probe_audio(p).duration) for p in paths]
    seconds = sum(u.duration for u in utterances)
    extractor, twin = FeatureExtractor(SETTINGS), FeatureExtractor(SETTINGS, quick_start=True)

    def decode() -> None:
        for path in paths:
            load_audio(path, sample_rate=SETTINGS.sample_rate)

    def decode_and_extract(extractor: FeatureExtractor) -> None:
        for path in paths:
            extractor.extract(load_audio(path, sample_rate=SETTINGS.sample_rate))

    def cache(num_workers: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            build_cache(utterances, SETTINGS, folder, num_workers=num_workers, on_error="fail")

    def cache_with_twin() -> None:
        """The cache with other features inside: what it would be without librosa."""
        librosas = worker.FeatureExtractor
        worker.FeatureExtractor = partial(FeatureExtractor, quick_start=True)
        try:
            cache(1)
        finally:
            worker.FeatureExtractor = librosas

    extractor.extract(np.zeros(SETTINGS.sample_rate, np.float32))  # imports librosa
    result = {"files": len(paths), "seconds": round(seconds, 1), "decode": speed(decode, seconds),
              "decode_librosa": speed(partial(decode_and_extract, extractor), seconds),
              "decode_twin": speed(partial(decode_and_extract, twin), seconds),
              "cache_twin_1": speed(cache_with_twin, seconds)}
    for workers in arguments.workers:
        result[f"cache_{workers}"] = speed(partial(cache, workers), seconds)
    return result


def time_log_mel(peers: bool) -> dict:
    """Twenty seconds of noise, the best of ten, as multiples of real time."""
    audio = np.random.default_rng(0).uniform(-0.3, 0.3, 20 * 16_000).astype(np.float32)
    import librosa

    one_call = partial(librosa.feature.melspectrogram, sr=16_000, n_fft=512, n_mels=80,
                       win_length=400, hop_length=160, pad_mode="constant")
    contestants = {
        "librosa": partial(FeatureExtractor(SETTINGS).extract, audio),
        "melspectrogram": lambda: np.log(np.maximum(1e-10, one_call(y=audio))),
        "twin": partial(FeatureExtractor(SETTINGS, quick_start=True).extract, audio)}
    if peers:
        try:
            import torch
            import torchaudio
            torch.set_num_threads(1)
            transform = torchaudio.transforms.MelSpectrogram(16_000, 512, 400, 160, n_mels=80)
            contestants["torchaudio"] = lambda: transform(torch.from_numpy(audio)).log()
        except ImportError:
            pass
    found = {}
    for name, function in contestants.items():
        first = elapsed(function)
        found[name] = {"first_call_seconds": round(first, 3),
                       "x": round(20 / min(elapsed(function) for _ in range(10)))}
    return found


def speed(function: Callable[[], object], seconds: float) -> dict:
    cpu, wall = cpu_seconds(), elapsed(function)
    cpu = cpu_seconds() - cpu
    return {"wall_seconds": round(wall, 3), "cpu_seconds": round(cpu, 3),
            "x": round(seconds / wall), "x_per_cpu": round(seconds / cpu)}


def elapsed(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def cpu_seconds() -> float:
    """Processor time of this process and of the children that have ended."""
    return sum(usage.ru_utime + usage.ru_stime for usage in map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


if __name__ == "__main__":
    main()
