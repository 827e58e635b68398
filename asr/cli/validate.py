"""`asr validate`: every problem of a manifest; changes nothing.

In: manifests, and what they are for. Out: one problem a line on stdout, exit code 0 or 4.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asr.cli.inputs import audio_root_option, outside_root_option, truncated_option
from asr.cli.progress import count_on_stderr
from asr.errors import EXIT_DATA, EXIT_OK, UsageError
from asr.terminal import plural

if TYPE_CHECKING:
    from asr.manifest import Findings


SHOWN = 20  # of each kind of problem


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--recipe", type=click.Path(path_type=Path), help="What the data is to train.")
@click.option("--bundle", type=click.Path(path_type=Path), help="What the data is to measure.")
@click.option("--against", multiple=True, type=click.Path(path_type=Path), help="Compare with this "
              "manifest, without checking it; may be repeated.")
@audio_root_option
@outside_root_option
@click.option("--shared-speakers", is_flag=True, help="A speaker in two manifests is no problem.")
@click.option("--decode", is_flag=True, help="Decode every recording: slower, finds damage that "
              "headers do not show.")
@truncated_option
@click.option("--all", "show_all", is_flag=True,
              help=f"List every problem, not the first {SHOWN} of each kind.")
@click.option("--jobs", type=click.IntRange(0), default=0, show_default=True,
              help="Processes that look at recordings; 0: as many as pay.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def validate(manifests: tuple[Path, ...], recipe: Path | None, bundle: Path | None,
             against: tuple[Path, ...], audio_root: Path | None, allow_outside_root: bool,
             shared_speakers: bool, decode: bool, allow_truncated: bool, show_all: bool,
             jobs: int, as_json: bool) -> int:
    """List every problem of MANIFESTS with line and id; nothing is changed.

    With a recipe or a bundle, texts are held against its alphabet and lengths against CTC. Several
    manifests are also compared: nothing of a test set may be in a training set.

    \b
    Examples:
      asr validate data/mine/train.jsonl data/mine/dev.jsonl
      asr validate data/mine/train.jsonl --recipe mine.toml
    """  # noqa: D301 (click reads the backspace)
    from asr.audit.validate import Target
    from asr.audit.validate import validate as run
    from asr.recipe import load_recipe

    if recipe and bundle:
        raise UsageError("Give --recipe or --bundle, not both.")
    target = Target.from_bundle(bundle) if bundle else None
    if recipe:
        settings = load_recipe(recipe)
        target = Target.from_recipe(settings)
        audio_root = audio_root or (Path(settings.data.audio_root) if settings.data.audio_root
                                    else None)
    with ExitStack() as bars:
        reading, looking = bars.enter_context(count_on_stderr("Reading", unit="bytes")), None

        def show(done: int, total: int) -> None:
            nonlocal looking
            if looking is None:  # one bar at a time
                bars.close()
                looking = bars.enter_context(count_on_stderr("Looking at recordings"))
            looking(done, total)

        report = run(manifests, target=target, against=against, audio_root=audio_root,
                     allow_outside_root=allow_outside_root, shared_speakers=shared_speakers,
                     decode=decode, allow_truncated=allow_truncated, num_workers=jobs,
                     per_code=None if show_all else SHOWN, progress=show, reading=reading)
    if as_json:
        click.echo(json.dumps(report.to_dict(), ensure_ascii=False, indent=1))
    else:
        for problem in report.problems:
            click.echo(f"{problem} [{problem.code}]")
        _say_rest(report.problems, "", err=False)
    for note in report.notes:
        click.echo(f"note: {note}", err=True)
    _say_rest(report.notes, "note: ", err=True)
    if report.num_cut:
        click.echo(f"{plural(report.num_cut, 'recording is', 'recordings are')} cut; what is left "
                   "of them was looked at.",
                   err=True)
    counts = ", ".join(f"{count:,} {code}" for code, count in report.counts.items())
    click.echo(f"{plural(report.num_utterances, 'utterance')}, {report.seconds / 3_600:.2f} h: "
               f"{counts or 'no problem'}.", err=True)
    return EXIT_DATA if report.problems else EXIT_OK


def _say_rest(found: Findings, front: str, *, err: bool) -> None:
    """One line for all that is not listed of a kind."""
    for code, count in found.counts.items():
        if found.per_code is not None and count > found.per_code:
            click.echo(f"{front}{count - found.per_code:,} more like these [{code}]; --all lists "
                       "them.", err=err)
