"""Digits of unseen speakers, read by the mean of the posteriors of several runs; JSON on stdout.

    python benchmarks/digits_ensemble.py runs/digits-loso data/fsdd --audio-root ../shared/data

The folder is what `benchmarks/digits_loso.py` wrote with several --seed: for each speaker and seed
a run without him. Each recording goes through all of his runs; the mean over them of the
probabilities of a frame is read by the decoder of the runs. "each" has the word error rates of the
runs alone, in percent, "mean" their mean, "together" that of the mean of the probabilities.
It costs as many networks as there are runs: this is what another seed knows, not what is shipped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from digits_loso import read_fsdd, run_of

from asr.decoding import log_softmax
from asr.manifest import Utterance, read_manifest
from asr.recognizer import Recognizer, load
from asr.tuning import DevSet, read_dev_set, word_errors


def mean_posteriors(devs: Sequence[DevSet]) -> DevSet:
    """The same utterances, with the logarithm of the mean probabilities as logits.

    Args:
        devs: of several networks that keep the same frames.
    """
    def mean(name: str, found: Sequence[np.ndarray | None]) -> np.ndarray | None:
        present = [one for one in found if one is not None]
        if len(present) < len(found):
            return None
        if len({one.shape for one in present}) > 1:
            raise SystemExit(f"{name}: the runs give logits of {[one.shape for one in present]}; "
                             "they must have one alphabet and one model.subsampling")
        return np.logaddexp.reduce([log_softmax(one) for one in present]).astype(np.float32)
    rows = zip(devs[0].ids, zip(*(dev.logits for dev in devs), strict=True), strict=True)
    return dataclasses.replace(devs[0], logits=tuple(mean(name, found) for name, found in rows))


def rates(recognizers: Sequence[Recognizer], utterances: Sequence[Utterance]) -> dict:
    """Word error rates in percent: of each network alone, their mean, and together."""
    decoder = recognizers[0].decoder
    devs = [read_dev_set(recognizer, utterances) for recognizer in recognizers]
    *each, together = [round(100 * float(errors / words), 2) for errors, words in (
        word_errors(dev, decoder).sum(axis=0) for dev in (*devs, mean_posteriors(devs)))]
    return {"each": each, "mean": round(float(np.mean(each)), 2), "together": together}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="the OUT folder of digits_loso.py --seed ...")
    parser.add_argument("fsdd", type=Path, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--audio-root", type=Path)
    args = parser.parse_args()
    seeds = sorted(args.runs.glob("seed-*"))
    clips = read_fsdd(args.fsdd, args.audio_root)
    speakers: dict[str, dict] = {}
    for speaker in sorted({u.speaker for u in clips}):
        runs = [run for seed in seeds if (run := run_of(seed, speaker))]
        if len(runs) < 2:
            continue
        strings = next(seed / speaker / "strings.jsonl" for seed in seeds if run_of(seed, speaker))
        recognizers = [load(run) for run in runs]
        own = [u for u in clips if u.speaker == speaker]
        speakers[speaker] = {"isolated": rates(recognizers, own),
                             "strings": rates(recognizers, read_manifest(strings))}
    if not speakers:
        raise SystemExit(f"{args.runs} holds no speaker with two runs: digits_loso.py --seed 1 "
                         "--seed 2")
    mean = {test: {what: round(float(np.mean([row[test][what] for row in speakers.values()])), 2)
                   for what in ("mean", "together")} for test in ("isolated", "strings")}
    print(json.dumps({"runs": str(args.runs), "speakers": speakers, "of_speakers": mean}, indent=1))


if __name__ == "__main__":
    main()
