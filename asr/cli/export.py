"""`asr export BUNDLE OUT`: arguments to `asr.export.export`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from asr.cli.inputs import audio_root_option, truncated_option
from asr.cli.output_paths import OUTPUT


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("out", type=OUTPUT)
@click.option("--format", "format_", metavar="NAME",
              help="onnx, ...; default: by the ending of OUT.")
@click.option("--quantize", default="", metavar="TYPE",
              help="A smaller file: float16 or int8, where the format has it.")
@click.option("--verify", type=click.Path(path_type=Path), metavar="MANIFEST",
              help="Also compare transcripts and WER on these recordings.")
@audio_root_option
@truncated_option
@click.option("--max-wer-cost", type=float, default=0.5, show_default=True, metavar="POINTS",
              help="Percentage points of WER that a quantised file may lose on MANIFEST.")
@click.option("--json", "as_json", is_flag=True, help="Print the certificate as JSON.")
def export(bundle: Path, out: Path, format_: str | None, quantize: str, verify: Path | None,
           audio_root: Path | None, allow_truncated: bool, max_wer_cost: float,
           as_json: bool) -> int:
    """Write BUNDLE in another format, and prove that it computes the same.

    The exported file is run beside our own engine: batches of 1, 7 and 32 recordings from one frame
    to a minute, and the sample clips. What came out is written to OUT.certificate.json. Logits that
    differ by more than 1e-4 (float32), or a WER that costs too much (quantised), mean that nothing
    is written. An existing file is never replaced.

    \b
    Examples:
      asr export runs/digits digits.onnx
      asr export runs/digits small.onnx --quantize int8 --verify data/fsdd/test.jsonl
    """  # noqa: D301 (click reads the backspace)
    from asr.errors import EXIT_OK
    from asr.export import export as run
    from asr.manifest import read_manifest
    from asr.recognizer import load

    utterances = read_manifest(verify, audio_root=audio_root) if verify else ()
    certificate = run(load(bundle, engine="numpy"), out, format_ or "", quantize=quantize,
                      verify=utterances, max_wer_cost=max_wer_cost,
                      allow_truncated=allow_truncated)
    print(json.dumps(certificate.to_dict(), ensure_ascii=False) if as_json
          else certificate.line())
    for note in certificate.notes:
        print(f"Note: {note}", file=sys.stderr)
    for file in certificate.files:
        print(f"written: {out.with_name(file['name'])}", file=sys.stderr)
    return EXIT_OK
