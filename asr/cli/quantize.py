"""`asr quantize BUNDLE -o OUT.asr`: arguments to `asr.export.int8_bundle.quantize_bundle`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from asr.cli.inputs import audio_root_option, truncated_option
from asr.cli.output_paths import OUTPUT


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("-o", "--output", "out", required=True, type=OUTPUT,
              metavar="OUT.asr", help="The smaller bundle. An existing file is never replaced.")
@click.option("--verify", type=click.Path(path_type=Path), metavar="MANIFEST",
              help="Compare the WER of both on these recordings, with an interval.")
@audio_root_option
@truncated_option
@click.option("--max-wer-cost", type=float, default=0.5, show_default=True, metavar="POINTS",
              help="Percentage points of WER that 8 bits may lose on MANIFEST.")
@click.option("--json", "as_json", is_flag=True, help="Sizes and comparison as JSON.")
def quantize(bundle: Path, out: Path, verify: Path | None, audio_root: Path | None,
             allow_truncated: bool, max_wer_cost: float, as_json: bool) -> int:
    """Write BUNDLE with weights of 8 bits: a quarter of the size, and faster.

    Each column of a matrix is stored as integers from -127 to 127 and a scale. The engine numpy
    computes the LSTM layers with these integers; Keras and exported files take the same weights as
    float32. With --verify the WER before and after is printed, with the paired interval of the
    difference; if it costs more than --max-wer-cost, nothing is written.

    \b
    Example:
      asr quantize runs/mine -o small.asr --verify data/mine/test.jsonl
    """  # noqa: D301 (click reads the backspace)
    from asr.errors import EXIT_OK
    from asr.export.int8_bundle import quantize_bundle
    from asr.manifest import read_manifest
    from asr.recognizer import load

    utterances = read_manifest(verify, audio_root=audio_root) if verify else ()
    found = quantize_bundle(load(bundle, engine="numpy"), out, verify=utterances,
                            max_wer_cost=max_wer_cost, allow_truncated=allow_truncated)
    print(json.dumps(found.to_dict(), ensure_ascii=False) if as_json
          else "\n".join(found.lines()))
    print(f"written: {out}", file=sys.stderr)
    return EXIT_OK
