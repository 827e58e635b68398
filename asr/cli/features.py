"""`asr features RECIPE`: fill the feature cache of a recipe, here or on a cluster."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asr.cli.engine_options import cluster_options
from asr.cli.inputs import truncated_option
from asr.cli.output_paths import PLACE
from asr.terminal import plural

if TYPE_CHECKING:
    from asr.fleet.cluster import Cluster
    from asr.manifest.address import Address


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.argument("cache_dir", required=False, type=PLACE)
@click.option("--set", "overrides", multiple=True, metavar="SECTION.KEY=VALUE",
              help="Change one setting; may be repeated.")
@truncated_option
@cluster_options
def features(recipe: Path, cache_dir: Path | Address | None, overrides: tuple[str, ...],
             allow_truncated: bool, cluster: Cluster | None) -> int:
    """Fill the feature cache of RECIPE: CACHE_DIR, or the recipe's data.cache_dir.

    `asr train` with the same data.cache_dir then extracts nothing. CACHE_DIR may be an address,
    such as s3://bucket/cache; for a training, copy it to a folder. An interrupted run goes on where
    it stopped. Exit code 3: some recordings failed; they are listed on stderr.

    \b
    Example:
      asr features my.toml /shared/cache --engine ray --address auto
    """  # noqa: D301 (click reads the backspace)
    from asr.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
    from asr.fleet.features import fill_cache
    from asr.recipe import load_recipe

    if allow_truncated:
        overrides += ("data.allow_truncated=true",)
    settings = load_recipe(recipe, overrides)
    if settings.data.generate:
        raise UsageError(f"{recipe} makes its recordings itself (data.generate), and asr train "
                         "their features. Give a recipe with manifests (data.train).")
    folder = cache_dir or (Path(settings.data.cache_dir) if settings.data.cache_dir else None)
    if folder is None:
        raise UsageError(f"{recipe} names no data.cache_dir. Give CACHE_DIR, and the same to "
                         "asr train: --set data.cache_dir=CACHE_DIR")
    found = fill_cache(settings, folder, cluster)
    for record in found.failed:
        print(json.dumps(record, ensure_ascii=False), file=sys.stderr)
    print(f"{plural(found.arrays, 'array')} in {folder}, {found.made:,} of them made now")
    return EXIT_SOME_FAILED if found.failed else EXIT_OK
