"""`asr inspect [BUNDLE] AUDIO`: arguments to `asr.inspection`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from asr.cli.inputs import truncated_option
from asr.cli.output_paths import OUTPUT, refuse_existing
from asr.errors import UsageError

PAGE = "html"


@click.command()
@click.argument("inputs", nargs=-1, required=True, metavar="[BUNDLE] AUDIO")
@click.option("--bundle", type=str, help="The model: an .asr file or a run directory.")
@click.option("--layer", type=int, help="From 1, the one nearest to the sound. Default: the last.")
@click.option("--direction", type=click.Choice(["forward", "backward"]), default="forward",
              show_default=True, help="Backward cells read the recording from its end.")
@click.option("--units", default="", metavar="0-15", help="Cells to show, in this order, such as "
              "3,7,20-24. Default: the 16 whose memory moves most.")
@click.option("--seconds", default="", metavar="1.5-4", help="The stretch of time that a picture "
              "shows, and that a page opens at. Default: all of it.")
@click.option("-o", "--output", "outputs", multiple=True, type=OUTPUT,
              help="A page with hover (.html) or a picture (.png, .svg, .pdf: needs matplotlib); "
              "may be given several times. Default: AUDIO-inspect.html, here.")
@click.option("--overwrite", is_flag=True, help="Replace files that exist.")
@truncated_option
@click.option("--no-sound", is_flag=True, help="Leave the recording itself out of the page.")
def inspect(inputs: tuple[str, ...], bundle: str | None, layer: int | None, direction: str,
            units: str, seconds: str, outputs: tuple[Path, ...], overwrite: bool,
            allow_truncated: bool, no_sound: bool) -> None:
    """Show the LSTM at work on a recording: gates, memory cells, posteriors.

    Everything on one time axis, in a page that answers the mouse or in a picture. The model is
    the first argument, as with asr transcribe; without one the shipped digits recogniser listens.
    Prints the names of the files.

    \b
    Example:
      asr inspect runs/digits clip.wav --layer 2 --units 0-15 -o inspect.png
    """  # noqa: D301 (click reads the backspace)
    from asr.cli.transcribe import is_model

    if bundle is None and is_model(inputs[0]):
        bundle, inputs = inputs[0], inputs[1:]
    if len(inputs) != 1:
        raise UsageError(f"asr inspect looks at one recording, got {len(inputs)}. Give [BUNDLE] "
                         "AUDIO.")
    clip = Path(inputs[0])
    outputs = outputs or (Path(f"{clip.stem}-inspect.{PAGE}"),)
    _check_outputs(outputs, overwrite)

    from asr.files import write_atomic
    from asr.inspection import choose
    from asr.recognizer import load
    from asr.transcript import plain

    recognizer = load(bundle)
    view = choose(recognizer.inspect(clip, allow_truncated=allow_truncated), layer, direction,
                  units, seconds)
    names = {"clip": clip.name, "bundle": _name(recognizer.bundle.path)}
    files: dict[Path, str | bytes] = {}  # all of them are made before the first is written
    for path in outputs:
        if _format(path) == PAGE:
            from asr.inspection.page import page

            files[path] = page(view, with_sound=not no_sound, **names)
        else:
            from asr.inspection.plot import picture

            files[path] = picture(view, format=_format(path), **names)
    for path, content in files.items():
        write_atomic(path, content, overwrite=overwrite)
        print(path)
    heard = f"“{plain(view.inspection.text)}”" if view.inspection.text else "nothing"
    print(f"Heard {heard}. {view.which()}.", file=sys.stderr)


def _format(path: Path) -> str:
    return path.suffix.lower().removeprefix(".")


def _check_outputs(outputs: tuple[Path, ...], overwrite: bool) -> None:
    """Check formats, folders and existing files before any work."""
    from asr.inspection.plot import FORMATS

    for path in outputs:
        if _format(path) not in (PAGE, *FORMATS):
            known = ", ".join(f".{name}" for name in (PAGE, *FORMATS))
            raise UsageError(f"--output {path} does not say what to write; expected a name that "
                             f"ends in one of {known}.")
        if not path.parent.is_dir():
            raise UsageError(f"--output {path}: there is no folder {path.parent}. Make it first.")
        refuse_existing(path, overwrite, other="another --output")
    if len({os.path.abspath(path) for path in outputs}) < len(outputs):
        raise UsageError("--output names one file twice; name each once.")


def _name(path: object) -> str:
    """A bundle for people: best.asr says less than its run directory."""
    path = Path(str(path))
    return path.name if path.name != "best.asr" else f"{path.absolute().parent.name}/{path.name}"
