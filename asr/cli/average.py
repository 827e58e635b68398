"""`asr average RUN RUN... -o OUT.asr`: arguments to `asr.tuning.averaging.average_bundles`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from asr.cli.inputs import audio_root_option, truncated_option
from asr.cli.output_paths import OUTPUT


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", "out", required=True, type=OUTPUT,
              metavar="OUT.asr", help="The new bundle. An existing file is never replaced.")
@click.option("--verify", type=click.Path(path_type=Path), metavar="MANIFEST", required=True,
              multiple=True, help="Development data, on which the mean must not be worse than each "
              "of the runs. May be repeated.")
@click.option("--shares", type=float, multiple=True, metavar="SHARE", help="Share of a run in the "
              "mean, in proportion, once for each in their order. Default: the same.")
@audio_root_option
@truncated_option
@click.option("--json", "as_json", is_flag=True, help="Word error rates as JSON.")
def average(runs: tuple[Path, ...], out: Path, verify: tuple[Path, ...], shares: tuple[float, ...],
            audio_root: Path | None, allow_truncated: bool, as_json: bool) -> int:
    """Write the mean of the weights of RUNS: one network, as large and as fast as each.

    RUNS are run directories or bundles of one recipe with different seeds, which all began at the
    same trained network (asr train --from, train.initial_bundle). The mean is about as good as the
    better one, which is not known beforehand. Runs from random weights have no useful mean; then
    nothing is written. Confidences have to be calibrated again (asr tune --confidence).

    A network and what it was fine-tuned to have a mean, too: with most of the second, it often does
    the new as well and the old better.

    \b
    Example:
      asr average runs/a runs/b -o mean.asr --verify data/mine/valid.jsonl
      asr average runs/old runs/tuned --shares 0.2 --shares 0.8 -o mean.asr --verify data/dev.jsonl
    """  # noqa: D301 (click reads the backspace)
    from asr.errors import EXIT_OK
    from asr.manifest import read_manifest
    from asr.recognizer import load
    from asr.tuning.averaging import average_bundles

    dev = [u for path in verify for u in read_manifest(path, audio_root=audio_root)]
    found = average_bundles([load(run, engine="numpy") for run in runs], out, dev,
                            shares=shares, allow_truncated=allow_truncated)
    print(json.dumps(found.to_dict(), ensure_ascii=False) if as_json
          else "\n".join(found.lines()))
    print(f"written: {out}", file=sys.stderr)
    return EXIT_OK
