"""`asr init DATA -o my.toml`: a recipe for the user's data, with reasons."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from asr.cli.inputs import audio_root_option, truncated_option
from asr.cli.next_step import typed
from asr.cli.output_paths import OUTPUT, refuse_existing, refuse_no_file
from asr.cli.progress import count_on_stderr
from asr.errors import EXIT_OK
from asr.files import write_atomic
from asr.terminal import plural
from asr.text import NORMALIZERS


@click.command()
@click.argument("data", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=OUTPUT,
              help="The recipe to write, such as my.toml.")
@click.option("--minutes", type=click.FloatRange(0.1, 100_000), default=60.0, show_default=True,
              help="How long training may take on this machine.")
@click.option("--normalizer", type=click.Choice(NORMALIZERS), help="How texts are compared and "
              "learnt. Default: basic, or marks where marks are used like letters; case keeps "
              "every mark.")
@click.option("--noise", multiple=True, metavar="MANIFEST", type=click.Path(path_type=Path),
              help="Sounds in which nothing is said, as asr prepare noise writes them; repeatable.")
@audio_root_option
@truncated_option
@click.option("--no-trial", is_flag=True, help="Do not time a training step; assume a slow "
              "machine.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def init(data: tuple[Path, ...], output: Path, minutes: float, normalizer: str | None,
         noise: tuple[Path, ...], audio_root: Path | None, allow_truncated: bool, no_trial: bool,
         overwrite: bool) -> int:
    """Write a recipe for the manifests in DATA: settings with reasons, warnings, expected time.

    DATA is a folder as `asr prepare` writes it (train.jsonl, dev.jsonl), or manifests. The size of
    the network follows the hours of speech, the epochs follow --minutes. Nothing is trained.

    \b
    Example:
      asr init data/mine -o mine.toml --minutes 60
      asr train mine.toml runs/mine
    """  # noqa: D301 (click reads the backspace)
    refuse_no_file(output, "-o")
    refuse_existing(output, overwrite, other="another name")
    from asr.manifest import read_manifest
    from asr.proposal.page import page
    from asr.proposal.settings import fit_to_budget, in_words, propose, speakers_of
    from asr.proposal.survey import find_manifests, non_speech, survey

    train, valid = find_manifests(data)
    with count_on_stderr("Looking at recordings"):
        rows, held_out = ([u for path in paths for u in read_manifest(path, audio_root=audio_root)]
                          for paths in (train, valid))
        found = survey(rows, held_out, normalizer, allow_truncated)
        sounds = {str(path): non_speech(read_manifest(path, audio_root=audio_root), path)
                  for path in noise}
    proposal = propose(found, list(map(str, train)), list(map(str, valid)), minutes, sounds)
    if audio_root is not None:
        proposal.set("data.audio_root", str(audio_root))
    if allow_truncated:
        proposal.set("data.allow_truncated", True,
                     plural(found.num_cut, "recording is cut", "recordings are cut"))
    if no_trial:
        speed = 2e-5 * proposal.table["model"]["num_layers"] * \
            (proposal.table["model"]["units"] / 128) ** 1.5
    else:
        print("Timing a training step ...", file=sys.stderr)
        from asr.proposal.trial import seconds_per_frame
        speed = seconds_per_frame(proposal.recipe, found)
    per_epoch = fit_to_budget(proposal, found, minutes, speed,
                              "assumed, not timed" if no_trial else "by a timed trial step")
    recipe = proposal.recipe
    expected = min(minutes, per_epoch * recipe.train.epochs) if recipe.train.max_minutes else \
        per_epoch * recipe.train.epochs
    facts = [f"{plural(found.num_utterances, 'utterance')}, {found.hours:.2f} h, "
             f"{speakers_of(found)}, {plural(len(found.words), 'word')}, "
             f"{plural(len(found.characters), 'character')}",
             f"expected: {recipe.train.epochs} epochs, about {in_words(expected)} on this machine"]
    write_atomic(output, page(proposal, [
        f"Written by asr init from {', '.join(map(str, (*train, *valid)))}.",
        *(f"{fact[0].upper()}{fact[1:]}." for fact in facts),
        "asr recipe SECTION.KEY explains a setting."]), overwrite=overwrite)
    for line in [*facts, *found.about_texts, *(f"Warning: {w}" for w in proposal.warnings)]:
        print(line, file=sys.stderr)
    print(f"written: {output}\n"
          f"Next: {typed('asr', 'train', output, f'runs/{output.stem}')}", file=sys.stderr)
    return EXIT_OK
