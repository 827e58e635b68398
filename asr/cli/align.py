"""`asr align [BUNDLE] CLIP TEXT`: arguments to `Recognizer.align` and `asr.fleet.align`.

In: argv. Out: times of words and characters, on stdout or in a folder; failures on stderr.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asr.cli.inputs import audio_root_option, outside_root_option, truncated_option
from asr.cli.output_paths import OUTPUT
from asr.cli.places import absolute, open_recognizer, place_options
from asr.cli.transcribe import is_model
from asr.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
from asr.transcript import FORMATS, ONE_FILE_FORMATS, SUFFIXES, render

if TYPE_CHECKING:
    from asr.fleet.cluster import Cluster
    from asr.manifest import Utterance


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("arguments", nargs=-1, metavar="[BUNDLE] CLIP TEXT")
@click.option("--bundle", type=str, help="The model: an .asr file or a run directory.")
@click.option("--manifest", type=click.Path(path_type=Path),
              help="Align every row of a manifest with its text, instead of CLIP and TEXT.")
@audio_root_option
@outside_root_option
@click.option("-f", "--format", "format_", type=click.Choice(list(FORMATS)), default="ctm",
              show_default=True, help="json and textgrid have characters too.")
@click.option("-o", "--output-dir", type=OUTPUT,
              help="Write one file a recording into this folder.")
@click.option("--overwrite", is_flag=True, help="Write again what exists in the output folder.")
@truncated_option
@place_options
def align(arguments: tuple[str, ...], bundle: str | None, manifest: Path | None,
          audio_root: Path | None, allow_outside_root: bool, format_: str,
          output_dir: Path | None, overwrite: bool, allow_truncated: bool, engine: str,
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
    from asr.audio import display_name
    from asr.recognizer import load

    if manifest is None:
        if cluster is not None:
            raise UsageError("One recording needs no cluster. Give --manifest, or leave out "
                             "--engine ray.")
        clip, text = arguments
        transcript = load(bundle, engine=engine).align(clip, text,
                                                       allow_truncated=allow_truncated)
        path = None if output_dir is None else _paths(output_dir, [Path(clip).stem], format_)[0]
        return _write(render(transcript, format_, display_name(clip), characters=True), path,
                      overwrite)
    from asr.fleet.align import align_utterances
    from asr.manifest import read_manifest

    rows = read_manifest(manifest, audio_root=audio_root, allow_outside_root=allow_outside_root)
    recognizer = load(bundle, engine=engine)
    paths: list[Path] | list[None] = [None] * len(rows) if output_dir is None else _paths(
        output_dir, [row.id for row in rows], format_)
    aligner = partial(align_utterances, recognizer)
    if cluster is not None:
        from asr.fleet.shards import align_on

        aligner = partial(align_on, cluster, partial(open_recognizer, absolute(bundle), engine,
                                                     {}))
    failed = 0
    wanted, kept = _unfinished(rows, paths, overwrite)
    for (_, path), result in zip(wanted, aligner(
            (u for u, _ in wanted), allow_truncated=allow_truncated), strict=True):
        if result.transcript is None:
            failed += 1
            print(json.dumps(result.record(), ensure_ascii=False), file=sys.stderr)
        else:
            _write(render(result.transcript, format_, result.utterance.id, characters=True), path,
                   overwrite)
    if kept:
        print(f"{kept} of {len(rows)} files existed and were kept; --overwrite makes them again.",
              file=sys.stderr)
    return EXIT_SOME_FAILED if failed else EXIT_OK


def _check(arguments: tuple[str, ...], manifest: Path | None, output_dir: Path | None,
           overwrite: bool, format_: str) -> None:
    """Refuse contradictory options before any work."""
    if manifest is None and len(arguments) != 2:
        raise UsageError(f"Give a recording and its text in quotes, or --manifest; got "
                         f"{len(arguments)} arguments after the bundle.")
    if manifest is not None and arguments:
        raise UsageError(f"A manifest has recordings and texts; {arguments[0]!r} is one too many.")
    if overwrite and output_dir is None:
        raise UsageError("--overwrite is about files, but there is no --output-dir.")
    if format_ == "docx" and output_dir is None:
        raise UsageError("A .docx file is not for standard output. Give --output-dir.")
    if manifest is not None and output_dir is None and format_ in ONE_FILE_FORMATS:
        raise UsageError(f"Many recordings in {format_} make no valid file on standard output. "
                         "Give --output-dir.")


def _stem(name: str) -> str:
    """A file name for an id; of a long one the start and a hash, which names it alone."""
    from asr.fleet.worklist import MAX_STEM_BYTES

    stem = re.sub(r"[^\w.+=,@-]", "_", name).lstrip(".") or "_"
    if len(stem.encode()) <= MAX_STEM_BYTES:
        return stem
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return stem.encode()[:MAX_STEM_BYTES - 17].decode("utf-8", "ignore") + "-" + digest


def _paths(folder: Path, names: list[str], format_: str) -> list[Path]:
    """An output path for each name, unique on every system."""
    stems = [_stem(name) for name in names]
    seen: dict[str, str] = {}
    for name, stem in zip(names, stems, strict=True):
        other = seen.setdefault(stem.casefold(), name)
        if other != name:
            raise UsageError(f"The ids {other!r} and {name!r} would share the file {stem}. Rename "
                             "one of them.")
    folder.mkdir(parents=True, exist_ok=True)
    return [folder / f"{stem}.{SUFFIXES[format_]}" for stem in stems]


def _unfinished(rows: list[Utterance], paths: list[Path] | list[None], overwrite: bool
                ) -> tuple[list[tuple[Utterance, Path | None]], int]:
    """The rows whose file is not there yet, and how many were left out."""
    wanted = [(row, path) for row, path in zip(rows, paths, strict=True)
              if path is None or overwrite or not path.exists()]
    return wanted, len(rows) - len(wanted)


def _write(text: str | bytes, path: Path | None, overwrite: bool) -> int:
    if path is None:
        sys.stdout.write(str(text))
        return EXIT_OK
    from asr.files import write_atomic

    try:
        write_atomic(path, text, overwrite=overwrite)
    except FileExistsError:
        raise UsageError(f"{path} exists; --overwrite makes it again.", path=path) from None
    return EXIT_OK
