"""`asr transcribe`: recordings become text, subtitles or JSON.

In: argv. Out: transcripts, on stdout or in a folder; progress, failures and timings on stderr.
"""

from __future__ import annotations

import glob
import json
import mimetypes
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asr.cli.channel import CHANNELS, Channel
from asr.cli.decoding import decoder_options, with_knobs
from asr.cli.engine_options import absolute, open_recognizer, place_options
from asr.cli.inputs import truncated_option
from asr.cli.notices import warnings_as_notices
from asr.cli.output_paths import refuse_existing, refuse_no_file, scheme_of
from asr.cli.progress import count_on_stderr
from asr.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_SOME_FAILED, AsrError, UsageError
from asr.manifest.address import Address, is_address
from asr.terminal import plural
from asr.transcript import FORMATS, ONE_FILE_FORMATS, SUFFIXES, format_of, plain, render

if TYPE_CHECKING:
    from asr.fleet.cluster import Cluster
    from asr.fleet.transcribe import Outcome
    from asr.fleet.worklist import Item

FOREIGN = (".keras", ".h5", ".hdf5", ".pkl", ".pickle", ".pt", ".pth", ".pb", ".onnx", ".tflite")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("inputs", nargs=-1, required=True, metavar="[BUNDLE] INPUT...")
@click.option("--bundle", type=str, help="The model: an .asr file or a run directory.")
@click.option("-f", "--format", "formats", type=click.Choice(list(FORMATS)), multiple=True,
              help="Format; may be repeated. Default: txt, or what the ending of -o says.")
@click.option("-o", "--output-dir", "--output", "outputs", type=str, multiple=True,
              help="A folder for one file a recording, or, for one recording, the file to write, "
              "such as talk.srt; a file may be repeated with another ending. Also an address, such "
              "as s3://bucket/transcripts.")
@click.option("-r", "--recursive", is_flag=True, help="Look into subfolders of folders.")
@click.option("--overwrite", is_flag=True, help="Write again what exists in the output folder.")
@place_options
@truncated_option
@click.option("--channel", type=Channel(), default="mix", metavar="CHANNEL", help="Which channel "
              "to transcribe: left, right, a number from 1 on, mix (the mean of all, the default), "
              "or each: telephone and interviews with one person a channel become one transcript "
              "with speakers in order of time.")
@click.option("--speakers", metavar="NAMES", help="Who speaks on which channel, such as Anna,Ben; "
              "for --channel each.")
@click.option("--paragraphs", is_flag=True, help="txt: paragraphs with an empty line between them, "
              "not one line an utterance.")
@click.option("--timings", is_flag=True, help="Say how long loading, features, model and decoder "
              "took.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line on stdout; failures "
              "as JSON lines on stderr.")
@click.option("--raw-csv", is_flag=True, help="tsv: leave cells that a spreadsheet would take for "
              "formulas as they are.")
