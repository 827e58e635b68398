"""`asr prepare`: a corpus on disk becomes one manifest per split. `asr download` fetches it.

In: arguments. Out: OUT/<split>.jsonl and OUT/report.json; counters on stderr.
"""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path

import click

from asr.cli.inputs import truncated_option
from asr.cli.progress import count_on_stderr
from asr.corpora import CORPORA, load_corpus
from asr.errors import EXIT_OK, EXIT_SOME_FAILED, CorpusError, UsageError
from asr.files import parse_json
from asr.manifest import Utterance, manifest_content
from asr.results import settle, write_together

REPORT = "report.json"


@click.command(epilog=f"Corpora: {', '.join(CORPORA)}.")
@click.argument("corpus")
@click.argument("src", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--hold-out", metavar="SPEAKER", help="Test on this speaker, train on the others "
              "(fsdd).")
@click.option("--dev-every", type=int, metavar="N", help="Every Nth speaker (kaldi) or id "
              "(ljspeech), sorted, starting with the first, goes to dev.")
@click.option("--split-by", type=click.Choice(["text", "speaker", "utterance"]),
              help="What may not be in two splits (nemo).")
@click.option("--dev-fraction", type=float, metavar="SHARE", help="Of train, moved to dev (nemo).")
@click.option("--test-fraction", type=float, metavar="SHARE", help="Of train, moved to test "
              "(nemo).")
@click.option("--only-words", metavar="WORDS", help="Keep the utterances that consist of these "
              "words alone, such as \"zero one two\"; case and punctuation do not matter.")
@click.option("--min-seconds", type=float, default=0.1, show_default=True,
              help="Shorter utterances are left out.")
@click.option("--max-seconds", type=float, default=60.0, show_default=True,
              help="Longer utterances are left out.")
@truncated_option
@click.option("--jobs", type=click.IntRange(0), default=0, help="Processes; 0: as many as pay.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier import: its manifests and its "
              "report.")
def prepare(corpus: str, src: Path, out: Path, only_words: str | None, min_seconds: float,
            max_seconds: float, allow_truncated: bool, jobs: int, overwrite: bool,
            **options) -> int:
    """Import the corpus SRC, laid out as CORPUS says, into OUT/<split>.jsonl.

    A bad recording or row never stops the import: it is counted, and listed in OUT/report.json.
    Exit code 3 if anything was left out.
    """
    from asr.corpora.collect import Checks

    module = load_corpus(corpus)
    given = _options_of(module, corpus, options)
    if out.is_dir():
        settle(out)
    _refuse_existing([out / REPORT], overwrite)   # before an hour of work, not after it
    if out.exists() and not out.is_dir():
        raise UsageError(f"OUT is {out}, which is a file; name a folder.", path=out)
    with count_on_stderr("Looking at recordings") as show:
        prepared = module.prepare(src, checks=Checks(min_seconds, max_seconds, jobs, show,
                                                     allow_truncated), **given)
    splits = {split: chosen for split, utterances in prepared.items()
              if (chosen := _of_words(utterances, only_words))}
    paths = {split: out / f"{split}.jsonl" for split in splits}
    _refuse_existing(list(paths.values()), overwrite)
    out.mkdir(parents=True, exist_ok=True)
    stale = _earlier_manifests(out) - set(paths.values())
    if only_words:
        given["only_words"] = only_words
    if allow_truncated:
        given["allow_truncated"] = True
    report = {"corpus": corpus, "options": given, "counts": prepared.counts,
              "cut": prepared.num_cut,
              "splits": {split: _summary(splits[split]) for split in splits},
              "excluded": [item.as_record() for item in prepared.excluded]}
    files = {paths[split].name: manifest_content(paths[split], utterances)
             for split, utterances in splits.items()}
    files[REPORT] = json.dumps(report, ensure_ascii=True, indent=1) + "\n"
    # A dev.jsonl that stayed would hold what is train now: all of it is one result.
    write_together(out, files, remove=[path.name for path in stale], overwrite=overwrite)
    for split in splits:
        summary = report["splits"][split]
        click.echo(f"{paths[split]}: {summary['utterances']:,} utterances, "
                   f"{summary['hours']:.2f} h, {summary['speakers']:,} speakers", err=True)
    for path in sorted(stale):
        click.echo(f"{path}: removed; it was of the import that this one replaces", err=True)
    counts = ", ".join(f"{name.replace('_', ' ')} {count:,}"
                       for name, count in prepared.counts.items())
    cut = f"; {prepared.num_cut:,} recordings are cut, and what is left of them is used"
    click.echo(f"{corpus}: {counts}{cut * bool(prepared.num_cut)}", err=True)
    if not splits:
        raise CorpusError(f"No utterance of {src} could be used; {out / REPORT} says why of each."
                          if not prepared.counts["ok"] else f"No utterance of {src} consists of "
                          f"the words {only_words!r} alone.", path=src)
    _say_root(splits, out)
    if prepared.excluded:
        click.echo(f"What was left out is listed in {out / REPORT}.", err=True)
    return EXIT_SOME_FAILED if prepared.excluded else EXIT_OK


