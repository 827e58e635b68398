"""`asr prepare noise`: sounds without speech become utterances with an empty text.

In: arguments. Out: OUT/train.jsonl and OUT/pieces/*.flac, with --made also OUT/made/*.flac.
"""

from __future__ import annotations

from pathlib import Path

import click

from asr.cli.next_step import typed
from asr.cli.output_paths import OUTPUT, refuse_any_existing
from asr.errors import EXIT_OK, UsageError
from asr.terminal import plural


@click.command("noise", short_help="Noises, cut into pieces in which nothing is said", epilog="""\b
Examples:
  asr prepare noise ../shared/data/noise-esc10 data/noise --names '[1-4]-*'
  asr prepare noise data/made-noise --made 100
""")
@click.argument("paths", metavar="[SRC] OUT", nargs=-1, type=click.Path(path_type=Path))
@click.option("--made", type=click.IntRange(1), metavar="N", help="Instead of SRC: make N sounds "
              "of 5 s, such as hum, knocks and music.")
@click.option("--names", default="*", show_default=True, metavar="PATTERN", help="The recordings "
              "whose file names fit, such as '[1-4]-*'.")
@click.option("--pieces", type=click.IntRange(0), default=0, show_default=True, help="How many; 0: "
              "together as long as the recordings.")
@click.option("--seconds", type=float, nargs=2, default=(0.5, 4.0), show_default=True,
              metavar="SHORTEST LONGEST", help="Lengths of the pieces.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of "
              "sounds, lengths and places.")
@click.option("--allow-truncated", is_flag=True, help="Use what is left of a cut recording.")
@click.option("--overwrite", is_flag=True, help="Replace OUT/train.jsonl, its pieces, and "
              "what --made has made.")
def noise(paths: tuple[Path, ...], made: int | None, names: str, pieces: int,
          seconds: tuple[float, float], seed: int, allow_truncated: bool, overwrite: bool) -> int:
    """Cut the recordings without speech in SRC into pieces in OUT/pieces, with a manifest.

    Each rises from silence and ends in it; digital silence is left out. Their text is empty. With
    data.non_speech = true in a recipe, they teach the network to read nothing where nothing is
    said. asr audit --silence --noise OUT/train.jsonl counts the words that a model writes on them.
    """
    from asr.augment import noise_files
    from asr.manifest import write_manifest
    from asr.voices.noises import cut_pieces, make_noises

    if len(paths) != 2 - bool(made):
        raise UsageError("asr prepare noise needs SRC, a folder of recordings, and OUT; or OUT and "
                         f"--made N. Got {plural(len(paths), 'path')}.")
    out = OUTPUT.convert(str(paths[-1]), None, None)
    manifest = out / "train.jsonl"
    refuse_any_existing([manifest, out / "pieces", *([out / "made"] if made else [])], overwrite)
    if made:
        if names != "*":
            raise UsageError("--names chooses recordings of SRC; leave it out with --made.")
        recordings = make_noises(out / "made", seed, made, keep=False)
    elif not paths[0].is_dir():
        raise UsageError(f"{paths[0]} is no folder; give one with recordings.", path=paths[0])
    else:
        recordings = noise_files(paths[0], names)
        own = (out / "pieces").resolve()
        if inside := [path for path in recordings if path.resolve().is_relative_to(own)]:
            raise UsageError(f"{inside[0]} lies in SRC and in OUT/pieces, which is replaced; name "
                             "an OUT outside SRC, or choose with --names.", path=inside[0])
    rows = cut_pieces(recordings, out / "pieces", pieces, seconds=seconds, seed=seed,
                      allow_truncated=allow_truncated)
    write_manifest(manifest, rows)
    click.echo(f"{manifest}: {plural(len(rows), 'piece')} of "
               f"{plural(len({u.speaker for u in rows}), 'recording')}, "
               f"{sum(u.duration for u in rows) / 3_600:.2f} h", err=True)
    audit = typed("asr", "audit", "TEST.jsonl", "--bundle", "MODEL.asr", "--silence", "--noise",
                  manifest)
    click.echo(f"Next: add it to data.train of a recipe, with data.non_speech = true; {audit} "
               "counts the words that it writes on them.", err=True)
    return EXIT_OK
