"""What do more synthesised speakers bring to speakers who are in no training? JSON, and a curve.

    python benchmarks/voices_curve.py data/fsdd data/kokoro-digits runs/voices-curve \
        --audio-root ../shared/data --voices 0 25 50 100 --plot curve.svg

For each number of voices the recipe of the digits trains on three speakers of FSDD, without jackson
and theo (`digits_loso.py --hold-out jackson+theo`), with clips of so many speakers of KOKORO, the
same ones in each larger set. Their clips are repeated so that all points have as many; without any,
the other sets are as they are. The same seed throughout: `--seed` for another. A finished point is
kept.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from asr.files import write_atomic
from asr.manifest import read_manifest, write_manifest
from asr.manifest.roots import record_roots

HELD_OUT = ("jackson", "theo")
REPEATS = 2  # of all voices


def some_voices(folder: Path, number: int, path: Path) -> int:
    """Write a manifest of so many speakers; how often it is repeated."""
    rows = read_manifest(folder / "train.jsonl")
    speakers = np.random.default_rng(7).permutation(sorted({u.speaker for u in rows}))
    chosen = set(speakers[:number])
    kept = [u for u in rows if u.speaker in chosen]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_manifest(path, kept)
    record_roots(path.parent, [folder])
    return round(REPEATS * len(rows) / len(kept))


def point(options: argparse.Namespace, number: int) -> dict:
    """Error rates of the two speakers, isolated and in strings, after training with the voices."""
    out = options.out / f"{number}-{options.seed}"
    sets = {"data/fsdd": 8, "data/voices": 1, "data/speechocean762-digits": 3}
    names, repeats = [f"{name}/train.jsonl" for name in sets], list(sets.values())
    if number:
        subset = out / "voices" / "train.jsonl"
        repeats.append(some_voices(options.voices_folder, number, subset))
        names.append(str(subset))
    command = [sys.executable, str(Path(__file__).with_name("digits_loso.py")), str(options.fsdd),
               str(out), "--recipe", str(options.recipe), f"--hold-out={'+'.join(HELD_OUT)}",
               f"--set=train.epochs={options.epochs}", f"--set=seed={options.seed}",
               f"--set=data.train={json.dumps(names)}", f"--set=data.repeats={repeats}"]
    if options.audio_root:
        command += ["--audio-root", str(options.audio_root)]
    if not (out / "table.json").exists():
        subprocess.run(command, check=True, stdout=sys.stderr)
    return {"voices": number, "seed": options.seed, **json.loads((out / "table.json").read_text())}


def plot(points: list[dict], path: Path) -> None:
    """Error rate over the number of voices, a line for each speaker and test."""
    import matplotlib.pyplot as plt
    from lstm_plots import label_ends, style

    style()
    figure, axes = plt.subplots(figsize=(6, 3))
    ends = {}
    for speaker, color in zip(HELD_OUT, ("#0072B2", "#D55E00"), strict=True):
        for test, line in (("isolated", "-"), ("strings", "--")):
            x = [p["voices"] for p in points]
            y = [p["speakers"][speaker][test]["wer"] for p in points]
            axes.plot(x, y, line, color=color, marker="o")
            ends[f"{speaker}, {test}"] = (x[-1], y[-1], color)
    axes.set(xlabel="synthesised speakers of Kokoro", ylabel="WER, %", ylim=(0, None))
    label_ends(axes, ends)
    figure.savefig(path)


def main() -> None:
    """Train what is not trained, print."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("fsdd", type=Path, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("voices_folder", metavar="KOKORO", type=Path, help="folder of its clips")
    parser.add_argument("out", type=Path)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/digits_base.toml"))
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--voices", type=int, nargs="+", default=[0, 25, 50, 100])
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    points = [point(options, number) for number in options.voices]
    write_atomic(options.out / f"points-{options.seed}.json", json.dumps(points, indent=1) + "\n")
    print(json.dumps(points))
    if options.plot:
        plot(points, options.plot)


if __name__ == "__main__":
    main()
