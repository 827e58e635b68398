"""Microphones that pass no high frequencies: WER of clips that are low-passed; JSON lines.

    python benchmarks/narrow_band.py data/fsdd/train.jsonl data/fsdd/test.jsonl --speaker jackson \
        --bundle runs/digits/best.asr --audio-root ../shared/data

Each clip is read as it is, and behind a Butterworth low-pass of order 8, forwards and backwards (so
16 in effect, and 6 dB down at the edge), for each of the edges. Of settings, `augment.band_limit_*`
is chosen so; do not choose by test data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.signal import butter, sosfiltfilt

import asr
from asr.scoring import score

ORDER = 8
EDGES = (2_200.0, 2_600.0, 3_000.0, 3_400.0)  # Hz


def low_passed(samples: np.ndarray, rate: int, edge: float) -> np.ndarray:
    """(n,) float32 without what is above `edge` Hz; edge 0: as it is."""
    if not edge:
        return samples
    return sosfiltfilt(butter(ORDER, edge, fs=rate, output="sos"), samples).astype(np.float32)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--bundle", help="default: the shipped digits")
    parser.add_argument("--speaker", action="append", default=[], help="only this one's; may be "
                        "repeated")
    parser.add_argument("--edges", type=float, nargs="+", default=EDGES, metavar="HZ")
    options = parser.parse_args()
    recognizer = asr.load(options.bundle, engine="numpy")
    rows = [u for path in options.manifests
            for u in asr.read_manifest(path, audio_root=options.audio_root)
            if not options.speaker or u.speaker in options.speaker]
    rate = recognizer.sample_rate
    clips = [asr.load_audio(u.audio, sample_rate=rate, offset=u.offset,
                            duration=u.duration or None) for u in rows]
    for edge in (0.0, *options.edges):
        texts = [found.text for found in recognizer.transcribe_batch(
            [low_passed(clip, rate, edge) for clip in clips])]
        found = score([u.text for u in rows], texts)
        print(json.dumps({"edge": edge or None, "clips": len(rows), "wer": round(found.wer, 4),
                          "interval": [round(found.wer_interval.low, 4),
                                       round(found.wer_interval.high, 4)]}), flush=True)


if __name__ == "__main__":
    main()
