"""`asr init` beside a recipe that a person wrote: same data, same time, greedy WER; JSON.

    python benchmarks/proposal.py recipes/german.toml data/kerstin/train.jsonl \
        data/kerstin/dev.jsonl --minutes 20 --audio-root ../shared/data --out runs/proposal-german

The last manifest is the development set; it chooses the epoch of both and is what is read, so both
numbers flatter alike. Both are trained at the same time, each on the cores that are there, with
`train.max_minutes`; the recipe's decay follows the clock then. `--set` changes the recipe, such as
repeats for fewer manifests, or `data.generate=""` of recipes/tones.toml.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import asr
from asr.recipe import load_recipe


def command(*words: object) -> list[str]:
    """A command of this project, in this Python."""
    return [sys.executable, "-m", "asr", *map(str, words)]


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("manifests", type=Path, nargs="+")
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--audio-root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/proposal"))
    parser.add_argument("--set", dest="sets", action="append", default=[])
    options = parser.parse_args()
    *train, valid = (str(path.resolve()) for path in options.manifests)
    options.out.mkdir(parents=True, exist_ok=True)
    root = ["--audio-root", options.audio_root] if options.audio_root else []
    proposal = options.out / "init.toml"
    if not proposal.exists():
        subprocess.run(command("init", *train, valid, "-o", proposal, "--minutes", options.minutes,
                               *root), check=True)
    data = [f"data.train={json.dumps(train)}", f"data.valid={json.dumps([valid])}",
            f"data.audio_root={json.dumps(str(options.audio_root or ''))}",
            f"train.max_minutes={options.minutes}"]
    runs = {"written": (options.recipe, [*data, *options.sets]), "init": (proposal, data[2:])}
    started = [subprocess.Popen(command("train", page, options.out / name,
                                        *(word for one in sets for word in ("--set", one))))
               for name, (page, sets) in runs.items()]
    if any([process.wait() for process in started]):
        raise SystemExit(1)
    rows = asr.read_manifest(valid, audio_root=options.audio_root)
    result: dict = {"minutes": options.minutes, "utterances": len(rows)}
    for name in runs:
        score = asr.evaluate(asr.load(options.out / name).with_decoder(kind="greedy"), rows,
                             normalizer=load_recipe(options.recipe).text.normalizer).score
        result[name] = {"wer": round(100 * score.wer, 2), "cer": round(100 * score.cer, 2),
                        "of": str(score)}
    if result["written"]["wer"]:
        result["init_over_written"] = round(result["init"]["wer"] / result["written"]["wer"], 3)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