@click.option("--characters", is_flag=True, help="json: with the times of characters, too.")
@decoder_options(nbest=True)
def transcribe(inputs: tuple[str, ...], bundle: str | None, formats: tuple[str, ...],
               outputs: tuple[str, ...], recursive: bool, overwrite: bool, knobs: dict,
               engine: str, cluster: Cluster | None, allow_truncated: bool, channel: int,
               speakers: str | None,
               paragraphs: bool, timings: bool, as_json: bool, raw_csv: bool,
               characters: bool) -> int:
    """Transcribe recordings: files, folders, glob patterns, addresses, or - for standard input.

    The first argument is taken as the model if it is an .asr file or a run directory; without one
    the shipped digits recogniser is used. Transcripts in an output folder are named after their
    recordings (talk.wav: talk.txt; if that is taken, folder-talk.txt). What exists is kept, so the
    same command goes on where an earlier one was stopped. Recordings of more than 10 minutes, up to
    a day, are processed in windows, in constant memory. Exit code 3: some recordings failed.

    \b
    Examples:
      asr transcribe talk.wav
      asr transcribe runs/mine talk.mp3 -o talk.srt
      asr transcribe runs/mine call.m4a --channel each -o call.srt -o call.docx
      asr transcribe runs/mine recordings -r -f txt -f json -o transcripts
    """  # noqa: D301 (click reads the backspace)
    if bundle is None and is_model(inputs[0]):
        bundle, inputs = inputs[0], inputs[1:]
    elif bundle is None:
        _refuse_missing_model(inputs)
    files, output_dir = _outputs(outputs)
    formats = _check_options(inputs, formats, files, output_dir, overwrite, as_json)
    odd = next((name for name in formats if name not in ("txt", "json")), None)
    if knobs.get("num_hypotheses", 1) > 1 and odd:
        raise UsageError(f"--nbest is shown by txt and json; {odd} has one reading. Leave out "
                         "one of them.")
    named = tuple(filter(None, map(str.strip, (speakers or "").split(","))))
    if named and channel != CHANNELS["each"]:
        raise UsageError("--speakers names the people on the channels. Give --channel each, too.")
    if twice := [name for name in named if named.count(name) > 1]:
        raise UsageError(f"--speakers names {twice[0]!r} twice; their words would be on one tier. "
                         f"Tell them apart: {twice[0]} 1,{twice[0]} 2.")

    from asr.fleet.worklist import OutputFolder, find_items, other_audio

    items, missing = find_items(inputs, recursive=recursive)
    if not outputs and formats[0] in ONE_FILE_FORMATS and len(items) > 1:
        raise UsageError(f"{plural(len(items), 'recording')} in {formats[0]} make no valid file "
                         "on standard output. Give --output-dir, or one recording at a time.")
    if files and len(items) > 1:
        raise UsageError(f"{plural(len(items), 'recording')} do not fit into the file {files[0]}. "
                         f"Give a folder, such as -o transcripts -f {formats[0]}.")
    for path in files:
        refuse_no_file(path, "-o")
        refuse_existing(path, overwrite, other="another -o")
    folder = None if output_dir is None else OutputFolder(
        output_dir, *(SUFFIXES[name] for name in formats))
    report = _Report(as_json, len(items) + len(missing))
    for error in missing:
        report.failure(error.as_record("find"))
    if others := other_audio(inputs, recursive=recursive):
        _say_left_alone(others, report)

    style = {"escape_cells": not raw_csv, "characters": characters, "paragraphs": paragraphs}

    def show(outcome: Outcome) -> None:
        if files:
            _save(outcome, files, formats, report, overwrite=overwrite, style=style)
        else:
            _show(outcome, formats[0], several=report.total > 1, style=style)

    try:
        with warnings_as_notices(report.notice):
            _run(items, folder, report, show if folder is None else None, bundle=bundle,
                 engine=engine, cluster=cluster, knobs=knobs, formats=formats, overwrite=overwrite,
                 timings=timings, style=style, loading={
                     "allow_truncated": allow_truncated, "channel": channel,
                     "speakers": named})
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


def _refuse_missing_model(inputs: tuple[str, ...]) -> None:
    """A first argument that is nothing at all may be a misspelt model: never use another one."""
    first = inputs[0]
    if len(inputs) > 1 and first != "-" and not os.path.lexists(first) \
            and not glob.has_magic(first) and not os.path.splitext(first)[1]:
        raise UsageError(f"{first} does not exist, so it is neither a recording nor a model. Check "
                         "the path; without a model, the shipped one is used.", path=first)


def _outputs(outputs: tuple[str, ...]) -> tuple[list[Path | Address], str | None]:
    """Files, by their endings, or a folder; both may be addresses."""
    files = [Address(name) if is_address(name) else Path(name) for name in outputs
             if _names_a_file(name)]
    if files and len(files) < len(outputs) or len(outputs) > 1 and not files:
        raise UsageError(f"-o {' -o '.join(outputs)}: give one folder, or files whose endings name "
                         f"formats ({', '.join(f'.{s}' for s in SUFFIXES.values())}).")
    for name in outputs[:1] if not files else ():
        if not scheme_of(name) and not os.path.isdir(name) and (
                mimetypes.MimeTypes(()).guess_type(name)[0] or is_model(name)):
            raise UsageError(f"-o {name}: transcripts have no such format. A file ends in "
                             f"{', '.join(f'.{s}' for s in SUFFIXES.values())}; a folder of this "
                             "name must be there already.", path=name)
    return files, None if files or not outputs else outputs[0]


