"""Does a closed grammar take what is in it and refuse what is not? JSON on stdout.

    python benchmarks/grammar.py data/fsdd --audio-root ../shared/data
    python benchmarks/grammar.py data/fsdd --audio-root ../shared/data --dev

Half of the digit strings of benchmarks/alignment.py, drawn at random, are the sentences of a
grammar. All strings are read with it, and at each `max_gap` counted: of the strings in the grammar
those that are refused (and those that are read as another sentence), of the others those that are
taken for a sentence. --dev uses the takes on which the 3 of docs/decoding.md was chosen.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from alignment import strings

from asr.decoding import BeamSearchDecoder, check_logits, log_softmax, parse_grammar
from asr.decoding.alignment import worst_gap
from asr.manifest import read_manifest
from asr.recognizer import load

GAPS = (1.0, 2.0, 3.0, 4.0, 6.0)
SEED = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("fsdd", type=Path, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--bundle", help="instead of the shipped model")
    parser.add_argument("--strings", type=int, default=40, help="a speaker")
    parser.add_argument("--dev", action="store_true", help="training takes 5 to 14")
    options = parser.parse_args()
    rows = read_manifest(options.fsdd / ("train.jsonl" if options.dev else "test.jsonl"),
                         audio_root=options.audio_root)
    if options.dev:
        rows = [row for row in rows if int(row.id.rsplit("_", 1)[1]) < 15]
    recognizer = load(options.bundle)
    spoken = [(audio, " ".join(word for word, *_ in truth))
              for speaker in sorted({row.speaker for row in rows})
              for audio, truth in strings([row for row in rows if row.speaker == speaker],
                                          options.strings)]
    texts = sorted({text for _, text in spoken})
    chosen = np.random.default_rng(SEED).permutation(len(texts))[:len(texts) // 2]
    sentences = {texts[i] for i in chosen}
    decoder = BeamSearchDecoder(recognizer.tokenizer, 32, max_gap=float("inf"),
                                grammar=parse_grammar("\n".join(sorted(sentences))))
    inside, outside, wrong = [], [], 0
    for audio, text in spoken:
        logits = recognizer.logits(recognizer.features(audio, recognizer.sample_rate))
        log_probs = log_softmax(check_logits(logits, recognizer.tokenizer.vocab_size))
        best = decoder.search(log_probs)[0]
        (inside if text in sentences else outside).append(worst_gap(log_probs, best))
        wrong += text in sentences and best.text != text
    print(json.dumps({
        "clips": "train takes 5-14" if options.dev else "test takes 0-4",
        "sentences": len(sentences), "inside": len(inside), "outside": len(outside),
        "read_as_another_sentence": wrong,
        "gaps": [{"max_gap": gap, "refused_percent": _percent(np.array(inside) > gap),
                  "taken_percent": _percent(np.array(outside) <= gap)} for gap in GAPS],
    }, indent=1))


def _percent(which: np.ndarray) -> float:
    return round(100 * float(which.mean()), 1)


if __name__ == "__main__":
    main()
