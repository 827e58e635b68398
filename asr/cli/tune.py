"""`asr tune BUNDLE MANIFEST...`: arguments to `asr.tuning`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--lm", "lm_path", required=True, type=click.Path(path_type=Path),
              help="ARPA language model, plain or .gz (see asr lm train), or a KenLM binary.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="OUT.asr",
              help="Write the bundle with language model and winner; may be BUNDLE itself.")
@click.option("--audio-root", type=click.Path(path_type=Path), envvar="ASR_AUDIO_ROOT",
              help="Folder that holds the audio when it is not beside the manifest.")
@click.option("--allow-outside-root", is_flag=True, help="Accept audio anywhere.")
@click.option("--beam-width", default=32, show_default=True)
@click.option("--weights", default="", metavar="0,0.5,1", help="Grid of language model weights.")
@click.option("--bonuses", default="", metavar="-1,0,1", help="Grid of word bonuses, nats.")
@click.option("--lexicon-only", is_flag=True, help="Read only words of the language model.")
@click.option("--plot", type=click.Path(path_type=Path), metavar="OUT.svg",
              help="Draw the error surface.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def tune(bundle: Path, manifests: tuple[Path, ...], lm_path: Path, output: Path | None,
         audio_root: Path | None, allow_outside_root: bool, beam_width: int, weights: str,
         bonuses: str, lexicon_only: bool, plot: Path | None, as_json: bool) -> None:
    """Find the weight of a language model on development data; never on a test set.

    The network runs once; weight, word bonus and beam are then swept on its output. A bundle is
    written only where the gain is more than chance.

    \b
    Example:
      asr tune runs/english/best.asr data/dev.jsonl --lm lm.arpa.gz -o english-lm.asr
    """  # noqa: D301 (click reads the backspace)
    from asr.cli.progress import count_on_stderr
    from asr.decoding import load_ngram
    from asr.decoding.packed import refuse_kenlm
    from asr.files import write_atomic
    from asr.manifest import read_manifest
    from asr.recognizer import load
    from asr.tuning import BONUSES, WEIGHTS, read_dev_set
    from asr.tuning import tune as search
    from asr.tuning_plot import surface

    grids = _grid(weights, "--weights", WEIGHTS), _grid(bonuses, "--bonuses", BONUSES)
    if output:
        refuse_kenlm(lm_path)
    utterances = [u for path in manifests for u in
                  read_manifest(path, audio_root=audio_root, allow_outside_root=allow_outside_root)]
    model = load_ngram(lm_path)
    recognizer = load(bundle)
    with count_on_stderr("reading") as progress:
        dev = read_dev_set(recognizer, utterances, progress=progress)
    with count_on_stderr("tuning", unit="points") as progress:
        result = search(recognizer, dev, model, str(lm_path), beam_width=beam_width,
                        weights=grids[0], bonuses=grids[1], lexicon_only=lexicon_only,
                        progress=progress)
    if plot:
        write_atomic(plot, surface(result))
    if as_json:
        print(json.dumps({**result.to_dict(), "points": [vars(p) for p in result.points]},
                         ensure_ascii=False, indent=1))
    else:
        for line in _lines(result):
            print(line)
    if output and result.helps:
        training = {**recognizer.bundle.training, "tuning": result.to_dict()}
        recognizer.bundle.save(output, decoder=result.settings, lm=None, training=training)
        print(f"Wrote {output}.", file=sys.stderr)
    elif output:
        print(f"{output} is not written: the gain is within chance.", file=sys.stderr)


def _grid(text: str, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    from asr.errors import UsageError

    try:
        return tuple(float(number) for number in text.split(",")) if text else default
    except ValueError:
        raise UsageError(f"{name} {text!r}: write rising numbers with commas.") from None


def _lines(result) -> list[str]:
    """The result for people."""
    best, gain = result.best, result.gain
    lines = ["   WER %  bonus " + "".join(f"{bonus:>8g}" for bonus in _values(result, "bonus"))]
    for weight in _values(result, "weight"):
        row = {p.word_bonus: p.wer for p in result.points
               if p.lm_weight == weight and p.beam_width == result.points[0].beam_width}
        lines.append(f"weight {weight:<7g}" + " " + "".join(
            f"{100 * row[bonus]:8.2f}" if bonus in row else " " * 8
            for bonus in _values(result, "bonus")))
    lines.append(f"greedy {100 * result.greedy_wer:.2f} %; best {100 * best.wer:.2f} % at "
                 f"lm_weight {best.lm_weight:g}, word_bonus {best.word_bonus:g}, beam_width "
                 f"{best.beam_width}")
    relative = 1 - best.wer / result.greedy_wer if result.greedy_wer else 0.0
    lines.append(f"gain {100 * (result.greedy_wer - best.wer):.2f} points ({relative:.0%} "
                 f"relative), 95 % interval {100 * gain.low:.2f} .. {100 * gain.high:.2f} over "
                 f"{gain.clusters} {gain.unit}s")
    return [*lines, *result.notes]


def _values(result, name: str) -> list[float]:
    return sorted({getattr(p, {"weight": "lm_weight", "bonus": "word_bonus"}[name])
                   for p in result.points})
