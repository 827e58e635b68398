r"""What hot words gain and what they cost; one JSON object on stdout.

    python benchmarks/hot_words.py runs/german/best.asr data/kerstin/dev.jsonl \
        --words benchmarks/kerstin_names.txt --audio-root ../shared/data
    python benchmarks/hot_words.py runs/read_english/best.asr data/speechocean762/dev.jsonl \
        --audio-root ../shared/data \
        --train data/speechocean762/train.jsonl data/kathleen/train.jsonl

The words are those of a list, or all words of the development set that no training manifest holds
and that have enough letters. --distractors adds rare words of the training manifests that the
development set does not hold: a longer list makes more false alarms.

Reported are recall, precision, false alarms per 1,000 words and word error rate of the same beam
without and with hot words. The boost of an utterance is chosen by F-score on the other half of the
speakers (of the utterances, where there is one speaker), so the numbers are not fitted to what they
are counted on. "neighbours" are the words right before and after a hot word in the references: the
share that is right shows whether a boost destroys them. "sweep" has every boost on everything.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from asr.decoding import GreedyDecoder
from asr.decoding.phrases import read_hot_words
from asr.manifest import read_manifest
from asr.recognizer import load
from asr.scoring.bootstrap import cluster_sums, clusters_of, draw_sums, interval_of
from asr.scoring.counts import align_many
from asr.text import normalize
from asr.tuning import DRAWS, read_dev_set, read_texts
from asr.tuning.hot_words import (
    BOOSTS,
    HotDecoders,
    count_hot_words,
    f_score_gain,
    total_counts,
)

SEED = 3


def words_of(manifest: Path, audio_root: Path | None, normalizer: str) -> list[str]:
    return [word for u in read_manifest(manifest, audio_root=audio_root, allow_outside_root=True)
            for word in normalize(u.text, normalizer).split()]


def choose_words(args: argparse.Namespace, references: tuple[str, ...],
                 normalizer: str) -> tuple[list[str], list[str]]:
    """The hot words, and the distractors."""
    spoken = {word for text in references for word in text.split()}
    train = [w for path in args.train for w in words_of(path, args.audio_root, normalizer)]
    if args.words:
        words = [item.phrase for item in read_hot_words(args.words)]
    elif train:
        words = sorted(w for w in spoken - set(train) if len(w) >= args.letters)
    else:
        raise SystemExit("give --words LIST or --train MANIFEST ...")
    names, counts = np.unique(train, return_counts=True) if train else (np.array([]), np.array([]))
    rare = sorted(str(w) for w in names[counts <= 2] if len(w) >= args.letters and w not in spoken)
    if len(rare) < args.distractors:
        raise SystemExit(f"the training manifests have {len(rare)} rare words that could distract")
    return words, list(np.random.default_rng(SEED).permutation(rare)[:args.distractors])


def neighbours(references: tuple[str, ...], hypotheses: list[str],
               phrases: tuple[str, ...]) -> np.ndarray:
    """(N, 2) words right before or after a hot word, and how many of them are right."""
    wanted = [phrase.split() for phrase in phrases]
    rows = np.zeros((len(references), 2), np.int64)
    for row, reference, steps in zip(rows, references, align_many(references, hypotheses),
                                     strict=True):
        words = reference.split()
        hot = np.zeros(len(words) + 2, bool)  # one place of margin at both ends
        for phrase in wanted:
            for start in range(len(words) - len(phrase) + 1):
                if words[start:start + len(phrase)] == phrase:
                    hot[start + 1:start + 1 + len(phrase)] = True
        beside = (hot[:-2] | hot[2:]) & ~hot[1:-1]
        right = np.array([step.kind == "equal" for step in steps if step.reference is not None],
                         bool)
        row[:] = beside.sum(), (beside & right).sum()
    return rows


def cross_fitted(rows: dict[float, np.ndarray],
                 speakers: tuple[str, ...]) -> tuple[np.ndarray, list[float]]:
    """The boost of each utterance, chosen on the other half, and the two boosts."""
    _, group = clusters_of(len(speakers), speakers)
    half = group % 2
    chosen = [max(rows, key=lambda b: (total_counts(rows[b][half != side]).f_score, -b))
              for side in (0, 1)]
    return np.where(half == 0, *chosen), chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--words", type=Path, help="one phrase a line")
    parser.add_argument("--train", type=Path, nargs="+", default=[], metavar="MANIFEST")
    parser.add_argument("--letters", type=int, default=5, help="of an unseen word, at least")
    parser.add_argument("--distractors", type=int, default=0)
    parser.add_argument("--boosts", type=float, nargs="+", default=BOOSTS)
    parser.add_argument("--audio-root", type=Path)
    args = parser.parse_args()
    recognizer = load(args.bundle)
    dev = read_dev_set(recognizer, read_manifest(args.manifest, audio_root=args.audio_root))
    words, distractors = choose_words(args, dev.references, dev.normalizer)
    decoders = HotDecoders(recognizer, [*words, *distractors])
    texts = {boost: read_texts(dev, decoders.at(boost)) for boost in (0.0, *args.boosts)}
    rows = {boost: count_hot_words(dev.references, found, decoders.phrases)
            for boost, found in texts.items()}
    boost_of, chosen = cross_fitted(rows, dev.speakers)
    mixed = [texts[boost][i] for i, boost in enumerate(boost_of)]
    after = np.stack([rows[boost][i] for i, boost in enumerate(boost_of)])
    beside = [neighbours(dev.references, found, decoders.phrases) for found in (texts[0.0], mixed)]
    unit, group = clusters_of(len(after), dev.speakers)
    saved = np.stack([rows[0.0][:, 4] - after[:, 4], after[:, 3]], axis=1)
    sums = draw_sums(cluster_sums(saved, group), DRAWS, 0)
    wer_gain = interval_of(sums[:, 0], sums[:, 1], 0.95, unit, int(group.max()) + 1)
    greedy = count_hot_words(dev.references, read_texts(dev, GreedyDecoder(recognizer.tokenizer)),
                             decoders.phrases)
    print(json.dumps({
        "bundle": str(args.bundle), "manifest": str(args.manifest), "listed": len(words),
        "distractors": len(distractors), "beam_width": decoders.settings.beam_width,
        "language_model": bool(decoders.settings.lm), "unit": unit,
        "boosts_chosen_on_the_other_half": chosen,
        "greedy": total_counts(greedy).to_dict(), "without": total_counts(rows[0.0]).to_dict(),
        "with": total_counts(after).to_dict(),
        "f_score_gain": f_score_gain(rows[0.0], after, dev.speakers).to_dict(),
        "wer_gain": wer_gain.to_dict(),
        "neighbours": {"words": int(beside[0][:, 0].sum()),
                       "right_without": int(beside[0][:, 1].sum()),
                       "right_with": int(beside[1][:, 1].sum())},
        "sweep": {f"{boost:g}": total_counts(r).to_dict() for boost, r in rows.items()},
    }, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
