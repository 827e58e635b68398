"""`asr recipe [SECTION.KEY]`: every setting of a recipe; `--diff A B` compares two."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator
from pathlib import Path

import click

from asr.errors import EXIT_OK, UsageError
from asr.recipe import Recipe, load_recipe, recipe_to_dict
from asr.settings import to_toml

# What a person who is not sure should do; the other settings speak for themselves.
ADVICE = {
    "seed": "Train with two or three seeds before you believe a small difference.",
    "data.train": "Never the test set, and no speaker of it.",
    "data.valid": "At least 30 utterances of speakers that training does not have; with "
                  "data.non_speech also sounds that it does not have.",
    "data.batch_frames": "8,000 is 80 s of audio. Lower it if memory does not suffice; small data "
                         "learn better with small batches (2,000).",
    "data.max_seconds": "Raise it to keep long utterances; memory grows with it.",
    "data.non_speech": "true where data.train has sounds of asr prepare noise; give training long "
                       "pauses, too: augment.pad_max = 1.0, augment.concat_gap_max = 1.5.",
    "text.normalizer": "basic for most languages; marks where ' or : are letters; none to keep "
                       "capitals and punctuation.",
    "text.alphabet": "Leave it empty to take the characters of the training texts; write it down "
                     "for a model that must not depend on them.",
    "features.sample_rate": "16,000; 8,000 for telephone speech. Never more than the recordings "
                            "have.",
    "features.n_mels": "40 for small networks, 80 for many hours.",
    "features.cmvn": "utterance for sentences, map for single words.",
    "augment.speeds": "[0.9, 1.0, 1.1] helps below 100 hours.",
    "augment.warp": "0.1; 0.2 where there are few speakers.",
    "augment.freq_masks": "2, with a width of a fifth of features.n_mels.",
    "augment.time_masks": "2, with time_mask_fraction = 0.15.",
    "augment.noise_dir": "Recordings of the places where the model is to be used.",
    "augment.pad_max": "0.3 where the clips are cut close and recordings will not be; 1.0 with "
                       "data.non_speech.",
    "augment.concat_max": "5 where the clips are single words and sentences are to be recognised.",
    "model.subsampling": "3; lower it if `asr validate` finds texts that are too long.",
    "model.edge_frames": "0.1 s where the clips are cut close.",
    "model.num_layers": "3 for 1 to 30 hours, 4 or 5 for more.",
    "model.units": "192 for 1 to 8 hours, 256 for 30, 320 for 100, 512 for more.",
    "model.dropout": "0.3 below 3 hours, 0.2 below 30, 0.1 above.",
    "model.layer_norm": "true with two layers or more.",
    "train.epochs": "30 to 50 for a few hours; see the learning curve of the report.",
    "train.learning_rate": "4e-3 for 128 units, 2e-3 for 256, 1e-3 for 512. Halve it if the loss "
                           "jumps.",
    "train.devices": "all on a machine with several GPUs; raise data.batch_frames with them.",
    "train.scale_learning_rate": "none while data.batch_frames is that of one device; sqrt if you "
                                 "multiply it by the number of devices.",
    "train.lost_after": "More than the slowest epoch's pause: reading the validation set, saving.",
    "train.ema": "0.998 with thousands of steps, 0.99 with hundreds.",
    "train.intermediate_ctc": "0.3 with three layers or more.",
    "train.chunk_probability": "0.5 for a model that `asr listen` or `asr serve` is to run; see "
                               "docs/live.md.",
    "train.initial_bundle": "A model of a similar language with the same [features] and [model].",
    "train.freeze": "The lower LSTM layers when there are only minutes of speech.",
    "train.slow": "[\"lstm_0:0.1\"] where freezing keeps too much.",
    "train.mixed_precision": "bfloat16 on a GPU that has it; nothing on a CPU.",
    "decoder.warps": "[0.9, 1.1] for people who are unlike those of training; `asr tune --warps` "
                     "says whether it helps, and sets warp_below.",
    "decoder.max_pause": "0.6 for sentences, 0.4 for single words: recordings with seconds of "
                         "quiet in them are read as the utterances of training were.",
    "decoder.kind": "greedy to train with; lexicon for a closed list of words; beam with a "
                    "language model, which `asr tune` weighs.",
}


@click.command()
@click.argument("setting", required=False)
@click.option("--diff", nargs=2, type=click.Path(path_type=Path), metavar="A B", default=None,
              help="Which settings of two recipes differ, defaults included.")
def recipe(setting: str | None, diff: tuple[Path, Path] | None) -> int:
    """Explain a SETTING of recipes: meaning, default, bounds, advice.

    SETTING is section.key, a section, or nothing for all of them.

    \b
    Examples:
      asr recipe model.units
      asr recipe augment
      asr recipe --diff recipes/tones.toml recipes/german.toml
    """  # noqa: D301 (click reads the backspace)
    if diff:
        if setting:
            raise UsageError(f"--diff compares two recipes; {setting!r} is one argument too many.")
        _diff(*diff)
        return EXIT_OK
    known = dict(_settings())
    if setting in known:
        click.echo("\n".join(_explained(setting, known[setting])))
        return EXIT_OK
    chosen = {name: spec for name, spec in known.items()
              if setting is None or name.startswith(f"{setting}.")}
    if not chosen:
        close = difflib.get_close_matches(setting or "", known, n=1, cutoff=0.4)
        raise UsageError(f"There is no setting {setting!r}."
                         f"{f' Did you mean {close[0]}?' if close else ''} `asr recipe` lists all.")
    width = max(map(len, chosen))
    section = None
    for name, spec in chosen.items():
        if name.rpartition(".")[0] != section:
            section = name.rpartition(".")[0]
            click.echo(f"\n[{section}]" if section else "")
        click.echo(f"{name:<{width}}  {_default(spec):<14}  {spec.metadata['help']}")
    click.echo("\nMore about one: asr recipe model.units", err=True)
    return EXIT_OK


def _settings() -> Iterator[tuple[str, dataclasses.Field]]:
    for section in dataclasses.fields(Recipe):
        if section.metadata:
            yield section.name, section
            continue
        settings = type(getattr(Recipe(), section.name))
        for spec in dataclasses.fields(settings):
            yield f"{section.name}.{spec.name}", spec


def _default(spec: dataclasses.Field) -> str:
    return to_toml(list(spec.default) if isinstance(spec.default, tuple) else spec.default)


def _explained(name: str, spec: dataclasses.Field) -> list[str]:
    low, high, choices = (spec.metadata[key] for key in ("low", "high", "choices"))
    lines = [f"{name} = {_default(spec)}", f"  Meaning: {spec.metadata['help']}."]
    if choices:
        lines.append(f"  One of: {', '.join(choice or '(empty)' for choice in choices)}.")
    elif low is not None or high is not None:
        lines.append(f"  Between {low} and {high}.")
    if name in ADVICE:
        lines.append(f"  Advice: {ADVICE[name]}")
    lines.append(f"  Set it: asr train RECIPE RUN --set {name}=VALUE, or in the recipe.")
    return lines


def _diff(one: Path, other: Path) -> None:
    first, second = (dict(_flat(recipe_to_dict(load_recipe(path)))) for path in (one, other))
    names = [name for name in first if first[name] != second[name]]
    if not names:
        click.echo("The recipes have the same settings.")
        return
    width = max(map(len, names))
    for name in names:
        click.echo(f"{name:<{width}}  {to_toml(first[name])}  ->  {to_toml(second[name])}")


def _flat(table: dict) -> Iterator[tuple[str, object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{name}", item) for name, item in value.items())
        else:
            yield key, value
