"""`asr score REFERENCE HYPOTHESIS`: arguments to `asr.scoring.score`; no TensorFlow."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from asr.cli.grouping import by_options, group_json, group_text, groups_by, labels_by
from asr.cli.output_paths import OUTPUT, refuse_inputs
from asr.cli.text_options import FORMATS, non_speech_option, units_option


@click.command()
@click.argument("reference", type=click.Path(path_type=Path))
@click.argument("hypothesis", type=click.Path(path_type=Path))
@click.option("--format", "text_format", type=click.Choice(FORMATS), default="auto",
              help="Format of both files; auto looks at the endings, then at the lines.")
@click.option("--hyp-format", type=click.Choice(FORMATS), default=None,
              help="Format of the second file, if it differs (ctm against stm).")
@click.option("--normalizer", default="basic", show_default=True,
              help="none, case (as sclite), basic, english or german.")
@non_speech_option
@units_option
@click.option("--speakers", type=click.Path(path_type=Path),
              help="Kaldi utt2spk: the interval is then over speakers.")
@click.option("--id-speakers", type=click.Choice(("spu_id", "wsj")), default=None,
              help="Speakers are in the ids, as sclite -i: spu_id (also rm, swb) takes them up to "
              "the first - or else _, wsj (also atis) the first three characters.")
@click.option("--missing", type=click.Choice(("error", "deletions", "skip")), default="error",
              show_default=True, help="A reference without hypothesis: refuse, count its words as "
              "deleted, or leave it out and list it.")
@click.option("--alignment", type=click.Choice(("unit", "sclite")), default="unit",
              show_default=True, help="unit: the fewest errors, as jiwer and Kaldi. sclite: its "
              "weights (substitution 4, insertion and deletion 3) and ties, for its S, D and I.")
@click.option("--cer-spaces", type=click.Choice(("yes", "no")), default="yes", show_default=True,
              help="Whether a space is a character; no as sclite -c, for Chinese, Japanese, Thai.")
@click.option("--optionally-deletable", is_flag=True, help="A word in parentheses in trn, stm "
              "or ctm, such as (uh), is correct if the other side lacks it (sclite -D).")
@click.option("--fragments", is_flag=True, help="A fragment in trn, stm or ctm is correct where "
              "the word begins (hel-) or ends (-lo) so (sclite -F).")
@click.option("--focus", type=click.Path(path_type=Path), metavar="WORDS.txt",
              help="Words that matter: B-WER counts them, U-WER all others. One word a line, or an "
              "utterance's id and its words, or JSON lines with id and words.")
@by_options
@click.option("--summary", type=click.Choice(("sclite",)), default=None,
              help="Print sclite's summary (-o sum rsum dtl) instead of ours, by its alignment "
              "unless --alignment says otherwise.")
@click.option("--json", "as_json", is_flag=True, help="The whole receipt as JSON on stdout.")
@click.option("--per-utterance", type=OUTPUT, metavar="OUT.jsonl",
              help="One row an utterance, and OUT.receipt.json beside it; `asr compare` reads it.")
@click.option("--csv", "csv_path", type=OUTPUT, metavar="OUT.csv",
              help="One row an utterance for a spreadsheet; formulas are made harmless.")
@click.option("--raw-csv", is_flag=True, help="CSV cells exactly as the texts are.")
@click.option("--pra", "pra_path", type=OUTPUT, metavar="OUT.pra",
              help="Word alignments in sclite's layout.")
@click.option("--report", type=OUTPUT, metavar="OUT.html",
              help="A page to search and sort, with coloured alignments.")
@click.option("--audio", type=click.Path(path_type=Path, exists=True, file_okay=False),
              metavar="FOLDER", help="With --report: recordings named after the utterance ids, "
              "to listen to.")
@click.option("--draws", default=10_000, show_default=True, help="Bootstrap draws.")
@click.option("--seed", default=0, show_default=True, help="Seed of the bootstrap.")
def score(reference: Path, hypothesis: Path, text_format: str, hyp_format: str | None,
          normalizer: str, non_speech: str, units: str, speakers: Path | None,
          id_speakers: str | None, missing: str, alignment: str, cer_spaces: str,
          optionally_deletable: bool, fragments: bool, focus: Path | None, by: tuple[str, ...],
          columns: Path | None, summary: str | None, as_json: bool, per_utterance: Path | None,
          csv_path: Path | None, raw_csv: bool, pra_path: Path | None, report: Path | None,
          audio: Path | None, draws: int, seed: int) -> None:
    """Word and character error rate of HYPOTHESIS against REFERENCE, with 95 % intervals.

    Reads plain lines, Kaldi text, sclite trn, JSONL, and ctm against stm. Utterances are matched
    by id (plain lines by position); what does not match is an error, exit code 4. srt, vtt, csv,
    TextGrid and other files with times are refused.

    Other than sclite, unless you say so: a reference without hypothesis is an error (sclite leaves
    it out), <s> and </s> are not words, lines of stm and ctm may be in any order, a ctm as
    reference is not cut into pieces. docs/scoring.md has a table of all that differs, and which of
    sclite's options are not there (-T -w -L -S -d -m).

    \b
    Examples:
      asr score ref.txt hyp.txt
      asr score data/test/text exp/decode/text --speakers data/test/utt2spk --normalizer english
      asr score test.stm system.ctm --json
      asr score ref.trn hyp.trn --normalizer case --alignment sclite --id-speakers spu_id
    """  # noqa: D301 (click reads the backspace)
    from asr.errors import DataError
    from asr.files import write_atomic
    from asr.scoring import read_pair, save, to_csv
    from asr.scoring import score as count
    from asr.scoring.focus import focus_on, read_focus
    from asr.scoring.pairing import refuse_unmatched, settle_missing
    from asr.scoring.speakers import read_speakers, speakers_of_ids
    from asr.scoring.storage import receipt_path, rules_of
    from asr.text import normalizer_name

    normalizer = normalizer_name(normalizer, non_speech, units)
    if summary and as_json:
        raise click.UsageError("--summary and --json both print on stdout. Choose one.")
    source = click.get_current_context().get_parameter_source("alignment")
    if summary and source is click.core.ParameterSource.DEFAULT:
        alignment = "sclite"
    receipt = receipt_path(per_utterance) if per_utterance else None
    refuse_inputs((per_utterance, receipt, csv_path, pra_path, report),
                  (reference, hypothesis, speakers, focus, columns))
    try:
        references, hypotheses = read_pair(reference, hypothesis, format=text_format,
                                           hypothesis_format=hyp_format or "",
                                           normalizer=normalizer,
                                           optionally_deletable=optionally_deletable,
                                           fragments=fragments, missing=missing)
        refuse_unmatched(references.texts, hypotheses.texts, (reference, hypothesis),
                         (references.lines, hypotheses.lines), missing)
        texts, skipped = settle_missing(references.texts, hypotheses.texts, missing)
        known = (read_speakers(speakers) if speakers
                 else speakers_of_ids(references.texts, id_speakers) if id_speakers
                 else references.speakers or None)
        result = count(references.texts, texts, normalizer=normalizer, alignment=alignment,
                       cer_spaces=cer_spaces == "yes", readings=references.readings,
                       rules=rules_of(optionally_deletable, fragments), speakers=known,
                       durations=references.durations, skipped=skipped, draws=draws,
                       bootstrap_seed=seed)
        manifest = reference if references.format == "jsonl" else None
        groups = groups_by(result.rows, labels_by(result.rows, by, (manifest, columns)))
        listed = focus and focus_on(result, read_focus(
            focus, {row.id for row in result.rows}, normalizer), draws=draws, seed=seed)
    except DataError as error:
        if as_json:
            print(json.dumps({"wer": None, "cer": None, "error": error.as_record("score")}))
        raise
    if per_utterance:
        save(result, per_utterance)
    if csv_path:
        write_atomic(csv_path, to_csv(result.rows, raw=raw_csv))
    if pra_path:
        from asr.scoring.pra import pra
        write_atomic(pra_path, pra(result.rows, alignment))
    if report:
        from asr.pages.clips import find_recordings
        from asr.pages.report import write_report
        recordings = find_recordings(audio, references.texts) if audio else {}
        tables = {f"By {column}": found for column, found in groups.items()}
        if listed:
            tables = {"Words that matter": listed.groups(), **tables}
        write_report(report, result, audio=recordings, groups=tables, tables=False)
    remarks = []
    if summary:
        from asr.scoring.summary import sclite_summary, word_confidences
        sure, remarks = word_confidences(result, hypotheses.confidences)
        print(sclite_summary(result, str(hypothesis), sure), end="")
    elif as_json:
        print(json.dumps({**result.to_dict(), "focus": listed and listed.to_dict(),
                          "groups": group_json(groups)}, ensure_ascii=False, indent=1))
    else:
        *head, conditions = result.lines()
        print("\n".join([*head, *(listed.lines() if listed else []), conditions])
              + group_text(groups))
        for name, reason in result.receipt.skipped:
            print(f"skipped {name!r}: {reason}", file=sys.stderr)
    for note in (*references.notes, *hypotheses.notes, *remarks):
        print(note, file=sys.stderr)
    if (references.format, hypotheses.format) != (text_format, hyp_format or text_format):
        print(f"Read as {references.format} and {hypotheses.format}.", file=sys.stderr)
