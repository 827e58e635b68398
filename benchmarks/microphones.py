"""Microphones that pass no high frequencies, or no voiceless sounds: WER of such clips; JSON lines.

    python benchmarks/microphones.py data/fsdd/train.jsonl data/fsdd/test.jsonl --speaker jackson \
        --bundle runs/digits/best.asr --audio-root ../shared/data

Each clip is read

    as it is;
    low_pass     behind a Butterworth low-pass of order 8, forwards and backwards (so 16 in effect,
                 and 6 dB down at the edge), for each of --edges;
    suppressor   damped by D dB wherever its power below 1,100 Hz is B dB and more under that of its
                 loudest moment, B:D of --suppressors, as a noise suppressor damps what it takes for
                 noise: [s], [f], the burst of a [t], and breath.

Of settings, `augment.band_limit_*` and `augment.unvoiced_probability` are chosen so; do not choose
by test data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from scipy.signal import butter, istft, sosfiltfilt, stft

import asr
from asr.scoring import score

ORDER = 8
EDGES = (2_200.0, 2_600.0, 3_000.0, 3_400.0)  # Hz
SUPPRESSORS = ("25:20", "20:30", "15:30")  # dB below the loudest moment, dB of damping
LOW_BAND = 1_100.0  # Hz
RAMP = 6.0  # dB from nothing to the whole damping
WINDOW_SECONDS = 0.032


def low_passed(samples: np.ndarray, rate: int, edge: float) -> np.ndarray:
    """(n,) float32 without what is above `edge` Hz."""
    return sosfiltfilt(butter(ORDER, edge, fs=rate, output="sos"), samples).astype(np.float32)


def suppressed(samples: np.ndarray, rate: int, below: float, damping: float) -> np.ndarray:
    """(n,) float32, its moments without voice damped; both in dB."""
    window = round(WINDOW_SECONDS * rate)
    framing = {"fs": rate, "nperseg": window, "noverlap": window * 3 // 4}
    frequencies, _, frames = stft(np.pad(samples, (0, window)), **framing)
    low = np.square(np.abs(frames[frequencies < LOW_BAND])).sum(axis=0)
    missing = 10 * np.log10(low.max() + 1e-12) - 10 * np.log10(low + 1e-12) - below
    gain = 10 ** (-damping / 20 * np.clip(missing / RAMP, 0.0, 1.0))
    _, damped = istft(frames * gain, **framing)
    return damped[:len(samples)].astype(np.float32)


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--bundle", help="default: the shipped digits")
    parser.add_argument("--speaker", action="append", default=[], help="only this one's; may be "
                        "repeated")
    parser.add_argument("--edges", type=float, nargs="*", default=EDGES, metavar="HZ")
    parser.add_argument("--suppressors", nargs="*", default=SUPPRESSORS, metavar="BELOW:DAMPING")
    options = parser.parse_args()
    recognizer = asr.load(options.bundle, engine="numpy")
    rows = [u for path in options.manifests
            for u in asr.read_manifest(path, audio_root=options.audio_root)
            if not options.speaker or u.speaker in options.speaker]
    rate = recognizer.sample_rate
    clips = [asr.load_audio(u.audio, sample_rate=rate, offset=u.offset,
                            duration=u.duration or None) for u in rows]
    ways: dict[str, list[np.ndarray]] = {"as it is": clips}
    for edge in options.edges:
        ways[f"low_pass {edge:g} Hz"] = [low_passed(clip, rate, edge) for clip in clips]
    for setting in options.suppressors:
        below, damping = map(float, setting.split(":"))
        ways[f"suppressor {below:g}:{damping:g} dB"] = [suppressed(clip, rate, below, damping)
                                                        for clip in clips]
    for name, audio in ways.items():
        found = score([u.text for u in rows],
                      [one.text for one in recognizer.transcribe_batch(audio)])
        print(json.dumps({"microphone": name, "clips": len(rows), "wer": round(found.wer, 4),
                          "interval": [round(found.wer_interval.low, 4),
                                       round(found.wer_interval.high, 4)]}), flush=True)


if __name__ == "__main__":
    main()
