"""The command line: argument parsing only; each verb imports its stage when it is called.

In: argv. Out: an exit code. Results go to stdout, everything else to stderr; a failure is one
sentence, the traceback only with --debug.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import io
import os
import sys

import click

from asr import __version__
from asr.cli.next_step import say_next
from asr.errors import EXIT_INTERNAL, EXIT_INTERRUPTED, EXIT_USAGE, AsrError

# By what a person wants; verb: (module, one line of help). The module is imported only when its
# verb is called.
GROUPS = {
    "Bring data": {
        "prepare": ("asr.cli.prepare", "A corpus on disk becomes one manifest per split."),
        "download": ("asr.cli.prepare", "Fetch a corpus: resumed, checked, then unpacked."),
        "validate": ("asr.cli.validate", "Every problem of a manifest; changes nothing."),
        "audit": ("asr.cli.audit", "Leaks between splits, doubtful references, invented words."),
    },
    "Train a model": {
        "init": ("asr.cli.init", "Write a recipe for your data, with reasons."),
        "recipe": ("asr.cli.recipe", "What each setting of a recipe means; compare two recipes."),
        "train": ("asr.cli.train", "Train a recipe; resumes where it was interrupted."),
        "lm": ("asr.cli.lm", "Train and inspect n-gram language models."),
        "tune": ("asr.cli.tune", "Language model, hot words, confidences: on development data."),
    },
    "Use a model": {
        "transcribe": ("asr.cli.transcribe", "Recordings become text, subtitles or JSON."),
        "align": ("asr.cli.align", "When each word of a known text was said."),
        "info": ("asr.cli.info", "What a model is and what it was trained on."),
        "export": ("asr.cli.export", "ONNX and other formats, each with a proof of parity."),
    },
    "Measure": {
        "evaluate": ("asr.cli.evaluate", "Word error rate of a bundle on a test manifest."),
        "score": ("asr.cli.score", "Word error rate of two text files; no TensorFlow."),
        "compare": ("asr.cli.compare", "Are two systems different? With a significance test."),
    },
    "Look inside": {
        "inspect": ("asr.cli.inspect", "Gates and memory cells of the LSTM: a page or a picture."),
        "doctor": ("asr.cli.doctor", "What runs here, how fast, and why not faster."),
    },
}
VERBS = {verb: entry for verbs in GROUPS.values() for verb, entry in verbs.items()}

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


class _Verbs(click.Group):
    """List the verbs without importing them, so that --help is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        return getattr(importlib.import_module(VERBS[cmd_name][0]), cmd_name)

    def resolve_command(self, ctx: click.Context, args: list[str]):
        near = difflib.get_close_matches(args[0], VERBS, n=1)
        if args[0] not in VERBS and near:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, verbs in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(verb, line) for verb, (_, line) in verbs.items()])


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="asr")
def cli(debug: bool) -> None:
    """Speech recognition that you train, run and trust on your own machine.

    \b
    From a folder of recordings with texts to a recogniser:
      asr prepare folder recordings data/mine --dev 10% --test 10%
      asr init data/mine -o mine.toml
      asr train mine.toml runs/mine
      asr evaluate runs/mine data/mine/test.jsonl
      asr transcribe runs/mine talk.wav
    """  # noqa: D301 (click reads the backspace)


def main(argv: list[str] | None = None) -> None:
    """Run one command and leave the process with its exit code."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Run one command; returns its exit code and prints at most one sentence of error."""
    for name in ("stdout", "stderr"):  # closed by a service: no reader, so nothing is kept
        if getattr(sys, name) is None:  # its number must not become that of a file with data
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    # UTF-8 whatever the locale says; a line is written when it is printed, into a pipe or file as
    # on a terminal, so that it precedes what stderr says later and a full disk is seen there.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    debug = "--debug" in argv
    arguments = [argument for argument in argv if argument != "--debug"]
    try:
        code = cli.main(arguments, prog_name="asr", standalone_mode=False) or 0
        sys.stdout.flush()  # what ended without a line's end: a full disk is seen here, not at exit
        if not code:
            say_next(arguments)
        return code
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):  # click turns the one into the other
        print("Interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except AsrError as error:
        if debug:
            raise
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and (error.filename is not None or error.errno in _NO_ROOM):
            return _cannot_use(error)
        print(f"Internal error: {type(error).__name__}: {error}. Run again with --debug and "
              "report the traceback.", file=sys.stderr)
        return EXIT_INTERNAL


def _cannot_use(error: OSError) -> int:
    """A file or folder that the system refuses: a wrong name is usage, a full disk is not."""
    name = error.filename
    if name is None:
        name = "standard output"
        sys.stdout = None  # what is left in its buffer cannot be written at exit either
    no_room = error.errno in _NO_ROOM
    remedy = "Make room and run the same command again" if no_room else "Name another place"
    print(f"Error: Cannot use {name}: {error.strerror}. {remedy}; what existed is as it was.",
          file=sys.stderr)
    return EXIT_INTERNAL if no_room else EXIT_USAGE
