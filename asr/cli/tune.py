"""`asr tune BUNDLE MANIFEST...`: arguments to `asr.tuning`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from asr.cli.inputs import audio_root_option, outside_root_option, truncated_option
from asr.cli.output_paths import OUTPUT, refuse_existing, refuse_no_file
from asr.terminal import plural

if TYPE_CHECKING:
    from asr.recognizer import Recognizer
    from asr.tuning import DevSet, Tuning
    from asr.tuning.hot_words import HotTuning


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--lm", "lm_path", type=click.Path(path_type=Path),
              help="Find the weight of this language model: ARPA, plain or .gz (see asr lm train), "
              "or a KenLM binary.")
@click.option("--hot-words", "words_path", type=click.Path(path_type=Path), metavar="LIST.txt",
              help="Find the boost of these phrases, one a line.")
@click.option("--confidence", is_flag=True,
              help="Make word confidences of the bundle's decoder probabilities.")
@click.option("--refusal", is_flag=True,
              help="Find beyond which misfit the bundle's grammar refuses a recording.")
@click.option("--warps", metavar="FACTORS", help="Choose among these factors on the frequency "
              "axis, such as 0.9,1.1, and find where that pays.")
@click.option("--grammar", type=click.Path(path_type=Path), metavar="FILE",
              help="With --refusal: this grammar, and not the bundle's.")
@click.option("--false-accepts", type=click.FloatRange(min=0), default=1.0, show_default=True,
              help="With --refusal: how often an hour other speech may be taken for a sentence.")
@click.option("-o", "--output", type=OUTPUT, metavar="OUT.asr",
              help="Write the bundle with the winner; may be BUNDLE itself.")
@click.option("--overwrite", is_flag=True, help="Replace OUT.asr, or the plot, if it exists.")
@audio_root_option
@outside_root_option
@truncated_option
@click.option("--beam-width", type=click.IntRange(min=1), help="Prefixes kept. [default: 32 with "
              "--lm, the bundle's with --hot-words]")
@click.option("--weights", default="", metavar="0,0.5,1", help="Grid of language model weights.")
@click.option("--bonuses", default="", metavar="-1,0,1", help="Grid of word bonuses, nats.")
@click.option("--boosts", default="", metavar="0.5,1,2",
              help="Grid of boosts, nats per character.")
@click.option("--lexicon-only", is_flag=True, help="Read only words of the language model.")
@click.option("--plot", type=OUTPUT, metavar="OUT.svg",
              help="Draw the error surface of --lm, or the trade-off of --refusal.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def tune(bundle: Path, manifests: tuple[Path, ...], lm_path: Path | None, words_path: Path | None,
         confidence: bool, refusal: bool, warps: str | None, grammar: Path | None,
         false_accepts: float, output: Path | None, overwrite: bool, audio_root: Path | None,
         allow_outside_root: bool, allow_truncated: bool, beam_width: int | None, weights: str,
         bonuses: str, boosts: str, lexicon_only: bool, plot: Path | None, as_json: bool) -> None:
    """Tune a language model's weight, hot words, confidences, refusing, or frequency warps.

    Never on a test set. The network runs once; all that is tuned is then swept on its output. A
    bundle is written only where the gain is more than chance (--confidence: where the calibration
    error falls). Calibrate last: another decoder needs its own calibration.

    For --refusal the manifests hold sentences of the grammar, and other speech: utterances whose
    text the grammar does not hold.

    \b
    Examples:
      asr tune runs/english/best.asr data/dev.jsonl --lm lm.arpa.gz -o english-lm.asr
      asr tune english-lm.asr data/dev.jsonl --hot-words names.txt -o english-names.asr
      asr tune english-lm.asr data/dev.jsonl --confidence -o english-lm.asr
      asr tune robot.asr phrases.jsonl other.jsonl --refusal -o robot.asr
      asr tune runs/digits/best.asr data/dev.jsonl --warps 0.9,1.1 -o digits-warps.asr
    """  # noqa: D301 (click reads the backspace)
    from asr.cli.progress import count_on_stderr
    from asr.errors import UsageError
    from asr.language_model.packed_ngram import refuse_kenlm
    from asr.manifest import read_manifest
    from asr.recognizer import load
    from asr.tuning import BONUSES, WEIGHTS, read_dev_set

    if sum(map(bool, (lm_path, words_path, confidence, refusal, warps))) != 1:
        raise UsageError("Give what is to be tuned, one thing at a time: --lm FILE, --hot-words "
                         "LIST, --confidence, --refusal or --warps FACTORS; each on top of the "
                         "bundle that the one before wrote with -o.")
    if grammar is not None and not refusal:
        raise UsageError("--grammar belongs to --refusal.")
    _refuse_places(bundle, output, plot, overwrite)
    if lm_path is not None and output:
        refuse_kenlm(lm_path)
    grids = _grid(weights, "--weights", WEIGHTS), _grid(bonuses, "--bonuses", BONUSES)
    utterances = [u for path in manifests for u in
                  read_manifest(path, audio_root=audio_root, allow_outside_root=allow_outside_root)]
    recognizer = load(bundle)
    if grammar is not None:
        from asr.cli.decoding import grammar_text
        recognizer = recognizer.with_decoder(kind="beam", grammar=grammar_text(str(grammar)))

    if warps:
        from asr.cli.decoding import factors_of
        from asr.cli.tune_warps import tune_warps
        tune_warps(recognizer, utterances, factors_of(warps), allow_truncated, output, as_json)
        return

    def dev_set() -> DevSet:
        with count_on_stderr("reading", piped=True) as progress:
            return read_dev_set(recognizer, utterances, allow_truncated=allow_truncated,
                                progress=progress)

    if confidence:
        from asr.cli.tune_confidence import tune_confidence
        tune_confidence(recognizer, dev_set(), output, as_json)
        return
    if refusal:
        from asr.cli.tune_refusal import tune_refusal
        tune_refusal(recognizer, dev_set(), [u.duration for u in utterances], false_accepts,
                     output, plot, as_json)
        return
    result: Tuning | HotTuning
    if lm_path is not None:
        result = _tune_lm(recognizer, dev_set, lm_path, beam_width or 32, grids, lexicon_only, plot)
        lines = _lm_lines(result)
        table = {**result.to_dict(), "points": [vars(p) for p in result.points]}
    else:
        result = _tune_hot_words(recognizer, dev_set, words_path, beam_width, boosts)
        lines = _hot_lines(result)
        table = {**result.to_dict(), "tried": {f"{boost:g}": counts.to_dict()
                                               for boost, counts in result.tried.items()}}
    if output and result.helps:  # before stdout, whose reader may be gone
        name = "tuning" if lm_path is not None else "hot_words"
        training = {**recognizer.bundle.training, name: result.to_dict()}
        changes: dict[str, Any] = {"decoder": result.settings, "training": training}
        if lm_path is not None:
            changes["lm"] = None  # the file that the settings name is packed
        recognizer.bundle.save(output, **changes)
    print(json.dumps(table, ensure_ascii=False, indent=1) if as_json else "\n".join(lines))
    if output and result.helps:
        print(f"Wrote {output}.", file=sys.stderr)
    elif output:
        print(f"{output} is not written: the gain is within chance.", file=sys.stderr)


def _refuse_places(bundle: Path, output: Path | None, plot: Path | None, overwrite: bool) -> None:
    """Refuse outputs that would be lost or cannot be written, before the work."""
    from asr.bundle.find import find_bundle

    for name, path in (("--output", output), ("--plot", plot)):
        if path is None:
            continue
        refuse_no_file(path, name)
        refuse_existing(path, overwrite or (path is output and path.exists()
                                            and path.samefile(find_bundle(bundle))),
                        other=f"another {name}")


def _tune_lm(recognizer: Recognizer, dev_set, lm_path: Path, beam_width: int, grids,
             lexicon_only: bool, plot: Path | None) -> Tuning:
    from asr.bundle.config import LM
    from asr.cli.progress import count_on_stderr
    from asr.files import write_atomic
    from asr.language_model import load_ngram
    from asr.tuning import tune as search
    from asr.tuning.plot import surface

    model = load_ngram(lm_path)
    model.check_normalizer(recognizer.bundle.text.normalizer)
    dev = dev_set()
    with count_on_stderr("tuning", unit="readings", piped=True) as progress:
        # The bare name would be the bundle's own model.
        name = str(lm_path) if str(lm_path) != LM else f"./{LM}"
        result = search(recognizer, dev, model, name, beam_width=beam_width,
                        weights=grids[0], bonuses=grids[1], lexicon_only=lexicon_only,
                        progress=progress)
    if plot:
        write_atomic(plot, surface(result))
    return result


def _tune_hot_words(recognizer: Recognizer, dev_set, words_path: Path | None,
                    beam_width: int | None, boosts: str) -> HotTuning:
    from asr.cli.progress import count_on_stderr
    from asr.decoding.phrases import read_hot_words
    from asr.tuning.hot_words import BOOSTS, HotDecoders, tune_hot_words

    grid = _grid(boosts, "--boosts", BOOSTS)
    words = read_hot_words(words_path or "")
    if beam_width:
        recognizer = recognizer.with_decoder(kind="beam", beam_width=beam_width)
    HotDecoders(recognizer, [word.phrase for word in words])  # a bad phrase comes before the work
    dev = dev_set()
    with count_on_stderr("tuning", unit="boosts", piped=True) as progress:
        return tune_hot_words(recognizer, dev, words, boosts=grid, progress=progress)


def _grid(text: str, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    from asr.errors import UsageError

    try:
        return tuple(float(number) for number in text.split(",")) if text else default
    except ValueError:
        raise UsageError(f"{name} {text!r}: write rising numbers with commas.") from None


def _lm_lines(result: Tuning) -> list[str]:
    """The result for people."""
    best, gain = result.best, result.gain
    weights, bonuses = (sorted({getattr(p, name) for p in result.points})
                        for name in ("lm_weight", "word_bonus"))
    lines = ["   WER %  bonus " + "".join(f"{bonus:>8g}" for bonus in bonuses)]
    for weight in weights:
        row = {p.word_bonus: p.wer for p in result.points
               if p.lm_weight == weight and p.beam_width == result.points[0].beam_width}
        lines.append(f"weight {weight:<7g}" + " " + "".join(
            f"{100 * row[bonus]:8.2f}" if bonus in row else " " * 8 for bonus in bonuses))
    own = result.without_wer
    without = "" if own == result.greedy_wer else f"; decoder without it {100 * own:.2f} %"
    lines.append(f"greedy {100 * result.greedy_wer:.2f} %{without}; best {100 * best.wer:.2f} % at "
                 f"lm_weight {best.lm_weight:g}, word_bonus {best.word_bonus:g}, beam_width "
                 f"{best.beam_width}")
    relative = 1 - best.wer / own if own else 0.0
    lines.append(f"gain {100 * (own - best.wer):.2f} points ({relative:.0%} "
                 f"relative), 95 % interval {100 * gain.low:.2f} .. {100 * gain.high:.2f} over "
                 f"{gain.clusters} {gain.unit}s")
    return [*lines, *result.notes]


def _hot_lines(result: HotTuning) -> list[str]:
    """The result for people."""
    gain = result.gain
    lines = [" boost  recall %  precision %  F-score  false alarms / 1,000 words   WER %"]
    for boost, counts in sorted(result.tried.items()):
        recall, precision = (f"{100 * rate:.1f}" if rate is not None else "-"
                             for rate in (counts.recall, counts.precision))
        lines.append(f"{boost:6g} {recall:>9} {precision:>12} {counts.f_score:>8.3f} "
                     f"{counts.false_alarms_per_thousand:>27.1f} {100 * counts.wer:>7.2f}"
                     + ("  <- best" if boost == result.boost else ""))
    return [*lines, f"{plural(len(result.phrases), 'phrase')}, spoken "
            f"{plural(result.tried[0.0].spoken, 'time')}; F-score gain "
            f"{result.tried[result.boost].f_score - result.tried[0.0].f_score:.3f}, "
            f"95 % interval {gain.low:.3f} .. {gain.high:.3f} over {gain.clusters} {gain.unit}s",
            f"best boost {result.boost:g} nats per character", *result.notes]
