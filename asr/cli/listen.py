"""`asr listen`: a microphone becomes text while one speaks.

In: argv. Out: a line an utterance on stdout; on a terminal the text so far on stderr; at the end,
if wanted, a file.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asr.cli.decoding import decoder_options, engine_option, with_knobs
from asr.cli.inputs import truncated_option
from asr.cli.output_paths import OUTPUT, refuse_existing, refuse_no_file
from asr.cli.transcribe import is_model
from asr.errors import EXIT_INTERRUPTED, EXIT_OK, AudioError, UsageError
from asr.files import write_atomic
from asr.terminal import own_controls
from asr.transcript import FORMATS, SUFFIXES, Transcript, format_of, plain, render

if TYPE_CHECKING:
    import numpy as np

    from asr.live import Stream

FILE_PIECE = 0.1  # seconds of a recording at a time


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("inputs", nargs=-1, metavar="[BUNDLE] [RECORDING]")
@click.option("-o", "--output", type=OUTPUT, metavar="FILE", help="At the end, "
              "also write all of it to this file; its ending names the format, such as talk.srt.")
@click.option("-f", "--format", "format_", type=click.Choice(list(FORMATS)), help="Format of that "
              "file. Default: what its ending says.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object an utterance on stdout.")
@click.option("--overwrite", is_flag=True, help="Replace the file of -o.")
@click.option("--device", metavar="DEVICE", help="Number or part of the name of the microphone.")
@click.option("--list-devices", is_flag=True, help="Show the microphones of this machine, and end.")
@click.option("--seconds", type=click.FloatRange(0, min_open=True), metavar="S",
              help="End after this time. Default: at Ctrl-C.")
@click.option("--end-pause", type=click.FloatRange(0.1, 60), default=0.8, show_default=True,
              metavar="S", help="A pause of this length ends an utterance.")
@click.option("--right-context", type=click.FloatRange(0, 10), default=0.6, show_default=True,
              metavar="S", help="How much is read beyond a word before its text is kept: more is "
              "more accurate, and later.")
@click.option("--max-lag", type=click.FloatRange(0.3), default=math.inf,
              show_default=True, metavar="S", help="Words that ended so long ago never change; "
              "inf: only those before a pause.")
@truncated_option
@engine_option
@decoder_options
def listen(inputs: tuple[str, ...], output: Path | None, format_: str | None, as_json: bool,
           overwrite: bool, device: str | None, list_devices: bool, seconds: float | None,
           end_pause: float, right_context: float, max_lag: float, allow_truncated: bool,
           engine: str, knobs: dict) -> int:
    """Transcribe a microphone while you speak.

    BUNDLE is an .asr file or a run directory; without one the shipped digits recogniser is used.
    RECORDING is read in place of the microphone, as if it were spoken now. Each utterance is a line
    on stdout; on a terminal the text so far is shown below. Ctrl-C ends it, after what was said has
    been written.

    \b
    Examples:
      asr listen
      asr listen runs/mine -o talk.srt
      asr listen runs/mine talk.wav --json
    """  # noqa: D301 (click reads the backspace)
    if list_devices:
        from asr.audio.microphone import microphones

        print("\n".join(microphones()) or "No microphone here.")
        return EXIT_OK
    bundle, recording = _model_and_recording(inputs)
    format_ = _check_output(output, format_, overwrite)
    from asr.recognizer import load

    recognizer = with_knobs(load(bundle, engine=engine), knobs)
    rate, pieces = _pieces(recording, device, recognizer.sample_rate, allow_truncated)
    stream = recognizer.stream(sample_rate=rate, end_pause=end_pause, right_context=right_context,
                               max_lag=max_lag)
    shown = _Shown(as_json)
    code, failure = EXIT_OK, None
    with closing(pieces):
        try:
            if recording is None:
                print(f"Listening at {rate:,} Hz; Ctrl-C ends it.", file=sys.stderr)
            _read(stream, pieces, shown, seconds)
        except KeyboardInterrupt:
            code = EXIT_OK if recording is None else EXIT_INTERRUPTED
        except AudioError as error:  # an unplugged microphone; what was said is written
            failure = error
    shown.finals(stream.finish())
    shown.close()
    if output is not None:
        whole = joined(shown.utterances, stream.seconds)
        write_atomic(output, render(whole, format_, output.stem),
                     overwrite=overwrite)
    if failure is not None:
        raise failure
    return code


def _model_and_recording(inputs: tuple[str, ...]) -> tuple[str | None, str | None]:
    bundle = inputs[0] if inputs and is_model(inputs[0]) else None
    rest = inputs[bundle is not None:]
    if len(rest) > 1:
        raise UsageError(f"asr listen reads one recording, not {len(rest)}. For several: asr "
                         "transcribe")
    if rest and not Path(rest[0]).is_file():
        raise UsageError(f"{rest[0]} is neither a model nor a recording.", path=rest[0])
    return bundle, rest[0] if rest else None


def _check_output(path: Path | None, format_: str | None, overwrite: bool) -> str:
    """The format of the file; "" without one."""
    if path is None:
        if format_ or overwrite:
            raise UsageError("-f and --overwrite are about a file; name it: -o talk.srt")
        return ""
    found = format_ or format_of(path)
    if found is None:
        raise UsageError(f"No format has the ending of {path.name}; use one of "
                         f"{', '.join(f'.{suffix}' for suffix in SUFFIXES.values())}, or -f.")
    refuse_no_file(path, "-o")
    refuse_existing(path, overwrite, other="another -o")
    return found


def _pieces(recording: str | None, device: str | None, rate: int, allow_truncated: bool
            ) -> tuple[int, Generator[np.ndarray]]:
    if recording is None:
        from asr.audio.microphone import listen as microphone

        return microphone(int(device) if device and device.isdecimal() else device)
    from asr.audio import load_audio

    audio = load_audio(recording, sample_rate=rate, allow_truncated=allow_truncated)
    size = round(FILE_PIECE * rate)
    return rate, (audio[at:at + size] for at in range(0, len(audio), size))


def _read(stream: Stream, pieces: Iterator[np.ndarray], shown: _Shown,
          seconds: float | None) -> None:
    for piece in pieces:
        shown.finals(stream.feed(piece))
        shown.partial(stream.partial().text)
        if seconds is not None and stream.seconds >= seconds:
            return


def joined(utterances: list[Transcript], seconds: float) -> Transcript:
    """All utterances as one transcript; its confidence is the mean, weighted by words."""
    words = tuple(word for one in utterances for word in one.words)
    confidence = sum(one.confidence * len(one.words) for one in utterances) / max(1, len(words))
    return Transcript(" ".join(one.text for one in utterances if one.text),
                      sum(one.score for one in utterances), words, confidence,
                      max([seconds, *(one.duration for one in utterances)]),
                      tuple(one for part in utterances for one in part.characters))


class _Shown:
    """Finals on stdout; on a terminal the text so far on stderr, in place."""

    def __init__(self, as_json: bool):
        self.utterances: list[Transcript] = []
        self._json = as_json
        self._terminal = own_controls(sys.stderr) if sys.stderr.isatty() else None
        self._open = ""

    def finals(self, finals: list[Transcript]) -> None:
        for final in finals:
            self.partial("")
            self.utterances.append(final)
            print(json.dumps(final.to_dict(), ensure_ascii=False) if self._json
                  else plain(final.text), flush=True)

    def partial(self, text: str) -> None:
        if self._terminal is None or text == self._open:
            return
        self._open = text
        width = shutil.get_terminal_size().columns - 1
        self._terminal.write("\r\x1b[K" + plain(text)[-width:])
        self._terminal.flush()

    def close(self) -> None:
        self.partial("")
