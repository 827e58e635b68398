"""`asr evaluate BUNDLE MANIFEST...`: arguments to `asr.evaluate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asr.cli.decoding import decoder_options, with_knobs
from asr.cli.engine_options import absolute, open_recognizer, place_options
from asr.cli.grouping import by_options, group_json, group_text, groups_by, labels_by
from asr.cli.inputs import audio_root_option, outside_root_option, truncated_option
from asr.cli.output_paths import OUTPUT, PLACE, refuse_existing, refuse_no_file
from asr.manifest.address import Address
from asr.recipe import TextSettings
from asr.settings import choices_of

if TYPE_CHECKING:
    from asr.evaluation import Evaluation
    from asr.fleet.cluster import Cluster


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@audio_root_option
@outside_root_option
@click.option("--output-dir", type=PLACE,
              help="Write utterances.jsonl and score.json here; also an address, such as "
              "s3://bucket/results.")
@click.option("--overwrite", is_flag=True, help="Replace the results of an earlier evaluation.")
@click.option("--normalizer", type=click.Choice(choices_of(TextSettings, "normalizer")),
              help="Instead of the bundle's.")
@click.option("--non-speech", type=click.Choice(("words", "drop")), default="words",
              show_default=True, help="Whether [laughter], <unk> and (noise) are words.")
@place_options
@truncated_option
@click.option("--on-error", type=click.Choice(["fail", "skip"]), default="fail", show_default=True,
              help="Fail at the first recording that cannot be used, or skip and list it.")
@click.option("--report", type=OUTPUT,
              help="Write a self-contained HTML page.")
@click.option("--silence", is_flag=True, help="Also count the words written per minute of "
              "silence, noise and music; listed in the receipt.")
@click.option("--target-wer", "targets", multiple=True, type=float, metavar="PERCENT",
              help="How many utterances must go to a person to reach this WER? May be repeated.")
@by_options
@click.option("--json", "as_json", is_flag=True, help="Print the score as JSON.")
@decoder_options
def evaluate(bundle: Path, manifests: tuple[Path, ...], audio_root: Path | None,
             allow_outside_root: bool, output_dir: Path | Address | None, overwrite: bool,
             normalizer: str | None, non_speech: str, knobs: dict, engine: str,
             cluster: Cluster | None, allow_truncated: bool, on_error: str,
             report: Path | None, silence: bool, targets: tuple[float, ...],
             by: tuple[str, ...], columns: Path | None, as_json: bool) -> int:
    """Word and character error rate of BUNDLE on MANIFEST..., with interval and receipt.

    Then whether confidences can be believed (ECE, the expected calibration error), and which part
    of the utterances, the least sure ones, should go to a person; --report draws both.

    BUNDLE is an .asr file or a run directory. Every utterance is scored, or listed with the reason
    why not (exit code 3).

    \b
    Example:
      asr evaluate runs/digits data/fsdd/test.jsonl --output-dir results
    """  # noqa: D301 (click reads the backspace)
    from asr.cli.progress import count_on_stderr
    from asr.errors import EXIT_OK, EXIT_SOME_FAILED
    from asr.evaluation import evaluate as run
    from asr.evaluation import hash_manifests
    from asr.manifest import read_manifest
    from asr.recognizer import load
    from asr.text import normalizer_name
    _refuse_places(output_dir, report, overwrite)  # before the work, not after it
    utterances = [u for path in manifests for u in
                  read_manifest(path, audio_root=audio_root, allow_outside_root=allow_outside_root)]
    labels = labels_by(utterances, by, (columns,))  # before the work, not after it
    recognizer = with_knobs(load(bundle, engine=engine), knobs)
    normalizer = normalizer_name(normalizer or recognizer.bundle.text.normalizer, non_speech)
    with count_on_stderr("evaluating") as progress:
        result = run(recognizer, utterances, normalizer=normalizer, on_error=on_error,
                     allow_truncated=allow_truncated,
                     manifest_hash=hash_manifests(manifests),
                     target_wers=[target / 100 for target in targets], progress=progress,
                     listen=_listen(cluster, bundle, engine, knobs))
    if silence:
        from asr.audit.silence import with_silence, words_without_speech
        result = replace(result, score=with_silence(result.score,
                                                    words_without_speech(recognizer)))
    groups = groups_by(result.score.rows, labels)
    refused: OSError | None = None
    try:
        if output_dir:  # before stdout, whose reader may be gone
            for path in _upload(result, output_dir, overwrite) if isinstance(
                    output_dir, Address) else result.write(output_dir):
                print(f"written: {path}", file=sys.stderr)
        if report:
            _write_report(report, result, utterances, bundle, groups)
    except OSError as error:  # a full disk: what the work has found is printed all the same
        refused = error
    if as_json:
        print(json.dumps({**result.score.to_dict(), "groups": group_json(groups),
                          "failed": result.failed,
                          "confidence": result.confidence and result.confidence.to_dict()},
                         ensure_ascii=False))
    else:
        print("\n".join(result.score.lines() + (
            result.confidence.lines() if result.confidence else [])) + group_text(groups))
    for record in result.failed:
        print(json.dumps(record, ensure_ascii=False), file=sys.stderr)
    if refused is not None:
        raise refused
    return EXIT_SOME_FAILED if result.failed else EXIT_OK


def _listen(cluster: Cluster | None, bundle: Path, engine: str, knobs: dict) -> Callable | None:
    """What transcribes the rows on a cluster; None for this machine."""
    if cluster is None:
        return None
    from asr.fleet.shards import listen_on

    return partial(listen_on, cluster, partial(open_recognizer, absolute(bundle), engine, knobs))


def _upload(result: Evaluation, address: Address, overwrite: bool) -> tuple[Address, Address]:
    """Write to an address; what the work of hours has found is kept here if that fails."""
    import tempfile

    from asr.errors import AsrError
    try:
        return result.upload(str(address), overwrite=overwrite)
    except OSError as error:
        folder = tempfile.mkdtemp(prefix="asr-evaluate-")
        result.write(folder)
        raise AsrError(f"Cannot write {address}: {error.strerror}. The results are in {folder}; "
                       "copy them from there.", code="output.write", path=str(address)) from error


def _refuse_places(output_dir: Path | Address | None, report: Path | None, overwrite: bool
                   ) -> None:
    """Refuse output folders that cannot be made or that have other results."""
    from asr.evaluation import ROWS, SCORE
    from asr.results import settle
    if isinstance(output_dir, Address):
        for name in (ROWS, SCORE):
            refuse_existing(Address(f"{output_dir}/{name}"), overwrite, other="another place")
        output_dir = None
    elif output_dir and output_dir.is_dir():
        settle(output_dir)
    places = [report] if report else []
    places += [output_dir / ROWS, output_dir / SCORE] if output_dir else []
    for path in places:
        if path.is_file():
            refuse_existing(path, overwrite, other="another place")
    if output_dir:
        output_dir.mkdir(parents=True, exist_ok=True)
    if report:
        refuse_no_file(report, "--report")


def _write_report(path: Path, result, utterances, bundle: Path, groups: dict) -> None:
    from asr.pages.report import read_curve, write_report
    written = write_report(
        path, result.score, audio={u.id: u for u in utterances},
        words={name: transcript.words for name, transcript in result.transcripts.items()},
        curve=read_curve((bundle if bundle.is_dir() else bundle.parent) / "log.jsonl"),
        confidence=result.confidence,
        groups={f"By {column}": found for column, found in groups.items()})
    for file in written:
        print(f"written: {file}", file=sys.stderr)
