"""What does `decoder.warps` gain on people outside its training, and what does it cost?

    python benchmarks/warps.py --test runs/english/best.asr data/speechocean762/dev.jsonl \
        --columns data/speechocean762/columns.tsv --by "age<18" --audio-root ../shared/data
    python benchmarks/warps.py --folds runs/digits-loso data/fsdd --by speaker --below 0.9 1 \
        --audio-root ../shared/data
    python benchmarks/warps.py ... --warps 0.9,1.1 0.85,0.92,1.08,1.15 --lm lm.arpa.gz

Give development speakers: warps and `--below` are settings. Every pair of bundle and manifest is
transcribed with the bundle's decoder, without and with the warps, in turns (A B A B ...). A table
for each setting of the warps has the word error rates of all, and of each value of `--by`, with the
95 % interval of the difference (paired bootstrap over speakers, over utterances where there is one
speaker); then what it costs:

    passes  recordings that went through the network, over recordings: 1 is none twice;
    time    wall time with over wall time without, the fastest of each;
    model   the same for the network alone.

--folds takes the runs of benchmarks/digits_loso.py, each on clips and strings of the speaker whom
its training does not have.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

from calibration import Pair, read_folds, read_pairs

from asr.evaluation import Evaluation, evaluate
from asr.recognizer import Recognizer, load
from asr.scoring.columns import label_by, read_columns
from asr.scoring.comparison import points
from asr.scoring.result import ScoreRow
from asr.scoring.significance import paired_bootstrap


@dataclass
class Measured:
    """One setting over all pairs: rows in order; the fastest seconds of each pair; passes."""

    rows: list[ScoreRow] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    model: list[float] = field(default_factory=list)
    passes: int = 0

    @property
    def wer(self) -> float:
        """Word errors over words."""
        return _rate(self.rows)


def settings_of(args: argparse.Namespace) -> dict[str, dict]:
    """The knobs of each setting by its name, the plain one first."""
    table: dict[str, dict] = {"plain": {"warps": []}}
    for warps in args.warps:
        for below in args.below:
            table[f"{warps} below {below:g}"] = {
                "warps": [float(factor) for factor in warps.split(",")], "warp_below": below}
    return table


def measure(pairs: list[Pair], settings: dict[str, dict], args: argparse.Namespace
            ) -> dict[str, Measured]:
    """Every pair with every setting, `--rounds` times in turns."""
    found = {name: Measured() for name in settings}
    own = {"kind": args.decoder} if args.decoder else {}
    own |= {"kind": "beam", "lm": args.lm, "lm_weight": args.lm_weight,
          "word_bonus": args.word_bonus} if args.lm else {}
    for bundle, utterances in pairs:
        recognizer = load(bundle)
        runs: dict[str, list[Evaluation]] = {name: [] for name in settings}
        evaluate(recognizer, utterances[:8])  # compiles
        for _ in range(args.rounds):
            for name, knobs in settings.items():
                one = recognizer.with_decoder(**own, **knobs)
                count = _count_passes(one)
                runs[name].append(evaluate(one, utterances))
                if len(runs[name]) == 1:
                    found[name].passes += count[0]
        for name, results in runs.items():
            found[name].rows += results[0].score.rows
            found[name].wall.append(min(one.timings.wall for one in results))
            found[name].model.append(min(one.timings.model for one in results))
    return found


def _count_passes(recognizer: Recognizer) -> list[int]:
    """A list whose one item counts what goes through the network from now on."""
    count, forward = [0], recognizer.logits_batch

    def counting(features):
        count[0] += len(features)
        return forward(features)

    recognizer.logits_batch = counting
    return count


def groups_of(rows: list[ScoreRow], args: argparse.Namespace) -> dict[str, list[int]]:
    """Places of the rows of each group, all of them first."""
    places = {"all": list(range(len(rows)))}
    columns = read_columns(args.columns, rows) if args.by else {}
    for column in args.by:
        labels = label_by([row.id for row in rows], column, columns)
        for label in sorted(set(labels.values())):
            places[f"{column.partition('<')[0]} {label[1]}"] = [
                place for place, row in enumerate(rows) if labels[row.id] == label]
    return places


def compared(plain: list[ScoreRow], warped: list[ScoreRow]) -> dict:
    """Rates in percent and their difference; below 0 the warps are better."""
    speakers = {row.speaker for row in plain}
    if len(speakers) == 1:  # no speakers to draw: utterances
        plain, warped = ([_without_speaker(row) for row in rows] for rows in (plain, warped))
    interval = paired_bootstrap(warped, plain).interval
    before, after = _rate(plain), _rate(warped)
    return {"utterances": len(plain), "speakers": len(speakers),
            "words": sum(row.words.reference for row in plain), "plain": round(100 * before, 2),
            "warped": round(100 * after, 2), "difference": round(100 * (after - before), 2),
            "low": round(100 * interval.low, 2), "high": round(100 * interval.high, 2),
            "relative": round(100 * (after - before) / before, 1) if before else None}


def _without_speaker(row: ScoreRow) -> ScoreRow:
    return replace(row, speaker="")


def _rate(rows: list[ScoreRow]) -> float:
    return sum(row.words.errors for row in rows) / max(1, sum(row.words.reference for row in rows))


def markdown(name: str, table: dict) -> str:
    """The table of one setting, for people."""
    lines = [f"Warps {name}: {table['passes']:.2f} passes, {table['time']:.2f} x the time, network "
             f"{table['model']:.2f} x", "",
             "| group | speakers | words | plain, WER % | warps, WER % | difference (95 %) |",
             "|---|---|---|---|---|---|"]
    for label, row in table["groups"].items():
        lines.append(
            f"| {label} | {row['speakers']} | {row['words']:,} | {row['plain']:.1f} | "
            f"{row['warped']:.1f} | {points(row['difference'] / 100)} "
            f"({points(row['low'] / 100)} to {points(row['high'] / 100)}) |")
    return "\n".join(lines) + "\n"


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--test", action="append", nargs=2, type=Path, default=[],
                        metavar=("BUNDLE", "MANIFEST"))
    parser.add_argument("--folds", nargs=2, type=Path, metavar=("RUNS", "FSDD"))
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--columns", action="append", type=Path, default=[], metavar="TABLE")
    parser.add_argument("--by", action="append", default=[], metavar="COLUMN")
    parser.add_argument("--warps", nargs="+", default=["0.9,1.1"], metavar="FACTORS")
    parser.add_argument("--below", nargs="+", type=float, default=[1.0], metavar="SURE")
    parser.add_argument("--rounds", type=int, default=2, help="turns of every setting")
    parser.add_argument("--decoder", default="", help="another kind than the bundle's")
    parser.add_argument("--lm", default="", help="beam search with this model")
    parser.add_argument("--lm-weight", type=float, default=0.5)
    parser.add_argument("--word-bonus", type=float, default=0.0)
    parser.add_argument("--json", type=Path, help="write everything into this file")
    return parser.parse_args()


def main() -> None:
    """Measure, print."""
    args = parse()
    pairs = read_pairs(args.test, args.audio_root)
    if args.folds:
        pairs += read_folds(args.folds[0], args.folds[1], args.audio_root)
    if not pairs:
        raise SystemExit("give --test BUNDLE MANIFEST or --folds RUNS FSDD")
    found = measure(pairs, settings_of(args), args)
    plain = found.pop("plain")
    groups = groups_of(plain.rows, args)
    tables = {}
    for name, one in found.items():
        tables[name] = {
            "passes": round(one.passes / plain.passes, 3),
            "time": round(sum(one.wall) / sum(plain.wall), 3),
            "model": round(sum(one.model) / sum(plain.model), 3),
            "groups": {label: compared([plain.rows[k] for k in places],
                                       [one.rows[k] for k in places])
                       for label, places in groups.items()}}
        print(markdown(name, tables[name]))
    if args.json:
        args.json.write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