def _names_a_file(output: str) -> bool:
    """Whether -o is a file; a bucket or folder may be called a.txt, too."""
    if scheme_of(output):
        from asr.audio.objects import check_address

        check_address(output)
        return bool(format_of(output)) and "/" in output.partition("://")[2]
    return bool(format_of(output)) and not os.path.isdir(output)


def _say_left_alone(others: dict[str, list[str]], report: _Report) -> None:
    """Some media files of each kind that are not taken; all of them with --json."""
    from asr.audio import display_name
    from asr.fleet.worklist import taken_suffixes

    kinds = [f"{len(paths):,} {suffix} ("
             f"{', '.join(display_name(os.path.basename(path)) for path in paths[:3])}"
             f"{', ...' * (len(paths) > 3)})" for suffix, paths in others.items()]
    bounded = any(len(paths) > 3 for paths in others.values())
    report.notice(f"Left alone: {', '.join(kinds)}{'; --json lists all' * bounded}. Taken from a "
                  f"folder are {', '.join(sorted(taken_suffixes()))}{_install(others)}; convert "
                  "the others: ffmpeg -i INPUT -ar 16000 -ac 1 OUTPUT.wav",
                  files=[display_name(path) for paths in others.values() for path in paths])


def _install(others: dict[str, list[str]]) -> str:
    """What reads more kinds of recordings, where that would help."""
    from asr.audio import av_decoder
    more = av_decoder.SUFFIXES
    return f"; {av_decoder.INSTALL} adds {', '.join(more)}" if set(others) & set(more) else ""


def _check_options(inputs: tuple[str, ...], formats: tuple[str, ...], files: list[Path | Address],
                   output_dir: str | None, overwrite: bool, as_json: bool) -> tuple[str, ...]:
    """The formats; options that contradict each other are an error before any work."""
    if not inputs:
        raise UsageError("There is nothing to transcribe after the bundle. Give a file, a folder, "
                         "a pattern, or - for standard input.")
    formats = tuple(dict.fromkeys(formats))
    if as_json and formats not in ((), ("json",)):
        raise UsageError(f"--json and --format {formats[0]} contradict each other. Give one.")
    if overwrite and output_dir is None and not files:
        raise UsageError("--overwrite is about files, but there is no --output-dir.")
    if files:
        named = tuple(format_of(path) or "" for path in files)
        if formats and set(formats) != set(named):
            raise UsageError(f"-f {' -f '.join(formats)} and -o {files[0]} contradict each other; "
                             "the ending of a file names its format.")
        return named
    if output_dir is None and (len(formats) > 1 or formats == ("docx",)):
        raise UsageError(f"{' and '.join(formats)} {'do' if formats[1:] else 'does'} not fit on "
                         "standard output. Give a folder or files: -o transcripts, or -o "
                         "talk.docx.")
    return ("json",) if as_json else formats or ("txt",)


