"""`asr transcribe`: recordings become text, subtitles or JSON.

In: argv. Out: transcripts, on stdout or in a folder; progress, failures and timings on stderr.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from asr.cli.decoding import decoder_options, engine_option, with_knobs
from asr.cli.inputs import truncated_option
from asr.cli.notices import warnings_as_notices
from asr.cli.progress import count_on_stderr
from asr.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_SOME_FAILED, AsrError, UsageError
from asr.transcript import FORMATS, SUFFIXES, plain, render

if TYPE_CHECKING:
    from asr.fleet.transcribe import Outcome
    from asr.fleet.worklist import Item

ONE_FILE_FORMATS = ("srt", "vtt", "tsv", "textgrid")  # two of them in a row are no valid file
FOREIGN = (".keras", ".h5", ".hdf5", ".pkl", ".pickle", ".pt", ".pth", ".pb", ".onnx", ".tflite")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("inputs", nargs=-1, required=True, metavar="[BUNDLE] INPUT...")
@click.option("--bundle", type=str, help="The model: an .asr file or a run directory.")
@click.option("-f", "--format", "format_", type=click.Choice(list(FORMATS)), default=None,
              help="Of the result. Default: txt.")
@click.option("-o", "--output-dir", type=str, help="Write one file a recording into this folder.")
@click.option("-r", "--recursive", is_flag=True, help="Look into subfolders of folders.")
@click.option("--overwrite", is_flag=True, help="Write again what exists in the output folder.")
@engine_option
@truncated_option
@click.option("--timings", is_flag=True, help="Say how long loading, features, model and decoder "
              "took.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout; failures "
              "as JSON lines on stderr.")
@click.option("--raw-csv", is_flag=True, help="tsv: leave cells that a spreadsheet would take for "
              "formulas as they are.")
@click.option("--characters", is_flag=True, help="json: with the times of characters, too.")
@decoder_options(nbest=True)
def transcribe(inputs: tuple[str, ...], bundle: str | None, format_: str | None,
               output_dir: str | None, recursive: bool, overwrite: bool, knobs: dict, engine: str,
               allow_truncated: bool, timings: bool, as_json: bool, raw_csv: bool,
               characters: bool) -> int:
    """Transcribe recordings: files, folders, glob patterns, or - for standard input.

    The first argument is taken as the model if it is an .asr file or a run directory; without one
    the shipped digits recogniser is used. Transcripts in an output folder are named after their
    recordings (talk.wav: talk.txt; if that is taken, folder-talk.txt). What exists is kept, so the
    same command goes on where an earlier one was stopped. Recordings of more than 10 minutes, up to
    a day, are heard in windows, in constant memory. Exit code 3: some recordings failed.
    """
    if bundle is None and is_model(inputs[0]):
        bundle, inputs = inputs[0], inputs[1:]
    format_ = _check_options(inputs, format_, output_dir, overwrite, as_json)
    if knobs.get("num_hypotheses", 1) > 1 and format_ not in ("txt", "json"):
        raise UsageError(f"--nbest is shown by txt and json; {format_} has one reading. Leave out "
                         "one of them.")

    from asr.fleet.worklist import AUDIO_SUFFIXES, OutputFolder, count_other_audio, find_items

    items, missing = find_items(inputs, recursive=recursive)
    if output_dir is None and format_ in ONE_FILE_FORMATS and len(items) > 1:
        raise UsageError(f"{len(items)} recordings in {format_} make no valid file on standard "
                         "output. Give --output-dir, or one recording at a time.")
    folder = None if output_dir is None else OutputFolder(output_dir, SUFFIXES[format_])
    report = _Report(as_json, len(items) + len(missing))
    for error in missing:
        report.failure(error.as_record("find"))
    if others := count_other_audio(inputs, recursive=recursive):
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.items())
        report.notice(f"Left alone: {kinds}. Taken from a folder are "
                      f"{', '.join(sorted(AUDIO_SUFFIXES))}; convert the others: ffmpeg -i INPUT "
                      "-ar 16000 -ac 1 OUTPUT.wav")

    cells = {"escape_cells": not raw_csv, "characters": characters}

    def show(outcome: Outcome) -> None:
        _show(outcome, format_, several=report.total > 1, cells=cells)

    try:
        with warnings_as_notices(report.notice):
            _run(items, folder, report, show if folder is None else None, bundle=bundle,
                 engine=engine, knobs=knobs, format_=format_, overwrite=overwrite,
                 allow_truncated=allow_truncated, timings=timings, cells=cells)
    except KeyboardInterrupt:
        report.close()
        again = " Finished transcripts are kept; the same command goes on." if folder else ""
        print(f"Interrupted.{again}", file=sys.stderr)
        return EXIT_INTERRUPTED
    return report.close()


def is_model(argument: str) -> bool:
    """Whether the first argument means the model: a bundle, a run directory, or a foreign model."""
    suffix = os.path.splitext(argument)[1].lower()
    return suffix == ".asr" or suffix in FOREIGN or any(
        os.path.exists(os.path.join(argument, name))
        for name in ("best.asr", "recipe.toml", "saved_model.pb"))


def _check_options(inputs: tuple[str, ...], format_: str | None, output_dir: str | None,
                   overwrite: bool, as_json: bool) -> str:
    """The format; options that contradict each other are an error before any work."""
    if not inputs:
        raise UsageError("There is nothing to transcribe after the bundle. Give a file, a folder, "
                         "a pattern, or - for standard input.")
    if as_json and format_ not in (None, "json"):
        raise UsageError(f"--json and --format {format_} contradict each other. Give one.")
    if overwrite and output_dir is None:
        raise UsageError("--overwrite is about files, but there is no --output-dir.")
    return "json" if as_json else format_ or "txt"


def _run(items: list[Item], folder, report: _Report, show: Callable[[Outcome], None] | None, *,
         bundle: str | None, engine: str, knobs: dict, format_: str, overwrite: bool,
         allow_truncated: bool, timings: bool, cells: dict[str, bool]) -> None:
    if not items and bundle is None:
        return
    from asr.fleet.transcribe import Timings, transcribe_items, transcribe_to_folder
    from asr.recognizer import load

    recognizer = load(bundle, engine=engine)  # a wrong model comes before missing recordings
    if not items:
        return
    recognizer = with_knobs(recognizer, knobs)
    if not report.as_json:
        _say_if_compiling()
    spent = Timings()
    if folder is None:
        outcomes = transcribe_items(recognizer, items, spent, allow_truncated=allow_truncated,
                                    notice=report.notice)
    else:
        outcomes = transcribe_to_folder(recognizer, items, folder, format_, overwrite=overwrite,
                                        timings=spent, allow_truncated=allow_truncated,
                                        notice=report.notice, **cells)
    # On a terminal that shows the results themselves, a bar would only be in their way.
    wanted = len(items) > 1 and (folder is not None or not sys.stdout.isatty())
    with count_on_stderr("Transcribing") if wanted else nullcontext() as progress:
        for number, outcome in enumerate(outcomes, start=1):
            if outcome.error is not None:
                report.failure(outcome.record(), outcome.error)
            elif outcome.kept:
                report.kept += 1
            elif show is not None:
                show(outcome)
            report.rejection(outcome)
            if progress is not None:
                progress(number, len(items))
    if timings:
        report.timings(spent.to_dict())


def _say_if_compiling() -> None:
    """The one long silence of a new machine gets an explanation."""
    import asr.kernels
    from asr.kernels.jit import cache_folder, numba

    if numba is None:
        return
    folder = cache_folder(asr.kernels.__name__)
    if folder is None or next(folder.rglob("*.nbi"), None) is None:
        kept = "" if folder else " (no folder to keep them in can be written)"
        print(f"Compiling the kernels, once on this machine{kept}: about 10 seconds.",
              file=sys.stderr)


def _show(outcome: Outcome, format_: str, *, several: bool, cells: dict[str, bool]) -> None:
    """One result on stdout; a person's terminal gets no control characters."""
    if outcome.transcript is None:
        return
    name = outcome.item.name
    text = render(outcome.transcript, format_, name, **cells)
    if format_ == "txt":
        front = [plain(name)] if several else []
        text = "".join("\t".join([*front, *map(plain, line.split("\t"))]) + "\n"
                       for line in text.splitlines())
    elif sys.stdout.isatty():
        text = "".join(plain(line) + "\n" for line in text.splitlines())
    sys.stdout.write(text)
    sys.stdout.flush()


