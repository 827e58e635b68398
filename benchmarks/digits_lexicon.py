"""Digit strings of unseen speakers, read greedily and by the lexicon; one JSON object on stdout.

    python benchmarks/digits_lexicon.py runs/digits-loso
    python benchmarks/digits_lexicon.py runs/digits-loso --hold-out george --hold-out theo

The folder is what benchmarks/digits_loso.py wrote: for each speaker a run that was trained
without him and strings of his recordings. A string is wrong
when any digit of it is. The relative gain is
1 - (wrong by the decoder) / (wrong by greedy), with a 95 % interval over drawn speakers, the same
strings in both. "lexicon" is exact Viterbi; "beam" sums over alignments, with the same ten words.
"of_known_words" counts the wrong strings that hold words of the lexicon alone: of greedy's, those
in which no vocabulary can see a mistake.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from digits_loso import run_of

from asr.decoding import BeamSearchDecoder, Decoder, GreedyDecoder, LexiconDecoder
from asr.manifest import read_manifest
from asr.recognizer import Recognizer, load
from asr.scoring.bootstrap import cluster_sums, clusters_of, draw_sums, interval_of
from asr.scoring.counts import count_words
from asr.tuning import DRAWS, read_dev_set, read_texts

DECODERS = ("greedy", "lexicon", "beam")


def decoders_of(recognizer: Recognizer) -> dict[str, Decoder]:
    words, tokenizer = recognizer.bundle.decoder.lexicon, recognizer.tokenizer
    if not words:
        raise SystemExit(f"{recognizer.bundle.path} has no lexicon in its decoder settings")
    bonus = recognizer.bundle.decoder.word_bonus
    return {"greedy": GreedyDecoder(tokenizer), "lexicon": LexiconDecoder(tokenizer, words, bonus),
            "beam": BeamSearchDecoder(tokenizer, 32, lexicon=words, word_bonus=bonus)}


def wrong_strings(folder: Path) -> np.ndarray:
    """(strings, decoders, 4) int64: wrong string, word errors, reference words, and whether the
    string is wrong and of known words alone.
    """
    run = run_of(folder.parent, folder.name)
    if run is None:
        raise SystemExit(f"{folder.parent} holds no run without {folder.name}")
    recognizer = load(run)
    dev = read_dev_set(recognizer, read_manifest(folder / "strings.jsonl"))
    rows = []
    for decoder in decoders_of(recognizer).values():
        texts = read_texts(dev, decoder)
        wrong = [a.split() != b.split() for a, b in zip(dev.references, texts, strict=True)]
        counts = count_words(list(dev.references), texts)
        known = [set(text.split()) <= set(recognizer.bundle.decoder.lexicon) for text in texts]
        rows.append(np.column_stack([wrong, counts[:, :3].sum(axis=1), counts[:, 3],
                                     np.logical_and(wrong, known)]))
    return np.stack(rows, axis=1).astype(np.int64)


def rates(rows: np.ndarray) -> dict:
    """For each decoder: share of wrong strings, WER, and the relative gain over greedy."""
    found = {}
    for number, name in enumerate(DECODERS):
        wrong, errors, words, of_known = rows[:, number].sum(axis=0)
        found[name] = {"wrong_strings": int(wrong), "of_known_words": int(of_known),
                       "string_error_rate": float(wrong / len(rows)),
                       "wer": float(errors / words)}
        if number:
            greedy = rows[:, 0, 0].sum()
            found[name]["fewer_string_errors"] = float(1 - wrong / greedy) if greedy else None
    return {"strings": len(rows), **found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the OUT folder of digits_loso.py")
    parser.add_argument("--hold-out", action="append", default=[], metavar="SPEAKER")
    args = parser.parse_args()
    folders = [f for f in sorted(args.runs.iterdir()) if (f / "strings.jsonl").is_file()
               and (not args.hold_out or f.name in args.hold_out)]
    if not folders:
        raise SystemExit(f"{args.runs} holds no finished fold")
    by_speaker = {folder.name: wrong_strings(folder) for folder in folders}
    everything = np.concatenate(list(by_speaker.values()))
    names = [name for name, rows in by_speaker.items() for _ in rows]
    unit, group = clusters_of(len(names), names)
    result = {"runs": str(args.runs), "all": rates(everything),
              "speakers": {name: rates(rows) for name, rows in by_speaker.items()}}
    sums = draw_sums(cluster_sums(everything[:, :, 0], group), DRAWS, 0)
    for number, name in list(enumerate(DECODERS))[1:]:
        result["all"][name]["interval"] = interval_of(
            sums[:, 0] - sums[:, number], sums[:, 0], 0.95, unit, len(folders)).to_dict()
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
