"""Recordings with quiet around the words: WER of clips, alone and in a quiet room; JSON lines.

    python benchmarks/quiet.py data/fsdd/test.jsonl --audio-root ../shared/data
    python benchmarks/quiet.py data/voices/valid.jsonl --bundle runs/digits/best.asr

Clips of a corpus are cut close; what people record is not. Each clip is read

- alone, as it is;
- with 0.5 s before and 1.7 s after it of noise at -66 dB of full scale;
- in a recording of five clips of one speaker, 0.2 s apart, with the same around it;
- likewise, 1.5 s apart.

Nothing is chosen here; do not choose by test data.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from streaming import recordings

import asr
from asr.scoring import score


def alone(manifest: Path, root: Path | None, rate: int, most: int) -> list[tuple[str, np.ndarray]]:
    """(text, samples) of single utterances, the first `most` of each speaker in a fixed order."""
    found = [(u.text, asr.load_audio(u.audio, sample_rate=rate, offset=u.offset,
                                     duration=u.duration or None))
             for u in asr.read_manifest(manifest, audio_root=root)]
    keep = np.random.default_rng(1).permutation(len(found))[:most]
    return [found[i] for i in keep]


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--bundle", help="default: the shipped digits")
    parser.add_argument("--recordings", type=int, default=400)
    options = parser.parse_args()
    recognizer = asr.load(options.bundle)
    rate, most = recognizer.sample_rate, options.recordings

    def joined(count: int, gap: float) -> list[tuple[str, np.ndarray]]:
        return recordings(options.manifest, options.audio_root, count, rate, most // count, gap)

    for name, clips in (("alone", alone(options.manifest, options.audio_root, rate, most)),
                        ("quiet around", joined(1, 0.2)), ("five, 0.2 s apart", joined(5, 0.2)),
                        ("five, 1.5 s apart", joined(5, 1.5))):
        texts = {str(i): text for i, (text, _) in enumerate(clips)}
        read = {str(i): recognizer.transcribe(samples).text
                for i, (_, samples) in enumerate(clips)}
        result = score(texts, read)
        print(json.dumps({"clips": name, "recordings": len(clips),
                          "wer": round(100 * result.wer, 2), "of": str(result)}), flush=True)


if __name__ == "__main__":
    main()
