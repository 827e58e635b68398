"""`asr audit`: leaks between manifests, doubtful references, words invented on silence.

In: manifests, perhaps a bundle. Out: findings on stdout, exit code 4 if there is a leak, or silence
that has a text.
"""

from __future__ import annotations

import json
import math
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from asr.cli.engine_options import absolute, cluster_options, open_recognizer
from asr.cli.inputs import audio_root_option, outside_root_option, truncated_option
from asr.cli.output_paths import OUTPUT, refuse_no_file
from asr.terminal import plural

if TYPE_CHECKING:
    from asr.audit import Audit
    from asr.fleet.cluster import Cluster
    from asr.recognizer import Recognizer


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--bundle", type=click.Path(path_type=Path), help="A model: rank the references of "
              "the last manifest by how little they fit their recordings.")
@click.option("--silence", is_flag=True, help="With --bundle: count the words that it writes on "
              "silence, noise and music.")
@click.option("--noise", type=click.Path(path_type=Path), help="With --silence: "
              "recordings without speech, a folder or a manifest of asr prepare noise.")
@audio_root_option
@outside_root_option
@click.option("--shared-speakers", is_flag=True, help="A speaker in two manifests is no leak.")
@click.option("--no-fingerprint", is_flag=True, help="Skip the search for re-encoded copies, "
              "which reads every recording.")
@truncated_option
@click.option("--top", default=20, show_default=True, help="Suspects to print.")
@click.option("--report", type=OUTPUT, metavar="OUT.html",
              help="With --bundle: a page with the suspects, their alignments and recordings.")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
@cluster_options
def audit(manifests: tuple[Path, ...], bundle: Path | None, silence: bool, noise: Path | None,
          audio_root: Path | None, allow_outside_root: bool, shared_speakers: bool,
          no_fingerprint: bool, allow_truncated: bool, top: int, report: Path | None,
          as_json: bool, cluster: Cluster | None) -> int:
    """Find leaks between MANIFESTS (training set first, test set last), and doubtful references.

    Leaks are found by id, by file hash, by fingerprint (also re-encoded, louder, cut or padded
    copies), by speaker and by sentence.

    \b
    Examples:
      asr audit data/fsdd/train.jsonl data/fsdd/test.jsonl
      asr audit data/test.jsonl --bundle runs/digits --silence --report audit.html
      asr audit train.jsonl test.jsonl --engine ray --address auto
    """  # noqa: D301 (click reads the backspace)
    from asr.audit import find_leaks
    from asr.cli.progress import count_on_stderr
    from asr.errors import EXIT_DATA, EXIT_OK, UsageError

    if (silence or report) and not bundle:
        raise UsageError("--silence and --report need a model; name one with --bundle.")
    if report:
        refuse_no_file(report, "--report")
    if noise and not silence:
        raise UsageError("--noise goes with --silence.")
    if noise and not noise.exists():
        raise UsageError(f"--noise {noise} does not exist; give a folder of recordings without "
                         "speech, or a manifest of them.", path=noise)
    spread = None
    if cluster is not None:
        from asr.fleet.audit import spread_on

        spread = spread_on(cluster)
    with count_on_stderr("Listening") as show:
        found = find_leaks(manifests, audio_root=audio_root, shared_speakers=shared_speakers,
                           allow_outside_root=allow_outside_root,
                           fingerprint=not no_fingerprint, allow_truncated=allow_truncated,
                           progress=show, spread=spread)
    if bundle:
        _ask_model(found, bundle, manifests[-1], audio_root, allow_outside_root, allow_truncated,
                   silence, noise, report, cluster)
    if as_json:
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=1))
    else:
        _print(found, top)
    counts = [plural(len(found.leaks), "leak"), plural(len(found.notes), "note")]
    if found.silent:
        counts.insert(1, plural(len(found.silent), "silent recording") + " with a text")
    click.echo(f"{', '.join(map(str, manifests))}: {', '.join(counts)}.", err=True)
    return EXIT_DATA if found.leaks or found.silent else EXIT_OK


def _ask_model(found: Audit, bundle: Path, manifest: Path, audio_root: Path | None,
               allow_outside_root: bool, allow_truncated: bool, silence: bool, noise: Path | None,
               report: Path | None, cluster: Cluster | None) -> None:
    from asr.audit.silence import words_without_speech
    from asr.audit.suspects import rank_suspects
    from asr.cli.progress import count_on_stderr
    from asr.manifest import read_manifest
    from asr.recognizer import load

    recognizer = load(bundle)
    utterances = read_manifest(manifest, audio_root=audio_root,
                               allow_outside_root=allow_outside_root)
    spread = None
    if cluster is not None:
        from asr.fleet.audit import doubt_on

        spread = partial(doubt_on, cluster, partial(open_recognizer, absolute(bundle), "auto", {}),
                         allow_truncated=allow_truncated)
    with count_on_stderr("Doubting") as show:
        found.suspects = rank_suspects(recognizer, utterances, progress=show,
                                       allow_truncated=allow_truncated, spread=spread)
    if silence:
        recordings: list = []
        if noise and noise.is_file():
            recordings = read_manifest(noise, audio_root=audio_root,
                                       allow_outside_root=allow_outside_root)
        elif noise:
            recordings = sorted(path for path in noise.rglob("*") if path.is_file())
        found.silence = words_without_speech(recognizer, recordings=recordings)
    if report:
        _write_report(found, recognizer, report)


def _write_report(found: Audit, recognizer: Recognizer, path: Path) -> None:
    from asr.audit.silence import with_silence
    from asr.pages.report import write_report
    from asr.scoring import Conditions, score

    ranked = found.suspects
    result = score({s.utterance.id: s.utterance.text for s in ranked},
                   {s.utterance.id: s.transcript.text for s in ranked},
                   normalizer=recognizer.bundle.text.normalizer,
                   speakers={s.utterance.id: s.utterance.speaker for s in ranked},
                   durations={s.utterance.id: s.utterance.duration for s in ranked},
                   conditions=Conditions(bundle_hash=recognizer.bundle.bundle_hash))
    result = with_silence(result, found.silence)
    flags = {s.utterance.id: f"suspect {rank}: {_explain(s)}"
             for rank, s in enumerate(found.listed, 1)}
    write_report(path, result, audio={s.utterance.id: s.utterance for s in ranked},
                 words={s.utterance.id: s.transcript.words for s in ranked}, flags=flags,
                 title=f"Audit: {len(flags):,} of {plural(len(ranked), 'reference')} in doubt",
                 show="flagged", tables=False)
    click.echo(f"written: {path}", err=True)


def _explain(suspect) -> str:
    doubt = (f"{suspect.doubt:.2f} nats a character" if math.isfinite(suspect.doubt)
             else "impossible")
    return "; ".join((doubt, *suspect.reasons))


def _print(found: Audit, top: int) -> None:
    for problem in (*found.leaks, *found.silent):
        click.echo(f"{problem} [{problem.code}]")
    for problem in found.notes:
        click.echo(f"note: {problem}", err=True)
    for rank, suspect in enumerate(found.listed[:top], 1):
        click.echo(f"suspect {rank}: {suspect.utterance.id}: {suspect.utterance.text!r}, heard "
                   f"{suspect.transcript.text!r} ({_explain(suspect)})")
    for name, rate in found.silence.items():
        click.echo(f"{rate:g} words per minute of {name}")
    sys.stdout.flush()
