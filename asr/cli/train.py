"""`asr train RECIPE RUN_DIR`: arguments to `asr.train`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asr.cli.engine_options import cluster_options
from asr.cli.inputs import truncated_option
from asr.cli.next_step import typed
from asr.cli.output_paths import OUTPUT

if TYPE_CHECKING:
    from asr.fleet.cluster import Cluster
    from asr.training import TrainingResult


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("run_dir", type=OUTPUT)
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE",
              help="Change one setting; may be repeated.")
@truncated_option
@click.option("--from", "bundle", metavar="BUNDLE", type=click.Path(path_type=Path),
              help="Start from this model: a new language, domain or speaker. Its features and "
              "network must be those of RECIPE.")
@click.option("--export", "which", metavar="last|EPOCH",
              help="Train nothing: write the model of the last, or of another kept epoch, as a "
              "bundle in RUN_DIR.")
@click.option("--stop-after", default=0, metavar="N", show_default=False,
              help="Leave after N epochs; the same command goes on from there.")
@click.option("--quiet", is_flag=True, help="No table on stderr.")
@cluster_options
def train(recipe: Path, run_dir: Path, overrides: tuple[str, ...], allow_truncated: bool,
          bundle: Path | None, which: str | None, stop_after: int, quiet: bool,
          cluster: Cluster | None) -> None:
    """Train RECIPE into RUN_DIR; run again to go on after an interruption.

    RUN_DIR receives the resolved recipe, versions, log, checkpoints and best.asr, the model to
    transcribe and evaluate with. --engine ray has a cluster extract the features, and trains the
    network here; with --workers N it trains in N processes of the cluster.

    \b
    Example:
      asr train recipes/tones.toml runs/tones --set train.epochs=5
      asr train my.toml runs/mine --from runs/other
      asr train my.toml runs/mine --export last
      asr train my.toml runs/mine --engine ray --address auto --workers 4
    """  # noqa: D301 (click reads the backspace)
    from asr.errors import UsageError
    from asr.recipe import load_recipe
    from asr.training import export_checkpoint
    from asr.training import train as train_here
    if which is not None:
        print(export_checkpoint(run_dir, which))
        return
    if bundle is not None:
        overrides = (*overrides, f"train.initial_bundle={json.dumps(str(bundle))}")
    if allow_truncated:
        overrides += ("data.allow_truncated=true",)
    settings = load_recipe(recipe, overrides)
    run: Callable[..., TrainingResult] = train_here
    if cluster is not None and cluster.workers:
        from asr.fleet.training import train_on
        run = partial(train_on, cluster, say=partial(print, file=sys.stderr, flush=True))
    elif cluster is not None:
        if settings.data.reader != "cache":
            raise UsageError(f"data.reader is {settings.data.reader!r}, which extracts no features "
                             "beforehand; --engine ray needs \"cache\".")
        from asr.fleet.features import extract_on
        run = partial(run, spread=partial(extract_on, cluster))
    result = run(settings, run_dir, stop_after_epochs=stop_after, quiet=quiet)
    print(result)
    if not quiet:
        print(f"Next: {typed('asr', 'evaluate', result.run_dir, 'TEST.jsonl')}, "
              f"{typed('asr', 'transcribe', result.run_dir, 'RECORDING')}", file=sys.stderr)
