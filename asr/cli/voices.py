"""`asr prepare voices`: texts become recordings in synthesised voices, with manifests.

In: arguments. Out: OUT/train.jsonl, OUT/valid.jsonl, OUT/<voice>/*.flac and OUT/voices.json.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from asr.cli.output_paths import OUTPUT
from asr.cli.progress import count_on_stderr
from asr.errors import EXIT_OK, UsageError
from asr.parsing import read_limited
from asr.terminal import plural

SUMMARY = "Texts read by synthesised voices"


@click.command("voices", short_help=SUMMARY, epilog="""\b
Examples:
  asr prepare voices --list
  asr prepare voices --check --voices kokoro --voices programs
  apt install $(asr prepare voices --packages --voices programs)
  asr prepare voices texts.txt data/voices --voices programs --voices hibari
  asr prepare voices texts.txt data/voices --voices kokoro --kokoro MODEL.onnx VOICES.npz
""")
@click.argument("texts", type=click.Path(path_type=Path), required=False)
@click.argument("out", type=OUTPUT, required=False)
@click.option("--voices", "names", multiple=True, help="A set such as hibari or kokoro, the id of "
              "a voice, or a file with an id a line; may be repeated. Without it: all that this "
              "machine has.")
@click.option("--kokoro", type=click.Path(), nargs=2, metavar="MODEL VOICES", help="Kokoro's ONNX "
              "model and its voices; otherwise $KOKORO_MODEL and $KOKORO_VOICES.")
@click.option("--every-voice", "num_always", type=click.IntRange(0), default=0, show_default=True,
              metavar="N", help="Each voice says the first N lines of TEXTS.")
@click.option("--texts-per-voice", type=click.IntRange(0), default=40, show_default=True,
              metavar="N", help="And so many of the other lines, drawn at random.")
@click.option("--valid-every", type=click.IntRange(2), default=10, show_default=True, metavar="N",
              help="Each N-th voice goes to valid.jsonl, with all it says.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of which "
              "voice says what.")
@click.option("--jobs", type=click.IntRange(1), default=2, show_default=True, help="Texts "
              "synthesised at once.")
@click.option("--packages", is_flag=True, help="Print the Debian packages of the voices, and "
              "stop.")
@click.option("--check", is_flag=True, help="Let one voice of each engine speak, and stop: says "
              "what is not installed.")
@click.option("--list", "only_list", is_flag=True, help="Print the ids of the voices, and stop.")
def voices(texts: Path | None, out: Path | None, names: tuple[str, ...],
           kokoro: tuple[str, str] | None, num_always: int, texts_per_voice: int,
           valid_every: int, seed: int, jobs: int, packages: bool, check: bool,
           only_list: bool) -> int:
    """Have synthesised voices read TEXTS, one a line; OUT gets recordings and manifests.

    After an interruption the same command goes on where it stopped. OUT/voices.json lists
    settings, voices and the licences of the engines.
    """
    from asr import voices as room
    from asr.voices.corpus import prepare, try_engines
    from asr.voices.kokoro import MODEL, VOICES

    if kokoro:
        os.environ[MODEL], os.environ[VOICES] = map(os.path.abspath, kokoro)
    chosen = room.voices_named(names) if names else room.available_voices()
    if packages:
        click.echo(" ".join(room.packages_of(chosen)))
        return EXIT_OK
    if check:
        try_engines(chosen)
        engines = sorted({voice.engine for voice in chosen})
        click.echo(f"{plural(len(chosen), 'voice')} can speak: {', '.join(engines)}.", err=True)
        return EXIT_OK
    if only_list:
        for voice in chosen:
            click.echo(voice.id)
        click.echo(f"{plural(len(chosen), 'voice')}; sets: {', '.join(room.SETS)}; engines here: "
                   f"{', '.join(room.available_engines()) or 'none'}.", err=True)
        return EXIT_OK
    if texts is None or out is None:
        raise UsageError("asr prepare voices needs TEXTS, a file with a text a line, and OUT, a "
                         "folder; or --list.")
    lines = _lines(texts)
    if num_always > len(lines):
        raise UsageError(f"--every-voice is {num_always}, but {texts} has "
                         f"{plural(len(lines), 'text')}.")
    with count_on_stderr("Synthesising", piped=True) as show:
        splits = prepare(out, lines[num_always:], chosen, seed=seed, always=lines[:num_always],
                         texts_per_voice=texts_per_voice, valid_every=valid_every, jobs=jobs,
                         progress=show)
    for split, rows in splits.items():
        click.echo(f"{out / split}.jsonl: {plural(len(rows), 'utterance')} of "
                   f"{plural(len({u.speaker for u in rows}), 'voice')}, "
                   f"{sum(u.duration for u in rows) / 3_600:.2f} h", err=True)
    licences = sorted({room.ENGINES[voice.engine].licence for voice in chosen})
    click.echo(f"Licences, for the model card: {'; '.join(licences)}.", err=True)
    return EXIT_OK


MAX_TEXTS = 1 << 28  # bytes of a file of texts to be spoken


def _lines(path: Path) -> list[str]:
    """The texts of a file, each once, with single spaces."""
    try:
        content = read_limited(path, MAX_TEXTS).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"Cannot read the texts {path}: {error.strerror}. Give a file with a "
                         "text a line.", path=path) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 ({error}); save it as UTF-8.", path=path) from error
    lines = [" ".join(line.split()) for line in content.splitlines()]
    texts = list(dict.fromkeys(line for line in lines if line))
    if not texts:
        raise UsageError(f"{path} holds no text; give a file with a text a line.", path=path)
    return texts
