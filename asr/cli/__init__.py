"""The command line: argument parsing only; each verb imports its stage when it is called.

In: argv. Out: an exit code. Results go to stdout, everything else to stderr; a failure is one
sentence, the traceback only with --debug.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import os
import sys
import traceback
from contextlib import suppress
from functools import partial

import click

from asr import __version__
from asr.cli.next_step import say_next
from asr.cli.notices import warnings_as_notices
from asr.errors import (
    EXIT_BROKEN_PIPE,
    EXIT_INTERNAL,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_USAGE,
    NO_ROOM,
    AsrError,
    out_of_memory,
    shorten,
)
from asr.terminal import STDOUT, ReaderGone, Terminal, visible

# By what a person wants; verb: (module, one line of help). The module is imported only when its
# verb is called.
GROUPS = {
    "Bring data": {
        "prepare": ("asr.cli.prepare", "A corpus on disk becomes one manifest per split."),
        "download": ("asr.cli.download", "Fetch a corpus: resumed, checked, then unpacked."),
        "manifest": ("asr.cli.manifest", "A manifest for lhotse, Kaldi, NeMo and others."),
        "shard": ("asr.cli.shard", "A million recordings become a thousand tar files."),
        "validate": ("asr.cli.validate", "Every problem of a manifest; changes nothing."),
        "audit": ("asr.cli.audit", "Leaks between splits, doubtful references, invented words."),
    },
    "Train a model": {
        "init": ("asr.cli.init", "Write a recipe for your data, with reasons."),
        "recipe": ("asr.cli.recipe", "What each setting of a recipe means; compare two recipes."),
        "features": ("asr.cli.features", "Fill the feature cache of a recipe beforehand."),
        "train": ("asr.cli.train", "Train a recipe; resumes where it was interrupted."),
        "commands": ("asr.cli.commands", "A list of phrases becomes a recogniser of these."),
        "lm": ("asr.cli.lm", "Train and inspect n-gram language models."),
        "tune": ("asr.cli.tune", "Language model, hot words, confidences: on development data."),
        "average": ("asr.cli.average", "The mean of several runs that began at one network."),
    },
    "Use a model": {
        "transcribe": ("asr.cli.transcribe", "Recordings become text, subtitles or JSON."),
        "listen": ("asr.cli.listen", "A microphone becomes text while you speak."),
        "align": ("asr.cli.align", "When each word of a known text was said."),
        "serve": ("asr.cli.serve", "A page, OpenAI's interface and vosk's websocket."),
        "info": ("asr.cli.info", "What a model is and what it was trained on."),
        "quantize": ("asr.cli.quantize", "Weights of 8 bits: a quarter of the size, faster."),
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

_BROKEN = (errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENODEV, errno.ENXIO)


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
    streams = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Terminal(sys.stdout, STDOUT), Terminal(sys.stderr, "standard error")
    debug = "--debug" in argv
    try:
        with warnings_as_notices(partial(print, file=sys.stderr)):
            return _run([argument for argument in argv if argument != "--debug"])
    except BaseException as error:
        if debug and not isinstance(error, (click.exceptions.Exit, click.ClickException,
                                            click.Abort, KeyboardInterrupt, ReaderGone)):
            traceback.print_exc()
        return _failed(error)
    finally:
        sys.stdout, sys.stderr = streams


def _run(arguments: list[str]) -> int:
    code = cli.main(arguments, prog_name="asr", standalone_mode=False) or EXIT_OK
    sys.stdout.flush()  # what ended without a line's end: a full disk is seen here, not at exit
    if not code:
        say_next(arguments)
    return code


def _failed(error: BaseException) -> int:
    """Say in one sentence why a command failed; returns its exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, ReaderGone):
        _give_up_stdout()
        return EXIT_BROKEN_PIPE
    sentence, code = _explained(error)
    with suppress(OSError, ReaderGone):  # stderr may be what is full or gone
        if isinstance(error, click.UsageError) and error.ctx is not None:
            print(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n",
                  file=sys.stderr)
        print(shorten(visible(sentence)), file=sys.stderr)
    return code


def _explained(error: BaseException) -> tuple[str, int]:
    """The sentence and the exit code of an error."""
    if isinstance(error, click.ClickException):
        return f"Error: {error.format_message()}", EXIT_USAGE
    if isinstance(error, (click.Abort, KeyboardInterrupt)):  # click turns the one into the other
        return "Interrupted.", EXIT_INTERRUPTED
    if isinstance(error, AsrError):
        return f"Error: {error}", error.exit_code
    if out_of_memory(error):
        return ("Error: Out of memory: the system has no more for this work. Give it less at a "
                "time, or a machine with more; what existed is as it was."), EXIT_INTERNAL
    if isinstance(error, OSError) and (error.filename is not None or error.errno in NO_ROOM):
        return _cannot_use(error)
    if not isinstance(error, Exception):
        raise error
    return (f"Internal error: {type(error).__name__}: {shorten(str(error), 3_000)}. Run again with "
            "--debug and report the traceback."), EXIT_INTERNAL


def _cannot_use(error: OSError) -> tuple[str, int]:
    """A file or folder that the system refuses: a wrong name is usage, a full disk is not."""
    name, reason = error.filename, str(error.strerror or error)
    if name == STDOUT:
        _give_up_stdout()
        if error.errno == errno.EBADF:
            return (f"Error: Cannot write the result to {name}: {reason}. Send it to a file "
                    "(> FILE) or leave the stream open.", EXIT_USAGE)
    if error.errno in NO_ROOM:
        what = f"use {name}" if name is not None else "write"
        return (f"Error: Cannot {what}: {reason}. Make room and run the same command again; what "
                "existed is as it was."), EXIT_INTERNAL
    if error.errno in _BROKEN:
        return (f"Error: Cannot use {name or 'a file'}: {reason}. Look whether its disk or network "
                "drive is there; what existed is as it was."), EXIT_INTERNAL
    return (f"Error: Cannot use {name}: {reason}. Name another place; what existed is as it was.",
            EXIT_USAGE)


def _give_up_stdout() -> None:
    """What is left in its buffer cannot be written at exit either: be quiet then."""
    with suppress(OSError, ValueError, AttributeError):  # a stream without a number
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