@click.command(epilog="Corpora: fsdd, librispeech.")
@click.argument("corpus")
@click.argument("dest", type=click.Path(path_type=Path))
@click.option("--part", "parts", multiple=True, help="Which archive, such as dev-clean; may be "
              "repeated. Each corpus has a small default.")
@click.option("--url", help="Fetch the part from this mirror; size and checksum stay the same.")
@click.option("--keep-archive", is_flag=True, help="Do not remove the archive at the end.")
def download(corpus: str, dest: Path, parts: tuple[str, ...], url: str | None,
             keep_archive: bool) -> int:
    """Fetch CORPUS into DEST: resumed after an interruption, checked, then unpacked."""
    import dataclasses

    from asr.corpora.download import fetch

    module = load_corpus(corpus)
    known = getattr(module, "PARTS", None)
    if not known:
        raise UsageError(f"{corpus} has no address to download from; get it from its makers "
                         f"({(module.__doc__ or '').splitlines()[0]}).")
    parts = parts or (module.DEFAULT_PART,)
    if url and len(parts) > 1:
        raise UsageError("--url is the address of one archive; give one --part.")
    for part in parts:
        if part not in known:
            raise UsageError(f"{corpus} has no part {part!r}; it has {', '.join(known)}.")
    for part in parts:
        archive = dataclasses.replace(known[part], url=url) if url else known[part]
        with count_on_stderr(part, unit="bytes") as show:
            digest = fetch(archive, dest, keep_archive=keep_archive, progress=show)
        place = dest / archive.provides
        if not digest:
            click.echo(f"{place} is there already; nothing was fetched.", err=True)
        elif archive.sha256 is None:
            click.echo(f"{place}: fetched. Nobody publishes a checksum of this archive; the "
                       f"SHA-256 of what came is {digest}.", err=True)
        else:
            click.echo(f"{place}: fetched, SHA-256 as published.", err=True)
    click.echo(f"Next: asr prepare {corpus} {dest} OUT", err=True)
    return EXIT_OK


def _refuse_existing(paths: list[Path], overwrite: bool) -> None:
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        raise UsageError(f"{existing[0]} exists and was left as it is; give another folder, or "
                         "--overwrite.", path=existing[0])


def _earlier_manifests(out: Path) -> set[Path]:
    """The manifests that the report of an earlier import into this folder lists."""
    try:
        splits = parse_json((out / REPORT).read_bytes())["splits"]
        return {out / f"{split}.jsonl" for split in splits if Path(split).name == split}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _of_words(utterances: list[Utterance], words: str | None) -> list[Utterance]:
    """Those whose words are all among `words`; all of them if there is no such list."""
    from asr.text import normalize
    if words is None:
        return utterances
    known = set(normalize(words, "basic").split())
    if not known:
        raise UsageError(f"--only-words {words!r} holds no word.")
    return [u for u in utterances if set(normalize(u.text, "basic").split()) <= known]


def _options_of(module, corpus: str, options: dict) -> dict:
    """Those options that were given, if this corpus has them."""
    known = set(inspect.signature(module.prepare).parameters) - {"corpus_dir", "checks"}
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in known:
            names = ", ".join(f"--{k.replace('_', '-')}" for k in sorted(known)) or "none"
            raise UsageError(f"--{name.replace('_', '-')} is no option of the corpus {corpus}; "
                             f"it has: {names}.")
    return given


def _summary(utterances: list[Utterance]) -> dict:
    return {"utterances": len(utterances),
            "hours": round(sum(u.duration for u in utterances) / 3_600, 4),
            "speakers": len({u.speaker for u in utterances if u.speaker})}


def _say_root(splits: dict[str, list[Utterance]], out: Path) -> None:
    """Readers of these manifests need --audio-root unless the audio lies beside them."""
    from asr.audio import display_name
    folders = {os.path.realpath(u.audio.parent) for group in splits.values() for u in group}
    try:
        common = os.path.commonpath(folders)
    except ValueError:   # several drives, on Windows
        return
    if not Path(common).is_relative_to(os.path.realpath(out)):
        click.echo(f"The audio is not beside the manifests: use them with --audio-root "
                   f"{display_name(common)}", err=True)
