"""Recordings with quiet, or noise, around the words: WER of clips; JSON lines.

    python benchmarks/quiet.py data/fsdd/test.jsonl --audio-root ../shared/data
    python benchmarks/quiet.py data/voices/valid.jsonl --bundle runs/digits/best.asr
    python benchmarks/quiet.py data/fsdd/train.jsonl --speaker jackson --speaker theo \
        --audio-root ../shared/data --noise ../shared/data/noise-esc10 --names '5-*' --snr 10 20

Clips of a corpus are cut close; what people record is not. Each clip is read

- alone, as it is;
- with 0.5 s before and 1.7 s after it of noise at -66 dB of full scale;
- in a recording of five clips of one speaker, 0.2 s apart, with the same around it;
- likewise, 1.5 s apart.

With --noise, all of it once more for each --snr, with a recording of noise added to each that lasts
as long (it begins anywhere, and begins again), so many dB below the words. The level of both is the
mean power of the 25 ms frames that lie less than 20 dB below the loudest one.

Nothing is chosen here; do not choose by test data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from streaming import recordings

import asr
from asr.augment import noise_files
from asr.scoring import score

Clips = list[tuple[str, np.ndarray]]


def alone(utterances: list[asr.Utterance], rate: int, most: int) -> Clips:
    """(text, samples) of single utterances, the first `most` in a fixed order."""
    found = [(u.text, asr.load_audio(u.audio, sample_rate=rate, offset=u.offset,
                                     duration=u.duration or None))
             for u in utterances]
    keep = np.random.default_rng(1).permutation(len(found))[:most]
    return [found[i] for i in keep]


def under(clips: Clips, noises: list[np.ndarray], snr: float, rate: int) -> Clips:
    """The same clips with noise."""
    rng = np.random.default_rng(1)
    found = []
    for text, samples in clips:
        whole = noises[int(rng.integers(len(noises)))]
        noise = np.resize(np.roll(whole, int(rng.integers(len(whole)))), len(samples))
        gain = np.sqrt(loud_power(samples, rate) / 10 ** (snr / 10) / loud_power(whole, rate))
        noisy = samples + gain * noise
        found.append((text, (noisy / max(1.0, np.abs(noisy).max())).astype(np.float32)))
    return found


def loud_power(samples: np.ndarray, rate: int) -> float:
    """Mean power of what is less than 20 dB below the loudest moment."""
    size = rate // 40
    frames = samples[:len(samples) // size * size].reshape(-1, size)
    power = np.mean(frames.astype(np.float64) ** 2, axis=1)
    return float(power[power > power.max() / 100].mean())


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--bundle", help="default: the shipped digits")
    parser.add_argument("--recordings", type=int, default=400)
    parser.add_argument("--speaker", action="append", help="only those of this one; repeatable")
    parser.add_argument("--noise", type=Path, help="folder of recordings")
    parser.add_argument("--names", default="*")
    parser.add_argument("--snr", type=float, nargs="*", default=[])
    options = parser.parse_args()
    if bool(options.noise) != bool(options.snr):
        parser.error("--noise and --snr belong together")
    recognizer = asr.load(options.bundle)
    rate, most = recognizer.sample_rate, options.recordings
    utterances = [u for u in asr.read_manifest(options.manifest, audio_root=options.audio_root)
                  if not options.speaker or u.speaker in options.speaker]

    def joined(count: int, gap: float) -> list[tuple[str, np.ndarray]]:
        return recordings(utterances, count, rate, most // count, gap)

    kinds = {"alone": alone(utterances, rate, most), "quiet around": joined(1, 0.2),
             "five, 0.2 s apart": joined(5, 0.2), "five, 1.5 s apart": joined(5, 1.5)}
    noises = [asr.load_audio(path, sample_rate=rate)
              for path in noise_files(options.noise, options.names)] if options.noise else []
    for snr in (None, *options.snr):
        for name, clips in kinds.items():
            if snr is not None:
                clips = under(clips, noises, snr, rate)
            texts = {str(i): text for i, (text, _) in enumerate(clips)}
            read = {str(i): recognizer.transcribe(samples).text
                    for i, (_, samples) in enumerate(clips)}
            result = score(texts, read)
            print(json.dumps({"clips": name, "snr": snr, "recordings": len(clips),
                              "wer": round(100 * result.wer, 2), "of": str(result)}), flush=True)


if __name__ == "__main__":
    main()
