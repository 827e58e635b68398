"""`asr compare A B [C]...`: arguments to `asr.scoring.compare`; no TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path

import click

from asr.cli.output_paths import OUTPUT, refuse_inputs
from asr.cli.text_options import FORMATS, non_speech_option, units_option


@click.command()
@click.argument("systems", nargs=-1, required=True, metavar="A B [C]...",
                type=click.Path(path_type=Path))
@click.option("--reference", type=click.Path(path_type=Path),
              help="A, B, ... are then text files with hypotheses only.")
@click.option("--format", "text_format", type=click.Choice(FORMATS), default="auto",
              help="Format of the text files given with --reference.")
@click.option("--normalizer", default="", help="Score all again with none, basic, english or "
              "german.  [default: that of the receipts, else basic]")
@non_speech_option
@units_option
@click.option("--speakers", type=click.Path(path_type=Path),
              help="Kaldi utt2spk, for text files: whole speakers are drawn.")
@click.option("--alignment", type=click.Choice(("unit", "sclite")), default="unit",
              show_default=True, help="For text files given with --reference; as in asr score.")
@click.option("--optionally-deletable", is_flag=True,
              help="With --reference: as in asr score (sclite -D).")
@click.option("--fragments", is_flag=True, help="With --reference: as in asr score (sclite -F).")
@click.option("--force", is_flag=True,
              help="Compare what both have in common although the receipts differ.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@click.option("--report", type=OUTPUT, metavar="OUT.html",
              help="Two systems side by side: which utterances changed, and how.")
@click.option("--audio", type=click.Path(path_type=Path, exists=True, file_okay=False),
              metavar="FOLDER", help="With --report: recordings named after the utterance ids, "
              "to listen to.")
@click.option("--draws", default=10_000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
def compare(systems: tuple[Path, ...], reference: Path | None, text_format: str, normalizer: str,
            non_speech: str, units: str, speakers: Path | None, alignment: str,
            optionally_deletable: bool, fragments: bool, force: bool, as_json: bool,
            report: Path | None, audio: Path | None, draws: int, seed: int) -> None:
    """Test whether B is better than A, or whether the difference is within chance.

    A and B are folders of `asr evaluate --output-dir`, or JSONL files of `asr score
    --per-utterance` (with the receipt beside them), or text files with hypotheses together with
    --reference. Receipts whose reference set or normaliser differ are refused.

    Of more than two systems every pair is compared; their p-values are corrected for the number of
    pairs by Holm's method.

    \b
    Examples:
      asr compare results/old results/new --report difference.html
      asr compare old.trn new.trn --reference test.trn --normalizer english
      asr compare results/old results/new results/newer --json
    """  # noqa: D301 (click reads the backspace)
    from asr.files import write_atomic
    from asr.pages.frame import visible
    from asr.scoring import compare as judge
    from asr.scoring import compare_many, load_systems, score_systems
    from asr.text import normalizer_name

    if (non_speech == "drop" or units != "words") and not normalizer and reference is None:
        raise click.UsageError("--non-speech and --units score the systems again. Name the "
                               "normaliser with --normalizer.")
    if len(systems) < 2:
        raise click.UsageError("Missing argument 'B': got one system, expected two or more.")
    if report and len(systems) > 2:
        raise click.UsageError(f"--report shows two systems, got {len(systems)}. Name two, or "
                               "leave out --report.")
    refuse_inputs((report,), (*systems, reference, speakers))
    stems = [path.stem for path in systems]
    names = [visible(path if stems.count(path.stem) > 1 else path.stem) for path in systems]
    if normalizer or reference:
        normalizer = normalizer_name(normalizer or "basic", non_speech, units)
    if reference is None:
        scores = load_systems(systems, names=names, normalizer=normalizer, force=force)
    else:
        scores = score_systems(reference, systems, format=text_format,
                               normalizer=normalizer, speakers=speakers, alignment=alignment,
                               optionally_deletable=optionally_deletable, fragments=fragments)
    if len(systems) > 2:
        ranking = compare_many(scores, names, force=force, draws=draws, seed=seed)
        print(json.dumps(ranking.to_dict(), ensure_ascii=False, indent=1) if as_json
              else "\n".join(ranking.lines()))
        return
    comparison = judge(scores[0], scores[1], names=(names[0], names[1]), force=force, draws=draws,
                       seed=seed)
    if report:
        from asr.pages.clips import find_recordings
        from asr.pages.report import comparison_report
        recordings = find_recordings(audio, (row.id for row in scores[0].rows)) if audio else {}
        write_atomic(report, comparison_report(comparison, scores[0], scores[1],
                                              audio=recordings))
    if as_json:
        print(json.dumps(comparison.to_dict(), ensure_ascii=False, indent=1))
    else:
        print("\n".join(comparison.lines()))