class _Report:
    """Failures as they come (JSON) or as a table at the end; both on stderr."""

    def __init__(self, as_json: bool, total: int):
        self.as_json = as_json
        self.total = total
        self.kept = 0
        self.failures: list[dict] = []

    def failure(self, record: dict, error: AsrError | None = None) -> None:
        self.failures.append(record)
        if self.as_json:
            print(json.dumps(record, ensure_ascii=False), file=sys.stderr, flush=True)
        if error is not None and error.__cause__ is not None and "--debug" in sys.argv:
            traceback.print_exception(error.__cause__)

    def notice(self, sentence: str) -> None:
        print(json.dumps({"notice": sentence}) if self.as_json else sentence, file=sys.stderr,
              flush=True)

    def rejection(self, outcome: Outcome) -> None:
        """A note where a closed grammar has no such sentence; JSON says it in the result."""
        if outcome.transcript is not None and outcome.transcript.rejected and not self.as_json:
            print(f"{plain(outcome.item.name)}: not in the grammar; the nearest sentence is "
                  f"{outcome.transcript.rejected!r}.", file=sys.stderr)

    def timings(self, table: dict[str, float]) -> None:
        if self.as_json:
            print(json.dumps({"timings": table}), file=sys.stderr)
            return
        stages = ", ".join(f"{name} {table[name]:.2f}"
                           for name in ("load", "features", "model", "decode", "write"))
        speed = table["audio"] / table["wall"] if table["wall"] else 0.0
        print(f"Seconds: {stages}; {table['wall']:.2f} in all for {table['audio']:.1f} s of audio, "
              f"{speed:.0f} times real time.", file=sys.stderr)

    def close(self) -> int:
        if self.kept and not self.as_json:
            print(f"{self.kept} of {self.total} transcripts existed and were kept; --overwrite "
                  "makes them again.", file=sys.stderr)
        if not self.failures:
            return EXIT_OK
        if not self.as_json:
            rows = [(plain(str(r["path"])), r["stage"], r["code"], plain(r["message"]))
                    for r in self.failures]
            widths = [max(len(row[i]) for row in rows) for i in range(3)]
            print(f"{len(rows)} of {self.total} recordings failed:", file=sys.stderr)
            for row in rows:
                cells = "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False))
                print(f"  {cells}  {row[3]}", file=sys.stderr)
        return EXIT_SOME_FAILED
