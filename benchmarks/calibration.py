"""Are confidences probabilities after calibration, on people who had no part in it? Prints JSON.

    python benchmarks/calibration.py --fit BUNDLE DEV --test BUNDLE TEST --audio-root DATA
    python benchmarks/calibration.py --fit BUNDLE DEV --halves --audio-root DATA
    python benchmarks/calibration.py --folds runs/digits-loso data/fsdd --audio-root DATA
        [--store asr/assets/digits.asr]

The claim: the expected calibration error halves on held-out data and is 0.05 at most. Every pair of
bundle and manifest is decoded once with the bundle's decoder; the words of all --fit pairs are
pooled, those of all --test pairs too. In the result

    fit       on the words of --fit, each judged by a fit that its speaker had no part in;
    test      the words of --test by one fit to all of --fit;
    halves    --fit cut in two by speaker: each half judged by the fit to the other one.

Each has ECE, interval and `chance` (what exact confidences would show on as many words), before and
after. `excess` is ECE - chance, which is what a calibration can take away. `rms` is the root mean
square of the calibration error with the part of chance taken out in the way of Kumar et al. 2019,
NeurIPS: the estimate of the two that does not depend on how many words there were.

--folds adds to --fit the runs of benchmarks/digits_loso.py, each on clips and strings of the
speaker outside its training. They replace a network whose training has every speaker there is:
--store writes the fit into that one, which is the last step of making the shipped model.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from digits_loso import read_fsdd, run_of

from asr.manifest import Utterance, read_manifest
from asr.recognizer import load
from asr.scoring.reliability import (
    BINS,
    Reliability,
    bins_of,
    reliability,
    squared_calibration_error,
)
from asr.tuning import read_dev_set
from asr.tuning.calibration import Judged, cross_fitted, fit, judge, pooled

Pair = tuple[Path, list[Utterance]]
Measured = tuple[Reliability, float]


def read_pairs(pairs: list[list[Path]], audio_root: Path | None) -> list[Pair]:
    """Bundles and the utterances of their manifests."""
    return [(bundle, read_manifest(manifest, audio_root=audio_root)) for bundle, manifest in pairs]


def read_folds(runs: Path, fsdd: Path, audio_root: Path | None) -> list[Pair]:
    """Every fold of digits_loso.py with all clips, and the strings, of its speaker."""
    clips = read_fsdd(fsdd, audio_root)
    found = {name: bundle for name in sorted({u.speaker for u in clips})
             if (bundle := run_of(runs, name))}
    if not found:
        raise SystemExit(f"{runs} holds no fold of benchmarks/digits_loso.py for {fsdd}")
    return [(bundle, utterances) for name, bundle in found.items()
            for utterances in ([u for u in clips if u.speaker == name],
                               read_manifest(runs / name / "strings.jsonl"))]


def judge_pairs(pairs: list[Pair]) -> Judged:
    """The words of all pairs, each decoded with the bundle's decoder."""
    parts = []
    for bundle, utterances in pairs:
        recognizer = load(bundle)
        parts.append(judge(recognizer, read_dev_set(recognizer, utterances)))
    return pooled(parts)


def measure(judged: Judged, confidences: np.ndarray) -> Measured:
    """Their reliability, with an interval over speakers, and their `rms`."""
    squared = squared_calibration_error(confidences, judged.right, bins_of(confidences, BINS))
    return reliability(confidences, judged.right, utterances=judged.utterances,
                       speakers=judged.speakers), max(0.0, squared) ** 0.5


def halves(judged: Judged) -> np.ndarray:
    """Probabilities of every word by a fit to the other half of the speakers."""
    names = sorted(set(judged.speakers))
    if len(names) < 2:
        raise SystemExit("--halves needs two speakers at least")
    first = np.isin(np.array(judged.speakers)[judged.utterances], names[::2])
    found = np.empty(len(judged.right))
    for half in (first, ~first):
        other = Judged(judged.kind, judged.evidence[~half], judged.raw[~half], judged.right[~half],
                       judged.utterances[~half], judged.speakers)
        found[half] = fit(other).probabilities(judged.evidence[half])
    return found


def summary(measured_before: Measured, measured_after: Measured) -> dict:
    """What changed, and whether the claim holds."""
    table = {}
    (before, _), (after, _) = measured_before, measured_after
    for name, (one, rms) in (("before", measured_before), ("after", measured_after)):
        table[name] = {
            "rms": round(rms, 4), "ece": round(one.ece, 4), "low": round(one.interval.low, 4),
            "high": round(one.interval.high, 4), "chance": round(one.chance, 4),
            "excess": round(max(0.0, one.ece - one.chance), 4), "brier": round(one.brier, 4),
            "nce": one.nce and round(one.nce, 4), "auc": one.auc and round(one.auc, 4)}
    return table | {"words": after.words, "right": round(after.right, 4),
                    "interval_over": f"{after.interval.clusters} {after.interval.unit}s",
                    "halved": after.ece <= before.ece / 2, "at_most_0.05": after.ece <= 0.05,
                    "rms_halved": table["after"]["rms"] <= table["before"]["rms"] / 2,
                    "excess_halved": table["after"]["excess"] <= table["before"]["excess"] / 2}


def main() -> None:
    """Arguments in, JSON out."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--fit", "--test"):
        parser.add_argument(name, nargs=2, action="append", type=Path, default=[],
                            metavar=("BUNDLE", "MANIFEST"))
    parser.add_argument("--folds", nargs=2, type=Path, metavar=("RUNS", "FSDD"))
    parser.add_argument("--halves", action="store_true")
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--base", type=Path, help="bundle to store the fit in; default: --store")
    parser.add_argument("--store", type=Path, metavar="OUT.asr")
    args = parser.parse_args()
    pairs = read_pairs(args.fit, args.audio_root)
    if args.folds:
        pairs += read_folds(args.folds[0], args.folds[1], args.audio_root)
    if not pairs:
        parser.error("give --fit or --folds")
    learnt = judge_pairs(pairs)
    calibration, before = fit(learnt), measure(learnt, learnt.raw)
    result = {"decoder": learnt.kind, "calibration": calibration.to_dict(),
              "fit": summary(before, measure(learnt, cross_fitted(learnt)[0]))}
    if args.halves:
        result["halves"] = summary(before, measure(learnt, halves(learnt)))
    if args.test:
        test = judge_pairs(read_pairs(args.test, args.audio_root))
        if test.kind != learnt.kind:
            raise SystemExit(f"--fit has the decoder {learnt.kind}, --test {test.kind}")
        result["test"] = summary(
            measure(test, test.raw),
            measure(test, calibration.probabilities(test.evidence)))
    if args.store:
        bundle = load(args.base or args.store).bundle
        bundle.save(args.store, calibration={**bundle.calibration, learnt.kind: calibration})
        result["stored"] = str(args.store)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