def _run(items: list[Item], folder, report: _Report, show: Callable[[Outcome], None] | None, *,
         bundle: str | None, engine: str, cluster: Cluster | None, knobs: dict,
         formats: tuple[str, ...], overwrite: bool,
         timings: bool, style: dict[str, bool], loading: dict) -> None:
    if not items and bundle is None:
        return
    from asr.fleet.transcribe import Timings, transcribe_items, transcribe_to_folder
    from asr.recognizer import load

    recognizer = load(bundle, engine=engine)  # a wrong model comes before missing recordings
    if not items:
        return
    if cluster is not None and any(item.path is None for item in items):
        raise UsageError("Standard input is on this machine, not on the cluster. Give files, or "
                         "leave out --engine ray.")
    recognizer = with_knobs(recognizer, knobs)
    if not report.as_json:
        _say_if_compiling()
    spent = Timings()
    alone = len(items) == 1
    # On a terminal that shows the results themselves, a bar would only be in their way.
    wanted = alone or folder is not None or not sys.stdout.isatty()
    label = "Transcribing, seconds" if alone else "Transcribing"
    with count_on_stderr(label) if wanted else nullcontext() as progress:
        loading = loading | {"notice": report.notice, "progress": progress if alone else None}
        transcriber = partial(transcribe_items, recognizer)
        if cluster is not None:
            from asr.fleet.shards import transcribe_on

            transcriber = partial(transcribe_on, cluster, partial(
                open_recognizer, absolute(bundle), engine, knobs))
        if folder is None:
            outcomes = transcriber(items, spent, **loading)
        else:
            outcomes = transcribe_to_folder(recognizer, items, folder, formats, timings=spent,
                                            overwrite=overwrite, transcriber=transcriber, **style,
                                            **loading)
        for number, outcome in enumerate(outcomes, start=1):
            if outcome.error is not None:
                report.failure(outcome.record(), outcome.error)
            elif outcome.kept:
                report.kept += 1
            elif show is not None:
                show(outcome)
            report.rejection(outcome)
            if progress is not None and not alone:
                progress(number, len(items))
    if timings:
        report.timings(spent.to_dict())


def _say_if_compiling() -> None:
    """Explain the wait while a new machine compiles the kernels."""
    import asr.kernels
    from asr.kernels.jit import cache_folder, numba

    if numba is None:
        return
    folder = cache_folder(asr.kernels.__name__)
    if folder is None or next(folder.rglob("*.nbi"), None) is None:
        kept = "" if folder else " (no folder to keep them in can be written)"
        print(f"Compiling the kernels, once on this machine{kept}: about 10 seconds.",
              file=sys.stderr)


def _save(outcome: Outcome, files: list[Path | Address], formats: tuple[str, ...],
          report: _Report, *, overwrite: bool, style: dict[str, bool]) -> None:
    """One result in the files that were named."""
    from asr.fleet.output_places import write_file

    if outcome.transcript is None:
        return
    for path, format_ in zip(files, formats, strict=True):
        text = render(outcome.transcript, format_, outcome.item.name, **style)
        try:
            write_file(path, text, overwrite=overwrite)
        except OSError as error:
            report.failure({"path": str(path), "stage": "write", "code": "output.write",
                            "message": f"Cannot write {path}: {error.strerror}. Nothing was left "
                                       "there."})


def _show(outcome: Outcome, format_: str, *, several: bool, style: dict[str, bool]) -> None:
    """One result on stdout; a person's terminal gets no control characters."""
    if outcome.transcript is None:
        return
    name = outcome.item.name
    text = str(render(outcome.transcript, format_, name, **style))
    if format_ == "txt" and not style["paragraphs"]:
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

    def notice(self, sentence: str, **details: object) -> None:
        """A sentence; with --json, what it is about in full as well."""
        print(json.dumps({"notice": sentence, **details}) if self.as_json else sentence,
              file=sys.stderr, flush=True)

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
            print(f"{self.kept:,} of {self.total:,} transcripts existed and were kept; "
                  "--overwrite makes them again.", file=sys.stderr)
        if not self.failures:
            return EXIT_OK
        if not self.as_json:
            rows = [(plain(str(r["path"])), r["stage"], r["code"], plain(r["message"]))
                    for r in self.failures]
            widths = [max(len(row[i]) for row in rows) for i in range(3)]
            print(f"{len(rows)} of {plural(self.total, 'recording')} failed:", file=sys.stderr)
            for row in rows:
                cells = "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=False))
                print(f"  {cells}  {row[3]}", file=sys.stderr)
        return EXIT_SOME_FAILED
