"""`asr align [BUNDLE] CLIP TEXT`: arguments to `Recognizer.align` and `asr.fleet.align`.

In: argv. Out: times of words and characters, on stdout, in a folder or in a bucket; failures on
stderr.
"""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asr.cli.engine_options import absolute, open_recognizer, place_options
from asr.cli.inputs import audio_root_option, outside_root_option, truncated_option
from asr.cli.output_paths import PLACE
from asr.cli.progress import count_on_stderr
from asr.cli.transcribe import is_model
from asr.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
from asr.manifest.address import Address
from asr.terminal import plural
from asr.transcript import FORMATS, ONE_FILE_FORMATS, SUFFIXES, render

if TYPE_CHECKING:
    from asr.fleet.cluster import Cluster


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("arguments", nargs=-1, metavar="[BUNDLE] CLIP TEXT")
@click.option("--bundle", type=str, help="The model: an .asr file or a run directory.")
@click.option("--manifest", type=click.Path(path_type=Path),
              help="Align every row of a manifest with its text, instead of CLIP and TEXT.")
@audio_root_option
@outside_root_option
@click.option("-f", "--format", "format_", type=click.Choice(list(FORMATS)), default="ctm",
              show_default=True, help="json and textgrid have characters too.")
@click.option("-o", "--output-dir", type=PLACE,
              help="Write one file a recording into this folder, or at this address, such as "
              "s3://bucket/times.")
@click.option("--overwrite", is_flag=True, help="Write again what exists in the output folder.")
@truncated_option
@place_options
def align(arguments: tuple[str, ...], bundle: str | None, manifest: Path | None,
          audio_root: Path | None, allow_outside_root: bool, format_: str,
          output_dir: Path | Address | None, overwrite: bool, allow_truncated: bool, engine: str,
          cluster: Cluster | None) -> int:
    """Align a known text with a recording: the time of each word.

    The text is normalised as the model's training texts were, then aligned with the whole
    recording. Times of words begin and end at pauses where there are some. In an output folder
    files are named after the recording, or the id of the manifest's row; what exists is kept.

    \b
    Examples:
      asr align clip.wav "four two zero nine" -f textgrid -o praat
      asr align runs/english --manifest data/dev.jsonl -f json -o times
    """  # noqa: D301 (click reads the backspace)
    if bundle is None and arguments and is_model(arguments[0]):
        bundle, arguments = arguments[0], arguments[1:]
    _check(arguments, manifest, output_dir, overwrite, format_)
    from asr.fleet.align import align_to_place, align_utterances, output_names
    from asr.fleet.output_places import place_of
    from asr.manifest import read_manifest
    from asr.recognizer import load

    if manifest is None:
        if cluster is not None:
            raise UsageError("One recording needs no cluster. Give --manifest, or leave out "
                             "--engine ray.")
        clip, text = arguments
        return _align_one(clip, text, bundle, engine, allow_truncated, format_, output_dir,
                          overwrite)
    rows = read_manifest(manifest, audio_root=audio_root, allow_outside_root=allow_outside_root)
    place = None
    if output_dir is not None:  # an address that cannot be reached is said before the work
        output_names([row.id for row in rows], format_)
        place = place_of(output_dir, (SUFFIXES[format_],))
    recognizer = load(bundle, engine=engine)
    aligner = partial(align_utterances, recognizer, allow_truncated=allow_truncated)
    if cluster is not None:
        from asr.fleet.shards import align_on

        aligner = partial(align_on, cluster, partial(open_recognizer, absolute(bundle), engine,
                                                     {}), allow_truncated=allow_truncated)
    failed = kept = 0
    # On a terminal that shows the times themselves, a bar would only be in their way.
    with count_on_stderr("aligning") if place is not None or not sys.stdout.isatty() \
            else nullcontext() as progress:
        for number, result in enumerate(aligner(rows) if place is None else align_to_place(
                place, rows, format_, aligner=aligner, overwrite=overwrite), start=1):
            kept += result.kept
            if result.error is not None:
                failed += 1
                print(json.dumps(result.record(), ensure_ascii=False), file=sys.stderr)
            elif place is None and result.transcript is not None:
                sys.stdout.write(str(render(result.transcript, format_, result.utterance.id,
                                            characters=True)))
            if progress is not None:
                progress(number, len(rows))
    if kept:
        print(f"{kept:,} of {len(rows):,} files existed and were kept; --overwrite makes them "
              "again.", file=sys.stderr)
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _align_one(clip: str, text: str, bundle: str | None, engine: str, allow_truncated: bool,
               format_: str, output_dir: Path | Address | None, overwrite: bool) -> int:
    """One recording and its text, to standard output or a file."""
    from asr.audio import display_name
    from asr.fleet.align import output_names
    from asr.fleet.output_places import not_written, place_of
    from asr.recognizer import load

    place, name = None, ""
    if output_dir is not None:
        place = place_of(output_dir, (SUFFIXES[format_],))
        (name,) = output_names([Path(clip).stem], format_)
    transcript = load(bundle, engine=engine).align(clip, text, allow_truncated=allow_truncated)
    rendered = render(transcript, format_, display_name(clip), characters=True)
    if place is None:
        sys.stdout.write(str(rendered))
        return EXIT_OK
    path = place.shown(name)
    try:
        place.write(name, rendered, overwrite=overwrite)
    except FileExistsError:
        raise UsageError(f"{path} exists; --overwrite makes it again.", path=path) from None
    except OSError as error:
        if isinstance(path, Path):
            raise  # the name of the file is in it
        raise not_written(path, error, place.remedy) from error
    return EXIT_OK


def _check(arguments: tuple[str, ...], manifest: Path | None, output_dir: Path | Address | None,
           overwrite: bool, format_: str) -> None:
    """Refuse contradictory options before any work."""
    if manifest is None and len(arguments) != 2:
        raise UsageError(f"Give a recording and its text in quotes, or --manifest; got "
                         f"{plural(len(arguments), 'argument')} after the bundle.")
    if manifest is not None and arguments:
        raise UsageError(f"A manifest has recordings and texts; {arguments[0]!r} is one too many.")
    if overwrite and output_dir is None:
        raise UsageError("--overwrite is about files, but there is no --output-dir.")
    if format_ == "docx" and output_dir is None:
        raise UsageError("A .docx file is not for standard output. Give --output-dir.")
    if manifest is not None and output_dir is None and format_ in ONE_FILE_FORMATS:
        raise UsageError(f"Many recordings in {format_} make no valid file on standard output. "
                         "Give --output-dir.")
