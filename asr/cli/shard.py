"""`asr shard`: manifests and their recordings as tar shards."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from asr.cli.inputs import audio_root_option, outside_root_option
from asr.cli.output_paths import Output
from asr.terminal import plural


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=Output(
    "Give a folder, and --address URL --upload for the tar files"))
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0),
              help="Decides the order of the recordings.")
@click.option("--keep-order", is_flag=True, help="Keep the order of the manifest.")
@click.option("--megabytes", default=500.0, show_default=True, type=click.FloatRange(min=0.001),
              help="A shard is full when its recordings have so many MB.")
@click.option("--count", default=0, type=click.IntRange(0, 250_000),
              help="Or when there are so many recordings in it; 0: as many as fit.")
@click.option("--address", default="", metavar="URL", help="Also write manifests for shards that "
              "you copy to this address, such as s3://speech/shards.")
@click.option("--upload", is_flag=True, help="Copy each shard to --address when it is full, and "
              "keep none here: OUT has the manifests.")
@audio_root_option
@outside_root_option
def shard(manifests: tuple[Path, ...], out: Path, seed: int, keep_order: bool, megabytes: float,
          count: int, address: str, upload: bool, audio_root: Path | None,
          allow_outside_root: bool) -> None:
    """Pack MANIFESTS and their recordings into tar files (WebDataset) in the new folder OUT.

    OUT has a manifest of the same name for each, which all verbs read; the recordings stay in the
    tar files. Features, transcripts and training are the same as from files. An interrupted run
    goes on where it stopped.

    \b
    Example:
      asr shard data/fsdd/train.jsonl data/fsdd/dev.jsonl shards/fsdd
      asr train my.toml runs/mine --set 'data.train=["shards/fsdd/train.jsonl"]'
    """  # noqa: D301 (click reads the backspace)
    from asr.cli.progress import count_on_stderr
    from asr.corpora.sharding import Settings, write_shards
    from asr.errors import UsageError
    from asr.manifest import read_manifest

    if upload and not address:
        raise UsageError("--upload needs --address, such as s3://speech/shards.")
    names = [path.stem for path in manifests]
    if len({name.casefold() for name in names}) < len(names):
        raise UsageError("Two of the manifests have the same name, and their shards would have. "
                         "Pack them into two folders.")
    rows = {path.stem: read_manifest(path, audio_root=audio_root,
                                     allow_outside_root=allow_outside_root) for path in manifests}
    settings = Settings(None if keep_order else seed, round(megabytes * 1e6), count, address,
                        upload)
    with count_on_stderr("Packing", piped=True) as show:
        shards = write_shards(rows, out, settings, progress=show)
    for name in names:
        if not upload:
            print(out / f"{name}.jsonl")
        if address:
            print(out / f"{name}.remote.jsonl")
    print(f"{plural(sum(map(len, rows.values())), 'utterance')} in "
          f"{plural(sum(shards.values()), 'shard')}",
          file=sys.stderr)
