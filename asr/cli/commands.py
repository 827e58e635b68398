"""`asr commands WORDS.txt OUT.asr`: arguments to `asr.commands.make`."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from asr.cli.inputs import truncated_option
from asr.cli.next_step import typed
from asr.cli.output_paths import OUTPUT, refuse_existing, refuse_no_file
from asr.terminal import plural


@click.command()
@click.argument("words", type=click.Path(path_type=Path), metavar="WORDS.txt")
@click.argument("output", type=OUTPUT, metavar="OUT.asr")
@click.option("--minutes", type=click.FloatRange(0.1, 10_000), default=15.0, show_default=True,
              help="How long training may take; the voices take a few more.")
@click.option("--recordings", multiple=True, type=click.Path(path_type=Path),
              metavar="MANIFEST.jsonl", help="Real recordings of the phrases, or of other speech; "
              "may be repeated.")
@truncated_option
@click.option("--voices", "names", multiple=True, metavar="SET|ID|FILE",
              help="Voices to use: see asr prepare voices. [default: all quick English ones]")
@click.option("--noise", type=click.Path(path_type=Path, exists=True, file_okay=False),
              help="Folder with recordings of noise. [default: made ones]")
@click.option("--other-words", type=click.Path(path_type=Path), metavar="FILE",
              help="Words to be refused, one a line. [default: 1,876 of everyday English]")
@click.option("--from", "base", type=click.Path(path_type=Path), metavar="BUNDLE|none",
              help="Where training begins. [default: shipped letters of read English]")
@click.option("--false-accepts", type=click.FloatRange(min=0), metavar="N",
              help="Refuse so much that N other words an hour pass; strict. [default: so much that "
                   "99 % of the phrases pass]")
@click.option("--work", type=OUTPUT, metavar="DIR",
              help="Folder for voices and training. [default: OUT.commands]")
@click.option("--seed", default=1, show_default=True, help="Seed of every random choice.")
@click.option("--check", is_flag=True, help="Only warn of phrases that will be hard.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.asr and OUT.toml.")
def commands(words: Path, output: Path, minutes: float, recordings: tuple[Path, ...],
             allow_truncated: bool, names: tuple[str, ...], noise: Path | None,
             other_words: Path | None, base: Path | None, false_accepts: float | None,
             work: Path | None, seed: int, check: bool, overwrite: bool) -> None:
    """Make a recogniser of a few English phrases from a list: no recordings needed.

    WORDS.txt has a phrase a line. Synthesised voices say them, and other words; a small network is
    trained, and what it refuses is calibrated on voices that had no part in it. OUT.asr reads
    exactly these phrases. The same command goes on after an interruption.

    \b
    Examples:
      asr commands words.txt robot.asr
      asr commands words.txt robot.asr --recordings mine.jsonl --minutes 20
      asr transcribe robot.asr clip.wav
    """  # noqa: D301 (click reads the backspace)
    from asr.commands.phrases import read_phrases

    phrases = read_phrases(words)
    say = partial(print, file=sys.stderr)
    if check:
        from asr.commands.pronunciation import pronounce, warnings_of

        found = warnings_of(pronounce(phrases))
        print("\n".join(found) or f"{plural(len(phrases), 'phrase')}, nothing to warn of.")
        return
    for path in (output, output.with_suffix(".toml")):
        refuse_no_file(path, "OUT.asr")
        refuse_existing(path, overwrite, other="another name")
    from asr.bundle.find import LETTERS
    from asr.cli.progress import count_on_stderr
    from asr.commands.make import make_commands
    from asr.voices import voices_named

    made = make_commands(phrases, output, work or output.with_suffix(".commands"), minutes=minutes,
                         seed=seed, voices=voices_named(names) if names else None,
                         recordings=recordings, allow_truncated=allow_truncated, noise=noise,
                         filler_words=other_words,
                         base=None if base == Path("none") else base or LETTERS,
                         per_hour=false_accepts, overwrite=overwrite, say=say,
                         progress=partial(count_on_stderr, unit="clips", piped=True))
    print(f"{made.bundle}: {plural(len(phrases), 'phrase')}, {made.size / 1e6:.2f} MB, recipe "
          f"{made.recipe}")
    say(f"Next: {typed('asr', 'transcribe', made.bundle, 'RECORDING')}; "
        f"{typed('asr', 'tune', made.bundle, 'DEV.jsonl', '--refusal')} on recordings of yours")
