"""`asr manifest export`: a manifest in the layout of another program."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from asr.cli.inputs import audio_root_option, outside_root_option, truncated_option
from asr.cli.output_paths import OUTPUT
from asr.terminal import plural

LAYOUTS = ("lhotse", "kaldi", "nemo", "huggingface", "deepspeech")


@click.group()
def manifest() -> None:
    """Manifests for other programs."""


@manifest.command()
@click.argument("path", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.argument("out", metavar="OUT", type=OUTPUT)
@click.option("--to", "layout", required=True, type=click.Choice(LAYOUTS),
              help="The layout; huggingface copies the recordings, the others name them.")
@click.option("--split", help="Name of this part of the corpus. Default: that of MANIFEST.")
@audio_root_option
@outside_root_option
@truncated_option
def export(path: Path, out: Path, layout: str, split: str | None, audio_root: Path | None,
           allow_outside_root: bool, allow_truncated: bool) -> None:
    """Write MANIFEST into the new folder OUT, in the layout of another program.

    `asr prepare` reads OUT back. A row that the layout has no place for is an error, and nothing is
    written: Kaldi and NeMo have no channels, DeepSpeech and Hugging Face only whole recordings.

    \b
    Example:
      asr manifest export data/fsdd/train.jsonl lhotse_fsdd --to lhotse
    """  # noqa: D301 (click reads the backspace)
    from asr.corpora.exporting import export_manifest
    from asr.manifest import read_manifest

    rows = read_manifest(path, audio_root=audio_root, allow_outside_root=allow_outside_root)
    folder = export_manifest(rows, out, layout, split=split or path.stem,
                             allow_truncated=allow_truncated)
    print(folder)
    print(f"{plural(len(rows), 'utterance')}. Back again: asr prepare {layout} {folder} NEW_FOLDER",
          file=sys.stderr)
