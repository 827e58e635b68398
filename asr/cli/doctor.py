"""`asr doctor`: what runs here, how fast, and why not faster."""

from __future__ import annotations

import json
from pathlib import Path

import click

from asr.errors import EXIT_OK, EXIT_SOME_FAILED


@click.command()
@click.option("--bundle", type=click.Path(path_type=Path),
              help="Look at this model, and run its reference clip again.")
@click.option("--recipe", type=click.Path(path_type=Path), help="Look at the network of this page.")
@click.option("--json", "as_json", is_flag=True, help="Everything as one JSON object.")
@click.option("--no-timing", is_flag=True, help="Do not time the kernels.")
def doctor(bundle: Path | None, recipe: Path | None, as_json: bool, no_timing: bool) -> int:
    """What runs on this machine: versions, LSTM kernels and their speed, tensorflow-io.

    For every LSTM layer it says which kernel runs and, if that is not the fastest, exactly which
    condition failed. Exit code 3: something is broken, and the last lines say what.
    """
    from asr.doctor import examine
    from asr.doctor.report import render
    from asr.errors import UsageError

    if bundle and recipe:
        raise UsageError("asr doctor looks at one model: give --bundle or --recipe, not both.")
    report = examine(bundle, recipe, measure=not no_timing)
    print(json.dumps(report, indent=2) if as_json else render(report))
    return EXIT_SOME_FAILED if report["problems"] else EXIT_OK
